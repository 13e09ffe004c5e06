"""What statements do that their text does not tell is watched in a shadow database, or said to
be not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.phases.observed import HISTORY, observe
from runbook_lib.phases.plan import Plan
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, Target, sql
from runbook_lib.postgres.scratch import scratch
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import Review, review
from tests.phases.conftest import Opened, enter
from tests.prisma.conftest import INIT, Make

SCHEMA = """
CREATE TABLE "Account" (id int PRIMARY KEY, email text NOT NULL, "user" text);
CREATE TABLE "Visit" (id int PRIMARY KEY, account int REFERENCES "Account", note text);
CREATE TABLE alone (id int PRIMARY KEY, a int);
CREATE VIEW emails AS SELECT email FROM "Account";
CREATE TYPE mood AS ENUM ('good');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER noted BEFORE UPDATE ON "Visit" FOR EACH ROW EXECUTE FUNCTION note();
"""
MADE_BY_PRISMA = sql.SQL(HISTORY).format(sql.SQL("public"))
GUARD = "DO $$ BEGIN {}; EXCEPTION WHEN {} THEN NULL; END $$"
IF = "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM {}) THEN {}; END IF; END $$"
KNOWN = [
    GUARD.format("CREATE TYPE fresh AS ENUM ('a')", "duplicate_object"),
    GUARD.format("CREATE TYPE mood AS ENUM ('a')", "duplicate_object"),
    GUARD.format("CREATE TYPE mood AS ENUM ('a')", "others"),
    GUARD.format('ALTER TABLE "Visit" ADD COLUMN note text', "duplicate_column"),
    GUARD.format(
        'ALTER TABLE "Visit" ADD CONSTRAINT x FOREIGN KEY (account) REFERENCES "Account" (id)',
        "duplicate_object",
    ),
    IF.format(
        "pg_type WHERE typname = 'mood'",
        "CREATE TYPE mood AS ENUM ('x'); CREATE TABLE never (id int)",
    ),
    IF.format(
        "information_schema.columns WHERE table_name = 'Visit' AND column_name = 'extra' "
        "AND table_schema = current_schema()",
        'ALTER TABLE "Visit" ADD COLUMN extra text',
    ),
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT tablename AS t FROM pg_tables "
    "WHERE schemaname = 'public' LOOP "
    "EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', r.t); END LOOP; END $$",
    "DO $$ BEGIN EXECUTE 'ALTER TABLE ' || quote_ident('Visit') || ' RENAME COLUMN note TO "
    "remark'; END $$",
    'DO $$ BEGIN ALTER TABLE "Account" RENAME TO "User"; ALTER TABLE "User" ADD "role" text; END '
    "$$",
    'DO $$ BEGIN UPDATE "Account" SET "user" = 1; CREATE INDEX ON "Account" (email); END $$',
    "DO $$ BEGIN PERFORM setval('s', (SELECT max(id) "
    "FROM alone)); EXCEPTION WHEN undefined_table THEN NULL; END $$",
    "DROP TABLE alone CASCADE",
    'DROP TABLE "Account" CASCADE',
    'ALTER TABLE "Account" DROP COLUMN email CASCADE',
    "DROP TYPE mood CASCADE",
    "DROP TABLE IF EXISTS nothing CASCADE",
    "DROP VIEW emails CASCADE",
    "DROP FUNCTION note CASCADE",
    'ALTER TABLE "Account" DROP CONSTRAINT "Account_pkey" CASCADE',
    "ALTER TYPE pair ADD ATTRIBUTE c int",
    'CREATE TABLE liked (LIKE "Visit" INCLUDING ALL)',
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO pg_monitor",
    "CREATE SCHEMA more; CREATE TABLE more.a (id int); DROP SCHEMA more CASCADE",
]
"""Statements whose course follows from the catalogue."""
NOT_KNOWN = [
    'DO $$ BEGIN IF EXISTS (SELECT 1 FROM "Account") THEN CREATE TABLE x (); END IF; END $$',
    "DO $$ DECLARE n int; BEGIN SELECT count(*) INTO n "
    'FROM "Visit"; IF n > 5 THEN CREATE TABLE x (); END IF; END $$',
    "DO $$ BEGIN UPDATE alone SET a = 1; IF FOUND THEN CREATE TABLE x (); END IF; END $$",
    "DO $$ DECLARE n int; BEGIN UPDATE alone SET a = 1; GET DIAGNOSTICS n = ROW_COUNT; END $$",
    'DO $$ BEGIN UPDATE "Visit" SET note = 1; END $$',  # its trigger may do more
    GUARD.format("ALTER TABLE alone ADD CHECK (a > 0)", "others"),
    GUARD.format("CREATE UNIQUE INDEX u ON alone (a)", "unique_violation"),
    "DO $$ BEGIN EXECUTE format('UPDATE %I SET a = 1', 'alone'); END $$",
    "DO $$ DECLARE s text := 'x'; BEGIN EXECUTE s; END $$",
    "DO $$ BEGIN PERFORM add(1, 2); END $$",
    "DO $$ BEGIN IF random() > 0.5 THEN CREATE TABLE x (); END IF; END $$",
    "DO $$ BEGIN IF now() > '2020-01-01' THEN CREATE TABLE x (); END IF; END $$",
    "DO $$ BEGIN IF CURRENT_DATE > '2020-01-01' THEN CREATE TABLE x (); END IF; END $$",
    "DO $$ BEGIN IF current_setting('app.x', true) = '1' THEN CREATE TABLE x (); END IF; END $$",
    "DO $$ BEGIN CREATE ROLE x; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'no'; END $$; DROP TABLE alone CASCADE",
    "CREATE ROLE never_made; DROP TABLE alone CASCADE",
    "INSERT INTO nowhere VALUES (1); DROP TABLE alone CASCADE",
    'UPDATE "Visit" SET note = 1',
    "SELECT add(1, 2)",
]


@pytest.fixture(scope="module")
def db(any_server: Server) -> Iterator[Database]:
    """The shadow; each test's changes are rolled back."""
    with (
        scratch(Target.parse(any_server.url()), "observed", "runbook/test") as target,
        Database(target) as db,
    ):
        db.execute(SCHEMA)
        db.execute(MADE_BY_PRISMA)
        yield db


