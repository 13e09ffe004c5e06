"""What the phases do with it: the point before the migration, the base backup, the price, and the content handed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from archived_worlds import AFTER, BEFORE, NAME, World

from runbook_lib import params
from runbook_lib.check import Status
from runbook_lib.errors import DatabaseError, GateError, UsageError
from runbook_lib.phases import recovery
from runbook_lib.phases.base import Phase, identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.postgres import databases, dump, restore, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.run import create

ROOT = Path(__file__).resolve().parents[2]
Open = Callable[..., Phase]


class Example(Phase):
    """A phase of no notebook."""

    name = "rollback"


class ExampleMigrate(Migrate):
    """The migrate phase, its gate passed, without a project."""

    project = SimpleNamespace()
    history = SimpleNamespace(pending=("1_x",))


@pytest.fixture
def target(world: World) -> Iterator[Target]:
    """A database of its own on the server that archives."""
    made = world.day.target.named("clinic")
    with Database(world.day.target, NAME) as admin:
        admin.execute("CREATE DATABASE clinic")
        yield made
        for name in ("clinic", "clinic_restored"):
            databases.drop(admin, name)


@pytest.fixture
def opened(world: World, target: Target, tmp_path: Path) -> Iterator[Open]:
    """Opens phases of one run of that database."""
    (tmp_path / "url").write_text(world.server.url(target.database))
    values = params.load(ROOT / "params" / "demo.yaml") | {"database": {"url": f"file:{tmp_path}/url", "tools": str(world.server.binaries)}}
    values["environment"]["archive"] = str(tmp_path / "archive")
    values["backup"]["directory"] = str(tmp_path / "backups")
    local = {"provider": "local", "archive": str(world.local.archive), "base_backups": str(tmp_path / "bases"), "deadline_minutes": 1.0}
    phases, runs = [], {}

    def open_it(cls: type[Phase] = Example, recovery: dict[str, Any] | None = local, **target_facts: str) -> Phase:
        key = str((recovery, target_facts))
        if key not in runs:
            with Database(target, NAME) as db:
                runs[key] = create(values | {"recovery": recovery}, [f"{len(runs)}_x"], identify(db) | target_facts)
        phases.append(cls(runs[key]))
        phases[-1]._passed.add("migrate")
        return phases[-1]

    yield open_it
    for one in phases:
        one._give_back()


def day(phase: Phase, target: Target) -> snapshot.Snapshot:
    """Rows, the restore point of the migrate phase, a migration; what the database held at the point."""
    with Database(target, NAME) as db:
        db.execute(BEFORE)
        before = snapshot.take(target, NAME)
        phase.restore_point()
        phase.run.journal("migration begun", files=["1_x"])
        db.execute(AFTER)
    return before


def test_the_content_of_the_point_comes_back_beside_the_live_database(opened: Open, target: Target, world: World) -> None:
    recovery.base_backup(opened())
    before, phase = day(opened(ExampleMigrate), target), opened()
    live = snapshot.take(target, NAME)
    led = recovery.recover(phase)
    assert led.backup and led.backup.snapshot.compare(before).identical and live.compare(snapshot.take(target, NAME)).identical
    programs, beside = tools(target, world.server.binaries), target.named("clinic_restored")
    restore.restore(led.backup, beside, NAME, tools=programs)
    restore.compare_with(led.backup, beside, NAME).checks().require()
    assert before.compare(snapshot.take(beside, NAME)).identical
    assert not list((phase.params.recovery.base_backups).glob("recovered_*"))
    assert recovery.recover(phase).backup.folder == led.backup.folder  # a second call finds what the first one made


def test_a_dump_that_fails_leaves_the_recovered_server_to_go_on_with(opened: Open, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery.base_backup(opened())
    before, phase = day(opened(ExampleMigrate), target), opened()

    def fails(*arguments: object, **options: object) -> None:
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(DatabaseError):
        patched.setattr(dump, "make", fails)
        recovery.recover(phase)
    left = list(phase.params.recovery.base_backups.glob("recovered_*/data/postmaster.pid"))
    lines: list[str] = []
    monkeypatch.setattr(phase, "say", lines.append)
    assert len(left) == 1 and recovery.recover(phase).backup.snapshot.compare(before).identical
    assert not any("copied" in line or "replaying" in line for line in lines)


def test_what_an_interrupted_attempt_left_is_discarded_on_request(opened: Open, target: Target) -> None:
    recovery.base_backup(opened())
    day(opened(ExampleMigrate), target)
    phase = opened()
    made, to = recovery.provider(phase), recovery.point(phase)
    made.recover(to, target)
    recovery.discard(phase)
    assert not made.place(to).exists()


def test_a_base_backup_that_is_young_enough_is_kept_and_one_that_was_not_proven_is_proven(opened: Open) -> None:
    phase = opened()
    first = recovery.base_backup(phase)
    proof = next(phase.params.recovery.base_backups.glob("proof_*.json"))
    made = phase.run.read_evidence("base_backup")
    assert made["recover_s"] > 0 and recovery.base_backup(phase).title == first.title
    proof.unlink()
    recovery.base_backup(phase)
    assert proof.exists() and len(list(proof.parent.glob("base_*"))) == 1


def test_once_the_migration_has_begun_the_point_from_before_stands(opened: Open) -> None:
    phase = opened(ExampleMigrate)
    first = phase.restore_point()
    second = opened(ExampleMigrate).restore_point()
    assert second.position > first.position and second.name != first.name  # nothing had begun
    phase.run.journal("migration begun", files=["1_x"])
    assert opened(ExampleMigrate).restore_point() == second == recovery.point(phase)
    made = [line for line in phase.run.read_journal() if line["what"] == "restore point made"]
    assert [line["name"] for line in made] == [first.name, second.name] and asdict(second).items() <= made[-1].items()


def test_no_point_is_made_up_for_a_migration_that_had_begun_without_one(opened: Open) -> None:
    phase = opened(ExampleMigrate)
    phase.run.journal("migration begun", files=["1_x"])
    assert "No restore point" in phase.restore_point().title and recovery.point(phase) is None
    assert recovery.price(phase) == recovery.Price(False, "no restore point was made before the migration")
    with pytest.raises(GateError, match="no restore point was made"):
        recovery.recover(phase)


def test_the_migration_does_not_begin_without_the_cell_of_its_restore_point(opened: Open) -> None:
    with pytest.raises(GateError, match="no restore point was made in this notebook"):
        opened(ExampleMigrate).deploy()


def test_the_price_says_what_was_measured_and_what_is_missing(opened: Open, target: Target) -> None:
    phase = opened()
    assert recovery.price(phase).possible is False
    with Database(target, NAME) as db:
        recovery.mark(phase)
        db.execute("CREATE TABLE later (); SELECT pg_switch_wal()")
    assert "no base backup" in recovery.price(phase).why
    recovery.base_backup(phase)
    assert "older than the restore point" in recovery.price(phase).why  # the base backup came after the point
    point = recovery.mark(phase)
    recovery.provider(phase)._require_wal(recovery.provider(phase).suitable(point), point, print)
    found = recovery.price(phase)
    assert (found.possible, found.seconds, found.basis) == (True, None, "a recovery from this base backup was not measured")
    backup = dump.make(target, phase.params.backup.directory / "b", NAME, tools=tools(target))
    phase.run.write_evidence("backup", {"folder": str(backup.folder), "restore_s": 1.0})
    found = recovery.price(phase)
    assert found.possible and found.seconds > 1.0 and found.basis.startswith("measured: recovery")


def test_without_a_provider_everything_says_so(opened: Open) -> None:
    phase = opened(recovery=None)
    assert [one.status for one in recovery.checks(phase)] == [Status.NOT_CONFIGURED]
    assert "no provider is configured" in recovery.price(phase).why and "No base backup" in recovery.base_backup(phase).title
    assert recovery.mark(phase).name.startswith("runbook_")  # the point is made all the same
    with pytest.raises(GateError, match="no provider is configured"):
        recovery.recover(phase)


def test_a_server_that_cannot_be_told_from_another_is_refused(opened: Open) -> None:
    with pytest.raises(UsageError, match="may not read the system identifier"):
        recovery.checks(opened(system_identifier="unknown"))


def test_the_checks_before_the_night_pass_once_there_is_a_base_backup(opened: Open) -> None:
    phase = opened()
    before = {one.id: one.status for one in recovery.checks(phase)}
    recovery.base_backup(phase)
    assert before["recovery.base"] is Status.FAILED and {one.status for one in recovery.checks(phase)} == {Status.PASSED}
