"""Where Node.js finds a package.

In the `node_modules` of a folder or of one above it, links followed.
"""

from __future__ import annotations

import json
from pathlib import Path

from runbook_lib.errors import UsageError


def find(package: str, start: Path) -> Path | None:
    """Return the real folder of a package as a file in `start` would get it.

    None where it is not installed.
    """
    for folder in (start, *start.parents):
        place = folder / "node_modules" / package
        if (place / "package.json").is_file():
            return place.resolve()
    return None


def version(package: str, start: Path) -> str | None:
    """Return the version of a package as a file in `start` would get it.

    None where it is not installed.
    """
    place = find(package, start)
    if place is None:
        return None
    return str(read_package(place).get("version", ""))


def read_package(folder: Path) -> dict[str, object]:
    """Read the package.json of a folder.

    Raises:
        UsageError: there is none, or it is not JSON.
    """
    try:
        content: dict[str, object] = json.loads(
            (folder / "package.json").read_text(encoding="utf-8")
        )
        return content
    except FileNotFoundError:
        raise UsageError(
            f"{folder} has no package.json: it is no Node.js project",
            "set `prisma: project:` to the folder that has it",
        ) from None
    except ValueError:
        raise UsageError(
            f"{folder / 'package.json'} is not JSON", "restore it from version control"
        ) from None
