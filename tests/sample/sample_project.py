"""A Prisma project in a folder of its own, asked through the real CLI or straight through the
engine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

DEPLOYED = 4
"""How many of the sample's migrations the deployed release has."""


class Project:
    """A folder with a Prisma configuration, whose packages are the sample's."""

    def __init__(self, folder: Path, sample: Path) -> None:
        self.folder, self.sample = folder, sample
        self.migrations = folder / "prisma" / "migrations"
        self.migrations.mkdir(parents=True, exist_ok=True)
        if not (folder / "prisma.config.ts").exists():
            shutil.copy(sample / "prisma.config.ts", folder)
            shutil.copy(sample / "prisma/migrations/migration_lock.toml", self.migrations)
            self.schema("")
        (folder / "node_modules").symlink_to(sample / "node_modules")

    def schema(self, models: str) -> None:
        (self.folder / "prisma/schema.prisma").write_text(
            'datasource db {\n  provider = "postgresql"\n}\n' + models
        )

    def migration(self, name: str, script: str) -> None:
        (self.migrations / name).mkdir(exist_ok=True)
        (self.migrations / name / "migration.sql").write_text(script)

    def environment(self, url: str, **more: str) -> dict[str, str]:
        engine = str(self.sample / "tooling/schema-engine.mjs")
        own = {
            "DATABASE_URL": url,
            "PRISMA_SCHEMA_ENGINE_BINARY": engine,
            "CHECKPOINT_DISABLE": "1",
            "NO_COLOR": "1",
        }
        return os.environ | own | more

    def prisma(self, *arguments: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The real Prisma CLI, with the offline engine; its output and errors in one."""
        return self._run(["node_modules/.bin/prisma", *arguments], url, more)

    def npm(
        self, script: str, *arguments: str, url: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return self._run(["npm", "run", "--silent", script, "--", *arguments], url, more)

    def _run(
        self, command: list[str], url: str, more: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(url, **more),
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def engine(self, url: str, shadow: str | None = None, **more: str) -> Engine:
        return Engine(self, {"url": url, "shadowDatabaseUrl": shadow}, more)

    def can_connect(self, url: str) -> subprocess.CompletedProcess[str]:
        """What the CLI asks the engine before it does anything; the answer stands in the errors."""
        command = [
            self.sample / "tooling/schema-engine.mjs",
            "--datasource",
            json.dumps({"url": url}),
            "cli",
            "can-connect-to-database",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)


class Engine:
    """The schema engine, asked as the CLI asks it: faster than the CLI, and with answers that
    can be compared.
    """

    def __init__(
        self, project: Project, datasource: dict[str, str | None], more: dict[str, str]
    ) -> None:
        self.project = project
        command = [
            project.sample / "tooling/schema-engine.mjs",
            "--datasource",
            json.dumps(datasource),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=os.environ | more,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)

    def send(self, method: str, /, **parameters: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}) + "\n"
        )
        self.process.stdin.flush()

    def ask(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        self.send(method, **parameters)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def deploy(self) -> dict[str, Any]:
        return self.ask("applyMigrations", **self.migrations())

    def compare_migrations_with_nothing(self) -> dict[str, Any]:
        """The first message of the answer: what is to be printed, or an error."""
        self.send_comparison()
        return self.answer()

    def send_comparison(self) -> None:
        migrations = self.migrations()
        parts = {
            "from": {"tag": "migrations", **migrations["migrationsList"]},
            "to": {"tag": "empty"},
        }
        self.send("diff", **parts, script=True, exitCode=None, filters=migrations["filters"])

    def migrations(self) -> dict[str, Any]:
        """The migrations folder, as the CLI hands it over."""
        folder = self.project.migrations
        directories = [
            {"path": path.name, "migrationFile": {"path": "migration.sql", "content": _read(path)}}
            for path in sorted(folder.iterdir())
            if path.is_dir()
        ]
        lock = {
            "path": "migration_lock.toml",
            "content": (folder / "migration_lock.toml").read_text(),
        }
        return {
            "migrationsList": {
                "baseDir": str(folder),
                "lockfile": lock,
                "shadowDbInitScript": "",
                "migrationDirectories": directories,
            },
            "filters": {"externalTables": [], "externalEnums": []},
        }


def _read(migration: Path) -> dict[str, str]:
    return {"tag": "ok", "value": (migration / "migration.sql").read_text()}
