"""Gates: what must hold before a phase may act, and the person who has to agree.

An approval names run, gate, plan, person, time and reason, and holds what was shown to them: the
severe findings, and each check that could not be made. It counts in its own run alone, and stands
only for the plan whose hash it names: change a fact that was reviewed, and it is void. Which gates
need a person is set by `approvals.required`; a check that could not be made needs one everywhere,
who was told of that very check: an approval accepts what the gate was waiting with, and nothing
later. A refusal stands until somebody decides anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from runbook_lib import approver, login, reviewed
from runbook_lib.asked import DANGER, Asked, Item, of_checks, of_record
from runbook_lib.check import Check, Checks
from runbook_lib.errors import ApprovalNeeded, GateError
from runbook_lib.login import Person
from runbook_lib.run import Run, stamp

_KEYS = {"plan", "person", "at", "reason", "decision"}
"""What a decision has at least."""
_NAMED = 5
"""Changes of a plan that a refusal names."""


def approve(
    run: Run,
    gate: str,
    reason: str,
    *,
    refused: bool = False,
    way: str = "",
    shown: Asked | None = None,
    by: Person | None = None,
) -> dict[str, Any]:
    """Record that a person opens a gate (or refuses it), and what they were shown.

    Args:
        way: at the gate `rollback`, the way back that they chose.
        shown: what they saw; default: what is asked now.
        by: who they are; default: who is at work in this process.

    Returns:
        the record, as it stands in approvals.jsonl.

    Raises:
        GateError: this person carries the run out, and another has to approve. Nothing was
            recorded.
    """
    shown, by = shown or asked(run, gate), by or login.current()
    if not refused and (why := approver.objection(run, gate, by)):
        raise GateError(f"nothing was recorded: {why}", approver.instead(run, gate))
    record = {
        "run": run.id,
        "gate": gate,
        "plan": shown.plan,
        "person": str(by),
        "login": by.login,
        "known_by": by.known_by,
        "at": stamp(),
        "reason": reason,
        "decision": "refused" if refused else "approved",
        "could_not_check": shown.could_not_check,
        "accepts": [] if refused else shown.findings,
        "shown": shown.as_dicts(),
    } | ({"way": way} if way else {})
    run.journal(  # first: a decision that opens a gate is never missing in the account
        "gate refused" if refused else "gate approved", gate=gate, reason=reason, who=str(by)
    )
    run.approve(record)
    return record


def asked(run: Run, gate: str) -> Asked:
    """Return what whoever approves a gate now accepts.

    Severe findings, and what it waits with that could not be checked.
    """
    waits, plan = run.read_evidence(_waits(gate), missing=None), plan_hash(run)
    of_this_plan = waits is not None and waits["plan"] == plan
    items = of_record(waits["items"]) if of_this_plan else ()
    decision = standing(run, gate)
    refused = (
        f"{decision['person']} at {decision['at']}: {decision['reason']}"
        if decision and decision["decision"] == "refused"
        else ""
    )
    return Asked(run.id, gate, plan, (*_findings(run, gate), *items), refused)


def _findings(run: Run, gate: str) -> tuple[Item, ...]:
    """The severe findings of the plan.

    At its own gate, and at that of the migration if nobody has accepted them.
    """
    accepted_already = gate == "migrate" and _approved(standing(run, "plan"))
    if gate not in ("plan", "migrate") or accepted_already:
        return ()
    return of_record(run.read_evidence("plan", missing={}).get("dangers", ()))


def _waits(gate: str) -> str:
    """The name of the evidence that keeps what a gate waits with."""
    return f"gate.{gate}.asked"


def plan_hash(run: Run) -> str | None:
    """The hash of the run's plan, or None before there is one."""
    found: str | None = run.read_evidence("plan", missing={}).get("hash")
    return found


def facts_name(plan: str) -> str:
    """Return the name of the evidence that keeps the facts of a plan, by its hash."""
    return f"plan.{plan[:16]}"


def decisions(run: Run, gate: str) -> list[dict[str, Any]]:
    """Return all decisions on a gate of this run, oldest first.

    Records that name another run are none of them.
    """
    return [
        record
        for record in run.read_approvals()
        if whole(record) and record["gate"] == gate and record.get("run") == run.id
    ]


def whole(record: Mapping[str, Any]) -> bool:
    """Return whether a record has what a decision has at least."""
    return record.keys() >= _KEYS | {"gate"}


