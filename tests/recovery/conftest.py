"""Fixtures of point-in-time recovery: a server that archives its WAL, and a point between two writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.postgres import health, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.server import give
from runbook_lib.recovery import point
from runbook_lib.recovery.base import BaseBackup
from runbook_lib.recovery.local import Local
from runbook_lib.recovery.point import RestorePoint

NAME = "runbook/test/recovery"
BEFORE = """CREATE TABLE visit (id int PRIMARY KEY, note text);
            INSERT INTO visit SELECT i, 'fictitious ' || i FROM generate_series(1, 100) AS i"""
AFTER = "INSERT INTO visit SELECT i, 'later ' || i FROM generate_series(101, 150) AS i; ALTER TABLE visit DROP COLUMN note; CREATE TABLE later ()"


@dataclass(frozen=True)
class World:
    """A server that archives, its base backup, rows written before and after the point, and its content at the end."""

    target: Target
    local: Local
    base: BaseBackup
    point: RestorePoint
    before: snapshot.Snapshot
    live: snapshot.Snapshot

    def untouched(self) -> bool:
        """Whether the live server holds what it held."""
        return self.live.compare(snapshot.take(self.target, NAME)).identical


def identifier(target: Target) -> str:
    with Database(target, NAME) as db:
        return health.server_facts(db).system_identifier


@pytest.fixture(scope="session")
def archiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server that copies its WAL into a folder."""
    folder = tmp_path_factory.mktemp("archiving")
    (folder / "wal").mkdir()
    give(folder / "wal")
    server = Server(folder / "server", {"archive_mode": "on", "archive_command": f'test ! -f {folder}/wal/%f && cp "%p" {folder}/wal/%f'}).start()
    with Database(Target.parse(server.url()), NAME) as db:
        db.execute("ALTER SYSTEM SET work_mem = '5MB'")
    yield server, folder
    server.stop("immediate")


@pytest.fixture(scope="session")
def world(archiving: tuple[Server, Path]) -> World:
    """A day in its life: base backup, rows, the point, more rows and a changed table."""
    server, folder = archiving
    target = Target.parse(server.url())
    local = Local(folder / "wal", folder / "bases", 24, identifier(target), NAME, BINARIES, deadline_s=60)
    base = local.make_base(target)
    with Database(target, NAME) as db:
        db.execute(BEFORE)
        before = snapshot.take(target, NAME)
        made = point.make(db, "runbook_test")
        db.execute(AFTER)
        db.execute("SELECT pg_switch_wal()")
    return World(target, local, base, made, before, snapshot.take(target, NAME))
