"""What pending files demand of the rows that are there, asked of a real server: counted, listed
by key, and never a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import catalog, violations
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma.questions import Question, Worth, questions
from runbook_lib.prisma.review import review

SETUP = """
CREATE EXTENSION btree_gist; CREATE TYPE mood AS ENUM ('a', 'b', 'c'); CREATE DOMAIN mail AS text;
CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1), (2);
CREATE TABLE nothing (id int);
CREATE TABLE "Big" (id int PRIMARY KEY, name varchar(20), email text, parent int, kind text,
    price numeric(10,2), mood mood, "at" mail);
INSERT INTO "Big" SELECT i, CASE WHEN i > 2 THEN 'name' || i END,
    CASE WHEN i % 2 = 0 THEN 'X@' || i / 4 END, i, CASE i WHEN 3 THEN 'x' ELSE '1' END,
  i * 100000.25, CASE i WHEN 4 THEN 'c' ELSE 'a' END::mood,
      CASE i WHEN 5 THEN 'none' ELSE 'a@b' END FROM generate_series(1, 10) AS i;
ALTER TABLE "Big" ADD CONSTRAINT later CHECK (id < 5) NOT VALID;
CREATE TABLE room (number int, during int4range);
INSERT INTO room VALUES (1, '[1,5)'), (1, '[4,6)'), (2, '[7,8)'), (NULL, NULL);
CREATE TABLE part (id int, at int) PARTITION BY RANGE (at);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
INSERT INTO part VALUES (1, 1), (1, 1), (NULL, 2);
"""
MOOD = (
    "CREATE TYPE mood2 AS ENUM ('a', 'b'); ALTER TABLE \"Big\" ALTER mood TYPE mood2 "
    "USING (mood::text::mood2)"
)
CASES = [
    ('ALTER TABLE "Big" ALTER name SET NOT NULL', "not null", 2),
    ('ALTER TABLE "Big" ALTER kind SET NOT NULL', "not null", 0),
    ('CREATE UNIQUE INDEX CONCURRENTLY u ON "Big" (email)', "unique", 2),
    ('CREATE UNIQUE INDEX u ON "Big" (email) NULLS NOT DISTINCT', "unique", 6),
    ('CREATE UNIQUE INDEX u ON "Big" (lower(email)) WHERE id > 4', "unique", 1),
    ('ALTER TABLE "Big" ADD CONSTRAINT u UNIQUE (kind, email)', "unique", 2),
    ("ALTER TABLE part ADD CONSTRAINT u UNIQUE (id, at)", "unique", 1),
    ('ALTER TABLE "Big" ADD FOREIGN KEY (parent) REFERENCES small', "foreign key", 8),
    ('ALTER TABLE "Big" ADD FOREIGN KEY (id) REFERENCES "Big" (id)', "foreign key", 0),
    ('ALTER TABLE "Big" ADD CONSTRAINT c CHECK (length(name) < 6 AND id > 1)', "check", 2),
    ('ALTER TABLE "Big" VALIDATE CONSTRAINT later', "check", 6),
    (
        'ALTER TABLE "Big" ADD CONSTRAINT n CHECK (id > 3) NOT VALID; ALTER TABLE "Big" VALIDATE '
        "CONSTRAINT n",
        "check",
        3,
    ),
    ('ALTER TABLE "Big" ADD COLUMN need int NOT NULL', "required column", 10),
    ("ALTER TABLE nothing ADD COLUMN need int NOT NULL", "required column", 0),
    ('ALTER TABLE "Big" ALTER kind TYPE int USING kind::int', "type", 1),
    ('ALTER TABLE "Big" ALTER kind TYPE int USING kind::text::int', "type", 1),
    ('ALTER TABLE "Big" ALTER price TYPE numeric(8,2)', "type", 1),
    ('ALTER TABLE "Big" ALTER price TYPE smallint', "type", 10),
    ('ALTER TABLE "Big" ALTER name TYPE varchar(5)', "type", 1),
    (MOOD, "type", 1),
    ("ALTER DOMAIN mail ADD CHECK (VALUE LIKE '%@%')", "check", 1),
    ("ALTER DOMAIN mail SET NOT NULL", "not null", 0),
    ("ALTER TABLE room ADD EXCLUDE USING gist (number WITH =, during WITH &&)", "exclusion", 2),
]
NOT_SETTLED = [
    (
        'UPDATE "Big" SET name = \'x\' WHERE name IS NULL; ALTER TABLE "Big" ALTER name '
        "SET NOT NULL",
        Worth.MAY_CHANGE,
    ),
    (
        'DELETE FROM "Big" WHERE name IS NULL; ALTER TABLE "Big" ALTER name SET NOT NULL',
        Worth.MAY_CHANGE,
    ),
    (
        'INSERT INTO small SELECT generate_series(3, 10); ALTER TABLE "Big" ADD FOREIGN KEY '
        "(parent) REFERENCES small",
        Worth.MAY_CHANGE,
    ),
    (
        'DO $$ BEGIN PERFORM tidy(); END $$; ALTER TABLE "Big" ALTER name SET NOT NULL',
        Worth.MAY_CHANGE,
    ),
    ('UPDATE "Big" SET kind = \'x\'; ALTER TABLE "Big" ALTER name SET NOT NULL', Worth.SETTLES),
    ('TRUNCATE "Big"; ALTER TABLE "Big" ADD COLUMN need int NOT NULL', Worth.MAY_CHANGE),
    ('ALTER TABLE "Big" ADD COLUMN z int; CREATE UNIQUE INDEX ON "Big" (z)', Worth.NO_DATA),
    (
        'CREATE TABLE parent (id int PRIMARY KEY); ALTER TABLE "Big" ADD FOREIGN KEY (parent) '
        "REFERENCES parent",
        Worth.NO_DATA,
    ),
    ('ALTER TABLE "Big" ADD COLUMN z int DEFAULT 1 UNIQUE', Worth.NO_DATA),
    ('ALTER TABLE "Big" ALTER kind TYPE int USING length(kind)', Worth.NOT_ASKED),
    ('ALTER TABLE "Big" ALTER kind TYPE int USING email::int', Worth.NOT_ASKED),
    ('ALTER TABLE "Big" ALTER parent TYPE boolean USING parent::boolean', Worth.NOT_ASKED),
    (
        'ALTER TABLE "Big" RENAME email TO mail; CREATE UNIQUE INDEX ON "Big" (lower(mail))',
        Worth.NOT_ASKED,
    ),
    ('CREATE UNIQUE INDEX i ON "Big" (email text_pattern_ops)', Worth.NOT_ASKED),
    ('ALTER TABLE "Big" VALIDATE CONSTRAINT nowhere', Worth.NOT_ASKED),
    (
        "ALTER TABLE room ADD EXCLUDE USING gist (during WITH &&) WHERE (number > 1)",
        Worth.NOT_ASKED,
    ),
]
NOTHING = [
    'ALTER TABLE "Big" ALTER id SET NOT NULL',
    'CREATE INDEX ON "Big" (email)',
    'ALTER TABLE "Big" ADD COLUMN z int NOT NULL DEFAULT 0',
    'ALTER TABLE "Big" ADD COLUMN z serial NOT NULL',
    'ALTER TABLE "Big" ALTER name TYPE text',
    'ALTER TABLE "Big" ADD CHECK (id > 5) NOT VALID',
    'CREATE TABLE n (id int PRIMARY KEY, big int REFERENCES "Big" (id)); ALTER TABLE n ALTER big '
    "SET NOT NULL; CREATE UNIQUE INDEX ON n (big)",
    'CREATE UNIQUE INDEX IF NOT EXISTS "Big_pkey" ON "Big" (name)',
    'ALTER TABLE "Big" ADD COLUMN IF NOT EXISTS name text NOT NULL',
]
Ask = Callable[..., list[tuple[Question, int | None]]]


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Database]:
    """A database with rows that break rules; no test changes it."""
    target = Target.parse(server.url()).named("questions")
    with Database(Target.parse(server.url())) as admin:
        admin.execute("CREATE DATABASE questions TEMPLATE template0")
        with Database(target) as db:
            db.execute(SETUP)
            yield db
        admin.execute("DROP DATABASE questions WITH (FORCE)")


@pytest.fixture(scope="module")
def objects(filled: Database) -> Any:
    return catalog.read(filled).objects


@pytest.fixture
def ask(filled: Database, objects: Any, files: Any) -> Ask:
    """The questions of a file, each with the rows that violate it; None where it is not asked."""

    def asked(sql: str, **options: Any) -> list[tuple[Question, int | None]]:
        found = questions(
            review(files(sql), objects, linter=Path("/bin/true")).statements, objects, **options
        )
        counted = violations.count(
            filled.target, "tests", [question.counting or "SELECT NULL::int" for question in found]
        )
        assert not any(one.why for one in counted), counted
        return [(question, one.rows) for question, one in zip(found, counted, strict=True)]

    return asked


@pytest.mark.parametrize(("sql", "kind", "expected"), CASES)
def test_rows_that_violate_a_demand_are_counted_and_listed_by_key(
    filled: Database, ask: Ask, sql: str, kind: str, expected: int
) -> None:
    ((question, rows),) = ask(sql)
    assert (question.kind, rows, question.worth) == (kind, expected, Worth.SETTLES)
    listed = filled.rows(question.listing)
    assert bool(listed) == bool(expected) and len(listed) >= expected
    assert all(row.keys() <= {"id", "tableoid", "ctid"} for row in listed)


@pytest.mark.parametrize(("sql", "kind", "expected"), CASES)
def test_the_count_is_what_postgresql_itself_then_says(
    filled: Database, sql: str, kind: str, expected: int
) -> None:
    filled.execute("BEGIN")
    try:
        filled.execute(sql.replace(" CONCURRENTLY", ""))
        fails = False
    except DatabaseError:
        fails = True
    finally:
        filled.execute("ROLLBACK")
    assert fails == bool(expected)


@pytest.mark.parametrize(("sql", "worth"), NOT_SETTLED)
def test_what_an_earlier_statement_changes_is_not_settled_by_todays_count(
    ask: Ask, sql: str, worth: Worth
) -> None:
    question, rows = ask(sql)[-1]
    assert question.worth is worth and (rows is None) == (worth in (Worth.NO_DATA, Worth.NOT_ASKED))
    assert worth is Worth.SETTLES or "the rehearsal tells" in question.because


@pytest.mark.parametrize("sql", NOTHING)
def test_what_demands_nothing_of_rows_that_are_there_asks_nothing(ask: Ask, sql: str) -> None:
    assert ask(sql) == []


def test_a_primary_key_demands_both_values_and_that_they_differ(ask: Ask) -> None:
    assert [
        (question.kind, rows) for question, rows in ask("ALTER TABLE room ADD PRIMARY KEY (number)")
    ] == [("not null", 1), ("unique", 1)]


def test_names_of_today_are_asked_for_whatever_the_files_rename(ask: Ask) -> None:
    ((question, rows),) = ask(
        'ALTER TABLE "Big" RENAME TO huge; ALTER TABLE huge RENAME name TO title; ALTER TABLE '
        "huge ALTER title SET NOT NULL"
    )
    assert (rows, question.table, question.demand) == (
        2,
        'public."Big"',
        "huge.title holds no NULL",
    )


def test_values_that_an_explicit_cast_cuts_are_counted_and_said_to_be_cut(ask: Ask) -> None:
    ((question, rows),) = ask('ALTER TABLE "Big" ALTER name TYPE varchar(5) USING name::varchar(5)')
    assert question.cuts and rows == 1


def test_an_older_server_is_not_asked_what_it_cannot_tell(ask: Ask) -> None:
    ((question, _),) = ask(
        'ALTER TABLE "Big" ALTER kind TYPE int USING kind::int', server_version=150018
    )
    assert question.worth is Worth.NOT_ASKED and "pg_input_is_valid" in question.because


def test_a_question_knows_file_and_line(ask: Ask) -> None:
    ((question, _),) = ask('-- a comment\nSELECT 1;\nALTER TABLE "Big" ALTER name SET NOT NULL;')
    assert question.place == "1:3" and question.statement == 2
