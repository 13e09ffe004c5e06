"""Ctrl-C: within two seconds the process has ended and the server works for it no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbook_lib.postgres.connection import Database

START = (
    "import sys, os; from runbook_lib.postgres.connection import Target; t = "
    "Target.parse(os.environ['RUNBOOK_TEST_URL']); "
)
WORK = {
    "sessions that share work": "from runbook_lib.postgres.parallel import each;"
    "each(t, 'interrupted', 2, [1, 2, 3], lambda db, unit: db.execute('SELECT pg_sleep(30)'))",
    "a backup that waits for a lock": "from runbook_lib.postgres import dump, tools; from "
    "runbook_lib.demo.embedded import BINARIES;dump.make(t, sys.argv[1], 'interrupted', "
    "tools=tools.tools(t, BINARIES), lock_timeout_s=30)",
}


@pytest.mark.fault(
    "the runbook, SIGINT", "{work}", "the backup", "nothing goes on, on the server or here"
)
@pytest.mark.parametrize("work", WORK)
def test_nothing_goes_on_after_an_interrupt(
    rich: Database, database: str, work: str, tmp_path: Path
) -> None:
    with Database(rich.target) as other, other.transaction():
        other.execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")
        child = subprocess.Popen(
            [sys.executable, "-c", START + WORK[work], str(tmp_path / "b")],
            stderr=subprocess.PIPE,
            env={**os.environ, "RUNBOOK_TEST_URL": database},
        )
        while not rich.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'interrupted' "
            "AND state = 'active'"
        ):
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in child.communicate()[1]
        while rich.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'interrupted'"
        ):
            time.sleep(0.05)
