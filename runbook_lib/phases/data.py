"""What a database holds, against its own rules and the project's schema file.

Views, enum values, constraints that were never checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, Status, attempt, check, faults, unknown
from runbook_lib.phases.checks import several
from runbook_lib.phases.declared import Content
from runbook_lib.postgres import enums, views
from runbook_lib.postgres.collations import collation_checks
from runbook_lib.postgres.comparison import Outcome
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.enums import Enum
from runbook_lib.postgres.reading import reading
from runbook_lib.prisma import client, schemafile
from runbook_lib.prisma.declared import Declared

MISSING = "data.enums.missing"
"""The check of enum values that the schema file alone has. The file is that of after the migration:
whether the last one had it, nobody can tell.
"""
TEXTS = ("text", "character")
"""How the types of text begin."""


def data_checks(
    db: Database, changed: Set[str], declared: Declared, schema_file: Path | None
) -> list[Check]:
    """Materialized views, enum values, constraints that were never checked, collations.

    Args:
        changed: the tables whose rows changed, or may change, by qualified quoted name.
        declared: what the plan declares.
        schema_file: of Prisma, or the folder of its files; `None` where there is none.
    """
    return [
        *several(
            "data.views",
            "no materialized view is empty or stale",
            lambda: (views.view_check(db, one, changed) for one in views.materialized_views(db)),
        ),
        *several(
            "data.enums",
            "enum values are used, and the same in schema file and database",
            lambda: _enums(db, schema_file),
        ),
        unvalidated_check(db, declared),
        *collations(db),
    ]


def collations(db: Database) -> list[Check]:
    """Whether the indexes on text were built with the installed collations."""
    title = "the indexes on text were built with the installed collations"
    return several("data.collations", title, lambda: collation_checks(db))


def changed_tables(content: Content) -> set[str]:
    """The tables whose content is not that of before, or that could not be compared."""
    return {
        item.found.name
        for item in content.items
        if item.found.outcome is not Outcome.IDENTICAL or item.found.why
    }


def unvalidated_check(db: Database, declared: Declared) -> Check:
    """Check that every constraint was checked against the existing rows.

    Those that the plan adds without validation do not count.
    """
    id, title = "data.constraints", "every constraint was checked against the rows that are there"

    def look() -> Check:
        with reading(db):
            rows = db.rows(query("health_unvalidated_constraints"))
        planned = [row for row in rows if _planned(row, declared)]
        wrong = {f"{row['table']}.{row['name']}": 1.0 for row in rows if row not in planned}
        said = [f"not validated: {', '.join(wrong)}"] * bool(wrong)
        said += [f"remark: {row['table']}.{row['name']} is added so by the plan" for row in planned]
        remedy = "; ".join(
            f"ALTER TABLE {row['table']} VALIDATE CONSTRAINT {row['name']}" for row in rows
        )
        found = faults(id, title, wrong, "; ".join(said) or "all are validated", "none", remedy)
        if wrong and declared.unclear:
            doubt = f"what these do cannot be told: {', '.join(declared.unclear[:3])}"
            return replace(found, status=Status.UNKNOWN, found=f"{found.found}; {doubt}")
        return found

    return attempt(id, title, look)


def _planned(row: Mapping[str, Any], declared: Declared) -> bool:
    """Whether the plan adds a constraint without checking it."""
    if row["not_null"]:
        return declared.covers("column", f"{row['table']}.{row['not_null']}", "changed")
    return declared.covers("constraint", f"{row['table']}.{row['name']}", "added")


def _enums(db: Database, schema_file: Path | None) -> Iterator[Check]:
    """Which enum values are used, and whether schema file and database have the same."""
    used = enums.enums(db)
    yield unused_check(used)
    title = "no row has an enum value that the schema file does not name"
    if schema_file is None:
        yield unknown("data.enums.schema", title, "the project has no schema file", "none")
        return
    schema = client.of_schema(schemafile.text(schema_file), db.target.schema)
    yield missing_check(schema, used)
    yield schema_check(schema, used, title)
    yield from text_checks(db, schema)


def unused_check(used: Mapping[str, Enum]) -> Check:
    """A remark on the values of enums that no row has."""
    id, title = "data.enums.unused", "enum values that no row has (a remark)"
    unseen = [
        f"{name}: {', '.join(label for label in one.labels if label in one.unseen)}"
        for name, one in used.items()
        if one.unseen
    ]
    not_read = [why for one in used.values() if one.unseen for why in one.not_read]
    if not_read:
        return unknown(
            id,
            title,
            f"perhaps {'; '.join(unseen)}: not read to the end were {'; '.join(not_read)}",
            "",
            "look for them by hand",
        )
    return check(
        id,
        title,
        True,
        f"remark: no row has {'; '.join(unseen)}"
        if unseen
        else f"every value of {len(used)} enums is used",
    )


def missing_check(schema: client.Client, used: Mapping[str, Enum]) -> Check:
    """Whether the database takes each value that the schema file names.

    A client that writes another fails.
    """
    missing = {
        f"{name}.{value}": 1.0
        for type_, (name, values) in schema.enums.items()
        for value in values
        if type_ not in used or value not in used[type_].labels
    }
    return faults(
        MISSING,
        "the database takes every enum value that the schema file names",
        missing,
        "; ".join(f"{one} is missing in the database" for one in missing)
        or f"all values of {len(schema.enums)} enums",
        "all",
        "add it (ALTER TYPE … ADD VALUE), or take it out of the schema file",
    )


def schema_check(schema: client.Client, used: Mapping[str, Enum], title: str) -> Check:
    """Whether no row has an enum value that the schema file does not name.

    A client that reads it fails.
    """
    strange, open_, remarks = list[str](), list[str](), list[str]()
    for type_, (_, values) in schema.enums.items():
        found = used.get(type_, Enum(type_, (), set()))
        for label in (one for one in found.labels if one not in values):
            where = strange if label not in found.unseen else open_ if found.not_read else remarks
            where.append(f"{type_} has {label}, which the schema file does not")
    said = [
        *(f"rows hold it: {one}" for one in strange),
        *(f"whether rows hold it is not known: {one}" for one in open_),
        *(f"remark, no row holds it: {one}" for one in remarks),
    ]
    return Check(
        "data.enums.schema",
        title,
        Status.FAILED if strange else Status.UNKNOWN if open_ else Status.PASSED,
        "; ".join(said) or f"none, in {len(schema.enums)} enums",
        "none",
        "bring the schema file and the database together: a client fails on a value that it does "
        "not know",
        dict.fromkeys([*strange, *open_], 1.0),
    )


def text_checks(db: Database, schema: client.Client) -> Iterator[Check]:
    """Check each text column that the schema file declares as an enum.

    All its values must be the enum's.
    """
    values = dict(schema.enums.values())
    declared = {
        f"{table}.{column}": (table, column, one.type)
        for table, model in schema.models.items()
        for column, one in model.fields.items()
        if one.type in values
    }
    with reading(db):
        types = (
            {row["name"]: row["type"] for row in db.rows(query("catalog_column"))}
            if declared
            else {}
        )
    for name, (table, column, enum) in declared.items():
        if types.get(name, "").startswith(TEXTS):
            id, title = f"data.enum.{name}", f"every {name}, a text, is one of the values of {enum}"
            yield attempt(
                id,
                title,
                partial(_inside, db, id, title, (table, column), values[enum]),
            )


def _inside(
    db: Database, id: str, title: str, at: tuple[str, str], values: tuple[str, ...]
) -> Check:
    count = enums.outside(db, *at, values)
    return faults(
        id,
        title,
        {f"{at[0]}.{at[1]}": count} if count else {},
        f"{count} rows have another value" if count else "all of them",
        "none outside",
        f"SELECT {at[1]}, count(*) FROM {at[0]} GROUP BY 1 shows them",
    )
