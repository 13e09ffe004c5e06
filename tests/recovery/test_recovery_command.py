"""The operator's commands: pgBackRest of Debian leads a Debian server back; commands that do
something else are refused.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archived_worlds import NAME, Day, World, identifier, live

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import CheckError, DatabaseError, ToolError
from runbook_lib.postgres.connection import Target
from runbook_lib.postgres.server import environment, free_port, give, unprivileged
from runbook_lib.recovery.command import Commands
from runbook_lib.secret import resolve

DEBIAN = Path("/usr/lib/postgresql/15/bin")
needs_pgbackrest = pytest.mark.skipif(
    not shutil.which("pgbackrest") or not (DEBIAN / "postgres").exists(),
    reason="there is no pgBackRest, or no PostgreSQL 15 (Debian: pgbackrest postgresql-15)",
)
AS_SERVER = " ".join(unprivileged([]))
RECOVER = """
set -e
cd / && data="$RUNBOOK_RECOVERY_FOLDER/data"
if [ -e "$data/postmaster.pid" ]; then exit 0; fi
{as_server} pgbackrest --config={config} --stanza=main --pg1-path="$data" --type=name \
    --target="$RUNBOOK_POINT_NAME" --target-action=promote \
  --archive-mode=off --delta restore
{as_server} {bin}/postgres -D "$data" -c listen_addresses=127.0.0.1 -c port={port} \
    -c unix_socket_directories= > "$RUNBOOK_RECOVERY_FOLDER/log" 2>&1 &
"""
DISCARD = """
if [ -e "$RUNBOOK_RECOVERY_FOLDER/data/postmaster.pid" ]; then
  {as_server} {bin}/pg_ctl -D "$RUNBOOK_RECOVERY_FOLDER/data" -m immediate -w stop
