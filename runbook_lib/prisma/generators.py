"""The generators that a Prisma schema names.

`prisma generate` fails where one of them is not installed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from runbook_lib.prisma.project import Project
from runbook_lib.prisma.schemafile import text

_BLOCK = re.compile(r"^\s*generator\s+(\w+)\s*\{(.*?)^\s*\}", re.DOTALL | re.MULTILINE)
_PROVIDER = re.compile(r"^\s*provider\s*=\s*\"([^\"]+)\"", re.MULTILINE)
_ENGINELESS = re.compile(
    r"^\s*(?:engineType\s*=\s*\"client\"|previewFeatures\s*=.*\"queryCompiler\")", re.MULTILINE
)
"""A client whose queries are compiled, as all are from Prisma 7 on."""
BUILT_IN = ("prisma-client-js", "prisma-client")
"""Those that Prisma itself brings."""


def missing(project: Project) -> list[str]:
    """Return each generator that is named and not installed: `name (provider)`."""
    assert project.schema
    return [
        f"{name} ({provider})"
        for name, provider in _named(text(project.schema))
        if provider not in BUILT_IN and not _installed(provider, project.folder)
    ]


def without_query_engine(project: Project) -> list[str]:
    """Return each client that needs a query engine that is not installed.

    Prisma 6 and earlier need one.
    """
    assert project.schema
    if project.major > 6 or project.query_engines:
        return []
    return [
        name
        for name, body in _BLOCK.findall(text(project.schema))
        if (found := _PROVIDER.search(body))
        and found[1] in BUILT_IN
        and not _ENGINELESS.search(body)
    ]


def _named(schema: str) -> Iterator[tuple[str, str]]:
    for name, body in _BLOCK.findall(schema):
        if found := _PROVIDER.search(body):
            yield name, found[1]


def _installed(provider: str, folder: Path) -> bool:
    """Look where Prisma looks.

    A path, a program or package of the project or of a workspace above it, a program of the
    machine.
    """
    first, *more = provider.split()
    program = more[-1] if first == "node" and more else first
    if program.startswith((".", "/")):
        return (folder / program).exists()
    return shutil.which(program) is not None or any(
        (above / "node_modules" / ".bin" / program).exists()
        or (above / "node_modules" / program / "package.json").exists()
        for above in (folder, *folder.parents)
    )
