"""Ctrl-C, SIGTERM and kill -9 at several moments: what still works on the server, what is left,
and how it goes on.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import nbformat
import psutil
import pytest
from worlds import World, make_world

from runbook_lib import archive
from runbook_lib.advice import next_command
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.run import Run, create, runs

pytestmark = pytest.mark.timeout(400)
BOUND_S = 20
"""Seconds after which a test gives up waiting; what is promised is about two, which a busy machine
may miss.
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A platform for all tests of this file. Each leaves its database as it was; the last one
    migrates it.
    """
    made = make_world(
        tmp_path_factory.mktemp("stopping"),
        # a restored database has no extension of a superuser's: nobody is asked about it here
        lambda values: (
            values["migrate"].update(lock_timeout_s=120),
            values["validate"].update(slow_queries=False),
        ),
    )
    made.platform.up(lambda line: None, fresh=True)
    yield made
    made.platform.down(lambda line: None)


@pytest.fixture
def watch(world: World) -> Iterator[Database]:
    """A session of a bystander, by the runbook's own role: a superuser's session could not be
    ended before a swap.
    """
    with Database(Target.parse(world.platform.url()), "tests") as db:
        yield db


def at_work(db: Database) -> list[str]:
    """Sessions of the runbook that are not idle, in any database."""
    rows = db.rows(
        "SELECT application_name || ': ' || left(query, 60) AS it FROM pg_stat_activity "
        "WHERE application_name LIKE 'runbook/%' AND state <> 'idle'"
    )
    return [row["it"] for row in rows]


def wait_for(
    what: str,
    holds: Callable[[], object],
    child: subprocess.Popen[str] | None = None,
    seconds: float = BOUND_S,
) -> None:
    """Until it holds; fails where it does not in time, or where `child` ends before."""
    deadline = time.monotonic() + seconds
    while not holds():
        if child and child.poll() is not None:
            pytest.fail(f"it ended before {what}: {child.communicate()[0][-3000:]}")
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class Running:
    """`runbook …` in the background, with all the processes that it had started when it was
    stopped.
    """

    def __init__(self, world: World, *arguments: str) -> None:
        self.world, self.child, self.family = world, world.start(*arguments), list[psutil.Process]()

    def until(self, what: str, holds: Callable[[], object]) -> Running:
        """Wait until it holds; it takes a while to come that far."""
        wait_for(what, holds, self.child, 200)
        return self

    def stop(self, number: signal.Signals, db: Database) -> str:
        """Send the signal; what it said until it ended. Afterwards nobody of it is at work, here
        or on the server.
        """
        self.family = psutil.Process(self.child.pid).children(recursive=True)
        assert any("ipykernel" in " ".join(process.cmdline()) for process in self.family)
        self.child.send_signal(number)
        wait_for("the server works for it no more", lambda: not at_work(db))
        output = self.child.communicate(timeout=BOUND_S)[0]
        assert psutil.wait_procs(self.family, BOUND_S)[1] == []
        wait_for(
            "its sessions are gone",
            lambda: (
                not db.rows(
                    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'runbook/%'"
                )
            ),
        )
        return output


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., Running]]:
    """Starts a runbook; where the test fails, it does not outlive it."""
    started: list[Running] = []

    def run(*arguments: str) -> Running:
        started.append(Running(world, *arguments))
        return started[-1]

    yield run
    for one in started:
        if one.child.poll() is None:
            one.child.terminate()
            one.child.communicate(timeout=60)


Start = Callable[..., Running]


def expect_aborted(
    world: World, child: subprocess.Popen[str], output: str, phase: str, run: Run | None = None
) -> Run:
    """What must be true of a run (default: the newest) that was told to stop in a phase."""
    run = run or world.newest
    assert child.returncode == 1 and "Traceback" not in output, output
    assert f"{phase} was stopped" in output and next_command(run) in output
    assert (run.outcome, run.phase(phase)["status"]) == ("aborted", "aborted")
    expect_unfinished(run, phase)
    assert archive.verify(run) == []
    with world.db() as db:
        assert (
            db.rows("SELECT datname FROM pg_database WHERE datname LIKE 'runbook_scratch%'") == []
        )
    return run


def expect_unfinished(run: Run, phase: str) -> None:
    """Its notebook stands: readable, and it does not look as if it had come to its end."""
    path = run.folder / run.phase(phase)["notebook"]
    nbformat.validate(nbformat.read(path, as_version=4))
    whole, why = archive.judge(path)
    assert not whole and re.search("KeyboardInterrupt|did not run|interrupted by", why)


@contextmanager
def transaction(world: World, statement: str) -> Iterator[None]:
    """Somebody else's transaction that stays open, and is in the way."""
    with world.db() as db, db.transaction():
        db.execute(statement)
        yield


