"""Sizes, use and health as PostgreSQL counts them: what charts of before and after are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading
from runbook_lib.table import Table, size

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Statistics:
    """The counters of one database at one instant.

    Args:
        taken_at: ISO 8601, UTC.
        tables: name → table_bytes, index_bytes, estimated_rows (`None` where never analysed), live_rows, dead_rows,
            sequential_scans, index_scans, inserted, updated, deleted, …; all row counts are estimates.
        indexes: name → table, bytes, scans, valid, unique.
        database: blocks_from_cache, blocks_read, temporary_files, temporary_bytes, deadlocks, commits, rollbacks, bytes,
            max_connections, connections, counted_since, started (the server), lsn, …
        connections: application, state, connections.
        statements: the twenty that took most time (id, calls, total_ms, mean_ms, max_ms, rows, statement without its
            constants); `None` where pg_stat_statements is not available.
        missing_indexes: large tables that are mostly read from end to end.
    """

    taken_at: str
    tables: Mapping[str, Row]
    indexes: Mapping[str, Row]
    database: Row
    connections: Sequence[Row]
    statements: Sequence[Row] | None
    missing_indexes: Sequence[Row]

    @property
    def cache_hit_ratio(self) -> float | None:
        """Part of the blocks that were found in shared buffers; `None` before the first block."""
        blocks = self.database["blocks_from_cache"] + self.database["blocks_read"]
        return self.database["blocks_from_cache"] / blocks if blocks else None

    def table(self) -> Table:
        """The tables, largest first."""
        rows = [(name, size(t["table_bytes"]), size(t["index_bytes"]), t["estimated_rows"], t["dead_rows"], t["sequential_scans"], t["index_scans"],
                 t["inserted"], t["updated"], t["deleted"]) for name, t in self.tables.items()]
        return Table(f"{len(rows)} tables, {size(self.database['bytes'])}", (
            "table", "size", "indexes", "rows (estimate)", "dead rows", "sequential scans", "index scans", "inserted", "updated", "deleted"), rows)

    def tables_shown(self) -> tuple[Table, ...]:
        """Everything, as several tables."""
        indexes = [(name, i["table"], size(i["bytes"]), i["scans"], i["valid"]) for name, i in self.indexes.items()]
        marks = ["" if i["valid"] else "bad" for i in self.indexes.values()]
        return (self.table(), Table(f"{len(indexes)} indexes", ("index", "table", "size", "scans", "valid"), indexes, marks), self._health(),
                Table("Connections in this database", ("application", "state", "connections"), [tuple(row.values()) for row in self.connections]),
                self._statements(), self._missing())

    def _health(self) -> Table:
        ratio = self.cache_hit_ratio
        rows = [("cache hit ratio", "–" if ratio is None else f"{100 * ratio:.1f} %"),
                ("connections on the server", f"{self.database['connections']} of {self.database['max_connections']}"),
                *((key.replace("_", " "), self.database[key]) for key in ("temporary_files", "deadlocks", "commits", "rollbacks")),
                ("temporary bytes", size(self.database["temporary_bytes"])), ("counted since", self.database["counted_since"] or "the beginning")]
        return Table("Database", ("what", "value"), rows)

    def _statements(self) -> Table:
        rows = [(s["id"], s["calls"], s["mean_ms"], s["total_ms"], s["rows"], s["statement"]) for s in self.statements or ()]
        title = "Statements by total time" if self.statements is not None else "Statements: pg_stat_statements is not available"
        return Table(title, ("id", "calls", "mean ms", "total ms", "rows", "statement"), rows)

    def _missing(self) -> Table:
        rows = [(m["name"], size(m["bytes"]), m["sequential_scans"], m["index_scans"], m["rows_per_scan"]) for m in self.missing_indexes]
        return Table("Large tables that are mostly read from end to end", ("table", "size", "sequential scans", "index scans", "rows per scan"), rows)

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
        database = _plain(db.row(query("statistics_database")) or {})
        return Statistics(
            database.pop("time"), _by_name(db, "statistics_tables"), _by_name(db, "statistics_indexes"), database,
            db.rows(query("statistics_connections")), db.rows(query("statistics_statements")) if statements_available(db) else None,
            db.rows(query("statistics_missing_indexes")))


def written(then: Statistics, now: Statistics) -> dict[str, dict[str, int]] | None:
    """Table → rows "inserted", "updated" and "deleted" between two looks, those of none left out; `None` where the counters began anew
    in between: they were reset, or the server recovered from a crash."""
    counts = {name: {action: one[action] - then.tables.get(name, {}).get(action, 0) for action in ("inserted", "updated", "deleted")}
              for name, one in now.tables.items()}
    if any(now.database[key] != then.database[key] for key in ("counted_since", "started")) or any(count < 0 for one in counts.values() for count in one.values()):
        return None
    return {name: some for name, one in counts.items() if (some := {action: count for action, count in one.items() if count})}


def statements_available(db: Database) -> bool:
    """Whether the extension is here, may be read, and was loaded at start."""
    db.execute("SELECT set_config('search_path', coalesce((SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n "
               "ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'), ''), true)")
    return bool(db.value("SELECT to_regclass('pg_stat_statements') IS NOT NULL AND EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max')"))


def _by_name(db: Database, name: str) -> dict[str, Row]:
    return {row.pop("name"): _plain(row) for row in db.rows(query(name))}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value for key, value in row.items()}
