"""Data against its own rules: what was so before, or is declared so, is a remark; what is new
and undeclared fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.check import Check, Status, new_since
from runbook_lib.errors import CheckError
from runbook_lib.phases import baseline, data
from runbook_lib.phases.baseline import NOTHING
from runbook_lib.phases.validate import Validate
from runbook_lib.postgres import catalog, enums, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import client
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import review
from runbook_lib.prisma.transactions import TransactionRule
from tests.phases.conftest import Opened
from tests.prisma.conftest import INIT, Make

BASE = """
CREATE TABLE "Patient" (id int PRIMARY KEY, age int);
CREATE TABLE "Visit" (id int PRIMARY KEY, "patientId" int);
ALTER TABLE "Visit" ADD CONSTRAINT long_ago CHECK (id > 0) NOT VALID;
"""
FOREIGN_KEY = (
    'ALTER TABLE "Visit" ADD CONSTRAINT "Visit_patientId_fkey" FOREIGN KEY ("patientId") '
    'REFERENCES "Patient" ("id") NOT VALID'
)
CHECKED = 'ALTER TABLE "Patient" ADD CONSTRAINT adult CHECK (age > 17) NOT VALID'
NOT_NULL = 'ALTER TABLE "Patient" ADD CONSTRAINT aged NOT NULL age NOT VALID'
SCHEMA = """
enum Mood {
  SAD
  FINE @map("fine")
  @@map("mood")
}
model Visit {
  id   Int @id
  mood Mood?
  old  Mood?
}
"""


@pytest.fixture
def db(database: str) -> Database:
    """A session on a fresh database."""
    with Database(Target.parse(database)) as session:
        yield session


def unvalidated(db: Database, folder: Path, declared: str, beside: str = "") -> Check:
    """The check, after a migration that declares one statement, and another beside it."""
    db.execute(BASE)
    before, objects = data.unvalidated_check(db, NOTHING), catalog.read(db).objects
    (folder / "1").mkdir()
    (folder / "1" / "migration.sql").write_text(declared)
    plan = review(
        [MigrationFile.read(folder / "1" / "migration.sql")],
        catalog=objects,
        rule=TransactionRule.WHOLE_FILE,
    ).declared()
    db.execute(declared)
    if beside:
        db.execute(beside)
    (found,) = new_since([before], [data.unvalidated_check(db, plan)])
    return found


@pytest.mark.parametrize("statement", [FOREIGN_KEY, CHECKED, NOT_NULL])
def test_a_constraint_that_the_plan_adds_unvalidated_is_a_remark(
    db: Database, tmp_path: Path, statement: str
) -> None:
    found = unvalidated(db, tmp_path, statement)
    assert (found.status, found.found.count("remark")) == (Status.PASSED, 2)
    assert (
        found.found.startswith('remark: as before: not validated: public."Visit".long_ago')
        and "is added so by the plan" in found.found
    )


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (FOREIGN_KEY, '"Visit"."Visit_patientId_fkey"'),
        (CHECKED, '"Patient".adult'),
        (NOT_NULL, '"Patient".aged'),
    ],
)
def test_one_that_nobody_declared_fails_with_the_statement_that_validates_it(
    db: Database, tmp_path: Path, statement: str, name: str
) -> None:
    found = unvalidated(db, tmp_path, 'CREATE INDEX ON "Patient" (age)', beside=statement)
    assert found.status is Status.FAILED and found.found.startswith(f"new: public.{name}; ")
    assert found.found.endswith("; 1 others were so before")
    assert f"VALIDATE CONSTRAINT {name.partition('.')[2]}" in found.remedy


def test_where_it_cannot_be_told_what_the_plan_does_it_is_left_to_a_person(
    db: Database, tmp_path: Path
) -> None:
    assert (
        unvalidated(db, tmp_path, "DO $$ BEGIN EXECUTE 'SELECT 1'; END $$", beside=CHECKED).status
        is Status.UNKNOWN
    )


def same_values(db: Database, labels: str, row: str = "") -> Check:
    """Whether the schema file's enum has these labels, where this row is."""
    db.execute(
        f'CREATE TYPE mood AS ENUM ({labels}); CREATE TABLE "Visit" (id int, mood mood, old '
        f'varchar(9)); INSERT INTO "Visit" VALUES (1, {row or "NULL"})'
    )
    return data.schema_check(client.of_schema(SCHEMA), enums.enums(db), "the same")


