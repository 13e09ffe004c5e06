"""After a failure: what is said to have landed is what the server holds, and the one right next
step leads to a good end.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runbook_lib import gate
from runbook_lib.phases.cause import Cause
from runbook_lib.phases.rollback import Rollback
from runbook_lib.postgres import dump
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma.cli import MigrationFailed
from tests.phases.conftest import MIGRATION_SLEEPS, MIGRATION_WAITS, Night, SmallDisk, When

NAME = "20260201000000_next"
FIRST = "20260115000000_first"
ADDS = [f'ALTER TABLE "Visit" ADD COLUMN "{letter}" INTEGER' for letter in "abc"]
REFUSED = 'ALTER TABLE "Visit" ADD COLUMN "kind" TEXT'
Fail = Callable[..., tuple[Night, MigrationFailed]]


@pytest.fixture
def fail(night: Callable[..., Night], tmp_path: Path) -> Fail:
    """Deploys a file, which fails; the night and the failure. `during` happens in another thread
    once it is seen, `first` is a file before.
    """

    def failed(
        statements: list[str],
        mode: str = "file",
        during: Callable[[Night], object] | None = None,
        seen: str = MIGRATION_SLEEPS,
        target: Callable[[Target], Target] | None = None,
        first: str = "",
        **limits: object,
    ) -> tuple[Night, MigrationFailed]:
        story = night(
            ({FIRST: first} if first else {}) | {NAME: ";\n".join(statements) + ";\n"},
            mode,
            **limits,
        )
        made = dump.make(
            story.phase.target, tmp_path / "backup", "tests", tools=tools(story.phase.target)
        )
        story.phase.run.write_evidence(
            "backup",
            {
                "folder": str(made.folder),
                "sha256": made.sha256,
                "proven_at": None,
                "proven_on": None,
                "restore_s": None,
                "way_back_s": None,
            },
        )
        if target:
            story.phase.__dict__["target"] = target(story.phase.target)
        happens = When(story, seen, lambda: during(story) or True) if during else None  # type: ignore[misc]
        with pytest.raises(MigrationFailed) as caught:
            story.phase.deploy()
        if happens:
            happens.get()
        story.phase.fail(caught.value)
        return story, caught.value

    return failed


def truth(story: Night) -> Rollback:
    """The phase that tells what landed, begun on this run as a person would begin it."""
    found = Rollback(story.phase.run)
    found.begin("90_rollback.ipynb")
    story.others.callback(found._give_back)
    return found


def columns(story: Night) -> int:
    """How many of the columns a, b, c the server holds."""
    with Database(Target.parse(story.url)) as db:
        return int(
            db.value(
                "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Visit' "
                "AND column_name IN ('a', 'b', 'c')"
            )
        )


def forward(story: Night) -> Rollback:
    """Settle the failed file by what is proven of it."""
    found = truth(story)
    gate.approve(story.phase.run, "rollback", "the cause is gone", way="forward")
    found.triggers()
    found.decide()
    found.go_back()
    found.afterwards()
    found.record()
    found.finish()
    return found


@pytest.mark.fault(
    "a statement that is refused",
    "after {place} statements",
    "a file, sent by {mode}",
    "what is said to have landed is what the server holds; the repair is the rest",
)
@pytest.mark.parametrize("mode", ["file", "statement"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_file_that_fails_at_its_first_a_middle_or_its_last_statement(
    fail: Fail, mode: str, place: int
) -> None:
    story, error = fail([*ADDS[:place], REFUSED, *ADDS[place:]], mode)
    found = truth(story).landed.replayed
    assert (
        error.cause == Cause.SYNTAX.value
        and "95_troubleshoot.ipynb#Refused-statements" in error.remedy
    )
    assert found.landed == columns(story) == (place if mode == "statement" else 0), found
    assert len(found.repair) == 4 - found.landed and story.left() == []


@pytest.mark.fault(
    "a duplicate",
    "in the second of two files",
    "files, sent by {mode}",
    "the first stands, the second is settled alone, and the next deploy works",
)
@pytest.mark.parametrize("mode", ["file", "statement"])
def test_a_file_that_fails_after_another_was_applied_is_told_from_it_and_settled_alone(
    fail: Fail, mode: str
) -> None:
    story, _ = fail(
        [ADDS[1], 'CREATE UNIQUE INDEX "kind_once" ON "Visit" ("kind")', ADDS[2]],
        mode,
        first=ADDS[0] + ";\n",
    )
    found = truth(story).landed
    assert (found.files, found.failed, found.nothing) == ((FIRST,), (NAME,), False)
    assert found.replayed.landed == columns(story) - 1 == (1 if mode == "statement" else 0)
    with Database(Target.parse(story.url)) as db:
        db.execute('UPDATE "Visit" SET kind = id::text')
    forward(story)
    story.again().deploy()
    assert columns(story) == 3 and [state for _, state in story.history()].count("finished") == 2


@pytest.mark.fault(
    "a statement that is refused",
    "before its COMMIT",
    "a file with its own BEGIN … COMMIT",
    "nothing landed, and that is said",
)
def test_an_explicit_transaction_rolls_back_whole_where_prisma_sends_statement_by_statement(
    fail: Fail,
) -> None:
    story, _ = fail(["BEGIN", *ADDS, REFUSED, "COMMIT"], "statement")
    assert truth(story).landed.replayed.landed == columns(story) == 0


@pytest.mark.fault(
    "a duplicate",
    "within a file",
    "a file, statement by statement",
    "the repair makes the file whole, and the run goes on",
)
def test_the_cause_gone_a_file_that_landed_in_part_is_made_whole_and_the_run_goes_on(
    fail: Fail,
) -> None:
    story, error = fail(
        [ADDS[0], 'CREATE UNIQUE INDEX "kind_once" ON "Visit" ("kind")', ADDS[1]], "statement"
    )
    assert error.cause == Cause.UNIQUE.value and columns(story) == 1
    with Database(Target.parse(story.url)) as db:
        db.execute('UPDATE "Visit" SET kind = id::text')
    forward(story)
    assert columns(story) == 2 and story.history()[-1] == (NAME, "finished")
    assert (
        story.phase.run.outcome == "aborted" and "Already applied" in story.again().deploy().title
    )


@pytest.mark.fault(
    "a foreign lock, lock timeout",
    "before the first statement",
    "a file in one transaction",
    "nothing landed; rolled back by record, and deployed again",
)
def test_the_cause_gone_a_file_of_which_nothing_landed_is_deployed_again(fail: Fail) -> None:
    story, error = fail(
        ADDS[:1],
        during=lambda story: None,
        seen=MIGRATION_WAITS,
        lock_timeout_s=0.5,
        guard={"wait_s": 15.0},
        target=lambda target: _held(target, holders := []) or target,
    )
    assert error.cause == Cause.LOCK_TIMEOUT.value and columns(story) == 0
    _held.sessions.pop().close()
    forward(story)
    assert story.history() == [(NAME, "rolled back")]
    assert "1 files applied" in story.again().deploy().title and columns(story) == 1


def _held(target: Target, keep: list[object]) -> None:
    """Somebody's open transaction on the table."""
    db = Database(target, "monthly-report")
    db.execute("BEGIN")
    db.execute('SELECT count(*) FROM "Visit"')
    _held.sessions.append(db)


