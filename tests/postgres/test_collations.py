"""Indexes that were built in another version of their order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runbook_lib.check import Check, Status
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres.collations import collation_checks
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.scratch import scratch

ALTER_CATALOG = {"allow_system_table_mods": "on"}


@pytest.fixture
def old(any_server: Server) -> Iterator[Database]:
    """A database with an index in the order of a collation of its own, and one in the
    database's.
    """
    with (
        scratch(Target.parse(any_server.url()), "collations", "runbook/test") as target,
        Database(target, **ALTER_CATALOG) as db,
    ):
        db.execute("""CREATE COLLATION "Names" (provider = libc, locale = 'C.UTF-8');
                      CREATE COLLATION unused FROM "Names";
                      CREATE TABLE t (a text, b text COLLATE "Names", n int);
                      CREATE INDEX "A" ON t (a); CREATE INDEX b ON t (b); CREATE INDEX ON t (n)""")
        yield db


def found(db: Database) -> dict[str, Check]:
    return {one.id.removeprefix("data.collation."): one for one in collation_checks(db)}


def test_only_collations_that_an_index_uses_are_looked_at(old: Database) -> None:
    old.execute("UPDATE pg_collation SET collversion = '1' WHERE collname = 'unused'")
    checks = found(old)
    assert set(checks) == {"database", 'public."Names"'} and {
        one.status for one in checks.values()
    } == {Status.PASSED}


def test_an_older_collation_fails_with_the_statements_that_mend_it(old: Database) -> None:
    old.execute("""UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'Names'""")
    one = found(old)['public."Names"']
    assert (one.status, one.found) == (Status.FAILED, "built with 1.0, installed is none")
    assert (
        one.remedy == 'REINDEX INDEX public.b, then ALTER COLLATION public."Names" REFRESH VERSION'
    )


@pytest.mark.parametrize("any_server", [15, 18], indirect=True)
def test_an_older_order_of_the_database_itself_fails_where_the_server_keeps_its_version(
    old: Database,
) -> None:
    old.execute("UPDATE pg_database SET datcollversion = '2.28' WHERE datname = current_database()")
    one = found(old)["database"]
    assert one.status is Status.FAILED and one.remedy.startswith(
        f"REINDEX DATABASE {old.target.database}, then ALTER DATABASE"
    )


@pytest.mark.parametrize("any_server", [14], indirect=True)
def test_an_order_whose_version_nobody_kept_could_not_be_checked(old: Database) -> None:
    old.execute(
        "UPDATE pg_database SET datcollate = 'de_DE.UTF-8' WHERE datname = current_database()"
    )
    assert found(old)["database"].status is Status.UNKNOWN
