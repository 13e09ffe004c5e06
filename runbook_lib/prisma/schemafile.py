"""The schema file as text: copies of it, and what differs between two of them."""

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


def difference(project: str, database: str) -> list[str]:
    """What one schema says and the other does not, a line each; none where both say the same.

    The order of blocks and lines, comments and spaces say nothing: introspection orders and drops them as it likes.
    """
    one, other = _said(project), _said(database)
    lines = []
    for block in sorted({*one, *other}):
        mine, theirs = one.get(block, []), other.get(block, [])
        if block not in one or block not in other:
            lines.append(f"{block}: only in the {'schema file' if block in one else 'database'}")
        else:
            lines += [
                f"{block}: only in the schema file: {line}" for line in mine if line not in theirs
            ]
            lines += [
                f"{block}: only in the database: {line}" for line in theirs if line not in mine
            ]
    return sorted(lines)


def blocks(schema: str) -> list[tuple[str, str, list[str]]]:
    """The kind, name and lines of each model, enum, view and type, without comments and empty lines."""
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


def _said(schema: str) -> dict[str, list[str]]:
    return {
        f"{kind} {name}": [_plain(line) for line in lines] for kind, name, lines in blocks(schema)
    }


def _plain(line: str) -> str:
    """A line without what goes without saying: spaces, and the actions of a relation that are its defaults."""
    words = re.sub(r"(@\w+) \(", r"\1(", " ".join(line.split()))
    usual = "SetNull" if re.match(r"\w+ \w+\? ", words) else "Restrict"
    return words.replace(", onUpdate: Cascade", "").replace(f", onDelete: {usual}", "")
