"""Whether nothing writes: whoever does is named, whatever they call themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from runbook_lib.check import Check, Status
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import quiet
from runbook_lib.postgres.connection import Database, Target, identifier, sql

API = "api"
OWN = "runbook/20261124T020000Z"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "LAG_S", 1.0)


@pytest.fixture
def opened(database: str) -> Iterator[Callable[..., Database]]:
    """Opens sessions in a database with a table, and closes them."""
    sessions: list[Database] = []

    def made(name: str, url: str = database) -> Database:
        sessions.append(Database(Target.parse(url), name))
        return sessions[-1]

    made("setup").execute("CREATE TABLE visit (id int)")
    yield made
    for session in sessions:
        session.close()


@contextmanager
def repeated(db: Database, statement: str) -> Iterator[None]:
    """A statement again and again, each in a transaction of its own."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.02):
            db.execute(statement)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def seen(db: Database, *names: str, seconds: float = 0.4) -> tuple[Check, Check]:
    """What is said of the sessions and of the writes."""
    found = quiet.observe(db, names, OWN, seconds)
    return found.cleared(), found.written()


def pid(db: Database) -> int:
    return int(db.value("SELECT pg_backend_pid()"))


def test_a_database_at_rest_is_seen_to_be(opened: Callable[..., Database]) -> None:
    opened(API).execute("SELECT 1")
    cleared, written = seen(opened(f"{OWN}/announce"), API)
    assert (cleared.status, cleared.found) == (
        Status.PASSED,
        "1 idle",
    ) and written.status is Status.PASSED


def test_a_transaction_left_open_is_named_with_its_age(opened: Callable[..., Database]) -> None:
    api = opened(API)
    api.execute("BEGIN")
    api.execute("SELECT 1")
    cleared, written = seen(opened(f"{OWN}/announce"), API)
    assert cleared.status is Status.FAILED and written.status is Status.PASSED
    assert (
        f"pid {pid(api)} (api, idle in transaction for " in cleared.found
        and "transaction open for" in cleared.found
    )


def test_a_background_writer_of_another_name_is_named_on_every_version(any_server: Server) -> None:
    with (
        Database(Target.parse(any_server.url()), "setup") as db,
        Database(Target.parse(any_server.url()), "night-batch") as batch,
    ):
        db.execute("CREATE TABLE IF NOT EXISTS visit (id int)")
        with repeated(batch, "INSERT INTO visit VALUES (1)"):
            cleared, written = seen(db, API)
        assert cleared.status is Status.PASSED and written.status is Status.FAILED
        assert f"pid {pid(batch)} (night-batch, " in written.found and "INSERT" not in written.found
        assert [
            check.status
            for check in (seen(db, API)[1], quiet.prepared(db), quiet.subscriptions(db))
        ] == [Status.PASSED] * 3
        db.execute("DROP TABLE visit")


def test_a_transaction_that_has_written_and_waits_is_named(opened: Callable[..., Database]) -> None:
    batch = opened("night-batch")
    batch.execute("BEGIN")
    batch.execute("INSERT INTO visit VALUES (1)")
    written = seen(opened(f"{OWN}/announce"), API)[1]
    assert (
        written.status is Status.FAILED
        and f"pid {pid(batch)} (night-batch, idle in transaction" in written.found
    )


def test_wal_of_the_application_is_seen_though_no_transaction_ended(
    opened: Callable[..., Database],
) -> None:
    api = opened(API)
    with repeated(api, "SELECT pg_logical_emit_message(false, 'tests', 'nothing')"):
        written = seen(opened(f"{OWN}/announce"), API, seconds=2.5)[
            1
        ]  # a session tells of it once a second
    assert (
        written.status is Status.FAILED
        and f"pid {pid(api)} (api" in written.found
        and "bytes of WAL" in written.found
    )


