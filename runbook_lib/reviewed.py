"""What a plan was reviewed for: facts, one hash over them, and in which of them two plans differ.

Only what a person reviews is a fact: files, the database, versions, and findings by rule, place and
object. Sizes, counts, times and statistics move by themselves, and are no part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

Facts = Mapping[str, Any]

_VALUES = {
    "server": "the server's version",
    "prisma": "Prisma's version",
    "engine": "Prisma's engine",
    "transactions": "how Prisma sends a file",
    "compared": "whether files and database could be compared",
}
"""Facts that are one value each."""
_LISTS = {
    "history": "departure of an applied file",
    "findings": "finding",
    "data": "demand on the data",
    "client": "break of the running client",
    "drift": "difference between files and database",
}
"""Facts that are a list of lines each; one of a file names it and the line first."""


def digest(facts: Facts) -> str:
    """Return the hash that approvals are bound to."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def differences(reviewed: Facts, now: Facts) -> list[str]:
    """Return what is no longer as it was reviewed, in words; none if nothing changed.

    Args:
        reviewed: the facts of a plan.
        now: the same, asked again; facts that it does not have are not compared.
    """
    said = [*_files(reviewed, now), *_applied(reviewed, now)]
    if reviewed["target"] != now["target"]:
        before, after = map(_database, (reviewed["target"], now["target"]))
        said.append(f"the database was replaced: {before} → {after}")
    said += [
        f"{name}: {reviewed[key]} → {now[key]}"
        for key, name in _VALUES.items()
        if key in reviewed and key in now and reviewed[key] != now[key]
    ]
    return said + list(_lines(reviewed, now))


def _files(reviewed: Facts, now: Facts) -> Iterator[str]:
    for name, sha256 in reviewed["files"].items():
        if now["files"].get(name) != sha256:
            yield _changed_file(name, sha256, now)
    for name in now["files"]:
        if name not in reviewed["files"]:
            yield f"{name} is pending, and was not there when the plan was made"


def _changed_file(name: str, sha256: str, now: Facts) -> str:
    if name in now["applied"]:
        return f"migration {name} was applied by somebody"
    if name not in now["files"]:
        return f"file {name} is gone, or its migration is unfinished"
    return f"file {name} was edited (sha256 {sha256[:8]}… → {now['files'][name][:8]}…)"


def _applied(reviewed: Facts, now: Facts) -> Iterator[str]:
    for name in now["applied"]:
        if name not in reviewed["applied"] and name not in reviewed["files"]:
            yield f"migration {name} was applied by somebody"
    for name in reviewed["applied"]:
        if name not in now["applied"]:
            yield f"migration {name} is not applied any more"


def _database(target: Mapping[str, Any]) -> str:
    where = f" on {target['host']}:{target['port']}" if "host" in target else ""
    return (
        f"{target['database']} (oid {target['database_oid']}){where}, system "
        f"{target['system_identifier']}"
    )


def _lines(reviewed: Facts, now: Facts) -> Iterator[str]:
    """Name lines that came or went; those of a file that changed itself go without saying."""
    files = reviewed["files"].keys() | now["files"].keys()
    changed = tuple(
        f"{name}:" for name in files if reviewed["files"].get(name) != now["files"].get(name)
    )
    for key, what in _LISTS.items():
        if key not in reviewed or key not in now:
            continue
        for one, other, word in ((now, reviewed, "new"), (reviewed, now, "gone")):
            for line in one[key]:
                if line not in other[key] and not line.startswith(changed):
                    yield f"{word} {what}: {line}"
