"""The version of a package that a project's lock file names: npm, pnpm, yarn and bun."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from runbook_lib.errors import UsageError

Reader = Callable[[str, str, str], str | None]
"""From the text of a lock file, a package and the project's place below it, the version."""


def locked(folders: tuple[Path, ...], package: str = "prisma") -> tuple[str | None, Path | None]:
    """The version that the nearest lock file names, and that file.

    None where there is none, or it does not name the package.

    Args:
        folders: the project's folder and those above it, nearest first: a workspace has one lock
            file at its top.
    """
    for folder in folders:
        for name, read in _READERS.items():
            path = folder / name
            if path.is_file():
                place = folders[0].relative_to(folder).as_posix()
                return _read(path, read, package, place), path
    return None, None


def _read(path: Path, read: Reader, package: str, place: str) -> str | None:
    try:
        return read(path.read_text(encoding="utf-8"), package, place)
    except (ValueError, yaml.YAMLError, AttributeError, UnicodeDecodeError):
        raise UsageError(
            f"the lock file {path} cannot be read",
            "restore it from version control, or make it anew",
        ) from None


def _npm(text: str, package: str, place: str) -> str | None:
    content = json.loads(text)
    packages = content.get("packages", {})
    entry = (
        packages.get(f"{place}/node_modules/{package}")
        or packages.get(f"node_modules/{package}")
        or content.get("dependencies", {}).get(package)
    )
    return entry.get("version") if entry else None


def _pnpm(text: str, package: str, place: str) -> str | None:
    content = yaml.safe_load(text)
    importers = content.get("importers", {".": content})
    own = [importers[place]] if place in importers else []
    entries = [
        importer.get(kind, {}).get(package)
        for importer in (*own, *importers.values())
        for kind in ("dependencies", "devDependencies")
    ]
    version = next(
        (entry.get("version") if isinstance(entry, dict) else entry for entry in entries if entry),
        None,
    )
    return str(version).partition("(")[0] if version else None


def _yarn(text: str, package: str, _place: str) -> str | None:
    found = re.search(
        rf'^"?{re.escape(package)}@[^\n]*:\n(?:  [^\n]*\n)*?  version:? "?([^"\s]+)"?',
        text,
        re.MULTILINE,
    )
    return found[1] if found else None


def _bun(text: str, package: str, _place: str) -> str | None:
    found = re.search(rf'"{re.escape(package)}": \["{re.escape(package)}@([^"]+)"', text)
    return found[1] if found else None


_READERS: dict[str, Reader] = {
    "package-lock.json": _npm,
    "npm-shrinkwrap.json": _npm,
    "pnpm-lock.yaml": _pnpm,
    "yarn.lock": _yarn,
    "bun.lock": _bun,
}
