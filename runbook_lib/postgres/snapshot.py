"""What a database holds at one instant.

Rows and content of every table, sequences, sizes, settings, extensions.

Several sessions read on one exported snapshot, which `pg_dump --snapshot` can share: then dump and
snapshot describe the same instant. Two snapshots are compared with `Snapshot.compare`.

Where a migration will drop or retype columns, take the earlier snapshot with the columns that stay,
too::

    before = take(target, name, columns={'public."Appointment"': [["id", "status"]]})

and the later one with everything that the earlier one has: `take(target, name,
columns=before.columns())`. Columns that are no longer there are passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.postgres import content
from runbook_lib.postgres.comparison import Comparison, compare
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.fingerprint import Column, Fingerprint, Method, canary, row_hash
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table, size, text

SEQUENCES_AT_ONCE = 200


@dataclass(frozen=True)
class TableState:
    """One table at the instant.

    Args:
        rows: exact; `None` where the table has no rows of its own (`excluded` says why).
        fingerprints: one for each list of columns; the first is of all columns.
        heap_bytes, index_bytes, total_bytes: on disk; the total has TOAST, too.
        excluded: why its content is not read; empty where it is.
    """

    kind: str
    rows: int | None
    fingerprints: tuple[Fingerprint, ...]
    heap_bytes: int
    index_bytes: int
    total_bytes: int
    excluded: str = ""


@dataclass(frozen=True)
class SequenceState:
    """One sequence, which no transaction holds still: read shortly after the instant."""

    last_value: int
    is_called: bool
    increment: int


@dataclass(frozen=True)
class ExportedSnapshot:
    """An instant that other sessions can see as long as the transaction on `db` is open.

    Args:
        id: for `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot`.
        lsn: the WAL position at which it was taken.
        time: UTC.
        db: the session that holds it.
        transactions: which were finished by then, as `pg_current_snapshot()` writes it.
    """

    id: str
    lsn: str
    time: datetime
    db: Database
    transactions: str = ""


@dataclass(frozen=True)
class Snapshot(Shown):
    """A database at one instant.

    Args:
        system_identifier: of the cluster; "unknown" where the role may not read it.
        taken_at: ISO 8601, UTC.
        lsn: the WAL position at which it was taken.
        method, canary: how content was fingerprinted, and the hash of a known row.
        large_object_fingerprint: "" where the role may not read them.
        settings: of this database, and those of the server that bear on a migration.
        seconds: how long it took.
        transactions: which were finished by then, as `pg_current_snapshot()` writes it; empty in
            older records.
    """

    database: str
    database_oid: int
    system_identifier: str
    server_version: str
    taken_at: str
    lsn: str
    method: str
    canary: str
    database_bytes: int
    tables: Mapping[str, TableState]
    sequences: Mapping[str, SequenceState]
    large_objects: int
    large_object_fingerprint: str
    settings: Mapping[str, str]
    extensions: Mapping[str, str]
    seconds: float
    transactions: str = ""

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(state.rows or 0 for state in self.tables.values())

    def columns(self) -> dict[str, list[tuple[str, ...]]]:
        """The lists of columns that were fingerprinted, for the `columns` of a later `take`."""
        return {
            name: [one.columns for one in state.fingerprints]
            for name, state in self.tables.items()
            if state.fingerprints
        }

    def compare(
        self, other: Snapshot, columns: Mapping[str, Sequence[str]] | None = None
    ) -> Comparison:
        """What differs in `other`, which is the later one or the copy.

        Args:
            columns: table → the columns to compare; others are compared in all columns that both
                snapshots fingerprinted.

        Raises:
            UsageError: the two were fingerprinted in ways that cannot be compared.
        """
        return compare(self, other, columns or {})

    def table(self) -> Table:
        """The tables as rows."""
        rows = [
            (
                name,
                state.kind,
                state.rows,
                size(state.total_bytes),
                size(state.index_bytes),
                state.excluded,
            )
            for name, state in self.tables.items()
        ]
        title = (
            f"{self.database} at {self.taken_at}: {text(len(rows))} tables, {text(self.rows)} "
            f"rows, {size(self.database_bytes)}"
        )
        return Table(
            title,
            ("table", "kind", "rows", "size with indexes", "indexes", "content not read because"),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files and manifests."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """What `as_dict` gave."""
        tables = {
            name: TableState(
                **{
                    **state,
                    "fingerprints": tuple(map(Fingerprint.from_dict, state["fingerprints"])),
                }
            )
            for name, state in data["tables"].items()
        }
        return cls(
            **{
                **data,
                "tables": tables,
                "sequences": {
                    name: SequenceState(**one) for name, one in data["sequences"].items()
                },
            }
        )


@contextmanager
def exported(
    target: Target, application_name: str, *, lock_timeout_s: float = 10
) -> Iterator[ExportedSnapshot]:
    """An instant held still while the context is open.

    Args:
        lock_timeout_s: seconds that a question in its session may wait for a lock.

    Raises:
        DatabaseError: the database cannot be reached.
    """
    with (
        Database(target, application_name) as db,
        reading(db, statement_timeout_s=600, lock_timeout_s=lock_timeout_s),
    ):
        row = db.row(query("snapshot_export")) or {}
        yield ExportedSnapshot(
            row["id"], row["lsn"], row["time"].astimezone(UTC), db, row["transactions"]
        )


def take(
    target: Target,
    application_name: str,
    *,
    jobs: int = 2,
    columns: Mapping[str, Sequence[Sequence[str]]] | None = None,
    tables: Sequence[str] | None = None,
    at: ExportedSnapshot | None = None,
    method: Method = Method.HASH,
    statement_timeout_s: float = 4 * 3600,
    lock_timeout_s: float = 10,
    on_progress: Callable[[str], None] | None = None,
) -> Snapshot:
    """The database at one instant.

    Args:
        jobs: sessions that read at the same time.
        columns: table → further lists of columns to fingerprint beside all columns, in the same
            pass.
        tables: only these, by qualified quoted name; default all.
        at: the instant; default now.
        method: `Method.MD5` where the two servers to compare hash differently.
        statement_timeout_s, lock_timeout_s: seconds, for each piece of a table.
        on_progress: told about once a second how far it is.

    Raises:
        DatabaseError: a table could not be read; it is named.
        UsageError: `tables` names one that is not there.
    """
    if at is None:
        with exported(target, application_name, lock_timeout_s=lock_timeout_s) as now:
            return take(
                target,
                application_name,
                jobs=jobs,
                columns=columns,
                tables=tables,
                at=now,
                method=method,
                statement_timeout_s=statement_timeout_s,
                lock_timeout_s=lock_timeout_s,
                on_progress=on_progress,
            )
    started = time.monotonic()
    facts = at.db.row(query("snapshot_facts")) or {}
    found = _chosen(at.db.rows(query("snapshot_relations")), tables)
    limits = {"statement_timeout_s": statement_timeout_s, "lock_timeout_s": lock_timeout_s}
    relations = [
        _relation(row, (columns or {}).get(row["name"], ())) for row in found if not _excluded(row)
    ]
    contents = content.read(
        target,
        application_name,
        relations,
        at.id,
        jobs=jobs,
        method=method,
        block_size=facts["block_size"],
        limits=limits,
        on_progress=on_progress,
    )
    return Snapshot(
        facts["database"],
        facts["database_oid"],
        _system_identifier(at.db, facts),
        facts["server_version"],
        at.time.isoformat(timespec="milliseconds"),
        at.lsn,
        method.value,
        canary(at.db, method),
        facts["database_bytes"],
        {row["name"]: _state(row, contents.get(row["name"])) for row in found},
        _sequences(target, application_name, at.db),
        facts["large_objects"],
        _large_objects(at.db, facts, method),
        {row["name"]: row["value"] for row in at.db.rows(query("snapshot_settings"))},
        {row["name"]: row["version"] for row in at.db.rows(query("catalog_extension"))},
        time.monotonic() - started,
        at.transactions,
    )


def _chosen(rows: list[dict[str, Any]], tables: Sequence[str] | None) -> list[dict[str, Any]]:
    missing = set(tables or ()) - {row["name"] for row in rows}
    if missing:
        raise UsageError(
            f"no such table: {', '.join(sorted(missing))}",
            'name tables with their schema and quoted, e.g. public."Appointment"',
        )
    return [row for row in rows if tables is None or row["name"] in tables]


def _excluded(row: Mapping[str, Any]) -> str:
    if row["extension"]:
        return f"belongs to the extension {row['extension']}"
    return {
        "partitioned table": "its partitions hold the rows",
        "foreign table": "its rows are on another server",
        "materialized view": "filled from other tables",
    }.get(row["kind"], "")


def _relation(row: Mapping[str, Any], wanted: Sequence[Sequence[str]]) -> content.Relation:
    columns = [
        Column(name, kind, tuple(labels))
        for name, kind, labels in zip(row["columns"], row["types"], row["labels"], strict=True)
    ]
    return content.Relation(
        row["name"],
        row["heap_bytes"],
        row["toast_bytes"],
        row["by_blocks"],
        content.lists(columns, wanted),
    )


def _state(row: Mapping[str, Any], read: tuple[int, tuple[Fingerprint, ...]] | None) -> TableState:
    rows, prints = read or (None, ())
    total = row["heap_bytes"] + row["toast_bytes"] + row["index_bytes"]
    return TableState(
        row["kind"], rows, prints, row["heap_bytes"], row["index_bytes"], total, _excluded(row)
    )


def _system_identifier(db: Database, facts: Mapping[str, Any]) -> str:
    return (
        db.value("SELECT system_identifier::text FROM pg_control_system()")
        if facts["identifier_readable"]
        else "unknown"
    )


def _large_objects(db: Database, facts: Mapping[str, Any], method: Method) -> str:
    if not facts["large_objects_readable"]:
        return ""
    columns = [Column("loid", "oid"), Column("pageno", "int4"), Column("data", "bytea")]
    return str(
        db.value(f"SELECT coalesce(sum({row_hash(columns, method)}), 0)::text FROM pg_largeobject")
    )


def _sequences(target: Target, application_name: str, db: Database) -> dict[str, SequenceState]:
    rows = db.rows(query("snapshot_sequences"))
    batches = [
        rows[start : start + SEQUENCES_AT_ONCE] for start in range(0, len(rows), SEQUENCES_AT_ONCE)
    ]
    read = each(target, application_name, 1, batches, _read_sequences)
    return {
        row["name"]: SequenceState(value["last_value"], value["is_called"], row["increment"])
        for batch, values in zip(batches, read, strict=True)
        for row, value in zip(batch, values, strict=True)
    }


def _read_sequences(db: Database, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    statements = (
        f"SELECT {number} AS number, last_value, is_called FROM {row['name']}"
        for number, row in enumerate(batch)
    )
    with reading(db):
        return sorted(db.rows(" UNION ALL ".join(statements)), key=lambda row: row["number"])
