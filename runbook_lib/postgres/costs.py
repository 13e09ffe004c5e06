"""What statements cost, run one by one in the transactions that they will run in.

Time, locks, rewrites, WAL, disk.

The statements are given as they are to be grouped: this room knows PostgreSQL, and nothing of the
files that they come from. Each file is measured in a session of its own, so that between two of
them nobody is in the database.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.table import Shown, Table, size

STRENGTH = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""Lock modes of tables, the weakest first."""

_BOUNDS = ("begin", "commit", "rollback")
Files = dict[int, tuple[str, int | None]]
"""Number of a table or index → its name, and the file in which it lies."""


@dataclass(frozen=True)
class Work:
    """One statement to run.

    Args:
        file, line: where it stands.
        kind: what it is, e.g. "ALTER TABLE".
        sql: its text; never shown, for it can hold rows.
        transaction: statements of one file with the same number share a transaction.
        control: "begin", "commit" or "rollback" for one that only bounds a transaction.
        alone: whether it cannot run inside a transaction.
    """

    file: str
    line: int
    kind: str
    sql: str = field(repr=False)
    transaction: int
    control: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Held:
    """A lock on an existing table, from the statement that took it to its transaction's end."""

    table: str
    mode: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.table}: {self.mode.removesuffix('Lock')} for {self.seconds:.2f} s"


@dataclass(frozen=True)
class Cost:
    """What one statement cost.

    Args:
        locks: that it was the first of its transaction to take; none are seen of one that runs in
            no transaction.
        rewritten: tables and indexes that lie in another file since.
        wal_bytes: written meanwhile by the whole server.
        temporary_bytes: temporary files of its transaction, told with its last statement; `None`
            where this server does
            not say in time (before 15).
        bytes_before, bytes_after: of the database on disk.
        rows: that it wrote; `None` of one that writes none by itself, or does not say.
    """

    file: str
    line: int
    kind: str
    seconds: float
    locks: tuple[Held, ...]
    rewritten: tuple[str, ...]
    wal_bytes: int
    temporary_bytes: int | None
    bytes_before: int
    bytes_after: int
    rows: int | None = None

    @property
    def strongest(self) -> tuple[Held, ...]:
        """Of each table its strongest lock."""
        by_strength = sorted(self.locks, key=lambda held: STRENGTH.index(held.mode))
        return tuple({held.table: held for held in by_strength}.values())


@dataclass(frozen=True)
class Costs(Shown):
    """What all statements cost.

    Args:
        items: of those that were run, in their order.
        failed: where the first stood that was refused, and by which SQLSTATE, or why none could be
            run; empty where all were.
    """

    items: tuple[Cost, ...]
    failed: str = ""

    def __iter__(self) -> Iterator[Cost]:
        return iter(self.items)

    @property
    def seconds(self) -> float:
        """Of all statements."""
        return sum(item.seconds for item in self.items)

    @property
    def wal_bytes(self) -> int:
        """Of all statements."""
        return sum(item.wal_bytes for item in self.items)

    @property
    def growth_bytes(self) -> int:
        """By how much the database is larger after the last statement than before the first."""
        return self.items[-1].bytes_after - self.items[0].bytes_before if self.items else 0

    @property
    def peak_bytes(self) -> int:
        """By how much it was larger at most: old files of a rewrite stay until the commit."""
        return (
            max((item.bytes_after for item in self.items), default=0) - self.items[0].bytes_before
            if self.items
            else 0
        )

    def table(self) -> Table:
        """One row a statement."""
        columns = (
            "statement",
            "kind",
            "seconds",
            "strongest new locks, until the commit",
            "rewritten",
            "WAL",
            "temporary files",
            "database before",
            "after",
        )
        rows = [
            (
                f"{c.file}:{c.line}",
                c.kind,
                c.seconds,
                tuple(map(str, c.strongest)),
                c.rewritten,
                size(c.wal_bytes),
                size(c.temporary_bytes),
                size(c.bytes_before),
                size(c.bytes_after),
            )
            for c in self
        ]
        marks = [
            "bad"
            if any(held.mode == "AccessExclusiveLock" and held.seconds >= 1 for held in c.locks)
            or c.rewritten
            else ""
            for c in self
        ]
        refused = f"; not all: {self.failed}" if self.failed else ""
        title = (
            f"{len(rows)} statements in {self.seconds:.2f} s, {size(self.wal_bytes)} of WAL (all "
            f"of the server's), database {size(self.growth_bytes)} larger{refused}"
        )
        return Table(title, columns, rows, marks)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "failed": self.failed,
            "seconds": self.seconds,
            "wal_bytes": self.wal_bytes,
            "size_growth_bytes": self.growth_bytes,
            "peak_bytes": self.peak_bytes,
            "statements": [asdict(item) for item in self.items],
        }


