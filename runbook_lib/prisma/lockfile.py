"""The version of a package that a project's lock file names: npm, pnpm, yarn and bun."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from runbook_lib.errors import UsageError


def locked(folders: tuple[Path, ...], package: str = "prisma") -> tuple[str | None, Path | None]:
    """The version that the nearest lock file names, and that file; None where there is none, or it does not name the package.

    Args:
        folders: the project's folder and those above it, nearest first: a workspace has one lock file at its top.
    """
    for folder in folders:
        for name, read in _READERS.items():
            path = folder / name
            if path.is_file():
                return _read(path, read, package), path
    return None, None


def _read(path: Path, read: Callable[[str, str], str | None], package: str) -> str | None:
    try:
        return read(path.read_text(encoding="utf-8"), package)
    except (ValueError, yaml.YAMLError, AttributeError, UnicodeDecodeError):
        raise UsageError(
            f"the lock file {path} cannot be read",
            "restore it from version control, or make it anew",
        ) from None


def _npm(text: str, package: str) -> str | None:
    content = json.loads(text)
    entry = content.get("packages", {}).get(f"node_modules/{package}") or content.get(
        "dependencies", {}
    ).get(package)
    return entry.get("version") if entry else None


def _pnpm(text: str, package: str) -> str | None:
    content = yaml.safe_load(text)
    importers = content.get("importers", {".": content}).values()
    entries = [
        importer.get(kind, {}).get(package)
        for importer in importers
        for kind in ("dependencies", "devDependencies")
    ]
    version = next(
        (entry.get("version") if isinstance(entry, dict) else entry for entry in entries if entry),
        None,
    )
    return str(version).partition("(")[0] if version else None


def _yarn(text: str, package: str) -> str | None:
    found = re.search(
        rf'^"?{re.escape(package)}@[^\n]*:\n(?:  [^\n]*\n)*?  version:? "?([^"\s]+)"?',
        text,
        re.MULTILINE,
    )
    return found[1] if found else None


def _bun(text: str, package: str) -> str | None:
    found = re.search(rf'"{re.escape(package)}": \["{re.escape(package)}@([^"]+)"', text)
    return found[1] if found else None


_READERS: dict[str, Callable[[str, str], str | None]] = {
    "package-lock.json": _npm,
    "npm-shrinkwrap.json": _npm,
    "pnpm-lock.yaml": _pnpm,
    "yarn.lock": _yarn,
    "bun.lock": _bun,
}
