"""What a person types next: commands that work as they stand, in any folder."""

from __future__ import annotations

from runbook_lib.run import LOOKING, PHASES, Run

HARMLESS = PHASES[: PHASES.index("announce")]
"""Phases that change neither the database nor the application."""


def next_command(run: Run) -> str:
    """Return what a person types next, given how the run ended; what else there is stands behind `#`. Empty where nothing is left to do."""
    outcome = "aborted" if run.lost else run.outcome
    return {"waiting": _decide, "failed": _after_failure, "aborted": _after_interrupt}.get(
        outcome, lambda run: ""
    )(run)


def _decide(run: Run) -> str:
    phase = next(
        (one["phase"] for one in reversed(run.state["phases"]) if one["status"] == "waiting"),
        "GATE",
    )
    if phase == "rollback":
        return f"runbook rollback {run.reference}"
    return f"runbook approve {run.reference} {phase} && runbook resume {run.reference}"


def _after_failure(run: Run) -> str:
    ran = {entry["phase"] for entry in run.state["phases"]}
    if ran <= {*HARMLESS, *LOOKING}:
        return f"runbook resume {run.reference}   # once the cause is gone; nothing was changed"
    return f"runbook rollback {run.reference}   # or, once the cause is gone: runbook resume {run.reference}"


def _after_interrupt(run: Run) -> str:
    """What was cut off inside a file has to be settled first: Prisma applies nothing on top of it."""
    if _cut_off(run):
        return (
            f"runbook rollback {run.reference}   # says first what was applied; "
            f"only where nothing is unfinished: runbook resume {run.reference}"
        )
    return f"runbook resume {run.reference}   # or: runbook rollback {run.reference}"


def _cut_off(run: Run) -> bool:
    """Return whether the migration was begun, and neither ended nor rolled back since."""
    told = ("migration begun", "migration ended", "resolved", "repaired", "rolled back")
    last = [line["what"] for line in run.read_journal() if line["what"] in told]
    return last[-1:] == ["migration begun"]
