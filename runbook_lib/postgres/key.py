"""The key by which the rows of a table are put in order, and the SQL of its ranges.

Text is put in order byte by byte (`COLLATE "C"`): two servers may sort the same collation
differently. A table without a key is put in order by the hash of its rows: then a range tells
nothing, but what differs can be counted all the same.

Every piece of SQL here has its percent signs doubled: the values of a key go to the server as
parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.generated_ids import generated

Value = tuple[str, ...]
"""The values of a key's columns, as text."""
Piece = tuple[str, list[str]]
"""A piece of SQL, and the values of its parameters."""


@dataclass(frozen=True)
class Part:
    """One column of a key.

    Args:
        name: quoted; of a table without a key the SQL of a row's hash.
        type: as PostgreSQL writes it.
        kind: its name in `pg_type`; "" for one that is not PostgreSQL's own.
        collated: whether it sorts by a collation.
    """

    name: str
    type: str
    kind: str
    collated: bool

    @property
    def text(self) -> str:
        """The SQL of its value as text."""
        return f'({doubled(self.name)})::pg_catalog.text COLLATE "C"'

    @property
    def order(self) -> str:
        """The SQL by which it is put in order."""
        return self.text if self.collated else f"({doubled(self.name)})"

    @property
    def place(self) -> str:
        """The SQL of a value that is given."""
        return '%s::pg_catalog.text COLLATE "C"' if self.collated else f"%s::{doubled(self.type)}"

    def may_show(self, values: Iterable[str]) -> bool:
        """Whether these values say nothing about a person.

        Numbers, uuids, and text that is all generated.
        """
        return (
            self.kind in ("int2", "int4", "int8", "uuid")
            or self.collated
            and all(map(generated, values))
        )


@dataclass(frozen=True)
class Key:
    """What tells the rows of a table from each other.

    Args:
        parts: its columns, in their order.
        of_rows: whether it is a key; else the hash of the whole row stands in for one.
    """

    parts: tuple[Part, ...]
    of_rows: bool = True

    @classmethod
    def hashes(cls, row_hash: str) -> Key:
        """What stands in for a key that is not there."""
        return cls((Part(row_hash, "bigint", "", False),), of_rows=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns; none where it is no key."""
        return tuple(part.name for part in self.parts) if self.of_rows else ()

    @property
    def texts(self) -> str:
        """The SQL of its value, an array of text."""
        return f"ARRAY[{', '.join(part.text for part in self.parts)}]"

    @property
    def order(self) -> str:
        """What ORDER BY takes."""
        return ", ".join(part.order for part in self.parts)

    def compared(self, operator: str, value: Value) -> Piece:
        """Whether a row's key stands in this relation to a value."""
        places = ", ".join(part.place for part in self.parts)
        return f"ROW({self.order}) {operator} ROW({places})", list(value)

    def between(self, first: Value | None, last: Value | None) -> Piece:
        """Whether a row's key is in a range, from `first` up to but not including `last`.

        `None` leaves that end open.
        """
        ends = [
            self.compared(operator, value)
            for operator, value in ((">=", first), ("<", last))
            if value is not None
        ]
        return " AND ".join(["true", *(text for text, _ in ends)]), [
            item for _, values in ends for item in values
        ]

    def number(self, bounds: Sequence[Value], first: int = 0) -> Piece:
        """Which of the ranges that `bounds` make a row's key is in, the lowest being `first`.

        Halved again and again.
        """
        if not bounds:
            return str(first), []
        middle = len(bounds) // 2
        test, values = self.compared("<", bounds[middle])
        low, lows = self.number(bounds[:middle], first)
        high, highs = self.number(bounds[middle + 1 :], first + middle + 1)
        return f"CASE WHEN {test} THEN {low} ELSE {high} END", [*values, *lows, *highs]

    def ordered(self, db: Database, one: Value, other: Value) -> tuple[Value, Value]:
        """Two values, in their order."""
        places = ", ".join(part.place for part in self.parts)
        return (
            (one, other)
            if db.value(f"SELECT ROW({places}) <= ROW({places})", [*one, *other])
            else (other, one)
        )

    def shown(self, values: Iterable[Value]) -> bool:
        """Whether all these values may be shown."""
        return self.of_rows and all(
            part.may_show(column)
            for part, column in zip(self.parts, zip(*values, strict=False), strict=False)
        )


def doubled(sql: str) -> str:
    """SQL for a statement with parameters: a percent sign stands for itself."""
    return sql.replace("%", "%%")


def find(db: Database, table: str, among: Iterable[str]) -> Key | None:
    """The key of a table of which every column is `among` these.

    The primary key where there is a choice.
    """
    known = set(among)
    for row in db.rows(query("narrow_keys"), {"table": table}):
        if known.issuperset(row["names"]):
            return Key(tuple(map(Part, row["names"], row["types"], row["kinds"], row["collated"])))
    return None
