"""Read which transactions wrote which tables between two moments.

From the server's own log (pg_walinspect, PostgreSQL 16 and later).

It needs the extension in this database, and a right that an ordinary role has to be granted; where
either lacks, nothing is known from here. It knows what counters and content do not: rows that were
deleted, and tables that are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading

CLASSES = "pg_catalog.pg_class"
"""The catalogue that TRUNCATE writes, which changes no block of the table itself."""
_WRITTEN = """
WITH blocks AS MATERIALIZED (
  SELECT DISTINCT relfilenode::bigint AS file, xid::text::bigint AS x
  FROM {function}('{start}', '{end}', false)
  WHERE reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relforknumber = 0 AND resource_manager IN ('Heap', 'Heap2')
    AND record_type ~ '^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE)'
), counted AS (
  SELECT file, CASE WHEN top - mod(top, 4294967296) + x > top
                    THEN top - mod(top, 4294967296) + x - 4294967296
                    ELSE top - mod(top, 4294967296) + x END AS xid
  FROM blocks, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS top) AS t
  WHERE x >= 3
)
SELECT file, xid FROM counted
WHERE coalesce(pg_xact_status(xid::text::xid8), 'unknown') <> 'aborted' ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Files:
    """In which file each table lies at an instant.

    Args:
        names: the file's number → the table, or the table whose TOAST it holds.
        unlogged: tables of which the log says nothing.
    """

    names: Mapping[int, str]
    unlogged: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Files:
        """What `as_dict` gave."""
        return cls(
            {int(file): name for file, name in data["names"].items()}, tuple(data["unlogged"])
        )


@dataclass(frozen=True)
class Log:
    """What the log says of a span of time.

    Args:
        tables: table → the transactions that wrote its rows and did not fail.
        elsewhere: transactions that wrote in files of which it is not known whose they were.
        unlogged: tables of which the log says nothing.
    """

    tables: Mapping[str, frozenset[int]]
    elsewhere: frozenset[int]
    unlogged: tuple[str, ...]


def files(db: Database) -> Files:
    """In which file each table lies now."""
    with reading(db):
        rows = db.rows(query("wal_files"))
    return Files(
        {row["file"]: row["name"] for row in rows},
        tuple(row["name"] for row in rows if not row["logged"]),
    )


def written(db: Database, then: Files, now: Files, start: str, end: str) -> Log | None:
    """Who wrote what between two places of the log.

    `None` where it cannot be read, or does not hold everything.

    Args:
        then, now: where the tables lay at both ends.
        start, end: places of the log (LSN).
    """
    try:
        with reading(db, statement_timeout_s=120):
            allowed = db.row(query("wal_function"))
            if not allowed or not allowed["complete"]:
                return None
            rows = db.rows(_WRITTEN.format(function=allowed["function"], start=start, end=end))
    except DatabaseError:
        return None
    names = {**then.names, **now.names}
    moved = {
        file for file in then.names.keys() & now.names.keys() if then.names[file] != now.names[file]
    }
    tables: dict[str, set[int]] = {}
    elsewhere = {row["xid"] for row in rows if row["file"] not in names or row["file"] in moved}
    for row in rows:
        tables.setdefault(names.get(row["file"], ""), set()).add(row["xid"])
    return Log(
        {name: frozenset(xids) for name, xids in tables.items()},
        frozenset(elsewhere),
        tuple({*then.unlogged, *now.unlogged}),
    )
