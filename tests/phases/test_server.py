"""The server in the minute before the migration: who and what is in the way is named, and what
cannot be seen is unknown.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbook_lib.check import Check, Status
from runbook_lib.phases import server
from runbook_lib.postgres import disk, locks
from runbook_lib.postgres.connection import Database, Target
from tests.phases.conftest import Night

NEXT = {"20260201000000_next": 'ALTER TABLE "Patient" ADD COLUMN "seen" INTEGER;\n'}
Make = Callable[..., Night]


def found(night: Night, id: str) -> Check:
    return {one.id: one for one in server.minute_checks(night.phase)}[f"migrate.{id}"]


def test_nothing_is_in_the_way_of_a_quiet_night(night: Make) -> None:
    story = night(NEXT)
    checks = server.minute_checks(story.phase)
    assert [one.id for one in checks] == [
        f"migrate.{name}"
        for name in ("run", "alone", "transactions", "prepared", "disk", "replication")
    ]
    assert all(one.status is Status.PASSED for one in checks), checks
    assert server.affected_tables(story.phase) == ['public."Patient"']


def test_an_old_transaction_on_an_affected_table_is_named_and_one_elsewhere_is_not(
    night: Make,
) -> None:
    story = night(NEXT, max_transaction_s=0.001)
    story.holding('SELECT count(*) FROM "Visit"', "elsewhere")
    assert found(story, "transactions").status is Status.PASSED
    story.holding('SELECT count(*) FROM "Patient"')
    seen = found(story, "transactions")
    assert (
        seen.status is Status.FAILED
        and "monthly-report from 127.0.0.1, idle in transaction" in seen.found
        and "elsewhere" not in seen.found
    )
    assert (
        'on public."Patient"' in seen.found
        and 'none older than 0.001 s on public."Patient"' in seen.expected
    )


def test_a_plan_that_locks_nothing_is_hindered_by_nobody_and_one_that_is_not_known_by_anybody(
    night: Make,
) -> None:
    story = night(
        {"20260201000000_next": 'CREATE TABLE "Note" ("id" INTEGER);\n'}, max_transaction_s=0.001
    )
    story.holding('SELECT count(*) FROM "Visit"', "elsewhere")
    assert (
        found(story, "transactions").status is Status.PASSED
        and "it locks none that exists" in found(story, "transactions").expected
    )
    (story.phase.run.folder / "evidence" / "plan.review.json").unlink()
    assert (
        found(story, "transactions").status is Status.FAILED
        and "elsewhere" in found(story, "transactions").found
    )


def test_who_migrates_already_is_named_with_where_from_and_since_when(night: Make) -> None:
    story = night(NEXT)
    story.db("other-deployer").execute("SELECT pg_advisory_lock(72707369)")
    with (
        Database(Target.parse(story.url).named("postgres"), "runbook/other/migrate") as admin,
        locks.advisory_lock(admin, Target.parse(story.url).database),
    ):
        for id, name in (("alone", "other-deployer"), ("run", "runbook/other/migrate")):
            seen = found(story, id)
            assert (
                seen.status is Status.FAILED
                and f"application “{name}” from 127.0.0.1, connected since 20" in seen.found
            )


def test_a_prepared_transaction_is_named(night: Make) -> None:
    story, db = (made := night(NEXT)), made.db()
    db.execute("BEGIN")
    db.execute("CREATE TABLE p ()")
    db.execute("PREPARE TRANSACTION 'left'")
    assert (
        found(story, "prepared").status is Status.FAILED
        and "left of postgres" in found(story, "prepared").found
    )
    db.execute("ROLLBACK PREPARED 'left'")


def test_the_disk_has_to_be_free_after_what_the_plan_needs_and_a_person_looks_if_that_is_unknown(
    night: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = night(NEXT)
    monkeypatch.setattr(
        disk, "_measured", lambda place, path: disk.Disk(place, path, 40 * 2**30, 100 * 2**30)
    )
    preflight = lambda: server.disk_check(story.phase.db, "environment.disk", story.phase)  # noqa: E731
    assert (
        "did not measure" in found(story, "disk").found
        and found(story, "disk").status is Status.PASSED
        and preflight().status is Status.UNKNOWN
    )
    story.phase.run.write_evidence(
        "rehearsal", {"wal_bytes": 10 * 2**30, "size_growth_bytes": -5, "peak_bytes": 20 * 2**30}
    )
    for limit, status in ((5, Status.PASSED), (30, Status.FAILED)):
        monkeypatch.setattr(
            story.phase,
            "params",
            story.phase.params.model_copy(
                update={
                    "backup": story.phase.params.backup.model_copy(
                        update={"disk_free_percent": limit}
                    )
                }
            ),
        )
        seen = preflight()
        assert seen.status is status and found(story, "disk").status is status
    assert seen.found.startswith(
        "data directory: 40.0 GiB of 100.0 GiB free, 40 %; needed are 30.0 GiB (10.0 GiB of "
        "write-ahead log, 20.0 GiB for the tables, "
    )
    assert (
        "MiB for a copy restored beside); afterwards 10 %" in seen.found
        and "10.0 % free afterwards — too little" in server.disk_chart(story.phase).svg
    )
    monkeypatch.setattr(disk, "_proven", lambda *_: False)
    assert found(story, "disk").status is preflight().status is Status.UNKNOWN


def test_a_slot_that_keeps_back_too_much_is_named(night: Make) -> None:
    story = night(NEXT, monitoring={"replica_lag_mb": 1.0})
    db = story.db()
    assert found(story, "replication").found == "there are none"
    db.execute("CHECKPOINT")
    db.execute("SELECT pg_create_physical_replication_slot('standby', true)")
    try:
        assert found(story, "replication").status is Status.PASSED
        db.execute(
            "CREATE TABLE filler AS SELECT g, repeat('x', 100) FROM generate_series(1, 30000) AS g"
        )
        assert (
            found(story, "replication").status is Status.FAILED
            and "physical slot standby (inactive)" in found(story, "replication").found
        )
    finally:
        db.execute("SELECT pg_drop_replication_slot('standby')")


def test_a_look_that_takes_too_long_is_unknown_and_the_others_are_made(
    night: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = night(NEXT)
    monkeypatch.setattr(server, "LOOK_S", 0.2)
    monkeypatch.setattr(
        server.activity, "holders", lambda db, tables: db.execute("SELECT pg_sleep(10)")
    )
    checks = {one.id: one.status for one in server.minute_checks(story.phase)}
    assert checks.pop("migrate.transactions") is Status.UNKNOWN and set(checks.values()) == {
        Status.PASSED
    }
