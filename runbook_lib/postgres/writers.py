"""Who wrote: the counters of every table, and the transactions whose rows stand in one.

A row carries the number of the transaction that wrote it, and a snapshot tells which numbers were
finished by then: so rows that were written since an instant are told exactly, whoever wrote them.
What a transaction deleted is in the counters only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading

LARGE_OBJECTS = "pg_catalog.pg_largeobject"
_CATALOGUE = ("pg_catalog.",)
_ROWS = """
WITH found AS (SELECT xmin::text::bigint AS x, count(*) AS rows FROM ONLY {table} GROUP BY xmin),
counted AS (
  SELECT CASE WHEN top - mod(top, 4294967296) + x > top
              THEN top - mod(top, 4294967296) + x - 4294967296
              ELSE top - mod(top, 4294967296) + x END AS xid, rows
  FROM found, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS top) AS t
  WHERE x >= 3
)
SELECT xid, sum(rows)::bigint AS rows FROM counted
WHERE xid >= 3 AND NOT pg_visible_in_snapshot(xid::text::xid8, '{then}'::pg_snapshot)
GROUP BY xid ORDER BY xid
"""


@dataclass(frozen=True)
class Written:
    """Rows that were written in one table, committed or not."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted)

    def __str__(self) -> str:
        counts = asdict(self).items()
        return ", ".join(f"{count:,} {what}".replace(",", " ") for what, count in counts if count)


@dataclass(frozen=True)
class Counters:
    """What the server counted until an instant.

    Args:
        since: what begins the counts anew where it changes: a reset, a crash.
        counting: whether it counts at all.
        tables: of every table, the catalogues' among them.
        files: table → the number of its file: TRUNCATE and whatever rewrites it give it a new one,
            and count no row.
    """

    since: str
    counting: bool
    tables: Mapping[str, Written]
    files: Mapping[str, int]

    def until(self, later: Counters) -> Mapping[str, Written] | None:
        """What was written by table, nothing left out but what wrote nothing.

        `None` where the counts began anew.
        """
        if self.since != later.since or not (self.counting and later.counting):
            return None
        found = {}
        for name, now in later.tables.items():
            then = self.tables.get(name, Written())
            less = Written(
                now.inserted - then.inserted,
                now.updated - then.updated,
                now.deleted - then.deleted,
            )
            if min(less.inserted, less.updated, less.deleted) < 0:
                return None
            if less:
                found[name] = less
        return found

    def renewed(self, later: Counters) -> tuple[str, ...]:
        """The tables that were emptied or rewritten."""
        both = self.files.keys() & later.files.keys()
        return tuple(sorted(name for name in both if self.files[name] != later.files[name]))

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Counters:
        """What `as_dict` gave."""
        tables = {name: Written(**one) for name, one in data["tables"].items()}
        return cls(data["since"], data["counting"], tables, data["files"])


def counters(db: Database) -> Counters:
    """The counts as they are now.

    Sessions report with up to ten seconds' delay, and at once when they end.
    """
    with reading(db):
        db.execute("SELECT pg_stat_clear_snapshot()")
        now = db.row(query("writers_instant")) or {}
        rows = db.rows(query("writers_counters"))
    tables = {row["name"]: Written(row["inserted"], row["updated"], row["deleted"]) for row in rows}
    files = {row["name"]: row["file"] for row in rows}
    return Counters(now["since"], now["counting"], tables, files)


def of_tables(written: Mapping[str, Written]) -> dict[str, Written]:
    """What was written in tables that hold data, large objects among them."""
    return {
        name: one
        for name, one in written.items()
        if name == LARGE_OBJECTS or not name.startswith(_CATALOGUE)
    }


def rows_since(db: Database, table: str, then: str) -> dict[int, int]:
    """Return the transactions that wrote a table's rows and were unfinished in a snapshot.

    With how many rows each.

    Args:
        table: qualified and quoted.
        then: the snapshot, as `pg_current_snapshot()` writes it.
    """
    with reading(db, statement_timeout_s=4 * 3600, lock_timeout_s=10):
        found = db.rows(_ROWS.format(table=table, then=then))
    return {row["xid"]: row["rows"] for row in found}


def of_definitions(db: Database, then: str) -> frozenset[int]:
    """Return the transactions that made columns, constraints and enum labels since a snapshot."""
    with reading(db):
        return frozenset(
            row["xid"] for row in db.rows(query("writers_definitions"), {"then": then})
        )


def at_work(db: Database) -> dict[int, str]:
    """Return this database's transactions that have written and not ended.

    Each with its application's name.
    """
    return {row["xid"]: row["application"] for row in db.sessions(query("writers_at_work"))}
