"""Run other programs: their lines as they come, their whole family ended with us.

Nothing secret is in what they say.

A command that an operator configures may print anything, rows too. Its lines are told only as
`runbook_lib.masking` leaves them; whole they are in the result alone, for whoever reads an answer
there, and never shows it.

They lead sessions of their own, so that a family can be ended as one. What is then to end them
where this process is killed, and cannot? A guardian: a small shell that is told of each family, and
ends those that are left once the pipe from this process closes.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from runbook_lib.errors import ToolError
from runbook_lib.masking import masked
from runbook_lib.redact import redact

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
GRACE_S = 1.0
"""Seconds between the polite signal and the final one."""
_LATE = "see whether this machine is busy (`uptime`), or what the program waits for; then repeat"
_GUARDIAN = """
families=" "
while read -r what family; do
    case $what in
        began) families="$families$family " ;;
        ended) families="${families%% $family *} ${families#* $family }" ;;
    esac
done
for family in $families; do kill -s TERM -- "-$family"; done
[ "$families" = " " ] || sleep 1
for family in $families; do kill -s KILL -- "-$family"; done
"""
"""Reads which families began and ended; at the end of its input, ends those that are left."""


def hear_signals() -> None:
    """Hear again what this process was started deaf to.

    Called before it starts any other, for they would be as deaf.

    A script's `&`, cron and `nohup` start programs with SIGINT and SIGQUIT ignored; a few parents
    ignore SIGCHLD, under which every program seems to end with status 0. SIGHUP stays as it is:
    nohup means it.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in _HEARD.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


_HEARD: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
}


@dataclass(frozen=True)
class Completed:
    """A program that ended: `status` 0 is success.

    `output` is stdout and stderr in order, redacted.
    """

    command: str
    status: int
    output: str
    seconds: float

    @property
    def last_words(self) -> str:
        """Its last line that says something, masked."""
        return masked(_last(self.output.splitlines()))


def run(
    command: Sequence[str] | str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
    remedy: str = "",
    keep_lines: int = 2000,
) -> Completed:
    """Run a program to its end.

    Args:
        command: a sequence of arguments, or a string for `/bin/sh -c` (commands that an operator
            configures).
        cwd: where; default here.
        env: variables laid over this process's own. Secrets go here, never into `command`.
        timeout_s: seconds until it is ended; `None` waits for ever.
        on_line: called with each line as it comes, redacted; of an operator's command masked.
        check: raise where the exit status is not 0.
        remedy: what to do where it fails; shown with the error.
        keep_lines: how many of the last lines are kept in the result.

    Raises:
        ToolError: it could not be started, took too long, or (with `check`) failed.
    """
    shown = redact(command if isinstance(command, str) else shlex.join(command))
    started = time.monotonic()
    lines: deque[str] = deque(maxlen=keep_lines)
    tell = masked if isinstance(command, str) else str
    heard = (lambda line: on_line(tell(line))) if on_line else None
    try:
        status = _to_its_end(_start(command, cwd, env, shown, remedy), lines, heard, timeout_s)
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"`{shown}` was ended after {timeout_s:g} s without a result",
            remedy or _LATE,
            output="\n".join(map(tell, lines)),
        ) from None
    output = "\n".join(list(lines))
    if check and status != 0:
        raise ToolError(
            f"`{shown}` ended with status {status}: {tell(_last(lines))}",
            remedy,
            status=status,
            output="\n".join(map(tell, lines)),
        )
    return Completed(shown, status, output, time.monotonic() - started)


def _to_its_end(
    child: subprocess.Popen[str],
    lines: deque[str],
    on_line: Callable[[str], None] | None,
    timeout_s: float | None,
) -> int:
    """Return the program's status; end its whole family if it takes too long.

    The same if the wait is interrupted.
    """
    try:
        _families.began(child)
        reader = threading.Thread(target=_read, args=(child, lines, on_line), daemon=True)
        reader.start()
        status = child.wait(timeout_s)
        reader.join(GRACE_S)  # a daemon that the program left behind may hold the pipe open
        return status
    except BaseException:
        end_family(child)
        raise
    finally:
        _families.ended(child)


def end_family(child: subprocess.Popen[str]) -> None:
    """End the program and every process it started in its session.

    SIGTERM, and SIGKILL after `GRACE_S` seconds.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def end_running() -> None:
    """End the programs that other threads of this process wait for."""
    for child in _families.running():
        end_family(child)


class _Families:
    """The programs that run now, as this process and its guardian know them."""

    def __init__(self) -> None:
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._guardian: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def began(self, child: subprocess.Popen[str]) -> None:
        """A program was started."""
        with self._lock:
            self._running[child.pid] = child
            self._tell("began", child.pid)

    def ended(self, child: subprocess.Popen[str]) -> None:
        """It has ended, or was ended."""
        with self._lock:
            self._running.pop(child.pid, None)
            self._tell("ended", child.pid)

    def running(self) -> list[subprocess.Popen[str]]:
        """Those that have not ended."""
        with self._lock:
            return list(self._running.values())

    def _tell(self, what: str, family: int) -> None:
        if self._guardian is None or self._guardian.poll() is not None:
            self._guardian = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDIAN],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(f"{what} {family}\n".encode())
        self._guardian.stdin.flush()


_families = _Families()


def _start(
    command: Sequence[str] | str,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    shown: str,
    remedy: str,
) -> subprocess.Popen[str]:
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(
            f"`{shown}` could not be started: {error.strerror or error}", remedy
        ) from None


def _read(
    child: subprocess.Popen[str], lines: deque[str], on_line: Callable[[str], None] | None
) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        safe = redact(_COLOURS.sub("", line.rstrip("\n")))
        lines.append(safe)
        if on_line:
            on_line(safe)


def _last(lines: Sequence[str]) -> str:
    """The last line that says something."""
    return next(
        (line.strip() for line in reversed(list(lines)) if line.strip()), "it printed nothing"
    )
