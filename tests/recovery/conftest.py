"""Fixtures of point-in-time recovery."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from archived_worlds import NAME, World, archiving, identifier, live

from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.server import give
from runbook_lib.recovery.local import Local


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server, its base backup, and a day; no test changes them."""
    folder = tmp_path_factory.mktemp("archiving")
    (folder / "wal").mkdir()
    give(folder / "wal")
    server = archiving(folder / "server", folder / "wal")
    target = Target.parse(server.url())
    with Database(target, NAME) as db:
        db.execute("ALTER SYSTEM SET archive_timeout = '1h'")  # a setting that a recovered server must not take over is there, too
    local = Local(folder / "wal", folder / "bases", 24, identifier(target), NAME, server.binaries, deadline_s=60)
    yield World(server, local, local.make_base(target), live(target))
    server.stop("immediate")


@pytest.fixture
def copied(world: World, tmp_path: Path) -> World:
    """The same with base backups and archive of its own, to be damaged."""
    local = replace(world.local, archive=tmp_path / "wal", base_backups=tmp_path / "bases")
    shutil.copytree(world.local.archive, local.archive)
    shutil.copytree(world.base.folder, local.base_backups / world.base.folder.name, symlinks=True)
    return replace(world, local=local)
