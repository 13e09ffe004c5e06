"""Why a migration failed.

One of a fixed set of causes, from SQLSTATE and the server's state, and where each is explained.
"""

from __future__ import annotations

from enum import StrEnum

from runbook_lib.errors import DatabaseError
from runbook_lib.phases.base import Phase
from runbook_lib.postgres.connection import query, reach
from runbook_lib.prisma.cli import MigrationFailed
from runbook_lib.run import moment

NOTEBOOK = "95_troubleshoot.ipynb"


class Cause(StrEnum):
    """Why a migration failed."""

    LOCK_TIMEOUT = "lock timeout"
    STATEMENT_TIMEOUT = "statement timeout"
    DEADLOCK = "deadlock"
    DISK_FULL = "disk full"
    FOREIGN_KEY = "foreign key violated"
    UNIQUE = "duplicate values"
    NOT_NULL = "NULL where none is allowed"
    CHECK = "check violated"
    SYNTAX = "a statement that the server does not accept"
    PERMISSION = "permission denied"
    CONNECTION_LOST = "connection lost"
    SERVER_CRASHED = "the server crashed or was restarted"
    GUARD = "cancelled by guard"
    KILLED = "cancelled or killed from outside"
    RECORD = "Prisma's own record of the file was refused"
    UNKNOWN = "unknown"

    @property
    def link(self) -> str:
        """Where 95_troubleshoot explains it with this database's numbers."""
        return f"{NOTEBOOK}#{_SECTIONS[self].replace(' ', '-')}"


_SECTIONS = {
    Cause.LOCK_TIMEOUT: "Lock conflicts",
    Cause.DEADLOCK: "Lock conflicts",
    Cause.GUARD: "Lock conflicts",
    Cause.STATEMENT_TIMEOUT: "Timeouts",
    Cause.DISK_FULL: "Disk space",
    Cause.FOREIGN_KEY: "Violated constraints",
    Cause.UNIQUE: "Violated constraints",
    Cause.NOT_NULL: "Violated constraints",
    Cause.CHECK: "Violated constraints",
    Cause.SYNTAX: "Refused statements",
    Cause.PERMISSION: "Refused statements",
    Cause.CONNECTION_LOST: "Lost sessions",
    Cause.SERVER_CRASHED: "Lost sessions",
    Cause.KILLED: "Lost sessions",
    Cause.RECORD: "Prisma's own record",
    Cause.UNKNOWN: "Where it stands",
}
_BY_SQLSTATE = {
    "55P03": Cause.LOCK_TIMEOUT,
    "40P01": Cause.DEADLOCK,
    "53100": Cause.DISK_FULL,
    "23503": Cause.FOREIGN_KEY,
    "23505": Cause.UNIQUE,
    "23502": Cause.NOT_NULL,
    "23514": Cause.CHECK,
    "42501": Cause.PERMISSION,
}
_GONE = ("57P01", "57P02", "57P03", "08")
"""SQLSTATEs of a session that the server, or somebody, has ended."""
_BY_PRISMA = {
    "P1001": Cause.CONNECTION_LOST,
    "P1002": Cause.CONNECTION_LOST,
    "P1017": Cause.CONNECTION_LOST,
    "P1010": Cause.PERMISSION,
    "P1000": Cause.PERMISSION,
}


def cause(
    error: MigrationFailed, *, by_guard: bool, restarted: bool | None, in_time: bool
) -> Cause:
    """Why a migration failed.

    Args:
        by_guard: whether the guard cancelled it.
        restarted: whether the server was started since the migration began; `None` where it does
            not answer.
        in_time: whether the failed file took less than one statement may take: then it was no
            statement timeout.
    """
    state = error.sqlstate
    if by_guard and (not state or state in ("57014", "57P01")):
        return Cause.GUARD
    if state == "57014":
        return (
            Cause.STATEMENT_TIMEOUT
            if not in_time and "user request" not in error.message  # as the server says in English
            else Cause.KILLED
        )
    if state in _BY_SQLSTATE:
        return _BY_SQLSTATE[state]
    if state.startswith(_GONE) or not state:
        return _ended(error, restarted)
    return Cause.SYNTAX if state.startswith(("42", "0A", "2BP", "3F")) else Cause.UNKNOWN


def _ended(error: MigrationFailed, restarted: bool | None) -> Cause:
    """Of a migration that lost its session, or whose CLI did not say what happened."""
    if restarted:
        return Cause.SERVER_CRASHED
    if restarted is None:
        return Cause.CONNECTION_LOST
    if (
        error.sqlstate.startswith("57P0")
        or (error.status or 0) < 0
        or (error.status or 0) > 128
        or "deadline" in error.message
    ):
        return Cause.KILLED
    if error.code or error.sqlstate:
        return _BY_PRISMA.get(
            error.code, Cause.CONNECTION_LOST if error.sqlstate else Cause.UNKNOWN
        )
    if not error.applying:
        return Cause.UNKNOWN
    return Cause.RECORD if error.answered else Cause.CONNECTION_LOST


def recorded(why: Cause, unfinished: bool) -> str:
    """Return what it means for a file that Prisma's own record of it was refused.

    Empty for any other cause.

    Args:
        unfinished: whether the record says that the file was begun.
    """
    if why is not Cause.RECORD:
        return ""
    if unfinished:
        return (
            "all statements of the file have run, and Prisma could not write into "
            "`_prisma_migrations` that they have: 90_rollback proves what landed, and marks it"
        )
    return (
        "Prisma could not write into `_prisma_migrations` that it begins the file: "
        "none of its statements has run"
    )


def of(phase: Phase, error: MigrationFailed, *, by_guard: bool) -> Cause:
    """Why this phase's migration failed, the server asked how it is."""
    begun = [line["at"] for line in phase.run.read_journal() if line["what"] == "migration begun"][
        -1
    ]
    asked = {"since": moment(begun), "seconds": phase.params.migrate.statement_timeout_s}
    try:
        with reach(phase.target, phase.application_name) as db:
            row = db.row(query("activity_server"), asked) or {}
    except DatabaseError:
        return cause(error, by_guard=by_guard, restarted=None, in_time=False)
    return cause(error, by_guard=by_guard, restarted=row["restarted"], in_time=row["in_time"])
