"""Nights in small, prepared once for each way in which Prisma sends files, and copied for each
cell of the fault matrix.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cells import BEHAVIOURS

from runbook_lib import params
from runbook_lib.check import Checks
from runbook_lib.demo.embedded import Server
from runbook_lib.phases.announce import Announce
from runbook_lib.phases.identity import identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.plan import Plan
from runbook_lib.postgres import dump
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma import cli
from runbook_lib.run import Run, create
from tests.prisma.conftest import INIT, lay_out

ROOT = Path(__file__).resolve().parents[2]
SEED = """CREATE TABLE "Visit" ("id" INTEGER PRIMARY KEY, "kind" TEXT);
CREATE TABLE "Note" ("id" INTEGER PRIMARY KEY);
CREATE TABLE "Late" ("id" INTEGER, CONSTRAINT "late_once" UNIQUE ("id") DEFERRABLE INITIALLY
    DEFERRED);
INSERT INTO "Patient" SELECT g, 'Fictitious ' || g FROM generate_series(1, 50) AS g;
INSERT INTO "Visit" SELECT g, 'first' FROM generate_series(1, 50) AS g;
"""


class Way:
    """A way to a server that can be cut, or hold everything back without closing anything."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port, self._open, self._sockets = port, threading.Event(), list[socket.socket]()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Take everything, and pass nothing on."""
        self._open.clear()

    def cut(self) -> None:
        """End every connection."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._open.set()
        for one in (self._listener, *self._sockets):
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._port()))
                self._sockets += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)


class BehindAWay(Migrate):
    """The phase, with the CLI's connections on a way that can be struck; the runbook's own are
    not.
    """

    way: Way

    @property
    def prisma_url(self) -> str:
        return super().prisma_url.replace(f":{self.target.port}/", f":{self.way.port}/")


@dataclass
class Cell:
    """A night of its own database, before its deployment."""

    server: Server
    database: str
    phase: BehindAWay
    others: ExitStack = field(default_factory=ExitStack)

    def db(self, name: str = "tests") -> Database:
        """A session of somebody else's."""
        target = Target.parse(self.server.url(self.database))
        return self.others.enter_context(Database(target, name))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of these tests alone: it is crashed and restarted, always on the same port."""
    settings = {"full_page_writes": "off", "fsync": "off", "wal_level": "logical"}
    made = Server(tmp_path_factory.mktemp("faults"), settings).start()
    made.settings["port"] = str(made.port)
    yield made
    made.stop("immediate")


Prepared = Callable[[str], tuple[str, Path]]


@pytest.fixture(scope="session")
def prepared(
    server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """For a behaviour: the database before the migration, and a run that was planned, backed up
    and announced.
    """

    @cache
    def made(behaviour: str) -> tuple[str, Path]:
        folder, name = tmp_path_factory.mktemp(behaviour), f"before_{behaviour}"
        how = BEHAVIOURS[behaviour]
        with Database(Target.parse(server.url())) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        cli.deploy(lay_out(folder / "init", sample, INIT), server.url(name))
        with Database(Target.parse(server.url(name))) as db:
            db.execute(SEED)
            pinned = identify(db)
        project = lay_out(folder / "project", sample, INIT | how.files, how.mode)
        (folder / "url").write_text(server.url(name))
        run = create(_values(folder, project.folder, how.mode), list(how.files), pinned)
        plan, announce = Plan(run), Announce(run)
        plan.findings()
        plan.seal()
        announce._passed.add("announce")
        announce.fix_the_state_before()
        backup = dump.make(
            plan.target, folder / "backup", "tests", tools=tools(plan.target), jobs=1
        )
        unproven = dict.fromkeys(("proven_at", "proven_on", "restore_s", "way_back_s"))
        run.write_evidence(
            "backup", {"folder": str(backup.folder), "sha256": backup.sha256, **unproven}
        )
        for phase in (plan, announce):
            phase._give_back()
        return name, run.folder

    yield made


def _values(folder: Path, project: Path, mode: str) -> dict[str, Any]:
    values = params.load(ROOT / "params" / "demo.yaml")
    for key in ("service", "validate", "notify", "demo"):
        values.pop(key)
    values["monitoring"] = {}
    values["environment"]["archive"] = str(folder / "archive")
    values["database"]["url"] = f"file:{folder / 'url'}"
    values["prisma"] = {
        "project": str(project),
        "engine": "offline",
        "environment": {"OFFLINE_ENGINE_TRANSACTIONS": mode},
    }
    values["migrate"] = {
        "lock_timeout_s": 60.0,
        "statement_timeout_s": 60.0,
        "deadline_s": 120.0,
        "guard": {"victims": 9, "wait_s": 60.0},
    }
    return values


@pytest.fixture
def cell(server: Server, prepared: Prepared, tmp_path: Path) -> Iterator[Callable[..., Cell]]:
    """Makes a cell: a copy of what was prepared for a behaviour, with these limits of the
    migration.
    """
    with ExitStack() as stack:

        def made(behaviour: str, limits: dict[str, float]) -> Cell:
            template, folder = prepared(behaviour)
            name = f"cell_{uuid.uuid4().hex[:12]}"
            stack.enter_context(_copy(server, template, name))
            run = _copied(folder, tmp_path, server.url(name), limits)
            phase = BehindAWay(run)
            phase.way = Way(lambda: server.port)
            stack.callback(phase.way.close)
            stack.callback(phase._give_back)
            run.begin_phase("migrate", "60_migrate.ipynb")
            phase.pass_gate("migrate", Checks("Open", []))
            phase._passed |= {"save", "restore_point"}
            one = Cell(server, name, phase)
            stack.enter_context(one.others)
            return one

        yield made


def _copied(folder: Path, to: Path, url: str, limits: dict[str, float]) -> Run:
    """The prepared run in an archive of its own, on a database of its own."""
    made = Path(shutil.copytree(folder, to / "archive" / folder.name))
    (to / "url").write_text(url)
    values = json.loads((made / "parameters.json").read_text())
    values["environment"]["archive"] = str(to / "archive")
    values["database"]["url"] = f"file:{to / 'url'}"
    values["migrate"] |= limits
    (made / "parameters.json").write_text(json.dumps(values))
    run = Run(made)
    with Database(Target.parse(url)) as db:
        pinned = identify(db)
    run.journal("database pinned again", target=dict(pinned))
    return run


@contextmanager
def _copy(server: Server, template: str, name: str) -> Iterator[None]:
    with Database(Target.parse(server.url())) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield
    finally:
        with Database(Target.parse(server.url())) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