@contextmanager
def waiting_migration(world: World, watch: Database, start: Start) -> Iterator[Running]:
    """A run whose migration waits for the lock of somebody who came when it began."""
    running, before = start("run", str(world.file)), len(runs(world.archive))
    running.until(
        "the migration begins",
        lambda: (
            len(runs(world.archive)) > before
            and any(line["what"] == "migration begun" for line in world.newest.read_journal())
        ),
    )
    with transaction(world, 'SELECT count(*) FROM "Appointment"'):
        yield running.until(
            "the migration waits",
            lambda: watch.rows(
                "SELECT pid FROM pg_stat_activity "
                "WHERE application_name LIKE 'runbook/%/migrate/prisma' "
                "AND wait_event_type = 'Lock'"
            ),
        )


def unfinished(db: Database) -> list[str]:
    """Migrations that Prisma recorded as begun and not as finished."""
    return [
        row["migration_name"]
        for row in db.rows(
            'SELECT migration_name FROM "_prisma_migrations" WHERE finished_at IS NULL '
            "AND rolled_back_at IS NULL"
        )
    ]


def test_sigterm_before_a_run_is_made_leaves_none(
    world: World, watch: Database, start: Start
) -> None:
    with transaction(world, 'LOCK TABLE "Appointment" IN ACCESS EXCLUSIVE MODE'):
        running = start("run", str(world.file)).until(
            "it examines",
            lambda: (
                at_work(watch)
                or watch.rows(
                    "SELECT pid FROM pg_stat_activity "
                    "WHERE application_name = 'runbook/examine' AND wait_event_type = 'Lock'"
                )
            ),
        )
        running.child.send_signal(signal.SIGTERM)
        output = running.child.communicate(timeout=BOUND_S)[0]
    assert running.child.returncode == 1 and "stopped" in output and "Traceback" not in output
    assert at_work(watch) == [] and not list(world.archive.glob("*/run.json"))


def test_sigterm_while_the_backup_dumps(world: World, watch: Database, start: Start) -> None:
    backups = world.folder / "demo" / "backups"
    before = {*backups.glob("*/*")}
    with world.db() as other:
        running = start("run", str(world.file), "--from", "backup", "--to", "backup")
        running.until("the dump begins", lambda: {*backups.glob("*/database.json")} - before)
        with other.transaction():
            other.execute('LOCK TABLE "Subscription" IN ACCESS EXCLUSIVE MODE')
            running.until(
                "pg_dump waits",
                lambda: watch.rows(
                    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND query LIKE 'LOCK TABLE%'"
                ),
            )
            output = running.stop(signal.SIGTERM, watch)
    expect_aborted(world, running.child, output, "backup")
    assert not {*backups.glob("*/manifest.json")} - before, "what was dumped in part is no backup"


def another_runs_way_back_is_refused(world: World, migrating: Run) -> None:
    """While a run migrates, another one on the same database leads nothing back, and sends
    nothing.
    """
    before = migrating.state
    second = create(migrating.parameters, before["migrations"], before["target"])
    done = world.command("rollback", str(second.folder), "--yes")
    assert done.returncode == 3 and migrating.id in done.stdout, done.stdout
    told = {line["what"] for line in second.read_journal()}
    assert told.isdisjoint({"maintenance off", "rolled back", "notified", "gate approved"})
    assert migrating.state == before


def test_sigterm_in_the_middle_of_a_migration_on_which_nobody_else_can_work_meanwhile(
    world: World, watch: Database, start: Start
) -> None:
    with waiting_migration(world, watch, start) as running:
        first = world.newest
        other = world.command("resume", str(first.folder))
        assert other.returncode == 3 and f"is at work on {first.id} since" in other.stdout
        another_runs_way_back_is_refused(world, first)
        output = running.stop(signal.SIGTERM, watch)
    run = expect_aborted(world, running.child, output, "migrate", first)
    assert unfinished(watch) == [run.state["migrations"][0]], "the server did not go on and commit"
    done = world.command("rollback", str(run.folder), "--reason", "it was stopped")
    assert (done.returncode, run.outcome) == (4, "rolled_back"), done.stdout
    with world.db() as db:
        assert unfinished(db) == []


