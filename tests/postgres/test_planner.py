"""The planner's statistics: renewed, and every table with rows has some, or it is said which has
none.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from runbook_lib.check import Status, new_since
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import planner
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.scratch import scratch

NAME = "runbook/test"
TABLES = """
CREATE TABLE filled (id int); INSERT INTO filled VALUES (1);
CREATE TABLE gone (id int); INSERT INTO gone VALUES (1); DELETE FROM gone;
CREATE TABLE empty (id int);
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE visit (id int) PARTITION BY RANGE (id);
CREATE TABLE visit_1 PARTITION OF visit DEFAULT; INSERT INTO visit VALUES (1);
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM filled;
"""


def until(look: Callable[[], Any], seen: Callable[[Any], bool]) -> Any:
    """What it looks like once it is seen: before 15, the server counts written rows with a
    delay.
    """
    for _ in range(100):
        if seen(found := look()):
            break
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def tables(any_server: Server) -> Iterator[Target]:
    """A database with tables that nobody has analysed."""
    with scratch(Target.parse(any_server.url()), "planner", NAME) as target:
        with Database(target) as db:
            db.execute(TABLES)
        yield target


def test_tables_without_statistics_are_named_and_analyze_mends_it_once(tables: Target) -> None:
    before = planner.statistics_check(tables, NAME)
    assert before.status is Status.FAILED
    assert sorted(before.remedy.split("; ")) == [
        f"ANALYZE public.{name}" for name in ("counted", "filled", "gone", "visit", "visit_1")
    ]
    first, again = (
        planner.statistics_checks(tables, NAME, 2),
        until(
            lambda: planner.statistics_checks(tables, NAME, 2),
            lambda found: "of 0 tables" in found[0].found,
        ),
    )
    assert {one.status for one in first + again} == {Status.PASSED} and "of 0 tables" in again[
        0
    ].found, (first, again)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE filled ADD extra int DEFAULT 1",
        "CREATE INDEX ON filled ((id + 1))",
        "ALTER TABLE filled ALTER id TYPE bigint",
        "UPDATE filled SET id = 2",
    ],
)
def test_statistics_that_a_migration_made_old_or_lost_are_renewed(
    tables: Target, statement: str
) -> None:
    planner.statistics_checks(tables, NAME, 2)
    with Database(tables) as db:
        db.execute(statement)
    analyze, present = until(
        lambda: planner.statistics_checks(tables, NAME, 2),
        lambda found: "of 0 tables" not in found[0].found,
    )
    assert (analyze.found.partition(";")[0], present.status) == (
        "renewed those of 1 tables",
        Status.PASSED,
    )


@pytest.fixture
def other_role(tables: Target) -> Iterator[Target]:
    """The database as a role sees it that may read one of the tables."""
    role = f"r{uuid.uuid4().hex[:8]}"
    with Database(tables) as db:
        db.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-tests'; GRANT SELECT "
            f"ON filled TO {role}; ANALYZE"
        )
        yield replace(tables, user=role, password="of-the-tests")
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_tables_that_the_role_may_not_analyse_are_named(other_role: Target) -> None:
    done, present = planner.statistics_checks(other_role, NAME, 2)
    assert (
        done.status is Status.UNKNOWN
        and done.found.startswith("the role may not analyse ")
        and "public.counted" in done.found
    )
    assert (
        present.status is Status.UNKNOWN
        and present.found == "hidden from this role: public.visit, public.counted, public.visit_1"
    )


def test_a_table_that_the_role_never_could_analyse_fails_nothing_later(other_role: Target) -> None:
    before = [
        planner.analysable_check(other_role, NAME),
        planner.statistics_check(other_role, NAME),
    ]
    after = new_since(before, planner.statistics_checks(other_role, NAME, 2))
    assert {one.status for one in before} == {Status.UNKNOWN}
    assert {one.status for one in after} == {Status.PASSED}, after