def reviewed(db: Database, tmp_path: Any, text: str) -> Review:
    """The review of one pending file, with what was watched."""
    path = tmp_path / "20990101000000_x" / "migration.sql"
    path.parent.mkdir()
    path.write_text(text)
    file, made = MigrationFile.read(path), catalog.read(db)
    with db.connection.transaction(force_rollback=True):
        db.execute("DROP TABLE _prisma_migrations")
        seen = observe(db, made, [], [file])
    return review([file], catalog=made.objects, observed=seen)


@pytest.mark.parametrize("any_server", ["Debian's 15", 18], indirect=True)
@pytest.mark.parametrize("text", KNOWN)
def test_what_follows_from_the_catalogue_is_known_and_all_of_it_is_declared(
    db: Database, tmp_path: Any, text: str
) -> None:
    said = reviewed(db, tmp_path, text)
    assert not [item for item in said.findings if item.rule == "not-understood"]
    declared, before = said.declared(), catalog.read(db)
    with db.connection.transaction(force_rollback=True):
        db.execute(text)
        changes = catalog.difference(before, catalog.read(db))
    undeclared = [
        str(one)
        for one in changes
        if not declared.covers(one.kind, one.name, one.action, one.before, one.after)
    ]
    assert not undeclared and not declared.unclear
    there = {(one.kind, one.name) for one in changes}
    if text.startswith("DO"):
        assert {(one.kind, one.name) for one in declared.changes} == there


@pytest.mark.parametrize("any_server", [18], indirect=True)
@pytest.mark.parametrize("text", NOT_KNOWN)
def test_what_rows_calls_or_clocks_decide_stays_not_known(
    db: Database, tmp_path: Any, text: str
) -> None:
    assert reviewed(db, tmp_path, text).declared().unclear


@pytest.mark.parametrize("any_server", [18], indirect=True)
@pytest.mark.parametrize(
    ("text", "dependents"),
    [
        ("DROP TABLE alone CASCADE", False),
        ('DROP TABLE "Account" CASCADE', True),
        ('ALTER TABLE "Account" DROP COLUMN email CASCADE', True),
        ('ALTER TABLE "Account" DROP COLUMN "user" CASCADE', False),
    ],
)
def test_a_cascade_is_a_danger_only_where_something_depends(
    db: Database, tmp_path: Any, text: str, dependents: bool
) -> None:
    rules = {item.rule for item in reviewed(db, tmp_path, text).findings}
    assert ("dropped-with-dependents" in rules) is dependents


def test_the_plan_knows_what_it_could_watch_and_asks_a_person_where_there_is_drift(
    make: Make, opened: Opened, deployed: str
) -> None:
    name = "20990101000000_guarded"
    project = make(INIT | {name: KNOWN[0] + ";\nDROP TABLE IF EXISTS nothing CASCADE;\n"})
    phase = opened(Plan, project, deployed)
    assert [item.status for item in phase.review.checks() if item.id == "review.told"] == [
        Status.PASSED
    ]
    assert phase.review.declared().names("enum", "added") == ("public.fresh",)
    with Database(Target.parse(deployed)) as by_hand:
        by_hand.execute("CREATE TABLE by_hand (id int)")
    again = opened(Plan, project, deployed)
    assert [item.status for item in again.review.checks() if item.id == "review.told"] == [
        Status.UNKNOWN
    ]


def test_an_applied_block_that_names_a_table_user_is_compared(
    make: Make, opened: Opened, deployed: str
) -> None:
    name = "20260102000000_user"
    files = INIT | {
        name: (
            'CREATE TABLE "User" (id int PRIMARY KEY);\nDO $$ BEGIN ALTER TABLE "User" ADD COLUMN '
            '"role" text; END $$;\n'
        )
    }
    project = make(files | {"20990101000000_x": 'ALTER TABLE "User" ADD COLUMN a int;\n'})
    with Database(Target.parse(deployed)) as db:
        db.execute(files[name])
    enter(deployed, project, name)
    phase = opened(Plan, project, deployed)
    assert not phase.found_drift.why and not phase.found_drift.lines
