"""A dump that is disturbed: killed, out of room, its server gone, its tables changed.

The source is as it was, and what lies in the folder is said.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import (
    arrived,
    before,
    fill,
    made_database,
    nothing_works_for,
    process,
    small_disk,
    unharmed,
    until,
)

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError, RunbookError, ToolError, UsageError
from runbook_lib.postgres import catalog, content, dump, parallel, snapshot
from runbook_lib.postgres.backup import load, unfinished
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.restore import prove
from runbook_lib.postgres.tools import Tools, tools

NAME = "runbook/test/faults/dump"


@pytest.fixture(scope="module")
def large(source: Target) -> Iterator[Target]:
    """The rich database with a table whose dump takes a while."""
    rows = (
        "CREATE TABLE big AS SELECT g, md5(g::text) AS a, md5((g + 1)::text) AS b "
        "FROM generate_series(1, 150000) AS g"
    )
    with made_database(source, "large", rows, "source") as target:
        yield target


KILLED = {
    "before the first file": "dump._describe = here",
    "while pg_dump writes": "",
    "while content is read": (
        "content._read_batch = lambda db, *_: (os.write(1, b'here\\n'), db.execute('SELECT "
        "pg_sleep(600)'))"
    ),
    "while the server reads the schema": "dump._schema = here",
    "while files are hashed": "dump.hashes = here",
    "right before the manifest": "dump.seal = here",
    "before the manifest has its name": "Path.rename = here",
}


@pytest.mark.fault(
    "the runbook, kill -9",
    "the dump: {point}",
    "the backup",
    "no backup is taken for one; no session, no program left at work",
)
@pytest.mark.parametrize("point", KILLED)
def test_a_dump_killed_at_any_point_is_no_backup_and_nothing_goes_on(
    large: Target, admin: Database, tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "b"
    code = (
        "dump.make(target, sys.argv[1], 'killed', tools=tools(target, BINARIES), "
        "compression='gzip:9')"
    )
    with unharmed(large), process(large, f"{KILLED[point]}\n{code}", str(folder)) as child:
        if KILLED[point]:
            assert arrived(child)
        else:
            until(
                lambda: any(file.stat().st_size for file in (folder / "dump").glob("*.dat*")),
                "rows in the dump",
            )
        child.kill()
        nothing_works_for(admin, "killed", folder)
    with pytest.raises(UsageError, match="is no backup: it has no manifest.json"):
        load(folder)
    assert point == "before the first file" or unfinished(tmp_path) == (folder,)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk with little room."""
    with small_disk(2) as folder:
        yield folder


@pytest.mark.fault(
    "the backup's disk, full",
    "while pg_dump writes ({compression})",
    "the backup",
    "named; no folder left, its room given back",
)
@pytest.mark.parametrize("compression", ["none", "gzip:1"])
def test_a_disk_that_is_full_during_the_dump_is_named_and_gets_its_room_back(
    large: Target, programs: Tools, disk: Path, compression: str
) -> None:
    with (
        unharmed(large),
        pytest.raises(
            ToolError, match="pg_dump failed, .*is no backup: .*No space left on device"
        ) as caught,
    ):
        dump.make(large, disk / "b", NAME, tools=programs, compression=compression)
    assert caught.value.remedy.startswith(
        "the disk of the backup's folder is full: free space there or name another "
        "`backup.directory`"
    )
    assert list(disk.iterdir()) == []


