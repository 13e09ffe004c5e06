"""Telling people: what every phase sends, recorded with its failures; and who is told of a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runbook_lib.params import dereference
from runbook_lib.service import notify, people
from runbook_lib.table import Table

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

GRAVE = {"announce": people.Failure.PARTIAL_OUTAGE, "migrate": people.Failure.MIGRATION, "validate": people.Failure.VALIDATION,
         "close": people.Failure.PARTIAL_OUTAGE, "rollback": people.Failure.OUTAGE}
"""Phases whose failure is escalated, and what it is called in the matrix. Before them, nothing has happened to anybody."""


def tell(phase: Phase, audiences: Sequence[str], occasion: str, title: str, body: str) -> Any:
    """Send a message to audiences of the parameters, and record what became of it; a failure never stops a run.

    Args:
        audiences: keys of `notify.audiences`.
        occasion: what it is about in one word: planned, started, progress, done, failed, rolled back.

    Returns:
        what was sent, with each delivery; a table that says so where none of them is configured.
    """
    named = {name: phase.params.notify.audiences[name] for name in audiences if phase.params.notify.audiences.get(name)}
    for name in audiences:
        if name not in named:
            phase.run.journal("not notified", audience=name, occasion=occasion, title=title, why=f"`notify.audiences.{name}` is not set")
    if not named:
        return Table(f"Nobody was told: `notify.audiences` does not name {' or '.join(audiences)}", ("audience", "result"), [])
    resolved = {name: [dereference(url, f"notify.audiences.{name}") for url in urls] for name, urls in named.items()}
    sent = notify.send(resolved, list(named), title, f"{body}\nRun: {phase.run.id}")
    for name in named:
        deliveries = [item for item in sent.as_dict() if item["audience"] == name]
        phase.run.journal("notified", audience=name, occasion=occasion, title=title, deliveries=deliveries)
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
    audiences = phase.params.people.severity_audiences.get(str(severity), [])  # type: ignore[call-overload]
    if audiences:
        tell(phase, audiences, "failed", f"{phase.params.environment.name}: {phase.name} failed, severity {severity} ({found.level.name})",
             "; ".join(found.level.actions))
    return found
