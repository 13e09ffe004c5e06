"""Run readers and writers at a steady rate, one of each a table, and time each request.

The time that it had to wait counts.

A request is *due* at its time, whether the one before it was answered or not; its stall is the time
from when it was due until it was answered. So a lock that stops a table for a second is seen as
many requests that waited, as clients would have, and not as one. A reader asks for one row by its
key; a writer sets a column of one row to what it is, in a transaction that is rolled back: the
content stays as it was, whatever triggers do. Where there is no key or no row, they take the locks
that they would take.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query, translated
from runbook_lib.postgres.recorded import recorded
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table

EVERY_S = 0.02
"""Seconds between two requests of one probe, where there are few probes."""
REQUESTS_PER_S = 400
"""Requests a second of all probes together, at most."""
MOST_TABLES = 40
ROWS = 16
"""Rows of a table that its probes ask for in turn: the first ones, which an UPDATE of the whole
table locks first and longest.
"""
GRACE_S = 5.0
"""Seconds that a request may still take when the load is ended; then it is cancelled."""
READER, WRITER = "reader", "writer"
BY_KEY, LOCKS_ALONE, PLANNED = (
    "one row by its key",
    "its locks alone: no row, or no key",
    "a recorded statement's locks: it is planned, not run",
)


@dataclass(frozen=True)
class Stall:
    """How one probe fared.

    Args:
        kind: "reader" or "writer", or "recorded" with the number of a statement.
        longest_s, p99_s: from when a request was due to its answer; 99 of 100 requests waited no
        longer than `p99_s`.
        errors: SQLSTATE → how many requests were refused with it.
        by: what it asked for.
        samples: (seconds since the load began, how long) of each request.
    """

    table: str
    kind: str
    requests: int
    longest_s: float
    p99_s: float
    errors: Mapping[str, int]
    by: str
    samples: tuple[tuple[float, float], ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Stalls(Shown):
    """How readers and writers fared, the longest stall first.

    Args:
        every_s: seconds between two requests of one probe: a shorter stall may have been missed.
        left_out: tables that had no probes, because there were too many.
    """

    items: tuple[Stall, ...]
    every_s: float
    left_out: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Stall]:
        return iter(self.items)

    @property
    def worst(self) -> Stall | None:
        """The one with the longest stall."""
        return self.items[0] if self.items else None

    @property
    def finding(self) -> str:
        """The result in one line."""
        if not self.worst:
            return "No table that is in use was touched: nobody could have stalled"
        return (
            f"The longest stall was {self.worst.longest_s:.2f} s, of a {self.worst.kind} of "
            f"{self.worst.table}"
        )

    def table(self) -> Table:
        """One row a probe."""
        rows: list[tuple[Any, ...]] = [
            (
                s.table,
                s.kind,
                s.requests,
                s.longest_s,
                s.p99_s,
                tuple(f"{n} × {state}" for state, n in s.errors.items()),
                s.by,
            )
            for s in self
        ]
        rows += [(name, "none", 0, None, None, (), "too many tables") for name in self.left_out]
        return Table(
            self.finding,
            (
                "table",
                "probe",
                "requests",
                "longest stall s",
                "99 of 100 within s",
                "refused (SQLSTATE)",
                "asks for",
            ),
            rows,
            ["unknown" if row[1] == "none" or row[5] else "" for row in rows],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files: by table and kind."""
        found: dict[str, dict[str, Any]] = {}
        for s in self:
            found.setdefault(s.table, {})[s.kind] = {
                "requests": s.requests,
                "longest_s": s.longest_s,
                "p99_s": s.p99_s,
                "errors": dict(s.errors),
                "by": s.by,
            }
        return {"every_s": self.every_s, "left_out": list(self.left_out), "tables": found}


