"""Scratch databases: ours alone are dropped."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from faults import until

from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.errors import DatabaseError, UsageError, in_full
from runbook_lib.postgres import databases, discard, scratch
from runbook_lib.postgres.connection import Database, Target

NAME = "runbook/test/scratch"


def test_a_scratch_database_is_there_and_then_gone(source: Target, admin: Database) -> None:
    with scratch.scratch(source, "try", NAME) as place, Database(place) as db:
        assert db.value(
            "SELECT current_database()"
        ) == place.database and place.database.startswith("runbook_scratch_try_")
        assert databases.entry(admin, place.database).comment.startswith(
            "runbook scratch: made by runbook/test/scratch at "
        )
        assert not scratch.leftovers(admin).items
    assert databases.entry(admin, place.database) is None


def test_it_is_dropped_with_sessions_connected_and_after_an_error(
    source: Target, admin: Database
) -> None:
    with pytest.raises(ZeroDivisionError), scratch.scratch(source, "try", NAME) as place:
        Database(place)
        raise ZeroDivisionError
    assert databases.entry(admin, place.database) is None


PROVEN = "runbook_scratch_try_20240101_000000_000001_5ca1ab1e"


@pytest.mark.parametrize(
    "name, comment",
    [
        ("runbook_scratch_x", ""),
        ("runbook_scratch_x", "production"),
        ("customers", "runbook scratch: made by me"),
        (PROVEN, ""),
        (PROVEN.upper(), ""),
    ],
)
def test_what_neither_name_nor_comment_proves_ours_is_refused(
    admin: Database, name: str, comment: str
) -> None:
    admin.execute(f'CREATE DATABASE "{name}"')
    databases.comment_on(admin, name, comment)
    try:
        assert name not in [one.name for one in scratch.leftovers(admin)]
        with pytest.raises(UsageError, match="does not prove"):
            scratch.drop(admin, name)
        assert databases.entry(admin, name)
    finally:
        databases.drop(admin, name)


def test_the_target_itself_is_refused(source: Target, admin: Database) -> None:
    with pytest.raises(UsageError, match="does not prove"):
        scratch.drop(admin, source.database)


def test_one_whose_maker_is_gone_is_left_over(admin: Database) -> None:
    admin.execute("CREATE DATABASE runbook_scratch_old")
    databases.comment_on(
        admin,
        "runbook_scratch_old",
        "runbook scratch: made by runbook/x at 2024-01-01 00:00:00 UTC, session 999999/1.5",
    )
    assert [one.name for one in scratch.leftovers(admin)] == ["runbook_scratch_old"]
    assert "runbook_scratch_old" in str(scratch.leftovers(admin))
    scratch.drop(admin, "runbook_scratch_old")
    assert not scratch.leftovers(admin).items


@pytest.fixture
def left(admin: Database) -> Iterator[str]:
    """A scratch database of which nothing is left but itself: its maker was killed an hour ago,
    before it could mark it.
    """
    stem = f"runbook_scratch_try_{datetime.now(UTC) - timedelta(hours=1):%Y%m%d_%H%M%S_%f}"
    name = f"{stem}_{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
    admin.execute(f"CREATE DATABASE {name}")
    yield name
    databases.drop(admin, name)


STATES = {
    "no comment": "",
    "the comment of its original": "COMMENT ON DATABASE {0} IS 'production'",
    "a connection limit": "ALTER DATABASE {0} CONNECTION LIMIT 3",
    "closed": "ALTER DATABASE {0} ALLOW_CONNECTIONS false",
    "invalid, as an interrupted DROP leaves it": (
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{0}'"
    ),
    "a failed database of a swap": "COMMENT ON DATABASE {0} IS 'runbook: failed database, was x "
    "until 2024-01-01 00:00:00 UTC; oid 1, replaced by the restored database with oid 2; me'",
}


@pytest.mark.parametrize("state", STATES)
def test_one_that_is_left_behind_is_found_and_dropped_in_whatever_state(
    admin: Database, left: str, state: str
) -> None:
    if STATES[state]:
        admin.execute(STATES[state].format(left))
    assert [one.name for one in scratch.leftovers(admin)] == [left]
    scratch.clear(admin)
    assert databases.entry(admin, left) is None


HOLDERS = {
    "a prepared transaction": (
        "CREATE TABLE t (id int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'held'"
    ),
    "a subscription": (
        "CREATE SUBSCRIPTION copied CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = "
        "false, slot_name = 'of_the_original')"
    ),
    "an idle replication slot": "SELECT pg_create_logical_replication_slot('idle', 'pgoutput')",
    "a closed database with a subscription": (
        "CREATE SUBSCRIPTION copied CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = "
        "false); UPDATE pg_database SET datallowconn = false WHERE datname = current_database()"
    ),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_on_to_a_scratch_database_is_taken_away(
    admin: Database, left: str, holder: str
) -> None:
    with Database(admin.target.named(left), NAME) as db:
        for statement in HOLDERS[holder].split("; "):
            db.execute(statement)
    scratch.drop(admin, left)
    assert databases.entry(admin, left) is None
    assert admin.value("SELECT count(*) FROM pg_subscription WHERE subname = 'copied'") == 0


def test_a_slot_that_is_read_from_is_freed_first(admin: Database, left: str) -> None:
    place = admin.target.named(left)
    with Database(place, NAME) as db:
        db.execute("SELECT pg_create_logical_replication_slot('read', 'pgoutput')")
    reader = subprocess.Popen(
        [
            BINARIES / "pg_recvlogical",
            "-d",
            left,
            "--start",
            "-S",
            "read",
            "-f",
            "-",
            "-o",
            "proto_version=1",
        ]
        + ["-o", "publication_names=p", "-n"],
        env=place.environment(NAME),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'read'"
        until(lambda: bool(admin.value(active)), "the slot in use")
        scratch.drop(admin, left)
    finally:
        reader.kill()
        reader.wait()
    assert databases.entry(admin, left) is None


def test_what_a_role_may_not_take_away_is_named(admin: Database, left: str) -> None:
    admin.execute(
        f"CREATE ROLE modest LOGIN PASSWORD 'modest'; ALTER DATABASE {left} OWNER TO modest"
    )
    mine = replace(admin.target, user="modest", password="modest")
    with Database(admin.target.named(left), "agent") as inside, Database(mine, NAME) as db:
        with pytest.raises(
            DatabaseError, match=rf"session {inside.pid} \(agent\) of postgres"
        ) as e:
            discard.discard(db, left, within_s=0.5)
        assert "runbook prune PARAMS" in e.value.remedy
    admin.execute(f"ALTER DATABASE {left} OWNER TO postgres; DROP ROLE modest")


def test_a_login_that_acts_as_the_owner_ends_its_own_sessions(admin: Database) -> None:
    admin.execute("CREATE ROLE acting NOLOGIN CREATEDB")
    admin.execute("CREATE ROLE login LOGIN PASSWORD 'login' IN ROLE acting")
    admin.execute("ALTER ROLE login SET role = 'acting'")
    try:
        mine = replace(admin.target, user="login", password="login")
        with scratch.scratch(mine, "try", NAME) as place:
            owner = databases.entry(admin, place.database)
            assert owner and owner.owner == "acting"
            Database(place)
        assert databases.entry(admin, place.database) is None
    finally:
        admin.execute("DROP ROLE login")
        admin.execute("DROP ROLE acting")


def test_the_first_error_is_the_one_that_is_raised_and_the_other_its_note(
    source: Target, admin: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise DatabaseError("refused", "give the right", sqlstate="42501")

    with (
        pytest.raises(UsageError, match="^the first") as e,
        monkeypatch.context() as patch,
        scratch.scratch(source, "try", NAME) as place,
    ):
        patch.setattr(scratch, "_drop", refused)
        raise UsageError("the first")
    name = place.database
    said = f"the first\ndropping the scratch database {name} failed, too: refused\n→ give the right"
    assert in_full(e.value) == said
    assert databases.entry(admin, name)
    assert [one.name for one in scratch.leftovers(admin)] == [name]
    scratch.drop(admin, name)


def test_one_that_is_being_made_is_nobodys_leftover(admin: Database) -> None:
    name = databases.scratch_name(admin, "try")
    admin.execute(f"CREATE DATABASE {name}")
    try:
        assert not scratch.leftovers(admin).items
    finally:
        scratch.drop(admin, name)
    assert databases.entry(admin, name) is None


@pytest.mark.parametrize("step", ["comment_on", "rename"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, DatabaseError("refused")])
def test_a_database_is_ours_by_name_before_it_is_marked_and_goes_where_making_it_ends(
    admin: Database, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    seen: list[str] = []

    def ends(db: Database, name: str, _: str) -> None:
        assert databases.entry(db, name) and databases.made_at(name)
        seen.append(name)
        raise error

    monkeypatch.setattr(databases, step, ends)
    with pytest.raises((KeyboardInterrupt, DatabaseError)):
        databases.make(admin, "wanted", "template0", "ours")
    assert seen and not {"wanted", *seen} & databases.entries(admin).keys()


def test_databases_that_others_drop_meanwhile_are_no_failure(server: Server) -> None:
    def come_and_go(number: int) -> None:
        with Database(Target.parse(server.url()), NAME) as db:
            for _ in range(6):
                db.execute(f"CREATE DATABASE coming_and_going_{number}")
                databases.drop(db, f"coming_and_going_{number}")

    def look(others: list[Future[None]]) -> None:
        with Database(Target.parse(server.url()), NAME) as db:
            while not all(one.done() for one in others):
                assert "postgres" in databases.entries(db)

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(come_and_go, number) for number in range(3)]
        looks = [pool.submit(look, others) for _ in range(3)]
    assert [one.result() for one in (*others, *looks)] == [None] * 6
