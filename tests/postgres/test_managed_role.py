"""What every managed service gives: a role without superuser that may create databases and owns its own, extensions being others'."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import databases, dump
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.postgres.restore import prove
from runbook_lib.postgres.tools import tools

NAME = "runbook/test/managed"
TABLES = """CREATE TABLE "Account" (id int PRIMARY KEY, email text UNIQUE);
            CREATE TABLE "Visit" (id serial PRIMARY KEY, "accountId" int REFERENCES "Account");
            INSERT INTO "Account" SELECT n, 'u' || n FROM generate_series(1, 50) AS n;
            INSERT INTO "Visit" ("accountId") SELECT n FROM generate_series(1, 50) AS n"""


@pytest.fixture
def managed(any_server: Server) -> Iterator[Target]:
    """A database of such a role, on a server of each major version; the role is gone afterwards with all that it owns."""
    admin, name = Target.parse(any_server.url()), f"managed_{uuid.uuid4().hex[:8]}"
    with Database(admin, NAME) as db:
        db.execute(
            sql.SQL("CREATE ROLE {0} LOGIN CREATEDB PASSWORD 'managed'").format(identifier(name))
        )
        db.execute(
            sql.SQL("CREATE DATABASE {0} OWNER {0} TEMPLATE template0").format(identifier(name))
        )
        yield replace(admin.named(name), user=name, password="managed")
        for one in databases.entries(db).values():
            if one.owner == name:
                databases.drop(db, one.name)
        db.execute(sql.SQL("DROP ROLE {}").format(identifier(name)))


def test_its_backup_is_proven_by_the_role_itself(
    any_server: Server, managed: Target, tmp_path: Path
) -> None:
    with Database(managed, NAME) as db:
        db.execute(TABLES)
    programs = tools(managed, any_server.binaries)
    made = dump.make(managed, tmp_path / "b", NAME, tools=programs)
    assert prove(made, managed, NAME, tools=programs).identical


def test_a_tablespace_that_the_role_may_not_use_is_not_asked_for(managed: Target) -> None:
    with Database(managed.named("postgres"), NAME) as db:
        for wanted in ("pg_default", "pg_global", "elsewhere"):
            assert databases.tablespace(db, wanted) == {"name": "pg_default", "inherited": True}
