"""Which run a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.errors import UsageError
from runbook_lib.run import Run, newest, runs
from runbook_lib.secret import HOME
from runbook_lib.table import Table

RunName = Annotated[
    str,
    typer.Argument(
        help="Run folder, or its name in the archive; default: the newest", show_default=False
    ),
]


def phases(found: Run) -> Table:
    """The phases of a run, as far as it has come."""
    from runbook_lib import runner

    return Table(found.id, ("phase", "status", "seconds"), runner.summary(found))


def find(name: str) -> Run:
    """The run by folder or by name; the newest where nothing is given.

    Raises:
        UsageError: there is none.
    """
    if not name:
        found = newest(HOME / "archive")
        if found is None:
            raise UsageError("there is no run yet", "`runbook run PARAMS` starts one")
        return found
    for folder in (Path(name), HOME / "archive" / name):
        if (folder / "run.json").exists():
            return Run(folder)
    alike = [run.id for run in runs(HOME / "archive") if name in run.id]
    raise UsageError(
        f"there is no run {name!r}",
        f"did you mean {', '.join(alike[-3:])}?" if alike else "`runbook history` lists the runs",
    )
