"""A Prisma project, read by its own Prisma and found usable before anything is run."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from runbook_lib.check import Checks, check, unknown
from runbook_lib.errors import UsageError
from runbook_lib.prisma import config, lockfile, places, resolution
from runbook_lib.prisma import engine as offline
from runbook_lib.prisma.config import Config
from runbook_lib.prisma.transactions import TransactionRule
from runbook_lib.table import Shown, Table

OLDEST, NEWEST = 5, 7
"""The majors of Prisma that this runbook knows."""
TESTED = ((6, 6), (6, 16), (6, 19), (7, 0), (7, 4), (7, 10))
"""The versions that were tried with their engine in WebAssembly."""
SPLITS_SINCE = (7, 4)
"""The version since which the native engine sends a file statement by statement."""
ENGINE_VARIABLE = "PRISMA_SCHEMA_ENGINE_BINARY"
_PNP = (".pnp.cjs", ".pnp.js")
MODE_VARIABLE = "OFFLINE_ENGINE_TRANSACTIONS"
_QUERY_ENGINE = "PRISMA_QUERY_ENGINE_LIBRARY"
"""Up to Prisma 6 the CLI does not begin before it has the client's engine, which it does not use
itself.
"""


@dataclass(frozen=True)
class Project(Shown):
    """One Prisma project.

    Args:
        folder: where its package.json is.
        schema: schema file, or folder of schema files; default: where the project says, or Prisma
            would look.
        migrations: folder of migrations; default: where the project says, or beside the schema.
        url_variable: the environment variable that the project reads its URL from; default: found
            out.
        engine: "installed", the schema engine that Prisma downloaded; or "offline", the same
            compiled to WebAssembly.
        engine_path: a program that speaks as the schema engine does; only used where `engine` is
            "offline".
        environment: further variables for its programs.

    Raises:
        UsageError: it cannot be used, naming what is missing and what to do.
    """

    folder: Path
    schema: Path | None = None
    migrations: Path | None = None
    url_variable: str | None = None
    engine: Literal["installed", "offline"] = "installed"
    engine_path: Path = offline.PROGRAM
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    config: Path | None = field(default=None, init=False)
    """The configuration that its CLI is told to read, instead of the one that it finds; see
    `elsewhere`.
    """
    config_path: Path | None = field(default=None, init=False)
    """The configuration that its CLI finds."""
    engine_modules: Path | None = field(default=None, init=False)
    """The folder whose packages hold the offline engine."""

    def __post_init__(self) -> None:
        self._set("folder", Path(self.folder).resolve())
        if not self.folder.is_dir():
            raise UsageError(
                f"there is no folder {self.folder}",
                "set `prisma: project:` to the folder of the Prisma project",
            )
        resolution.read_package(self.folder)
        _supported(self.version, self.folder)
        said = self._said()
        self._set("config_path", said.path)
        self._set("schema", places.schema(self, said))
        self._set("migrations", places.migrations(self, said))
        self._set("url_variable", places.variable(self, said))
        places.check_provider(self)
        if self.engine == "offline":
            self._set("engine_modules", self._offline())

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def elsewhere(self, schema: Path, migrations: Path, config: Path | None) -> Project:
        """Return the project with schema and migrations in other places.

        Its programs are started in the same folder.

        Args:
            config: names those places, where the project has a configuration; it goes before the
                project's own.
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
        """The `node_modules` that holds Prisma.

        The project's, or that of the workspace above it.
        """
        for folder in self._folders:
            if (folder / "node_modules" / "prisma" / "package.json").is_file():
                return folder / "node_modules"
        if any((folder / name).is_file() for folder in self._folders for name in _PNP):
            raise UsageError(
                f"{self.folder} uses Yarn Plug'n'Play, which keeps packages in archives; this "
                "runbook needs them as files",
                "set `nodeLinker: node-modules` in .yarnrc.yml of a copy of the project, and run "
                "`yarn install` there",
            )
        raise UsageError(
            f"Prisma is not installed in {self.folder}",
            "run `npm ci` there (or your package manager's equivalent)",
        )

    @cached_property
    def package(self) -> Path:
        """The real folder of the installed package `prisma`."""
        return (self._modules / "prisma").resolve()

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
        return str(resolution.read_package(self.package).get("version", ""))

    @property
    def major(self) -> int:
        """The first number of the version."""
        return self.numbers[0]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the version, without what stands behind a hyphen."""
        return _numbers(self.version)

    @cached_property
    def locked_version(self) -> str | None:
        """The version that the lock file names.

        None where there is none, or it does not name Prisma.
        """
        return lockfile.locked(self._folders)[0]

    @property
    def client_version(self) -> str | None:
        """The installed version of @prisma/client; None where it is not installed."""
        return resolution.version("@prisma/client", self.folder)

    @property
    def support(self) -> str:
        """What is known of this Prisma with this engine."""
        if self.engine == "installed":
            return "Prisma 5 to 7 are supported; the tests do not run the native engine"
        if self.numbers[:2] in TESTED:
            return "this version is tested with this engine"
        known = ", ".join(f"{major}.{minor}" for major, minor in TESTED)
        return f"supported from 6.6 on; tested with this engine are {known}"

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
        """What the offline engine is told: "file" or "statement".

        Where nobody says, what the native one of this version does.
        """
        told = self.environment.get(MODE_VARIABLE) or os.environ.get(MODE_VARIABLE)
        if told and told not in ("file", "statement"):
            raise UsageError(
                f"{MODE_VARIABLE} is {told!r}", 'set it to "file" or "statement", or leave it out'
            )
        return told or ("statement" if _numbers(self.version)[:2] >= SPLITS_SINCE else "file")

    def variables(self, url: str | None = None) -> dict[str, str]:
        """The variables for its programs.

        The URL under every name that the project reads, and nothing that calls home.
        """
        quiet = {
            "CHECKPOINT_DISABLE": "1",
            "PRISMA_HIDE_UPDATE_MESSAGE": "1",
            "NO_COLOR": "1",
            "FORCE_COLOR": "0",
            "CI": "1",
            "DEBUG": "",
        }
        placeholder = (
            "postgresql://nobody@localhost:1/none"  # some commands want a URL that they do not use
        )
        return {
            **quiet,
            "PATH": self._path,
            **self.environment,
            **(self._offline_variables(url) if self.engine == "offline" else {}),
            **{name: url or placeholder for name in self._url_variables},
        }

    @property
    def _path(self) -> str:
        """As npm and npx have it.

        Programs of the project's packages first, e.g. those of generators.
        """
        places = [folder / "node_modules" / ".bin" for folder in self._folders]
        own = [str(place) for place in places if place.is_dir()]
        return os.pathsep.join([*own, os.environ.get("PATH", os.defpath)])

    @property
    def _url_variables(self) -> tuple[str, ...]:
        """The names under which the project reads the URL.

        Up to Prisma 6 the schema has them, `directUrl` too.
        """
        assert self.schema and self.url_variable
        names = config.variables(self.schema) if self.major < 7 else ()
        return tuple(dict.fromkeys((self.url_variable, *names)))

    def _offline_variables(self, url: str | None) -> dict[str, str]:
        made = {
            ENGINE_VARIABLE: str(self.engine_path),
            MODE_VARIABLE: self.offline_mode,
            "OFFLINE_ENGINE_MODULES": str(self.engine_modules),
        }
        if self.major < 7:
            made["OFFLINE_ENGINE_URL"] = url or ""
            if not self.query_engines:
                made[_QUERY_ENGINE] = str(self.engine_path)
        return made

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
                    self.engine_remedy,
                ),
            ],
        )

    @property
    def engine_remedy(self) -> str:
        """What to do where the schema engine is not there."""
        download = "run `npx prisma version` where the engine may be downloaded"
        if not offline.published(self.version):
            return f"{download}; npm has none in WebAssembly of Prisma {self.version}"
        return f"{download}; or {offline.command(self.folder)}, and set `prisma: engine: offline`"

    @property
    def _engine_folders(self) -> list[Path]:
        engines = resolution.find("@prisma/engines", self.package)
        return [*([engines] if engines else []), self.package]

    @property
    def _native(self) -> list[Path]:
        named = os.environ.get(ENGINE_VARIABLE) or self.environment.get(ENGINE_VARIABLE)
        if named:
            return [Path(named)]
        return [
            path for place in self._engine_folders for path in sorted(place.glob("schema-engine-*"))
        ]

    @property
    def query_engines(self) -> list[Path]:
        """The installed engines of clients up to Prisma 6."""
        return [
            path for place in self._engine_folders for path in place.glob("*query_engine*.node")
        ]

    @property
    def _engine_found(self) -> bool:
        return self.engine == "offline" or any(path.is_file() for path in self._native)

    @property
    def _engine_said(self) -> str:
        if self.engine == "offline":
            modules = self.engine_modules or self.folder
            found = resolution.version(offline.PACKAGE, modules)
            return f"the offline engine {found}, {self.transaction_rule}"
        return self._native[0].name if self._native else "none is installed"

    def table(self) -> Table:
        """The project as rows."""
        rows = [
            ("project", self.folder),
            ("Prisma", self.version),
            ("locked", self.locked_version),
            ("schema", self.shown(self.schema)),
            ("migrations", self.shown(self.migrations)),
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

    def shown(self, path: Path | None) -> str:
        """Return a path as the project's people name it: relative to its folder."""
        return (
            str(path.relative_to(self.folder))
            if path and path.is_relative_to(self.folder)
            else str(path)
        )

    def _said(self) -> Config:
        return config.read(self.folder, self.package, self.url_variable, self.environment)

    def _offline(self) -> Path:
        if not self.engine_path.is_file():
            raise UsageError(
                f"there is no offline schema engine at {self.engine_path}",
                "set `prisma: engine: installed`, or restore the file",
            )
        return offline.modules(self.folder, self.package, self.version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())


def _supported(version: str, folder: Path) -> None:
    major = _numbers(version)[0]
    if major > NEWEST:
        raise UsageError(
            f"Prisma {version} is installed in {folder}; from Prisma {NEWEST + 1} on migrations "
            "are made by another command",
            f"install Prisma {NEWEST}: npm install prisma@{NEWEST} @prisma/client@{NEWEST}",
        )
    if major < OLDEST:
        raise UsageError(
            f"Prisma {version} is installed in {folder}; this runbook knows Prisma {OLDEST} to "
            f"{NEWEST}",
            "upgrade Prisma first, as a change of its own",
        )
