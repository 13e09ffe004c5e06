"""Readers and writers at a steady rate: who is stopped stalls for as long as he was stopped, and
the content stays.
"""

from __future__ import annotations

import time

import pytest

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import probes, snapshot
from runbook_lib.postgres.connection import Database, Target

NAME = "runbook/test/load"
TABLES = [
    "public.t",
    'public."odd % {} name"',
    "public.keyless",
    "public.empty",
    "public.always",
    "public.pair",
    "public.gone",
]
SETUP = """
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT g, g FROM generate_series(1, 100) AS g;
CREATE TABLE "odd % {} name" ("k%" text PRIMARY KEY);
INSERT INTO "odd % {} name" VALUES ('secretkey');
CREATE TABLE keyless (a int); INSERT INTO keyless VALUES (1);
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    twice int GENERATED ALWAYS AS (1) STORED); INSERT INTO always DEFAULT VALUES;
CREATE TABLE pair (a int, b text, note text, PRIMARY KEY (b, a));
INSERT INTO pair VALUES (1, 'x', 'n');
CREATE TABLE audit (at timestamptz);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit
    VALUES (now()); RETURN NEW; END $$;
CREATE TRIGGER noted BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
"""


@pytest.fixture
def platform(db: Database) -> Database:
    db.execute(SETUP)
    return db


def by_probe(stalls: probes.Stalls) -> dict[tuple[str, str], probes.Stall]:
    return {(one.table, one.kind): one for one in stalls}


def test_every_kind_of_table_is_asked_and_nothing_of_its_content_changes(
    platform: Database, target: Target
) -> None:
    before = snapshot.take(target, NAME)
    with probes.Load(target, NAME, TABLES) as load:
        time.sleep(0.5)
    found = load.stalls()
    assert {one.table for one in found} == {*TABLES} - {"public.gone"} and found.left_out == ()
    assert all(one.requests and not one.errors and one.p99_s <= one.longest_s for one in found), (
        str(found)
    )
    asks = {one.table: one.by for one in found if one.kind == probes.WRITER}
    assert {name for name, by in asks.items() if "alone" in by} == {
        "public.keyless",
        "public.empty",
        "public.always",
    }
    assert before.compare(snapshot.take(target, NAME)).identical
    assert "secretkey" not in str(found) + str(found.as_dict())


def test_whoever_is_stopped_stalls_from_when_he_was_due(platform: Database, target: Target) -> None:
    with probes.Load(target, NAME, ["public.t", "public.pair"]) as load, platform.transaction():
        platform.execute("LOCK TABLE t IN SHARE MODE")
        locked = time.monotonic()
        time.sleep(0.5)
        held = time.monotonic() - locked
    found = by_probe(load.stalls())
    writer = found["public.t", probes.WRITER]
    assert writer.longest_s >= held - load.every_s and load.stalls().worst == writer
    stopped = [wait for _, wait in writer.samples if wait >= held / 2]
    assert len(stopped) >= int(held / 2 / load.every_s) - 1, (
        "each request that was due meanwhile counts, not the first alone"
    )
    assert found[
        "public.t", probes.READER
    ].longest_s < writer.longest_s and "a writer of public.t" in str(load.stalls())


def test_a_row_that_is_locked_stops_its_writers(platform: Database, target: Target) -> None:
    with probes.Load(target, NAME, ["public.t"]) as load, platform.transaction():
        platform.execute("UPDATE t SET a = a + 1")
        locked = time.monotonic()
        time.sleep(0.3)
        held = time.monotonic() - locked
    assert by_probe(load.stalls())["public.t", probes.WRITER].longest_s >= held - load.every_s


def test_what_is_refused_is_counted_and_the_probe_goes_on(
    platform: Database, target: Target
) -> None:
    with probes.Load(target, NAME, ["public.t"]) as load:
        platform.execute("DROP TABLE t")
        time.sleep(0.2)
    found = by_probe(load.stalls())["public.t", probes.READER]
    assert set(found.errors) == {"42P01"} and found.errors["42P01"] > 1
    assert f"{found.errors['42P01']} × 42P01" in str(load.stalls())


def test_a_load_ends_though_its_requests_are_stopped(
    platform: Database, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "GRACE_S", 0.1)
    with Database(target) as other, other.transaction():
        with probes.Load(target, NAME, ["public.t"]) as load:
            other.execute("LOCK TABLE t")
            time.sleep(0.2)
        assert all(one.errors == {"57014": 1} and one.longest_s >= 0.1 for one in load.stalls())
    assert (
        platform.value(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name LIKE 'runbook/test/load/%%'",
            (),
        )
        == 0
    )


def test_an_error_in_its_block_ends_it_at_once(platform: Database, target: Target) -> None:
    with pytest.raises(ZeroDivisionError), probes.Load(target, NAME, TABLES):
        raise ZeroDivisionError
    deadline = time.monotonic() + 60
    while platform.value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runbook/test/load/%%'",
        (),
    ):
        assert time.monotonic() < deadline


def test_tables_for_which_there_are_too_many_are_named(
    platform: Database, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "MOST_TABLES", 1)
    with probes.Load(target, NAME, ["public.t", "public.pair"]) as load:
        pass
    found = load.stalls()
    assert (
        len({one.table for one in found}) == 1
        and len(found.left_out) == 1
        and "too many tables" in str(found)
    )


def test_no_table_is_no_load(target: Target) -> None:
    with probes.Load(target, NAME, []) as load:
        pass
    assert load.stalls().worst is None and "nobody could have stalled" in str(load.stalls())


def test_a_database_that_cannot_be_reached_is_no_load(target: Target) -> None:
    with pytest.raises(DatabaseError), probes.Load(target.named("missing"), NAME, ["public.t"]):
        pass


def test_statements_that_were_recorded_are_planned_and_never_run(
    platform: Database, target: Target
) -> None:
    platform.execute("CREATE EXTENSION pg_stat_statements")
    for number in range(3):
        platform.execute("INSERT INTO t VALUES (%s, 5)", [1000 + number])
        platform.execute(
            "SELECT * FROM t JOIN pair USING (a) WHERE id = 4711 AND \"note\" LIKE '50%'"
        )
    platform.execute("SELECT count(*) FROM empty")
    before = snapshot.take(target, NAME)
    with (
        Database(target, NAME) as live,
        probes.Load(target, NAME, ["public.t"], live=live) as load,
        platform.transaction(),
    ):
        platform.execute("LOCK TABLE t IN SHARE MODE")
        locked = time.monotonic()
        time.sleep(0.4)
        held = time.monotonic() - locked
    found = [one for one in load.stalls() if one.kind.startswith("recorded")]
    assert (
        {one.table for one in found} == {"public.t"}
        and len(found) >= 2
        and not any(one.errors for one in found)
    ), str(load.stalls())
    assert {one.longest_s >= held - load.every_s for one in found} == {True, False}, (
        "the INSERT is stopped, the SELECT is not"
    )
    assert before.compare(snapshot.take(target, NAME)).identical and "INSERT" not in str(
        load.stalls()
    ) + str(load.stalls().as_dict())


def test_a_table_without_a_probe_is_marked_as_not_known() -> None:
    found = probes.Stalls((), 0.1, ("public.many",)).table()
    assert (len(found), list(found.marks)) == (1, ["unknown"])
