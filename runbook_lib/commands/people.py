"""The commands by which people take up what failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from runbook_lib.commands.output import out
from runbook_lib.commands.which import RunName, find
from runbook_lib.run import Run
from runbook_lib.table import Table


def acknowledge(
    run: RunName = "",
    note: Annotated[str, typer.Option(help="What is done about it, for the record")] = "",
) -> None:
    """Record that you have taken the failure of a run up: nobody further is told of it."""
    from runbook_lib.phases import talk

    settled(found := find(run), lambda: talk.acknowledge(found, note))


def escalate(run: RunName = "") -> None:
    """Send the steps of a run's escalation that are due, once each.

    Meant for cron, or any scheduler.
    """
    from runbook_lib.phases import talk

    settled(found := find(run), lambda: talk.send_due(found))


def settled(found: Run, change: Callable[[], Any]) -> None:
    """Do something about a run's escalations, and show them; a sealed run is sealed again."""
    from runbook_lib import runner

    sealed, result = found.sealed, change()
    if sealed and not found.sealed:
        runner.finish(found, out.say)
    if isinstance(result, Table):
        out.show(result)
    show_escalations(found)


def show_escalations(found: Run) -> None:
    """Who is told of a run's failures, and when; and how to say that somebody has taken it up."""
    from runbook_lib.phases import talk

    shown = talk.escalations(found)
    for one in shown:
        out.show(one.table())
    if shown and not shown[-1].over:
        out.print(f"to say that you have taken it up: runbook acknowledge {found.reference}")


COMMANDS: tuple[Any, ...] = (acknowledge, escalate)
"""Registered by `runbook_lib.cli`, in this order."""