@pytest.mark.fault(
    "the backup's disk, full", "the dump: at {step}", "the backup", "named; no folder left"
)
@pytest.mark.parametrize("step", ["_describe", "_schema", "_globals", "hashes", "seal"])
def test_a_disk_that_is_full_at_any_other_step_is_named_and_leaves_no_folder(
    source: Target, programs: Tools, disk: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, dump, step, lambda: fill(disk))
    with (
        unharmed(source),
        pytest.raises(RunbookError, match="is no backup.*No space left on device") as caught,
    ):
        dump.make(source, disk / "b", NAME, tools=programs)
    assert "disk of the backup's folder is full" in caught.value.remedy and [
        one.name for one in disk.iterdir()
    ] == ["filler"]


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Server]:
    """A server of its own with a database `few`, to be restarted."""
    made = Server(tmp_path / "server", {"fsync": "off", "full_page_writes": "off"}).start()
    with Database(Target.parse(made.url())) as db:
        db.execute("CREATE DATABASE few")
    with Database(Target.parse(made.url("few"))) as db:
        db.execute(FEW)
        db.execute("CHECKPOINT")
    yield made
    made.stop("immediate")


FEW = """CREATE TABLE kept (id serial PRIMARY KEY, a int, b text);
         INSERT INTO kept (a, b) SELECT g, md5(g::text) FROM generate_series(1, 3000) AS g;
         CREATE TABLE other (id int PRIMARY KEY, kept int REFERENCES kept);
         INSERT INTO other SELECT g, g FROM generate_series(1, 500) AS g;
         CREATE VIEW seen AS SELECT id, a FROM kept WHERE a > 5"""


@pytest.mark.fault(
    "the server, crashed",
    "while pg_dump copies",
    "the backup",
    "said; there is no backup; the database is as it was",
)
def test_a_server_that_crashes_while_pg_dump_copies_is_said_and_there_is_no_backup(
    second: Server, programs: Tools, tmp_path: Path
) -> None:
    def crash() -> None:
        until(lambda: any((tmp_path / "b" / "dump").glob("*.dat*")), "rows in the dump")
        second.stop("immediate")

    with Database(Target.parse(second.url("few"))) as db:
        db.execute(
            "CREATE TABLE big AS SELECT g, md5(g::text) AS a "
            "FROM generate_series(1, 200000) AS g; CHECKPOINT"
        )
    with unharmed(lambda: Target.parse(second.start().url("few"))):
        stopper = threading.Thread(target=crash)
        stopper.start()
        with pytest.raises(ToolError, match="pg_dump failed.*is no backup") as caught:
            dump.make(
                Target.parse(second.url("few")),
                tmp_path / "b",
                NAME,
                tools=programs,
                compression="gzip:9",
            )
        stopper.join()
    assert (
        caught.value.remedy.startswith("find out in the server's log")
        and not (tmp_path / "b").exists()
    )


