"""Base backup and archived WAL lead back to the point, beside a live server that is left alone."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from archived_worlds import NAME, World, archiving, identifier

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import CheckError, RunbookError, ToolError, UsageError
from runbook_lib.postgres.connection import Database, Target, sql
from runbook_lib.postgres.server import LocalServer, give
from runbook_lib.recovery import archive, base, local
from runbook_lib.recovery.local import Local
from runbook_lib.recovery.point import RestorePoint


def last_segment(world: World) -> Path:
    return world.local.archive / world.day.point.segment


def change(path: Path, at: int = 100) -> None:
    """Flip a bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    put(path, content)


def put(path: Path, content: bytes) -> None:
    """Replace a file."""
    path.unlink()
    path.write_bytes(content)


def a_table(world: World) -> Path:
    return sorted((world.local.base_backups / world.base.folder.name / "base" / "1").iterdir())[3]


def test_the_recovered_server_holds_what_was_there_at_the_point_and_nothing_later(
    world: World,
) -> None:
    assert not world.day.is_before(world.day.target)
    lines: list[str] = []
    found = world.local.recover(world.day.point, world.day.target, lines.append)
    try:
        assert world.day.is_before(found.target) and world.day.untouched()
        assert found.proof.passed and found.seconds and world.base.folder.name in lines[-1]
        with Database(found.target, NAME) as db:
            assert (
                db.value(
                    "SELECT string_agg(current_setting(s), ',') "
                    "FROM unnest(ARRAY['archive_mode', 'archive_command', 'archive_timeout']) AS s"
                )
                == "off,(disabled),0"
            )
    finally:
        world.local.discard(world.day.point)
    assert not world.local.place(world.day.point).exists()


def test_a_point_without_a_name_is_reached_by_its_lsn_and_the_live_server_may_be_down(
    world: World,
) -> None:
    point = replace(world.day.point, name="", not_named="permission denied")
    try:
        assert world.day.is_before(
            world.local.recover(point, replace(world.day.target, port=1)).target
        )
    finally:
        world.local.discard(point)


def test_a_recovered_server_that_an_interrupted_attempt_left_is_taken_up(world: World) -> None:
    first = world.local.recover(world.day.point, world.day.target)
    try:
        assert world.local.recover(world.day.point, world.day.target).target == first.target
    finally:
        world.local.discard(world.day.point)


KILLED = """
import os, pickle, sys
from runbook_lib.postgres.server import LocalServer
from runbook_lib.recovery.local import Local
launch = LocalServer.launch
def killed(server):
    if sys.argv[1] == "replaying":
        launch(server)
    os._exit(9)
LocalServer.launch = killed
world, point, target = pickle.load(sys.stdin.buffer)
world.recover(point, target)
"""


@pytest.mark.parametrize("where", ["copied", "replaying"])
def test_a_killed_attempt_is_begun_anew_or_gone_on_with(world: World, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, where],
        input=pickle.dumps((world.local, world.day.point, world.day.target)),
        timeout=60,
    )
    assert done.returncode == 9 and world.local.place(world.day.point).exists()
    try:
        assert world.day.is_before(world.local.recover(world.day.point, world.day.target).target)
    finally:
        world.local.discard(world.day.point)


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda w: last_segment(w).unlink(), UsageError, "lacks 1 WAL segments"),
        (
            lambda w: put(last_segment(w), last_segment(w).read_bytes()[:1000]),
            UsageError,
            "lacks 1 WAL segments",
        ),
        (
            lambda w: change(last_segment(w), w.day.point.position % 2**24 - 20),
            ToolError,
            "pg_waldump.*record",
        ),
        (lambda w: change(a_table(w)), ToolError, "is damaged: checksum mismatch"),
        (
            lambda w: a_table(w).unlink(),
            ToolError,
            "is damaged: .* is present in the manifest but not on disk",
        ),
        (
            lambda w: (w.local.base_backups / w.base.folder.name / "backup_manifest").unlink(),
            UsageError,
            "is no whole base backup",
        ),
        (
            lambda w: w.local.archive.rename(w.local.archive.with_name("gone")),
            UsageError,
            "lacks . WAL segments",
        ),
        (
            lambda w: (w.local.base_backups / w.base.folder.name).rename(
                w.local.base_backups / "elsewhere"
            ),
            UsageError,
            "there is no base backup in",
        ),
    ],
    ids=[
        "segment missing",
        "segment cut",
        "segment altered",
        "base backup altered",
        "base backup's file missing",
        "no manifest",
        "no archive",
        "no base backup",
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_copied(
    copied: World,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[World], object],
    error: type[RunbookError],
    said: str,
) -> None:
    monkeypatch.setattr(local, "_ARRIVES_S", 0.1)
    damage(copied)
    with pytest.raises(error, match=said):
        copied.local.recover(copied.day.point, copied.day.target)
    assert not copied.local.place(copied.day.point).exists() and copied.day.untouched()