def test_writes_in_another_database_do_not_count(
    opened: Callable[..., Database], server: Server
) -> None:
    with repeated(opened("elsewhere", server.url()), "SELECT pg_current_xact_id()"):
        written = seen(opened(f"{OWN}/announce"), API)[1]
    assert (
        written.status is Status.PASSED and "something else on the server writes" in written.found
    )


def test_an_emptied_table_is_seen_beside_them(
    opened: Callable[..., Database], server: Server
) -> None:
    script = opened("script")
    with (
        repeated(opened("elsewhere", server.url()), "SELECT pg_current_xact_id()"),
        repeated(script, "TRUNCATE visit"),
    ):
        written = seen(opened(f"{OWN}/announce"), API)[1]
    assert (
        written.status is Status.FAILED
        and "pg_catalog.pg_class" in written.found
        and f"pid {pid(script)}" in written.found
    )


def test_sessions_that_this_role_may_not_see_are_not_taken_for_idle(
    opened: Callable[..., Database], database: str
) -> None:
    admin, api = opened("setup"), opened(API)
    api.execute("BEGIN")
    admin.execute(
        sql.SQL("CREATE ROLE blind LOGIN PASSWORD {}").format(urlsplit(database).password)
    )
    try:
        with Database(
            Target.parse(database.replace("//postgres:", "//blind:")), f"{OWN}/announce"
        ) as db:
            cleared, written = seen(db, API)
            assert quiet.subscriptions(db).status is Status.PASSED
        assert cleared.status is Status.UNKNOWN and "pg_read_all_stats" in cleared.remedy
        assert written.status is Status.PASSED
    finally:
        admin.execute("DROP ROLE blind")


@pytest.fixture
def subscribed(opened: Callable[..., Database], server: Server) -> Iterator[Database]:
    """A session in another database, whose inserts into `visit` are brought in."""
    name, admin, here = "publisher_of_tests", opened("admin", server.url()), opened("setup")
    admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier(name)))
    with Database(Target.parse(server.url(name)), "publisher") as there:
        there.execute("CREATE TABLE visit (id int)")
        there.execute("CREATE PUBLICATION visits FOR TABLE visit")
        there.execute("SELECT pg_create_logical_replication_slot('visits', 'pgoutput')")
        target = Target.parse(server.url(name))
        conninfo = (
            f"host={target.host} port={target.port} user={target.user} dbname={name} "
            f"password={urlsplit(server.url()).password}"
        )
        here.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION visits CONNECTION {} PUBLICATION visits WITH (create_slot = "
                "false, copy_data = false)"
            ).format(conninfo)
        )
        yield there
        here.execute("DROP SUBSCRIPTION visits")
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier(name)))


def test_a_subscription_is_seen_and_its_worker_named_where_it_writes(
    opened: Callable[..., Database], subscribed: Database
) -> None:
    db = opened(f"{OWN}/announce")
    found = quiet.subscriptions(db)
    assert found.status is Status.FAILED and "visits" in found.found
    with repeated(subscribed, "INSERT INTO visit VALUES (1)"):
        deadline = time.monotonic() + 30
        while not db.value("SELECT count(*) FROM visit"):
            assert time.monotonic() < deadline, "nothing was brought in"
            time.sleep(0.1)
        written = seen(db, API)[1]
    assert written.status is Status.FAILED and "logical replication" in written.found
    opened("setup").execute("ALTER SUBSCRIPTION visits DISABLE")
    assert quiet.subscriptions(db).status is Status.PASSED


def test_a_prepared_transaction_that_waits_is_named(opened: Callable[..., Database]) -> None:
    db, batch = opened(f"{OWN}/announce"), opened("night-batch")
    assert quiet.prepared(db).status is Status.PASSED
    for statement in ("BEGIN", "INSERT INTO visit VALUES (1)", "PREPARE TRANSACTION 'half-done'"):
        batch.execute(statement)
    found = quiet.prepared(db)
    batch.execute("ROLLBACK PREPARED 'half-done'")
    assert found.status is Status.FAILED and "`half-done` of postgres" in found.found
