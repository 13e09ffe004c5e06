"""Only the declared change passes; what is not declared is named."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.phases import declared
from runbook_lib.postgres import catalog, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import review
from runbook_lib.prisma.transactions import TransactionRule

SETUP = """
CREATE TABLE "Patient" (id int PRIMARY KEY, name text, insurer text, born date);
INSERT INTO "Patient" SELECT i, 'Fictitious ' || i, 'Imaginary ' || i % 3,
    '1980-01-01' FROM generate_series(1, 50) AS i;
CREATE TABLE "Untouched" (id int PRIMARY KEY, note text);
INSERT INTO "Untouched" SELECT i, 'note ' || i FROM generate_series(1, 20) AS i;
"""


class Night:
    """A database before and after a migration, and what its file declares."""

    def __init__(self, url: str, tmp_path: Any) -> None:
        self.target, self.folder = Target.parse(url), tmp_path / "20260101000000_change"
        self.db = Database(self.target)
        self.db.execute(SETUP)

    def migrate(self, sql: str, beside: str = "") -> declared.Content:
        """Review the file, apply it (and what nobody declared), and judge the difference."""
        self.folder.mkdir()
        (self.folder / "migration.sql").write_text(sql)
        objects = catalog.read(self.db).objects
        plan = (
            review(
                [MigrationFile.read(self.folder / "migration.sql")],
                catalog=objects,
                rule=TransactionRule.WHOLE_FILE,
            )
            .declared()
            .as_dict()
        )
        before = snapshot.take(self.target, "tests", columns=declared.kept_columns(objects, plan))
        self.db.execute(sql)
        if beside:
            self.db.execute(beside)
        after = declared.taken_again(before, self.target, "tests")
        return declared.compare(before, after, plan)


@pytest.fixture
def night(database: str, tmp_path: Any) -> Any:
    made = Night(database, tmp_path)
    yield made
    made.db.close()


@pytest.mark.parametrize(
    "sql",
    [
        'ALTER TABLE "Patient" DROP COLUMN insurer',
        "ALTER TABLE \"Patient\" ADD COLUMN channel text NOT NULL DEFAULT 'phone'",
        "UPDATE \"Patient\" SET insurer = 'Other'",
        'DELETE FROM "Patient" WHERE id > 40',
        'CREATE TABLE "New" (id int); INSERT INTO "New" VALUES (1)',
        'DROP TABLE "Untouched"',
        'ALTER TABLE "Patient" ALTER COLUMN id TYPE bigint',
        'CREATE INDEX ON "Patient" (name)',
    ],
)
def test_what_the_file_declares_passes(night: Night, sql: str) -> None:
    assert night.migrate(sql).checks().passed


@pytest.mark.parametrize(
    ("sql", "beside", "table"),
    [
        (
            'ALTER TABLE "Patient" DROP COLUMN insurer',
            "UPDATE \"Patient\" SET name = 'x' WHERE id = 7",
            "Patient",
        ),
        (
            "UPDATE \"Patient\" SET insurer = 'Other'",
            'UPDATE "Patient" SET born = born + 1 WHERE id = 7',
            "Patient",
        ),
        (
            'ALTER TABLE "Patient" ADD COLUMN channel text',
            'DELETE FROM "Patient" WHERE id = 7',
            "Patient",
        ),
        (
            'CREATE INDEX ON "Patient" (name)',
            'UPDATE "Untouched" SET note = NULL WHERE id = 3',
            "Untouched",
        ),
        ('CREATE INDEX ON "Patient" (name)', 'DROP TABLE "Untouched"', "Untouched"),
        (
            'ALTER TABLE "Patient" ALTER COLUMN born SET NOT NULL',
            'UPDATE "Patient" SET born = born + 1 WHERE id = 7',
            "Patient",
        ),
    ],
)
def test_what_it_does_not_declare_is_named(night: Night, sql: str, beside: str, table: str) -> None:
    found = night.migrate(sql, beside)
    assert not found.checks().passed
    assert [item.found.name for item in found.having("undeclared")] == [f'public."{table}"']
