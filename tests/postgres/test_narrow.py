"""Where two tables differ: the narrowest range of the key, how many rows, which columns; and
nothing of what the rows hold.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.generated_ids import generated
from runbook_lib.postgres.narrow import Limits, Narrowed, narrow

SETUP = """
CREATE TYPE state AS ENUM ('new', '50%');
CREATE TABLE number (id int PRIMARY KEY, "we%ird Name" state, body text);
INSERT INTO number SELECT g, 'new', repeat(md5(g::text), 100) FROM generate_series(1, 2000) AS g;
CREATE TABLE "E mail" ("address %s" text PRIMARY KEY, v int);
INSERT INTO "E mail" SELECT 'person' || to_char(g, 'FM0000') || '@example.org',
    g FROM generate_series(1, 2000) AS g;
CREATE TABLE cuid (id text PRIMARY KEY, v int);
INSERT INTO cuid SELECT 'c' || substr(md5(g::text), 1, 24), g FROM generate_series(1, 2000) AS g;
CREATE TABLE uuid (v int, id uuid NOT NULL UNIQUE);
INSERT INTO uuid SELECT g, md5(g::text)::uuid FROM generate_series(1, 2000) AS g;
CREATE TABLE several (room text COLLATE "POSIX" NOT NULL, at int NOT NULL, v int,
    UNIQUE (at, room));