_held.sessions = []  # type: ignore[attr-defined]


@pytest.mark.fault(
    "a foreign lock, lock timeout",
    "within a statement",
    "CREATE INDEX CONCURRENTLY alone",
    "the invalid index is named, dropped and built again",
)
def test_an_index_that_a_cancelled_build_left_invalid_is_named_dropped_and_built_again(
    fail: Fail,
) -> None:
    story, error = fail(
        ['CREATE INDEX CONCURRENTLY "by_kind" ON "Visit" ("kind")'],
        during=lambda story: None,
        seen=MIGRATION_WAITS,
        lock_timeout_s=0.5,
        guard={"wait_s": 15.0},
        target=lambda target: _held(target, []) or _written(target),
    )
    found = truth(story).landed.replayed
    assert (
        error.cause == Cause.LOCK_TIMEOUT.value
        and found.invalid == ("public.by_kind",)
        and not found.untouched
    )
    _held.sessions.pop().close()
    forward(story)
    with Database(Target.parse(story.url)) as db:
        assert db.value(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_kind'::regclass"
        ) and story.history()[-1] == (NAME, "finished")


def _written(target: Target) -> Target:
    """That transaction has written, too: an index built beside it has to wait."""
    _held.sessions[-1].execute('UPDATE "Visit" SET kind = kind WHERE id = 1')
    return target


