"""Phases on a real database and a small Prisma project, without notebooks; and a night in small: a
run that has come to the deployment, and the others who use the database.
"""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from runbook_lib import params
from runbook_lib.check import Checks
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError
from runbook_lib.phases.announce import Announce
from runbook_lib.phases.base import Phase
from runbook_lib.phases.identity import identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.plan import Plan
from runbook_lib.phases.start import examine
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.prisma import cli, history
from runbook_lib.prisma.project import Project
from runbook_lib.run import create
from tests.prisma.conftest import INIT, Make, lay_out, make, rows

__all__ = ["make"]

ROOT = Path(__file__).resolve().parents[2]
SEED = """CREATE TABLE "Visit" ("id" INTEGER PRIMARY KEY, "kind" TEXT);
INSERT INTO "Patient" SELECT g, 'Fictitious ' || g FROM generate_series(1, 200) AS g;
INSERT INTO "Visit" SELECT g, 'first' FROM generate_series(1, 200) AS g;
"""


@dataclass
class Night:
    """A run whose gate is open, before its deployment.

    Args:
        url: of its database.
        others: sessions of others that were opened on it, closed at the end.
    """

    url: str = field(repr=False)
    phase: Migrate
    others: ExitStack = field(default_factory=ExitStack)

    def db(self, name: str = "tests") -> Database:
        """A session of somebody else's."""
        return self.others.enter_context(Database(Target.parse(self.url), name))

    def holding(self, statement: str, name: str = "monthly-report") -> Database:
        """Somebody whose transaction stays open after a statement."""
        db = self.db(name)
        db.execute("BEGIN")
        db.execute(statement)
        return db

    def again(self) -> Migrate:
        """Another phase of the same run, as a second kernel would have it; its gate is open,
        too.
        """
        made = Migrate(self.phase.run)
        made.pass_gate("migrate", Checks("Open", []))
        made.save()
        made.restore_point()
        self.others.callback(made._give_back)
        return made

    def attempts(self) -> list[dict[str, Any]]:
        """What the journal says of each attempt."""
        return [line for line in self.phase.run.read_journal() if line["what"] == "attempt ended"]

    def history(self) -> list[tuple[str, str]]:
        """Prisma's own record, oldest first: file and how it stands."""
        return [
            (
                row["migration_name"],
                "rolled back"
                if row["rolled_back_at"]
                else "finished"
                if row["finished_at"]
                else "unfinished",
            )
            for row in rows(self.url)
        ][1:]

    def left(self) -> list[str]:
        """What is left of the migration: sessions on the server, processes here."""
        found = self.db().rows(
            "SELECT application_name FROM pg_stat_activity "
            "WHERE application_name LIKE 'runbook/%%/migrate/prisma'",
            (),
        )
        children = [
            " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)
        ]
        return [row["application_name"] for row in found] + [
            line for line in children if "prisma" in line
        ]


class Statement(threading.Thread):
    """A statement of somebody else's, in a session of its own; `error` is what became of it,
    `done` whether it ended well.
    """

    def __init__(self, night: Night, statement: str, name: str = "booking") -> None:
        super().__init__(daemon=True)
        self.db, self._statement, self.error, self.done = night.db(name), statement, "", False
        self.start()

    def run(self) -> None:
        try:
            self.db.execute(self._statement)
            self.done = True
        except DatabaseError as error:
            self.error = error.message

    def ended_well(self) -> bool:
        """Whether it came to its end, unharmed; a session that is used once more then still is
        there.
        """
        self.join(60)
        return self.done and self.db.value("SELECT 1") == 1


class When(threading.Thread):
    """Does something once it sees what it waits for in the database; fails the test where it
    never did.
    """

    def __init__(self, night: Night, seen: str, then: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._db, self._seen, self._then, self._over = (
            night.db("observer"),
            seen,
            then,
            threading.Event(),
        )
        self.result: Any = None
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.02):
            if self._db.rows(self._seen):
                self.result = self._then()
                return

    def get(self) -> Any:
        """What came of it."""
        self.join(60)
        self._over.set()
        assert self.result is not None, f"never seen: {self._seen}"
        return self.result


