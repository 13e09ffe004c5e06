"""Run the sample platform: server, data, API, receiver of notifications.

It makes the trouble of each scenario, too.

Everything lies in one folder (`demo.folder`, ignored by git) and belongs to the demo alone: `up`
makes it anew.
"""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock
from psycopg import sql

from runbook_lib import params as parameters
from runbook_lib.demo import node
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.postgres.connection import Database, identifier
from runbook_lib.postgres.server import free_port
from runbook_lib.postgres.target import Target
from runbook_lib.process import run
from runbook_lib.redact import remember
from runbook_lib.run import newest, stamp
from runbook_lib.secret import HOME

SAMPLE = HOME / "examples" / "unified_healthcare_platform"
DATABASE = "healthcare"
OWNER, STAFF = "healthcare_owner", "healthcare_staff"
"""The roles, as on a managed service: the owner may create databases and is no superuser; others
read and write beside the API.
"""
DEPLOYED = 4
"""How many of the sample's migrations are applied before the demo begins; the others are pending.
"""
SCENARIOS = ("success", "failing-migration", "lock-conflict", "bad-data")
Say = Callable[[str], None]


class Platform:
    """The sample platform in one folder.

    Args:
        values: the demo's parameters, as a mapping of top-level keys.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        section = parameters.parse(values).demo
        if section is None:
            raise UsageError("these parameters are not the demo's", "use params/demo.yaml")
        self.scenario, self.rows = section.scenario, section.rows
        self.folder = section.folder
        self.project = self.folder / "platform"
        self.server = Server(self.folder / "postgres", {"fsync": "off"})

    @classmethod
    def of(
        cls, values: Mapping[str, Any], scenario: str | None = None, rows: int | None = None
    ) -> Platform:
        """The platform of these parameters, with another scenario or size where they are given."""
        if scenario not in (None, *SCENARIOS):
            raise UsageError(f"there is no scenario {scenario!r}", "one of " + ", ".join(SCENARIOS))
        changed = copy.deepcopy(dict(values))
        section = changed.setdefault("demo", {})
        section.update(
            {
                key: value
                for key, value in (("scenario", scenario), ("rows", rows))
                if value is not None
            }
        )
        if (
            section.get("scenario") == "bad-data"
        ):  # to show the other ending: the run stops, and says what to type
            changed["rollback"] = {"automatic": False}
        if (
            section.get("scenario") == "lock-conflict"
        ):  # Prisma's older behaviour: a failing file leaves nothing behind
            changed["prisma"]["environment"] = {"OFFLINE_ENGINE_TRANSACTIONS": "file"}
        return cls(changed)

    def up(self, say: Say, fresh: bool) -> None:
        """Start everything; with `fresh`, from an empty server and the sample's own files."""
        node.use()
        os.environ.setdefault(
            "NO_PROXY", "127.0.0.1,localhost"
        )  # everything of the demo is on loopback
        install(say)
        if fresh:
            self.down(say)
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server.start()
        self._write_references()
        if not self.project.exists():
            self._lay_out()
            self._deploy_and_seed(say)
        self._start_receiver()
        self._npm("api:start")
        self._wait_for_api()
        say("the sample platform is up")

    def down(self, say: Say) -> None:
        """Stop what belongs to the demo, and nothing else."""
        if self.project.exists():
            node.use()
            run(["npm", "run", "--silent", "api:kill"], cwd=self.project, timeout_s=60)
        self._stop_receiver()
        self.server.stop()

    @contextmanager
    def running(self, say: Say, fresh: bool) -> Iterator[Platform]:
        """The platform, started if it is not running, and then stopped at the end.

        Args:
            fresh: whether it is made anew where it has to be started, and the scenario's trouble
                happens; else it goes
                on from where it was stopped.
        """
        node.use()
        started = not self.server.running()
        if started:
            self.up(say, fresh)
        try:
            with self.trouble() if fresh else nullcontext():
                yield self
        finally:
            if started:
                self.down(say)

    def trouble(self) -> AbstractContextManager[Any]:
        """What the scenario lets happen while the run goes on."""
        self._since = stamp()
        happens = {
            "lock-conflict": self._forget_a_transaction,
            "failing-migration": self._register_somebody,
            "bad-data": self._register_somebody,
        }
        return _meanwhile(happens[self.scenario]) if self.scenario in happens else nullcontext()

    def _forget_a_transaction(self, over: threading.Event) -> None:
        """Leave a report on the large table open from the moment the migration begins."""
        while not over.wait(0.05) and not self._begun("migrate", "migration begun"):
            pass
        with (
            Database(Target.parse(self.url(STAFF)), "monthly-report") as report,
            report.transaction(),
        ):
            report.value('SELECT count(*) FROM "Appointment" WHERE false')
            over.wait()

    def _register_somebody(self, over: threading.Event) -> None:
        """Somebody writes between the rehearsal and the night."""
        while not over.wait(0.05) and not self._begun("rehearse", "phase ended"):
            pass
        with Database(Target.parse(self.url(STAFF)), "registration-desk") as desk:
            desk.execute((SAMPLE / "scenarios" / self.scenario / "writes.sql").read_text())

    def _begun(self, phase: str, what: str) -> bool:
        """Whether the run that was started since has come that far, by its journal."""
        section = parameters.parse(self.values).environment
        run = newest(section.archive, section.name)
        return (
            run is not None
            and run.state["started_at"] >= self._since
            and run.phase(phase) is not None
            and any(
                line["what"] == what and line.get("phase", phase) == phase
                for line in run.read_journal()
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the sample's commands."""
        return {
            "DATABASE_URL": self.url(),
            "API_TOKEN": self._read("api_token"),
            "PORT": self._read("port"),
            "PRISMA_SCHEMA_ENGINE_BINARY": str(SAMPLE / "tooling" / "schema-engine.mjs"),
            "CHECKPOINT_DISABLE": "1",
        }

    @property
    def password(self) -> str:
        """The password of both roles."""
        password = self._read("database_password")
        remember(password)
        return password

    def url(self, role: str = OWNER) -> str:
        """The URL of the sample's database for one of its roles, password included."""
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.server.port}/{DATABASE}"

    def _write_references(self) -> None:
        """What the parameters refer to: URL, token, addresses; readable by this user alone."""
        folder = self.folder / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / "database_password").exists():
            self._write("database_password", secrets.token_urlsafe(18))
        if not (folder / "api_token").exists():
            self._write("api_token", secrets.token_urlsafe(24))
            port = free_port()
            self._write("port", str(port))
            self._write("service_url", f"http://127.0.0.1:{port}")
            self._write("health_url", f"http://127.0.0.1:{port}/health")
            self._write("notification_file", (self.folder / "notifications.jsonl").as_uri())
        self._write("database_url", self.url())

    def _lay_out(self) -> None:
        """A working copy of the sample, in which only the first migrations are there yet."""
        ignored = shutil.ignore_patterns(
            "node_modules", "generated", ".pm2", "logs", ".maintenance"
        )
        shutil.copytree(SAMPLE, self.project, ignore=ignored)
        (self.project / "node_modules").symlink_to(SAMPLE / "node_modules")
        for pending in self._migrations()[DEPLOYED:]:
            shutil.move(pending, self.folder / "pending" / pending.name)

    def _deploy_and_seed(self, say: Say) -> None:
        self._provide()
        self._run(["node_modules/.bin/prisma", "migrate", "deploy"])
        say(f"making {self.rows:,} appointments")
        self._run(["npm", "run", "--silent", "db:seed", "--", "--rows", str(self.rows)])
        self._npm("client:deployed")
        pending = self.folder / "pending"
        for migration in sorted(pending.iterdir()):
            shutil.move(migration, self.project / "prisma" / "migrations" / migration.name)
        overlay = SAMPLE / "scenarios" / self.scenario / "migrations"
        if overlay.exists():
            shutil.copytree(overlay, self.project / "prisma" / "migrations", dirs_exist_ok=True)

    def _provide(self) -> None:
        """What a managed service does.

        Roles, database, and the extension that its administrator owns.
        """
        with Database(Target.parse(self.server.url())) as db:
            for role, may in ((OWNER, "CREATEDB"), (STAFF, "")):
                db.execute(
                    sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                        identifier(role), sql.SQL(may), sql.Literal(self.password)
                    )
                )
            db.execute(f"GRANT pg_monitor, pg_signal_backend TO {OWNER}")
            db.execute(f"GRANT pg_read_all_data, pg_write_all_data TO {STAFF}")
            db.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER} TEMPLATE template0")
        with Database(Target.parse(self.server.url(DATABASE))) as db:
            db.execute("CREATE EXTENSION pg_stat_statements")
            db.execute(f"GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO {OWNER}")

    def _migrations(self) -> list[Path]:
        (self.folder / "pending").mkdir(exist_ok=True)
        return sorted(
            path for path in (self.project / "prisma" / "migrations").iterdir() if path.is_dir()
        )

    def _npm(self, script: str) -> None:
        self._run(["npm", "run", "--silent", script])

    def _run(self, command: list[str]) -> None:
        run(command, cwd=self.project, env=self.environment, timeout_s=300)

    def _wait_for_api(self) -> None:
        url, deadline = self._read("service_url") + "/health", time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(url, timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise ToolError(
            "the sample's API did not answer within 30 s", f"read {self.project / '.pm2' / 'logs'}"
        )

    def _start_receiver(self) -> None:
        if self._receiver():
            return
        address = self.folder / "secrets" / "receiver_url"
        address.unlink(missing_ok=True)
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "runbook_lib.demo.receiver",
                str(self.folder / "notifications.jsonl"),
                str(address),
            ],
            cwd=HOME,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (self.folder / "receiver.pid").write_text(str(child.pid))
        while not address.exists() and child.poll() is None:
            time.sleep(0.02)

    def _receiver(self) -> psutil.Process | None:
        """The running receiver: the process of that number, if it is ours."""
        try:
            process = psutil.Process(int((self.folder / "receiver.pid").read_text()))
            return (
                process if str(self.folder / "notifications.jsonl") in process.cmdline() else None
            )
        except (FileNotFoundError, psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    def _stop_receiver(self) -> None:
        process = self._receiver()
        if process:
            process.send_signal(signal.SIGTERM)
            process.wait(5)

    def _read(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def _write(self, name: str, value: str) -> None:
        path = self.folder / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(value + "\n")


def install(say: Say) -> None:
    """Install the sample's npm packages where they are not there; one process at a time."""
    with FileLock(SAMPLE / ".install.lock"):
        if not (SAMPLE / "node_modules" / ".bin" / "prisma").exists():
            say("installing the sample's npm packages")
            run(
                ["npm", "ci", "--ignore-scripts"],
                cwd=SAMPLE,
                remedy="the npm registry must be reachable",
            )


@contextmanager
def _meanwhile(happens: Callable[[threading.Event], None]) -> Iterator[None]:
    """Something that happens in the background, and is over at the end."""
    over = threading.Event()
    thread = threading.Thread(target=happens, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


__all__ = ["Platform", "SCENARIOS", "SAMPLE", "DATABASE"]
