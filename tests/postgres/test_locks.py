"""Who waits for whom, and only those; our own sessions stopped, and only ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from runbook_lib.errors import DatabaseError, GateError
from runbook_lib.postgres import activity, locks
from runbook_lib.postgres.connection import Database, Target


@contextmanager
def waiting(target: Target, statement: str, name: str = "app") -> Iterator[Database]:
    """A session that runs a statement which waits for a lock; its error, if it is cancelled, is
    what is expected.
    """
    db = Database(target, name)

    def run() -> None:
        try:
            db.execute(statement)
        except DatabaseError:
            return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield db
    finally:
        db.cancel()
        thread.join()
        db.close()


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nobody_waits(still: Database) -> None:
    found = locks.blockers(still)
    assert (
        not found.waits
        and str(found) == "no session waits for a lock"
        and found.table().title == "No session waits for a lock"
    )


def test_the_tree_is_true_where_an_alter_queues_behind_a_reader(
    db: Database, target: Target
) -> None:
    db.execute("CREATE TABLE t (id int); CREATE TABLE other (id int)")
    with ExitStack() as stack:
        forgotten, writer = (
            stack.enter_context(Database(target, name)) for name in ("forgotten", "unrelated")
        )
        stack.enter_context(forgotten.transaction())
        stack.enter_context(writer.transaction())
        forgotten.execute("SELECT * FROM t")
        writer.execute("INSERT INTO other VALUES (1)")
        alter = stack.enter_context(waiting(target, "ALTER TABLE t ADD a int", "runbook/x/migrate"))
        until(lambda: len(locks.blockers(db).waits) == 1)
        reader = stack.enter_context(waiting(target, "SELECT * FROM t", "victim"))
        until(lambda: len(locks.blockers(db).waits) == 2)
        found = locks.blockers(db)
        assert [(w.session.pid, w.blocked_by, w.mode, w.on) for w in found.waits] == [
            (alter.pid, (forgotten.pid,), "AccessExclusiveLock", "public.t"),
            (reader.pid, (alter.pid,), "AccessShareLock", "public.t"),
        ]
        assert [root.pid for root in found.roots] == [forgotten.pid]
        assert [w.session.pid for w in found.freed_by([forgotten.pid])] == [alter.pid, reader.pid]
        assert (
            found.in_the_way_of([reader.pid]) == {alter.pid, forgotten.pid}
            and found.in_the_way_of([forgotten.pid]) == set()
        )
        assert [len(line) - len(line.lstrip()) for line in found.tree()] == [
            0,
            4,
            8,
        ] and "application “forgotten”" in found.tree()[0]
        assert {row[0] for row in found.table().rows} == {
            alter.pid,
            reader.pid,
        } and "unrelated" not in str(found)


def test_a_row_lock_is_told(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    with Database(target, "first") as first, first.transaction():
        first.execute("UPDATE t SET id = 2")
        with waiting(target, "UPDATE t SET id = 3"):
            until(lambda: locks.blockers(db).waits)
            wait = locks.blockers(db).waits[0]
            assert (
                wait.blocked_by == (first.pid,)
                and wait.on == "transactionid"
                and wait.session.command == "UPDATE"
            )


def test_a_prepared_transaction_in_the_way_is_told(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int)")
    db.execute("BEGIN")
    db.execute("LOCK TABLE t")
    db.execute("PREPARE TRANSACTION 'left'")
    with waiting(target, "SELECT * FROM t"):
        until(lambda: locks.blockers(db).waits)
        found = locks.blockers(db)
        assert found.waits[0].by_prepared_transaction and "a prepared transaction" in str(found)
        db.execute("ROLLBACK PREPARED 'left'")


def test_cancel_touches_only_sessions_of_that_name_in_this_database(
    db: Database, target: Target, admin: Database
) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(waiting(target, "SELECT pg_sleep(30)", "runbook/1/migrate"))
        others = [
            stack.enter_context(waiting(one, "SELECT pg_sleep(30)", name))
            for one, name in (
                (target, "runbook/10/migrate"),
                (target, "app"),
                (target.named("postgres"), "runbook/1/migrate"),
            )
        ]
        until(
            lambda: (
                admin.value(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
                )
                == 4
            )
        )
        done = locks.cancel(db, "runbook/1")
        assert (done.cancelled, done.ended) == ((ours.pid,), ())
        left = {
            row["pid"]
            for row in admin.rows(
                "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' "
                "AND state = 'active'"
            )
        }
        assert left == {other.pid for other in others}


def test_a_session_that_holds_a_transaction_open_is_ended(db: Database, target: Target) -> None:
    with Database(target, "runbook/1/migrate") as ours:
        ours.execute("BEGIN")
        ours.execute("SELECT 1")
        assert locks.cancel(db, "runbook/1/migrate", wait_s=0.1).ended == (ours.pid,)
        with pytest.raises(DatabaseError):
            ours.execute("SELECT 1")


def test_what_a_client_begins_after_it_was_cancelled_is_left_its_time(
    db: Database, target: Target
) -> None:
    with Database(target, "runbook/1/migrate") as ours:

        def work() -> None:
            with pytest.raises(DatabaseError):
                ours.execute("SELECT pg_sleep(30)")
            ours.execute("SELECT pg_sleep(0.3)")  # as Prisma writes down that a file failed
            tidy.append(True)

        tidy: list[bool] = []
        worker = threading.Thread(target=work)
        worker.start()
        until(
            lambda: (
                db.value(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
                )
                == 1
            )
        )
        assert locks.cancel(db, "runbook/1") == locks.Cancelled((ours.pid,), ())
        worker.join()
        assert tidy


def test_somebody_elses_statement_is_cancelled_and_only_an_open_transaction_costs_the_session(
    db: Database, target: Target
) -> None:
    with (
        waiting(target, "SELECT pg_sleep(30)") as working,
        Database(target, "app") as idle,
        Database(target, "app") as bystander,
    ):
        idle.execute("BEGIN")
        until(lambda: {working.pid, idle.pid} <= {one.pid for one in activity.busy(db)})
        seen = {one.pid: one for one in activity.busy(db)}
        assert (locks.end(db, seen[working.pid], 0.5), locks.end(db, seen[idle.pid], 0.1)) == (
            "cancelled",
            "ended",
        )
        assert bystander.value("SELECT 1") == working.value("SELECT 1") == 1
        with pytest.raises(DatabaseError):
            idle.execute("SELECT 1")


def test_a_transaction_that_has_failed_holds_nothing_and_keeps_its_session(
    db: Database, target: Target
) -> None:
    db.execute("CREATE TABLE t (id int)")
    with waiting(target, "BEGIN; LOCK TABLE t; SELECT pg_sleep(30)") as working:
        until(lambda: [one for one in activity.busy(db) if one.waits_for == "Timeout: PgSleep"])
        assert locks.end(db, next(iter(activity.busy(db))), 0.5) == "cancelled"
        db.execute("LOCK TABLE t NOWAIT; SELECT 1")
        working.execute("ROLLBACK")


def test_a_number_that_another_session_has_by_now_is_left_alone(
    db: Database, target: Target
) -> None:
    with Database(target, "app") as other, other.transaction():
        other.execute("SELECT 1")
        seen = next(one for one in activity.busy(db) if one.pid == other.pid)
        with pytest.raises(DatabaseError, match="has not"):
            locks.end(db, replace(seen, connected_s=seen.connected_s + 3600), 0.1)
        assert other.value("SELECT 1") == 1


def test_cancel_without_a_name_touches_nobody(db: Database, target: Target) -> None:
    with waiting(target, "SELECT pg_sleep(30)", ""), waiting(target, "SELECT pg_sleep(30)", "app"):
        until(
            lambda: (
                db.value(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
                )
                == 2
            )
        )
        assert locks.cancel(db, "") == locks.cancel(db, "/") == locks.Cancelled((), ())


def test_one_run_at_a_time_and_the_other_is_named(db: Database, target: Target) -> None:
    named = "application “runbook/first/migrate” from 127.0.0.1, connected since 20.* UTC"
    with Database(target, "runbook/first/migrate") as first, locks.advisory_lock(first):
        with pytest.raises(GateError, match=named), locks.advisory_lock(db):
            pass
        with locks.advisory_lock(db, "another key"):
            pass
    with locks.advisory_lock(db):
        pass


def test_the_holder_of_a_lock_is_named_in_whichever_database_ours_is_held(
    db: Database, admin: Database, target: Target
) -> None:
    assert locks.holder(db, target.database) == locks.holder(db, 72707369) == ""
    admin.execute("SELECT pg_advisory_lock(72707369)")
    with locks.advisory_lock(admin, target.database), Database(target, "prisma") as prisma:
        assert (
            f"session {admin.pid}, application “{admin.application_name}” from 127.0.0.1, "
            "connected since 20" in locks.holder(db, target.database)
        )
        assert locks.holder(db, 72707369) == "", (
            "Prisma's lock of another database is nobody's business"
        )
        prisma.execute("SELECT pg_advisory_lock(72707369)")
        assert f"session {prisma.pid}, application “prisma”" in locks.holder(db, 72707369)
    admin.execute("SELECT pg_advisory_unlock(72707369)")


def test_our_lock_is_not_prismas(db: Database, target: Target) -> None:
    with Database(target) as prisma:
        prisma.execute("SELECT pg_advisory_lock(72707369)")
        with locks.advisory_lock(db):
            assert db.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 2
