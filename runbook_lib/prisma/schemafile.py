"""The schema file as text, and copies of it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook_lib.prisma.project import Project

_BLOCK = re.compile(
    r"^(model|enum|view|type)\s+(\w+)\s*\{[^\n]*\n(.*?)^\}", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"\s*//.*$")


@contextmanager
def copied(project: Project) -> Iterator[Path]:
    """A copy of the schema, file or folder, that is removed afterwards."""
    assert project.schema
    with tempfile.TemporaryDirectory(prefix="runbook-schema-") as folder:
        place = Path(folder) / project.schema.name
        if project.schema.is_dir():
            shutil.copytree(project.schema, place, ignore=shutil.ignore_patterns("migrations"))
        else:
            shutil.copy(project.schema, place)
        yield place


def text(schema: Path) -> str:
    """All of a schema, file or folder."""
    files = sorted(schema.glob("**/*.prisma")) if schema.is_dir() else [schema]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def blocks(schema: str) -> list[tuple[str, str, list[str]]]:
    """Return the kind, name and lines of each model, enum, view and type.

    Without comments and empty lines.
    """
    return [
        (
            kind,
            name,
            [
                line.strip()
                for line in (_COMMENT.sub("", raw) for raw in body.splitlines())
                if line.strip()
            ],
        )
        for kind, name, body in _BLOCK.findall(schema)
    ]
