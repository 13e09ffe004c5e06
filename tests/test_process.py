"""Other programs end with us, and say nothing secret."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from runbook_lib import process
from runbook_lib.errors import ToolError
from runbook_lib.redact import remember


def ended(pid: int) -> bool:
    """Whether a process is gone, or soon is; one that only waits to be reaped is."""
    with suppress(psutil.NoSuchProcess):
        deadline, process = time.monotonic() + 30, psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


def test_lines_come_redacted_and_in_order() -> None:
    remember("verysecret")
    lines: list[str] = []
    shell = ["/bin/sh", "-c", "echo one; echo verysecret >&2; echo three"]
    done = process.run(shell, on_line=lines.append)
    assert lines == ["one", "•••", "three"] and done.status == 0


def test_a_failure_says_the_command_its_status_and_its_last_line() -> None:
    with pytest.raises(ToolError, match="ended with status 3: no room"):
        process.run(["/bin/sh", "-c", "echo no room; exit 3"])


def test_what_an_operators_command_prints_is_told_masked_and_whole_only_in_its_result() -> None:
    lines: list[str] = []
    with pytest.raises(ToolError, match="ended with status 3: error: …, cannot connect") as caught:
        process.run("echo 'error: Zebediah, cannot connect'; exit 3", on_line=lines.append)
    assert "Zebediah" not in f"{lines}{caught.value.output}" and lines
    done = process.run("echo Zebediah; exit 3", check=False)
    assert (done.output, done.last_words) == ("Zebediah", "…")
    with pytest.raises(ToolError) as late:
        process.run("echo Zebediah; sleep 30", timeout_s=1.0)
    assert "Zebediah" not in late.value.output


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolError, match="could not be started"):
        process.run(["/nowhere/program"])


def test_a_timeout_ends_the_whole_family(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="was ended after"):
        process.run(f"sleep 60 & echo $! > {tmp_path}/pid; wait", timeout_s=0.5)
    assert ended(int((tmp_path / "pid").read_text()))


def test_an_interrupt_ends_the_whole_family(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        process.run(f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    assert ended(int((tmp_path / "pid").read_text()))
