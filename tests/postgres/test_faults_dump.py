"""A dump that is disturbed: killed, out of room, its server gone, its tables changed. The source is as it was, and what lies in the folder is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import arrived, fill, nothing_works_for, process, small_disk, unharmed, until

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError, RunbookError, ToolError, UsageError
from runbook_lib.postgres import content, dump, snapshot
from runbook_lib.postgres.backup import load, unfinished
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import Tools

NAME = "runbook/test/faults/dump"


@pytest.fixture(scope="module")
def large(source: Target) -> Iterator[Target]:
    """The rich database with a table whose dump takes a while."""
    target = source.named("large")
    with Database(source.named("postgres"), NAME) as admin:
        admin.execute("CREATE DATABASE large TEMPLATE source")
        with Database(target, NAME) as db:
            db.execute("CREATE TABLE big AS SELECT g, md5(g::text) AS a, md5((g + 1)::text) AS b FROM generate_series(1, 150000) AS g")
        yield target
        admin.execute("DROP DATABASE large WITH (FORCE)")


KILLED = {
    "before the first file": "dump._describe = here",
    "while pg_dump writes": "",
    "while content is read": "content._read_batch = lambda db, *_: (os.write(1, b'here\\n'), db.execute('SELECT pg_sleep(600)'))",
    "while the server reads the schema": "dump._schema = here",
    "while files are hashed": "dump.hashes = here",
    "right before the manifest": "dump.seal = here",
    "before the manifest has its name": "Path.rename = here",
}


@pytest.mark.parametrize("point", KILLED)
def test_a_dump_killed_at_any_point_is_no_backup_and_nothing_goes_on(large: Target, admin: Database, tmp_path: Path, point: str) -> None:
    folder = tmp_path / "b"
    code = f"dump.make(target, sys.argv[1], 'killed', tools=tools(target, BINARIES), compression='gzip:9')"
    with unharmed(large), process(large, f"{KILLED[point]}\n{code}", str(folder)) as child:
        if KILLED[point]:
            assert arrived(child)
        else:
            until(lambda: any(file.stat().st_size for file in (folder / "dump").glob("*.dat*")), "rows in the dump")
        child.kill()
        nothing_works_for(admin, 'killed', folder)
    with pytest.raises(UsageError, match="is no backup: it has no manifest.json"):
        load(folder)
    assert point == "before the first file" or unfinished(tmp_path) == (folder,)


def before(monkeypatch: pytest.MonkeyPatch, module: object, name: str, happens: Callable[[], object]) -> None:
    """Let something happen once, right before a function of the runbook is called."""
    real, todo = getattr(module, name), [happens]

    def disturbed(*arguments: object, **more: object) -> object:
        while todo:
            todo.pop()()
        return real(*arguments, **more)

    monkeypatch.setattr(module, name, disturbed)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with little room."""
    with small_disk(tmp_path / "disk", 2) as folder:
        yield folder


@pytest.mark.parametrize("compression", ["none", "gzip:1"])
def test_a_disk_that_is_full_during_the_dump_is_named_and_gets_its_room_back(large: Target, programs: Tools, disk: Path, compression: str) -> None:
    with unharmed(large), pytest.raises(ToolError, match="pg_dump failed, .*is no backup: .*No space left on device") as caught:
        dump.make(large, disk / "b", NAME, tools=programs, compression=compression)
    assert caught.value.remedy.startswith("the disk of the backup's folder is full: free space there or name another `backup.directory`")
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("step", ["_describe", "_schema", "_globals", "hashes", "seal"])
def test_a_disk_that_is_full_at_any_other_step_is_named_and_leaves_no_folder(
        source: Target, programs: Tools, disk: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before(monkeypatch, dump, step, lambda: fill(disk))
    with unharmed(source), pytest.raises(RunbookError, match="is no backup.*No space left on device") as caught:
        dump.make(source, disk / "b", NAME, tools=programs)
    assert "disk of the backup's folder is full" in caught.value.remedy and [one.name for one in disk.iterdir()] == ["filler"]


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


FEW = """CREATE TABLE kept (id serial PRIMARY KEY, a int, b text); INSERT INTO kept (a, b) SELECT g, md5(g::text) FROM generate_series(1, 3000) AS g;
         CREATE TABLE other (id int PRIMARY KEY, kept int REFERENCES kept); INSERT INTO other SELECT g, g FROM generate_series(1, 500) AS g;
         CREATE VIEW seen AS SELECT id, a FROM kept WHERE a > 5"""


def test_a_server_restarted_at_any_step_is_said_and_there_is_no_backup(
        second: Server, programs: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def restart() -> None:
        second.stop("immediate")
        second.start()

    for module, step in ((dump, "_pg_dump"), (snapshot, "take"), (content, "_read_batch"), (dump, "_require_unchanged"), (dump, "_globals")):
        with unharmed(lambda: Target.parse(second.url("few"))), monkeypatch.context() as patch:
            before(patch, module, step, restart)
            with pytest.raises((ToolError, DatabaseError)) as caught:
                dump.make(Target.parse(second.url("few")), tmp_path / "b", NAME, tools=programs)
        assert "server" in caught.value.remedy and not (tmp_path / "b").exists(), (step, caught.value)


@pytest.mark.parametrize("module, step", [(dump, "_pg_dump"), (snapshot, "take"), (content, "_read_batch")])
def test_the_session_that_holds_the_instant_ended_by_somebody_is_said_and_there_is_no_backup(
        source: Target, admin: Database, programs: Tools, tmp_path: Path, module: object, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with unharmed(source), monkeypatch.context() as patch:
        before(patch, module, step, lambda: admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'holder' AND state = 'idle in transaction'"))
        with pytest.raises((ToolError, DatabaseError)) as caught:
            dump.make(source, tmp_path / "b", "holder", tools=programs)
    assert "find out in the server's log who ended the session" in caught.value.remedy and not (tmp_path / "b").exists()
