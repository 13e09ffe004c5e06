"""Notebooks of a run as files: written whole or not at all, and named where one was cut off.

Papermill writes into the file itself: on a full disk, half of a notebook is then left, which
nothing reads any more. Here the old one stands until the new one is on the disk.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from papermill.iorw import LocalHandler, papermill_io

from runbook_lib import files


class _Whole(LocalHandler):  # type: ignore[misc]  # papermill is not typed
    """How papermill writes a notebook on this machine: in one step."""

    def write(self, buf: str, path: str) -> None:
        files.write_text(Path(path), buf)


def write_whole() -> None:
    """Let papermill write notebooks in one step, in this process."""
    papermill_io.register("/", _Whole())


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook in one step.

    Raises:
        NotRecorded: it cannot be written. What was there before stands.
    """
    files.write_text(path, nbformat.writes(notebook) + "\n")
