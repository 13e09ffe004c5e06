"""What the phases do with it: the point before the migration, the base backup, the price, and
the content handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from archived_worlds import AFTER, BEFORE, NAME, World

from runbook_lib import gate, params
from runbook_lib.check import Checks, Status
from runbook_lib.errors import ApprovalNeeded, DatabaseError, GateError, Refused, UsageError
from runbook_lib.phases import recovery
from runbook_lib.phases.base import Phase
from runbook_lib.phases.identity import identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.rollback import Rollback
from runbook_lib.postgres import databases, dump, restore, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.recovery.rds import Rds, Stage
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


def local(world: World, bases: Path) -> dict[str, Any]:
    """The provider of the server that archives."""
    return {
        "provider": "local",
        "archive": str(world.local.archive),
        "base_backups": str(bases),
        "deadline_minutes": 5.0,
    }


@pytest.fixture
def target(world: World) -> Iterator[Target]:
    """A database of its own on the server that archives."""
    made = world.day.target.named("clinic")
    with Database(world.day.target, NAME) as admin:
        admin.execute("CREATE DATABASE clinic")
        yield made
        for name in [name for name in databases.entries(admin) if name.startswith("clinic")]:
            databases.drop(admin, name)


@pytest.fixture
def opened(world: World, target: Target, tmp_path: Path) -> Iterator[Open]:
    """Opens phases of one run of that database."""
    (tmp_path / "url").write_text(world.server.url(target.database))
    values = params.load(ROOT / "params" / "demo.yaml") | {
        "database": {"url": f"file:{tmp_path}/url", "tools": str(world.server.binaries)}
    }
    values["environment"]["archive"] = str(tmp_path / "archive")
    values["backup"]["directory"] = str(tmp_path / "backups")
    phases, runs = [], {}
    provider = local(world, world.local.base_backups)

    def open_it(
        cls: type[Phase] = Example,
        recovery: dict[str, Any] | None = provider,
        **target_facts: str,
    ) -> Phase:
        key = str((recovery, target_facts))
        if key not in runs:
            with Database(target, NAME) as db:
                runs[key] = create(
                    values | {"recovery": recovery}, [f"{len(runs)}_x"], identify(db) | target_facts
                )
        phases.append(cls(runs[key]))
        phases[-1]._passed.add("migrate")
        return phases[-1]

    yield open_it
    for one in phases:
        one._give_back()


def day(phase: Phase, target: Target) -> snapshot.Snapshot:
    """Rows, the restore point of the migrate phase, a migration; what the database held at the
    point.
    """
    with Database(target, NAME) as db:
        db.execute(BEFORE)
        before = snapshot.take(target, NAME)
        phase.run.write_evidence("before.snapshot", before)
        phase.run.write_evidence("before.baseline", [])
        phase.restore_point()
        phase.run.journal("migration begun", files=["1_x"])
        db.execute(AFTER)
    return before


def test_the_content_of_the_point_comes_back_beside_the_live_database(
    opened: Open, target: Target, world: World
) -> None:
    before, phase = day(opened(ExampleMigrate), target), opened()
    live = snapshot.take(target, NAME)
    led = recovery.recover(phase)
    assert (
        led.backup
        and led.backup.snapshot.compare(before).identical
        and live.compare(snapshot.take(target, NAME)).identical
    )
    programs, beside = tools(target, world.server.binaries), target.named("clinic_restored")
    restore.restore(led.backup, beside, NAME, tools=programs)
    restore.compare_with(led.backup, beside, NAME).checks().require()
    assert before.compare(snapshot.take(beside, NAME)).identical
    assert not list((phase.params.recovery.base_backups).glob("recovered_*"))
    assert (
        recovery.recover(phase).backup.folder == led.backup.folder
    )  # a second call finds what the first one made


def test_the_way_back_puts_the_content_of_the_point_in_the_live_ones_place(
    opened: Open, target: Target, tmp_path: Path
) -> None:
    before, phase = day(opened(ExampleMigrate), target), opened(Rollback)
    (tmp_path / "migrations").mkdir()
    phase.__dict__["project"] = SimpleNamespace(migrations=tmp_path / "migrations")
    phase.params = phase.params.model_copy(
        update={
            "service": None,
            "prisma": phase.params.prisma.model_copy(update={"validate_command": None}),
        }
    )
    phase._resumed, phase._fired = None, Checks("fired", [])
    for _ in range(2):  # the first time it says that what was written since is not known
        gate.approve(phase.run, "rollback", "the later rows are on paper", way="point-in-time")
        with suppress(ApprovalNeeded):
            phase.decide()
    phase.go_back()
    phase.afterwards()
    assert before.compare(snapshot.take(target, NAME)).identical
    with Database(target, NAME) as db:
        failed = db.value("SELECT datname FROM pg_database WHERE datname LIKE 'clinic_failed_%'")
    assert snapshot.take(target.named(failed), NAME).tables["public.visit"].rows == 150


def test_a_dump_that_fails_leaves_the_recovered_server_to_go_on_with(
    opened: Open, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_what_an_interrupted_attempt_left_is_discarded_on_request(
    opened: Open, target: Target
) -> None:
    day(opened(ExampleMigrate), target)
    phase = opened()
    made, to = recovery.provider(phase), recovery.point(phase)
    made.recover(to, target)
    recovery.discard(phase)
    assert not made.place(to).exists()


def test_a_base_backup_is_made_where_there_is_none_and_proven_where_it_was_not(
    opened: Open, world: World, tmp_path: Path
) -> None:
    phase = opened(recovery=local(world, tmp_path / "bases"))
    assert {one.id for one in recovery.checks(phase) if one.status is not Status.PASSED} == {
        "recovery.base",
        "recovery.room",
    }
    first = recovery.base_backup(phase)
    assert phase.run.read_evidence("base_backup")["recover_s"] > 0 and {
        one.status for one in recovery.checks(phase)
    } == {Status.PASSED}
    proof = next((tmp_path / "bases").glob("proof_*.json"))
    proof.unlink()
    assert (
        recovery.base_backup(phase).title == first.title
        and proof.exists()
        and len(list(proof.parent.glob("base_*"))) == 1
    )


def test_once_the_migration_has_begun_the_point_from_before_stands(opened: Open) -> None:
    phase = opened(ExampleMigrate)
    first = phase.restore_point()
    second = opened(ExampleMigrate).restore_point()
    assert second.position > first.position and second.name != first.name  # nothing had begun
    phase.run.journal("migration begun", files=["1_x"])
    assert opened(ExampleMigrate).restore_point() == second == recovery.point(phase)
    made = [line for line in phase.run.read_journal() if line["what"] == "restore point made"]
    assert [line["name"] for line in made] == [first.name, second.name] and asdict(
        second
    ).items() <= made[-1].items()


def test_no_point_is_made_up_for_a_migration_that_had_begun_without_one(opened: Open) -> None:
    phase = opened(ExampleMigrate)
    phase.run.journal("migration begun", files=["1_x"])
    assert "No restore point" in phase.restore_point().title and recovery.point(phase) is None
    assert recovery.price(phase) == recovery.Price(
        False, "no restore point was made before the migration"
    )
    with pytest.raises(GateError, match="no restore point was made"):
        recovery.recover(phase)


def test_the_migration_does_not_begin_without_the_cell_of_its_restore_point(opened: Open) -> None:
    phase = opened(ExampleMigrate)
    phase._reviewed = lambda: ("1_x",)
    phase._passed.add("save")
    with pytest.raises(Refused, match=r"`phase.restore_point\(\)` must come first"):
        phase.deploy()


def test_the_price_says_what_was_measured_and_what_is_missing(
    opened: Open, target: Target, world: World, tmp_path: Path
) -> None:
    phase = opened(recovery=local(world, tmp_path / "bases"))
    assert recovery.price(phase) == recovery.Price(
        False, "no restore point was made before the migration"
    )
    recovery.mark(phase)
    assert "no base backup" in recovery.price(phase).why
    recovery.base_backup(phase)
    assert (
        "older than the restore point" in recovery.price(phase).why
    )  # the base backup came after the point
    point, made = recovery.mark(phase), recovery.provider(phase)
    made._require_wal(made.suitable(point), point, world.server.binaries, print)
    assert recovery.price(phase) == recovery.Price(
        True,
        f"from {made.young().folder.name}",
        None,
        "not measured: there is no proof of the base backup, or of the run's own backup",
    )
    backup = dump.make(target, phase.params.backup.directory / "b", NAME, tools=tools(target))
    phase.run.write_evidence("backup", {"folder": str(backup.folder), "restore_s": 1.0})
    found = recovery.price(phase)
    assert found.possible and found.seconds > 1.0 and found.basis.startswith("measured: recovery")
    (made.archive / point.segment).rename(tmp_path / point.segment)
    waits = recovery.price(phase)
    (tmp_path / point.segment).rename(made.archive / point.segment)
    assert (waits.possible, "is not archived yet" in waits.why) == (None, True)


def test_without_a_provider_everything_says_so(opened: Open) -> None:
    phase = opened(recovery=None)
    assert [one.status for one in recovery.checks(phase)] == [Status.NOT_CONFIGURED]
    assert (
        "no provider is configured" in recovery.price(phase).why
        and "No base backup" in recovery.base_backup(phase).title
    )
    assert recovery.mark(phase).name.startswith("runbook_")  # the point is made all the same
    with pytest.raises(GateError, match="no provider is configured"):
        recovery.recover(phase)


def test_a_server_that_cannot_be_told_from_another_is_refused(opened: Open) -> None:
    with pytest.raises(UsageError, match="may not read the system identifier"):
        recovery.checks(opened(system_identifier="unknown"))


AMAZON = {
    "provider": "rds",
    "instance": "clinic",
    "region": "eu-central-1",
    "deadline_minutes": 5.0,
}


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recovered instance is the test's server: moto's instances have addresses, and nobody
    who answers there.
    """
    real = Rds.recover

    def recover(provider: Rds, *arguments: Any) -> str:
        assert real(provider, *arguments).endswith(".rds.amazonaws.com")
        return "127.0.0.1"

    monkeypatch.setattr(Rds, "recover", recover)


def test_amazons_instance_is_renamed_once_it_has_proven_to_hold_the_pinned_database(
    opened: Open, client: Any, near: None
) -> None:
    phase = opened(ExampleMigrate, AMAZON)
    recovery.mark(phase)
    assert recovery.price(phase).possible
    led = recovery.recover(phase)
    assert led.backup is None and led.replaced and led.replaced.live == "clinic"
    assert (
        recovery.recover(phase).replaced.failed == led.replaced.failed
    )  # done already: nothing is done again
    recovery.discard(phase)
    assert {
        one["DBInstanceIdentifier"] for one in client.describe_db_instances()["DBInstances"]
    } == {"clinic", led.replaced.failed}


def test_an_instance_that_holds_another_database_is_not_renamed(
    opened: Open, client: Any, near: None
) -> None:
    phase = opened(ExampleMigrate, AMAZON, system_identifier="4711")
    recovery.mark(phase)
    with pytest.raises(UsageError, match="holds another database"):
        recovery.recover(phase)
    assert recovery.provider(phase).stage(recovery.point(phase)) is Stage.RECOVERED
