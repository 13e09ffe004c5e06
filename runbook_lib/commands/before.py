"""The commands before there is a run: they look, and touch nothing."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_lib import params as parameters
from runbook_lib.check import Check, Checks, Status
from runbook_lib.commands.output import Json, out
from runbook_lib.errors import UsageError

if TYPE_CHECKING:
    from runbook_lib.draft import Draft

SAID = {
    Status.FAILED: "would be refused",
    Status.UNKNOWN: "could not be checked: a person decides at the gate",
    Status.PASSED: "passed",
}


def check(
    params: Annotated[Path, typer.Argument(help="Parameter file of one environment")],
    machines: Json = False,
) -> None:
    """Look at everything that a run will ask before it migrates, and list what is missing.

    It takes a few seconds and touches nothing.
    """
    from runbook_lib.phases import prechecks

    chosen = parameters.parse(parameters.load(params), str(params))
    found = prechecks.prechecks(chosen)
    show(found)
    if prechecks.refused(found):
        raise typer.Exit(2)


def show(found: Checks) -> None:
    """Say what would be refused or could not be checked, each with what to do.

    The rest is counted.
    """
    for item in sorted(
        found, key=lambda item: list(SAID).index(item.status) if item.status in SAID else 9
    ):
        out.tell("check", **item.as_dict())
        if item.status in (Status.FAILED, Status.UNKNOWN):
            out.print(_words(item))
    counts = {status: len(found.having(status)) for status in SAID}
    out.print("; ".join(f"{number} {SAID[status]}" for status, number in counts.items()))
    out.tell(
        "checked",
        failed=counts[Status.FAILED],
        could_not_check=counts[Status.UNKNOWN],
        passed=counts[Status.PASSED],
        exit_status=2 if counts[Status.FAILED] else 0,
    )


def _words(item: Check) -> str:
    first, *more = item.found.splitlines() or [""]
    verdict = "" if item.status is Status.FAILED else "could not check: "
    lines = [
        f"{item.status.sign} {item.title}: {verdict}{first}",
        *(f"    {line}" for line in more),
    ]
    lines += [f"    → {item.remedy}"] if item.remedy else []
    return "\n".join(lines)


def init(
    project: Annotated[Path, typer.Argument(help="Folder of the Prisma project")] = Path("."),
    environment: Annotated[
        str, typer.Option(help="staging or production: which limits and gates are written")
    ] = "staging",
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file; default: <project>-<environment>.yaml here", show_default=False
        ),
    ] = None,
    machines: Json = False,
) -> None:
    """Write a parameter file for an existing project, each line explained.

    Then say what `runbook check` says of it. Overwrites nothing.
    """
    from runbook_lib import draft

    if environment not in ("staging", "production"):
        raise UsageError(
            f"there is no kind of environment {environment!r}", "staging or production"
        )
    made = draft.draft(project, environment)  # type: ignore[arg-type]
    path = (output or Path(draft.file_name(made))).absolute()
    draft.write(made, path)
    out.print(f"written: {path}")
    out.tell("written", file=str(path), environment=environment, variable=made.variable)
    if made.server.why_not:
        out.print(f"the server was not asked: {made.server.why_not}")
    _check_draft(made, path)


def _check_draft(made: Draft, path: Path) -> None:
    """Say what `check` says of a draft, and which command comes next."""
    from runbook_lib.phases import prechecks

    if made.url:
        os.environ.setdefault(made.variable, made.url)
        show(prechecks.prechecks(made.params()))
    given = shlex.quote(str(path))
    steps = [f"runbook check {given}", f"runbook run {given}"]
    if made.install:
        steps.insert(0, made.install)
    if made.source:
        steps.insert(0, f"set -a; . {shlex.quote(str(made.source))}; set +a")
    elif not made.url:
        steps.insert(0, f"export {made.variable}=…   # the direct URL of the database")
    out.tell("next", commands=steps)
    out.print("next:")
    for step in steps:
        out.print(f"  {step}")


COMMANDS: tuple[Any, ...] = (init, check)
"""Registered by `runbook_lib.cli`, in this order."""
