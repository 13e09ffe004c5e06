"""A backup comes up as a new database, identical, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.errors import ToolError, UsageError
from runbook_lib.postgres import databases, dump
from runbook_lib.postgres import restore as module
from runbook_lib.postgres.backup import Backup, load
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.restore import compare_with, prove, restore
from runbook_lib.postgres.tools import Tools

NAME = "runbook/test/restore"


def test_a_round_trip_is_identical_in_everything(
    made: Backup, admin: Database, programs: Tools, beside: Target
) -> None:
    restored = restore(made, beside, NAME, tools=programs)
    verified = compare_with(made, beside, NAME)
    assert verified.identical and verified.checks().passed and verified.schema.empty, verified
    there = databases.entry(admin, beside.database)
    assert there and (there.comment, there.oid) == ("ours", restored.oid)
    with Database(beside) as db:
        assert (
            db.value("SHOW search_path") == '"$user", public, "Odd schema"'
            and db.value("SHOW work_mem") == "8MB"
        )
        assert db.value("SELECT count(*) FROM pg_stats WHERE schemaname = 'public'") > 0


def test_a_proof_leaves_no_database_behind(
    made: Backup, source: Target, admin: Database, programs: Tools
) -> None:
    before = databases.entries(admin).keys()
    proof = prove(made, source, NAME, tools=programs)
    assert proof.identical and proof.restored.total_seconds > 0
    assert databases.entries(admin).keys() == before
    assert json.loads(json.dumps(proof.as_dict()))["verified"]["identical"] is True


def test_md5_proves_where_servers_hash_differently(
    rich: Database, programs: Tools, tmp_path: Path
) -> None:
    made = dump.make(rich.target, tmp_path / "b", NAME, tools=programs, method=Method.MD5)
    assert prove(made, rich.target, NAME, tools=programs).identical


def test_a_backup_of_another_version_is_read_but_not_compared(
    backup: Backup, source: Target
) -> None:
    older = Backup.from_dict(
        backup.as_dict()
        | {"snapshot": backup.as_dict()["snapshot"] | {"method": "record hash, 64 bit, form 1"}},
        backup.folder,
    )
    assert older.snapshot.rows == backup.snapshot.rows
    with pytest.raises(UsageError, match="record hash, 64 bit, form 1.*does not compute"):
        compare_with(older, source, NAME)
    with pytest.raises(UsageError, match="cannot be compared"):
        older.snapshot.compare(backup.snapshot)


DIFFERENCES = {
    "UPDATE wide SET body = body || '.' WHERE id = 3": "public.wide: content differs",
    "DROP INDEX visit_room": "index public.visit_room removed",
    "ALTER TABLE wide OWNER TO pg_monitor": "owner changed from postgres to pg_monitor",
    "DROP TABLE cache": "public.cache: missing",
    "REVOKE SELECT ON kinds FROM PUBLIC": "acl lost =r/postgres",
    "DROP EXTENSION hstore CASCADE": "extension hstore",
    "SELECT setval('kinds_id_seq', 3)": "public.kinds_id_seq: content differs",
    "ALTER DATABASE {} RESET app.key": "database: app.key",
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata": "large objects: rows differ",
    "GRANT TEMP ON DATABASE {} TO pg_monitor": "grants",
}


def test_whatever_came_up_otherwise_is_named(
    made: Backup, admin: Database, programs: Tools, beside: Target
) -> None:
    restore(made, beside, NAME, tools=programs)
    with Database(beside) as db:
        for change in DIFFERENCES:
            db.execute("SET search_path TO public")
            db.execute(change.format(beside.database))
    verified = compare_with(made, beside, NAME)
    said = "\n".join([str(verified), *verified.schema.in_words()])
    assert (
        not verified.identical and [text for text in DIFFERENCES.values() if text not in said] == []
    )


def test_nothing_is_restored_over_a_database(made: Backup, target: Target, programs: Tools) -> None:
    with pytest.raises(UsageError, match="exists already"):
        restore(made, target, NAME, tools=programs)


def test_a_failed_restore_leaves_no_database_and_says_what_failed(
    made: Backup, admin: Database, programs: Tools, beside: Target, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_restore").write_text(
        "#!/bin/sh\n"
        'echo \'pg_restore: error: could not execute query: ERROR:  role "owner" does not '
        "exist'\n"
        "exit 1\n"
    )
    (tmp_path / "bin" / "pg_restore").chmod(0o755)
    with pytest.raises(ToolError, match='role "owner" does not exist') as caught:
        restore(made, beside, NAME, tools=Tools(tmp_path / "bin", programs.version))
    assert (
        "dropped again" in caught.value.message and databases.entry(admin, beside.database) is None
    )


def test_a_restore_still_running_elsewhere_is_left_alone(
    made: Backup, admin: Database, programs: Tools, beside: Target
) -> None:
    databases.create(
        admin,
        beside.database,
        made.database(),
        f"{databases.UNFINISHED}of backup x, {databases.signature(admin)}",
    )
    with pytest.raises(UsageError, match="exists already"):
        restore(made, beside, NAME, tools=programs)


def test_tools_of_another_version_than_the_dumps_are_refused(
    made: Backup, programs: Tools, beside: Target
) -> None:
    with pytest.raises(UsageError, match="cannot bring a dump"):
        restore(replace(made, tools="19.1"), beside, NAME, tools=programs, verify=False)


def test_an_interrupted_restore_leaves_no_database(
    made: Backup, admin: Database, programs: Tools, beside: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_analyze", interrupt)
    with pytest.raises(KeyboardInterrupt):
        restore(made, beside, NAME, tools=programs)
    assert databases.entry(admin, beside.database) is None


def test_an_interrupt_right_after_the_database_was_made_leaves_none(
    backup: Backup,
    admin: Database,
    programs: Tools,
    beside: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(databases, "comment_on", interrupt)
    with pytest.raises(KeyboardInterrupt):
        restore(backup, beside, NAME, tools=programs)
    assert databases.entry(admin, beside.database) is None


def test_a_backup_moved_elsewhere_still_restores(
    made: Backup, programs: Tools, source: Target, tmp_path: Path
) -> None:
    made.folder.rename(tmp_path / "moved")
    assert prove(load(tmp_path / "moved"), source, NAME, tools=programs).identical
