"""Reads rows and fingerprints of many tables.

Large ones in ranges of blocks, small ones many at a time.

Each piece is a transaction of its own on a shared snapshot, so that no session ever holds locks on
thousands of tables.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import NO_DDL, Database
from runbook_lib.postgres.fingerprint import Column, Fingerprint, Method, ordered, row_hash
from runbook_lib.postgres.parallel import Ticker, each
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.target import Target
from runbook_lib.table import size

PIECE_BYTES = 32 * 1024 * 1024
"""A table larger than this on disk is read in pieces of this size."""
TABLES_AT_ONCE = 25
"""Small tables read by one statement: each needs a lock while it runs."""


@dataclass(frozen=True)
class Relation:
    """One table to read.

    Args:
        name: qualified and quoted.
        heap_bytes, toast_bytes: its size on disk without indexes.
        by_blocks: whether ranges of its blocks can be read.
        columns: the lists of columns to fingerprint, each sorted by name; the first holds all.
    """

    name: str
    heap_bytes: int
    toast_bytes: int
    by_blocks: bool
    columns: tuple[tuple[Column, ...], ...]


@dataclass(frozen=True)
class Piece:
    """A part of a table, in blocks from `first` up to but not including `last`.

    `None` leaves that end open.
    """

    relation: Relation
    bytes: int
    first: int | None = None
    last: int | None = None

    def statement(self, number: int, method: Method) -> str:
        """The SQL that counts and sums this piece."""
        sums = ", ".join(
            f"coalesce(sum({row_hash(columns, method)}), 0)::text"
            for columns in self.relation.columns
        )
        ends = [
            f"ctid >= '({self.first},0)'" if self.first is not None else "",
            f"ctid < '({self.last},0)'" if self.last is not None else "",
        ]
        where = " AND ".join(end for end in ends if end)
        return (
            f"SELECT {number} AS number, count(*) AS rows, ARRAY[{sums}] AS sums "
            f"FROM ONLY {self.relation.name}" + (f" WHERE {where}" if where else "")
        )


@dataclass
class Content:
    """Rows and sums of one table, added up while its pieces come in."""

    rows: int = 0
    sums: list[int] = field(default_factory=list)

    def add(self, rows: int, sums: Sequence[str]) -> None:
        """Count one piece in."""
        self.rows += rows
        self.sums = [
            old + int(new) for old, new in zip(self.sums or [0] * len(sums), sums, strict=True)
        ]


def read(
    target: Target,
    application_name: str,
    relations: Sequence[Relation],
    snapshot_id: str,
    *,
    jobs: int,
    method: Method,
    block_size: int,
    limits: Mapping[str, float],
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, tuple[int, tuple[Fingerprint, ...]]]:
    """Rows and fingerprints of `relations` as the exported snapshot sees them.

    Args:
        limits: `statement_timeout_s` and `lock_timeout_s` of each piece.
        on_progress: told about once a second how far it is.

    Raises:
        DatabaseError: naming the tables that could not be read.
    """
    batches = tuple(_batches(relations, block_size))
    total = sum(piece.bytes for batch in batches for piece in batch)
    ticker, lock, done = Ticker(on_progress), threading.Lock(), [0]

    def work(db: Database, batch: tuple[Piece, ...]) -> list[dict[str, Any]]:
        rows = _read_batch(db, batch, snapshot_id, method, limits)
        with lock:
            done[0] += sum(piece.bytes for piece in batch)
            ticker(f"content read: {size(done[0])} of {size(total)}")
        return rows

    results = each(target, application_name, jobs, batches, work)
    ticker(f"content of {len(relations)} tables read, {size(total)}", last=True)
    contents = {relation.name: Content() for relation in relations}
    for batch, rows in zip(batches, results, strict=True):
        for row in rows:
            contents[batch[row["number"]].relation.name].add(row["rows"], row["sums"])
    return {relation.name: _result(relation, contents[relation.name]) for relation in relations}


def _read_batch(
    db: Database,
    batch: tuple[Piece, ...],
    snapshot_id: str,
    method: Method,
    limits: Mapping[str, float],
) -> list[dict[str, Any]]:
    statement = " UNION ALL ".join(
        piece.statement(number, method) for number, piece in enumerate(batch)
    )
    try:
        with reading(db, snapshot_id=snapshot_id, **limits):
            return db.rows(statement)
    except DatabaseError as error:
        names = ", ".join(dict.fromkeys(piece.relation.name for piece in batch))
        raise DatabaseError(
            f"{error.message}, while reading the content of {names}",
            error.remedy or _REMEDIES.get(error.sqlstate, ""),
            sqlstate=error.sqlstate,
        ) from None


_REMEDIES = {
    "42501": "grant the runbook's role SELECT on all tables (pg_read_all_data), and BYPASSRLS "
    "where row security is used",
    "42804": NO_DDL,  # a column has another type than at the instant
    "42883": NO_DDL,
    "42P01": NO_DDL,
    "42703": NO_DDL,
    "57014": "it was cancelled, or took longer than its limit: repeat with a larger one",
}


def _result(relation: Relation, content: Content) -> tuple[int, tuple[Fingerprint, ...]]:
    prints = tuple(
        Fingerprint(
            tuple(column.name for column in columns),
            tuple(column.form for column in columns),
            str(value),
        )
        for columns, value in zip(relation.columns, content.sums, strict=False)
    )
    return content.rows, prints


def lists(
    all_columns: Sequence[Column], wanted: Iterable[Sequence[str]]
) -> tuple[tuple[Column, ...], ...]:
    """All columns, and each wanted list whose columns are all there; each sorted, none twice."""
    known = {column.name: column for column in all_columns}
    found = [ordered(all_columns)]
    for names in wanted:
        if all(name in known for name in names):
            chosen = ordered([known[name] for name in dict.fromkeys(names)])
            found += [chosen] if chosen not in found else []
    return tuple(found)


def _batches(relations: Sequence[Relation], block_size: int) -> Iterator[tuple[Piece, ...]]:
    """The largest pieces first, then small tables together."""
    pieces = sorted(
        (piece for relation in relations for piece in _pieces(relation, block_size)),
        key=lambda piece: -piece.bytes,
    )
    batch: list[Piece] = []
    for piece in pieces:
        if batch and (
            len(batch) == TABLES_AT_ONCE
            or sum(p.bytes for p in batch) + piece.bytes > PIECE_BYTES / 4
        ):
            yield tuple(batch)
            batch = []
        batch.append(piece)
    if batch:
        yield tuple(batch)


def _pieces(relation: Relation, block_size: int) -> Iterator[Piece]:
    everything, blocks = (
        relation.heap_bytes + relation.toast_bytes,
        relation.heap_bytes // block_size,
    )
    count = min(-(-everything // PIECE_BYTES), blocks) if relation.by_blocks else 1
    if count <= 1:
        yield Piece(relation, everything)
        return
    bounds = [None, *(blocks * number // count for number in range(1, count)), None]
    for first, last in pairwise(bounds):
        yield Piece(relation, everything // count, first, last)
