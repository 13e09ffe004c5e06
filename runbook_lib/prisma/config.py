"""Where a Prisma project keeps its schema and its migrations, and which variable holds its URL.

`prisma.config.ts` is a program: it is read here, never run, and what it computes is not understood. Then the parameters
name the places.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import UsageError

_NAMES = ("prisma", "prisma7")
_SUFFIXES = ("ts", "js", "mjs", "cjs", "mts", "cts")
_COMMENT = re.compile(r"(?<![:\"'`])//[^\n]*|/\*.*?\*/", re.DOTALL)
_STRING = r"""\s*:\s*(?:path\.(?:join|resolve)\(\s*)?["'`]([^"'`$]+)["'`]\s*[,)}\n]"""
_SCHEMA = re.compile(r"\bschema" + _STRING)
_MIGRATIONS = re.compile(r"\bmigrations\s*:\s*\{[^{}]*?\bpath" + _STRING)
_DATASOURCE = re.compile(r"\bdatasource\s*:\s*\{(.*?)\}", re.DOTALL)
_BLOCK = re.compile(r"^\s*datasource\s+\w+\s*\{(.*?)^\s*\}", re.DOTALL | re.MULTILINE)
_VARIABLE = r"""\s*[:=]\s*(?:env(?:<[^>]*>)?\(\s*["']|process\.env(?:\.|\[\s*["']))(\w+)"""


@dataclass(frozen=True)
class Config:
    """What the project says of itself; None where it does not, or computes it.

    Args:
        path: of prisma.config.ts.
        schema, migrations: places.
        variable: the environment variable that the URL is read from.
    """

    path: Path | None
    schema: Path | None
    migrations: Path | None
    variable: str | None


def read(folder: Path, major: int) -> Config:
    """What `prisma.config.ts`, or package.json up to Prisma 6, says."""
    path = next((place for place in _places(folder) if place.is_file()), None)
    text = _COMMENT.sub("", path.read_text(encoding="utf-8")) if path else ""
    schema, migrations = _first(_SCHEMA, text), _first(_MIGRATIONS, text)
    if schema is None and major < 7:
        schema = package(folder).get("prisma", {}).get("schema")
    block = _DATASOURCE.search(text)
    variable = _first(re.compile(r"\burl" + _VARIABLE), block[1]) if block else None
    return Config(
        path,
        folder / schema if schema else None,
        folder / migrations if migrations else None,
        variable,
    )


def package(folder: Path) -> dict[str, Any]:
    """The project's package.json."""
    try:
        return json.loads((folder / "package.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{folder} has no package.json: it is no Node.js project",
            "set `prisma: project:` to the folder that has it",
        ) from None
    except ValueError:
        raise UsageError(
            f"{folder / 'package.json'} is not JSON", "restore it from version control"
        ) from None


def variables(schema: Path) -> tuple[str, ...]:
    """The environment variables that the schema's datasource names: up to Prisma 6 its `url` and `directUrl` do."""
    files = sorted(schema.glob("**/*.prisma")) if schema.is_dir() else [schema]
    blocks = [
        found[1] for file in files for found in _BLOCK.finditer(file.read_text(encoding="utf-8"))
    ]
    return tuple(
        dict.fromkeys(
            name
            for block in blocks
            for name in re.findall(r"\b(?:url|directUrl)" + _VARIABLE, block)
        )
    )


def _places(folder: Path) -> list[Path]:
    return [
        folder / place
        for name in _NAMES
        for suffix in _SUFFIXES
        for place in (f"{name}.config.{suffix}", f".config/{name}.{suffix}")
    ]


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None
