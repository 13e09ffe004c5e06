"""Bad input is refused by the command line: what is wrong, where, what to do; exit status 2; and
nothing is touched.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from worlds import World, make_world

from runbook_lib import params
from runbook_lib.errors import UsageError
from runbook_lib.phases.start import examine
from runbook_lib.postgres.connection import Database
from runbook_lib.run import now

OLDER_TOOLS = Path(__file__).resolve().parents[2] / ".servers" / "15" / "bin"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One platform for all cases: none of them may change it."""
    made = make_world(tmp_path_factory.mktemp("bad"), lambda values: values.pop("rollback"))
    made.platform.up(lambda line: None, fresh=True)
    yield made
    made.platform.down(lambda line: None)


@pytest.fixture(autouse=True)
def untouched(world: World) -> Iterator[None]:
    """Whatever is refused: files, databases and the history of migrations are as before, and
    nobody of ours is left.
    """
    before = state(world)
    yield
    assert state(world) == before


def state(world: World) -> dict[str, Any]:
    """All that a refused run could have touched."""
    demo = world.folder / "demo"
    project = [
        path
        for path in sorted((demo / "platform").rglob("*"))
        if path.is_file() and not {"node_modules", ".pm2", "logs"} & {*path.parts}
    ]
    with world.db() as db:
        return {
            "folders": sorted(
                str(path) for path in (world.archive, demo / "backups") if path.exists()
            ),
            "project": {
                str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in project
            },
            "databases": [
                row["datname"] for row in db.rows("SELECT datname FROM pg_database ORDER BY 1")
            ],
            "history": db.rows('SELECT * FROM "_prisma_migrations" ORDER BY id'),
            "sessions": db.rows(
                "SELECT application_name FROM pg_stat_activity "
                "WHERE application_name LIKE 'runbook%'"
            ),
        }


@pytest.fixture
def refused(world: World, tmp_path: Path) -> Callable[..., str]:
    """Runs the runbook with changed parameters that are nobody's demo; what it says when it
    refuses.
    """

    def run(
        change: Change = lambda values: None,
        text: str | None = None,
        file: Path = tmp_path / "bad.yaml",
        arguments: tuple[str, ...] = (),
    ) -> str:
        values = copy.deepcopy(params.load(world.file))
        del values["demo"]
        change(values)
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values) if text is None else text)
        done = world.command("run", str(file), *arguments)
        said = done.stdout + done.stderr
        assert done.returncode == 2, said
        assert "→ " in said and "Traceback" not in said and world.platform.password not in said
        return said

    return run


Refused = Callable[..., str]


@pytest.fixture
def project(world: World, tmp_path: Path) -> Path:
    """A copy of the sample's project that a case may spoil."""
    made = tmp_path / "project"
    shutil.copytree(
        world.platform.project, made, symlinks=True, ignore=shutil.ignore_patterns(".pm2", "logs")
    )
    return made


def section(name: str, **changed: Any) -> Change:
    """A change of some keys of one section."""
    return lambda values: values[name].update(changed)


def database_url(tmp_path: Path, url: str) -> Change:
    """A change of what `database.url` leads to."""
    (tmp_path / "url").write_text(url)
    return section("database", url=f"file:{tmp_path / 'url'}")


def test_a_parameter_file_that_is_missing(refused: Refused, tmp_path: Path) -> None:
    assert (
        f"the parameter file {tmp_path / 'missing.yaml'} cannot be read: No such file"
        in refused(file=tmp_path / "missing.yaml")
    )


