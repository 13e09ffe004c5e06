"""Telling people: what every phase sends, recorded with its failures; and who is told of a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.params import dereference
from runbook_lib.service import notify, people
from runbook_lib.table import Table

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

GRAVE = {"announce": people.Failure.PARTIAL_OUTAGE, "migrate": people.Failure.MIGRATION, "validate": people.Failure.VALIDATION,
         "close": people.Failure.PARTIAL_OUTAGE, "rollback": people.Failure.OUTAGE}
"""Phases whose failure is escalated, and what it is called in the matrix. Before them, nothing has happened to anybody."""


def tell(phase: Phase, audience: str, occasion: str, title: str, body: str) -> Any:
    """Send a message to an audience of the parameters, and record what became of it; a failure never stops a run.

    Args:
        audience: a key of `notify.audiences`.
        occasion: what it is about in one word: planned, started, progress, done, failed, rolled back.

    Returns:
        what was sent, with each delivery; a table that says so where the audience is not configured.
    """
    urls = phase.params.notify.audiences.get(audience)
    if not urls:
        phase.run.journal("not notified", audience=audience, occasion=occasion, why="notify.audiences has no such audience")
        return Table(f"{audience}: nobody was told — `notify.audiences.{audience}` is not set", ("audience", "result"), [])
    resolved = {audience: [dereference(url, f"notify.audiences.{audience}") for url in urls]}
    sent = notify.send(resolved, [audience], title, f"{body}\nRun: {phase.run.id}")
    phase.run.journal("notified", audience=audience, occasion=occasion, title=title, deliveries=sent.as_dict())
    return sent


def escalate(phase: Phase, failed_checks: tuple[str, ...]) -> people.Escalation:
    """Give a phase's failure its severity by the matrix, and tell the audiences that the parameters name for it.

    Args:
        failed_checks: ids; content that changed undeclared counts as loss of data.
    """
    failures = [people.Failure.DATA_LOSS] if any(item.startswith("content.") for item in failed_checks) else [GRAVE[phase.name]]
    severity = people.severity(failures)
    found = people.escalation([people.Contact(c.role, c.name, c.contact, c.escalation) for c in phase.params.people.contacts], severity)
    phase.run.journal("escalated", phase=phase.name, severity=severity, told=[contact.role for contact in found.at(0)])
    for audience in phase.params.people.severity_audiences.get(str(severity), []):  # type: ignore[call-overload]
        tell(phase, audience, "failed", f"{phase.params.environment.name}: {phase.name} failed, severity {severity} ({found.level.name})",
             "; ".join(found.level.actions))
    return found
