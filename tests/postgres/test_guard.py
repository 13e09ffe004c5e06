"""The guard counts those who would go on without the migration, cancels only the migration, and
says by which numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from runbook_lib.postgres import locks
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.guard import Guard, Limits
from tests.postgres.test_locks import until, waiting

OURS = "runbook/x/migrate/prisma"
ALTER = "ALTER TABLE t ADD a int"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def table(db: Database) -> Database:
    db.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    return db


def holding(stack: ExitStack, target: Target, statement: str, name: str = "forgotten") -> Database:
    """Somebody whose transaction stays open after a statement."""
    db = stack.enter_context(Database(target, name))
    stack.enter_context(db.transaction())
    db.execute(statement)
    return db


def queue(
    stack: ExitStack, db: Database, target: Target, *statements: tuple[str, str]
) -> list[Database]:
    """Statements that wait, one after the other, each with the name of its session."""
    found = []
    for number, (statement, name) in enumerate(statements, 1):
        found.append(stack.enter_context(waiting(target, statement, name)))
        until(lambda number=number: len(locks.blockers(db).waits) == number)
    return found


def guard(victims: int = 0, wait_s: float = 60) -> Guard:
    return Guard(OURS, "runbook/x", Limits(victims, wait_s))


def test_who_queues_behind_the_migration_is_a_victim_and_who_waits_for_another_as_well_is_not(
    table: Database, target: Target, stack: ExitStack
) -> None:
    holding(stack, target, "UPDATE t SET id = 2")
    _, reader, *_ = queue(
        stack,
        table,
        target,
        (ALTER, OURS),
        ("SELECT * FROM t", "app"),
        ("LOCK TABLE t; SELECT 1", "job"),
        ("SELECT * FROM t", "app"),
    )
    harm = guard().look(table, locks.blockers(table))
    assert [wait.session.pid for wait in harm.victims] == [
        reader.pid
    ] and "1 sessions of others wait for it" in str(harm)


def test_sessions_of_ours_and_those_that_want_an_advisory_lock_are_no_victims(
    table: Database, target: Target, stack: ExitStack
) -> None:
    mine = holding(stack, target, "SELECT pg_advisory_xact_lock(72707369)", OURS)
    mine.execute("LOCK TABLE t")
    queue(
        stack,
        table,
        target,
        ("SELECT pg_advisory_lock(72707369)", "another deployer"),
        ("SELECT * FROM t", "runbook/x/migrate"),
    )
    assert guard().look(table, locks.blockers(table)).victims == ()


def test_the_queue_behind_a_victim_counts(
    table: Database, target: Target, stack: ExitStack
) -> None:
    holding(stack, target, "UPDATE t SET id = 2", OURS)
    _, behind = queue(
        stack, table, target, ("UPDATE t SET id = 3", "app"), ("UPDATE t SET id = 4", "app")
    )
    harm = guard().look(table, locks.blockers(table))
    assert len(harm.victims) == 2 and behind.pid in [wait.session.pid for wait in harm.victims]


def test_who_waits_for_a_prepared_transaction_is_not_the_migrations_victim(
    table: Database, target: Target, stack: ExitStack
) -> None:
    table.execute("BEGIN")
    table.execute("LOCK TABLE t")
    table.execute("PREPARE TRANSACTION 'left'")
    queue(stack, table, target, (ALTER, OURS), ("SELECT * FROM t", "app"))
    assert guard().look(table, locks.blockers(table)).victims == ()
    table.execute("ROLLBACK PREPARED 'left'")


def test_beyond_the_limit_the_migration_alone_is_cancelled_and_the_numbers_are_kept(
    table: Database, target: Target, stack: ExitStack
) -> None:
    holder, watching = holding(stack, target, "SELECT * FROM t"), guard(victims=1, wait_s=0.05)
    mine, *_ = queue(stack, table, target, (ALTER, OURS), ("SELECT * FROM t", "app"))
    until(lambda: watching.look(table, locks.blockers(table)).longer_than(0.05) == 1)
    assert watching.decisions == []
    queue_of_two = stack.enter_context(waiting(target, "SELECT * FROM t", "app"))
    until(lambda: watching.look(table, locks.blockers(table)) and watching.decisions)
    until(lambda: not locks.blockers(table).waits)
    decision = watching.decisions[0].as_dict()
    assert (decision["victims"], decision["cancelled"], decision["ended"], decision["allowed"]) == (
        2,
        [mine.pid],
        [],
        {"victims": 1, "wait_s": 0.05},
    )
    assert "cancelled by guard: 2 sessions of others had waited longer than 0.05 s" in str(
        watching.decisions[0]
    )
    there = {row["pid"] for row in table.rows("SELECT pid FROM pg_stat_activity")}
    assert {holder.pid, mine.pid, queue_of_two.pid} <= there and len(watching.worst.victims) == 2
    assert holder.value("SELECT 1") == 1


def test_a_migration_that_ended_in_this_moment_was_not_cancelled(
    table: Database, target: Target, stack: ExitStack
) -> None:
    holding(stack, target, "SELECT * FROM t")
    with waiting(target, ALTER, OURS):
        until(lambda: len(locks.blockers(table).waits) == 1)
        with waiting(target, "SELECT * FROM t", "app"):
            until(lambda: len(locks.blockers(table).waits) == 2)
            found, watching = locks.blockers(table), guard(wait_s=0)
            locks.cancel(table, OURS)
            watching.look(table, found)
    assert watching.decisions == []