@pytest.mark.fault(
    "the server, restarted", "the dump, at each step", "the backup", "said; there is no backup"
)
def test_a_server_restarted_at_any_step_is_said_and_there_is_no_backup(
    second: Server, programs: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restart() -> None:
        second.stop("immediate")
        second.start()

    for module, step in (
        (dump, "_pg_dump"),
        (snapshot, "take"),
        (content, "_read_batch"),
        (dump, "require_unchanged"),
        (dump, "_globals"),
    ):
        with unharmed(lambda: Target.parse(second.url("few"))), monkeypatch.context() as patch:
            before(patch, module, step, restart)
            with pytest.raises((ToolError, DatabaseError)) as caught:
                dump.make(Target.parse(second.url("few")), tmp_path / "b", NAME, tools=programs)
        assert "server" in caught.value.remedy and not (tmp_path / "b").exists(), (
            step,
            caught.value,
        )


@pytest.mark.fault(
    "the server session, terminated",
    "the dump: before {step}",
    "the backup",
    "said; there is no backup",
)
@pytest.mark.parametrize(
    "module, step", [(dump, "_pg_dump"), (snapshot, "take"), (content, "_read_batch")]
)
def test_the_session_that_holds_the_instant_ended_by_somebody_is_said_and_there_is_no_backup(
    source: Target,
    admin: Database,
    programs: Tools,
    tmp_path: Path,
    module: object,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with unharmed(source), monkeypatch.context() as patch:
        before(
            patch,
            module,
            step,
            lambda: admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'holder' AND state = 'idle in transaction'"
            ),
        )
        with pytest.raises((ToolError, DatabaseError)) as caught:
            dump.make(source, tmp_path / "b", "holder", tools=programs)
    assert (
        "find out in the server's log who ended the session" in caught.value.remedy
        and not (tmp_path / "b").exists()
    )


@pytest.fixture(scope="module")
def few(source: Target) -> Iterator[Target]:
    """A small database, to be copied and changed."""
    with made_database(source, "few", FEW) as target:
        yield target


@pytest.fixture
def copied(few: Target) -> Iterator[Target]:
    """A copy of it."""
    with made_database(few, "changed", "", "few") as target:
        yield target


UNSEEN = """CREATE TABLE more AS SELECT 1 AS a; ALTER TABLE kept ADD COLUMN c int DEFAULT 1;
            CREATE INDEX late ON kept (a);
            CREATE OR REPLACE VIEW seen AS SELECT id, a FROM kept WHERE a > 6;
            ALTER TABLE other DROP CONSTRAINT other_kept_fkey;
            ALTER TABLE other OWNER TO pg_monitor"""
"""What a transaction that began before does not see."""
REFUSED = {
    "ALTER TABLE kept ADD COLUMN c uuid DEFAULT gen_random_uuid()": (
        "rewritten while they were dumped.*public.kept"
    ),
    "DROP VIEW seen; ALTER TABLE kept ALTER COLUMN a TYPE bigint": (
        "could not open relation|does not exist|rewritten"
    ),
    "ALTER TABLE kept DROP COLUMN b": 'column "b".* does not exist',
    "ALTER TABLE kept RENAME TO renamed": 'relation "public.kept" does not exist',
    "ALTER TABLE kept RENAME COLUMN b TO c": 'column "b".* does not exist',
    "ALTER TABLE kept SET SCHEMA pg_catalog": 'relation "public.kept" does not exist',
    "DROP TABLE other": 'relation "public.other" does not exist',
    "TRUNCATE other": "truncated or rewritten while they were dumped.*public.other",
    "VACUUM FULL other": "truncated or rewritten while they were dumped.*public.other",
    "DROP TABLE other; CREATE TABLE other (id int PRIMARY KEY, kept int)": (
        "cache lookup failed|could not open relation|dropped, truncated or rewritten.*public.other"
    ),
}
MOMENTS = {"before pg_dump": (dump, "_pg_dump"), "before the content is read": (snapshot, "take")}


def changing(patch: pytest.MonkeyPatch, moment: str, target: Target, statements: str) -> None:
    """Let somebody change the schema at that moment of the next dump."""

    def change() -> None:
        with Database(target, NAME) as db:
            for statement in statements.split("; "):
                db.execute(statement)

    before(patch, *MOMENTS[moment], change)


@pytest.mark.fault(
    "another deployer", "the dump: {moment}", "the backup", "the backup is that of the state before"
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_ddl_that_the_instant_does_not_see_leaves_a_backup_of_the_state_before(
    copied: Target, programs: Tools, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(copied, NAME) as db:
        schema = catalog.read(db)
    with monkeypatch.context() as patch:
        changing(patch, moment, copied, UNSEEN)
        made = dump.make(copied, tmp_path / "b", NAME, tools=programs)
    assert prove(made, copied, NAME, tools=programs).identical and made.catalog() == schema


@pytest.mark.fault(
    "another deployer: {ddl}", "the dump: {moment}", "the backup", "said; there is no backup"
)
@pytest.mark.parametrize("ddl", REFUSED)
@pytest.mark.parametrize("moment", MOMENTS)
def test_ddl_that_takes_rows_from_the_instant_is_said_and_there_is_no_backup(
    copied: Target,
    programs: Tools,
    tmp_path: Path,
    ddl: str,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changing(monkeypatch, moment, copied, ddl)
    with pytest.raises((ToolError, DatabaseError), match=REFUSED[ddl]) as caught:
        dump.make(copied, tmp_path / "b", NAME, tools=programs)
    assert (
        caught.value.remedy == "keep DDL, TRUNCATE and VACUUM FULL away and repeat"
        and not (tmp_path / "b").exists()
    )


def tampered(folder: Path, programs: Tools, pg_dump: str) -> Tools:
    """The programs, of which pg_dump does what the shell script says; `$real` is the real one,
    `$to` its folder.
    """
    folder.mkdir()
    for name in ("pg_restore", "pg_dumpall"):
        (folder / name).symlink_to(programs.folder / name)
    # for its version and what it can compress
    asked = 'case " $* " in *" -Fd "*) ;; *) exec $real "$@" ;; esac'
    (folder / "pg_dump").write_text(
        f"#!/bin/sh\nreal={programs.path('pg_dump')}\n{asked}\nfor to; do :; done\n{pg_dump}\n"
    )
    (folder / "pg_dump").chmod(0o755)
    return Tools(folder, programs.version)


WRONG = {
    "exit 0": "pg_dump ended well and wrote no table of contents",
    "mkdir $to": "pg_dump ended well and wrote no table of contents",
    "mkdir $to; echo PGDMP > $to/toc.dat": "pg_restore failed.*is no backup",
    '$real "$@" && rm "$(ls -S $to/*.dat* | head -1)"': (
        "pg_dump ended well and wrote no rows of 1 tables"
    ),
    '$real "$@" && : > "$(ls -S $to/*.dat* | head -1)"': (
        "pg_dump ended well and wrote no rows of 1 tables"
    ),
    "kill -9 $$": "pg_dump failed.*ended with status -9",
}


@pytest.mark.fault("pg_dump: {script}", "the dump", "the backup", "found; there is no backup")
@pytest.mark.parametrize("script", WRONG)
def test_a_pg_dump_that_does_not_do_its_work_is_found_whatever_it_says(
    few: Target, programs: Tools, tmp_path: Path, script: str
) -> None:
    with unharmed(few), pytest.raises(ToolError, match=WRONG[script]):
        dump.make(few, tmp_path / "b", NAME, tools=tampered(tmp_path / "bin", programs, script))
    assert not (tmp_path / "b").exists()


def test_a_program_that_is_missing_is_named(few: Target, programs: Tools, tmp_path: Path) -> None:
    some = tampered(tmp_path / "bin", programs, '$real "$@"')
    (some.folder / "pg_restore").unlink()
    with pytest.raises(ToolError, match="pg_restore.* could not be started: No such file"):
        dump.make(few, tmp_path / "b", NAME, tools=some)
    with pytest.raises(UsageError, match="no PostgreSQL tools fit.*found: none"):
        tools(few, some.folder)
    assert not (tmp_path / "b").exists()


def test_progress_tells_tables_bytes_and_how_long_still(
    large: Target, programs: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "EVERY_S", 0.01)
    with Database(large, NAME) as db:
        predicted = dump.predicted_size(db)
    lines: list[str] = []
    made = dump.make(
        large,
        tmp_path / "b",
        NAME,
        tools=programs,
        compression="gzip:9",
        expected_bytes=predicted.bytes,
        on_line=lines.append,
    )
    told = re.compile(
        r"dumped \d+ of 12 tables, \d\S* \w+ of about \d\S* \w+(, about \d+ s left)? \(\d+ s\)"
    )
    dumped = [line for line in lines if line.startswith("dumped")]
    assert (
        all(map(told.fullmatch, dumped))
        and any("s left" in line for line in dumped)
        and dumped[-1].startswith("dumped 12 of 12 tables")
    )
    lines.clear()
    prove(made, large, NAME, tools=programs, on_line=lines.append)
    restored = [line for line in lines if line.startswith("restored")]
    assert all(told.fullmatch(line.replace("restored", "dumped")) for line in restored) and any(
        "s left" in line for line in restored
    )
