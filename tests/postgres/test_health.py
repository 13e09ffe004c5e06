"""Connection, identity and rights: what could not be found out is said, never assumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import disk, health
from runbook_lib.postgres.connection import Database, Target


@pytest.fixture
def limited(db: Database, admin: Database) -> Iterator[Target]:
    """A login that owns nothing."""
    admin.execute("CREATE ROLE limited LOGIN PASSWORD 'limited'")
    yield replace(db.target, user="limited", password="limited")
    db.execute("DROP OWNED BY limited")
    admin.execute("DROP ROLE limited")


def status(checks, name: str) -> Status:
    return next(one.status for one in checks if one.id == name)


def test_the_server_is_identified(still: Database, server: Server) -> None:
    facts = health.server_facts(still)
    assert facts.system_identifier == str(still.value("SELECT system_identifier FROM pg_control_system()"))
    assert facts.database_oid == still.value("SELECT oid::bigint FROM pg_database WHERE datname = current_database()") and not facts.standby
    assert facts.database in str(facts)


def test_a_good_connection_passes_every_check(source: Target) -> None:
    checks = health.connection(source, "runbook/test")
    assert checks.passed and {one.id for one in checks} == {f"environment.{name}" for name in ("connect", "version", "direct", "writable", "clock", "round_trip")}


@pytest.mark.parametrize("wrong, said", [({"port": 1}, "refused"), ({"password": "wrong"}, "password authentication failed"),
                                         ({"database": "none"}, "does not exist")])
def test_a_connection_that_fails_is_a_failed_check_with_its_remedy(source: Target, wrong: dict, said: str) -> None:
    only, = health.connection(replace(source, **wrong), "runbook/test")
    assert only.status is Status.FAILED and said in only.found and only.remedy and source.password not in str(only)


def test_the_superuser_has_all_rights(still: Database) -> None:
    assert health.rights(still).passed


def test_each_missing_right_is_a_check_of_its_own(rich: Database, limited: Target) -> None:
    with Database(limited) as db:
        failed = {one.id.removeprefix("environment.rights.") for one in health.rights(db).failed}
    assert failed == {"read", "row_security", "own", "create_table", "create_index", "create_type", "alter_table", "create_database", "own_database",
                      "signal", "statistics"}


def test_trying_rights_out_leaves_nothing(still: Database) -> None:
    health.rights(still)
    assert still.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'runbook_probe%'") == 0


def test_a_probe_that_is_kept_from_looking_is_unknown(db: Database, target: Target) -> None:
    with Database(target) as other, other.transaction():
        other.execute("CREATE TYPE runbook_probe_type AS ENUM ('a')")
        assert status(health.rights(db), "environment.rights.create_type") is Status.UNKNOWN


def test_the_disk_of_a_local_server_is_measured(still: Database, server: Server) -> None:
    found = disk.disk(still)
    assert found.known and found.tightest.path == str(server.data) and 0 < found.tightest.free_percent <= 100 and not found.why_unknown


def test_a_data_directory_of_another_server_is_not_taken_for_it(still: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_proven", lambda *_: False)
    assert not disk.disk(still).known and "cannot be proven" in disk.disk(still).why_unknown


def test_the_disk_is_unknown_without_the_right_to_ask_or_on_another_machine(limited: Target, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database(limited) as other:
        assert "data_directory" in disk.disk(other).why_unknown
    monkeypatch.setattr(disk, "_loopback", lambda _: False)
    assert "another machine" in disk.disk(db).why_unknown and disk.disk(db).tightest is None


def test_room_is_measured_where_a_folder_will_be_made(tmp_path) -> None:
    found = disk.room(tmp_path / "not" / "there" / "yet")
    assert found.path == str(tmp_path) and found.free_bytes > 0
