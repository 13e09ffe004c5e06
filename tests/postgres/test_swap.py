"""The swap of two databases: atomic, resumable, and the failed one kept."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from faults import arrived, process, until

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError, GateError, UsageError
from runbook_lib.postgres import databases
from runbook_lib.postgres import swap as module
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.postgres.swap import Stage, Swapped, state, swap
from runbook_lib.postgres.tools import Tools

NAME = "runbook/test/swap"


@dataclass(frozen=True)
class Three:
    """Three names on one server."""

    server: Target
    live: str
    restored: str
    failed: str

    @property
    def names(self) -> tuple[str, str, str]:
        return self.live, self.restored, self.failed

    def run(self, **more: object) -> Swapped:
        return swap(self.server, *self.names, NAME, **more)


@pytest.fixture
def three(server: Server, admin: Database) -> Iterator[Three]:
    """A live database (table `live`) and a restored one (table `restored`), with odd names."""
    target = Target.parse(server.url())
    found = Three(target, "clinic live", "clinic-Restored", "clinic_failed")
    for name, table in ((found.live, "live"), (found.restored, "restored")):
        admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier(name)))
        with Database(target.named(name)) as db:
            db.execute(f"CREATE TABLE {table} ()")
    databases.comment_on(admin, found.live, "ours")
    yield found
    for name in found.names:
        databases.drop(admin, name)


def holds(target: Target, name: str, table: str) -> bool:
    with Database(target.named(name)) as db:
        return bool(db.value("SELECT to_regclass(%s) IS NOT NULL", [table]))


def test_twenty_idle_sessions_are_ended_and_the_names_swapped(
    three: Three, admin: Database
) -> None:
    oids = [databases.entry(admin, name).oid for name in three.names[:2]]
    idle = [Database(three.server.named(three.live)) for _ in range(19)] + [
        Database(three.server.named(three.restored))
    ]
    done = three.run(expected_live_oid=oids[0])
    assert (done.live_oid, done.failed_oid, done.sessions_ended) == (oids[1], oids[0], 20)
    assert holds(three.server, three.live, "restored") and holds(three.server, three.failed, "live")
    with pytest.raises(DatabaseError):
        idle[0].value("SELECT 1")


def test_the_failed_database_tells_when_and_by_whom(three: Three, admin: Database) -> None:
    three.run()
    comment = databases.entry(admin, three.failed).comment
    assert (
        comment.startswith(f"runbook: failed database, was {three.live} until 20")
        and NAME in comment
        and comment.endswith("its comment was: ours")
    )


def test_a_swap_that_is_done_is_not_done_again(three: Three) -> None:
    first = three.run()
    again = three.run()
    assert (again.live_oid, again.failed_oid, again.sessions_ended) == (
        first.live_oid,
        first.failed_oid,
        0,
    )


@pytest.mark.fault(
    "the runbook, interrupted",
    "the swap: between the renames",
    "the way back",
    "a rerun finishes it",
)
def test_a_swap_interrupted_between_the_renames_is_finished_by_a_rerun(
    three: Three, admin: Database
) -> None:
    found = state(admin, *three.names)
    databases.comment_on(admin, three.live, module._note(found, NAME, "ours"))
    admin.execute(
        sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false").format(identifier(three.live))
    )
    admin.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
            identifier(three.live), identifier(three.failed)
        )
    )
    assert state(admin, *three.names).stage is Stage.BETWEEN
    three.run()
    assert state(admin, *three.names).stage is Stage.DONE and holds(
        three.server, three.live, "restored"
    )


KILLED = {
    "before the first rename": ("databases.rename = here", Stage.CLOSED),
    "between the renames": (
        "left = [here, databases.rename]; databases.rename = lambda *names: left.pop()(*names)",
        Stage.CLOSED,
    ),
    "after the renames, before anything is open": (
        "left = [here, swap._open, swap._open]; swap._open = lambda *more: left.pop()(*more)",
        Stage.RENAMED,
    ),
    "before the failed one is open": (
        "left = [here, swap._open, swap._open, swap._open]; swap._open = lambda *more: "
        "left.pop()(*more)",
        Stage.RENAMED,
    ),
}


@pytest.mark.fault(
    "the runbook, kill -9", "the swap: {point}", "the way back", "a rerun finishes it"
)
@pytest.mark.parametrize("point", KILLED)
def test_a_swap_killed_at_any_point_is_finished_by_a_rerun(
    three: Three, admin: Database, point: str
) -> None:
    patch, stage = KILLED[point]
    oids = [databases.entry(admin, name).oid for name in three.names[:2]]
    with process(
        three.server, f"{patch}\nswap.swap(target, *sys.argv[1:], 'killed')", *three.names
    ) as child:
        assert arrived(child)
        child.kill()
        until(
            lambda: (
                not admin.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killed'"
                )
            ),
            "the session ended",
        )
    assert state(admin, *three.names).stage is stage
    done = three.run(expected_live_oid=oids[0])
    assert (done.live_oid, done.failed_oid) == (oids[1], oids[0]) and state(
        admin, *three.names
    ).stage is Stage.DONE
    assert holds(three.server, three.live, "restored") and holds(three.server, three.failed, "live")


@pytest.mark.fault(
    "the runbook, kill -9", "the swap: between the renames", "the way back", "it can be taken back"
)
def test_a_swap_killed_between_the_renames_can_be_taken_back(three: Three, admin: Database) -> None:
    with process(
        three.server,
        f"{KILLED['between the renames'][0]}\nswap.swap(target, *sys.argv[1:], 'killed')",
        *three.names,
    ) as child:
        assert arrived(child)
        child.kill()
        until(
            lambda: (
                not admin.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killed'"
                )
            ),
            "the session ended",
        )
    found = module.reopen(three.server, *three.names, NAME)
    assert (
        found.stage is Stage.NOT_BEGUN
        and found.live.comment == "ours"
        and holds(three.server, three.live, "live")
    )
    assert holds(three.server, three.restored, "restored")


@pytest.mark.fault(
    "the runbook, interrupted",
    "the swap: before the renames",
    "the way back",
    "the live database stays open",
)
def test_an_interrupt_before_the_renames_leaves_the_live_database_open(
    three: Three, admin: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(databases, "terminate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        three.run()
    found = state(admin, *three.names)
    assert (
        found.stage is Stage.NOT_BEGUN
        and found.live.comment == "ours"
        and holds(three.server, three.live, "live")
    )


@pytest.mark.fault(
    "the server session, terminated",
    "the swap: before {before}",
    "the way back",
    "the live database stays open, and the loss is what is shown",
)
@pytest.mark.parametrize("before", ["terminate", "rename"])
def test_a_session_lost_before_the_renames_leaves_the_live_database_open_and_is_what_is_shown(
    three: Three, admin: Database, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    real = getattr(databases, before)

    def lost(db: Database, *arguments: object) -> object:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [db.pid])
        return real(db, *arguments)

    monkeypatch.setattr(databases, before, lost)
    with pytest.raises(DatabaseError, match="57P01"):
        three.run()
    found = state(admin, *three.names)
    assert (found.stage, found.live.comment) == (Stage.NOT_BEGUN, "ours")
    assert holds(three.server, three.live, "live") and found.restored.open


@pytest.mark.fault(
    "the second rename, refused",
    "the swap: between the renames",
    "the way back",
    "the first is undone",
)
def test_the_second_rename_failing_undoes_the_first(
    three: Three, admin: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = databases.rename

    def fails(db: Database, old: str, new: str) -> None:
        real(db, old if old == three.live else "not there", new)

    monkeypatch.setattr(databases, "rename", fails)
    with pytest.raises(DatabaseError, match="invalid catalog name"):
        three.run()
    assert state(admin, *three.names).stage is Stage.NOT_BEGUN and holds(
        three.server, three.live, "live"
    )


@pytest.mark.fault(
    "the restored database, half there",
    "the swap: before the renames",
    "the way back",
    "it is never swapped in",
)
def test_a_half_restored_database_is_never_swapped_in(three: Three, admin: Database) -> None:
    databases.comment_on(
        admin, three.restored, f"{databases.UNFINISHED}of backup x, session 999999/1.5"
    )
    with pytest.raises(UsageError, match="not restored to its end"):
        three.run()
    assert holds(three.server, three.live, "live")


@pytest.mark.fault(
    "the runbook, kill -9", "the swap: before the renames", "the way back", "it can be taken back"
)
def test_a_swap_killed_before_the_renames_can_be_taken_back(three: Three, admin: Database) -> None:
    databases.comment_on(admin, three.live, module._note(state(admin, *three.names), NAME, "ours"))
    module._open(admin, three.live, False)
    assert state(admin, *three.names).stage is Stage.CLOSED
    found = module.reopen(three.server, *three.names, NAME)
    assert (
        found.stage is Stage.NOT_BEGUN
        and found.live.comment == "ours"
        and holds(three.server, three.live, "live")
    )
    three.run()
    with pytest.raises(UsageError, match="done"):
        module.reopen(three.server, *three.names, NAME)


def test_prepared_transactions_are_named_and_hold_it_up(three: Three, admin: Database) -> None:
    with Database(three.server.named(three.live)) as db:
        db.execute("BEGIN")
        db.execute("CREATE TABLE p ()")
        db.execute("PREPARE TRANSACTION 'forgotten'")
        with pytest.raises(
            GateError, match="prepared transaction 'forgotten' of postgres in .* live"
        ):
            three.run()
        db.execute("ROLLBACK PREPARED 'forgotten'")
    assert state(admin, *three.names).stage is Stage.NOT_BEGUN


def test_an_active_logical_slot_is_named_and_an_idle_one_is_no_obstacle(
    three: Three, admin: Database, programs: Tools
) -> None:
    with Database(three.server.named(three.live)) as db:
        db.execute("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')")
        db.execute("CREATE PUBLICATION p")
    command = [
        programs.path("pg_recvlogical"),
        "-d",
        f"dbname='{three.live}'",
        "--slot=follower",
        "--start",
        "-f",
        "-",
        "-o",
        "proto_version=1",
        "-o",
        "publication_names=p",
    ]
    reader = subprocess.Popen(
        command, env={**os.environ, **three.server.environment(NAME)}, stdout=subprocess.DEVNULL
    )
    try:
        while not admin.value("SELECT active FROM pg_replication_slots"):
            time.sleep(0.02)
        with pytest.raises(GateError, match="active logical replication slot follower in .* live"):
            three.run()
    finally:
        reader.terminate()
        reader.wait()
    while admin.value("SELECT active FROM pg_replication_slots"):
        time.sleep(0.02)
    assert three.run().failed == three.failed
    with Database(three.server.named(three.failed)) as db:
        db.execute("SELECT pg_drop_replication_slot('follower')")


def test_another_database_under_the_live_name_is_refused(three: Three) -> None:
    with pytest.raises(UsageError, match="another database than the one that was planned for"):
        three.run(expected_live_oid=1)


@pytest.mark.parametrize("make", ["failed", "drop restored"])
def test_a_state_that_no_swap_leaves_is_refused(three: Three, admin: Database, make: str) -> None:
    if make == "failed":
        admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier(three.failed)))
    else:
        databases.drop(admin, three.restored)
    with pytest.raises(UsageError, match="unclear"):
        three.run()
    assert holds(three.server, three.live, "live")
