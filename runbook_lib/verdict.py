"""Tells a failure of the migration from one that only met its notebook, which leads nowhere."""

from __future__ import annotations

from typing import Any

from runbook_lib import gate
from runbook_lib.check import Check, Status, check, unknown
from runbook_lib.run import Run


def migration(run: Run) -> Check:
    """Return whether the migration failed: one that was never begun has not."""
    id, title = "trigger.migration", "the migration did not fail"
    entry = run.phase("migrate") or {}
    status = str(entry.get("status", "not run"))
    if status in ("failed", "aborted") and not run.derived.migrating:
        return check(id, title, True, f"it was not begun ({_why(entry)})", "succeeded")
    bad = status in ("failed", "aborted")
    return check(id, title, not bad, status, "succeeded", "roll back")


def validation(run: Run) -> Check:
    """Return whether the validation failed: one that judged nothing could not be made."""
    id, title = "trigger.validation", "the validation did not fail"
    entry = run.phase("validate") or {}
    status = str(entry.get("status", "not run"))
    checks = {*entry.get("failed_checks", ())} - {"identity"}  # asked before anything is judged
    judged = checks or "validate" in gate.refused(run)
    if status == "failed" and not judged:
        remedy = f"runbook resume {run.reference}: validate again"
        return unknown(id, title, f"it could not be made ({_why(entry)})", "succeeded", remedy)
    return check(id, title, status != "failed", status, "succeeded", "roll back")


def leads_back(run: Run, phase: str) -> bool:
    """Return whether a phase ended so that the way back is taken at once, where that is automatic.

    Before the migration nothing has happened, after the validation the application writes again.
    """
    judge = {"migrate": migration, "validate": validation}.get(phase)
    entry = run.phase(phase) or {}
    if judge is None or entry.get("status") != "failed" or entry.get("idle"):
        return False  # idle: it ended before it had done anything, e.g. its kernel never answered
    return judge(run).status is Status.FAILED


def _why(entry: dict[str, Any]) -> str:
    return str(entry.get("reason") or "no reason was recorded").splitlines()[0]
