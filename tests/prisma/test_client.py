"""What the client that runs now names, and what of it the pending files take away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib.prisma import client
from runbook_lib.prisma.client import Client, Field, Model
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import review

SCHEMA = """
enum Kind {
  PLAIN
  ODD   @map("odd one") // mapped
  @@map("kind")
}

model Person {
  id      Int     @id @default(autoincrement())
  name    String? @db.VarChar(20) // what it is called
  born    DateTime @map("date_of_birth")
  kind    Kind
  tags    String[]
  pets    Pet[]
  @@map("people")
}

model Pet {
  id      Int    @id
  ownerId Int
  owner   Person @relation(fields: [ownerId], references: [id])
  @@schema("animals")
}
"""
OBJECTS: dict[str, Any] = {
    "table": {"public.people": {}, 'animals."Pet"': {}, "public._prisma_migrations": {}},
    "column": {
        "public.people.id": {"type": "integer", "not_null": "yes", "default": "nextval()"},
        "public.people.name": {"type": "text"},
        "public.people.date_of_birth": {"type": "date", "not_null": "yes"},
        "public.people.kind": {"type": "public.kind", "not_null": "yes"},
        "public.people.tags": {"type": "text[]"},
        'animals."Pet".id': {"type": "integer", "not_null": "yes"},
    },
    "enum": {"public.kind": {"labels": ["PLAIN", "odd one"]}},
}
KIND = """CREATE TYPE kind_new AS ENUM ({});
ALTER TABLE people ALTER kind TYPE kind_new USING (kind::text::kind_new);
ALTER TYPE kind RENAME TO kind_old; ALTER TYPE kind_new RENAME TO kind; DROP TYPE kind_old"""
BROKEN = [
    ("ALTER TABLE people DROP COLUMN name", "Person.name", "people.name (dropped)"),
    (
        "ALTER TABLE people RENAME date_of_birth TO born",
        "Person.born",
        "people.date_of_birth (renamed)",
    ),
    ('DROP TABLE animals."Pet"', "model Pet", 'animals."Pet" (dropped)'),
    ("ALTER TABLE people RENAME TO persons", "model Person", "people (renamed)"),
    ("ALTER TABLE people ALTER name SET NOT NULL", "Person.name", "people.name (not null)"),
    (
        "ALTER TABLE people ADD COLUMN need int NOT NULL",
        "Person (no field)",
        "people.need (required)",
    ),
    (
        "ALTER TABLE people ADD COLUMN need int NOT NULL DEFAULT 1; ALTER TABLE people ALTER need "
        "DROP DEFAULT",
        "Person (no field)",
        "people.need (required)",
    ),
    (
        "ALTER TABLE people ADD COLUMN need int; UPDATE people "
        "SET need = 1; ALTER TABLE people ALTER need SET NOT NULL",
        "Person (no field)",
        "people.need (required)",
    ),
    ("ALTER TYPE kind RENAME VALUE 'odd one' TO 'odd'", "Kind.odd one", "kind (value gone)"),
    (KIND.format("'PLAIN'"), "Kind.odd one", "kind (value gone)"),
    ("ALTER TABLE people ALTER kind TYPE text; DROP TYPE kind", "enum Kind", "kind (dropped)"),
]
UNBROKEN = [
    "ALTER TABLE people ADD COLUMN need int NOT NULL DEFAULT 1",
    "ALTER TABLE people ADD COLUMN more int",
    "ALTER TABLE people ADD COLUMN n serial NOT NULL",
    "ALTER TABLE people DROP COLUMN name; ALTER TABLE people ADD COLUMN name text",
    "ALTER TYPE kind ADD VALUE 'new'",
    KIND.format("'PLAIN', 'odd one', 'new'"),
    "CREATE TABLE other (id int NOT NULL)",
    "ALTER TABLE people ALTER tags SET NOT NULL",
    "ALTER TABLE people ALTER date_of_birth SET NOT NULL",
    "ALTER TABLE people ADD COLUMN need int NOT NULL; ALTER TABLE people ALTER need DROP NOT NULL",
    "CREATE INDEX ON people (name)",
]


def broken(running: Client, files: Any, sql: str) -> tuple[client.Break, ...]:
    return client.breaks(
        running, review(files(sql), OBJECTS, linter=Path("/bin/true")).statements, OBJECTS
    ).items


def test_a_schema_is_read_with_its_maps_and_without_relations() -> None:
    assert client.of_schema(SCHEMA) == Client(
        {
            "public.people": Model(
                "Person",
                {
                    "id": Field("id", type="Int"),
                    "name": Field("name", True, "String"),
                    "date_of_birth": Field("born", type="DateTime"),
                    "kind": Field("kind", type="Kind"),
                    "tags": Field("tags", type="String"),
                },
            ),
            'animals."Pet"': Model(
                "Pet", {"id": Field("id", type="Int"), '"ownerId"': Field("ownerId", type="Int")}
            ),
        },
        {"public.kind": ("Kind", ("PLAIN", "odd one"))},
    )


@pytest.mark.parametrize(("sql", "names", "database"), BROKEN)
def test_what_the_client_names_and_loses_is_found_with_statement_and_steps(
    files: Any, sql: str, names: str, database: str
) -> None:
    found = broken(client.of_schema(SCHEMA), files, sql)
    assert [(item.names, item.database, item.file) for item in found] == [(names, database, "1")]
    assert len(found[0].steps) >= 3 and "client" in " ".join(found[0].steps)


@pytest.mark.parametrize("sql", UNBROKEN)
def test_what_the_client_can_live_with_is_not_said(files: Any, sql: str) -> None:
    assert broken(client.of_schema(SCHEMA), files, sql) == ()


def test_without_a_deployed_schema_the_client_names_everything_and_the_assumption_is_said(
    files: Any,
) -> None:
    running = client.of_catalog(OBJECTS)
    assert set(running.models) == {"public.people", 'animals."Pet"'}
    statements = review(
        files("ALTER TABLE people DROP COLUMN tags"), OBJECTS, linter=Path("/bin/true")
    ).statements
    found = client.breaks(running, statements, OBJECTS)
    assert [item.names for item in found.items] == [
        "people.tags"
    ] and "is not set" in found.table().title


def test_the_samples_third_pending_file_takes_two_fields_from_the_client_that_runs(
    sample: Path,
) -> None:
    migrations = [
        MigrationFile.read(path)
        for path in sorted((sample / "prisma" / "migrations").glob("*/migration.sql"))
    ]
    running = client.of_schema((sample / "prisma" / "deployed.prisma").read_text())
    found = client.breaks(
        running,
        review(migrations[4:], before=migrations[:4], linter=Path("/bin/true")).statements,
        {},
    ).items
    assert {(item.names, item.place) for item in found} == {
        (f"Patient.{name}", "20261102100000_drop_patient_insurance_columns:9")
        for name in ("insurerName", "insuranceNumber")
    }
    next_one = client.of_schema((sample / "prisma" / "schema.prisma").read_text())
    assert (
        client.breaks(
            next_one,
            review(migrations[4:], before=migrations[:4], linter=Path("/bin/true")).statements,
            {},
        ).items
        == ()
    )
