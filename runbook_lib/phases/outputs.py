"""Keeps what each run of a cell showed, in order.

A front end replaces a cell's output when the cell is run again: what was told once would be gone
from the record. Here everything that the kernel sends to be shown is kept when a cell ends.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RunbookError
from runbook_lib.run import stamp

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

_KINDS = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}
"""What is shown, by the kernel's messages, and their fields in a notebook."""


class Outputs:
    """What the cell that is at work has shown so far.

    Args:
        notebook: the file that this kernel runs.
    """

    def __init__(self, phase: Phase, notebook: str) -> None:
        self._phase, self._notebook = phase, notebook
        self.began()

    def began(self, *_: object) -> None:
        """Begin with nothing: a cell is run."""
        self._since, self._shown = stamp(), list[dict[str, Any]]()

    def hear(self, kind: str, content: Mapping[str, Any] | None) -> None:
        """Add a message of the kernel's, if it is one that is shown."""
        fields = _KINDS.get(kind)
        if fields and content is not None:
            self._shown.append({"output_type": kind} | {key: content.get(key) for key in fields})

    def ended(self, result: Any) -> None:
        """Keep it: a cell has ended."""
        info = result.info
        if not info.raw_cell.strip():
            return
        sys.stdout.flush()
        sys.stderr.flush()
        line = {
            "at": self._since,
            "ended_at": stamp(),
            "notebook": self._notebook,
            "cell": getattr(info, "cell_id", None),
            "count": result.execution_count,
            "source": info.raw_cell,
            "outputs": self._shown,
        }
        try:
            self._phase.run.keep_cell(line)
        except RunbookError as error:
            print(f"what this cell showed is kept in its notebook alone: {error.message}")


def keep(shell: Any, phase: Phase, notebook: str) -> Outputs:
    """Hear what this kernel sends to its front end; of the phase before it nothing is heard."""
    found, session = Outputs(phase, notebook), shell.kernel.session
    send = getattr(session.send, "__wrapped__", session.send)

    @wraps(send)
    def heard(stream: Any, message: Any, content: Any = None, *more: Any, **named: Any) -> Any:
        whole = isinstance(message, Mapping)
        found.hear(
            message["msg_type"] if whole else message, message["content"] if whole else content
        )
        return send(stream, message, content, *more, **named)

    session.send = heard
    return found
