"""Where sequences stand, and how a restored database takes over where the live one stood.

No number is given out twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from runbook_lib.postgres.connection import Database, query


@dataclass(frozen=True)
class Position:
    """Where one sequence stands."""

    last_value: int
    is_called: bool
    increment: int

    def behind(self, other: Position) -> bool:
        """Whether the other has given out a number that this one has not."""
        sign = 1 if self.increment > 0 else -1
        return (sign * self.last_value, self.is_called) < (sign * other.last_value, other.is_called)


def positions(db: Database) -> Mapping[str, Position]:
    """Every sequence of the database, by its qualified and quoted name."""
    found = {}
    for row in db.rows(query("snapshot_sequences")):
        at = db.row(f"SELECT last_value, is_called FROM {row['name']}") or {}
        found[row["name"]] = Position(at["last_value"], at["is_called"], row["increment"])
    return found


def carry(live: Database, restored: Database) -> tuple[str, ...]:
    """Move the sequences of a restored database on to where those of the live one stand.

    Which were moved.
    """
    now = positions(live)
    behind = {
        name: now[name]
        for name, position in positions(restored).items()
        if name in now and position.behind(now[name])
    }
    for name, position in behind.items():
        restored.execute(
            sql.SQL("SELECT setval({}, {}, {})").format(
                sql.Literal(name), sql.Literal(position.last_value), sql.Literal(position.is_called)
            )
        )
    return tuple(behind)