def test_a_folder_in_place_of_the_parameter_file(refused: Refused, tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refused(file=tmp_path)


def test_a_parameter_file_that_is_not_yaml(refused: Refused) -> None:
    assert "bad.yaml is not YAML (line 2)" in refused(text="environment: [\n")


def test_a_parameter_file_that_holds_no_keys(refused: Refused) -> None:
    assert "bad.yaml holds no mapping of keys" in refused(text="- 1\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (section("backup", colour="red"), "`backup.colour`: unknown key"),
        (lambda values: values.update(colour="red"), "`colour`: unknown key"),
        (lambda values: values.update(demo=True), "`demo` (bool given)"),
        (lambda values: values.pop("database"), "`database`: is missing"),
        (section("migrate", lock_timeout_s="5"), "`migrate.lock_timeout_s` (str given)"),
        (
            section("migrate", lock_timeout_s=-1),
            "`migrate.lock_timeout_s` (int given): Input should be greater than 0",
        ),
    ],
    ids=[
        "unknown key",
        "unknown section",
        "wrong type of a section",
        "missing section",
        "wrong type",
        "out of range",
    ],
)
def test_keys_and_values_that_are_not_allowed(refused: Refused, change: Change, said: str) -> None:
    output = refused(change)
    assert said in output and "bad.yaml: 1 wrong" in output and "README" in output


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (section("database", url="postgresql://u:literal-pw@h/d"), "database.url"),
        (section("service", url="http://u:literal-pw@h/"), "service.url"),
        (section("service", environment={"API_TOKEN": "literal-pw"}), "service.environment"),
        (
            section("prisma", environment={"DATABASE_URL": "postgresql://u:literal-pw@h/d"}),
            "prisma.environment",
        ),
        (section("prisma", environment={"PGPASSWORD": "literal-pw"}), "prisma.environment"),
    ],
    ids=[
        "database",
        "service",
        "token among variables",
        "URL among variables",
        "password among variables",
    ],
)
def test_a_literal_password(refused: Refused, change: Change, key: str) -> None:
    said = refused(change)
    assert (
        f"`{key}`" in said
        and "env:NAME, file:PATH or keyring:SERVICE/NAME" in said
        and "literal-pw" not in said
    )


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:RUNBOOK_TEST_NOWHERE", "the variable RUNBOOK_TEST_NOWHERE, which is not set"),
        ("file:/nowhere/url", "the file /nowhere/url, which cannot be read"),
    ],
)
def test_a_reference_that_leads_nowhere(refused: Refused, reference: str, said: str) -> None:
    assert f"`database.url` refers to {said}" in refused(section("database", url=reference))


def test_a_url_of_another_database_system(refused: Refused, tmp_path: Path) -> None:
    said = refused(database_url(tmp_path, "mysql://u:hidden-pw@h/d"))
    assert (
        "not of the form postgresql://" in said
        and "`database: url:`" in said
        and "hidden-pw" not in said
    )


def test_a_host_that_nobody_answers_on(refused: Refused, tmp_path: Path) -> None:
    with socket.socket() as probe:  # bound and not listening: closed, and nobody else's
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        said = refused(
            database_url(tmp_path, f"postgresql://u:hidden-pw@127.0.0.1:{port}/healthcare")
        )
    assert (
        f"`database.url`: cannot connect to healthcare on 127.0.0.1:{port}" in said
        and "check host and port" in said
        and "hidden-pw" not in said
    )


def test_a_wrong_password(refused: Refused, world: World, tmp_path: Path) -> None:
    said = refused(
        database_url(tmp_path, world.url().replace(world.platform.server.password, "hidden-pw"))
    )
    assert (
        "`database.url`" in said
        and "password authentication failed" in said
        and "check the password" in said
        and "hidden-pw" not in said
    )


def test_a_database_that_is_missing_is_not_created(
    refused: Refused, world: World, tmp_path: Path
) -> None:
    said = refused(database_url(tmp_path, world.url("no_such_database")))
    assert (
        "`database.url`" in said
        and 'database "no_such_database" does not exist' in said
        and "it is never created here" in said
    )


