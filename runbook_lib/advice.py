"""What a person types next: commands that work as they stand, in any folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from runbook_lib import approver
from runbook_lib.run import Run
from runbook_lib.state import LOOKING, PHASES

_PARAMS = re.compile(r"(\brunbook \w+ )PARAMS\b")
HARMLESS = PHASES[: PHASES.index("announce")]
"""Phases that change neither the database nor the application."""


def filled(text: str, run: Run | None = None, given: Path | None = None) -> str:
    """Return advice with the parameter file that it speaks of.

    That of the command, else what the run was started with.
    """
    path = given or (run.folder / "parameters.json" if run else None)
    return _PARAMS.sub(lambda found: f"{found[1]}{shlex.quote(str(path))}", text) if path else text


def next_command(run: Run) -> str:
    """Return what a person types next, given how the run ended: a command and nothing else.

    Empty where nothing is left to do.
    """
    return _advice(run)[0]


def otherwise(run: Run) -> str:
    """Return what else there is to do, or what comes before or after that command, in words.

    Empty where there is nothing.
    """
    return _advice(run)[1]


def _advice(run: Run) -> tuple[str, str]:
    if not run.derived.told:
        return "", "another version of the runbook began this run: go on with that one"
    if run.at_work:
        return "", ""
    if run.lost:
        return _after_interrupt(run)
    state = run.derived
    kind, phase = state.next
    if kind in ("waiting", "refused"):
        return approver.steps(run, phase)
    if kind == "stopped":
        failed = (state.phase(phase) or {}).get("status") == "failed"
        return _after_failure(run) if failed else _after_interrupt(run)
    if kind == "next":
        return f"runbook {'rollback' if phase == 'rollback' else 'resume'} {run.reference}", ""
    return "", ""


def _after_failure(run: Run) -> tuple[str, str]:
    ran = {entry["phase"] for entry in run.state["phases"]}
    resume, back = f"runbook resume {run.reference}", f"runbook rollback {run.reference}"
    if ran <= {*HARMLESS, *LOOKING}:
        return resume, "once the cause is gone; nothing was changed"
    if not run.derived.migrating:
        return (
            resume,
            f"once the cause is gone: the migration was not begun; or, to give it up: {back}",
        )
    return back, f"or, once the cause is gone: {resume}"


def _after_interrupt(run: Run) -> tuple[str, str]:
    """What was cut off inside a file has to be settled first.

    Prisma applies nothing on top of it.
    """
    resume, back = f"runbook resume {run.reference}", f"runbook rollback {run.reference}"
    if run.derived.cut_off:
        return back, f"it says first what was applied; only where nothing is unfinished: {resume}"
    return resume, f"or: {back}"
