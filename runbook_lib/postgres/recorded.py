"""Read what the application was seen to send, from pg_stat_statements.

In a form that can be asked again on a copy.

The values of a recorded statement are gone, so it cannot be run. But since PostgreSQL 16 it can be
planned with generic parameters: that takes the locks that the statement takes on its tables, and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.statistics import statements_available

MOST = 8
"""Statements that are asked again: those that were sent most often."""
_PLANS_SINCE = 160000


@dataclass(frozen=True)
class Recorded:
    """A statement that was recorded.

    Args:
        id: its number in pg_stat_statements.
        table: the first of the wanted tables that it touches.
        statement: plans it; never shown.
    """

    id: str
    table: str
    statement: sql.SQL = field(repr=False)


def recorded(
    live: Database, copy: Database, tables: Mapping[tuple[str, str], str]
) -> tuple[Recorded, ...]:
    """The statements that were sent to `live` most often and touch one of `tables`.

    None where the server records none.

    Args:
        copy: has the same tables; the statements are planned there.
        tables: schema and name → qualified and quoted.
    """
    if copy.server_version < _PLANS_SINCE:
        return ()
    with reading(live):
        rows = live.rows(query("recorded_statements")) if statements_available(live) else []
    found: list[Recorded] = []
    for row in rows:
        if len(found) == MOST:
            break
        plan = sql.SQL(f"EXPLAIN (GENERIC_PLAN, VERBOSE, FORMAT JSON) {row['statement']}")
        touched = next((tables[one] for one in _touched(copy, plan) if one in tables), None)
        found += [Recorded(row["id"], touched, plan)] if touched else []
    return tuple(found)


def _touched(copy: Database, plan: sql.SQL) -> list[tuple[str, str]]:
    """The tables in a statement's plan, by schema and name.

    None where it cannot be planned here.
    """
    try:
        return list(_relations(copy.value(plan)[0]["Plan"]))
    except DatabaseError:
        return []


def _relations(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "Relation Name" in node:
        yield node["Schema"], node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _relations(child)
