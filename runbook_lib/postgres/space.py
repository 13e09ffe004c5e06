"""What fills the server's disks, and what would free them: an estimate each, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.table import Shown, Table, size


@dataclass(frozen=True)
class Use:
    """One thing that takes room.

    Args:
        kind: "tablespace", "database", "write-ahead log", "replication slot", "temporary files" or
            "table".
        bytes: what it takes; `None` where that is not known.
        frees: about how many bytes could be had back; `None` where nothing is known to help.
        how: by what; or why its size is not known.
    """

    kind: str
    name: str
    bytes: int | None
    frees: int | None = None
    how: str = ""


@dataclass(frozen=True)
class Space(Shown):
    """What takes room on the server."""

    items: tuple[Use, ...]

    @property
    def frees(self) -> tuple[Use, ...]:
        """What would free most, first."""
        return tuple(
            sorted((use for use in self.items if use.frees), key=lambda use: -(use.frees or 0))
        )

    def table(self) -> Table:
        """One row a thing."""
        best = self.frees[0] if self.frees else None
        title = (
            f"Most would be freed by {best.kind} {best.name}: about {size(best.frees)}"
            if best
            else "Nothing is known that would free much"
        )
        return Table(
            title,
            ("what", "name", "takes", "frees about", "how"),
            [(use.kind, use.name, size(use.bytes), size(use.frees), use.how) for use in self.items],
            ["unknown" if use.bytes is None else "" for use in self.items],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"uses": [asdict(use) for use in self.items]}


def space(db: Database) -> Space:
    """Return what takes room: tablespaces, databases, write-ahead log, temporary files, dead rows.

    Of the log, who keeps it.

    What this role may not ask is told as not known.
    """
    return Space(
        tuple(
            use
            for kind in ("tablespaces", "databases", "log", "slots", "temporary", "tables")
            for use in _asked(db, kind)
        )
    )


def _asked(db: Database, kind: str) -> Iterator[Use]:
    try:
        rows = db.rows(query(f"space_{kind}"))
    except DatabaseError as error:
        yield Use(_KINDS[kind], "not known", None, None, error.message)
        return
    for row in rows:
        yield Use(_KINDS[kind], row["name"], row["bytes"], row.get("frees"), _HOW[kind](row))


_KINDS = {
    "tablespaces": "tablespace",
    "databases": "database",
    "log": "write-ahead log",
    "slots": "replication slot",
    "temporary": "temporary files",
    "tables": "table",
}
_HOW: dict[str, Callable[[dict[str, Any]], str]] = {
    "tablespaces": lambda row: "",
    "databases": lambda row: (
        "DROP DATABASE: `runbook prune PARAMS` knows when it may go" if row["frees"] else ""
    ),
    "log": lambda row: (
        f"{row['files']} files; it shrinks by itself after checkpoints, unless something keeps "
        f"it: see the slots, and the archiver ({row['archiver']})"
    ),
    "slots": lambda row: (
        f"{'in use' if row['active'] else 'not in use'}, state {row['state']}; where its consumer "
        "is gone for good: "
        f"SELECT pg_drop_replication_slot({row['literal']})"
    ),
    "temporary": lambda row: (
        f"{row['files']} files of statements at work: they go with the statement"
    ),
    "tables": lambda row: (
        f"about {row['dead']} of its rows are dead: VACUUM makes their room usable again; VACUUM "
        "FULL gives it back, and locks the table meanwhile"
    ),
}
