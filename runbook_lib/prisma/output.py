"""What the Prisma CLI prints, understood: `migrate status`, and how its commands fail.

What is not understood raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote

from runbook_lib.errors import ToolError
from runbook_lib.redact import redact
from runbook_lib.refusal import Refusal, debugged
from runbook_lib.table import Shown, Table

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_DATASOURCE = re.compile(
    r'^Datasource "(?P<name>[^"]*)": (?P<provider>.+?) database(?: "(?P<database>[^"]*)")?'
    r'(?:, schemas? "(?P<schema>[^"]*)")?(?: at "(?P<location>[^"]*)")?\s*$',
    re.MULTILINE,
)
_FOUND = re.compile(r"^(?:(\d+) migrations?|No migration) found in ", re.MULTILINE)
_BEHIND = re.compile(
    r"^Following migrations? have not yet been applied:\n((?:.+\n?)+)", re.MULTILINE
)
_FAILED = re.compile(r"^Following migrations? have failed:\n((?:.+\n?)+)", re.MULTILINE)
_DIVERGED = re.compile(r"^The migrations? have not yet been applied:\n((?:.+\n?)*)", re.MULTILINE)
_ABSENT = re.compile(
    r"^The migrations? from the database are not found locally[^\n]*:\n((?:.+\n?)+)", re.MULTILINE
)
_CODE = re.compile(r"^Error(?:\s+code)?:\s*(P\d{4})\b", re.MULTILINE)
_SQLSTATE = re.compile(r"^Database error code: (\w+)", re.MULTILINE)
_NAME = re.compile(r"^Migration name: (.+)$|^The `([^`]+)` migration started at", re.MULTILINE)
_APPLYING = re.compile(r'::Applying migration\s+with migration_name="([^"\n]+)"')
"""Where the engine's own trace says which file it was applying.

What a server said before can imitate it.
"""
_DATABASE_ERROR = re.compile(r"^Database error:", re.MULTILINE)
"""After this line of the CLI's, everything is the server's, to the end."""
_HEAD = re.compile(
    r"Error\b(?::\s*(?:P\d{4})?\s*| code: P\d{4}|: Prisma schema validation.*)"
    r"|A migration failed to apply\. .*|Migration name: .*|Database error code: \w+|\s*"
)
"""The lines in which the CLI itself says that a command failed."""
_OF_PRISMA = re.compile(r"P10\d\d|P30(?:0[1-57-9]|1[0-3579]|2\d)")
"""Codes of errors that Prisma tells in its own words. The others hand on what the server said:
P2010, P3000, P3006, P3014, P3016, P3018.
"""
PID = "__prisma_pid="
"""How the line begins by which `cli.deploy` learns the process id."""


@dataclass(frozen=True)
class Datasource:
    """The database that the CLI says it speaks to; empty and None where it does not say."""

    database: str
    schema: str
    host: str
    port: int | None


@dataclass(frozen=True)
class Status(Shown):
    """What `prisma migrate status` says.

    Args:
        pending: names of migrations not applied yet.
        failed: names of those that failed or still run. **Prisma names none while others are
            pending**: then
            `failed_known` is False, and only `_prisma_migrations` tells
            (`runbook_lib.prisma.history`).
        missing: names of those applied that have no file.
        up_to_date: nothing pending, failed or missing.
        managed: False where the database has no history of Prisma's.
        found: how many migrations the CLI found on disk.
        datasource: which database it looked at.
        output: what it printed, redacted.
    """

    pending: tuple[str, ...]
    failed: tuple[str, ...]
    failed_known: bool
    missing: tuple[str, ...]
    up_to_date: bool
    managed: bool
    found: int
    datasource: Datasource
    output: str

    def table(self) -> Table:
        """The status as rows."""
        failed = self.failed if self.failed_known else "not said while files are pending"
        rows = [
            ("pending", self.pending),
            ("failed", failed),
            ("missing on disk", self.missing),
            ("up to date", self.up_to_date),
            ("migrations found", self.found),
            (
                "database",
                f"{self.datasource.database} at {self.datasource.host}:{self.datasource.port}",
            ),
        ]
        return Table(
            "prisma migrate status",
            ("", ""),
            rows,
            [
                "bad" if name in ("failed", "missing on disk") and value else ""
                for name, value in rows
            ],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {key: value for key, value in asdict(self).items() if key != "output"}


class PrismaFailed(ToolError):
    """The Prisma CLI failed.

    Args:
        code: Prisma's own, e.g. P1001; empty where it printed none.
    """

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        code: str = "",
        status: int | None = None,
        output: str = "",
    ) -> None:
        super().__init__(message, remedy, status=status, output=output)
        self.code = code


class MigrationFailed(PrismaFailed):
    """`migrate deploy` failed.

    Args:
        migration: the file that failed; empty where none did, or it is not said.
        sqlstate: PostgreSQL's code, where it was printed.
        applying: the file that Prisma was applying where it met an error that is not of the file's
            own statements.
        answered: whether that error was the server's answer.
        cause: who or what made it fail, where that is known from elsewhere, e.g. "cancelled by
            guard".
    """

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        code: str = "",
        migration: str = "",
        sqlstate: str = "",
        status: int | None = None,
        output: str = "",
        cause: str = "",
        applying: str = "",
        answered: bool = False,
    ) -> None:
        super().__init__(message, remedy, code=code, status=status, output=output)
        self.migration = migration
        self.sqlstate = sqlstate
        self.applying = applying
        self.answered = answered
        self.cause = cause


@dataclass(frozen=True)
class Failure:
    """What the CLI said of a failure.

    Its code, the migration, the SQLSTATE, and a reason without data.
    """

    code: str
    migration: str
    sqlstate: str
    reason: str


REMEDIES = {
    "P1000": "check user and password that the reference in `database: url:` leads to",
    "P1001": "check host and port, and that the server runs",
    "P1002": "another deployment holds Prisma's advisory lock, or the server does not answer: see "
    "who, then try again",
    "P1003": "the database is not there; it is never created here",
    "P1010": "the role has no right to this database",
    "P1012": "correct the schema file where the message says",
    "P1017": "the server closed the connection: it may still be running the statement; see "
    "pg_stat_activity and its log",
    "P3005": "the database has tables but no history: baseline it (`migrate resolve --applied` for "
    "what is there)",
    "P3008": "it is recorded as applied already: nothing is to do",
    "P3009": "find out whether the migration failed or still runs, and what landed, before you "
    "resolve it: 95_troubleshoot",
    "P3011": "the name is not in the database: give the whole name of the folder",
    "P3012": "it is not in a failed state: only a failed migration can be marked as rolled back",
    "P3015": "a migration folder has no migration.sql: restore it",
    "P3017": "there is no such folder on disk: give the whole name",
    "P3018": "see what landed before you resolve it: 90_rollback",
    "P3019": "migration_lock.toml names another kind of database than the schema",
}
"""What to do, by Prisma's error code."""


