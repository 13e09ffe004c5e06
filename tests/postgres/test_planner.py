"""The planner's statistics: renewed, and every table with rows has some, or it is said which has none."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import planner
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.scratch import scratch

TABLES = """
CREATE TABLE filled (id int); INSERT INTO filled VALUES (1);
CREATE TABLE gone (id int); INSERT INTO gone VALUES (1); DELETE FROM gone;
CREATE TABLE empty (id int);
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE visit (id int) PARTITION BY RANGE (id); CREATE TABLE visit_1 PARTITION OF visit DEFAULT; INSERT INTO visit VALUES (1);
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM filled;
"""


@pytest.fixture(scope="module")
def tables(any_server: Server) -> Iterator[Target]:
    """A database with tables that nobody has analysed."""
    with scratch(Target.parse(any_server.url()), "planner", "runbook/test") as target:
        with Database(target) as db:
            db.execute(TABLES)
        yield target


def test_tables_without_statistics_are_named_and_analyze_mends_it(tables: Target) -> None:
    with Database(tables) as db:
        before = planner.statistics_check(db)
        assert before.status is Status.FAILED
        assert before.remedy == "ANALYZE public.counted; ANALYZE public.filled; ANALYZE public.gone; ANALYZE public.visit; ANALYZE public.visit_1"
        done = planner.analyze_check(tables, "runbook/test", 2)
        assert (done.status, planner.statistics_check(db).status) == (Status.PASSED, Status.PASSED), done


@pytest.fixture
def other_role(tables: Target) -> Iterator[Target]:
    """The database as a role sees it that may read one of the tables."""
    role = f"r{uuid.uuid4().hex[:8]}"
    with Database(tables) as db:
        db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-tests'; GRANT SELECT ON filled TO {role}; ANALYZE")
        yield replace(tables, user=role, password="of-the-tests")
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_tables_that_the_role_may_not_analyse_are_named(other_role: Target) -> None:
    done = planner.analyze_check(other_role, "runbook/test", 2)
    with Database(other_role) as db:
        present = planner.statistics_check(db)
    assert done.status is Status.UNKNOWN and done.found.startswith("7 passed over: ") and '"counted"' in done.found
    assert present.status is Status.UNKNOWN and present.found == "hidden from this role: public.counted, public.visit, public.visit_1"
