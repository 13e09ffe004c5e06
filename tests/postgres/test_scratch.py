"""Scratch databases: ours alone are dropped."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import UsageError
from runbook_lib.postgres import databases, scratch
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


@pytest.mark.parametrize(
    "name, comment",
    [
        ("runbook_scratch_x", ""),
        ("runbook_scratch_x", "production"),
        ("customers", "runbook scratch: made by me"),
    ],
)
def test_name_and_comment_must_both_prove_it_ours(admin: Database, name: str, comment: str) -> None:
    admin.execute(f"CREATE DATABASE {name}")
    databases.comment_on(admin, name, comment)
    try:
        with pytest.raises(UsageError, match="do not prove"):
            scratch.drop(admin, name)
        assert databases.entry(admin, name)
    finally:
        databases.drop(admin, name)


def test_the_target_itself_is_refused(source: Target, admin: Database) -> None:
    with pytest.raises(UsageError, match="do not prove"):
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


NAMELESS = "runbook_scratch_atomicity_20240101_000000_000001"


@pytest.mark.parametrize(
    ("name", "limit", "ours"),
    [
        (NAMELESS, databases.BORN_LIMIT, True),
        (NAMELESS, -1, False),
        ("runbook_scratch_x", databases.BORN_LIMIT, False),
        (
            f"runbook_scratch_x_{datetime.now(UTC) + timedelta(hours=1):%Y%m%d_%H%M%S_%f}",
            databases.BORN_LIMIT,
            False,
        ),
    ],
    ids=["ours", "no limit", "no time", "a time to come"],
)
def test_one_whose_maker_was_killed_before_it_could_name_it_is_known(
    admin: Database, name: str, limit: int, ours: bool
) -> None:
    admin.execute(f"CREATE DATABASE {name} CONNECTION LIMIT {limit}")
    try:
        assert [one.name for one in scratch.leftovers(admin)] == ([name] if ours else [])
        if ours:
            scratch.drop(admin, name)
        assert (databases.entry(admin, name) is None) is ours
    finally:
        databases.drop(admin, name)


def test_a_new_one_bears_the_limit_by_which_it_is_known(source: Target, admin: Database) -> None:
    with scratch.scratch(source, "try", NAME) as place:
        assert databases.entry(admin, place.database).connection_limit == databases.BORN_LIMIT


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
