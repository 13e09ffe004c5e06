"""Tests of what is said where files put one thing in the place of another: names given back,
indexes, uniqueness, schemas.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import Finding, review

Files = Callable[..., tuple[MigrationFile, ...]]
CATALOG = {
    "table": {"public.plan": {}, "public.old_plan": {}, "billing.entry": {}},
    "view": {"public.seen": {}},
    "column": {
        "public.plan.id": {"type": "integer", "not_null": "yes"},
        "public.plan.provider": {"type": 'public."Provider"'},
        "public.plan.email": {"type": "text"},
        "billing.entry.id": {"type": "integer"},
    },
    "index": {
        "public.plan_pkey": {
            "table": "public.plan",
            "definition": "CREATE UNIQUE INDEX plan_pkey ON public.plan USING btree (id)",
        },
        "public.plan_email_key": {
            "table": "public.plan",
            "definition": "CREATE UNIQUE INDEX plan_email_key ON public.plan USING btree (email)",
        },
    },
    "enum": {'public."Provider"': {"labels": ["A", "B"]}},
}
ENUM = """BEGIN;
CREATE TYPE "Provider_new" AS ENUM ('A');
ALTER TABLE "plan" ALTER COLUMN "provider" TYPE "Provider_new"
    USING ("provider"::text::"Provider_new");
ALTER TYPE "Provider" RENAME TO "Provider_old";
ALTER TYPE "Provider_new" RENAME TO "Provider";
DROP TYPE "Provider_old";
COMMIT;"""


def found(files: Files, *sql: str) -> list[Finding]:
    return list(review(files(*sql), CATALOG, linter=Path("/bin/true")).findings)


def test_an_enum_that_prisma_makes_anew_under_its_name_is_neither_gone_nor_called_by_passing_names(
    files: Files,
) -> None:
    about = [(item.rule, item.why) for item in found(files, ENUM)]
    rules = [rule for rule, _ in about]
    assert "client-breaks" not in rules and "object-dropped" not in rules
    assert rules.count("client-sees-another") == 1
    assert not [why for _, why in about if "Provider_old" in why]


@pytest.mark.parametrize(
    ("sql", "rules", "said"),
    [
        ('ALTER TYPE "Provider" RENAME TO "Supplier"', {"client-breaks"}, 'type "Provider"'),
        ("CREATE TYPE x AS ENUM ('a'); DROP TYPE x", set(), ""),
        ("CREATE TYPE x AS ENUM ('a'); ALTER TYPE x RENAME TO y", set(), ""),
        ("DROP VIEW seen; CREATE VIEW seen AS SELECT 1", {"client-sees-another"}, "another seen"),
        ("ALTER TABLE plan ADD COLUMN x int; ALTER TABLE plan RENAME COLUMN x TO y", set(), ""),
        (
            "ALTER TABLE plan RENAME COLUMN email TO mail; ALTER TABLE plan RENAME COLUMN mail TO "
            "post",
            {"client-breaks"},
            "plan.email",
        ),
        (
            "ALTER TABLE plan DROP COLUMN email; ALTER TABLE plan ADD COLUMN email int",
            {"client-sees-another", "column-dropped"},
            "another plan.email",
        ),
    ],
)
def test_only_what_was_there_and_is_there_no_more_is_missed(
    files: Files, sql: str, rules: set[str], said: str
) -> None:
    missed = {"client-breaks", "client-sees-another", "object-dropped", "column-dropped"}
    seen = [item for item in found(files, sql) if item.rule in missed]
    assert {item.rule for item in seen} == rules
    assert said in " ".join(item.why for item in seen)


def test_an_index_that_only_changes_its_name_or_moves_with_its_table_is_neither_built_nor_removed(
    files: Files,
) -> None:
    sql = "ALTER INDEX plan_email_key RENAME TO x; ALTER TABLE plan SET SCHEMA billing"
    assert review(files(sql), CATALOG, linter=Path("/bin/true")).indexes().rows == []


def test_two_tables_that_swap_their_names_are_told_by_those_of_today(files: Files) -> None:
    swap = (
        "ALTER TABLE plan RENAME TO passing; ALTER TABLE old_plan RENAME TO plan; "
        "ALTER TABLE passing RENAME TO old_plan; ALTER TABLE plan ALTER COLUMN nowhere TYPE int"
    )
    said = [item.why for item in found(files, swap) if item.rule == "client-sees-another"]
    assert [why.split()[1] for why in said] == ["plan", "old_plan"]


@pytest.mark.parametrize(
    ("sql", "rules"),
    [
        ("DROP INDEX plan_email_key", {"index-dropped", "uniqueness-dropped"}),
        ("DROP INDEX plan_email_key; CREATE UNIQUE INDEX x ON plan (email)", {"index-replaced"}),
        (
            "DROP INDEX plan_email_key; CREATE INDEX x ON plan (email, id)",
            {"index-replaced", "uniqueness-dropped"},
        ),
        (
            "DROP INDEX plan_email_key; ALTER TABLE plan ADD CONSTRAINT x UNIQUE (email)",
            {"index-replaced"},
        ),
        (
            "DROP INDEX plan_email_key; CREATE UNIQUE INDEX x ON plan (email) WHERE id > 3",
            {"index-dropped", "uniqueness-dropped"},
        ),
        (
            "DROP INDEX plan_email_key; CREATE UNIQUE INDEX x ON plan (lower(email))",
            {"index-dropped", "uniqueness-dropped"},
        ),
        (
            "DROP INDEX plan_email_key; CREATE INDEX x ON plan USING gin (email)",
            {"index-dropped", "uniqueness-dropped"},
        ),
        ("DROP INDEX plan_email_key; ALTER TABLE plan DROP COLUMN email", set()),
        (
            "CREATE INDEX x ON plan (id, email); DROP INDEX plan_pkey",
            {"index-replaced", "uniqueness-dropped"},
        ),
    ],
)
def test_a_dropped_index_is_weighed_by_what_the_file_leaves(
    files: Files, sql: str, rules: set[str]
) -> None:
    about = {"index-dropped", "index-replaced", "uniqueness-dropped"}
    assert {item.rule for item in found(files, sql)} & about == rules


def test_a_table_of_another_schema_is_named_with_it_in_sentences_and_in_sql(files: Files) -> None:
    sql = "ALTER TABLE billing.entry ADD CONSTRAINT positive CHECK (id > 0)"
    finding = next(item for item in found(files, sql) if item.rule == "scan-under-exclusive-lock")
    assert "billing.entry" in finding.why
    assert "ALTER TABLE billing.entry ADD CONSTRAINT" in finding.safer
