"""Old backups go, proven ones stay, and a drill proves the newest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from worlds import make_world, params_of

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import CheckError, UsageError
from runbook_lib.params import Params, Proof
from runbook_lib.phases import retention
from runbook_lib.phases.backup import proof_of
from runbook_lib.postgres import databases, dump, salvage, snapshot, swap
from runbook_lib.postgres.backup import load
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.run import create


@pytest.fixture
def settings(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch):
    """Parameters whose database holds one table, and a function that backs it up."""
    monkeypatch.setenv("RETENTION_URL", database)
    made = params_of(
        make_world(
            tmp_path,
            lambda values: (
                values["database"].update(url="env:RETENTION_URL"),
                values["backup"].update(directory=str(tmp_path / "backups")),
            ),
        )
    )
    made.backup.directory.mkdir()
    target = Target.parse(database)
    with Database(target) as db:
        db.execute("CREATE TABLE kept AS SELECT generate_series(1, 100) AS id")

    def back_up(name: str) -> Path:
        return dump.make(target, made.backup.directory / name, "tests", tools=tools(target)).folder

    return made, back_up


def fates(params: Params, days: float = 0, *, dry_run: bool = True) -> dict[str, str]:
    """What becomes of each thing, by name."""
    return {row[1]: row[3] for row in retention.prune(params, days, dry_run=dry_run).rows}


def test_the_newest_proven_backup_stays_and_older_ones_go(settings) -> None:
    params, back_up = settings
    old, newer, newest = back_up("1"), back_up("2"), back_up("3")
    retention.drill(params)
    assert (
        fates(params)
        == {
            "1": "would be removed",
            "2": "would be removed",
            "3": "kept: the newest proven backup of its database",
        }
        and old.exists()
    )
    fates(params, dry_run=False)
    assert (old.exists(), newer.exists(), newest.exists()) == (False, False, True)


def test_a_link_to_the_proven_backup_is_not_followed(settings) -> None:
    params, back_up = settings
    folder = back_up("1")
    retention.drill(params)
    (params.backup.directory / "latest").symlink_to(folder, target_is_directory=True)
    assert fates(params, dry_run=False) == {
        "1": "kept: the newest proven backup of its database",
        "latest": "kept: a link that somebody made",
    }
    assert (folder / "manifest.json").exists() and (params.backup.directory / "latest").exists()


def test_a_link_to_an_old_backup_elsewhere_is_not_followed(settings, tmp_path: Path) -> None:
    params, back_up = settings
    elsewhere = back_up("1").rename(tmp_path / "elsewhere")
    (params.backup.directory / "1").symlink_to(elsewhere, target_is_directory=True)
    fates(params, dry_run=False)
    assert (elsewhere / "manifest.json").exists()


def test_saved_data_behind_a_link_is_not_removed(settings, tmp_path: Path) -> None:
    params, _ = settings
    elsewhere = tmp_path / "elsewhere" / "saved"
    (elsewhere / "one").mkdir(parents=True)
    (elsewhere / "one" / "manifest.json").write_text("{}")
    (params.backup.directory / "saved").symlink_to(elsewhere, target_is_directory=True)
    fates(params, dry_run=False)
    assert (elsewhere / "one" / "manifest.json").exists()


def test_a_copy_and_a_folder_with_somebodys_files_are_not_removed(settings) -> None:
    params, back_up = settings
    shutil.copytree(back_up("1"), params.backup.directory / "before the big change")
    (back_up("2") / "notes.txt").write_text("keep me")
    found = fates(params, dry_run=False)
    assert "somebody copied this backup" in found["1"] == found["before the big change"]
    assert "not of the backup: notes.txt" in found["2"]


def test_two_prunes_do_not_work_at_once(settings) -> None:
    params, back_up = settings
    back_up("1")
    with (
        FileLock(params.backup.directory / retention.LOCK),
        pytest.raises(UsageError, match="another prune or drill is at work"),
    ):
        retention.prune(params, 0, dry_run=False)


def test_a_young_backup_stays(settings) -> None:
    params, back_up = settings
    folder = back_up("1")
    assert (
        fates(params, 30, dry_run=False) == {"1": "kept: younger than 30 days"} and folder.exists()
    )


def test_a_folder_without_a_manifest_is_not_touched(settings) -> None:
    params, back_up = settings
    (params.backup.directory / "somebodys").mkdir()
    (back_up("killed") / "manifest.json").unlink()
    found = fates(params, dry_run=False)
    assert found.keys() == {"killed"} and "a dump that was killed, or is at work" in found["killed"]
    assert (params.backup.directory / "somebodys").exists() and (
        params.backup.directory / "killed"
    ).exists()


def test_a_drill_of_a_damaged_backup_fails_and_it_no_longer_counts_as_proven(settings) -> None:
    params, back_up = settings
    folder = back_up("1")
    retention.drill(params)
    assert proof_of(load(folder))["proven_at"]
    data = max((folder / "dump").iterdir(), key=lambda file: file.stat().st_size)
    with data.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(CheckError):
        retention.drill(params)
    assert proof_of(load(folder))["proven_at"] is None


def test_a_manifest_that_cannot_be_read_stops_a_drill_and_is_never_removed(settings) -> None:
    params, back_up = settings
    folder = back_up("1")
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="is damaged"):
        retention.drill(params)
    assert "look at it yourself" in fates(params, dry_run=False)["1"] and folder.exists()


def test_a_drill_without_a_backup_says_how_to_make_one(settings) -> None:
    with pytest.raises(UsageError, match="--to backup"):
        retention.drill(settings[0])


def test_what_was_saved_before_it_was_dropped_stays_until_its_run_has_ended_well(settings) -> None:
    params, _ = settings
    target, run = (
        Target.parse(params.database_url()),
        create(
            params.model_dump(mode="json", by_alias=True, exclude_none=True),
            ["1_drop"],
            {"host": "h", "database": "d"},
        ),
    )
    with snapshot.exported(target, "tests") as at:
        salvage.save(
            at,
            target,
            params.backup.directory / "saved" / run.key,
            "tests",
            columns=[],
            tables=["public.kept"],
            tools=tools(target),
        )
    run.end("failed")
    assert (
        fates(params, 30)[run.key] == "kept: younger than 30 days"
        and fates(params)[run.key] == "kept: its run has not ended well"
    )
    run.end("succeeded")
    assert (
        fates(params, dry_run=False)[run.key] == "removed"
        and not (params.backup.directory / "saved" / run.key).exists()
    )


@pytest.fixture
def put_aside(settings, server: Server) -> Iterator[tuple[Params, str, Database]]:
    """A failed database that a swap has kept, and a session on the maintenance database."""
    params, _ = settings
    live = Target.parse(params.database_url())
    names = live.database, f"{live.database}_restored", f"{live.database}_failed"
    with Database(Target.parse(server.url())) as admin:
        admin.execute(f'CREATE DATABASE "{names[1]}"')
        swap.swap(live, *names, "tests")
        yield params, names[2], admin
        databases.drop(admin, names[2])


def test_a_failed_database_is_kept_for_its_days_and_then_dropped(put_aside) -> None:
    params, name, admin = put_aside
    assert fates(params, 30, dry_run=False)[name] == "kept: younger than 30 days"
    assert fates(params)[name] == "would be removed" and databases.entry(admin, name)
    assert fates(params, dry_run=False)[name] == "removed" and databases.entry(admin, name) is None


def test_a_failed_database_that_somebody_uses_is_kept(put_aside) -> None:
    params, name, _ = put_aside
    with Database(Target.parse(params.database_url()).named(name), "somebody's notes"):
        assert "(somebody's notes)" in fates(params, dry_run=False)[name]


def test_a_failed_database_with_a_replication_slot_is_kept_for_it_would_be_lost_with_it(
    put_aside,
) -> None:
    params, name, _ = put_aside
    with Database(Target.parse(params.database_url()).named(name)) as db:
        db.execute("SELECT pg_create_logical_replication_slot('idle', 'pgoutput')")
    assert "logical replication slot idle" in fates(params, dry_run=False)[name]
    with Database(Target.parse(params.database_url()).named(name)) as db:
        db.execute("SELECT pg_drop_replication_slot('idle')")


def test_a_database_that_only_looks_like_a_failed_one_is_not_touched(put_aside) -> None:
    params, name, admin = put_aside
    databases.comment_on(
        admin, name, (databases.entry(admin, name).comment or "").replace("oid ", "oid 9")
    )
    assert name not in fates(params, dry_run=False) and databases.entry(admin, name)


def test_a_shadow_database_of_prisma_is_named_and_never_dropped(settings) -> None:
    params, _ = settings
    name = "prisma_migrate_shadow_db_0b2e1f5c-7c0e-4b5e-9d6a-1f2e3d4c5b6a"
    with databases.maintenance(Target.parse(params.database_url()), "tests") as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            assert "look at it yourself" in fates(params, dry_run=False)[name]
            assert databases.entry(admin, name)
        finally:
            databases.drop(admin, name)


def test_a_backup_is_proven_on_another_server_where_the_parameters_name_one(
    settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, back_up = settings
    folder, other = back_up("1"), Server(tmp_path / "other", {"fsync": "off"}).start()
    try:
        monkeypatch.setenv("PROOF_URL", other.url())
        changed = params.model_copy(
            update={
                "backup": params.backup.model_copy(update={"proof": Proof(server="env:PROOF_URL")})
            }
        )
        assert retention.drill(changed).identical
        assert proof_of(load(folder))["proven_on"] == f"127.0.0.1:{other.port}"
    finally:
        other.stop()
