"""Sizes, use and health as PostgreSQL counts them.

What charts of before and after are drawn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.sqltext import masked
from runbook_lib.table import Table, size

Row = Mapping[str, Any]
MOST = 1000
"""Statements that are read, as `queries/statistics_statements.sql` has it."""
SHOWN = 20
"""Of those, the ones that a table of all counters shows."""
LONGEST = 300
"""Characters of a statement that are kept."""


@dataclass(frozen=True)
class Statistics:
    """The counters of one database at one instant.

    Args:
        taken_at: ISO 8601, UTC.
        tables: name → table_bytes, index_bytes, estimated_rows (`None` where never analysed),
            live_rows, dead_rows,
            sequential_scans, rows_read_sequentially, index_scans, inserted, updated, deleted, …;
            all row counts are estimates.
        indexes: name → table, bytes, scans, valid, unique.
        database: blocks_from_cache, blocks_read, temporary_files, temporary_bytes, deadlocks,
            commits, rollbacks, bytes,
            max_connections, connections, counting, counted_since, started (the server), lsn, …
        connections: application, state, connections.
        statements: those that took most time, `MOST` at most (id, calls, total_ms, mean_ms, min_ms,
            max_ms, squares_ms2, rows,
            blocks_from_cache, blocks_read, temporary_blocks, statement without its constants);
            `None` where they cannot be read.
        missing_indexes: large tables of which sequential scans have read many rows (name, bytes,
            sequential_scans, index_scans,
            rows_read, rows_per_scan).
        covered_indexes: indexes that another one makes superfluous (name, covered_by).
        statements_why: why the statements cannot be read, and what to do.
        statements_since, statements_evicted: since when pg_stat_statements counts, and how often it
        had to forget some.
    """

    taken_at: str
    tables: Mapping[str, Row]
    indexes: Mapping[str, Row]
    database: Row
    connections: Sequence[Row]
    statements: Sequence[Row] | None
    missing_indexes: Sequence[Row]
    covered_indexes: Sequence[Row] = ()
    statements_why: str = ""
    statements_since: str | None = None
    statements_evicted: int = 0

    @property
    def cache_hit_ratio(self) -> float | None:
        """Part of the blocks that were found in shared buffers; `None` before the first block."""
        blocks = self.database["blocks_from_cache"] + self.database["blocks_read"]
        return self.database["blocks_from_cache"] / blocks if blocks else None

    def table(self) -> Table:
        """The tables, largest first."""
        rows = [
            (
                name,
                size(t["table_bytes"]),
                size(t["index_bytes"]),
                t["estimated_rows"],
                t["dead_rows"],
                t["sequential_scans"],
                t["index_scans"],
                t["inserted"],
                t["updated"],
                t["deleted"],
            )
            for name, t in self.tables.items()
        ]
        return Table(
            f"{len(rows)} tables, {size(self.database['bytes'])}",
            (
                "table",
                "size",
                "indexes",
                "rows (estimate)",
                "dead rows",
                "sequential scans",
                "index scans",
                "inserted",
                "updated",
                "deleted",
            ),
            rows,
        )

    def tables_shown(self) -> tuple[Table, ...]:
        """Everything, as several tables."""
        indexes = [
            (name, i["table"], size(i["bytes"]), i["scans"], i["valid"])
            for name, i in self.indexes.items()
        ]
        marks = ["" if i["valid"] else "bad" for i in self.indexes.values()]
        return (
            self.table(),
            Table(
                f"{len(indexes)} indexes",
                ("index", "table", "size", "scans", "valid"),
                indexes,
                marks,
            ),
            self._health(),
            Table(
                "Connections in this database",
                ("application", "state", "connections"),
                [tuple(row.values()) for row in self.connections],
            ),
            self._statements(),
            self.missing(),
        )

    def _health(self) -> Table:
        ratio = self.cache_hit_ratio
        rows = [
            ("cache hit ratio", "–" if ratio is None else f"{100 * ratio:.1f} %"),
            (
                "connections on the server",
                f"{self.database['connections']} of {self.database['max_connections']}",
            ),
            *(
                (key.replace("_", " "), self.database[key])
                for key in ("temporary_files", "deadlocks", "commits", "rollbacks")
            ),
            ("temporary bytes", size(self.database["temporary_bytes"])),
            ("counted", self.since),
        ]
        return Table("Database", ("what", "value"), rows)

    def _statements(self) -> Table:
        rows = [
            (s["statement"], s["calls"], s["mean_ms"], s["max_ms"], s["total_ms"], s["rows"])
            for s in list(self.statements or ())[:SHOWN]
        ]
        title = (
            "Statements by total time"
            if self.statements is not None
            else f"Statements: could not check, {self.statements_why}"
        )
        return Table(title, ("statement", "calls", "mean ms", "most ms", "total ms", "rows"), rows)

    def missing(self) -> Table:
        """Large tables of which sequential scans have read the most rows."""
        rows = [
            (
                m["name"],
                size(m["bytes"]),
                m["sequential_scans"],
                m["rows_read"],
                m["rows_per_scan"],
                m["index_scans"],
            )
            for m in self.missing_indexes
        ]
        return Table(
            "Tables that want an index: large, and read from end to end again and again, "
            f"{self.since}",
            (
                "table",
                "size",
                "sequential scans",
                "rows read by them",
                "rows per scan",
                "index scans",
            ),
            rows,
        )

    @property
    def since(self) -> str:
        """Since when the counters of tables, indexes and the database count, in words."""
        return f"since {self.database['counted_since'] or 'the beginning'}"

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Statistics:
        """What `as_dict` gave."""
        return cls(**data)

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables_shown())

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.tables_shown()))

    __repr__ = __str__


def read(db: Database) -> Statistics:
    """The counters as they are now. Sessions report what they did with up to ten seconds' delay.

    Raises:
        DatabaseError: a question was refused or took too long.
    """
    with reading(db):
        db.execute("SELECT pg_stat_clear_snapshot()")
        database, indexes = (
            _plain(db.row(query("statistics_database")) or {}),
            _by_name(db, "statistics_indexes"),
        )
        return Statistics(
            database.pop("time"),
            _tables(db, indexes),
            indexes,
            database,
            db.rows(query("statistics_connections")),
            missing_indexes=db.rows(query("statistics_missing_indexes")),
            covered_indexes=db.rows(query("statistics_covered_indexes")),
            **_statements(db),
        )


def written(then: Statistics, now: Statistics) -> dict[str, dict[str, int]] | None:
    """Table → rows "inserted", "updated" and "deleted" between two looks, those of none left out.

    `None` where the counters began anew in between: they were reset, or the server recovered from a
    crash.
    """
    counts = {
        name: {
            action: one[action] - then.tables.get(name, {}).get(action, 0)
            for action in ("inserted", "updated", "deleted")
        }
        for name, one in now.tables.items()
    }
    if any(now.database[key] != then.database[key] for key in ("counted_since", "started")) or any(
        count < 0 for one in counts.values() for count in one.values()
    ):
        return None
    return {
        name: some
        for name, one in counts.items()
        if (some := {action: count for action, count in one.items() if count})
    }


def statements_available(db: Database) -> bool:
    """Whether the extension is here and was loaded at start.

    Its schema is then on the transaction's search path.
    """
    found = _extension(db)
    return bool(found["loaded"] and found["schema"])


def _extension(db: Database) -> Row:
    found = db.row(query("statistics_extension")) or {}
    db.execute("SELECT set_config('search_path', %s, true)", [found["schema"] or ""])
    return found


def _unavailable(found: Row) -> str:
    """Why the statements of all roles cannot be read, and what to do; empty where they can."""
    if not found["loaded"]:
        return (
            "the server does not load pg_stat_statements: add it to shared_preload_libraries, and "
            "restart the server"
        )
    if not found["schema"]:
        return (
            "pg_stat_statements is not installed in this database: CREATE EXTENSION "
            "pg_stat_statements"
        )
    if not found["recent"]:
        return (
            f"pg_stat_statements {found['version']} is too old: ALTER EXTENSION "
            "pg_stat_statements UPDATE"
        )
    return (
        ""
        if found["sees_others"]
        else "this role does not see the statements of others: grant it pg_read_all_stats"
    )


def _statements(db: Database) -> dict[str, Any]:
    if why := _unavailable(_extension(db)):
        return {"statements": None, "statements_why": why}
    info = _plain(
        db.row("SELECT stats_reset AS since, dealloc AS evicted FROM pg_stat_statements_info") or {}
    )
    rows = [
        row | {"statement": masked(row["statement"])[:LONGEST]}
        for row in db.rows(query("statistics_statements"))
    ]
    return {
        "statements": rows,
        "statements_since": info["since"],
        "statements_evicted": info["evicted"],
    }


def _tables(db: Database, indexes: Mapping[str, Row]) -> dict[str, Row]:
    """Each table's counters, with the bytes of its indexes, which were asked for already."""
    tables, bytes_of = _by_name(db, "statistics_tables"), Counter[str]()
    for index in indexes.values():
        bytes_of[index["table"]] += index["bytes"]
    return {name: {**row, "index_bytes": bytes_of[name]} for name, row in tables.items()}


def _by_name(db: Database, name: str) -> dict[str, Row]:
    return {row.pop("name"): _plain(row) for row in db.rows(query(name))}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
        for key, value in row.items()
    }
