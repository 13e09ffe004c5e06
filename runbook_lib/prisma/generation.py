"""Generate the Prisma client if the project has it, tried in a temporary folder first."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from runbook_lib.check import Check, Status, attempt, check, unknown
from runbook_lib.prisma import cli, config
from runbook_lib.prisma.output import Quiet
from runbook_lib.prisma.project import Project
from runbook_lib.process import Completed, run

How = str | Literal[False] | None
"""`prisma.generate`: a command of the project's own, False where a pipeline builds the client, None
for `prisma generate`.
"""
_GENERATOR = re.compile(r"^(\s*generator\s+(\w+)\s*\{)(.*?)(^\s*\})", re.DOTALL | re.MULTILINE)
_OUTPUT = re.compile(r"^(\s*output\s*=\s*)(?:\"([^\"]*)\")?[^\n]*$", re.MULTILINE)
_CLIENT = re.compile(r"^\s*provider\s*=\s*\"prisma-client-js\"", re.MULTILINE)
_PREFIX = ".runbook-generate-"
_REMEDY = (
    "run it by hand in the project's folder, and correct it before the night; "
    "`prisma: generate: false` where a pipeline builds the client"
)


def generate(project: Project, how: How) -> Completed | None:
    """Generate the client in the project; None where a pipeline does.

    Raises:
        ToolError: it failed.
    """
    if how is False:
        return None
    if how is None:
        return cli.generate(project)
    return run(how, cwd=project.folder, env=project.variables(), timeout_s=600, remedy=_REMEDY)


def trial(project: Project, how: How, id: str) -> Check:
    """Try whether the client can be generated, before anything depends on it.

    `prisma generate` writes into a folder beside the schema that is removed; a command of the
    project's own writes where it always does.
    """
    title = "the Prisma client can be generated"
    if how is False:
        return elsewhere(id, title)
    return attempt(id, title, lambda: _tried(project, how, id, title))


def elsewhere(id: str, title: str) -> Check:
    """Return the check that is not made where a pipeline builds the client."""
    found = "`prisma.generate` is false: a pipeline builds it"
    return Check(id, title, Status.NOT_CONFIGURED, found)


def _tried(project: Project, how: str | None, id: str, title: str) -> Check:
    if how is None:
        with _aside(project) as (schema, place):
            done = cli.call(project, None, "generate", "--schema", str(schema), timeout_s=600)
            stand_in = _has_stand_in(project, place)
    else:
        done = run(how, cwd=project.folder, env=project.variables(), timeout_s=600, check=False)
        stand_in = False
    if done.status != 0:
        return check(id, title, False, f"status {done.status}: {_last(done)}", "status 0", _REMEDY)
    if stand_in:
        why = "this client needs Prisma's query engine, which is not installed here"
        return unknown(id, title, why, "generated", _REMEDY)
    return check(id, title, True, f"{done.seconds:.1f} s", "generated")


@contextmanager
def _aside(project: Project) -> Iterator[tuple[Path, Path]]:
    """A copy of the schema as deep in the project as the schema, whose generators write beside it.

    Removed afterwards.
    """
    assert project.schema
    folder = project.schema if project.schema.is_dir() else project.schema.parent
    beside = project.folder if folder == project.folder else folder.parent
    with _folder(beside) as place:
        for file in config.files(project.schema):
            copy = place / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
            text = file.read_text(encoding="utf-8")
            copy.write_text(redirected(text, place / "generated"), encoding="utf-8")
        yield (place if project.schema.is_dir() else place / project.schema.name), place


@contextmanager
def _folder(beside: Path) -> Iterator[Path]:
    """A new folder that is removed at the end.

    Those of trials that were killed are removed first.
    """
    for left in beside.glob(f"{_PREFIX}*"):
        _remove_abandoned(left)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=beside) as name,
        _locked(Path(name), wait=True),
    ):
        Path(name).stat()  # another trial may have taken it for abandoned before it was locked
        yield Path(name)


def _remove_abandoned(folder: Path) -> None:
    """Remove the folder of a trial that is gone: while it is at work, it holds a lock on it."""
    with suppress(OSError), _locked(folder) as mine:
        if mine:
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock on a folder.

    Yields whether it is held: not where another has it, or the disk knows no locks.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(handle)


def redirected(schema: str, place: Path) -> str:
    """Return a schema whose generators write below `place`.

    In folders that are made, under the names that they give to files.
    """

    def block(found: re.Match[str]) -> str:
        start, name, body, end = found.groups()
        if not _OUTPUT.search(body) and _CLIENT.search(body):  # else it goes into node_modules
            body += '  output = ""\n'
        return start + _OUTPUT.sub(lambda one: one[1] + _below(place / name, one[2]), body) + end

    return _GENERATOR.sub(block, schema)


def _below(place: Path, output: str | None) -> str:
    kept = Path(output).name if output and Path(output).suffix else ""
    made = place / kept
    made.parent.mkdir(parents=True, exist_ok=True)
    return f'"{made.as_posix()}"'


def _has_stand_in(project: Project, place: Path) -> bool:
    """Whether the client holds the program that stands in for a query engine that is not there."""
    program = project.engine_path.read_bytes() if project.engine == "offline" else b""
    return bool(program) and any(
        path.read_bytes() == program
        for path in place.rglob("*")
        if path.is_file() and path.stat().st_size == len(program)
    )


def _last(done: Completed) -> str:
    lines = [line.strip() for line in Quiet.text(done.output).splitlines() if line.strip()]
    return " / ".join(lines[-4:]) or "it printed nothing"
