"""A restore that is disturbed: no room, no role, no extension, killed.

The source is as it was, what is left is known as ours, and the next one clears it.
"""

from __future__ import annotations

import os
import pwd
import subprocess
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
from runbook_lib.errors import DatabaseError, RunbookError, ToolError, UsageError, in_full
from runbook_lib.postgres import databases, disk, dump, restorable, scratch
from runbook_lib.postgres import restore as module
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.restore import compare_with, prove, restore
from runbook_lib.postgres.tools import Tools

NAME = "runbook/test/faults/restore"


@pytest.fixture
def tight(
    admin: Database, source: Target, programs: Tools, tmp_path: Path
) -> Iterator[tuple[Backup, Path]]:
    """The backup of a database that lies in a tablespace on a small disk, and that disk."""
    with small_disk(32) as folder:
        (folder / "space").mkdir()
        os.chown(folder / "space", *pwd.getpwnam("nobody")[2:4])
        admin.execute(f"CREATE TABLESPACE tight LOCATION '{folder / 'space'}'")
        admin.execute("CREATE DATABASE tight TABLESPACE tight")
        with Database(source.named("tight"), NAME) as db:
            db.execute(
                "CREATE TABLE rows AS SELECT g, md5(g::text) AS a "
                "FROM generate_series(1, 20000) AS g"
            )
        yield dump.make(source.named("tight"), tmp_path / "b", NAME, tools=programs), folder
        (folder / "filler").unlink(missing_ok=True)
        admin.execute("DROP DATABASE tight WITH (FORCE)")
        admin.execute("DROP TABLESPACE tight")


@pytest.mark.fault(
    "the server's disk, full",
    "before the restore",
    "the proof by a restore",
    "said; nothing is made",
)
def test_a_server_without_room_is_said_before_anything_is_made(
    tight: tuple[Backup, Path], source: Target, admin: Database, programs: Tools, beside: Target
) -> None:
    made, folder = tight
    fill(folder)
    with (
        unharmed(source.named("tight")),
        pytest.raises(
            UsageError,
            match=r"no room for a restore: the database took .*, 0 B are free in .*tight",
        ),
    ):
        restore(made, beside, NAME, tools=programs)
    assert databases.entry(admin, beside.database) is None


