r"""Who has a database: one run, from announce to close.

The record is the end of the database's comment. Every machine and every archive sees it there (so
does `\l+` in psql). It follows the database when it is renamed, no copy carries it, Prisma does
not see it, and the owner of the database may write it. What the comment said before stays in front
of it, unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from runbook_lib.errors import DatabaseError, Refused
from runbook_lib.postgres import databases, locks
from runbook_lib.postgres.connection import Database, query

PREFIX = "runbook lease: "
_RECORD = re.compile(rf"(?:\n|; its comment was: )?{PREFIX}(\{{.*\}})\Z", re.DOTALL)
"""The record, with what parts it from a comment, or from the note of a swap on a database that had
none.
"""


@dataclass(frozen=True)
class Lease:
    """That a run has a database.

    Args:
        run: its id.
        person, host: who took it, and where.
        since: when, UTC, as ISO 8601.
    """

    run: str
    person: str
    host: str
    since: str

    def __str__(self) -> str:
        since = self.since[:16].replace("T", " ")
        return f"run {self.run} ({self.person} on {self.host}, since {since} UTC)"


def read(comment: str) -> Lease | None:
    """Return the lease that a database's comment records.

    Raises:
        Refused: there is one, and it cannot be read: then nobody knows whose the database is.
    """
    if PREFIX not in comment:
        return None
    try:
        return Lease(**json.loads(_RECORD.search(comment)[1]))  # type: ignore[index]
    except (TypeError, ValueError):
        raise Refused(
            "a run has this database, but the record in the database's comment cannot be read",
            "read the comment (`\\l+` in psql), ask who edited it, and set it right",
        ) from None


def without(comment: str) -> str:
    """Return a database's comment as it was before a run took the database."""
    return _RECORD.sub("", comment)


def standing(admin: Database, oid: int) -> Lease | None:
    """Return who has the database of that number.

    `admin` is a session on any database of the server.
    """
    found = admin.row(query("lease"), [oid])
    return read(found["comment"]) if found else None


def take(
    admin: Database, oid: int, mine: Lease, instead_of: Callable[[Lease], bool]
) -> Lease | None:
    """Record that a run has a database; two that try at once are served one after the other.

    Args:
        instead_of: says of another run's lease whether it may be replaced.

    Returns:
        the lease that stood before.

    Raises:
        Refused: another run has it.
        DatabaseError: this role may not write the record (42501), or there is no such database.
    """
    with admin.transaction():
        admin.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [locks.RUNBOOK, f"lease {oid}"]
        )
        found = admin.row(query("lease"), [oid])
        if found is None:
            raise DatabaseError(f"there is no database with oid {oid}", "check `database.url`")
        before, comment = read(found["comment"]), without(found["comment"])
        if before and before.run != mine.run and not instead_of(before):
            raise held(before)
        if before is None or before.run != mine.run:
            record = PREFIX + json.dumps(asdict(mine), ensure_ascii=False)
            databases.comment_on(
                admin, found["name"], f"{comment}\n{record}" if comment else record
            )
        return before


def release(admin: Database, oid: int, run: str) -> bool:
    """Remove a run's lease; whether it had one. That of another run stays."""
    with admin.transaction():
        admin.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [locks.RUNBOOK, f"lease {oid}"]
        )
        found = admin.row(query("lease"), [oid])
        before = read(found["comment"]) if found else None
        if not found or not before or before.run != run:
            return False
        databases.comment_on(admin, found["name"], without(found["comment"]) or None)
        return True


def held(by: Lease, reference: str = "") -> Refused:
    """Return the refusal that names who has the database.

    Args:
        reference: what names that run to a command here, where it is another thing than its id.
    """
    run = reference or by.run
    return Refused(
        f"{by} has this database, from its 50_announce to its 80_close",
        f"end that run first (`runbook resume {run}`, or `runbook rollback {run}`); if it is "
        "abandoned and its people know: the same command with `--take-over`",
    )
