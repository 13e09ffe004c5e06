"""Check whether each index on text was built with the installed collation's version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.check import Check, check, faults, unknown
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.reading import reading


def collation_checks(db: Database) -> Iterator[Check]:
    """One check a collation that an index uses, the database's own among them.

    None where no index is on text.

    Where the versions differ, an index may be in another order than the one it is searched in:
    PostgreSQL's documentation, ALTER COLLATION, "Notes".

    Raises:
        DatabaseError: the catalogue cannot be read.
    """
    with reading(db):
        rows = db.rows(query("health_collations"))
        known = db.server_version >= 150000
        own = (
            db.value(
                "SELECT pg_database_collation_actual_version(oid) FROM pg_database "
                "WHERE datname = current_database()"
            )
            if known
            else None
        )
    for row in rows:
        yield _check(
            row,
            own if row["kind"] == "database" else row["actual"],
            known or row["kind"] == "collation",
        )


def _check(row: Mapping[str, Any], actual: str | None, known: bool) -> Check:
    id = "data.collation." + (
        "database" if row["kind"] == "database" else row["name"]
    )  # a copy has another name
    title = (
        f"the {len(row['indexes'])} indexes in the order of {row['kind']} {row['name']} were "
        "built with the installed version"
    )
    remedy = _remedy(row)
    if row["recorded"] == actual and (actual or known or row["by_bytes"]):
        return check(
            id,
            title,
            True,
            f"version {actual}" if actual else "it has no version: its order does not change",
        )
    if row["recorded"] is None:
        why = (
            "no version was recorded when it was made"
            if known
            else "PostgreSQL 14 keeps no version of a database's own collation"
        )
        return unknown(
            id, title, f"{why}; installed is {actual or 'not known'}", "the same version", remedy
        )
    return faults(
        id,
        title,
        {row["name"]: 1},
        f"built with {row['recorded']}, installed is {actual or 'none'}",
        "the same version",
        remedy,
    )


def _remedy(row: Mapping[str, Any]) -> str:
    which = (
        f"REINDEX DATABASE {row['name']}"
        if row["kind"] == "database"
        else "; ".join(f"REINDEX INDEX {name}" for name in row["indexes"][:5])
    )
    more = (
        f" and {len(row['indexes']) - 5} more"
        if row["kind"] == "collation" and len(row["indexes"]) > 5
        else ""
    )
    refresh = (
        f"ALTER DATABASE {row['name']} REFRESH COLLATION VERSION"
        if row["kind"] == "database"
        else f"ALTER COLLATION {row['name']} REFRESH VERSION"
    )
    return f"{which}{more}, then {refresh}"