SLEEP = [ADDS[0], "SELECT pg_sleep(60)", ADDS[1]]


@pytest.mark.fault(
    "the Prisma CLI and its engine, kill -9",
    "within a statement",
    "a file, sent by {mode}",
    "nobody at work; what is said is what the server holds",
)
@pytest.mark.parametrize("mode", ["file", "statement"])
def test_the_cli_killed_in_the_middle_of_a_statement(fail: Fail, mode: str) -> None:
    story, error = fail(SLEEP, mode, during=_kill_cli)
    found = truth(story).landed
    assert error.cause == Cause.KILLED.value and found.at_work == () and story.left() == []
    assert found.replayed.landed in (columns(story), columns(story) + 1) and columns(story) == (
        1 if mode == "statement" else 0
    )


def _kill_cli(story: Night) -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "prisma" in " ".join(child.cmdline()) or "schema-engine" in " ".join(
                child.cmdline()
            ):
                child.send_signal(signal.SIGKILL)


@pytest.mark.fault(
    "one server process, kill -9",
    "within a statement",
    "a file in one transaction",
    "named; nothing landed",
)
def test_the_server_crashing_in_the_middle_of_a_statement(fail: Fail) -> None:
    story, error = fail(SLEEP, during=_crash)
    assert (
        error.cause == Cause.SERVER_CRASHED.value
        and "95_troubleshoot.ipynb#Lost-sessions" in error.remedy
    )
    found = truth(story).landed
    assert found.replayed.landed == columns(story) == 0 and found.at_work == ()


def _crash(story: Night) -> None:
    """One server process killed: the server ends all others and recovers."""
    with Database(Target.parse(story.url)) as db:
        pid = db.value(
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name LIKE 'runbook/%/migrate/prisma' AND wait_event = 'PgSleep'"
        )
    os.kill(pid, signal.SIGKILL)


class Cable:
    """A way to the server that stops passing bytes, without closing anything, once it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._server, self._whole, self._sockets = (
            (host, port),
            threading.Event(),
            list[socket.socket](),
        )
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(self._server)
            self._sockets += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self._whole.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def cable() -> Iterator[Callable[[Target], Target]]:
    """Lays a cable to a target."""
    laid: list[Cable] = []

    def lay(target: Target) -> Target:
        laid.append(Cable(target.host, target.port))
        return replace(target, port=laid[-1].port)

    lay.laid = laid  # type: ignore[attr-defined]
    yield lay
    for one in laid:
        one.heal()
        one.close()


@pytest.mark.fault(
    "every connection, stalled, then healed",
    "within a statement",
    "a file in one transaction",
    "the deadline is kept; nothing landed",
)
def test_a_network_that_is_cut_until_the_deadline_and_then_healed(
    fail: Fail, cable: Callable[[Target], Target]
) -> None:
    def cut(story: Night) -> None:
        cable.laid[0].cut()  # type: ignore[attr-defined]
        threading.Timer(9, cable.laid[0].heal).start()  # type: ignore[attr-defined]

    story, error = fail(SLEEP, during=cut, target=cable, deadline_s=6.0)
    assert error.cause in (Cause.KILLED.value, Cause.CONNECTION_LOST.value)
    deadline = time.monotonic() + 60
    while (found := truth(story).landed).at_work and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found.replayed.landed == columns(story) == 0


@pytest.mark.fault(
    "the server's disk, full",
    "within a statement",
    "a file, statement by statement",
    "said; with room, the repair makes the file whole",
)
def test_a_full_disk_fails_the_file_and_with_more_room_it_is_made_whole(
    fail: Fail, small_disk: SmallDisk
) -> None:
    story, error = fail(
        [
            f'CREATE TABLE "Big" (body TEXT) TABLESPACE {small_disk.tablespace}',
            'INSERT INTO "Big" SELECT repeat(md5(g::text), 60) FROM generate_series(1, 20000) AS g',
        ],
        "statement",
    )
    assert (
        error.cause == Cause.DISK_FULL.value and "95_troubleshoot.ipynb#Disk-space" in error.remedy
    )
    assert (
        "could not be replayed" in truth(story).landed.replayed.why
    )  # the copy finds the disk as full
    small_disk.grow()
    assert truth(story).landed.replayed.landed == 1
    forward(story)
    with Database(Target.parse(story.url)) as db:
        assert db.value('SELECT count(*) FROM "Big"') == 20000