fi
rm -rf "$RUNBOOK_RECOVERY_FOLDER"
"""


@dataclass(frozen=True)
class PgBackRest:
    """A Debian server with pgBackRest, and a day of it."""

    commands: Commands
    day: Day


@pytest.fixture(scope="module")
def pgbackrest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBackRest]:
    folder = tmp_path_factory.mktemp("pgbackrest")
    for name in ("repo", "log", "lock", "spool", "recovered"):
        (folder / name).mkdir()
        give(folder / name)
    config = folder / "pgbackrest.conf"
    archive = f"pgbackrest --config={config} --stanza=main archive-push %p"
    server = Server(
        folder / "server",
        {
            "fsync": "off",
            "archive_mode": "on",
            "archive_command": archive,
            "unix_socket_directories": str(folder / "lock"),
            "shared_preload_libraries": "",
        },
        DEBIAN,
    ).start()
    config.write_text(
        "[global]\n"
        f"repo1-path={folder}/repo\n"
        f"log-path={folder}/log\n"
        f"lock-path={folder}/lock\n"
        f"spool-path={folder}/spool\n"
        "start-fast=y\n"
        "archive-timeout=20\n"
        "compress-level=0\n"
        "[main]\n"
        f"pg1-path={server.data}\n"
        f"pg1-port={server.port}\n"
        f"pg1-socket-path={folder}/lock\n"
        "pg1-user=postgres\n"
    )
    variables, port = environment() | {"PGPASSWORD": server.password}, free_port()
    for command in ("stanza-create", "backup"):
        subprocess.run(
            unprivileged(["pgbackrest", f"--config={config}", "--stanza=main", command]),
            check=True,
            env=variables,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
    target = Target.parse(server.url())
    texts = {"as_server": AS_SERVER, "config": config, "bin": DEBIAN, "port": port}
    (folder / "url").write_text(
        f"postgresql://postgres:{server.password}@127.0.0.1:{port}/postgres"
    )
    commands = Commands(
        f"cd / && {AS_SERVER} pgbackrest --config={config} --stanza=main check",
        RECOVER.format(**texts),
        DISCARD.format(**texts),
        lambda: resolve(f"file:{folder}/url", "recovery.url"),
        folder / "recovered",
        identifier(target),
        NAME,
        {"PGPASSWORD": server.password},
        60,
    )
    yield PgBackRest(commands, live(target))
    server.stop("immediate")


@needs_pgbackrest
def test_pgbackrest_leads_back_to_the_restore_point_and_the_live_server_is_left_alone(
    pgbackrest: PgBackRest,
) -> None:
    commands, day = pgbackrest.commands, pgbackrest.day
    assert [one.status for one in commands.checks()] == [Status.PASSED]
    (commands.folder / f"recovered_{day.point.label}").mkdir()
    give(commands.folder / f"recovered_{day.point.label}")
    try:
        found = commands.recover(day.point, day.target)
        assert day.is_before(found.target) and found.proof.passed and day.untouched()
        assert (
            commands.recover(day.point, day.target).target == found.target
        )  # an interrupted attempt is taken up again
    finally:
        commands.discard(day.point)
    assert not (commands.folder / f"recovered_{day.point.label}" / "data").exists()


@pytest.fixture
def commands(world: World, tmp_path: Path) -> Commands:
    """Commands that do nothing, and lead to the live server."""
    return Commands(
        "true",
        "true",
        "true",
        lambda: world.server.url(),
        tmp_path,
        world.local.system_identifier,
        NAME,
        {},
        1,
    )


def test_the_live_server_is_not_taken_for_a_recovered_one(commands: Commands, world: World) -> None:
    with pytest.raises(CheckError, match="it is not the live server — failed"):
        commands.recover(world.day.point, world.day.target)


def test_a_live_server_that_lets_nobody_in_could_be_any_server(
    commands: Commands, world: World
) -> None:
    with pytest.raises(CheckError, match="it is not the live server — could not check"):
        commands.recover(
            world.day.point, replace(world.day.target, user="nobody", password="fictitious-word")
        )


def test_another_server_is_not_taken_for_a_recovered_one(
    commands: Commands, world: World, server: Server
) -> None:
    with pytest.raises(
        CheckError,
        match="(?s)a copy of the pinned server — failed.*stopped at the restore point — could not "
        "check",
    ):
        replace(commands, url=server.url).recover(world.day.point, world.day.target)


def test_a_server_that_does_not_come_up_is_said(commands: Commands, world: World) -> None:
    lines: list[str] = []
    with pytest.raises(DatabaseError, match="has not ended its recovery after 1 s"):
        replace(commands, url=lambda: "postgresql://u:fictitious-word@127.0.0.1:1/d").recover(
            world.day.point, world.day.target, lines.append
        )
    assert lines and "fictitious-word" not in "".join(lines)


def test_the_commands_are_told_the_point_and_their_failure_is_an_error(
    commands: Commands, world: World, tmp_path: Path
) -> None:
    kept = tmp_path / "variables"
    variables = f"env | grep -E '^RUNBOOK_(POINT|RECOVERY)_' | sort > {kept}; exit 3"
    told = replace(commands, recover_command=variables)
    with pytest.raises(ToolError, match="status 3"):
        told.recover(world.day.point, world.day.target, print)
    point = world.day.point
    assert kept.read_text().splitlines() == [
        f"RUNBOOK_POINT_LSN={point.lsn}",
        f"RUNBOOK_POINT_NAME={point.name}",
        f"RUNBOOK_POINT_TIME={point.time}",
        f"RUNBOOK_RECOVERY_FOLDER={commands.folder}/recovered_{point.name}",
    ]


def test_a_check_that_fails_or_cannot_be_made_does_not_pass(commands: Commands) -> None:
    assert [one.status for one in replace(commands, check="echo no; false").checks()] == [
        Status.FAILED
    ]
    assert "no" in replace(commands, check="echo no; false").checks()[0].found