def measure(db: Database, work: Sequence[Work], there: Mapping[int, str]) -> Costs:
    """Run the statements of one file, and tell what each cost.

    Args:
        db: a session with the copy; nothing else may work in it.
        there: the `tables` that were there before the first file: what a migration makes itself,
            nobody waits for.
    """
    done: list[Cost] = []
    for _, group in groupby(work, key=lambda one: one.transaction):
        try:
            done += _transaction(db, list(group), there)
        except _Refused as refused:
            return Costs(
                (*done, *refused.done),
                f"{refused.work.file}:{refused.work.line} was refused "
                f"({refused.sqlstate or 'no SQLSTATE'})",
            )
    return Costs(tuple(done))


def tables(db: Database) -> dict[int, str]:
    """Tables and materialized views by their number."""
    return {row["oid"]: row["name"] for row in db.rows(query("costs_files")) if row["kind"] != "i"}


class _Refused(Exception):
    """A statement was refused; what was measured in its transaction before it."""

    def __init__(self, work: Work, sqlstate: str, done: list[Cost]) -> None:
        self.work, self.sqlstate, self.done = work, sqlstate, done


def _transaction(db: Database, work: list[Work], there: Mapping[int, str]) -> list[Cost]:
    """Statements that share a transaction, which is committed at the end, as the file has it."""
    temporary, done, begun, at = _temporary(db), list[Cost](), list[float](), work[0]
    looks = _Looks(db, there)
    try:
        with nullcontext() if any(one.alone for one in work) else _as_written(db, work):
            for at in (one for one in work if one.control not in _BOUNDS):
                begun.append(time.monotonic())
                done.append(looks.cost(at))
    except DatabaseError as error:
        raise _Refused(at, error.sqlstate, done) from None
    ended, after = time.monotonic(), _temporary(db)
    whole = [
        replace(cost, locks=tuple(replace(held, seconds=ended - start) for held in cost.locks))
        for cost, start in zip(done, begun, strict=True)
    ]
    written = None if temporary is None or after is None else after - temporary
    return [*whole[:-1], replace(whole[-1], temporary_bytes=written)] if whole else []


@contextmanager
def _as_written(db: Database, work: list[Work]) -> Iterator[None]:
    """A transaction that begins as the file has it.

    The file's own BEGIN may name an isolation level.
    """
    db.execute(work[0].sql if work[0].control == "begin" else "BEGIN")
    try:
        yield
        db.execute("ROLLBACK" if work[-1].control == "rollback" else "COMMIT")
    except DatabaseError:
        with suppress(DatabaseError):  # the session may be gone: the first error is the one to tell
            db.execute("ROLLBACK")
        raise


class _Looks:
    """What the session's statements do, seen by a look after each.

    The first look is before the transaction, and a SET is not followed by one: SET TRANSACTION is
    refused after any query.

    Args:
        there: the tables that were there before the first file.
    """

    def __init__(self, db: Database, there: Mapping[int, str]) -> None:
        self._db, self._there = db, there
        self._seen: set[tuple[str, str]] = set()
        self._files = _files(db)
        self._instant = self._now()

    def cost(self, work: Work) -> Cost:
        """Run a statement, and return what it cost."""
        started, before = time.monotonic(), self._instant
        touched = self._db.execute(work.sql)
        seconds, setting = time.monotonic() - started, work.kind == "SET"
        locks, rewritten = ((), ()) if setting else (self._locks(), self._rewritten())
        self._instant = after = before if setting else self._now()
        return Cost(
            work.file,
            work.line,
            work.kind,
            seconds,
            locks,
            rewritten,
            _position(after["lsn"]) - _position(before["lsn"]),
            0,
            before["bytes"],
            after["bytes"],
            touched if work.kind in ("INSERT", "UPDATE", "DELETE") else None,
        )

    def _now(self) -> dict[str, Any]:
        return self._db.row(query("costs_instant")) or {}

    def _locks(self) -> tuple[Held, ...]:
        """Return the locks that are held and were not before."""
        held = {
            (self._there[row["oid"]], row["mode"])
            for row in self._db.rows(query("costs_locks"))
            if row["oid"] in self._there
        }
        new = sorted(held - self._seen)
        self._seen |= held
        return tuple(Held(table, mode, 0.0) for table, mode in new)

    def _rewritten(self) -> tuple[str, ...]:
        """Return the tables and indexes that lie in another file than before."""
        before, now = self._files, _files(self._db)
        self._files = before | now
        return tuple(
            sorted(
                name
                for oid, (name, file) in now.items()
                if oid in before and before[oid][1] != file
            )
        )


def _position(lsn: str) -> int:
    """Return a place in the WAL, `16/B374D848`, in bytes."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _files(db: Database) -> Files:
    return {row["oid"]: (row["name"], row["file"]) for row in db.rows(query("costs_files"))}


def _temporary(db: Database) -> int | None:
    """Bytes of temporary files so far.

    Statistics are brought up to date first, which a server before 15 cannot.
    """
    if db.server_version < 150000:
        return None
    db.execute("SELECT pg_stat_force_next_flush()")
    return int(db.value(query("costs_temporary")))
