"""Connection, identity and disk: what could not be found out is said, never assumed."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import disk, health
from runbook_lib.postgres.connection import Database, Target


def test_the_server_is_identified(still: Database, server: Server) -> None:
    facts = health.server_facts(still)
    assert facts.system_identifier == str(
        still.value("SELECT system_identifier FROM pg_control_system()")
    )
    assert (
        facts.database_oid
        == still.value("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
        and not facts.standby
    )
    assert facts.database in str(facts)


def test_a_good_connection_passes_every_check(source: Target) -> None:
    checks = health.connection(source, "runbook/test")
    assert checks.passed and {one.id for one in checks} == {
        f"environment.{name}"
        for name in ("connect", "version", "direct", "writable", "clock", "round_trip")
    }


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"port": 1}, "refused"),
        ({"password": "wrong"}, "password authentication failed"),
        ({"database": "none"}, "does not exist"),
    ],
)
def test_a_connection_that_fails_is_a_failed_check_with_its_remedy(
    source: Target, wrong: dict, said: str
) -> None:
    (only,) = health.connection(replace(source, **wrong), "runbook/test")
    assert (
        only.status is Status.FAILED
        and said in only.found
        and only.remedy
        and source.password not in str(only)
    )


def test_the_disk_of_a_local_server_is_measured(still: Database, server: Server) -> None:
    found = disk.disk(still)
    assert (
        found.known
        and found.tightest.path == str(server.data)
        and 0 < found.tightest.free_percent <= 100
        and not found.why_unknown
    )


def test_a_data_directory_of_another_server_is_not_taken_for_it(
    still: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_proven", lambda *_: False)
    assert not disk.disk(still).known and "cannot be proven" in disk.disk(still).why_unknown


def test_a_role_that_may_not_ask_for_the_data_directory_sees_it_by_the_process_of_its_session(
    limited: Target, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(limited) as other:
        found = disk.disk(other)
        assert found.known and found.tightest.path == str(server.data)
        monkeypatch.setattr(disk, "elsewhere", lambda _: "its processes are not seen here")
        assert "data_directory" in disk.disk(other).why_unknown


def test_the_disk_is_unknown_on_another_machine(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_loopback", lambda _: False)
    assert "another machine" in disk.disk(db).why_unknown and disk.disk(db).tightest is None


def test_room_is_measured_where_a_folder_will_be_made(tmp_path) -> None:
    found = disk.room(tmp_path / "not" / "there" / "yet")
    assert found.path == str(tmp_path) and found.free_bytes > 0


def test_a_server_runs_here_where_the_process_of_its_session_does(
    still: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk.elsewhere(still) == ""
    monkeypatch.setattr(
        disk, "query", lambda _: f"SELECT {os.getpid()} AS pid, 0.0::float8 AS started"
    )
    assert "not seen on this machine" in disk.elsewhere(still), (
        "behind a forwarded port that number is another process, or none"
    )
    monkeypatch.setattr(disk, "query", lambda _: "SELECT 999999999 AS pid, 0.0::float8 AS started")
    assert "not seen on this machine" in disk.elsewhere(still)
    monkeypatch.setattr(disk, "_loopback", lambda _: False)
    assert "another machine" in disk.elsewhere(still)


def test_a_data_directory_that_this_user_may_not_read_is_the_servers_if_the_server_runs_here(
    still: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(disk, "system_identifier", refuse)
    assert disk.disk(still).known
    monkeypatch.setattr(disk, "elsewhere", lambda _: "no")
    assert not disk.disk(still).known


@pytest.mark.parametrize(
    "places, left",
    [
        ((disk.DATA,), (40,)),
        ((disk.DATA, "tablespace fast"), (40, 50)),
        ((disk.DATA, disk.LOG), (50, 90)),
    ],
)
def test_what_is_needed_goes_where_it_will_be_written(
    places: tuple[str, ...], left: tuple[int, ...]
) -> None:
    now = disk.Disks(tuple(disk.Disk(place, "/", 100, 100) for place in places))
    assert [one.free_bytes for one in now.after(disk.Need(log=10, growth=20, beside=30))] == list(
        left
    )


def test_a_login_that_acts_as_another_role_knows_that_the_server_runs_here(server: Server) -> None:
    admin = Target.parse(server.url())
    with Database(admin) as db:
        db.execute(
            "CREATE ROLE health_owner; CREATE ROLE health_login LOGIN PASSWORD 'pw' IN ROLE "
            "health_owner"
        )
        db.execute("ALTER ROLE health_login SET role = 'health_owner'")
        try:
            with Database(replace(admin, user="health_login", password="pw")) as acting:
                assert acting.value("SELECT current_user::text") == "health_owner"
                assert disk.elsewhere(acting) == ""
                assert acting.value("SELECT current_user::text") == "health_owner"
        finally:
            db.execute("DROP ROLE health_login, health_owner")
