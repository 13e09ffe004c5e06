"""What a Prisma project says of itself, asked of its own Prisma.

`prisma.config.ts` is a program: the project's own `@prisma/config` loads it, in the project's
folder, with the variables that its programs get. Up to Prisma 6 package.json may name the schema,
and the schema names the variable of the URL.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import ToolError, UsageError
from runbook_lib.prisma import resolution
from runbook_lib.process import run
from runbook_lib.redact import redact

LOADER = Path(__file__).with_name("load-config.mjs")
GIVEN = "postgresql://runbook:runbook@localhost:1/asks-where-the-url-is-read-from"
"""A URL that nothing connects to: where the configuration has it, it was read from the variable
that held it.
"""
LIMIT_S = 60
"""Seconds that the configuration may take to load."""
_NO_NODE = "install Node.js, as the project needs it"
_HELD_UP = (
    "see what holds the configuration up (what it asks for, or what else this machine does), and "
    "repeat"
)
_COMMENT = re.compile(r"//[^\n]*")
_BLOCK = re.compile(r"^\s*datasource\s+\w+\s*\{(.*?)^\s*\}", re.DOTALL | re.MULTILINE)
_PROVIDER = re.compile(r"^\s*provider\s*=\s*\"(\w+)\"", re.MULTILINE)
_LITERAL = re.compile(r"^\s*(?:url|directUrl)\s*=\s*\"", re.MULTILINE)
_ENVIRONMENT = re.compile(r"^\s*(?:url|directUrl)\s*=\s*env\(\s*\"(\w+)\"", re.MULTILINE)
_MISSING = re.compile(r"Cannot resolve environment variable: (\w+)")
_NAMES_A_URL = re.compile(r"URL|URI|DSN|DATABASE|POSTGRES|(^|_)(DB|PG)", re.IGNORECASE)


@dataclass(frozen=True)
class Config:
    """What the project's configuration says; None where it does not say.

    Args:
        path: of the configuration.
        schema, migrations: places, absolute.
        variable: the environment variable that the URL is read from.
        has_url: whether the configuration has a URL at all; up to Prisma 6 the schema may have it
            instead.
    """

    path: Path | None = None
    schema: Path | None = None
    migrations: Path | None = None
    variable: str | None = None
    has_url: bool = False


def read(
    folder: Path,
    prisma: Path,
    variable: str | None,
    environment: Mapping[str, str],
    config: Path | None = None,
) -> Config:
    """Load the configuration with the project's own Prisma.

    Args:
        folder: the project's.
        prisma: the folder of its package `prisma`.
        variable: from which the URL is to be read; None finds out.
        environment: further variables for its programs.
        config: another configuration than the one that Prisma finds.

    Raises:
        UsageError: it cannot be loaded, or its URL cannot be set by one variable; with Prisma's own
            words.
    """
    if resolution.find("@prisma/config", prisma) is None:
        return Config()  # a Prisma of before the configuration: it reads none
    first = variable or "DATABASE_URL"
    told = _load(folder, prisma, first, environment, config)
    if told["path"] is None or told["url"] == "given":
        return _config(folder, told, first if told["url"] == "given" else None)
    for name in _candidates(told, first):
        again = _load(folder, prisma, name, environment, config)
        if again["url"] == "given":
            return _config(folder, again, name)
    if told["error"]:
        raise _not_loaded(folder, told)
    if told["url"] == "none":
        return _config(folder, told, None)
    raise UsageError(
        f"{_shown(folder, told)} has a URL that no single environment variable sets, so Prisma "
        "cannot be told which database is meant",
        "let `datasource: { url }` there be one variable, e.g. process.env.DATABASE_URL",
    )


def variables(schema: Path) -> tuple[str, ...]:
    """Return the variables that the datasource's `url` and `directUrl` are read from.

    Up to Prisma 6 they are there.
    """
    return tuple(
        dict.fromkeys(name for block in datasources(schema) for name in _ENVIRONMENT.findall(block))
    )


def provider(schema: Path) -> str | None:
    """Return the kind of database that the schema names; None where it names none."""
    for block in datasources(schema):
        if found := _PROVIDER.search(block):
            return found[1]
    return None


def has_literal_url(schema: Path) -> bool:
    """Return whether the datasource's URL is written into the schema, where nothing can set it."""
    return any(_LITERAL.search(block) for block in datasources(schema))


