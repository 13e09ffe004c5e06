"""Decide at a gate; and how any command asks before it records a decision."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from runbook_lib import approver, login
from runbook_lib import gate as gates
from runbook_lib.asked import Asked
from runbook_lib.commands.output import Json, out
from runbook_lib.commands.which import RunName, find
from runbook_lib.errors import GateError, UsageError
from runbook_lib.run import Run
from runbook_lib.state import PHASES

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: accept what is shown; for machines")]
GATES = (*PHASES, "rollback")


def approve(
    run: RunName,
    gate: Annotated[str, typer.Argument(help="The gate: the name of its phase")],
    reason: Annotated[str, typer.Option(help="Why, for the record")] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse instead")] = False,
    way: Annotated[
        str, typer.Option(help="At the gate `rollback`: the way back", show_default=False)
    ] = "",
    yes: Yes = False,
    machines: Json = False,
) -> None:
    """Show what approving a gate accepts, ask, and open it for this plan; or refuse it."""
    if gate not in GATES:
        raise UsageError(f"there is no gate {gate!r}", "one of " + ", ".join(GATES))
    known_way(way)
    found = find(run)
    found.require_told()
    shown = show(found, gate)
    if not refuse:
        if why := _objection(found, gate):
            raise GateError(f"nothing was recorded: {why}", approver.instead(found, gate))
        command = f"runbook approve {found.reference} {gate}"
        if not ask(shown, command, yes):
            raise UsageError(
                "nothing was recorded: it was not approved",
                f"`{command} --refuse` records a refusal",
            )
    told(gates.approve(found, gate, reason, refused=refuse, way=way, shown=shown))


def known_way(way: str) -> None:
    """Refuse a way back that there is not."""
    if not way:
        return
    from runbook_lib.phases.price import WAYS

    if way not in WAYS:
        raise UsageError(f"there is no way {way!r}", "one of " + ", ".join(WAYS))


def way_back(found: Run, way: str, yes: bool) -> Asked | None:
    """Ask whoever wants to roll back, after they were shown what it would lose.

    That is known as far as it is priced.

    With `approvals.distinct` it is another who decides: nobody is asked here. Without a terminal
    the command itself is the decision: what it accepts was named when an earlier one stopped at the
    gate, and stands above once more.

    Returns:
        what they accept; None where they do not.
    """
    shown = show(found, "rollback")
    if _objection(found, "rollback"):
        out.print(f"→ {approver.command(found, 'rollback')}")
        return None
    if not shown.items:
        out.print(
            "What each way would lose is measured first: if writes would be lost, nothing is done "
            "before you are asked again."
        )
    if not _terminal():
        return shown
    named = f" --way {way}" if way else ""
    return shown if ask(shown, f"runbook rollback {found.reference}{named}", yes) else None


def another_decides(found: Run) -> bool:
    """Return whether who sits here may not decide on the way back: they carry the run out."""
    return bool(_objection(found, "rollback"))


def asks_again(found: Run) -> bool:
    """Return whether the way back stopped at its gate, and a person sits here who can be asked."""
    entry = found.phase("rollback") or {}
    return entry.get("status") == "waiting" and _terminal()


def show(found: Run, gate: str) -> Asked:
    """Show what an approval accepts."""
    shown = gates.asked(found, gate)
    out.show(shown.table())
    out.tell("asked", run=found.id, gate=gate, plan=shown.plan, items=shown.as_dicts())
    for line in gates.foreign(found, gate):
        out.print(line)
    return shown


def ask(shown: Asked, command: str, yes: bool) -> bool:
    """Ask on a terminal whether all that was shown is accepted.

    Raises:
        UsageError: nobody can be asked, and nobody said yes.
    """
    if yes:
        return True
    count = len(shown.items)
    if not _terminal():
        raise UsageError(
            f"nothing was recorded: this accepts {count} {'thing' if count == 1 else 'things'}, "
            "and without a terminal nobody can be asked",
            f"read them, and type `{command}` on a terminal, or `{command} --yes` where there is "
            "none",
        )
    return typer.confirm("Approve, accepting all of this?", default=False, err=True)


def told(record: dict[str, Any]) -> None:
    """Say what was recorded."""
    out.print(
        f"{record['decision']}: {record['gate']} of {record['run']}, by {record['person']}, plan "
        f"{str(record['plan'])[:16]}"
    )
    out.tell("approval", **record)


def _objection(found: Run, gate: str) -> str:
    return approver.objection(found, gate, login.current())


def _terminal() -> bool:
    return not out.machines and sys.stdin.isatty() and sys.stderr.isatty()


COMMANDS: tuple[Any, ...] = (approve,)
"""Registered by `runbook_lib.cli`, in this order."""