def clean(line: str) -> str:
    """A line without colours."""
    return _ANSI.sub("", line)


_FAILED_LINE = re.compile(r"\w*Error\b")
_ENGINE = re.compile(r"^\s+\d+: \w+::|^Database error|DriverAdapterError|db error:", re.MULTILINE)
"""By which one sees that an engine met an error, and hands on what the server said."""
_SEVERITY = re.compile(
    r"(?:^|(?<=: ))(?!E(?:ACC|NO|PERM|MF|CONN|ADDR|AI_|TIME|HOST|PIPE))[^\Wa-z\d_]{2,}: "
)
"""How it begins, in whatever language: `ERROR: `, `FEHLER: `. Codes of the system's errors begin
so, too.
"""


class Quiet:
    """Passes the CLI's own lines on, and nothing of what it hands on from a server.

    Texts, details, SQL of a file.

    Of a command that fails, only the lines in which the CLI itself says so are passed, and what
    follows where its code is one of Prisma's own errors. After the first line of another kind
    nothing is: a value of a row has as many as it likes.
    """

    def __init__(self) -> None:
        self._failed = self._own = self._over = False

    def line(self, line: str) -> str | None:
        """The line to show; None where it is to be left out."""
        line = clean(line)
        self._failed = self._failed or bool(_FAILED_LINE.match(line)) or _handed_on(line)
        if not self._failed:
            return line
        self._own = not self._over and (self._own or _own(line))
        self._over = self._over or not (self._own or _HEAD.fullmatch(line))
        return None if self._over else line

    @classmethod
    def text(cls, output: str) -> str:
        """All of an output."""
        if not _handed_on(clean(output)):
            return clean(output)
        quiet = cls()
        return "\n".join(line for line in map(quiet.line, output.splitlines()) if line is not None)


class Lines:
    """Hand lines on as they come, without what they may not show.

    And the process id from the first.

    Args:
        on_line: called with each line that says something.
        on_start: called with the process id.
    """

    def __init__(
        self, on_line: Callable[[str], None] | None, on_start: Callable[[int], None] | None
    ) -> None:
        self._on_line, self._on_start, self._quiet = on_line, on_start, Quiet()

    def __call__(self, line: str) -> None:
        """Take one line of the CLI's output."""
        if line.startswith(PID):
            if self._on_start:
                self._on_start(int(line.removeprefix(PID)))
            return
        shown = self._quiet.line(line)
        if self._on_line and shown is not None and shown.strip():
            self._on_line(shown)


