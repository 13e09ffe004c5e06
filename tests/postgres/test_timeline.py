"""Who held which lock from when to when, who waited behind whom; and what was not seen is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import timeline
from runbook_lib.postgres.connection import Database, Target

PRISMA = "runbook/test/rehearse/prisma"


@contextmanager
def waiting(target: Target, name: str, statement: str) -> Iterator[None]:
    """Somebody whose statement waits, until the block is left."""
    with Database(target, name) as db:
        thread = threading.Thread(target=lambda: _run(db, statement))
        thread.start()
        yield
        db.cancel()
        thread.join()


def _run(db: Database, statement: str) -> None:
    try:
        db.execute(statement)
    except DatabaseError:
        return


def looked_on(target: Target, looks: int = 4) -> timeline.Timeline:
    """What was seen in some looks."""
    with timeline.Sampler(target, "runbook/test/rehearse/sampler", PRISMA) as sampler:
        deadline = time.monotonic() + 60
        while sampler.timeline().looks < looks and time.monotonic() < deadline:
            time.sleep(0.02)
    return sampler.timeline()


def test_who_holds_and_who_waits_behind_whom(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)")
    with (
        Database(target, PRISMA) as prisma,
        Database(target, "app") as app,
        prisma.transaction(),
        app.transaction(),
    ):
        prisma.execute("ALTER TABLE t ADD a int")
        prisma.execute("LOCK TABLE t IN SHARE MODE")
        app.execute("LOCK TABLE other")
        with waiting(target, "runbook/test/rehearse/reader", "SELECT * FROM t"):
            found = looked_on(target)
    holds = [(s.table, s.who, s.mode) for s in found if s.what == timeline.HOLDS]
    assert holds == [("public.t", "prisma", "AccessExclusiveLock")], (
        "its strongest lock, and of nobody else"
    )
    waits = next(s for s in found if s.what == timeline.WAITS)
    assert (waits.table, waits.who, waits.mode, waits.behind) == (
        "public.t",
        "reader",
        "AccessShareLock",
        ("prisma",),
    )
    assert (
        "A reader waited longest" in found.finding
        and found.as_dict()["spans"][0]["table"] == "public.t"
    )


def test_the_migration_waits_for_somebody_unseen(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int)")
    with Database(target, "report") as report, report.transaction():
        report.execute("SELECT * FROM t")
        with waiting(target, PRISMA, "ALTER TABLE t ADD a int"):
            found = looked_on(target)
    waits = [s for s in found if s.what == timeline.WAITS]
    assert [(s.who, s.behind) for s in waits] == [("prisma", ("another session",))]


def test_a_wait_for_a_row_is_told_with_its_table(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)")
    with Database(target, PRISMA) as prisma, prisma.transaction():
        prisma.execute("UPDATE t SET a = 2")
        with waiting(target, "runbook/test/rehearse/writer", "UPDATE t SET a = 3"):
            found = looked_on(target)
    assert [(s.table, s.mode, s.behind) for s in found if s.what == timeline.WAITS] == [
        ("public.t", "a row", ("prisma",))
    ]


def test_a_lock_that_ends_and_comes_again_is_two_spans(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int)")
    with (
        timeline.Sampler(target, "runbook/test/rehearse/sampler", PRISMA) as sampler,
        Database(target, PRISMA) as prisma,
    ):
        for _ in range(2):
            with prisma.transaction():
                prisma.execute("LOCK TABLE t")
                time.sleep(0.4)
            time.sleep(0.4)
    first, second = sampler.timeline()
    assert first.end_s <= second.start_s and first.table == second.table


def test_nobody_waits(db: Database, target: Target) -> None:
    found = looked_on(target)
    assert found.spans == () and f"in {found.looks} looks" in found.finding


def test_looks_that_ended_early_say_so(db: Database, target: Target) -> None:
    with timeline.Sampler(target, "runbook/test/rehearse/sampler", PRISMA) as sampler:
        db.execute("SELECT pg_terminate_backend(%s)", [sampler.db.pid])
        deadline = time.monotonic() + 60
        while not sampler.timeline().lost and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "the looks ended early" in sampler.timeline().finding
