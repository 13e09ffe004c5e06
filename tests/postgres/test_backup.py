"""A backup: made whole or not at all, every damage found, nothing secret in its words."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import psutil
import pytest

from runbook_lib.errors import DatabaseError, ToolError, UsageError
from runbook_lib.postgres import dump
from runbook_lib.postgres.backup import Backup, load, verify_hashes
from runbook_lib.postgres.connection import Database, Target, query
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.restore import prove
from runbook_lib.postgres.tools import Tools

NAME = "runbook/test/backup"


def test_the_manifest_describes_everything_and_reads_back(made: Backup) -> None:
    assert load(made.folder) == made
    assert {
        "catalog.json",
        "database.json",
        "globals.sql",
        "schema.sql",
        "dump/toc.dat",
    } < made.files.keys()
    assert (
        made.snapshot.tables["public.kinds"].rows == 201
        and made.snapshot.lsn
        and made.snapshot.sequences
    )
    assert (
        made.seconds.keys() == {"dump", "content", "schema and globals", "hashes"}
        and made.globals_missing == ""
    )
    assert verify_hashes(made).passed


def test_only_its_owner_may_look_into_a_backup(made: Backup) -> None:
    assert made.folder.stat().st_mode & 0o777 == 0o700


def test_an_existing_folder_is_refused(source: Target, programs: Tools, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        dump.make(source, tmp_path, NAME, tools=programs)


def test_a_folder_without_a_manifest_is_no_backup(made: Backup) -> None:
    (made.folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match="is no backup"):
        load(made.folder)


def test_a_dump_under_write_load_matches_its_manifest(
    rich: Database, programs: Tools, tmp_path: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        with Database(rich.target) as other:
            while not stop.is_set():
                other.execute(
                    "UPDATE kinds SET i8 = i8 + 1; INSERT INTO wide SELECT max(id) + 1, 'new' "
                    'FROM wide; DELETE FROM "no key" WHERE ctid IN '
                    '(SELECT ctid FROM "no key" LIMIT 1)'
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = dump.make(rich.target, tmp_path / "b", NAME, tools=programs)
    finally:
        stop.set()
        writer.join()
    assert prove(made, rich.target, NAME, tools=programs).verified.content.identical


def test_a_locked_table_ends_the_dump_within_its_limit(
    rich: Database, programs: Tools, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    with Database(rich.target) as other, other.transaction():
        other.execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")
        with pytest.raises((DatabaseError, ToolError), match="lock"):
            dump.make(rich.target, tmp_path / "b", NAME, tools=programs, lock_timeout_s=0.3)


def test_the_password_is_in_no_command_line_and_no_file(
    rich: Database, programs: Tools, tmp_path: Path
) -> None:
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for child in psutil.Process().children(recursive=True):
                try:
                    seen.add(" ".join(child.cmdline()))
                except psutil.Error:
                    continue

    lines: list[str] = []
    watcher = threading.Thread(target=watch)
    watcher.start()
    made = dump.make(rich.target, tmp_path / "b", NAME, tools=programs, on_line=lines.append)
    stop.set()
    watcher.join()
    text = (
        "".join(seen)
        + "".join(lines)
        + str(made)
        + repr(rich.target)
        + "".join(p.read_bytes().decode("latin1") for p in made.folder.rglob("*") if p.is_file())
    )
    assert any("pg_dump" in command for command in seen) and rich.target.password not in text


def test_the_schema_is_the_same_text_each_time(
    backup: Backup, source: Target, programs: Tools, tmp_path: Path
) -> None:
    again = dump.make(source, tmp_path / "b", NAME, tools=programs)
    assert (again.folder / "schema.sql").read_text() == (backup.folder / "schema.sql").read_text()
    assert "CREATE TABLE public.kinds" in (backup.folder / "schema.sql").read_text()


def test_evidence_of_a_backup_holds_no_setting_and_no_row(made: Backup) -> None:
    text = json.dumps(made.as_dict(), default=str) + str(made) + made._repr_html_()
    assert "geheim" not in text and "Grüße 1" not in text
    assert {"role": None, "name": "app.key", "value": "geheim"} in made.database()["settings"]


def test_globals_that_may_not_be_read_are_recorded_as_missing(
    source: Target, programs: Tools, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("pg_dump", "pg_restore"):
        (tmp_path / "bin" / name).symlink_to(programs.folder / name)
    (tmp_path / "bin" / "pg_dumpall").write_text(
        "#!/bin/sh\necho 'pg_dumpall: error: permission denied for table pg_authid'\nexit 1\n"
    )
    (tmp_path / "bin" / "pg_dumpall").chmod(0o755)
    made = dump.make(source, tmp_path / "b", NAME, tools=Tools(tmp_path / "bin", programs.version))
    assert (
        "permission denied" in made.globals_missing
        and not (made.folder / "globals.sql").exists()
        and "permission denied" in str(made)
    )


def pretend_locks(monkeypatch: pytest.MonkeyPatch, needed: int) -> None:
    monkeypatch.setattr(
        dump,
        "query",
        lambda name: (
            f"SELECT {needed} AS needed, 100 AS available" if name == "dump_locks" else query(name)
        ),
    )


def test_more_tables_than_the_lock_table_can_hold_are_refused_before_the_folder_is_made(
    source: Target, programs: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_locks(monkeypatch, 250)
    with pytest.raises(UsageError, match="max_locks_per_transaction"):
        dump.make(source, tmp_path / "b", NAME, tools=programs)
    assert not (tmp_path / "b").exists()


def test_more_tables_than_the_lock_table_is_made_for_are_said(
    still: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    pretend_locks(monkeypatch, 150)
    dump._require_locks(still, Ticker(lines.append))
    assert lines[-1].startswith(
        "warning: the dump locks 150 tables, the server's lock table is made for 100 locks"
    )


def test_the_predicted_size_is_near_the_real_one(
    rich: Database, programs: Tools, tmp_path: Path
) -> None:
    rich.execute(
        "CREATE TABLE big AS SELECT g, md5(g::text) AS a, 'constant' AS b "
        "FROM generate_series(1, 100000) AS g"
    )
    predicted = dump.predicted_size(rich)
    made = dump.make(rich.target, tmp_path / "b", NAME, tools=programs)
    assert 0.7 < predicted.bytes / made.bytes < 1.5
    assert 0.9 < dump.predicted_size(rich, made).bytes / made.bytes < 1.1


def test_progress_is_told_in_lines(source: Target, programs: Tools, tmp_path: Path) -> None:
    lines: list[str] = []
    dump.make(source, tmp_path / "b", NAME, tools=programs, on_line=lines.append)
    assert lines[-1].startswith(f"backup in {tmp_path / 'b'} finished (")
