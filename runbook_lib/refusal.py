"""What PostgreSQL refused, told by the fields of its error and not by its words.

Rows of data reach an error through its DETAIL, CONTEXT, HINT and quoted statements, through
whatever a function raises under any SQLSTATE and in any language, and through primary messages that
quote a value. None of these is read. An error is told by its SQLSTATE, in the words of PostgreSQL's
Appendix A, and by the names that the server gives in fields of their own. The primary message joins
them only where no value of a row can reach it: the message is about the objects that a statement
names (`_NAMES_OBJECTS`, `_NAMES_WORDS`), and no function ran, for those show in CONTEXT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import Diagnostic

_NAMES_OBJECTS = (
    *("08", "0A000", "25", "28", "2B", "40", "53", "54", "55", "57"),
    *("42501", "42701", "42710", "42723", "42939", "42P04", "42P06", "42P07", "42P16", "42P17"),
)
"""SQLSTATEs, or classes of them, whose messages name objects that exist or are being made, or
nothing at all.
"""
_NAMES_WORDS = ("3D000", "3F000", "427", "428", "42P")
"""Those whose messages name what was asked for. A value can be asked for, too (`name::regclass`),
but has no place in a statement: only an error of parsing has one, and a utility command takes no
values.
"""
_UTILITY = re.compile(r"(AT|Alter|Create|Define|Drop|rename|transform)[A-Z]")
"""How the server's functions begin that carry out such commands."""
_RESOLVES = "RangeVarGetRelidExtended"
"""Looks up a relation for utility commands and for `::regclass` alike."""
_FIXED = "ProcessInterrupts"
"""Says in fixed words why it ends a statement or session, also within a function."""
_REPORTS_CONSTRAINTS = re.compile(
    r"_bt_check_unique|comparetup_index_btree\w*|check_exclusion_or_unique_constraint|"
    r"ri_ReportViolation|Exec\w+|AT\w+"
    r"|ReportNotNullViolationError|domain_check_input|RI_Initial_Check"
)
"""The server's own functions that name what was violated, in whatever function's statement."""
_NAMED = ("constraint", "column", "table", "data type")


@dataclass(frozen=True)
class Refusal:
    """One error of the server, by its fields.

    Args:
        sqlstate: the five characters.
        primary: its message.
        in_function: whether it has a CONTEXT: a function, a trigger or a COPY was at work.
        placed: whether it points at a place in the statement.
        routine: the server's function that raised it; always English.
    """

    sqlstate: str
    primary: str = ""
    in_function: bool = True
    placed: bool = False
    routine: str = ""
    schema: str = ""
    table: str = ""
    column: str = ""
    data_type: str = ""
    constraint: str = ""

    @classmethod
    def of(cls, diag: Diagnostic) -> Refusal:
        """Take an error of psycopg's apart."""
        return cls(
            diag.sqlstate or "",
            diag.message_primary or "",
            bool(diag.context or diag.internal_query),
            bool(diag.statement_position),
            diag.source_function or "",
            diag.schema_name or "",
            diag.table_name or "",
            diag.column_name or "",
            diag.datatype_name or "",
            diag.constraint_name or "",
        )

    def __str__(self) -> str:
        """Say what was refused; what is said holds no value of a row."""
        if self._tells_objects():
            return f"{self.primary} ({self.sqlstate})" if self.sqlstate else self.primary
        named = self._named()
        # a constraint by its name says all; of everything else the server's log holds the rest
        return f"{condition(self.sqlstate)}{': ' if named else ''}{named}" + (
            "" if named and self.constraint else WITHHELD
        )

    def _tells_objects(self) -> bool:
        if not self.primary or self.routine == "exec_stmt_raise":
            return False
        if self.routine == _FIXED:
            return True
        if self.in_function or not self.routine:
            return False
        asked_for = self.placed or bool(_UTILITY.match(self.routine))
        if self.sqlstate.startswith(_NAMES_OBJECTS):
            return asked_for or self.routine != _RESOLVES
        return asked_for and self.sqlstate.startswith(_NAMES_WORDS)

    def _named(self) -> str:
        """The names, where the server itself gave them.

        RAISE may put anything into these fields.
        """
        raised = self.routine == "exec_stmt_raise" or not self.routine
        if raised or (self.in_function and not _REPORTS_CONSTRAINTS.fullmatch(self.routine)):
            return ""
        table = ".".join(name for name in (self.schema, self.table) if name and self.table)
        kind = ".".join(name for name in (self.schema, self.data_type) if name and self.data_type)
        names = zip(_NAMED, (self.constraint, self.column, table, kind), strict=True)
        return " of ".join(f'{what} "{name}"' for what, name in names if name)


WITHHELD = "; the server's log has its message, which can quote a row"


def condition(sqlstate: str) -> str:
    """Return PostgreSQL's name of a condition with its code: "unique violation (23505)"."""
    try:
        name = psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return f"SQLSTATE {sqlstate}" if sqlstate else "an error without SQLSTATE"
    return f"{re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', name).lower()} ({sqlstate})"


_DEBUGGED = re.compile(r'^DbError \{ (?P<fields>(?:"(?:[^"\\]|\\.)*"|[^"])*) \}$')
_FIELD = re.compile(r'(\w+): (?:Some\()?(?:"((?:[^"\\]|\\.)*)"|SqlState\(E?(\w+)\)|(\w+))')


def debugged(text: str) -> Refusal | None:
    """Read the server's error as Prisma's engine prints its fields.

    The last line of that form, for a value may imitate one.
    """
    lines = (_DEBUGGED.match(line) for line in reversed(text.splitlines()))
    found = next((line for line in lines if line), None)
    if not found:
        return None
    told: dict[str, Any] = {}
    for name, quoted, state, word in _FIELD.findall(found["fields"]):
        value = re.sub(r"\\(.)", r"\1", quoted) or state or ("" if word == "None" else word)
        told.setdefault(name, value)
    return Refusal(
        told.get("code", ""),
        told.get("message", ""),
        bool(told.get("where_", "unknown")),
        bool(told.get("position")),
        *(
            told.get(name, "")
            for name in ("routine", "schema", "table", "column", "datatype", "constraint")
        ),
    )


SEVERITY = re.compile(r"(?:^|(?<=: ))\S+:  ")
"""Where libpq begins to quote the server, in whatever language that speaks: `ERROR: `, `FEHLER: `.
"""


def own_words(text: str) -> str:
    """Return the first line of what a client of libpq says, up to where it quotes the server."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return SEVERITY.split(first, maxsplit=1)[0].rstrip(": ")