def _handed_on(text: str) -> bool:
    """Return whether an engine hands on in it what a server said."""
    foreign = any(not _OF_PRISMA.fullmatch(code) for code in _CODE.findall(text))
    return foreign or bool(_ENGINE.search(text) or _SEVERITY.search(text))


def _own(line: str) -> bool:
    """Return whether an error's code says that the words are Prisma's."""
    code = _CODE.match(line)
    return bool(code and _OF_PRISMA.fullmatch(code[1]))


def refused(text: str) -> str:
    """What the server refused, by what the engine prints of it field by field.

    The code alone where it prints none.
    """
    head = _DATABASE_ERROR.split(text, maxsplit=1)[0]
    code = _SQLSTATE.search(head)
    found = debugged(text)
    if found:
        return redact(str(found))
    return redact(str(Refusal(code[1]))) if code else ""


def datasource(output: str) -> Datasource:
    """The line with which each command begins that speaks to a database."""
    found = _DATASOURCE.search(output)
    if not found:
        return Datasource("", "", "", None)
    host, _, port = (found["location"] or "").rpartition(":")
    if not port.isdigit():
        host, port = found["location"] or "", "5432" if found["location"] else ""
    return Datasource(
        unquote(found["database"] or ""),
        found["schema"] or "",
        host.strip("[]"),
        int(port) if port else None,
    )


def status(output: str, exit_status: int) -> Status:
    """`migrate status`, understood.

    Raises:
        PrismaFailed: it failed, or says nothing that is known here: no answer is never taken for a
            good one.
    """
    text = "\n".join(map(clean, output.splitlines()))
    found, behind, failed, diverged, absent = (
        pattern.search(text) for pattern in (_FOUND, _BEHIND, _FAILED, _DIVERGED, _ABSENT)
    )
    current, unmanaged = (
        "Database schema is up to date!" in text,
        "The current database is not managed by Prisma Migrate" in text,
    )
    told = bool(found) and (bool(behind or failed or diverged or unmanaged) != current)
    if _CODE.search(text) or not told or current != (exit_status == 0):
        raise failure(
            "prisma migrate status",
            text,
            exit_status,
            "it says neither that the database is up to date nor what is pending",
        )
    pending = _listed(behind) + _listed(diverged)
    return Status(
        pending,
        _listed(failed),
        not behind and not diverged,
        _listed(absent),
        current,
        not unmanaged,
        int(found[1] or 0) if found else 0,
        datasource(text),
        Quiet.text(text),
    )


def _listed(found: re.Match[str] | None) -> tuple[str, ...]:
    return tuple(found[1].splitlines()) if found else ()


def read(output: str) -> Failure:
    """What a failed command said."""
    text = "\n".join(map(clean, output.splitlines()))
    shown = Quiet.text(text)
    code, state, name = (pattern.search(shown) for pattern in (_CODE, _SQLSTATE, _NAME))
    sqlstate = state[1] if state and len(state[1]) == 5 else ""
    unsaid = (
        "it printed no reason" if shown == text else "its reason is not shown, it can quote a row"
    )
    told = shown == text or "Error" in shown  # else the CLI's greeting is all that may be shown
    reason = refused(text) or (_first(shown) if told else "") or unsaid
    return Failure(
        code[1] if code else "", (name[1] or name[2]) if name else "", sqlstate, redact(reason)
    )


def applying(output: str, files: Collection[str]) -> str:
    """Return which of these files an engine was applying when it met an error.

    Empty for an error of the file's own statements.
    """
    text = clean(output)
    found = _APPLYING.findall(text) if not _CODE.search(text) else []
    return found[-1] if found and found[-1] in files else ""


def answered(output: str) -> bool:
    """Return whether the error was the server's answer, and not that there was none."""
    return any(_SEVERITY.search(line) for line in clean(output).splitlines() if "Error" in line)


def _first(text: str) -> str:
    """The first line of the error itself; the code alone is none."""
    lines = [line.strip() for line in text[max(text.find("Error"), 0) :].splitlines()]
    told = [re.sub(r"^Error:?\s*(P\d{4}:?)?\s*", "", line) for line in lines]
    return next((line for line in told if line), "")


def failure(command: str, output: str, exit_status: int, unsaid: str = "") -> PrismaFailed:
    """The error for a command that failed, or (`unsaid`) whose answer is not understood."""
    found, spoken = read(output), re.search(r"^Error\b", clean(output), re.MULTILINE)
    why = ": ".join(
        part
        for part in (found.code, found.reason if found.code or spoken or not unsaid else unsaid)
        if part
    )
    return PrismaFailed(
        f"`{command}` failed with status {exit_status}: {why}",
        REMEDIES.get(
            found.code, "run it by hand in the project's folder, and read all that it prints"
        ),
        code=found.code,
        status=exit_status,
        output=Quiet.text(output),
    )
