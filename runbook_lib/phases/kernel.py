"""What a phase does to the kernel that it runs in: failing cells end it, errors are shown clean, an interrupt is heard once."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from runbook_lib import process
from runbook_lib.errors import RunbookError, in_full
from runbook_lib.phases import talk
from runbook_lib.redact import redact

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

ENDING_S = 10.0
"""Seconds for which a cell that was interrupted is left alone to end its work; then it can be interrupted again."""


def in_front_end() -> bool:
    """Whether a person sits before this notebook, and it is not executed headless."""
    return bool(os.environ.get("JPY_SESSION_NAME")) and not os.environ.get("RUNBOOK_NOTEBOOK")


def interrupt() -> None:
    """End the cell that is at work, as the front end's own stop button does; called from another thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def watch(phase: Phase) -> None:
    """Let a failing cell end the phase, and show its error without secrets or rows of data."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None:
        return

    def handler(
        shell: Any,
        kind: type[BaseException],
        error: BaseException,
        trace: Any,
        tb_offset: int | None = None,
    ) -> list[str]:
        phase.fail(error)
        _escalate(phase, error)
        own = isinstance(error, (RunbookError, KeyboardInterrupt))
        message = redact(in_full(error)) or ("stopped by a person or a signal" if own else "")
        lines = (
            [f"{kind.__name__}: {message}"]
            if own
            else [
                redact(line)
                for line in shell.InteractiveTB.structured_traceback(
                    kind, error, trace, tb_offset=tb_offset
                )
            ]
        )
        shell._showtraceback(kind, message, lines)
        return lines

    def ended(result: Any) -> None:
        if result.info.raw_cell.strip():
            phase.cell_ended(getattr(result.info, "cell_id", None), result.success)

    process.hear_signals()
    if hasattr(shell, "kernel"):
        shell.kernel.saved_sigint_handler = _idle
    shell.set_custom_exc((Exception, KeyboardInterrupt), handler)
    for callback in list(
        shell.events.callbacks["post_run_cell"]
    ):  # of the phase that this kernel had open before
        if callback.__name__ == "ended":
            shell.events.unregister("post_run_cell", callback)
    shell.events.register("post_run_cell", ended)
    shell.events.register("pre_run_cell", _hear_once)
    _hear_once()


def _escalate(phase: Phase, error: BaseException) -> None:
    """Show who is told of this failure, where it is one that the matrix knows."""
    from IPython.display import display

    entry = phase.run.phase(phase.name) or {}
    if entry.get("status") == "failed" and talk.is_grave(phase):
        display(talk.escalate(phase, getattr(error, "failed", ())))


def _idle(*_: object) -> None:
    """Stand for `SIG_IGN` between two cells, which a program started there would inherit."""


def _hear_once(*_: object) -> None:
    """Let the first interrupt end the cell, and no other one disturb that end: it cancels, puts away and records."""
    if threading.current_thread() is not threading.main_thread():
        return
    heard = -math.inf

    def handler(number: int, frame: object) -> None:
        nonlocal heard
        if time.monotonic() - heard > ENDING_S:
            heard = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
