"""Which rows of a table differ between two databases.

The narrowest range of the key that holds them all, how many are missing, added and changed, and in
which columns.

Both tables are cut into ranges of the key, rows and hashes of each range are summed on the server
(by the row hash of `runbook_lib.postgres.fingerprint`), and only ranges whose sums differ are
looked into. Once few enough rows are left, key and hash of each are read and compared one by one.
So memory is bounded by `Limits.rows`, time by `Limits.seconds`; where a limit stopped it, the range
still holds every differing row, and the counts say "at least".

A key may be personal data: its values are named only where they are numbers, uuids, or generated
identifiers all of them. Otherwise the range is told by the places of its ends in the order of the
key, with the query that lists it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.errors import DatabaseError, UsageError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.fingerprint import Column, Method, ordered, row_hash
from runbook_lib.postgres.key import Key, Piece, Value, doubled, find
from runbook_lib.postgres.reading import reading
from runbook_lib.table import text

Entry = tuple[Value, int]
"""A row: its key and its hash."""
Sums = Mapping[int, tuple[int, str]]
"""Number of a part → its rows, and the sum of their hashes."""
_NONE = (0, "")


@dataclass(frozen=True)
class Limits:
    """How far it goes.

    Args:
        rows: that are read one by one at most, of each side.
        parts: into which a range is cut at a time.
        seconds: for one table.
        changed: rows of which it is told in which columns they differ.
    """

    rows: int = 100_000
    parts: int = 128
    seconds: float = 120.0
    changed: int = 500


@dataclass(frozen=True)
class Narrowed:
    """Where a table differs, without anything that its rows hold.

    Args:
        table: qualified and quoted.
        key: the columns of the key; none where it has none.
        range: the narrowest range of the key that holds every differing row, in words; empty where
            there is none.
        listing: a query, without values, that lists the rows of the range where its ends must not
            be named.
        missing, added, changed: rows that are gone, that came, and that have the same key and
        another content.
        columns: in which the changed rows differ.
        exact: whether these are all; else at least.
        why: why it was not narrowed, or not to the end; or what else the range holds.
    """

    table: str
    key: tuple[str, ...] = ()
    range: str = ""
    listing: str = ""
    missing: int = 0
    added: int = 0
    changed: int = 0
    columns: tuple[str, ...] = ()
    exact: bool = True
    why: str = ""

    def __str__(self) -> str:
        counts = [
            f"{text(count)} {word}"
            for count, word in (
                (self.missing, "missing"),
                (self.added, "added"),
                (self.changed, "changed"),
            )
            if count
        ]
        counted = ", ".join(counts) + (f" (in {', '.join(self.columns)})" if self.columns else "")
        least = "" if self.exact or not counted else "at least "
        return ": ".join(filter(None, [self.range, least + counted])) + (
            f"; {self.why}" if self.why and (self.range or counted) else self.why
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    """Differing rows, on each side in the order of the key; and whether these are all."""

    lost: list[Entry]
    gained: list[Entry]
    exact: bool = True

    @property
    def keys(self) -> list[Value]:
        """All their keys."""
        return [key for key, _ in self.lost + self.gained]

    @property
    def changed(self) -> set[Value]:
        """The keys that are on both sides, with another content."""
        return {key for key, _ in self.lost} & {key for key, _ in self.gained}


class _Stopped(Exception):
    """A limit was reached."""


def narrow(
    was: Database,
    now: Database,
    table: str,
    columns: Sequence[str],
    method: Method,
    limits: Limits = Limits(),
) -> Narrowed:  # noqa: B008 - frozen
    """Where a table differs between two databases.

    Args:
        was, now: a session on the database as it was, and one on the database as it is.
        columns: that are compared, quoted; none stands for all that both sides have in the same
            form.

    Raises:
        UsageError: one of them has no such table.
        DatabaseError: a question was refused.
    """
    with reading(was), reading(now):
        common = _common(was, now, table, columns)
        hash_ = row_hash(common, method)
        key = find(now, table, [column.name for column in common]) or Key.hashes(hash_)
        return _Search(was, now, table, key, common, method, limits).narrowed()


def _common(was: Database, now: Database, table: str, wanted: Sequence[str]) -> tuple[Column, ...]:
    """The columns that both sides have in the same form.

    An enum's labels are left out: the two sides may have others, and the hash is the same.
    """
    sides = []
    for db in (was, now):
        row = next(
            (row for row in db.rows(query("snapshot_relations")) if row["name"] == table), None
        )
        if row is None:
            raise UsageError(
                f"{table} is not there",
                "name it with its schema and quoted, as `snapshot.take` does",
            )
        sides.append(
            {
                name: Column(name, kind)
                for name, kind in zip(row["columns"], row["types"], strict=True)
            }
        )
    return ordered(
        [
            column
            for name, column in sides[0].items()
            if name in sides[1]
            and sides[1][name].form == column.form
            and (not wanted or name in wanted)
        ]
    )


class _Search:
    """The search in one table."""

    def __init__(
        self,
        was: Database,
        now: Database,
        table: str,
        key: Key,
        columns: tuple[Column, ...],
        method: Method,
        limits: Limits,
    ) -> None:
        self.was, self.now, self.table, self.key, self.columns, self.method, self.limits = (
            was,
            now,
            table,
            key,
            columns,
            method,
            limits,
        )
        self.rows = f"FROM ONLY {doubled(table)}"
        self.hash = doubled(row_hash(columns, method))
        self.until = time.monotonic() + limits.seconds
        self.found = _Found([], [], False)
        self.outer: tuple[Value | None, Value | None] = (None, None)
        self.place: tuple[str, str] = ("", "")
        self.differing: tuple[str, ...] = ()
        self.why = ""

    def narrowed(self) -> Narrowed:
        """The result; where a limit stopped the search, what is known by then."""
        try:
            self.found = self._look(None, None, self._counts())
            self.place = self._place()
            self.differing = self._columns_that_differ()
        except _Stopped as stopped:
            self.why = f"stopped: {stopped}"
            self.place = (
                self.place if self.place[0] or not self.key.of_rows else self._outer_in_words()
            )
        changed = self.found.changed
        missing, added = (
            sum(key not in changed for key, _ in side)
            for side in (self.found.lost, self.found.gained)
        )
        why = [
            self.why,
            ""
            if self.key.of_rows
            else "no key, so no range: a changed row counts as one missing and one added",
            "" if self.found.keys or not self.found.exact else "it is as it was in the backup",
        ]
        return Narrowed(
            self.table,
            self.key.names,
            *self.place,
            missing,
            added,
            len(changed),
            self.differing,
            self.found.exact,
            "; ".join(filter(None, why)),
        )

    def _look(self, low: Value | None, high: Value | None, rows: tuple[int, int]) -> _Found:
        """Return what differs in a range whose row counts, before and now, are known."""
        if max(rows) <= self.limits.rows:
            return self._read(low, high, [], [0])
        bounds = self._cut(low, high, rows)
        parts = self._sums(low, high, bounds)
        differing = sorted(
            number
            for number in parts[0].keys() | parts[1].keys()
            if parts[0].get(number) != parts[1].get(number)
        )
        if not differing:
            return _Found([], [])
        ends = [low, *bounds, high]
        if (low, high) == (None, None):
            self.outer = ends[differing[0]], ends[differing[-1] + 1]
        sizes = [
            (parts[0].get(number, _NONE)[0], parts[1].get(number, _NONE)[0]) for number in differing
        ]
        if sum(map(max, sizes)) <= self.limits.rows:
            return self._read(low, high, bounds, differing)
        first = self._look(ends[differing[0]], ends[differing[0] + 1], sizes[0])
        if len(differing) == 1:
            return first
        last = self._look(ends[differing[-1]], ends[differing[-1] + 1], sizes[-1])
        self.why = (
            "not counted to the end: the ranges that differ hold more than "
            f"{text(self.limits.rows)} rows"
        )
        return _Found(first.lost + last.lost, first.gained + last.gained, False)

    def _counts(self) -> tuple[int, int]:
        """Rows of the table, as it was and as it is."""
        was, now = (
            self._ask(db, f"SELECT count(*) AS rows {self.rows}", [])[0]["rows"]
            for db in (self.was, self.now)
        )
        return was, now

    def _sums(
        self, low: Value | None, high: Value | None, bounds: Sequence[Value]
    ) -> tuple[Sums, Sums]:
        """Rows and sum of the hashes of each part, as it was and as it is."""
        number, numbers = self.key.number(bounds)
        where, values = self.key.between(low, high)
        statement = (
            f"SELECT {number} AS part, count(*) AS rows, sum({self.hash})::text AS sum "
            f"{self.rows} WHERE {where} GROUP BY 1"
        )
        was, now = (
            {
                row["part"]: (row["rows"], row["sum"])
                for row in self._ask(db, statement, [*numbers, *values])
            }
            for db in (self.was, self.now)
        )
        return was, now

    def _cut(self, low: Value | None, high: Value | None, rows: tuple[int, int]) -> list[Value]:
        """Where to cut a range into parts of about as many rows each.

        At keys of a sample, of the side that has more.
        """
        percent = min(100.0, 800.0 * self.limits.parts / max(rows))
        where, values = self.key.between(low, high)
        statement = (
            f"SELECT {self.key.texts} AS key {self.rows} TABLESAMPLE BERNOULLI ({percent:.10f}) "
            f"REPEATABLE (1) WHERE {where} ORDER BY {self.key.order}"
        )
        sample = self._ask(self.was if rows[0] > rows[1] else self.now, statement, values)
        seen = [key for key in dict.fromkeys(tuple(row["key"]) for row in sample) if key != low]
        if not seen:
            raise _Stopped("more rows of the same content than are read one by one")
        return seen[:: -(-len(seen) // (self.limits.parts - 1))]

    def _read(
        self, low: Value | None, high: Value | None, bounds: Sequence[Value], parts: Sequence[int]
    ) -> _Found:
        """The rows of some parts that are only on one side."""
        number, numbers = self.key.number(bounds)
        where, values = self.key.between(low, high)
        statement = (
            f"SELECT {self.key.texts} AS key, {self.hash} AS hash {self.rows} WHERE {where} "
            f"AND {number} = ANY (%s) ORDER BY {self.key.order}"
        )
        was, now = (
            [
                (tuple(row["key"]), row["hash"])
                for row in self._ask(db, statement, [*values, *numbers, list(parts)])
            ]
            for db in (self.was, self.now)
        )
        lost, gained = Counter(was) - Counter(now), Counter(now) - Counter(was)
        return _Found(_taken(was, lost), _taken(now, gained))

    def _columns_that_differ(self) -> tuple[str, ...]:
        """The columns in which changed rows differ."""
        keys = sorted(self.found.changed)[: self.limits.changed]
        if not keys:
            return ()
        hashes = doubled(", ".join(row_hash([column], self.method) for column in self.columns))
        wanted = ", ".join("%s::text[]" for _ in self.key.parts)
        names = [f"k{number}" for number in range(len(self.key.parts))]
        same = " AND ".join(
            f'{part.text} = wanted.{name} COLLATE "C"'
            for part, name in zip(self.key.parts, names, strict=True)
        )
        statement = (
            f"SELECT {self.key.texts} AS key, ARRAY[{hashes}] AS hashes {self.rows} "
            f"JOIN unnest({wanted}) AS wanted ({', '.join(names)}) ON {same}"
        )
        was, now = (
            {
                tuple(row["key"]): row["hashes"]
                for row in self._ask(db, statement, list(map(list, zip(*keys, strict=True))))
            }
            for db in (self.was, self.now)
        )
        return tuple(
            column.name
            for number, column in enumerate(self.columns)
            if any(was[key][number] != now[key][number] for key in was.keys() & now.keys())
        )

    def _place(self) -> tuple[str, str]:
        """The range in words, and the query that lists it where its ends must not be named."""
        ends = [
            [side[place][0] for side in (self.found.lost, self.found.gained) if side]
            for place in (0, -1)
        ]
        if not self.key.of_rows or not ends[0]:
            return "", ""
        first, last = ends[0][0], ends[1][-1]
        if len(ends[0]) == 2:
            first, last = (
                self.key.ordered(self.now, *ends[0])[0],
                self.key.ordered(self.now, *ends[1])[1],
            )
        if self._may_name(self.found.keys):
            return f"{self._names()} {_named(first)}" + (
                f" to {_named(last)}" if first != last else ""
            ), ""
        return self._by_place(self.key.compared("<", first), self.key.compared("<=", last))

    def _outer_in_words(self) -> tuple[str, str]:
        """The range that the first cut left, where the search was stopped.

        It holds every row that differs.
        """
        low, high = self.outer
        if (low, high) == (None, None):
            return "the whole table", ""
        if not self._may_name([end for end in (low, high) if end]):
            return "a part of the table whose ends must not be named", ""
        ends = [f"from {_named(low)} on" if low else "", f"before {_named(high)}" if high else ""]
        return f"{self._names()} {' and '.join(filter(None, ends))}", ""

    def _may_name(self, keys: Sequence[Value]) -> bool:
        """Text is named only where every differing key was seen, and is a generated one."""
        return self.key.shown(keys) and (
            self.found.exact or not any(part.collated for part in self.key.parts)
        )

    def _by_place(self, before: Piece, until: Piece) -> tuple[str, str]:
        """The range by the places of its ends among the rows that are there now."""
        statement = (
            f"SELECT count(*) FILTER (WHERE {before[0]}) AS before, count(*) FILTER (WHERE "
            f"{until[0]}) AS until {self.rows}"
        )
        row = self._ask(self.now, statement, [*before[1], *until[1]])[0]
        first, last = row["before"] + 1, max(row["until"], row["before"])
        listing = (
            f"SELECT {', '.join(self.key.names)} FROM ONLY {self.table} "
            f"ORDER BY {self.key.order.replace('%%', '%')}"
        )
        if last < first:
            return (
                f"between the rows {text(last)} and {text(first)} in the order of {self._names()}",
                f"{listing} OFFSET {max(last - 1, 0)} LIMIT 2",
            )
        words = f"row {text(first)}" if first == last else f"rows {text(first)} to {text(last)}"
        return (
            f"{words} in the order of {self._names()}",
            f"{listing} OFFSET {first - 1} LIMIT {last - first + 1}",
        )

    def _names(self) -> str:
        names = self.key.names
        return names[0] if len(names) == 1 else f"({', '.join(names)})"

    def _ask(self, db: Database, statement: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """All rows of a query, within the time that is left."""
        left = self.until - time.monotonic()
        if left > 0:
            try:
                with reading(db, statement_timeout_s=max(round(left, 3), 0.001)):
                    return db.rows(statement, values)
            except DatabaseError as error:
                if error.sqlstate != "57014":
                    raise
        raise _Stopped(f"it took longer than {self.limits.seconds:g} s")


def _taken(rows: Sequence[Entry], wanted: Counter[Entry]) -> list[Entry]:
    """The rows that are wanted, in their order."""
    return [entry for entry in rows if entry in wanted for _ in range(wanted.pop(entry))]


def _named(value: Value) -> str:
    return value[0] if len(value) == 1 else f"({', '.join(value)})"
