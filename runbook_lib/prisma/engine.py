"""Prisma's schema engine compiled to WebAssembly, for where the native one cannot be downloaded.

Of the project's version.

npm has it as `@prisma/schema-engine-wasm` since Prisma 6.6, under the version that the project's
own `@prisma/engines-version` names. It is taken from the project's packages, from the sample's, or
from a folder of this checkout that `runbook engine PROJECT` fills.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from filelock import FileLock

from runbook_lib.errors import ToolError, UsageError
from runbook_lib.prisma import resolution
from runbook_lib.process import run
from runbook_lib.secret import HOME

OLDEST = (6, 6)
"""The first version of Prisma whose engine is on npm."""
SAMPLE = HOME / "examples" / "unified_healthcare_platform"
PROGRAM = SAMPLE / "tooling" / "schema-engine.mjs"
"""Speaks with the Prisma CLI as the native engine does."""
CACHE = HOME / ".engines"
PACKAGE = "@prisma/schema-engine-wasm"
_DRIVERS = ("@prisma/adapter-pg", "@prisma/driver-adapter-utils", "pg")


def modules(project: Path, prisma: Path, version: str) -> Path:
    """Return the folder whose packages hold the engine of this project's Prisma.

    Args:
        project: its folder.
        prisma: the folder of its package `prisma`.
        version: of Prisma.

    Raises:
        UsageError: there is none, with the command that installs it; or npm has none of this
            version.
    """
    _require_published(version)
    wanted = _wanted(prisma, version)
    places = (project, SAMPLE, CACHE / wanted)
    for fits in (lambda found: found == wanted, lambda found: _minor(found) == _minor(version)):
        for place in places:
            if (found := installed(place)) and fits(found):
                return place
    raise UsageError(
        f"the offline schema engine of Prisma {version} is not installed",
        f"install it once: {command(project)}",
    )


def command(project: Path) -> str:
    """Return what installs the engine, as it is to be typed, in backticks."""
    return f"`runbook engine {shlex.quote(str(project))}`"


def published(version: str) -> bool:
    """Return whether npm has engines of this minor version of Prisma or of earlier ones."""
    return _minor(version) >= OLDEST


def install(project: Path) -> Path:
    """Install the engine of a project's Prisma from npm into this checkout, and return its folder.

    Raises:
        UsageError: the project has no Prisma, or npm no engine of its version.
        ToolError: npm failed.
    """
    prisma, version = resolution.find("prisma", project), resolution.version("prisma", project)
    if not prisma or not version:
        raise UsageError(f"Prisma is not installed in {project}", "run `npm ci` there")
    _require_published(version)
    wanted = _wanted(prisma, version)
    folder = CACHE / wanted
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / ".install.lock"):
        if installed(folder) is None:
            folder.mkdir(exist_ok=True)
            (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
            _npm(folder, [f"{PACKAGE}@{_published(wanted, version)}", *_drivers()])
    return folder


def installed(place: Path) -> str | None:
    """Return the version of the engine in a folder that has all that it needs.

    None where it has not.
    """
    drivers = [resolution.version(name, place) for name in _DRIVERS]
    pinned = [pin.rpartition("@")[2] for pin in _drivers()]
    same = drivers[0] and _minor(drivers[0]) == _minor(pinned[0])
    return resolution.version(PACKAGE, place) if same and all(drivers) else None


def _drivers() -> list[str]:
    """What connects the engine to PostgreSQL, in the versions that the sample pins."""
    package = resolution.read_package(SAMPLE)
    pins: dict[str, str] = {**package["dependencies"], **package["devDependencies"]}  # type: ignore[dict-item]
    return [f"{name}@{pins[name]}" for name in _DRIVERS]


def _npm(folder: Path, packages: list[str]) -> None:
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages]
    run(command, cwd=folder, timeout_s=600, remedy="the npm registry must be reachable")


def _published(wanted: str, version: str) -> str:
    """The version on npm: the wanted one, else the newest of the same minor version."""
    try:
        done = run(["npm", "view", PACKAGE, "versions", "--json"], timeout_s=120)
    except ToolError as error:
        raise ToolError(error.message, "the npm registry must be reachable") from None
    versions: list[str] = json.loads(done.output[done.output.index("[") :])
    if wanted in versions:
        return wanted
    near = sorted((one for one in versions if _minor(one) == _minor(version)), key=_order)
    if not near:
        raise UsageError(
            f"npm has no WebAssembly engine of Prisma {version}",
            "use a version that has one, or set `prisma: engine: installed`",
        )
    return near[-1]


def _require_published(version: str) -> None:
    if not published(version):
        raise UsageError(
            f"Prisma {version} has no engine in WebAssembly: npm has it from Prisma "
            f"{OLDEST[0]}.{OLDEST[1]} on",
            "set `prisma: engine: installed`, on a machine where Prisma's engine can be "
            f"downloaded (`npx prisma version`); or upgrade to Prisma {OLDEST[0]}.{OLDEST[1]} or "
            "later, as a change of its own",
        )


def _wanted(prisma: Path, version: str) -> str:
    """The version of the engine that this Prisma was made with."""
    engines = resolution.find("@prisma/engines", prisma)
    found = resolution.version("@prisma/engines-version", engines or prisma)
    return found or version


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".")[:2])


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.rpartition(".")[0])))