def foreign(run: Run, gate: str) -> list[str]:
    """Return the decisions on a gate that are recorded here and name another run, in words.

    They count for nothing.
    """
    return [
        f"not counted: {record.get('decision')} by {record.get('person')}, of the run "
        f"{record.get('run') or 'without a name'}"
        for record in run.read_approvals()
        if record.get("gate") == gate and record.get("run") != run.id
    ]


def standing(run: Run, gate: str) -> dict[str, Any] | None:
    """The newest decision on a gate, where it was made for the plan as it stands."""
    found = decisions(run, gate)
    return found[-1] if found and found[-1]["plan"] == plan_hash(run) else None


def _approved(decision: Mapping[str, Any] | None) -> bool:
    return decision is not None and decision["decision"] == "approved"


def accepted(run: Run, gate: str) -> frozenset[str]:
    """Return the checks that could not be made and that a person accepted at a gate.

    They are asked once.
    """
    decision = standing(run, gate)
    if decision is None or not _approved(decision):
        return frozenset()
    return frozenset(decision.get("could_not_check", ()))


def refused(run: Run) -> dict[str, dict[str, Any]]:
    """Return the gates that somebody has refused, each with the decision that stands.

    Whatever was passed before, nothing goes on.
    """
    gates = {str(record.get("gate")) for record in run.read_approvals()}
    found = {gate: standing(run, gate) for gate in sorted(gates)}
    return {gate: one for gate, one in found.items() if one and one["decision"] == "refused"}


def require(
    run: Run, gate: str, checks: Checks, required: Iterable[str], settled: Collection[str] = ()
) -> dict[str, Any] | None:
    """Pass the gate, or raise.

    Args:
        checks: what must hold. None may have failed; those that could not be made need an approval.
        required: the gates that need a person in this environment.
        settled: ids of checks that could not be made, and that a person accepted at an earlier gate
            of this run.

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
            f"the gate `{gate}` was refused by {decision['person']} at {decision['at']}: "
            f"{decision['reason']}",
            f"settle it with them; then {approver.command(run, gate)}",
        )
    checks.require(accepted=[item.id for item in checks.unknown])
    unknown = [item for item in checks.unknown if item.id not in settled]
    if gate not in required and not unknown:
        return decision
    ids = [item.id for item in unknown]
    objection = approver.objection_to(run, gate, decision) if decision else ""
    if decision is None or objection or not set(ids) <= set(decision.get("could_not_check", ())):
        run.write_evidence(
            _waits(gate),
            {
                "plan": plan_hash(run),
                "at": stamp(),
                "items": [asdict(one) for one in of_checks(unknown)],
            },
        )
        run.journal("gate waits", gate=gate, could_not_check=ids)
        raise _needed(run, gate, objection)
    run.journal("gate passed", gate=gate, approved_by=decision["person"], could_not_check=ids)
    return decision


def keep_waiting(run: Run, phase: str, gate: str, step: str, checks: Checks) -> None:
    """Keep what a gate waits with.

    Once a person has decided, the phase goes on at `step` and measures nothing again.
    """
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
    """Return what the gate of a phase waited with, if a person has decided since.

    The decision must be of the plan that stands; else None.
    """
    entry, kept = run.phase(phase), run.read_evidence(f"gate.{phase}", missing=None)
    if kept is None or not entry or entry["status"] != "waiting" or kept["plan"] != plan_hash(run):
        return None
    decision = standing(run, kept["gate"])
    return dict(kept) if decision and decision["at"] >= kept["at"] else None


def _needed(run: Run, gate: str, objection: str) -> ApprovalNeeded:
    """Name what the gate waits with.

    Each finding and each check that could not be made, on a line of its own.
    """
    now = asked(run, gate)
    unknown = [one.what for one in now.items if one.severity != DANGER]
    why = f"could not check: {'; '.join(unknown)}" if unknown else "this environment asks for it"
    old = decisions(run, gate)
    if objection:
        why += f"; the approval of {old[-1]['person']} does not count: {objection}"
    elif old:
        why += f"; the approval of {old[-1]['person']} {_void(run, old[-1]['plan'])}"
    lines = [f"the gate `{gate}` needs a person: {why}", *map(str, now.items), *foreign(run, gate)]
    return ApprovalNeeded(
        "\n".join(lines), f"read the evidence above; then {approver.command(run, gate)}", gate=gate
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