@pytest.mark.fault(
    "the server's disk, full",
    "the restore: at {step}",
    "the proof by a restore",
    "named; its room given back, no copy left",
)
@pytest.mark.parametrize(
    "at, step, said",
    [
        (databases, "create", "could not be made: .*53100"),
        (module, "_pg_restore", "is dropped again: .*No space left on device"),
    ],
)
def test_a_disk_that_is_full_by_then_is_named_and_has_its_room_back(
    tight: tuple[Backup, Path],
    source: Target,
    admin: Database,
    programs: Tools,
    beside: Target,
    at: object,
    step: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, folder = tight
    before(monkeypatch, at, step, lambda: (admin.execute("CHECKPOINT"), fill(folder)))
    with (
        unharmed(source.named("tight")),
        pytest.raises((ToolError, DatabaseError), match=said) as caught,
    ):
        restore(made, beside, NAME, tools=programs)
    assert caught.value.remedy == FREE and databases.entry(admin, beside.database) is None


@pytest.mark.fault(
    "the server's disk, full",
    "the restore: while it cleans up",
    "the proof by a restore",
    "said; the next restore clears what is left",
)
def test_a_disk_too_full_to_drop_anything_is_said_and_the_next_restore_clears_what_is_left(
    tight: tuple[Backup, Path],
    source: Target,
    admin: Database,
    programs: Tools,
    beside: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL writes a checkpoint before it drops a database, and what it just made is on no
    disk yet.
    """
    made, folder = tight
    before(monkeypatch, module, "_pg_restore", lambda: fill(folder))
    with (
        unharmed(source.named("tight")),
        pytest.raises(
            ToolError, match=r"(?s)No space left on device.*dropping .* failed, too"
        ) as caught,
    ):
        restore(made, beside, NAME, tools=programs)
    assert caught.value.remedy == FREE and "it is marked as unfinished" in in_full(caught.value)
    (folder / "filler").unlink()
    restore(made, beside, NAME, tools=programs)
    assert compare_with(made, beside, NAME).identical


FREE = "the server's disk is full: free space there, and repeat"


def test_room_that_cannot_be_known_is_said_and_not_assumed(
    made: Backup, admin: Database, programs: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(disk, "_proven", lambda *_: False)
    restorable.require_room(admin, made, made.database(), Ticker(lines.append))
    assert (
        lines[0].startswith("whether the server has the ")
        and "cannot be proven to be this server's" in lines[0]
    )


@pytest.fixture(scope="module")
def bare(other_installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second server, of an installation that lacks hstore, and without the roles of the first."""
    made = Server(
        tmp_path_factory.mktemp("bare"),
        {"fsync": "off", "full_page_writes": "off"},
        other_installation,
    ).start()
    yield made
    made.stop("immediate")


@pytest.fixture
def owned(admin: Database, target: Target) -> Iterator[Target]:
    """A database with tables of a role of its own, and an extension."""
    admin.execute('CREATE ROLE "clinic owner" LOGIN; CREATE ROLE reader')
    with Database(target, NAME) as db:
        db.execute(
            "CREATE EXTENSION hstore; CREATE TABLE visits (id int); ALTER TABLE visits OWNER TO "
            '"clinic owner"; GRANT SELECT ON visits TO reader'
        )
    yield target
    with Database(target, NAME) as db:
        db.execute('DROP OWNED BY "clinic owner", reader CASCADE')
    admin.execute('DROP ROLE "clinic owner", reader')


def test_a_server_that_lacks_roles_and_extensions_is_told_which_and_what_to_do(
    owned: Target, bare: Server, programs: Tools, tmp_path: Path
) -> None:
    other = Target.parse(bare.url("visits"))
    with unharmed(owned):
        made = dump.make(owned, tmp_path / "b", NAME, tools=programs)
        with pytest.raises(
            UsageError,
            match="lacks what the backup needs: extension hstore, role clinic owner, role reader",
        ) as caught:
            restore(made, other, NAME, tools=programs)
    assert (
        "globals.sql of the backup" in caught.value.remedy
        and "install the packages that bring the extensions" in caught.value.remedy
    )
    subprocess.run(
        [programs.path("psql"), "-q", "-f", str(made.folder / "globals.sql")],
        env=other.named("postgres").environment(NAME),
        capture_output=True,
    )
    with pytest.raises(UsageError, match="needs: extension hstore\n"):
        restore(made, other, NAME, tools=programs)
    with Database(other.named("postgres"), NAME) as there:
        assert databases.entry(there, "visits") is None


def test_what_is_lacking_and_was_not_foreseen_has_a_remedy_too(
    owned: Target, bare: Server, programs: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = (
        dump.make(owned, tmp_path / "b", NAME, tools=programs),
        Target.parse(bare.url("visits")),
    )
    monkeypatch.setattr(restorable, "require_there", lambda *_: None)
    with pytest.raises(ToolError, match='extension "hstore" is not available') as caught:
        restore(made, other, NAME, tools=programs)
    assert caught.value.remedy == "install the package that brings the extension on the server"


@pytest.fixture(scope="module")
def large(
    source: Target, programs: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backup]:
    """The backup of a database whose restore takes a while."""
    rows = (
        "CREATE TABLE big AS SELECT g, md5(g::text) AS a "
        "FROM generate_series(1, 100000) AS g; CREATE INDEX ON big (a)"
    )
    with made_database(source, "slow", rows) as target:
        yield dump.make(target, tmp_path_factory.mktemp("slow") / "b", NAME, tools=programs)


KILLED = {
    "while pg_restore copies": "",
    "before privileges and settings": "databases.apply = here",
    "before statistics": "restore._analyze = here",
}


@pytest.mark.fault(
    "the runbook, kill -9",
    "{what}: {point}",
    "the proof by a restore",
    "what is left is known as ours, and the next one clears it",
)
@pytest.mark.parametrize(
    "what, point", [*(("restore", point) for point in KILLED), ("prove", "before statistics")]
)
def test_what_a_killed_restore_left_is_known_as_ours_and_the_next_one_clears_it(
    large: Backup,
    source: Target,
    admin: Database,
    programs: Tools,
    beside: Target,
    what: str,
    point: str,
) -> None:
    name = beside.database if what == "restore" else "postgres"
    code = (
        f"restore.{what}(backup.load(sys.argv[1]), target.named({name!r}), 'killed', "
        "tools=tools(target, BINARIES))"
    )
    with (
        unharmed(source.named("slow")),
        process(source, f"{KILLED[point]}\n{code}", str(large.folder)) as child,
    ):
        if KILLED[point]:
            assert arrived(child)
        else:
            until(
                lambda: admin.value("SELECT count(*) FROM pg_stat_progress_copy"),
                "rows being copied",
            )
        child.kill()
        nothing_works_for(admin, "killed", large.folder)
    left = [
        one
        for one in databases.entries(admin).values()
        if one.comment.startswith(databases.UNFINISHED)
    ]
    assert (
        len(left) == 1
        and not left[0].maker_alive
        and left[0].name.startswith(beside.database if what == "restore" else scratch.PREFIX)
    )
    lines: list[str] = []
    if what == "restore":
        restore(large, beside, NAME, tools=programs)
        assert compare_with(large, beside, NAME).identical
    else:
        assert prove(large, source, NAME, tools=programs, on_line=lines.append).identical
        assert (
            f"dropped {left[0].name}, left behind by a process that was killed" in lines
            and len(scratch.leftovers(admin)) == 0
        )


@pytest.mark.fault(
    "the server, restarted",
    "during the restore",
    "the proof by a restore",
    "said; what is left is cleared by the next",
)
def test_a_server_restarted_during_a_restore_is_said_and_what_is_left_is_cleared_by_the_next(
    large: Backup, bare: Server, programs: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        bare.stop("immediate")

    with monkeypatch.context() as patch:
        before(patch, databases, "apply", stop)
        with pytest.raises(RunbookError, match="dropping again .* failed, too") as caught:
            restore(large, Target.parse(bare.url("again")), NAME, tools=programs)
    assert "the next restore of that name, and `runbook prune PARAMS`, drop it" in in_full(
        caught.value
    )
    bare.start()
    again = Target.parse(bare.url("again"))
    restore(large, again, NAME, tools=programs)
    assert compare_with(large, again, NAME).identical
