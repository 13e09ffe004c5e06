"""Which run a command is about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.commands.output import out
from runbook_lib.errors import UsageError
from runbook_lib.run import Run, newest
from runbook_lib.secret import HOME
from runbook_lib.table import Table

MOST_LISTED = 20
"""Runs that are named where several are meant."""


def _complete(incomplete: str) -> list[str]:
    """The runs of the default archive, for the shell."""
    return [one for one in _ids(HOME / "archive") if one.startswith(incomplete)]


RunName = Annotated[
    str,
    typer.Argument(
        help="Run folder, its name in the archive, or any part of that which no other has; "
        "default: the newest",
        show_default=False,
        autocompletion=_complete,
    ),
]


def phases(found: Run) -> Table:
    """The phases of a run, as far as it has come."""
    from runbook_lib import runner

    return Table(found.id, ("phase", "status", "seconds"), runner.summary(found))


def find(name: str) -> Run:
    """Return the run by folder, by name or by any part of its name that no other has.

    The newest where nothing is given.

    Raises:
        UsageError: there is none, or several have it.
    """
    out.run = found = _find(name)
    return found


def _find(name: str) -> Run:
    if not name:
        newest_one = newest(HOME / "archive")
        if newest_one is None:
            raise UsageError(
                "there is no run yet in the default archive",
                "`runbook run PARAMS` starts one; name the folder of a run that lies elsewhere",
            )
        return newest_one
    if (Path(name) / "run.json").exists():
        return Run(Path(name))
    archive = Path(name).parent if os.sep in name else HOME / "archive"
    return Run(archive / _one(name, Path(name).name, _ids(archive)))


def _one(name: str, part: str, ids: list[str]) -> str:
    """Return the id that is `part`, or the only one that has it."""
    alike = [part] if part in ids else [one for one in ids if part in one]
    if len(alike) == 1:
        return alike[0]
    if alike:
        listed = "\n".join(f"  {one}" for one in alike[-MOST_LISTED:])
        raise UsageError(
            f"{len(alike)} runs have {name!r} in their name\n{listed}",
            "give a part that only one of them has",
        )
    raise UsageError(
        f"there is no run {name!r}",
        "`runbook history` lists the runs of the default archive; name the folder of one that "
        "lies elsewhere",
    )


def _ids(archive: Path) -> list[str]:
    return sorted(path.parent.name for path in archive.glob("*/run.json"))