MIGRATION_WAITS = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'runbook/%/migrate/prisma' "
    "AND wait_event_type = 'Lock'"
)
MIGRATION_SLEEPS = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'runbook/%/migrate/prisma' "
    "AND wait_event = 'PgSleep'"
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that also keeps prepared transactions and logical slots."""
    made = Server(
        tmp_path_factory.mktemp("phases"),
        {
            "fsync": "off",
            "full_page_writes": "off",
            "max_prepared_transactions": "10",
            "wal_level": "logical",
        },
    ).start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def template(server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database to which the first migration was applied, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    project = lay_out(folder / "project", sample, INIT)
    with Database(Target.parse(server.url())) as admin:
        admin.execute("CREATE DATABASE night TEMPLATE template0")
    cli.deploy(project, server.url("night"))
    with Database(Target.parse(server.url("night"))) as db:
        db.execute(SEED)
    return "night"


@pytest.fixture
def night(
    make: Make, template: str, server: Server, tmp_path: Path
) -> Iterator[Callable[..., Night]]:
    """Makes a night with these pending migrations; `mode` is how Prisma sends a file, `migrate`
    further parameters of that section.
    """
    with ExitStack() as stack:

        def made(
            migrations: dict[str, str],
            mode: str = "file",
            monitoring: dict[str, Any] | None = None,
            **migrate: Any,
        ) -> Night:
            url = stack.enter_context(_copy(server, template))
            project = make(INIT | migrations, mode)
            (tmp_path / "url").write_text(url)
            values = params.load(ROOT / "params" / "demo.yaml")
            for key in ("service", "validate", "notify", "demo"):
                values.pop(key)
            values["monitoring"] = monitoring or {}
            values["environment"]["archive"] = str(tmp_path / "archive")
            values["database"]["url"] = f"file:{tmp_path / 'url'}"
            values["prisma"] = {
                "project": str(project.folder),
                "engine": "offline",
                "environment": {"OFFLINE_ENGINE_TRANSACTIONS": mode},
            }
            values["migrate"] = {
                "lock_timeout_s": 20.0,
                "statement_timeout_s": 20.0,
                "guard": {"victims": 0, "wait_s": 0.3, "pause_s": 0.5},
            } | migrate
            with Database(Target.parse(url)) as db:
                run = create(values, list(migrations), identify(db))
            _up_to_the_gate(
                stack, plan := Plan(run), announce := Announce(run), phase := Migrate(run)
            )
            plan.findings()
            plan.seal()
            announce._passed.add("announce")
            announce.fix_the_state_before()
            run.begin_phase("migrate", "60_migrate.ipynb")
            phase.pass_gate("migrate", Checks("Open", []))
            phase.save()
            phase.restore_point()
            made = Night(url, phase)
            stack.enter_context(made.others)
            return made

        yield made


def _up_to_the_gate(stack: ExitStack, *phases: Phase) -> None:
    for phase in phases:
        stack.callback(phase._give_back)


class _copy:
    """A copy of a database, dropped at the end."""

    def __init__(self, server: Server, template: str) -> None:
        self._server, self._template, self._name = (
            server,
            template,
            f"night_{uuid.uuid4().hex[:12]}",
        )

    def __enter__(self) -> str:
        self._admin("CREATE DATABASE {} TEMPLATE {}", self._name, self._template)
        return self._server.url(self._name)

    def __exit__(self, *_: object) -> None:
        self._admin("DROP DATABASE {} WITH (FORCE)", self._name)

    def _admin(self, statement: str, *names: str) -> None:
        with Database(Target.parse(self._server.url())) as admin:
            admin.execute(sql.SQL(statement).format(*map(identifier, names)))


@dataclass(frozen=True)
class SmallDisk:
    """A disk of 8 MiB, and the tablespace on it."""

    folder: Path
    tablespace: str

    def grow(self) -> None:
        """Make room."""
        subprocess.run(["mount", "-o", "remount,size=256m", str(self.folder)], check=True)


@pytest.fixture
def small_disk(server: Server, tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk; skipped where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", str(folder)],
            capture_output=True,
        ).returncode
    ):
        pytest.skip("a small disk cannot be mounted here: that needs root")
    try:
        (folder / "files").mkdir()
        os.chown(folder / "files", (owner := server.data.stat()).st_uid, owner.st_gid)
        made = SmallDisk(folder, f"small_{uuid.uuid4().hex[:8]}")
        with Database(Target.parse(server.url())) as admin:
            admin.execute(f"CREATE TABLESPACE {made.tablespace} LOCATION '{folder / 'files'}'")
        yield made
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


Opened = Callable[..., Any]


@pytest.fixture(scope="session")
def initial(server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database to which the real CLI applied `INIT`; nobody connects to it."""
    with Database(Target.parse(server.url())) as db:
        db.execute("CREATE DATABASE template_init TEMPLATE template0")
    cli.deploy(
        lay_out(tmp_path_factory.mktemp("init") / "project", sample, INIT),
        server.url("template_init"),
    )
    return "template_init"


@pytest.fixture
def deployed(server: Server, initial: str) -> Iterator[str]:
    """The URL of a copy of it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with Database(Target.parse(server.url())) as db:
        db.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(identifier(name), identifier(initial))
        )
        yield server.url(name)
        db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier(name)))


def enter(url: str, project: Project, name: str) -> None:
    """A file of the project enters Prisma's history as applied; nothing is run."""
    file = history.MigrationFile.read(project.migrations / name / "migration.sql")
    with Database(Target.parse(url)) as db:
        db.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, "
            "applied_steps_count) VALUES (%s, %s, %s, now(), 1)",
            [name, file.sha256, name],
        )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens a phase of a new run: of this class, this project, the database of this URL."""
    phases: list[Phase] = []

    def made(cls: type[Phase], project: Project, url: str, **sections: Any) -> Phase:
        (tmp_path / "database_url").write_text(url)
        prisma = {
            "project": str(project.folder),
            "engine": "offline",
            "environment": dict(project.environment),
            **sections.pop("prisma", {}),
        }
        values = {
            "environment": {"name": "tests", "archive": str(tmp_path / "archive")},
            "engineer": "Test Engineer",
            "database": {"url": f"file:{tmp_path / 'database_url'}"},
            "prisma": prisma,
            "backup": {"directory": str(tmp_path / "backups")},
            **sections,
        }
        found = examine(params.parse(values))
        run = create(values, list(found.pending), found.target)
        run.begin_phase(cls.name, f"{cls.name}.ipynb")
        phases.append(cls(run))
        return phases[-1]

    yield made
    for phase in phases:
        phase._give_back()