INSERT INTO several SELECT chr(97 + g % 26), g, g FROM generate_series(1, 2000) AS g;
CREATE TABLE born (id date PRIMARY KEY, v int);
INSERT INTO born SELECT date '1980-01-01' + g, g FROM generate_series(1, 200) AS g;
CREATE TABLE keyless (a int, b int);
INSERT INTO keyless SELECT g % 500, 1 FROM generate_series(1, 2000) AS g;
CREATE TABLE not_a_key (id int UNIQUE, v int);
INSERT INTO not_a_key SELECT g, g FROM generate_series(1, 20) AS g;
"""
LIMITS = Limits()
FEW = Limits(rows=60, parts=4)
"""Limits under which these small tables are cut again and again."""


@pytest.fixture(scope="module")
def was(server: Server) -> Iterator[Database]:
    """The tables as they were; nobody else is connected."""
    name = f"narrow_{uuid.uuid4().hex[:8]}"
    with Database(Target.parse(server.url())) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        with Database(Target.parse(server.url()).named(name)) as db:
            db.execute(SETUP)
        admin.execute(f"CREATE DATABASE {name}_now TEMPLATE {name}")
        with Database(Target.parse(server.url()).named(name)) as db:
            yield db
        for one in (name, f"{name}_now"):
            admin.execute(f"DROP DATABASE {one} WITH (FORCE)")


@pytest.fixture
def now(was: Database) -> Iterator[Database]:
    """The tables as they are: whatever a test does to them is undone."""
    with (
        Database(was.target.named(f"{was.target.database}_now")) as db,
        db.connection.transaction(force_rollback=True),
    ):
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield db


CASES = {
    "a row deleted": ("DELETE FROM number WHERE id = 777", "number", "id 777: 1 missing"),
    "a row inserted behind the last": (
        "INSERT INTO number VALUES (9000, 'new', '')",
        "number",
        "id 9000: 1 added",
    ),
    "a byte of a toasted value": (
        "UPDATE number SET body = overlay(body placing '~' from 3000) WHERE id = 20",
        "number",
        "id 20: 1 changed (in body)",
    ),
    "a value of an odd column": (
        """UPDATE number SET "we%ird Name" = '50%' WHERE id = 1""",
        "number",
        'id 1: 1 changed (in "we%ird Name")',
    ),
    "two rows swapped": (
        "UPDATE number AS a SET body = b.body FROM number AS b WHERE a.id + b.id = 23 "
        "AND a.id IN (11, 12)",
        "number",
        "id 11 to 12: 2 changed (in body)",
    ),
    "some of everything": (
        "DELETE FROM number WHERE id IN (100, 101); INSERT INTO number "
        "VALUES (0, 'new', ''); UPDATE number SET body = '' WHERE id = 150",
        "number",
        "id 0 to 150: 2 missing, 1 added, 1 changed (in body)",
    ),
    "a generated key": (
        "UPDATE cuid SET v = 0 WHERE v = 5",
        "cuid",
        "id ce4da3b7fbbce2345d7772b06: 1 changed (in v)",
    ),
    "a uuid": (
        "UPDATE uuid SET v = 0 WHERE v = 5",
        "uuid",
        "id e4da3b7f-bbce-2345-d777-2b0674a318d5: 1 changed (in v)",
    ),
    "a key of several columns": (
        "UPDATE several SET v = 0 WHERE at = 30",
        "several",
        "row 30 in the order of (at, room): 1 changed (in v)",
    ),
    "an address": (
        'UPDATE "E mail" SET v = 0 WHERE v IN (7, 90)',
        '"E mail"',
        'rows 7 to 90 in the order of "address %s": 2 changed (in v)',
    ),
    "a date": (
        "UPDATE born SET v = 0 WHERE v = 40",
        "born",
        "row 40 in the order of id: 1 changed (in v)",
    ),
    "no key": (
        "UPDATE keyless SET b = 2 WHERE ctid = '(0,1)'; DELETE FROM keyless WHERE a = 3",
        "keyless",
        "5 missing, 1 added",
    ),
    "a unique column that may be NULL": (
        "DELETE FROM not_a_key WHERE id = 3",
        "not_a_key",
        "1 missing; no key, so no range: a changed row counts as one missing and one added",
    ),
    "nothing": ("SELECT 1", "number", "it is as it was in the backup"),
}


def found(
    was: Database,
    now: Database,
    table: str,
    limits: Limits = LIMITS,
    method: Method = Method.HASH,
) -> Narrowed:
    return narrow(was, now, f"public.{table}", (), method, limits)


@pytest.mark.parametrize("limits", [Limits(), FEW], ids=["at once", "cut again and again"])
@pytest.mark.parametrize("case", CASES)
def test_the_narrowest_range_is_found(
    was: Database, now: Database, case: str, limits: Limits
) -> None:
    change, table, said = CASES[case]
    for statement in change.split("; "):
        now.execute(statement)
    one = found(was, now, table, limits)
    if one.exact:
        assert said in str(one), str(one)
    else:
        assert limits is FEW and "at least" in str(one) and one.range == said.rpartition(": ")[0], (
            str(one)
        )


def test_it_is_found_by_the_text_of_the_values_too(was: Database, now: Database) -> None:
    now.execute("UPDATE number SET body = '' WHERE id = 20")
    assert str(found(was, now, "number", method=Method.MD5)) == "id 20: 1 changed (in body)"


def test_an_address_is_never_shown_and_the_query_lists_it(was: Database, now: Database) -> None:
    now.execute('UPDATE "E mail" SET v = 0 WHERE v IN (7, 9)')
    one = found(was, now, '"E mail"')
    assert "person" not in f"{one} {asdict(one)}" and "example" not in f"{one} {asdict(one)}"
    assert [row["address %s"] for row in now.rows(one.listing)] == [
        f"person000{n}@example.org" for n in (7, 8, 9)
    ]


def test_one_address_among_generated_keys_hides_them_all(was: Database, now: Database) -> None:
    now.execute("INSERT INTO cuid VALUES ('zoe@example.org', 1); DELETE FROM cuid WHERE v = 5")
    one = found(was, now, "cuid")
    assert one.range.startswith("rows ") and "zoe" not in str(one) and "ce4da3b7" not in str(one)


def test_a_gap_lies_between_two_rows(was: Database, now: Database) -> None:
    now.execute('DELETE FROM "E mail" WHERE v = 8')
    one = found(was, now, '"E mail"')
    assert (
        one.range == 'between the rows 7 and 8 in the order of "address %s"'
        and len(now.rows(one.listing)) == 2
    )


def test_too_many_differing_rows_are_not_counted_to_the_end_and_the_range_is_true(
    was: Database, now: Database
) -> None:
    now.execute("UPDATE number SET body = '' WHERE id BETWEEN 100 AND 1900")
    one = found(was, now, "number", FEW)
    assert one.range == "id 100 to 1900" and not one.exact and 0 < one.changed < 1801
    assert "at least" in str(one) and "not counted to the end" in str(one)


def test_generated_keys_that_were_not_all_seen_are_not_shown(was: Database, now: Database) -> None:
    now.execute("UPDATE cuid SET v = 0")
    one = found(was, now, "cuid", FEW)
    assert one.range == "rows 1 to 2 000 in the order of id" and not one.exact


def test_it_stops_when_its_time_is_over_and_says_so(was: Database, now: Database) -> None:
    now.execute("DELETE FROM number WHERE id = 777")
    one = found(was, now, "number", Limits(seconds=1e-6))
    assert one.range == "the whole table" and not one.exact and "stopped" in one.why


def test_only_the_columns_that_were_compared_count(was: Database, now: Database) -> None:
    now.execute("UPDATE number SET body = '' WHERE id = 20")
    now.execute("DELETE FROM number WHERE id = 30")
    assert (
        str(narrow(was, now, "public.number", ('"we%ird Name"', "id"), Method.HASH))
        == "id 30: 1 missing"
    )


@pytest.mark.parametrize(
    "key",
    [
        "c" + "1679091c5a880faf6fb5e608",
        "tz4a98xxat96iws9zmbrgj3a",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "V1StGXR8_Z5jdHi6B-myT",
        "e4da3b7f-bbce-2345-d777-2b0674a318d5",
    ],
)
def test_what_a_library_made_may_be_shown(key: str) -> None:
    assert generated(key)


@pytest.mark.parametrize(
    "key",
    [
        "anna@example.org",
        "Anna-Schmidt-19800101",
        "annamariaschmidtausbremen",
        "christophermaximilianmue",
        "cschmidt1980",
        "4929 1234 5678 9012 345",
        "123456789012345678901",
        "",
        "01 ARZ3NDEKTSV4RRFFQ69G5FA",
        "ce4da3b7fbbce2345d7772b06\n",
    ],
)
def test_what_a_person_may_have_chosen_is_not(key: str) -> None:
    assert not generated(key)
