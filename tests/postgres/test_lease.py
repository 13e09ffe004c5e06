"""One run has a database: the record stands with the database, wherever it is looked at from and
whatever it is called.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from runbook_lib.errors import DatabaseError, Refused
from runbook_lib.postgres import databases, lease
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.postgres.lease import Lease

FIRST = Lease("20260101T000000Z_prod_x", "Ada “the” Ünal", "host-1", "2026-01-01T00:00:00.000Z")
SECOND = Lease("20260102T000000Z_prod_y", "Bob", "host-2", "2026-01-02T00:00:00.000Z")


class Place:
    """A database as somebody beside it sees it."""

    def __init__(self, url: str) -> None:
        self.name = Target.parse(url).database
        self.admin = databases.maintenance(Target.parse(url), "tests")
        found = databases.entry(self.admin, self.name)
        assert found
        self.oid = found.oid

    def comment(self) -> str:
        return str(
            self.admin.row("SELECT shobj_description(%s, 'pg_database') AS it", [self.oid])["it"]
            or ""
        )  # type: ignore[index]

    def take(self, mine: Lease, take_over: bool = False) -> Lease | None:
        return lease.take(self.admin, self.oid, mine, lambda _: take_over)


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    made = Place(database)
    with made.admin:
        yield made


@pytest.mark.parametrize("comment", ["", "the shop", "two\nlines; its comment was: odd", "ends\n"])
def test_a_comment_is_what_it_was_once_the_database_is_given_back(
    place: Place, comment: str
) -> None:
    databases.comment_on(place.admin, place.name, comment or None)
    assert place.take(FIRST) is None and place.comment().startswith(comment)
    assert (
        lease.standing(place.admin, place.oid) == FIRST
        and lease.without(place.comment()) == comment
    )
    assert lease.release(place.admin, place.oid, FIRST.run) and place.comment() == comment


def test_another_run_is_refused_and_told_who_has_it(place: Place) -> None:
    place.take(FIRST)
    with pytest.raises(Refused, match=r"20260101T000000Z_prod_x \(Ada .*Ünal on host-1, since"):
        place.take(SECOND)
    assert not lease.release(place.admin, place.oid, SECOND.run)
    assert lease.standing(place.admin, place.oid) == FIRST
    assert place.take(SECOND, take_over=True) == FIRST
    assert lease.standing(place.admin, place.oid) == SECOND


def test_the_same_run_takes_it_once(place: Place) -> None:
    place.take(FIRST)
    assert place.take(FIRST) == FIRST and place.comment().count(lease.PREFIX) == 1


def test_of_many_that_try_at_once_one_has_it(place: Place, database: str) -> None:
    won, lost = [], []

    def attempt(number: int) -> None:
        with databases.maintenance(Target.parse(database), f"tests-{number}") as admin:
            try:
                lease.take(
                    admin, place.oid, Lease(f"run-{number}", "p", "h", FIRST.since), lambda _: False
                )
                won.append(f"run-{number}")
            except Refused:
                lost.append(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = lease.standing(place.admin, place.oid)
    assert len(won) == 1 and len(lost) == 7 and found and found.run == won[0]


def test_it_follows_the_database_when_it_is_renamed_and_no_copy_carries_it(place: Place) -> None:
    place.take(FIRST)
    other = f"{place.name}_r"
    place.admin.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(identifier(place.name), identifier(other))
    )
    place.admin.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(identifier(place.name), identifier(other))
    )
    copy = databases.entry(place.admin, place.name)
    try:
        assert lease.standing(place.admin, place.oid) == FIRST
        assert copy and lease.standing(place.admin, copy.oid) is None
    finally:
        databases.drop(place.admin, place.name)
        place.admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                identifier(other), identifier(place.name)
            )
        )


def test_a_record_that_was_edited_is_nobody_s_permission(place: Place) -> None:
    databases.comment_on(place.admin, place.name, f"{lease.PREFIX}somebody was here")
    with pytest.raises(Refused, match="cannot be read"):
        place.take(FIRST, take_over=True)


def test_who_does_not_own_the_database_reads_it_and_cannot_write_it(
    place: Place, database: str
) -> None:
    place.take(FIRST)
    place.admin.execute("CREATE ROLE lease_guest LOGIN PASSWORD 'x'")
    guest = Target.parse(database)
    try:
        with Database(
            Target(guest.host, guest.port, "lease_guest", "postgres", "x"), "tests"
        ) as db:
            assert lease.standing(db, place.oid) == FIRST
            with pytest.raises(DatabaseError) as refused:
                lease.take(db, place.oid, SECOND, lambda _: True)
        assert refused.value.sqlstate == "42501" and lease.standing(place.admin, place.oid) == FIRST
    finally:
        place.admin.execute("DROP ROLE lease_guest")