@pytest.mark.parametrize(
    ("labels", "row", "status", "said"),
    [
        ("'SAD', 'fine'", "", Status.PASSED, "none, in 1 enums"),
        ("'SAD'", "", Status.PASSED, "none, in 1 enums"),
        (
            "'SAD', 'fine', 'new'",
            "",
            Status.PASSED,
            "remark, no row holds it: public.mood has new, which the schema file does not",
        ),
        (
            "'SAD', 'fine', 'new'",
            "'new'",
            Status.FAILED,
            "rows hold it: public.mood has new, which the schema file does not",
        ),
    ],
)
def test_enum_values_are_held_against_the_schema_file(
    db: Database, labels: str, row: str, status: Status, said: str
) -> None:
    found = same_values(db, labels, row)
    assert (found.status, found.found) == (status, said)


def test_an_enum_that_is_missing_altogether_fails_value_by_value(db: Database) -> None:
    found = data.missing_check(client.of_schema(SCHEMA), enums.enums(db))
    assert found.status is Status.FAILED and (
        found.found == "Mood.SAD is missing in the database; Mood.fine is missing in the database"
    )


def test_a_value_that_only_the_schema_file_ever_had_is_for_a_person_and_never_passes(
    db: Database,
) -> None:
    before = data.missing_check(client.of_schema(SCHEMA), enums.enums(db))
    same_values(db, "'SAD'")
    (after,) = baseline.held_against(
        [before], [data.missing_check(client.of_schema(SCHEMA), enums.enums(db))]
    )
    assert (after.status, after.found) == (
        Status.UNKNOWN,
        "as before: Mood.fine is missing in the database",
    )


def test_a_text_that_the_schema_file_declares_an_enum_may_hold_its_values_only(
    db: Database,
) -> None:
    same_values(db, "'SAD', 'fine'")
    (only,) = data.text_checks(db, client.of_schema(SCHEMA))
    assert (only.id, only.status) == ('data.enum.public."Visit".old', Status.PASSED)
    db.execute("UPDATE \"Visit\" SET old = 'FINE'")
    (only,) = data.text_checks(db, client.of_schema(SCHEMA))
    assert (only.status, only.found) == (Status.FAILED, "1 rows have another value")


def test_values_that_no_row_has_are_a_remark_and_not_read_is_not_unused(db: Database) -> None:
    same_values(db, "'SAD', 'fine'", "'SAD'")
    found = enums.enums(db)
    assert (data.unused_check(found).status, data.unused_check(found).found) == (
        Status.PASSED,
        "remark: no row has public.mood: fine",
    )
    found["public.mood"].not_read.append("public.large.mood: it took too long")
    assert data.unused_check(found).status is Status.UNKNOWN


def test_the_gate_counts_what_the_data_say(opened: Opened, make: Make, deployed: str) -> None:
    phase, target = opened(Validate, make(INIT), deployed), Target.parse(deployed)
    with Database(target) as db:
        db.execute('CREATE MATERIALIZED VIEW known AS SELECT count(*) FROM "Patient"')
        phase.run.write_evidence("before.catalog", catalog.read(db))
        phase.run.write_evidence("before.snapshot", snapshot.take(target, "tests"))
        phase.run.write_evidence(
            "plan", {"declared": {"changes": [], "rows": {}, "tables": [], "unclear": []}}
        )
        found = baseline.taken(db, "tests", baseline.NOTHING, phase.project.schema, 1)
        phase.run.write_evidence("before.baseline", [one.as_dict() for one in found])
        assert phase.data().passed
        db.execute("""INSERT INTO "Patient" VALUES (1, 'Fictitious')""")
    del phase.content  # look again
    assert [one.id for one in phase.data().failed] == [
        "data.view.public.known"
    ] and phase.analyze().passed
    with pytest.raises(CheckError) as caught:
        phase.require()
    assert (
        "data.view.public.known" in caught.value.failed
        and "validate.orphans" in caught.value.failed
    )
    assert not {"validate.data", "validate.analyze"} & set(caught.value.failed)
