"""A Prisma project, looked at and found usable before anything is run."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from runbook_lib.check import Checks, check, unknown
from runbook_lib.errors import UsageError
from runbook_lib.prisma import config, lockfile
from runbook_lib.prisma.transactions import TransactionRule
from runbook_lib.table import Shown, Table

OLDEST, NEWEST = 5, 7
"""The majors of Prisma that this runbook knows."""
SPLITS_SINCE = (7, 4)
"""The version since which the native engine sends a file statement by statement."""
ENGINE_VARIABLE = "PRISMA_SCHEMA_ENGINE_BINARY"
MODE_VARIABLE = "OFFLINE_ENGINE_TRANSACTIONS"


@dataclass(frozen=True)
class Project(Shown):
    """One Prisma project.

    Args:
        folder: where its package.json is.
        schema: schema file, or folder of schema files; default: where the project says, or Prisma would look.
        migrations: folder of migrations; default: where the project says, or beside the schema.
        url_variable: the environment variable that the project reads its URL from.
        engine: "installed", the schema engine that Prisma downloaded; or "offline", the one at `engine_path`.
        engine_path: a program that speaks as the schema engine does; only used where `engine` is "offline".
        environment: further variables for its programs.

    Raises:
        UsageError: it cannot be used, naming what is missing and what to do.
    """

    folder: Path
    schema: Path | None = None
    migrations: Path | None = None
    url_variable: str = "DATABASE_URL"
    engine: Literal["installed", "offline"] = "installed"
    engine_path: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    config: Path | None = field(default=None, init=False)
    """The configuration that its CLI is told to read, instead of the one that it finds; see `elsewhere`."""

    def __post_init__(self) -> None:
        self._set("folder", Path(self.folder).resolve())
        if not self.folder.is_dir():
            raise UsageError(
                f"there is no folder {self.folder}",
                "set `prisma: project:` to the folder of the Prisma project",
            )
        config.package(self.folder)
        _supported(self.version, self.folder)
        said = config.read(self.folder, self.major)
        self._set("schema", self._schema(said))
        self._set("migrations", self._migrations(said))
        self._check_variable(said)
        if self.engine == "offline" and not (self.engine_path and self.engine_path.is_file()):
            raise UsageError(
                f"there is no offline schema engine at {self.engine_path}",
                "set `prisma: engine: installed`, or restore the file",
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def elsewhere(self, schema: Path, migrations: Path, config: Path | None) -> Project:
        """The same project, its programs started in the same folder, with schema and migrations in other places.

        Args:
            config: names those places, where the project has a configuration; it goes before the project's own.
        """
        made = copy.copy(self)
        for name, value in (("schema", schema), ("migrations", migrations), ("config", config)):
            made._set(name, value)
        return made

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.folder, *self.folder.parents)

    @cached_property
    def _modules(self) -> Path:
        """The `node_modules` that holds Prisma: the project's, or that of the workspace above it."""
        for folder in self._folders:
            if (folder / "node_modules" / "prisma" / "package.json").is_file():
                return folder / "node_modules"
        raise UsageError(
            f"Prisma is not installed in {self.folder}",
            "run `npm ci` there (or your package manager's equivalent)",
        )

    @property
    def program(self) -> Path:
        """The Prisma command, as the project has installed it."""
        path = self._modules / ".bin" / "prisma"
        if not path.exists():
            raise UsageError(
                f"{path} is missing, though the package prisma is there", "install anew: `npm ci`"
            )
        return path

    @cached_property
    def version(self) -> str:
        """The installed version."""
        return self._installed("prisma") or ""

    @property
    def major(self) -> int:
        """The first number of the version."""
        return _numbers(self.version)[0]

    @cached_property
    def locked_version(self) -> str | None:
        """The version that the lock file names; None where there is none, or it does not name Prisma."""
        return lockfile.locked(self._folders)[0]

    @property
    def client_version(self) -> str | None:
        """The installed version of @prisma/client; None where it is not installed."""
        return self._installed("@prisma/client")

    @property
    def transaction_rule(self) -> TransactionRule:
        """How this Prisma, with this engine, sends one migration file."""
        splits = _numbers(self.version)[:2] >= SPLITS_SINCE
        if self.engine == "offline":
            return (
                TransactionRule.EACH_STATEMENT
                if self.offline_mode == "statement"
                else TransactionRule.WHOLE_FILE
            )
        return TransactionRule.EACH_IF_PARSED if splits else TransactionRule.WHOLE_FILE

    @property
    def offline_mode(self) -> str:
        """What the offline engine is told: "file" or "statement"; where nobody says, what the native one of this version does."""
        told = self.environment.get(MODE_VARIABLE) or os.environ.get(MODE_VARIABLE)
        if told and told not in ("file", "statement"):
            raise UsageError(
                f"{MODE_VARIABLE} is {told!r}", 'set it to "file" or "statement", or leave it out'
            )
        return told or ("statement" if _numbers(self.version)[:2] >= SPLITS_SINCE else "file")

    def variables(self, url: str | None = None) -> dict[str, str]:
        """The variables for its programs: the URL under every name that the project reads, and nothing that calls home."""
        quiet = {
            "CHECKPOINT_DISABLE": "1",
            "PRISMA_HIDE_UPDATE_MESSAGE": "1",
            "NO_COLOR": "1",
            "FORCE_COLOR": "0",
            "CI": "1",
            "DEBUG": "",
        }
        engine = (
            {ENGINE_VARIABLE: str(self.engine_path), MODE_VARIABLE: self.offline_mode}
            if self.engine == "offline"
            else {}
        )
        assert self.schema
        names = (
            (self.url_variable, *config.variables(self.schema))
            if self.major < 7
            else (self.url_variable,)
        )
        placeholder = (
            "postgresql://nobody@localhost:1/none"  # some commands want a URL that they do not use
        )
        return {
            **quiet,
            **self.environment,
            **engine,
            **{name: url or placeholder for name in names},
        }

    def checks(self) -> Checks:
        """Whether what is installed is what the lock file names, and fits together."""
        client, title = (
            self.client_version,
            "the installed Prisma CLI is the one that the project locks",
        )
        lock = (
            unknown(
                "prisma.locked",
                title,
                "no lock file names prisma",
                self.version,
                "commit a lock file",
            )
            if self.locked_version is None
            else check(
                "prisma.locked",
                title,
                self.locked_version == self.version,
                self.version,
                self.locked_version,
                "npm ci",
            )
        )
        same = client is None or _numbers(client)[:2] == _numbers(self.version)[:2]
        return Checks(
            "Prisma",
            [
                lock,
                check(
                    "prisma.client",
                    "CLI and client are of one version",
                    same,
                    f"CLI {self.version}, client {client or 'not installed'}",
                    "the same major and minor",
                    "install both in the same version",
                ),
                check(
                    "prisma.engine",
                    "the schema engine is there",
                    self._engine_found,
                    self._engine_said,
                    "a schema engine",
                    "run `npx prisma version` where the download is allowed, or set `prisma: engine: offline`",
                ),
            ],
        )

    @property
    def _native(self) -> list[Path]:
        places = [self._modules / "@prisma" / "engines", self._modules / "prisma"]
        named = os.environ.get(ENGINE_VARIABLE) or self.environment.get(ENGINE_VARIABLE)
        return (
            [Path(named)]
            if named
            else [path for place in places for path in sorted(place.glob("schema-engine-*"))]
        )

    @property
    def _engine_found(self) -> bool:
        return self.engine == "offline" or any(path.is_file() for path in self._native)

    @property
    def _engine_said(self) -> str:
        if self.engine == "offline":
            return f"the offline engine, {self.transaction_rule}"
        return self._native[0].name if self._native else "none is installed"

    def table(self) -> Table:
        """The project as rows."""
        rows = [
            ("project", self.folder),
            ("Prisma", self.version),
            ("locked", self.locked_version),
            ("schema", self._shown(self.schema)),
            ("migrations", self._shown(self.migrations)),
            ("URL from", self.url_variable),
            ("schema engine", self._engine_said),
            ("sends a migration file", str(self.transaction_rule)),
        ]
        return Table("The Prisma project", ("", ""), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            str(name): str(value) if value is not None else None
            for name, value in self.table().rows
        }

    def _shown(self, path: Path | None) -> str:
        return (
            str(path.relative_to(self.folder))
            if path and path.is_relative_to(self.folder)
            else str(path)
        )

    def _installed(self, package: str) -> str | None:
        path = self._modules / package / "package.json"
        return json.loads(path.read_text(encoding="utf-8"))["version"] if path.is_file() else None

    def _schema(self, said: config.Config) -> Path:
        given = self.schema and self.folder / self.schema
        usual = [
            self.folder / place
            for place in ("prisma/schema.prisma", "schema.prisma", "prisma/schema", "prisma")
        ]
        found = (
            given
            or said.schema
            or next((path for path in usual if path.is_file() or any(path.glob("*.prisma"))), None)
        )
        if found is None or not found.exists():
            raise UsageError(
                f"there is no Prisma schema at {found or usual[0]}",
                "set `prisma: schema:` to the file or folder",
            )
        if said.schema and said.schema.resolve() != found.resolve() and said.path:
            raise UsageError(
                f"`prisma: schema:` names {self._shown(found)}, but {said.path.name} names {self._shown(said.schema)}",
                "leave one out",
            )
        return found.resolve()

    def _migrations(self, said: config.Config) -> Path:
        assert self.schema
        given = self.migrations and self.folder / self.migrations
        found = (
            given
            or said.migrations
            or (self.schema if self.schema.is_dir() else self.schema.parent) / "migrations"
        )
        if said.migrations and said.migrations.resolve() != found.resolve() and said.path:
            raise UsageError(
                f"`prisma: migrations:` names {self._shown(found)}, but the Prisma CLI uses {self._shown(said.migrations)}, as "
                f"{said.path.name} says",
                "leave `prisma: migrations:` out",
            )
        if not found.is_dir():
            raise UsageError(
                f"there is no folder of migrations at {found}",
                "set `prisma: migrations:`, or restore the folder",
            )
        return found.resolve()

    def _check_variable(self, said: config.Config) -> None:
        if said.variable and said.path and said.variable != self.url_variable:
            raise UsageError(
                f"{said.path.name} reads the URL from {said.variable}, not from {self.url_variable}",
                f"set `prisma: url_variable: {said.variable}`",
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())


def _supported(version: str, folder: Path) -> None:
    major = _numbers(version)[0]
    if major > NEWEST:
        raise UsageError(
            f"Prisma {version} is installed in {folder}; from Prisma {NEWEST + 1} on migrations are made by another command",
            f"install Prisma {NEWEST}: npm install prisma@{NEWEST} @prisma/client@{NEWEST}",
        )
    if major < OLDEST:
        raise UsageError(
            f"Prisma {version} is installed in {folder}; this runbook knows Prisma {OLDEST} to {NEWEST}",
            "upgrade Prisma first, as a change of its own",
        )