class Load:
    """Readers and writers at work on `tables` until its block is left.

    Then `stalls()` tells how they fared.

    Args:
        application_name: "/reader" and "/writer" are added for their sessions.
        tables: qualified quoted names; those that are not there are passed over.
        limit_s: seconds after which a request is cancelled by the server.
        live: a session where the application's statements are recorded.
    """

    def __init__(
        self,
        target: Target,
        application_name: str,
        tables: Sequence[str],
        *,
        limit_s: float = 3600,
        live: Database | None = None,
    ) -> None:
        self._target, self._name, self._limit_s, self._live = (
            target,
            application_name,
            limit_s,
            live,
        )
        self._wanted = list(tables)
        self._probes: list[_Probe] = []
        self._ended = threading.Event()
        self._left_out: tuple[str, ...] = ()

    def __enter__(self) -> Load:
        try:
            with Database(self._target, self._name, statement_timeout="60s") as db:
                found = [
                    row for row in db.rows(query("probes_tables")) if row["name"] in self._wanted
                ]
                room = max(0, _connections(db) // 4)  # half of what is left, two for each table
                chosen = found[: min(MOST_TABLES, room)]
                self._left_out = tuple(row["name"] for row in found[len(chosen) :])
                for row in chosen:
                    self._generate(row, _keys(db, row))
                tables = {(row["schema"], row["relation"]): row["name"] for row in chosen}
                for one in recorded(self._live, db, tables)[:room] if self._live else ():
                    self._probes.append(
                        _Probe(
                            self._session("recorded"),
                            one.table,
                            f"recorded {one.id}",
                            PLANNED,
                            one.statement,
                            None,
                        )
                    )
        except BaseException:
            self._close()
            raise
        self.every_s = max(EVERY_S, len(self._probes) / REQUESTS_PER_S)
        begun = time.monotonic()
        self._threads = [
            threading.Thread(
                target=probe.ask,
                args=(
                    begun,
                    begun + self.every_s * n / len(self._probes),
                    self.every_s,
                    self._ended,
                ),
                daemon=True,
            )
            for n, probe in enumerate(self._probes)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        deadline = time.monotonic() + (GRACE_S if kind is None else 0)
        for thread, probe in zip(self._threads, self._probes, strict=False):
            thread.join(max(0, deadline - time.monotonic()))
            while thread.is_alive():
                probe.stop()
                thread.join(0.1)
        self._close()

    def stalls(self) -> Stalls:
        """How they fared."""
        items = (probe.result() for probe in self._probes)
        return Stalls(
            tuple(sorted(items, key=lambda one: -one.longest_s)), self.every_s, self._left_out
        )

    def _generate(self, row: Mapping[str, Any], keys: list[list[str]]) -> None:
        """A reader and a writer of one table."""
        where = (
            sql.SQL(" AND ").join(sql.SQL(f"{_plain(column)} = %s") for column in row["key"])
            if keys
            else sql.SQL("false")
        )
        written, table = sql.SQL(_plain(row["written"] or "ctid")), sql.SQL(_plain(row["name"]))
        read = sql.SQL("SELECT {} FROM {} WHERE {}").format(written, table, where)
        self._probes.append(
            _Probe(
                self._session(READER),
                row["name"],
                READER,
                BY_KEY if keys else LOCKS_ALONE,
                read,
                keys or [[]],
            )
        )
        if keys and row["written"]:
            write = sql.SQL("UPDATE {1} SET {0} = {0} WHERE {2}").format(written, table, where)
            self._probes.append(
                _Probe(self._session(WRITER), row["name"], WRITER, BY_KEY, write, keys)
            )
        else:
            write = sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(table)
            self._probes.append(
                _Probe(self._session(WRITER), row["name"], WRITER, LOCKS_ALONE, write, [[]])
            )

    def _session(self, kind: str) -> Database:
        return Database(
            self._target,
            f"{self._name}/{kind}",
            statement_timeout=f"{round(self._limit_s * 1000)}ms",
        )

    def _close(self) -> None:
        for probe in self._probes:
            probe.db.close()


class _Probe:
    """One session that asks the same thing again and again."""

    def __init__(
        self,
        db: Database,
        table: str,
        kind: str,
        by: str,
        statement: sql.Composable,
        values: list[list[str]] | None,
    ) -> None:
        self.db, self.table, self.kind, self._by, self._statement, self._values = (
            db,
            table,
            kind,
            by,
            statement,
            values,
        )
        self.samples: list[tuple[float, float]] = []
        self._errors: Counter[str] = Counter()
        self._stopped = False
        db.connection.prepare_threshold = (
            None  # a prepared statement would fail once the table has changed
        )

    def ask(self, begun: float, due: float, every_s: float, ended: threading.Event) -> None:
        """Ask when a request is due, until the load has ended.

        What was due by then is still asked.
        """
        number = 0
        while not self._stopped:
            if ended.wait(max(0.0, due - time.monotonic())) and due > time.monotonic():
                return
            try:
                self._once(number)
            except DatabaseError as error:
                self._errors[error.sqlstate or "lost"] += 1
            self.samples.append((due - begun, time.monotonic() - due))
            number, due = number + 1, due + every_s

    def stop(self) -> None:
        """Cancel what it asks, and let it ask no more."""
        self._stopped = True
        self.db.cancel()

    def result(self) -> Stall:
        """How it fared."""
        waits = sorted(wait for _, wait in self.samples)
        p99 = waits[math.ceil(len(waits) * 0.99) - 1] if waits else 0.0
        return Stall(
            self.table,
            self.kind,
            len(waits),
            max(waits, default=0.0),
            p99,
            dict(self._errors),
            self._by,
            tuple(self.samples),
        )

    def _once(self, number: int) -> None:
        values = self._values[number % len(self._values)] if self._values else None
        if self.kind != WRITER:
            self.db.execute(self._statement, values)
            return
        with translated(), self.db.connection.transaction(force_rollback=True):
            self.db.execute(self._statement, values)


def _plain(name: str) -> str:
    """A quoted name in a statement with placeholders."""
    return name.replace("%", "%%")


def _connections(db: Database) -> int:
    """How many more sessions the server lets in, those kept for superusers apart."""
    return int(
        db.value(
            "SELECT current_setting('max_connections')::int - "
            "current_setting('superuser_reserved_connections')::int"
            " - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int"
        )
    )


def _keys(db: Database, row: Mapping[str, Any]) -> list[list[str]]:
    """The keys of a table's first rows, as text; they never leave this process."""
    if not row["key"]:
        return []
    columns = ", ".join(f"{column}::text AS k{number}" for number, column in enumerate(row["key"]))
    return [
        list(found.values())
        for found in db.rows(sql.SQL(f"SELECT {columns} FROM {row['name']} LIMIT {ROWS}"))
    ]
