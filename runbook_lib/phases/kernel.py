"""What a phase does to the kernel that it runs in.

Failing cells end it, errors are shown clean, an interrupt is heard once.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runbook_lib import advice, process
from runbook_lib.errors import Aborted, Refused, RunbookError, beside, in_full, in_short, traced
from runbook_lib.phases import outputs, talk
from runbook_lib.postgres.connection import Database, query
from runbook_lib.redact import redact
from runbook_lib.whereabouts import person

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

ENDING_S = 10.0
"""Seconds for which a cell that was interrupted is left alone to end its work; then it can be
interrupted again.
"""


def in_front_end() -> bool:
    """Whether a person sits before this notebook, and it is not executed headless."""
    return bool(os.environ.get("JPY_SESSION_NAME")) and not os.environ.get("RUNBOOK_NOTEBOOK")


def interrupt() -> None:
    """End the cell that is at work, as the front end's own stop button does.

    Called from another thread.
    """
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def watch(phase: Phase, notebook: str = "") -> None:
    """Let a failing cell end the phase, and show its error without secrets or rows of data.

    Before a front end, what each run of a cell shows is kept.
    """
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
        error = _told(phase, error)
        kind = type(error)
        if isinstance(error, RunbookError):
            error.remedy = advice.filled(error.remedy, phase.run)
        phase.fail(error)
        with beside(error, "telling people of it"):
            _escalate(phase, error)
        own = isinstance(error, RunbookError)
        message = redact(in_full(error) if own else in_short(error))
        lines = [f"{kind.__name__}: {message}"] if own else [redact(line) for line in traced(error)]
        shell._showtraceback(kind, message, lines)
        return lines

    def ended(result: Any) -> None:
        if result.info.raw_cell.strip():
            phase.cell_ended(getattr(result.info, "cell_id", None), result.success)

    process.hear_signals()
    if hasattr(shell, "kernel"):
        shell.kernel.saved_sigint_handler = _idle
    shell.set_custom_exc((Exception, KeyboardInterrupt), handler)
    _forget_phase_before(shell)
    shell.events.register("post_run_cell", ended)
    shell.events.register("pre_run_cell", _hear_once)
    if notebook and in_front_end() and hasattr(shell, "kernel") and not phase.only_looks:
        shown = outputs.keep(shell, phase, notebook)
        shell.events.register("pre_run_cell", shown.began)
        shell.events.register("post_run_cell", shown.ended)
    _hear_once()


def _forget_phase_before(shell: Any) -> None:
    """Unregister what the phase that this kernel had open before is told of its cells."""
    for callback in list(shell.events.callbacks["post_run_cell"]):
        if callback.__name__ == "ended":
            shell.events.unregister("post_run_cell", callback)


def _told(phase: Phase, error: BaseException) -> BaseException:
    """An interrupt, and a name that only a cell further up would have made, as what they are.

    Any other error as it is.
    """
    if isinstance(error, KeyboardInterrupt):
        return interrupted(phase)
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if isinstance(error, NameError) and trace and trace.tb_frame.f_code.co_name == "<module>":
        return Refused(
            f"`{error.name}` is not known here yet: the cell that makes it was not run",
            "run the cells in their order",
        )
    return error


def interrupted(phase: Phase, before: str = "") -> Aborted:
    """Return what is told of an interrupt.

    By whom, what was going on before, what the server still does for this run.

    Args:
        before: what the phase was waiting for.
    """
    return Aborted(
        f"interrupted by {person()}{f': {before}' if before else ''}\n"
        f"What the server does for this run now: {_at_work(phase)}",
        f"run {phase.name} again from its first cell: what is true then is looked at; 90_rollback "
        "tells what landed and leads back",
    )


def _at_work(phase: Phase) -> str:
    """Which sessions of the run are still at work, and what they hold.

    Looked at from a session that waits for nothing.
    """
    try:
        target = replace(phase.target, options={**phase.target.options, "connect_timeout": "2"})
        with Database(target, f"{phase.application_name}-after", statement_timeout="1s") as db:
            found = db.rows(query("activity_held"), [f"runbook/{phase.run.key}/%"])
    except (RunbookError, OSError) as error:
        return f"not known, it cannot be asked: {getattr(error, 'message', type(error).__name__)}"
    return "; ".join(row["it"] for row in found) or "nothing, and it holds no lock for it"


def _escalate(phase: Phase, error: BaseException) -> None:
    """Show who is told of this failure, where it is one that the matrix knows."""
    from IPython.display import display

    entry = phase.run.phase(phase.name) or {}
    if entry.get("status") == "failed" and talk.is_grave(phase):
        display(talk.escalate(phase, getattr(error, "failed", ())))


def _idle(*_: object) -> None:
    """Stand for `SIG_IGN` between two cells, which a program started there would inherit."""


def _hear_once(*_: object) -> None:
    """Let the first interrupt end the cell, and no other one disturb that end.

    It cancels, puts away and records.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    heard = -math.inf

    def handler(number: int, frame: object) -> None:
        nonlocal heard
        if time.monotonic() - heard > ENDING_S:
            heard = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