def test_a_tablespace_on_the_way_is_refused_for_it_would_be_written_into_the_live_servers_files(
    tmp_path: Path,
) -> None:
    for name in ("wal", "space"):
        (tmp_path / name).mkdir()
        give(tmp_path / name)
    server = archiving(tmp_path / "server", tmp_path / "wal")
    try:
        target = Target.parse(server.url())
        made = Local(
            tmp_path / "wal", tmp_path / "bases", 24, identifier(target), NAME, server.binaries
        )
        made.make_base(target)
        with Database(target, NAME) as db:
            db.execute(
                sql.SQL("CREATE TABLESPACE elsewhere LOCATION {}").format(str(tmp_path / "space"))
            )
            to = local.point.make(db, "runbook_test")
        with pytest.raises(UsageError, match="a tablespace was made between"):
            made.recover(to, target)
        with pytest.raises(UsageError, match="has tablespaces"):
            made.make_base(target)
        assert not made.place(to).exists()
    finally:
        server.stop("immediate")


def test_another_servers_base_backup_is_refused(copied: World) -> None:
    other = replace(copied.local, system_identifier="4711")
    with pytest.raises(UsageError, match="is of another server: system identifier"):
        other.recover(copied.day.point, copied.day.target)
    assert other.young() is None and not other.place(copied.day.point).exists()


def test_a_base_backup_younger_than_the_point_is_not_used(copied: World) -> None:
    early = replace(copied.day.point, lsn="0/1000000")
    with pytest.raises(UsageError, match="no base backup .* older than the restore point"):
        copied.local.recover(early, copied.day.target)


def test_a_point_that_the_wal_does_not_hold_ends_in_an_error_and_no_server_is_left(
    copied: World,
) -> None:
    never = replace(copied.day.point, name="runbook_never")
    with pytest.raises(
        ToolError, match="recovery ended before configured recovery target was reached"
    ):
        copied.local.recover(never, copied.day.target)
    assert (
        LocalServer(copied.local.place(never), Path(), {}).process() is None
        and copied.day.untouched()
    )
    copied.local.discard(never)


def test_a_server_that_stopped_elsewhere_is_not_taken_for_the_point(copied: World) -> None:
    other = replace(copied.day.point, lsn="0/3000028")  # right behind the first page's header
    with pytest.raises(CheckError, match="it stopped at the restore point — failed"):
        copied.local.recover(other, copied.day.target)
    assert LocalServer(copied.local.place(other), Path(), {}).process() is None
    copied.local.discard(other)


def test_a_folder_that_is_not_ours_is_never_removed(copied: World) -> None:
    place = copied.local.place(copied.day.point)
    (place / "data").mkdir(parents=True)
    for step in (copied.local.discard, lambda to: copied.local.recover(to, copied.day.target)):
        with pytest.raises(UsageError, match="is not removed"):
            step(copied.day.point)
    assert (place / "data").exists()


def statuses(found: World, target: Target) -> dict[str, Status]:
    with Database(target, NAME) as db:
        return {one.id.removeprefix("recovery."): one.status for one in found.local.checks(db)}


def test_the_checks_of_a_server_that_archives_pass(world: World) -> None:
    assert statuses(world, world.day.target) == dict.fromkeys(
        ("archiving", "arrives", "base", "room"), Status.PASSED
    )


def test_each_thing_that_would_keep_a_recovery_from_working_fails_its_check(
    copied: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_ARRIVES_S", 0.1)
    change(a_table(copied))  # and the copied archive receives nothing
    assert statuses(copied, copied.day.target) == {
        "archiving": Status.PASSED,
        "arrives": Status.FAILED,
        "base": Status.FAILED,
        "room": Status.PASSED,
    }
    old = replace(
        copied,
        local=replace(
            copied.local, max_age_hours=1e-9, archive=copied.local.archive.with_name("nowhere")
        ),
    )
    assert {statuses(old, copied.day.target)[key] for key in ("arrives", "base")} == {Status.FAILED}


def test_an_archive_of_another_server_is_told_by_its_wal(world: World) -> None:
    other = replace(world, local=replace(world.local, system_identifier="4711"))
    assert statuses(other, world.day.target)["arrives"] is Status.FAILED


def test_a_server_that_does_not_archive_fails(server: Server, world: World) -> None:
    assert statuses(world, Target.parse(server.url()))["archiving"] is Status.FAILED


def test_a_role_that_may_close_no_segment_has_the_last_archived_one_looked_for(
    world: World,
) -> None:
    with Database(world.day.target, NAME) as db:
        db.execute("CREATE ROLE plain LOGIN PASSWORD 'fictitious-word'")
    try:
        target = replace(world.day.target, user="plain", password="fictitious-word")
        with Database(target, NAME) as db:
            found = next(one for one in world.local.checks(db) if one.id == "recovery.arrives")
            point = local.point.make(db, "runbook_plain")
        assert (found.status, "the last that was archived" in found.found) == (Status.PASSED, True)
        assert (
            point.name == ""
            and "permission denied" in point.not_named
            and point.position > world.day.point.position
        )
    finally:
        with Database(world.day.target, NAME) as db:
            db.execute("DROP ROLE plain")


def test_names_of_segments_count_over_the_end_of_a_log_file() -> None:
    point = RestorePoint("p", "1/1000000", "", "000000030000000100000001")
    assert archive.span(0xFE000000, point, 2**24) == [
        "0000000300000000000000FE",
        "0000000300000000000000FF",
        "000000030000000100000000",
        "000000030000000100000001",
    ]


def test_a_base_backup_that_fails_is_none(world: World, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="pg_basebackup"):
        base.make(replace(world.day.target, port=1), tmp_path, NAME, programs=world.server.binaries)
    assert base.newest(tmp_path) is None and not list(tmp_path.iterdir())
