"""Materialized views: whether they are filled, and whether they hold what their query gives now."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from runbook_lib.check import Check, Status, attempt, check, faults
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import pin, reading

COMPARE_TIMEOUT_S = 60.0
"""Seconds that the query of one view may take; one that takes longer is told as not compared."""


@dataclass(frozen=True)
class MaterializedView:
    """One materialized view.

    Args:
        name: qualified and quoted.
        populated: whether it was ever filled: PostgreSQL refuses to read one that was not.
        owner: quoted; REFRESH runs its query with this role's rights.
        tables: those that hold the rows it is made of, behind other views, and partitions, too.
        functions: not PostgreSQL's own, that its query calls: what they read is not known.
        varies: what can change the query's result although no row has changed.
        values: its columns in the form in which they are compared.
    """

    name: str
    populated: bool
    owner: str
    definition: str
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    varies: tuple[str, ...]
    values: tuple[str, ...]


def materialized_views(db: Database) -> tuple[MaterializedView, ...]:
    """All materialized views of the database."""
    with reading(db):
        rows = db.rows(query("health_materialized_views"))
    return tuple(
        MaterializedView(**{key: _frozen(value) for key, value in row.items()}) for row in rows
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def view_check(db: Database, view: MaterializedView, changed: Set[str]) -> Check:
    """Whether a view is filled, and not stale because of what changed.

    It is compared with its query only where a table behind it changed: a view that waited for its
    refresh before, waits on.

    Args:
        changed: the tables whose content changed, or may change, by qualified quoted name.
    """
    id, title, refresh = (
        f"data.view.{view.name}",
        f"{view.name} is filled, and nothing made it stale",
        f"REFRESH MATERIALIZED VIEW {view.name}",
    )
    if not view.populated:
        return faults(id, title, {view.name: 1}, f"{view.name} is not filled", "filled", refresh)
    touched = sorted(changed & set(view.tables)) or (changed and view.functions)
    if not touched:
        return check(
            id, title, True, f"no change in the {len(view.tables)} tables that it is made of"
        )
    return attempt(id, title, lambda: _compared(db, view, id, title, refresh))


def _compared(db: Database, view: MaterializedView, id: str, title: str, refresh: str) -> Check:
    kept, given = (_content(db, view, source) for source in (view.name, f"({view.definition})"))
    found = (
        "it holds what its query gives"
        if kept == given
        else f"it holds {kept['rows']} rows, its query gives {given['rows']}"
        if (kept["rows"] != given["rows"])
        else f"some of its {kept['rows']} rows are not those that its query gives"
    )
    if kept != given and view.varies:
        varies = f"{found}; but that varies by itself: {', '.join(view.varies)}"
        return Check(id, title, Status.UNKNOWN, varies, "as its query", refresh, {view.name: 1})
    wrong = {view.name: 1} if kept != given else {}
    return faults(id, title, wrong, found, "as its query", refresh)


def _content(db: Database, view: MaterializedView, source: str) -> dict[str, Any]:
    """Return how many rows, and a sum of their hashes, as REFRESH would see them.

    With the rights and the settings that it has.
    """
    with reading(db, statement_timeout_s=COMPARE_TIMEOUT_S):
        usual = db.rows(
            "SELECT name, reset_val FROM pg_settings "
            "WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'row_security')"
        )
        pin(db, {row["name"]: row["reset_val"] for row in usual} | {"work_mem": "64MB"})
        db.execute(f"SET LOCAL ROLE {view.owner}")
        return (
            db.row(
                "SELECT count(*) AS rows, "
                f"coalesce(sum(hashtextextended(ROW({', '.join(view.values)})::text, 0)), "
                f"0)::text AS content FROM {source} AS v"
            )
            or {}
        )