def test_of_two_that_resume_a_run_killed_in_a_migration_one_works_and_the_other_says_so(
    world: World, watch: Database, start: Start
) -> None:
    with waiting_migration(world, watch, start) as running:
        running.stop(signal.SIGKILL, watch)
    run = world.newest
    assert unfinished(watch) == [run.state["migrations"][0]], "the server did not go on and commit"
    expect_unfinished(run, "migrate")
    said = world.command("status", str(run.folder)).stdout
    assert (
        re.search(r"outcome: unknown: process \d+ of migrate is gone without a word", said)
        and f"next: {next_command(run)}" in said
    )
    both = [world.start("resume", str(run.folder)) for _ in range(2)]
    texts = [one.communicate(timeout=280)[0] for one in both]
    told = {one.returncode: text for one, text in zip(both, texts, strict=True)}
    assert told.keys() == {3, 4}, texts
    assert f"is at work on {run.id} since" in told[3]
    assert "migrate was killed and could not say how it ended" in told[4]
    assert [line["what"] for line in run.read_journal()].count("resumed") == 1
    entries = [entry for entry in run.state["phases"] if entry["phase"] in ("migrate", "rollback")]
    assert [entry["status"] for entry in entries] == ["aborted", "failed", "succeeded"], texts
    assert (
        "was killed: what it began may have landed in part" in entries[0]["reason"]
        and "history.failed" not in entries[1]["reason"]
    )
    assert run.outcome == "rolled_back"
    assert archive.verify(run) == []


def test_a_kernel_that_was_killed_in_the_middle_of_a_migration(
    world: World, watch: Database, start: Start
) -> None:
    with waiting_migration(world, watch, start) as running:
        kernel = next(
            one
            for one in psutil.Process(running.child.pid).children(recursive=True)
            if "ipykernel" in " ".join(one.cmdline())
        )
        kernel.kill()
        wait_for(
            "the server works for it no more",
            lambda: (
                not watch.rows(
                    "SELECT pid FROM pg_stat_activity "
                    "WHERE application_name LIKE 'runbook/%/migrate/prisma' AND state <> 'idle'"
                )
            ),
        )
    output, run = running.child.communicate(timeout=120)[0], world.newest
    assert "its kernel died" in output, output
    assert [
        entry["status"]
        for entry in run.state["phases"]
        if entry["phase"] in ("migrate", "rollback")
    ] == ["failed", "succeeded"], output
    with world.db() as db:  # the database was swapped, and who was connected with it
        assert (running.child.returncode, run.outcome, unfinished(db)) == (4, "rolled_back", [])
    assert archive.verify(run) == []


def test_what_a_killed_rehearsal_leaves_is_known_and_goes(
    world: World, watch: Database, start: Start
) -> None:
    def scratch() -> list[str]:
        return [
            row["datname"]
            for row in watch.rows(
                "SELECT datname FROM pg_database WHERE datname LIKE 'runbook_scratch%'"
            )
        ]

    running = start("run", str(world.file), "--to", "rehearse").until(
        "it makes copies of the copy", lambda: len(scratch()) > 1
    )
    running.stop(signal.SIGKILL, watch)
    left = scratch()
    done = world.command("prune", str(world.file), "--dry-run")
    assert left and done.returncode == 0 and scratch() == left, done.stdout
    time.sleep(5)  # for one that was killed before it was named
    done = world.command("prune", str(world.file))
    assert (done.returncode, scratch()) == (0, []), done.stdout


def test_ctrl_c_while_the_rehearsal_restores_and_then_on_to_the_end(
    world: World, watch: Database, start: Start
) -> None:
    running = start("run", str(world.file)).until(
        "it restores",
        lambda: watch.rows(
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name LIKE 'runbook/%/rehearse' "
            "AND datname LIKE 'runbook_scratch_rehearsal%'"
        ),
    )
    output = running.stop(signal.SIGINT, watch)
    run = expect_aborted(world, running.child, output, "rehearse")
    done = world.command("resume", str(run.folder))
    assert (done.returncode, run.outcome) == (0, "succeeded"), done.stdout
    assert "plan       already done" in done.stdout
    assert sorted(path.name for path in run.folder.glob("20_*")) == [
        "20_rehearse-2.ipynb",
        "20_rehearse.ipynb",
    ]
    assert archive.verify(run) == []
