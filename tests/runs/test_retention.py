"""Old backups go, proven ones stay, and a drill proves the newest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from worlds import make_world, params_of

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import CheckError, UsageError
from runbook_lib.phases import retention
from runbook_lib.postgres import dump
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools


@pytest.fixture
def settings(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch):
    """Parameters whose database holds one table, and a function that backs it up."""
    monkeypatch.setenv("RETENTION_URL", database)
    made = params_of(make_world(tmp_path, lambda values: (values["database"].update(url="env:RETENTION_URL"),
                                                          values["backup"].update(directory=str(tmp_path / "backups")))))
    made.backup.directory.mkdir()
    target = Target.parse(database)
    with Database(target) as db:
        db.execute("CREATE TABLE kept AS SELECT generate_series(1, 100) AS id")

    def back_up(name: str) -> Path:
        return dump.make(target, made.backup.directory / name, "tests", tools=tools(target)).folder
    return made, back_up


def test_the_newest_proven_backup_stays_and_older_ones_go(settings) -> None:
    params, back_up = settings
    old, newer, newest = back_up("1"), back_up("2"), back_up("3")
    retention.drill(params)
    assert retention.prune(params, 0, dry_run=True).rows[0][2] == "would be removed" and old.exists()
    retention.prune(params, 0, dry_run=False)
    assert (old.exists(), newer.exists(), newest.exists()) == (False, False, True)


def test_a_young_backup_stays(settings) -> None:
    params, back_up = settings
    folder = back_up("1")
    retention.prune(params, 30, dry_run=False)
    assert folder.exists()


def test_a_folder_without_a_manifest_is_not_touched(settings) -> None:
    params, back_up = settings
    (params.backup.directory / "somebodys").mkdir()
    assert len(retention.prune(params, 0, dry_run=False)) == 0 and (params.backup.directory / "somebodys").exists()


def test_a_dump_that_was_killed_is_named_and_not_touched(settings) -> None:
    params, back_up = settings
    folder = back_up("1")
    (folder / "manifest.json").unlink()
    assert retention.prune(params, 0, dry_run=False).rows == [("1", None, retention.UNFINISHED)] and folder.exists()


def test_a_drill_of_a_damaged_backup_fails(settings) -> None:
    params, back_up = settings
    data = max((back_up("1") / "dump").iterdir(), key=lambda file: file.stat().st_size)
    with data.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(CheckError):
        retention.drill(params)


def test_a_drill_without_a_backup_says_how_to_make_one(settings, server: Server) -> None:
    with pytest.raises(UsageError, match="--to backup"):
        retention.drill(settings[0])
