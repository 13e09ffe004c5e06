"""What became of an applied file.

The text as it was applied is not in the database, but version control may have it.
"""

from __future__ import annotations

import difflib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pglast.parser import ParseError, parse_sql_json

if TYPE_CHECKING:
    from runbook_lib.prisma.history import MigrationFile

VERSIONS = 200
"""How many versions of a file are looked at in its repository, newest first."""
_SHOWN = 6


@dataclass(frozen=True)
class Edit:
    """An applied file that is another one now.

    Args:
        name: of the migration.
        commit: the one that has the text as it was applied; empty where none does.
        same: whether both texts mean the same, by PostgreSQL's own parser; None where that is not
            known.
        lines: the difference, as `diff` writes it.
    """

    name: str
    commit: str = ""
    same: bool | None = None
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.commit:
            return (
                f"{self.name}: its text as applied is not known (no commit here has a file of "
                "that checksum)"
            )
        what = "what differs could not be told"
        if self.same is not None:
            what = "only comments or spaces differ" if self.same else "its statements differ"
        more = f" (and {len(self.lines) - _SHOWN} more lines)" if len(self.lines) > _SHOWN else ""
        return (
            f"{self.name}: {what} from commit {self.commit[:10]}, as applied: "
            f"{' ⏎ '.join(self.lines[:_SHOWN])}{more}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"commit": self.commit, "same": self.same, "lines": list(self.lines)}


def look(file: MigrationFile, checksum: str) -> Edit:
    """Return what differs between a file and the text of that checksum.

    As far as its repository tells.
    """
    for commit, raw in _versions(file):
        before = type(file).of(file.path, raw)
        if not before.problem and before.matches(checksum):
            same = _same(before.sql, file.sql)
            return Edit(file.name, commit, same, _difference(before.sql, file.sql))
    return Edit(file.name)


def _versions(file: MigrationFile) -> Iterator[tuple[str, bytes]]:
    """The versions of a file that its repository has, newest first.

    None where it has no repository.
    """
    listed = _git(file, "log", "--all", f"-{VERSIONS}", "--format=%H", "--", file.path.name)
    for commit in (listed or b"").decode().split():
        raw = _git(file, "show", f"{commit}:./{file.path.name}")
        if raw is not None:  # None: the commit that removed it
            yield commit, raw


def _git(file: MigrationFile, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=file.path.parent, capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _same(one: str, other: str) -> bool | None:
    try:
        return bool(_meaning(one) == _meaning(other))
    except ParseError:
        return None


def _meaning(text: str) -> Any:
    return _without_places(json.loads(parse_sql_json(text))["stmts"])


def _without_places(node: Any) -> Any:
    """A parsed statement without where each of its words stands."""
    if isinstance(node, list):
        return [_without_places(item) for item in node]
    if isinstance(node, dict):
        return {
            key: _without_places(value)
            for key, value in node.items()
            if not key.endswith("location") and key != "stmt_len"
        }
    return node


def _difference(before: str, now: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=0)
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))