def test_a_server_that_is_too_old(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No PostgreSQL 13 can be had here, so the server's version is told falsely, to the function
    that refuses.
    """
    monkeypatch.setattr(Database, "server_version", property(lambda self: 130022))
    with pytest.raises(
        UsageError,
        match=r"the server is PostgreSQL 13; 14 or later is needed\n→ upgrade the server first",
    ):
        examine(params.parse(params.load(world.file)))


@pytest.mark.skipif(
    not OLDER_TOOLS.exists(),
    reason=f"there are no tools of PostgreSQL 15 in {OLDER_TOOLS} (Debian: postgresql-15)",
)
def test_tools_that_are_older_than_the_server(refused: Refused) -> None:
    said = refused(section("database", tools=str(OLDER_TOOLS)))
    assert (
        "no PostgreSQL tools fit the server's version 18; found: 15." in said
        and "`database: tools:`" in said
    )


def test_tools_that_are_not_there(refused: Refused, tmp_path: Path) -> None:
    said = refused(section("database", tools=str(tmp_path)))
    assert "found: none" in said and "`database: tools:`" in said


def test_a_project_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    assert "set `prisma: project:`" in refused(section("prisma", project=str(tmp_path / "nowhere")))


def test_prisma_that_is_not_installed(refused: Refused, project: Path) -> None:
    (project / "node_modules").unlink()
    said = refused(section("prisma", project=str(project)))
    assert f"Prisma is not installed in {project}" in said and "npm ci" in said


def test_prisma_of_a_major_that_is_not_known_yet(refused: Refused, project: Path) -> None:
    (project / "node_modules").unlink()
    (project / "node_modules" / "prisma").mkdir(parents=True)
    (project / "node_modules" / "prisma" / "package.json").write_text(
        '{"name": "prisma", "version": "8.0.0"}'
    )
    said = refused(section("prisma", project=str(project)))
    assert f"Prisma 8.0.0 is installed in {project}" in said and "install Prisma 7" in said


def test_no_folder_of_migrations(refused: Refused, project: Path) -> None:
    shutil.rmtree(project / "prisma" / "migrations")
    said = refused(section("prisma", project=str(project)))
    assert (
        f"there is no folder of migrations at {project / 'prisma' / 'migrations'}" in said
        and "restore the folder" in said
    )


def test_a_migration_folder_without_sql(refused: Refused, project: Path) -> None:
    (project / "prisma" / "migrations" / "20991231000000_forgotten").mkdir()
    said = refused(section("prisma", project=str(project)))
    assert (
        "the migration folder 20991231000000_forgotten has no migration.sql" in said
        and "restore the file" in said
    )


@pytest.mark.parametrize(
    ("variables", "said_by_prisma"),
    [
        (
            {"PRISMA_SCHEMA_ENGINE_BINARY": "/nowhere/schema-engine"},
            "Env var PRISMA_SCHEMA_ENGINE_BINARY is provided",
        ),
        (
            {"PRISMA_ENGINES_MIRROR": "http://127.0.0.1:1", "HOME": "/nonexistent"},
            "schema-engine.gz.sha256 failed, reason: connect ECONNREFUSED",
        ),
    ],
)
def test_an_engine_that_is_not_there_in_prismas_own_words(
    refused: Refused, project: Path, variables: dict[str, str], said_by_prisma: str
) -> None:
    said = refused(
        section("prisma", project=str(project), engine="installed", environment=variables)
    )
    assert "Prisma does not work here" in said and "set `prisma: engine: offline`" in said
    assert said_by_prisma in " ".join(said.split())


def test_a_run_folder_that_is_already_there(refused: Refused, world: World) -> None:
    last = sorted((world.platform.project / "prisma" / "migrations").glob("*/migration.sql"))[
        -1
    ].parent.name
    taken = {
        world.archive / f"{now() + timedelta(seconds=second):%Y%m%dT%H%M%SZ}_demo_{last}"
        for second in range(60)
    }
    for folder in taken:
        folder.mkdir(parents=True)
    said = refused()
    assert "is already there; a run is never overwritten" in said and "try again" in said
    assert {path for path in world.archive.rglob("*") if ".locks" not in path.parts} == taken
    shutil.rmtree(world.archive)


def test_an_archive_that_cannot_be_made(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "correct `environment.archive`" in refused(
        section("environment", archive=str(tmp_path / "file" / "archive"))
    )


def test_phases_that_are_unknown_or_not_in_their_order(refused: Refused) -> None:
    assert "there is no phase 'migration'" in refused(arguments=("--to", "migration"))
    assert "give --from and --to in their order" in refused(
        arguments=("--from", "migrate", "--to", "plan")
    )


def test_a_disk_that_is_too_small(refused: Refused, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small disk cannot be mounted here")
    try:
        said = refused(section("backup", directory=str(small / "backups")))
        assert (
            f"the disk of `backup.directory` ({small / 'backups'}) has 64" in said
            and "the backup needs about" in said
            and "make room" in said
        )
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)
