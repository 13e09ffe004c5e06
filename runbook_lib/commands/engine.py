"""The command that installs Prisma's schema engine for where its download is out of reach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.commands.output import out


def engine(
    project: Annotated[Path, typer.Argument(help="Folder of the Prisma project")],
) -> None:
    """Install the WebAssembly engine of a project's Prisma from npm.

    For `prisma: engine: offline`.
    """
    from runbook_lib.demo import node
    from runbook_lib.prisma import engine as offline

    node.use()
    folder = offline.install(project.resolve())
    out.print(f"engine: {offline.PACKAGE}@{offline.installed(folder)} in {folder}")


COMMANDS = (engine,)
