"""Fixtures for the PostgreSQL room: a target, a session on it, the tools that fit, and a
database of many kinds of things.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.postgres import databases, dump
from runbook_lib.postgres.backup import Backup, load
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import Tools, tools

NAME = "runbook/test/postgres"
RICH = (Path(__file__).parent / "rich.sql").read_text()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that also keeps prepared transactions and logical slots."""
    settings = {
        "fsync": "off",
        "full_page_writes": "off",
        "max_prepared_transactions": "10",
        "wal_level": "logical",
    }
    made = Server(tmp_path_factory.mktemp("postgres"), settings).start()
    yield made
    made.stop()


@pytest.fixture
def target(database: str) -> Target:
    """A fresh, empty database."""
    return Target.parse(database)


@pytest.fixture
def db(target: Target) -> Iterator[Database]:
    """A session on it."""
    with Database(target, NAME) as session:
        yield session


@pytest.fixture
def admin(server: Server) -> Iterator[Database]:
    """A session on the maintenance database."""
    with Database(Target.parse(server.url()), NAME) as session:
        yield session


@pytest.fixture
def limited(db: Database, admin: Database) -> Iterator[Target]:
    """A login that owns nothing."""
    admin.execute("CREATE ROLE limited LOGIN PASSWORD 'limited'")
    yield replace(db.target, user="limited", password="limited")
    db.execute("DROP OWNED BY limited")
    admin.execute("DROP ROLE limited")


@pytest.fixture
def rich(db: Database) -> Database:
    """The session, on a database that holds what `rich.sql` makes."""
    db.execute(RICH)
    return db


@pytest.fixture(scope="session")
def programs(server: Server) -> Tools:
    """The programs of the server's own version."""
    return tools(Target.parse(server.url()), BINARIES)


@pytest.fixture(scope="session")
def source(server: Server) -> Iterator[Target]:
    """A rich database that no test changes, with settings, privileges and a comment of its own."""
    target = Target.parse(server.url()).named("source")
    with Database(Target.parse(server.url()), NAME) as admin:
        admin.execute("CREATE DATABASE source TEMPLATE template0")
        with Database(target, NAME) as session:
            session.execute(RICH)
        admin.execute("""ALTER DATABASE source SET search_path TO "$user", public, "Odd schema";
                         ALTER DATABASE source SET app.key = 'geheim';
                         ALTER ROLE postgres IN DATABASE source SET work_mem = '8MB';
                         REVOKE CONNECT ON DATABASE source FROM PUBLIC;
                         GRANT CONNECT ON DATABASE source TO pg_monitor;
                         COMMENT ON DATABASE source IS 'ours'""")
        yield target
        admin.execute("DROP DATABASE source WITH (FORCE)")


@pytest.fixture
def still(source: Target) -> Iterator[Database]:
    """A session on it, for tests that change nothing."""
    with Database(source, NAME) as session:
        yield session


@pytest.fixture(scope="session")
def backup(source: Target, programs: Tools, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """A backup of it that no test touches."""
    return dump.make(source, tmp_path_factory.mktemp("backup") / "b", NAME, tools=programs)


@pytest.fixture
def made(backup: Backup, tmp_path: Path) -> Backup:
    """A copy of that backup, to be damaged."""
    return load(shutil.copytree(backup.folder, tmp_path / "backup"))


@pytest.fixture
def beside(source: Target, admin: Database) -> Iterator[Target]:
    """A name for the restored database, which is dropped afterwards."""
    target = source.named(f"restored_{uuid.uuid4().hex[:8]}")
    yield target
    databases.drop(admin, target.database)
