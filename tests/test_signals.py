"""Started where SIGINT is ignored (a script's `&`, cron, nohup), the product and what it starts
can be interrupted as in a terminal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from worlds import DEAF

from runbook_lib.demo.embedded import BINARIES
from runbook_lib.postgres.connection import Database, Target

PROGRAM = """
import os, sys
from runbook_lib import cli, process
def work(**_):
    sys.argv = sys.argv[1:]
    process.run(sys.argv)
cli.app = work
cli.main()
"""
"""The command line with one program as its work."""
NOTEBOOK_KERNEL = """
from jupyter_client.manager import start_new_kernel
from runbook_lib import cli
def work(**_):
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive(CELL, timeout=60)
    finally:
        manager.shutdown_kernel(now=True)
"""
PRETENDED_PHASE = (
    "from types import SimpleNamespace as N; from runbook_lib.phases import kernel;"
    "kernel.watch(N(fail=lambda e: None, cell_ended=lambda *a: None))"
)
CHILD_BETWEEN_CELLS = (
    "import threading, time, subprocess;"
    "threading.Timer(0.5, lambda: subprocess.Popen(['sleep', '61'])).start()"
)


def deaf(*command: str, **variables: str) -> subprocess.Popen[str]:
    """A program that is started with SIGINT, SIGQUIT and SIGCHLD ignored."""
    return subprocess.Popen(
        [*DEAF, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **variables},
    )


def until(holds: Callable[[], object]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ignored(pid: int) -> set[signal.Signals]:
    """The signals that a process ignores, of those that ask for an end or tell of a child's."""
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("SigIgn:")
    )
    mask = int(line.split()[1], 16)
    asked = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
    return {number for number in asked if mask >> (number - 1) & 1}


@pytest.fixture
def commands(database: str) -> dict[str, list[str]]:
    """One program of each kind, each of which would go on for a minute."""
    dump = [str(BINARIES / "pg_dump"), "--lock-wait-timeout=60s", f"--dbname={database}"]
    return {
        "a configured command": ["/bin/sh", "-c", "sleep 61; sleep 62"],
        "node, as Prisma and npm": ["node", "-e", "setTimeout(() => {}, 61000)"],
        "a program in Python": [sys.executable, "-c", "import time; time.sleep(61)"],
        "pg_dump": dump,
    }


@pytest.mark.parametrize(
    "kind",
    ["a configured command", "node, as Prisma and npm", "a program in Python", "pg_dump"],
)
@pytest.mark.parametrize("whom", ["the program itself", "the runbook"])
def test_an_interrupt_ends_what_a_deaf_parent_started(
    database: str, commands: dict[str, list[str]], kind: str, whom: str
) -> None:
    with Database(Target.parse(database)) as db, db.transaction():
        db.execute("CREATE TABLE held (id int)")
        parent = deaf(sys.executable, "-c", PROGRAM, *commands[kind])
        me = psutil.Process(parent.pid)
        name = Path(commands[kind][0]).name
        until(lambda: [one for one in me.children() if name in " ".join(one.cmdline())])
        child = next(one for one in me.children() if name in " ".join(one.cmdline()))
        until(lambda: child.status() == psutil.STATUS_SLEEPING)
        assert ignored(child.pid) == set()
        if whom == "the program itself":
            os.killpg(child.pid, signal.SIGINT)
        else:
            me.send_signal(signal.SIGINT)
        output = parent.communicate(timeout=60)[0]
    assert not child.is_running() and parent.returncode == 1
    assert "Traceback" not in output
    assert ("ended with status" if whom == "the program itself" else "stopped") in output


def test_a_programs_status_is_told_where_sigchld_was_ignored() -> None:
    parent = deaf(sys.executable, "-c", PROGRAM, "/bin/sh", "-c", "echo no room; exit 3")
    assert "ended with status 3: no room" in parent.communicate(timeout=60)[0]


def test_what_a_kernel_starts_between_two_cells_can_be_interrupted() -> None:
    cells = f"{NOTEBOOK_KERNEL.replace('CELL', repr(PRETENDED_PHASE))}"
    program = cells.replace(
        "    finally:",
        f"        client.execute_interactive({CHILD_BETWEEN_CELLS!r}, timeout=60)\n"
        "        import sys; sys.stdin.readline()\n    finally:",
    )
    parent = subprocess.Popen(
        [*DEAF, sys.executable, "-c", program + "cli.app = work\ncli.main()"],
        stdin=subprocess.PIPE,
        text=True,
    )
    me = psutil.Process(parent.pid)

    def sleeper() -> psutil.Process | None:
        for one in me.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if one.cmdline()[:2] == ["sleep", "61"]:
                    return one
        return None

    until(sleeper)
    assert (child := sleeper()) and ignored(child.pid) == set()
    child.send_signal(signal.SIGINT)
    until(lambda: sleeper() is None)
    parent.communicate("\n", timeout=60)
