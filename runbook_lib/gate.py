"""Gates: what must hold before a phase may act, and the person who has to agree.

An approval names run, gate, plan, person, time and reason; one of the gate `plan` lists the severe findings that it
accepts. It stands only for the plan whose hash it names: change a fact that was reviewed, and it is void. Which gates need a person is set
by `approvals.required`; a check that could not be made needs one everywhere, who was told of that very check: an approval
accepts what the gate was waiting with, and nothing later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from runbook_lib import reviewed
from runbook_lib.check import Check, Checks
from runbook_lib.errors import ApprovalNeeded, GateError
from runbook_lib.run import Run, person, stamp

_NAMED = 5
"""Changes of a plan that a refusal names."""


def approve(
    run: Run, gate: str, reason: str, *, refused: bool = False, way: str = ""
) -> dict[str, Any]:
    """Record that a person opens a gate (or refuses it) for the plan as it stands now.

    Args:
        way: at the gate `rollback`, the way back that they chose.

    Returns:
        the record, as it stands in approvals.jsonl.
    """
    record = {
        "run": run.id,
        "gate": gate,
        "plan": plan_hash(run),
        "person": person(),
        "at": stamp(),
        "reason": reason,
        "decision": "refused" if refused else "approved",
        "could_not_check": _waits_with(run, gate),
        "accepts": run.read_evidence("plan", missing={}).get("severe", [])
        if gate == "plan" and not refused
        else [],
    } | ({"way": way} if way else {})
    run.approve(record)
    run.journal("gate refused" if refused else "gate approved", gate=gate, reason=reason)
    return record


def plan_hash(run: Run) -> str | None:
    """The hash of the run's plan, or None before there is one."""
    return run.read_evidence("plan", missing={}).get("hash")


def facts_name(plan: str) -> str:
    """Return the name of the evidence that keeps the facts of a plan, by its hash."""
    return f"plan.{plan[:16]}"


def standing(run: Run, gate: str) -> dict[str, Any] | None:
    """The newest decision on a gate, where it was made for the plan as it stands."""
    decisions = [record for record in run.read_approvals() if record["gate"] == gate]
    return decisions[-1] if decisions and decisions[-1]["plan"] == plan_hash(run) else None


def accepted(run: Run, gate: str) -> frozenset[str]:
    """Return the checks that could not be made when a gate was opened, and that a person accepted then: they are asked once."""
    decision = standing(run, gate)
    if decision is None or decision["decision"] != "approved":
        return frozenset()
    return frozenset(decision.get("could_not_check", ()))


def refused(run: Run) -> dict[str, dict[str, Any]]:
    """Return the gates that somebody has refused, each with the decision that stands: whatever was passed before, nothing goes on."""
    gates = {record["gate"] for record in run.read_approvals()}
    found = {gate: standing(run, gate) for gate in sorted(gates)}
    return {gate: one for gate, one in found.items() if one and one["decision"] == "refused"}


def require(
    run: Run, gate: str, checks: Checks, required: Iterable[str], settled: Collection[str] = ()
) -> dict[str, Any] | None:
    """Pass the gate, or raise.

    Args:
        checks: what must hold. None may have failed; those that could not be made need an approval.
        required: the gates that need a person in this environment.
        settled: ids of checks that could not be made, and that a person accepted at an earlier gate of this run.

    Returns:
        the approval it was passed with, where one was needed.

    Raises:
        CheckError: a check failed.
        GateError: a person refused.
        ApprovalNeeded: a person has to approve, or the approval was of another plan.
    """
    decision = standing(run, gate)
    if decision and decision["decision"] == "refused":
        raise GateError(
            f"the gate `{gate}` was refused by {decision['person']} at {decision['at']}: {decision['reason']}",
            f"settle it with them; then `runbook approve {run.reference} {gate}`",
        )
    checks.require(accepted=[item.id for item in checks.unknown])
    unknown = [item.id for item in checks.unknown if item.id not in settled]
    if gate not in required and not unknown:
        return decision
    if decision is None or not set(unknown) <= set(decision.get("could_not_check", ())):
        run.journal("gate waits", gate=gate, could_not_check=unknown)
        raise _needed(run, gate, checks, unknown)
    run.journal(
        "gate passed",
        gate=gate,
        approved_by=decision["person"],
        could_not_check=unknown,
    )
    return decision


def keep_waiting(run: Run, phase: str, gate: str, step: str, checks: Checks) -> None:
    """Keep what a gate waits with: once a person has decided, the phase goes on at `step` and measures nothing again."""
    run.write_evidence(
        f"gate.{phase}",
        {
            "gate": gate,
            "step": step,
            "plan": plan_hash(run),
            "at": stamp(),
            "title": checks.title,
            "checks": [item.as_dict() for item in checks],
        },
    )


def checks_of(kept: Mapping[str, Any]) -> Checks:
    """The checks that `keep_waiting` kept."""
    return Checks(kept["title"], [Check.from_dict(item) for item in kept["checks"]])


def decided(run: Run, phase: str) -> dict[str, Any] | None:
    """What the gate of a phase waited with, where a person has decided since, of the plan that stands; else None."""
    entry, kept = run.phase(phase), run.read_evidence(f"gate.{phase}", missing=None)
    if kept is None or not entry or entry["status"] != "waiting" or kept["plan"] != plan_hash(run):
        return None
    decision = standing(run, kept["gate"])
    return dict(kept) if decision and decision["at"] >= kept["at"] else None


def _waits_with(run: Run, gate: str) -> list[str]:
    """The checks that could not be made when the gate was last asked to open, by id."""
    waits = [
        line for line in run.read_journal() if line["what"] == "gate waits" and line["gate"] == gate
    ]
    return waits[-1]["could_not_check"] if waits else []


def _needed(run: Run, gate: str, checks: Checks, asked: Collection[str]) -> ApprovalNeeded:
    why = "this environment asks for it"
    if asked:
        why = "could not check: " + "; ".join(
            f"{item.title} ({item.found})" for item in checks.unknown if item.id in asked
        )
    old = [record for record in run.read_approvals() if record["gate"] == gate]
    if old:
        why += f"; the approval of {old[-1]['person']} {_void(run, old[-1]['plan'])}"
    commands = (
        f"`runbook rollback {run.reference}`"
        if gate == "rollback"
        else f"`runbook approve {run.reference} {gate} && runbook resume {run.reference}`"
    )
    return ApprovalNeeded(
        f"the gate `{gate}` needs a person: {why}",
        f"read the evidence above; then {commands}",
        gate=gate,
    )


def _void(run: Run, approved: str | None) -> str:
    """Why an approval does not count: which of the reviewed facts changed since."""
    plan = plan_hash(run)
    if approved == plan:
        return "was given before that was known"
    void = "was of another plan and is void"
    before, now = (
        run.read_evidence(facts_name(one), missing=None) if one else None
        for one in (approved, plan)
    )
    if not before or not now:
        return void
    changed = reviewed.differences(before, now)
    more = f"; and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return f"{void}, because it has changed since: {'; '.join(changed[:_NAMED])}{more}"
