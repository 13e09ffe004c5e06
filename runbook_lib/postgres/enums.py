"""Return which values of its enums a database uses, and which rows hold a foreign one.

Counts and labels only: a label is a part of the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading

SCAN_TIMEOUT_S = 20.0
"""Seconds that looking for rare labels in one column may take."""


@dataclass
class Enum:
    """One enum type and its use.

    Args:
        name: qualified and quoted.
        labels: in their order.
        unseen: those that were found in no column.
        not_read: why a column could not be read to the end: then `unseen` may be too many.
    """

    name: str
    labels: tuple[str, ...]
    unseen: set[str]
    not_read: list[str] = field(default_factory=list)


def enums(db: Database) -> dict[str, Enum]:
    """Every enum and which of its labels no row has, by qualified quoted name.

    What the last ANALYZE saw is taken from it; rows are read only for the labels that it did not
    see.

    Raises:
        DatabaseError: the catalogue cannot be read.
    """
    with reading(db):
        rows = db.rows(query("health_enum_columns"))
    return {
        name: _used(db, name, list(columns))
        for name, columns in groupby(rows, lambda row: row["enum"])
    }


def _used(db: Database, name: str, columns: Sequence[Mapping[str, Any]]) -> Enum:
    labels = tuple(columns[0]["labels"] or ())
    made = Enum(name, labels, set(labels).difference(*(column["seen"] for column in columns)))
    for column in columns:
        if made.unseen and column["table"]:
            try:
                made.unseen -= _found(db, made, column)
            except DatabaseError as error:
                made.not_read.append(f"{column['table']}.{column['column']}: {error.message}")
    return made


def _found(db: Database, enum: Enum, column: Mapping[str, Any]) -> set[str]:
    """Which of the unseen labels a column has: in one pass, or by an index where there is one."""
    own = enum.name + "[]" * column["array"]  # of a domain, what it is made of
    held, table = f"t.{column['column']}::{own}", f"ONLY {column['table']} AS t"
    value, source, compared = (
        ("e.label", f"{table}, unnest({held}) AS e (label)", "&&")
        if column["array"]
        else (held, table, "= ANY")
    )
    statement = sql.SQL(
        f"SELECT DISTINCT {value}::text AS label FROM {source} WHERE {held} {compared} ("
    ) + sql.Literal(sorted(enum.unseen))
    with reading(db, statement_timeout_s=SCAN_TIMEOUT_S):
        return {
            row["label"] for row in db.rows(statement + sql.SQL(f"::text[]::{enum.name}[])"))
        } & enum.unseen


def outside(db: Database, table: str, column: str, labels: Iterable[str]) -> int:
    """How many rows have a text in a column that is none of `labels`.

    Args:
        table, column: quoted, the table qualified.

    Raises:
        DatabaseError: it took longer than `SCAN_TIMEOUT_S`, or the table may not be read.
    """
    with reading(db, statement_timeout_s=SCAN_TIMEOUT_S):
        return int(
            db.value(
                sql.SQL(f"SELECT count(*) FROM {table} WHERE {column}::text <> ALL (")
                + sql.Literal(list(labels))
                + sql.SQL("::text[])")
            )
        )