def datasources(schema: Path) -> list[str]:
    """Return the text of each datasource block, comments left out."""
    return [block for file in files(schema) for block in _blocks(file)]


def main_folder(schema: Path) -> Path:
    """Return the folder beside which Prisma looks for what it is not told of.

    That of the file with the datasource.
    """
    with_datasource = [file for file in files(schema) if _blocks(file)]
    if with_datasource:
        return with_datasource[0].parent
    return schema if schema.is_dir() else schema.parent


def files(schema: Path) -> list[Path]:
    """Return the files of a schema, which may be a folder of them."""
    return sorted(schema.glob("**/*.prisma")) if schema.is_dir() else [schema]


def _blocks(file: Path) -> list[str]:
    text = _COMMENT.sub(_kept_in_strings, file.read_text(encoding="utf-8"))
    return [found[1] for found in _BLOCK.finditer(text)]


def _kept_in_strings(comment: re.Match[str]) -> str:
    """Keep a `//` within quotes, which begins no comment (postgresql://…)."""
    line = comment.string[comment.string.rfind("\n", 0, comment.start()) + 1 : comment.start()]
    return comment[0] if line.count('"') % 2 else ""


def _load(
    folder: Path, prisma: Path, variable: str, environment: Mapping[str, str], config: Path | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="runbook-config-") as place:
        answer = Path(place) / "answer.json"
        command = ["node", str(LOADER), str(prisma), str(answer), GIVEN]
        try:
            done = run(
                [*command, *([str(config)] if config else [])],
                cwd=folder,
                env={**environment, variable: GIVEN, "DEBUG": ""},
                timeout_s=LIMIT_S,
                check=False,
            )
        except ToolError as error:
            there = shutil.which("node", path={**os.environ, **environment}.get("PATH"))
            raise UsageError(error.message, _HELD_UP if there else _NO_NODE) from None
        if not answer.exists():
            said = done.output.strip().splitlines()
            raise UsageError(
                "the project's own @prisma/config could not be used: "
                f"{said[-1] if said else 'it said nothing'}",
                "install the project's packages anew: npm ci",
            )
        told: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return told


def _candidates(told: dict[str, Any], first: str) -> list[str]:
    """The variables that the URL may be read from.

    Those with its value, the one that is missing, those asked for.
    """
    missing = _MISSING.findall(told["error"] or "")
    asked = [name for name in told["read"] if _NAMES_A_URL.search(name)]
    found = dict.fromkeys([*told["same"], *missing, *asked])
    return [name for name in found if name != first][:6]


def _config(folder: Path, told: dict[str, Any], variable: str | None) -> Config:
    if told["error"]:
        raise _not_loaded(folder, told)
    path, schema, migrations = (
        Path(told[key]) if told[key] else None for key in ("path", "schema", "migrations")
    )
    return Config(path, schema, migrations, variable, told["url"] != "none")


def _not_loaded(folder: Path, told: dict[str, Any]) -> UsageError:
    lines = [line.strip() for line in redact(told["error"]).splitlines() if line.strip()]
    return UsageError(
        f"Prisma cannot load {_shown(folder, told)}: {' '.join(lines[:3])}",
        "what it needs of the environment goes under `prisma: environment:`; "
        "`npx prisma validate` in the project's folder shows the same",
    )


def _shown(folder: Path, told: dict[str, Any]) -> str:
    path = Path(told["path"] or "prisma.config.ts")
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
