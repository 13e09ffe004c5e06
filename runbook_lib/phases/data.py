"""What a database holds, against its own rules and the project's schema file: views, enum values, constraints that were never checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, Status, attempt, check, unknown
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

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]
TEXTS = ("text", "character")
"""How the types of text begin."""


def data_checks(
    db: Database,
    content: Content,
    before: Objects,
    declared: Mapping[str, Any],
    schema_file: Path | None,
) -> list[Check]:
    """Materialized views, enum values, constraints that were never checked, collations.

    Args:
        content: every table before the migration against now.
        before: the objects of the catalogue before it.
        declared: what the plan declares (`Declared.as_dict`).
        schema_file: of Prisma, or the folder of its files; `None` where there is none.
    """
    changed = {
        item.found.name
        for item in content.items
        if item.found.outcome is not Outcome.IDENTICAL or item.found.why
    }
    return [
        *several(
            "data.views",
            "no materialized view is empty or stale",
            lambda: _views(db, changed, before),
        ),
        *several(
            "data.enums",
            "enum values are used, and the same in schema file and database",
            lambda: _enums(db, schema_file),
        ),
        unvalidated_check(db, before, Declared.from_dict(declared)),
        *several(
            "data.collations",
            "the indexes on text were built with the installed collations",
            lambda: collation_checks(db),
        ),
    ]


def _views(db: Database, changed: set[str], before: Objects) -> Iterator[Check]:
    known = before.get("materialized view", {})
    for view in views.materialized_views(db):
        yield views.view_check(
            db, view, changed, known.get(view.name, {}).get("populated") is False
        )


def unvalidated_check(db: Database, before: Objects, declared: Declared) -> Check:
    """Whether every constraint was checked against the rows that are there, but those that were not before, and those that the plan adds so."""
    id, title = (
        "data.constraints",
        "no constraint lost its validation, or was added without it unannounced",
    )

    def look() -> Check:
        with reading(db):
            rows = db.rows(query("health_unvalidated_constraints"))
        new, said = [], []
        for row in rows:
            kind, name = (
                ("column", f"{row['table']}.{row['not_null']}")
                if row["not_null"]
                else ("constraint", f"{row['table']}.{row['name']}")
            )
            known, shown = before.get(kind, {}).get(name, {}), f"{row['table']}.{row['name']}"
            if known.get("validated") is False or known.get("not_null") == "not validated":
                said.append(f"{shown} was not before either")
            elif declared.covers(kind, name, "changed" if row["not_null"] else "added"):
                said.append(f"{shown} is added so by the plan")
            else:
                new.append(f"{shown}")
        found = (
            "; ".join(
                [f"not validated: {', '.join(new)}"] * bool(new)
                + [f"remark: {one}" for one in said]
            )
            or "all are validated"
        )
        remedy = "; ".join(
            f"ALTER TABLE {row['table']} VALIDATE CONSTRAINT {row['name']}" for row in rows
        )
        if new and declared.unclear:
            return unknown(
                id,
                title,
                f"{found}; what these do cannot be told: {', '.join(declared.unclear[:3])}",
                "none",
                remedy,
            )
        return check(id, title, not new, found, "none", remedy)

    return attempt(id, title, look)


def _enums(db: Database, schema_file: Path | None) -> Iterator[Check]:
    """Which enum values are used, and whether schema file and database have the same."""
    used = enums.enums(db)
    yield unused_check(used)
    title = "schema file and database have the same enum values"
    if schema_file is None:
        yield unknown("data.enums.schema", title, "the project has no schema file", "the same")
        return
    schema = client.of_schema(schemafile.text(schema_file), db.target.schema)
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


def schema_check(schema: client.Client, used: Mapping[str, Enum], title: str) -> Check:
    """Whether the database takes each value that the schema file names, and no row has one that it does not name: the client fails on it."""
    missing, strange, open_, remarks = list[str](), list[str](), list[str](), list[str]()
    for type_, (name, values) in schema.enums.items():
        found = used.get(type_, Enum(type_, (), set()))
        missing += [
            f"{name}.{value} is missing in the database"
            for value in values
            if value not in found.labels
        ]
        for label in (one for one in found.labels if one not in values):
            where = strange if label not in found.unseen else open_ if found.not_read else remarks
            where.append(f"{type_} has {label}, which the schema file does not")
    said = [
        *missing,
        *(f"rows hold it: {one}" for one in strange),
        *(f"whether rows hold it is not known: {one}" for one in open_),
        *(f"remark, no row holds it: {one}" for one in remarks),
    ]
    status = Status.FAILED if missing or strange else Status.UNKNOWN if open_ else Status.PASSED
    return Check(
        "data.enums.schema",
        title,
        status,
        "; ".join(said) or f"{len(schema.enums)} enums, the same",
        "the same",
        "bring the schema file and the database together: a client fails on a value that either does not know",
    )


def text_checks(db: Database, schema: client.Client) -> Iterator[Check]:
    """For each column of text that the schema file declares as an enum, whether all its values are the enum's."""
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
                lambda id=id, title=title, at=(table, column), enum=enum: _inside(
                    db, id, title, at, values[enum]
                ),
            )


def _inside(
    db: Database, id: str, title: str, at: tuple[str, str], values: tuple[str, ...]
) -> Check:
    count = enums.outside(db, *at, values)
    return check(
        id,
        title,
        not count,
        f"{count} rows have another value" if count else "all of them",
        "none outside",
        f"SELECT {at[1]}, count(*) FROM {at[0]} GROUP BY 1 shows them",
    )
