"""Who may approve: with `approvals.distinct`, another person than the one who carries the run out.

What counts is the login. A name that was merely typed says nothing about who typed it, unless
`approvals.trust_typed_names` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.login import Person, bare, same
from runbook_lib.run import Run


def operators(run: Run, gate: str) -> list[str]:
    """Return who carries the run out, as far as a gate is concerned.

    Who started it and who began the gate's phase; name and login.
    """
    lines = run.read_journal()
    started = [line for line in lines if line["what"] == "run started"][:1]
    begun = [line for line in lines if line["what"] == "phase begun" and line.get("phase") == gate][
        -1:
    ]
    names = [line.get(key) for line in (*started, *begun) for key in ("who", "login")]
    return list(dict.fromkeys(bare(name) for name in names if name))


def objection(run: Run, gate: str, person: Person) -> str:
    """Return why this person's approval does not count; empty where it does."""
    params = run.params
    if not params.distinct_approver:
        return ""
    own, demand = operators(run, gate), "`approvals.distinct` demands another person than"
    if params.approvals.trust_typed_names:
        name, own = person.name, [*own, params.engineer]
    elif not person.login:
        return f"{demand} {_names(own)}, and JupyterHub does not confirm who {person} is"
    else:
        name = person.login
    if not any(same(name, one) for one in own):
        return ""
    typed = f"{person} decides at the login of {name}, which" if person.name != name else name
    return f"{demand} {_names(own)}, and {typed} carries this run out"


def objection_to(run: Run, gate: str, decision: Mapping[str, Any]) -> str:
    """Return why a decision that is recorded does not count.

    Who carries the run out may have changed since.
    """
    if decision["decision"] != "approved":
        return ""
    known = decision.get("known_by", "typed")
    return objection(run, gate, Person(bare(decision["person"]), decision.get("login", ""), known))


def steps(run: Run, gate: str) -> tuple[str, str]:
    """Return what is typed to open a gate and go on.

    A command, and in words who types it and what comes after it.
    """
    approve = f"runbook approve {run.reference} {gate}"
    go_on = f"runbook {'rollback' if gate == 'rollback' else 'resume'} {run.reference}"
    if run.params.distinct_approver:
        other = f"typed by another person than {_names(operators(run, gate))}, at their own login"
        return approve, f"{other}; then: {go_on}"
    return (go_on if gate == "rollback" else f"{approve} && {go_on}"), ""


def command(run: Run, gate: str) -> str:
    """Return the same in one sentence, with the commands between backticks."""
    first, words = steps(run, gate)
    before, then, after = words.partition("; then: ")
    return f"`{first}`" + (f" {before}{then}`{after}`" if words else "")


def instead(run: Run, gate: str) -> str:
    """Return what to do where somebody may not approve."""
    return f"{command(run, gate)}. Who works alone sets `approvals.distinct: false`, for a new run"


def _names(people: list[str]) -> str:
    return " and ".join(people) or "the one who carries it out"
