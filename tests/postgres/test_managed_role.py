"""What every managed service gives: a role without superuser that may create databases and owns
its own, extensions being others'.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import RightError
from runbook_lib.postgres import databases, dump, quiet
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.restore import prove, restore
from runbook_lib.postgres.tools import Tools, tools

NAME = "runbook/test/managed"
TABLES = """CREATE TABLE "Account" (id int PRIMARY KEY, email text UNIQUE);
            CREATE TABLE "Visit" (id serial PRIMARY KEY, "accountId" int REFERENCES "Account");
            INSERT INTO "Account" SELECT n, 'u' || n FROM generate_series(1, 50) AS n;
            INSERT INTO "Visit" ("accountId") SELECT n FROM generate_series(1, 50) AS n"""


@pytest.fixture
def managed(any_server: Server) -> Iterator[Target]:
    """A database of such a role, on a server of each major version; the role is gone afterwards
    with all that it owns.
    """
    yield from _managed(any_server)


def _managed(server: Server) -> Iterator[Target]:
    admin, name = Target.parse(server.url()), f"managed_{uuid.uuid4().hex[:8]}"
    with Database(admin, NAME) as db:
        db.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'managed'")
        db.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
        yield replace(admin.named(name), user=name, password="managed")
        for one in databases.entries(db).values():
            if one.owner == name:
                databases.drop(db, one.name)
        db.execute(f"DROP OWNED BY {name}; DROP ROLE IF EXISTS {name}, {name}_elder, {name}_app")


def test_its_backup_is_proven_by_the_role_itself(
    any_server: Server, managed: Target, tmp_path: Path
) -> None:
    with Database(managed, NAME) as db:
        db.execute(TABLES)
    programs = tools(managed, any_server.binaries)
    made = dump.make(managed, tmp_path / "b", NAME, tools=programs)
    assert prove(made, managed, NAME, tools=programs).identical


OTHERS = """CREATE EXTENSION pg_stat_statements; COMMENT ON EXTENSION pg_stat_statements IS 'ours';
            CREATE EXTENSION hstore;
            GRANT EXECUTE ON FUNCTION pg_stat_statements_reset TO PUBLIC;
            REVOKE EXECUTE ON FUNCTION akeys(hstore) FROM PUBLIC;
            GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {me};
            CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
            ALTER FUNCTION note() OWNER TO {me};
            CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION note();
            CREATE PUBLICATION everything FOR ALL TABLES;
            ALTER TABLE "Visit" ADD COLUMN bag hstore;
            GRANT {me}_elder TO {me}; CREATE TABLE old AS SELECT 1 AS id;
            ALTER TABLE old OWNER TO {me}_elder;
            CREATE SCHEMA arch AUTHORIZATION {me}; CREATE TABLE arch.older AS SELECT 1 AS id;
            ALTER TABLE arch.older OWNER TO {me}_elder;
            GRANT SELECT ON "Visit" TO {me}_app WITH GRANT OPTION;
            SET ROLE {me}_app; GRANT SELECT ON "Visit" TO PUBLIC; RESET ROLE;
            ALTER TABLE "Visit" ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON "Visit" TO {me}_app USING (id > 0);
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {me}_app;
            ALTER DATABASE {me} SET log_min_duration_statement = 250;
            ALTER DATABASE {me} SET statement_timeout = '1h';
            ALTER ROLE {me}_app IN DATABASE {me} SET work_mem = '8MB'"""


def as_superuser(server: Server, managed: Target, statements: str) -> None:
    with Database(Target.parse(server.url()).named(managed.database), NAME) as db:
        for role in ("elder", "app"):
            db.execute(f"CREATE ROLE {managed.user}_{role} NOLOGIN")
        for statement in statements.format(me=managed.user).split(";"):
            db.execute(statement)


def test_what_others_made_in_its_database_is_left_out_and_named_and_all_else_is_proven(
    any_server: Server, managed: Target, tmp_path: Path
) -> None:
    with Database(managed, NAME) as db:
        db.execute(TABLES)
    as_superuser(any_server, managed, OTHERS)
    programs = tools(managed, any_server.binaries)
    made = dump.make(managed, tmp_path / "b", NAME, tools=programs)
    proof = prove(made, managed, NAME, tools=programs)
    assert proof.identical, proof
    found = {f"{one.kind} {one.name}": one.matters for one in proof.restored.left_out}
    assert found == {
        "extension pg_stat_statements": False,
        "event trigger noting": True,
        "publication everything": True,
        'privileges of public."Visit"': True,
        "default privileges postgres in public tables": True,
        "setting log_min_duration_statement": False,
        f"setting work_mem of {managed.user}_app": True,
    }
    without = proof.restored.without()
    assert [one["do"] for one in without] == [
        "after a restore, as a superuser: CREATE EXTENSION pg_stat_statements;",
        "after a restore, as a superuser: set log_min_duration_statement again",
    ]
    left_out = proof.checks().unknown
    assert [one.id for one in left_out] == ["backup.restore.left_out"]
    assert "as a superuser: create the event trigger noting again" in left_out[0].remedy


@pytest.fixture
def here(server: Server) -> Iterator[Target]:
    """The same on the newest server alone."""
    yield from _managed(server)


def test_objects_of_a_role_as_which_it_may_not_act_come_up_as_its_own_in_copies_alone(
    server: Server, here: Target, programs: Tools, tmp_path: Path
) -> None:
    with Database(here, NAME) as db:
        db.execute(TABLES)
    as_superuser(
        server,
        here,
        "CREATE TABLE old AS SELECT 1 AS id; ALTER TABLE old OWNER TO {me}_app; GRANT SELECT "
        "ON old TO {me}",
    )
    made = dump.make(here, tmp_path / "b", NAME, tools=programs)
    proof = prove(made, here, NAME, tools=programs)
    assert proof.identical, proof
    grant = f"GRANT {here.user}_app TO {here.user};"
    assert [grant in one.remedy for one in proof.checks().unknown] == [True]
    with pytest.raises(RightError, match=f"objects belong to {here.user}_app") as e:
        restore(made, here.named(f"{here.user}_restored"), NAME, tools=programs)
    assert grant in e.value.remedy
    with Database(here, NAME) as db:
        assert {one.name for one in databases.entries(db).values() if one.owner == here.user} == {
            here.database
        }


def test_an_extension_that_others_need_is_taken_from_template1_or_asked_for_by_name(
    server: Server, here: Target, programs: Tools, tmp_path: Path
) -> None:
    as_superuser(server, here, "CREATE EXTENSION vector; CREATE TABLE v (v vector(3))")
    with Database(Target.parse(server.url()).named(here.database), NAME) as db:
        db.execute(f"ALTER TABLE v OWNER TO {here.user}; INSERT INTO v VALUES ('[1,2,3]')")
    made = dump.make(here, tmp_path / "b", NAME, tools=programs)
    with pytest.raises(RightError, match="extension vector .*permission denied") as e:
        prove(made, here, NAME, tools=programs)
    assert "CREATE EXTENSION vector;" in e.value.remedy and "backup.proof.server" in e.value.remedy
    with Database(Target.parse(server.url()).named("template1"), NAME) as template:
        template.execute("CREATE EXTENSION vector")
    try:
        proof = prove(made, here, NAME, tools=programs)
        assert proof.identical and not proof.restored.left_out, proof
    finally:
        with Database(Target.parse(server.url()).named("template1"), NAME) as template:
            template.execute("DROP EXTENSION vector")


def test_where_a_service_hides_the_subscriptions_all_else_is_dumped_proven_and_said(
    server: Server, here: Target, programs: Tools, tmp_path: Path
) -> None:
    as_superuser(server, here, "REVOKE ALL ON pg_subscription FROM PUBLIC")
    made = dump.make(here, tmp_path / "b", NAME, tools=programs)
    assert prove(made, here, NAME, tools=programs).identical
    with Database(here, NAME) as db:
        assert quiet.subscriptions(db).status is Status.UNKNOWN
        assert databases.subscriptions(db) == []


def test_without_createdb_the_right_is_named(
    server: Server, here: Target, programs: Tools, tmp_path: Path
) -> None:
    with Database(Target.parse(server.url()), NAME) as admin:
        admin.execute(f"ALTER ROLE {here.user} NOCREATEDB")
    made = dump.make(here, tmp_path / "b", NAME, tools=programs)
    with pytest.raises(RightError, match="permission denied to create database") as e:
        prove(made, here, NAME, tools=programs)
    assert "CREATEDB" in e.value.remedy


def test_where_only_its_own_database_lets_it_in_copies_are_made_from_there(
    server: Server, here: Target, programs: Tools, tmp_path: Path
) -> None:
    with Database(Target.parse(server.url()), NAME) as admin:
        closed = "{} CONNECT ON DATABASE postgres, template1 {} PUBLIC"
        admin.execute(closed.format("REVOKE", "FROM"))
        try:
            made = dump.make(here, tmp_path / "b", NAME, tools=programs)
            assert prove(made, here, NAME, tools=programs).identical
        finally:
            admin.execute(closed.format("GRANT", "TO"))


def test_a_tablespace_that_the_role_may_not_use_is_not_asked_for(managed: Target) -> None:
    with Database(managed.named("postgres"), NAME) as db:
        for wanted in ("pg_default", "pg_global", "elsewhere"):
            assert databases.tablespace(db, wanted) == {"name": "pg_default", "inherited": True}
