"""Name what a dump leaves out, what a swap leaves behind, and what keeps a role from dumping.

A swap by name leaves some things with the old database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.check import Check, check
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading
from runbook_lib.table import Shown, Table

MEANS = {
    "logical replication slot": (
        "it stays with the old database when a copy takes its name: whoever reads it sees nothing "
        "of what is written afterwards",
        "tell its consumer; after a way back, make the slot anew and let the consumer begin with "
        "a fresh copy",
    ),
    "subscription": (
        "no copy subscribes; it stays with the old database, and goes on bringing changes into it",
        "after a way back, disable it there (ALTER SUBSCRIPTION … DISABLE) and make it anew in "
        "the new database",
    ),
    "prepared transaction": (
        "what it wrote is in no dump, and a swap by name waits for its end",
        "COMMIT PREPARED or ROLLBACK PREPARED",
    ),
    "invalid index": (
        "pg_dump leaves it out: a copy, and the database after a way back, is without it",
        "DROP INDEX CONCURRENTLY it, and build it again",
    ),
    "foreign table": (
        "its rows are on another server, and are neither dumped nor compared",
        "back that server up by itself",
    ),
    "user mapping": (
        "its options, passwords among them, are seen by a superuser alone: a copy may lack them",
        "keep CREATE USER MAPPING at hand",
    ),
    "unlogged table": (
        "it comes up empty after a recovery to a point in time",
        "nothing, where its rows can be made anew",
    ),
    "event trigger": (
        "a role without superuser cannot make it: it is left out of a copy, and of the database "
        "after a way back",
        "have it made anew by a superuser after a way back",
    ),
    "publication of all tables": (
        "a role without superuser cannot make it: it is left out of a copy, and of the database "
        "after a way back",
        "have it made anew by a superuser after a way back",
    ),
    "extension of one database": (
        "it can be in one database of a server only: a copy beside this one is refused",
        "prove on another server (`backup.proof.server`), or move the extension to the database "
        "`postgres`",
    ),
    "security label": (
        "a restore needs the label's provider loaded on the server",
        "see `shared_preload_libraries` of the server for proofs",
    ),
    "row security": (
        "its policies hide rows from this role: pg_dump refuses to dump a part",
        "ALTER ROLE … BYPASSRLS, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY",
    ),
    "no right to read": ("pg_dump is refused", "GRANT SELECT on it to this role"),
}
"""What each kind means for whoever relies on a copy, and what to do."""
STAYS = ("logical replication slot", "subscription")
"""What a swap by name leaves with the old database, and whose consumers or sources notice."""


@dataclass(frozen=True)
class Left:
    """One thing that a copy is without, or that is in the way of one.

    Args:
        kind: one of `MEANS`.
        held: whether a swap by name waits for its end.
        refused: whether it keeps this role from dumping, or a copy from coming up.
    """

    kind: str
    name: str
    held: bool
    refused: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class LeftOut(Shown):
    """All of it."""

    items: tuple[Left, ...]

    @property
    def staying(self) -> tuple[Left, ...]:
        """What a swap by name leaves with the old database."""
        return tuple(one for one in self.items if one.kind in STAYS)

    @property
    def held(self) -> tuple[Left, ...]:
        """What a swap by name waits for."""
        return tuple(one for one in self.items if one.held)

    def dumpable(self) -> Check:
        """Whether nothing keeps this role from dumping, nor the dump from coming up."""
        wrong = [one for one in self.items if one.refused]
        said = "; ".join(f"{one}: {MEANS[one.kind][0]}" for one in wrong[:5])
        remedy = "; ".join(dict.fromkeys(MEANS[one.kind][1] for one in wrong))
        title = "this role can dump everything, and the dump can come up"
        return check("backup.dumpable", title, not wrong, said or "yes", "yes", remedy)

    def table(self) -> Table:
        """One row a thing: what it is, what that means, what to do."""
        rows = [(one.kind, one.name, *MEANS[one.kind]) for one in self.items]
        title = (
            f"{len(rows)} things are in no copy of this database, or stay with the old one"
            if rows
            else "A dump leaves nothing out"
        )
        marks = ["bad" if one.refused else "unknown" for one in self.items]
        return Table(title, ("what", "name", "that means", "what to do"), rows, marks)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"items": [asdict(one) for one in self.items]}


def left_out(db: Database) -> LeftOut:
    """Return what a dump by this role would leave out, and what a swap would leave behind.

    Raises:
        DatabaseError: the catalogue cannot be read.
    """
    with reading(db):
        return LeftOut(tuple(Left(**row) for row in db.rows(query("dump_leaves_out"))))


def words(items: Iterable[Left]) -> str:
    """Return things with what each means, one after the other."""
    return "; ".join(f"{one}: {MEANS[one.kind][0]}" for one in items)
