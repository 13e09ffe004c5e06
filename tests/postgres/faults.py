"""What tests of faults share: the proof that a database is as it was, and processes that are
killed at a defined point.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from runbook_lib.postgres import catalog, snapshot
from runbook_lib.postgres.connection import Database, Target

_START = """
import os, sys, time
from pathlib import Path
from runbook_lib.demo.embedded import BINARIES
from runbook_lib.postgres import backup, content, databases, dump, restore, swap
from runbook_lib.postgres.connection import Target
from runbook_lib.postgres.tools import tools

target = Target.parse(os.environ["RUNBOOK_TEST_URL"])

def here(*_, **__):
    os.write(1, b"here\\n")
    time.sleep(600)
"""


@contextmanager
def unharmed(target: Target | Callable[[], Target]) -> Iterator[None]:
    """Prove that what happens inside leaves a database as it was: content, sequences, settings,
    every object.

    Args:
        target: the database; or where it is now, for a server that is restarted inside.
    """
    where = target if callable(target) else lambda: target
    before = _state(where())
    yield
    after = _state(where())
    compared, changes = before[0].compare(after[0]), catalog.difference(before[1], after[1])
    assert compared.identical and not compared.facts and changes.empty, f"{compared}\n{changes}"


def _state(target: Target) -> tuple[snapshot.Snapshot, catalog.Catalog]:
    with Database(target, "runbook/test/unharmed", statement_timeout="60s") as db:
        return snapshot.take(target, "runbook/test/unharmed"), catalog.read(db)


@contextmanager
def made_database(
    server: Target, name: str, statements: str, template: str = "template0"
) -> Iterator[Target]:
    """A database of that name which holds what the statements make; dropped at the end."""
    with Database(server.named("postgres"), "runbook/test/faults") as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            with Database(server.named(name), "runbook/test/faults") as db:
                db.execute(statements)
            yield server.named(name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    """A file system of its own that is soon full, in a folder that the server reaches, too."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "disk"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0777", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that a file system has left; the file that takes it."""
    path = folder / "filler"
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return path


def before(
    patch: pytest.MonkeyPatch, module: object, name: str, happens: Callable[[], object]
) -> None:
    """Let something happen once, right before a function of the runbook is called."""
    real, todo = getattr(module, name), [happens]

    def disturbed(*arguments: object, **more: object) -> object:
        while todo:
            todo.pop()()
        return real(*arguments, **more)

    patch.setattr(module, name, disturbed)


@contextmanager
def process(target: Target, code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of its own that runs `code` on a target; killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", _START + code, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "RUNBOOK_TEST_URL": target.url()},
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def arrived(child: subprocess.Popen[bytes]) -> bool:
    """Wait until the process says that it is where it is to be killed."""
    assert child.stdout
    return child.stdout.readline() == b"here\n"


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that comes about by itself."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.01)


def nothing_works_for(db: Database, application_name: str, folder: Path) -> None:
    """Wait until the server has no session of that name, and no program works on the folder."""
    until(
        lambda: (
            not db.value(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s",
                [application_name],
            )
        ),
        "the sessions ended",
    )
    until(
        lambda: not any(_names(one, folder) for one in psutil.process_iter()), "the programs ended"
    )


def _names(one: psutil.Process, folder: Path) -> bool:
    try:
        return one.name().startswith("pg_") and any(
            str(folder) in argument for argument in one.cmdline()
        )
    except psutil.NoSuchProcess:
        return False
