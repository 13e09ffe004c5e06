"""The commands that read the record, and the one that adds a lesson to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from runbook_lib.advice import next_command, otherwise
from runbook_lib.commands.output import Json, out
from runbook_lib.commands.people import settled
from runbook_lib.commands.which import RunName, find, phases
from runbook_lib.errors import UsageError
from runbook_lib.secret import HOME

Archive = Annotated[Path, typer.Option(help="The archive's folder")]


def status(run: RunName = "", machines: Json = False) -> None:
    """Show how a run stands: phases, outcome, what comes next, who is told of its failures.

    Messages that are due are sent.
    """
    from runbook_lib import runner
    from runbook_lib.phases import talk

    found = find(run)
    out.show(phases(found))
    lost = "".join(
        f": process {entry['process']['pid']} of {entry['phase']} is gone without a word"
        for entry in found.lost
    )
    apart = "".join(
        f": whether {entry['phase']}, begun on "
        f"{(entry.get('process') or {}).get('host', 'a machine that is not known')}, is still at "
        "work cannot be told from here"
        for entry in found.elsewhere
    )
    out.print(f"outcome: {runner.outcome(found)}{lost}{apart}\nrun: {found.folder}")
    if command := next_command(found):
        out.print(f"next: {command}")
    if other := otherwise(found):
        out.print(f"      {other}")
    out.tell(
        "status",
        **found.state | {"outcome": runner.outcome(found)},
        folder=str(found.folder),
        next=next_command(found),
        otherwise=otherwise(found),
        lost=[entry["phase"] for entry in found.lost],
        elsewhere=[entry["phase"] for entry in found.elsewhere],
    )
    settled(found, lambda: talk.send_due(found))


def report(run: RunName = "") -> None:
    """Write entry and report again, from the notebooks as they are, and seal the run."""
    from runbook_lib import runner

    found = find(run)
    runner.finish(found, out.say)
    out.print(str(found.folder / "report.html"))


def lesson(
    run: RunName,
    text: Annotated[
        str, typer.Argument(help="What was learned; else it is asked for", show_default=False)
    ] = "",
) -> None:
    """Add a lesson learned to a run's entry in the history."""
    from runbook_lib import runner

    found = find(run)
    if not text and sys.stdin.isatty():
        text = typer.prompt("What was learned, in one sentence", err=True)
    if not text.strip():
        raise UsageError("the lesson is empty", "write what was learned, in one sentence")
    ended = found.sealed
    found.journal("lessons learned", text=text.strip())
    if ended:
        runner.finish(found, out.say)
    out.print(f"recorded in {found.id}")


def history(
    archive: Archive = HOME / "archive",
    environment: Annotated[
        str, typer.Option(help="Only runs of this environment", show_default=False)
    ] = "",
    outcome: Annotated[
        str, typer.Option(help="Only runs that ended so: succeeded, failed, …", show_default=False)
    ] = "",
    since: Annotated[
        str, typer.Option(help="Only runs since this day, YYYY-MM-DD (UTC)", show_default=False)
    ] = "",
    migration: Annotated[
        str,
        typer.Option(
            help="Only runs with a migration whose name has this in it", show_default=False
        ),
    ] = "",
    sort: Annotated[
        str,
        typer.Option(
            help="started, duration, downtime, environment, outcome, migration or engineer"
        ),
    ] = "started",
    machines: Json = False,
) -> None:
    """All runs, newest first; filtered and sorted."""
    from runbook_lib import ledger

    chosen = ledger.Filter(
        environment=environment, outcome=outcome, since=since, migration=migration
    )
    found = ledger.entries(archive, chosen, sort)
    out.show(ledger.table(found))
    for entry in found:
        out.tell("entry", **entry.as_dict())


def verify(
    run: RunName = "",
    whole: Annotated[bool, typer.Option("--all", help="Every run of the archive")] = False,
    archive: Archive = HOME / "archive",
    against: Annotated[
        str,
        typer.Option(help="The seal's sha256 as it was sent to operations", show_default=False),
    ] = "",
    allowed_signers: Annotated[
        Path | None,
        typer.Option(
            help="OpenSSH's file of allowed signers; default: environment.allowed_signers",
            show_default=False,
        ),
    ] = None,
    machines: Json = False,
) -> None:
    """Check that a sealed run is intact.

    That is each file and cell, its seal, and the chain of seals before it.
    """
    from runbook_lib import archive as archives

    if whole and against:
        raise UsageError("--against is of one run, and --all is every run", "name the run")
    found = (
        archives.examine_all(archive, allowed_signers)
        if whole
        else [archives.examine(find(run), against=against.lower(), allowed_signers=allowed_signers)]
    )
    for one in found:
        if one.wrong or one.could_not_check:
            out.show(one.table())
        signed = f", signed by {one.signer}" if one.signer else ""
        out.print(f"{'intact' if one.intact else 'not intact'}: {one.run_id}{signed}")
        out.tell("verified", **one.as_dict())
    if not all(one.intact for one in found):
        raise typer.Exit(1)


def diff(
    first: Annotated[str, typer.Argument(help="A run, e.g. that on staging")],
    second: Annotated[str, typer.Argument(help="Another run, e.g. that on production")],
    machines: Json = False,
) -> None:
    """Show what differs between two runs, in facts.

    These are versions, files, findings, times, changes, checks and approvals.
    """
    from runbook_lib import rundiff

    found = rundiff.compare(find(first), find(second))
    out.show(found.table())
    for fact in found.differing:
        out.tell("difference", **fact.as_dict())


COMMANDS: tuple[Any, ...] = (status, report, lesson, history, verify, diff)
"""Registered by `runbook_lib.cli`, in this order."""
