"""What PostgreSQL's programs say of a failure, without a word that a row can reach.

They print the server's errors as text: no SQLSTATE, no fields. So only lines that begin with the
program's own name are read, and those up to where they quote the server. Of the server's message
nothing is kept but what has one of the known `_FORMS`, and names an object. With a CONTEXT (a
function, a trigger or COPY was at work) not even that. A row that imitates a program's own line to
the letter would be taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runbook_lib.refusal import SEVERITY, own_words

WITHHELD = "the server's log has its message, which can quote a row"
_OWN = re.compile(
    r"(?:pg_\w+: (?:error|fatal|warning)|(?P<detail>pg_\w+: detail)|psql(?::[^\n"
    r"]*:\d+|: error)): (?P<words>.*)"
)
_OURS = re.compile(r"CONTEXT:  .*\bpg_temp(?:_\d+)?\.\w+\([^)]*\).*\bRAISE")
"""What our own script raises, which brings saved data back: it names tables and columns."""
_STATEMENT = re.compile(r"(?:Command|Query) was: ")
_NAME = r'(?:"[^"]*"|[\w.$]+)'
_KIND = (
    r"(?:access method|column|constraint|database|extension|foreign key constraint|function|index|"
    r"language|relation|role|schema|sequence|server|table|tablespace|trigger|type|view|"
    r"materialized view|large object|parameter|publication)"
)
_FORMS = re.compile(
    "|".join(
        (
            rf"permission denied (?:for {_KIND} [^:]+|to [\w ]+(?:{_NAME})?)",
            r"must be (?:owner of|able to|a? ?member of|superuser)[^:]*",
            rf"{_KIND} {_NAME}(?: (?:of|for) {_KIND} {_NAME})? (?:does not exist|already exists)",
            rf"extension {_NAME} is not available|could not open extension control file {_NAME}: "
            r".*",
            rf"could not (?:open|extend|write|create|access)[\w ]*(?:{_NAME})?(?: at offset "
            r"\d+)?: No space left on device",
            r"could not open relation with OID \d+|cache lookup failed for \w+ \d+|snapshot "
            r"\"[\w-]+\" does not exist",
            rf"could not obtain lock on relation {_NAME}|deadlock detected|out of (?:shared "
            r")?memory",
            r"(?:canceling statement|terminating connection|terminating autovacuum process) due "
            r"to [a-z ,-]+",
            r"the database system is [a-z ]+|(?:sorry, |remaining connection slots|too many )[a-z "
            r",]+",
            r"(?:unrecognized configuration parameter|could not create (?:unique index|exclusion "
            rf"constraint)) {_NAME}",
            rf"duplicate key value violates unique constraint {_NAME}",
            rf"(?:insert or update|update or delete) on table {_NAME} violates foreign key "
            rf"constraint {_NAME}.*",
            rf"(?:new row for relation {_NAME} violates|check) (?:check )?constraint {_NAME}(?: "
            rf"of relation {_NAME} is violated by some row)?",
            rf"(?:null value in )?column {_NAME} of relation {_NAME} (?:violates not-null "
            r"constraint|contains null values)",
            rf"password authentication failed for user {_NAME}|no pg_hba.conf entry for host "
            rf"{_NAME}.*",
        )
    )
)
"""What of the server's messages is kept, in English. In another language none is: then its log is
named.
"""


def lines(output: str) -> list[str]:
    """Return the errors and warnings of a program, one line each, as far as they may be shown."""
    return [said for first, rest in _messages(output) if (said := _shown(first, rest))]


def live(line: str) -> str:
    """Return an error or warning as it comes, up to where it quotes the server.

    Whether that may be shown, later lines tell.
    """
    return own_words(line) if re.match(r"pg_\w+: (?:error|fatal|warning): ", line) else ""


def _messages(output: str) -> Iterator[tuple[str, list[str]]]:
    """Each line of a program's own, with those that continue it."""
    first = ""
    rest: list[str] = []
    for line in output.splitlines():
        if _OWN.match(line):
            if first:
                yield first, rest
            first, rest = line, []
        else:
            rest.append(line)
    if first:
        yield first, rest


def _shown(first: str, rest: list[str]) -> str:
    own = _OWN.match(first)
    assert own
    if _STATEMENT.match(own["words"]):
        return ""
    words, *server = SEVERITY.split(first, maxsplit=1)
    if not server:
        return first if not own["detail"] else ""
    context = next((line for line in rest if line.startswith("CONTEXT:")), "")
    known = _OURS.fullmatch(context) if context else _FORMS.fullmatch(server[0])
    return f"{words}{server[0] if known else WITHHELD}"
