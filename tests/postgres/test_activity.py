"""Who is doing what; never the text of a statement."""

from __future__ import annotations

import threading
import time

import pytest

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import activity
from runbook_lib.postgres.connection import Database, Target


def test_a_session_is_told_without_its_statement(db: Database, target: Target) -> None:
    with Database(target, "app") as other, other.transaction():
        other.execute("SELECT 'Marker McMarkface'")
        found = next(one for one in activity.sessions(db) if one.application == "app")
        assert (found.state, found.command, found.pid) == (
            "idle in transaction",
            "SELECT",
            other.pid,
        ) and found.transaction_s >= 0
        assert "Marker" not in str(activity.sessions(db)) + repr(activity.sessions(db).as_dict())


def test_only_sessions_of_this_database_are_listed(db: Database, admin: Database) -> None:
    assert admin.pid not in [one.pid for one in activity.sessions(db)]
    assert admin.pid in [one.pid for one in activity.everyone(db)]


def test_an_application_name_is_matched_whole_or_up_to_a_slash() -> None:
    assert activity.named("runbook/1", "runbook/1") and activity.named(
        "runbook/1/migrate", "runbook/1"
    )
    assert (
        not activity.named("runbook/10", "runbook/1")
        and not activity.named("x", "")
        and not activity.named("/x", "/")
    )
    assert activity.named("r" * 63, "r" * 63 + "/longer than the server keeps")


def test_who_is_busy_is_told_from_who_is_connected(db: Database, target: Target) -> None:
    with (
        Database(target, "api"),
        Database(target, "api") as holding,
        Database(target, "cron") as other,
    ):
        with holding.transaction(), other.transaction():
            holding.execute("SELECT 1")
            other.execute("SELECT 1")
            assert [one.pid for one in activity.busy(db, ["api"])] == [holding.pid]
            assert {one.pid for one in activity.busy(db)} == {holding.pid, other.pid}
            assert {one.pid for one in activity.idle_in_transaction(db)} == {holding.pid, other.pid}
            assert not list(activity.idle_in_transaction(db, older_than_s=60))
        assert not list(activity.busy(db, ["api"]))


def test_sessions_are_counted_by_application_and_what_they_do(db: Database, target: Target) -> None:
    with Database(target, "api"), Database(target, "api") as holding, holding.transaction():
        holding.execute("SELECT 1")
        found = {one.application: one for one in activity.connected(db)}["api"]
        assert (found.sessions, found.active, found.idle, found.in_transaction) == (
            2,
            0,
            1,
            1,
        ) and found.longest_transaction_s > 0


def test_who_holds_which_tables_is_told_and_nobody_else(db: Database, target: Target) -> None:
    db.execute('CREATE TABLE t (id int); CREATE TABLE "Odd" (id int)')
    with (
        Database(target, "api") as holding,
        Database(target, "other") as other,
        holding.transaction(),
        other.transaction(),
    ):
        holding.execute('SELECT * FROM t, "Odd"')
        other.execute("SELECT 1")
        assert [(one.session.pid, one.tables) for one in activity.holders(db)] == [
            (holding.pid, ('public."Odd"', "public.t"))
        ]
        assert [one.tables for one in activity.holders(db, ["public.t", "public.x"])] == [
            ("public.t",)
        ] and activity.holders(db, ["public.x"]) == ()
        assert "pid" in str(activity.holders(db)[0]) and "idle in transaction" in str(
            activity.holders(db)[0]
        )


def test_a_quiet_database_is_certain_to_be_quiet(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int)")
    first = activity.writes(db)
    assert activity.writes(db).quiet_since(first)
    with Database(target) as other:
        with other.transaction():
            other.execute("INSERT INTO t VALUES (1)")
            assert not activity.writes(db).quiet_since(first) and activity.writes(
                db
            ).writing_pids == (other.pid,)
        second = activity.writes(db)
        assert not second.quiet_since(first) and activity.writes(db).quiet_since(second)


def test_an_old_transaction_that_ends_between_two_newer_looks_is_no_quiet(
    db: Database, target: Target
) -> None:
    db.execute("CREATE TABLE t (id int)")
    with Database(target) as other:
        with other.transaction():
            other.execute("INSERT INTO t VALUES (1)")
            db.execute("INSERT INTO t VALUES (2)")
            first = activity.writes(db)
        assert not activity.writes(db).quiet_since(first)


def test_rows_written_are_counted_by_table(db: Database, target: Target) -> None:
    db.execute("CREATE TABLE t (id int); CREATE TABLE still (id int)")
    first = activity.writes(db)
    with Database(target) as other:
        other.execute("INSERT INTO t SELECT generate_series(1, 5); DELETE FROM t WHERE id = 1")
    deadline = time.monotonic() + 60
    while not (found := activity.writes(db).since(first)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == {"public.t": 6}


def test_the_progress_of_an_index_build_is_told(db: Database, target: Target) -> None:
    db.execute(
        "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS a FROM generate_series(1, 300000) AS g"
    )
    seen: list[activity.Step] = []

    def build() -> None:
        with Database(target, "runbook/x/migrate") as other:
            other.execute('CREATE INDEX by_a ON t (a COLLATE "C", id)')

    builder = threading.Thread(target=build)
    builder.start()
    while builder.is_alive():
        seen += activity.progress(db, application_name_prefix="runbook/x")
        assert not activity.progress(db, application_name_prefix="other")
    assert (
        seen
        and seen[0].what == "create index"
        and seen[0].relation == "public.t"
        and "public.t" in str(seen[0])
    )


def test_prepared_transactions_and_slots_are_listed(db: Database) -> None:
    db.execute("BEGIN")
    db.execute("CREATE TABLE p ()")
    db.execute("PREPARE TRANSACTION 'left'")
    assert [one.name for one in activity.prepared_transactions(db)] == ["left"]
    db.execute("ROLLBACK PREPARED 'left'")
    db.execute("SELECT pg_create_physical_replication_slot('standby')")
    assert [(one.kind, one.name, one.state) for one in activity.replication(db)] == [
        ("physical slot", "standby", "inactive")
    ]
    db.execute("SELECT pg_drop_replication_slot('standby')")


def test_an_unreachable_server_is_an_error_and_never_no_sessions() -> None:
    with pytest.raises(DatabaseError):
        activity.sessions(Database(Target("127.0.0.1", 1, "postgres", "x")))
