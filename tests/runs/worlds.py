"""Whole runs against a platform of their own: server, API, notebooks, archive, all in one
temporary folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runbook_lib import params
from runbook_lib.demo.platform import DATABASE, OWNER, Platform
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.run import Run, runs

ROOT = Path(__file__).resolve().parents[2]
ROWS = 2_000
DEAF = ("/bin/sh", "-c", "trap '' INT QUIT CHLD; exec \"$@\"", "sh")
"""Starts a program as some schedulers do."""
MARKER = "Zebediah Q. Markerperson"
MARKER_PASSWORD = "markerpassword-7f3a9c"


@dataclass
class World:
    """A platform, its parameter file, and the runbook's command line.

    Args:
        folder: everything that it makes lies here.
    """

    folder: Path
    file: Path
    platform: Platform

    @property
    def archive(self) -> Path:
        """Where its runs are kept."""
        return self.folder / "archive"

    @property
    def newest(self) -> Run:
        """The run that was started last."""
        return runs(self.archive)[-1]

    def url(self, database: str = DATABASE) -> str:
        """The URL of one of its databases."""
        return self.platform.server.url(database)

    def db(self, database: str = DATABASE) -> Database:
        """A session with one of its databases."""
        return Database(Target.parse(self.url(database)), "tests")

    def command(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`runbook …`, to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=280,
            **options,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`runbook …`, in the background, as a script's `&` starts it: with SIGINT and SIGQUIT
        ignored.
        """
        return subprocess.Popen(
            [*DEAF, *self.argv(*arguments)],
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def argv(self, *arguments: str) -> list[str]:
        """The command line with its program."""
        return [str(Path(sys.executable).parent / "runbook"), *arguments]

    def environment(self) -> dict[str, str]:
        """This process's variables; Node is found."""
        return dict(os.environ)


@dataclass(frozen=True)
class Story:
    """A scenario that was run, and whose platform is still up."""

    name: str
    world: World
    status: int
    output: str


def make_world(
    folder: Path,
    change: Callable[[dict[str, Any]], None] = lambda values: None,
    scenario: str = "success",
) -> World:
    """A world in a folder, with the demo's parameters changed."""
    text = (ROOT / "params" / "demo.yaml").read_text().replace(".demo/", f"{folder}/demo/")
    values = yaml.safe_load(text)
    values["environment"]["archive"] = str(folder / "archive")
    values["demo"].update(folder=str(folder / "demo"), rows=ROWS, scenario=scenario)
    change(values)
    file = folder / "params.yaml"
    platform = Platform.of(values, scenario=scenario)
    file.write_text(yaml.safe_dump(platform.values, sort_keys=False))
    return World(folder, file, platform)


def plant_markers(world: World) -> None:
    """A name in a row, and a login with a password that acts as the owner: neither may ever be
    seen in an archive.
    """
    with world.db() as db:
        db.execute(f"""UPDATE "User" SET name = '{MARKER}' WHERE id = 'user_patient_000000002'""")
        db.execute(f"CREATE ROLE marked LOGIN PASSWORD '{MARKER_PASSWORD}' IN ROLE {OWNER}")
        db.execute(f"ALTER ROLE marked SET role = '{OWNER}'")
    secret = world.folder / "demo" / "secrets" / "database_url"
    host = secret.read_text().partition("@")[2]
    secret.write_text(f"postgresql://marked:{MARKER_PASSWORD}@{host}")


def outputs(notebook: Path) -> str:
    """Everything that a notebook's cells put out, as text."""
    cells = json.loads(notebook.read_text())["cells"]
    return json.dumps([cell.get("outputs") for cell in cells], ensure_ascii=False)


def params_of(world: World) -> params.Params:
    """The world's parameters."""
    return params.parse(params.load(world.file))
