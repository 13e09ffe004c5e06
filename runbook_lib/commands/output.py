"""How the command line speaks.

Timed lines for people, or one JSON object a line for machines (`--json`).

Each object has `at` (UTC) and `event`, and the keys of its event:

    run        run, folder, environment, production, migrations: a run begins, or is gone on with
    phase      phase, status (running, succeeded, failed, waiting, aborted, already done), seconds,
               reason
    step       phase, step (the cell), status, seconds
    progress   text; phase where it comes out of a notebook
    mirrored   place, files; or "not mirrored": place, reason
    end        run, outcome, duration_s, downtime_s, exit_status, report, next
    error      message, remedy, exit_status
    status     run.json, with next, lost and elsewhere
    entry      an entry of the history
    verified   run, intact, wrong, could_not_check
    difference subject, what, first, second: one fact in which two runs differ
    approval   the record of a decision at a gate

With `--json` nothing else stands on standard output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from runbook_lib.files import as_json
from runbook_lib.run import Run, now, stamp
from runbook_lib.table import Table, text

_MOST_DRAWN = 200
"""Rows of a table that is drawn with lines; a longer one is written without, which takes a fraction
of the time.
"""


class Output:
    """Standard output, in one of two languages.

    Nobody may be there any more to read it: a pipe is closed, a terminal is gone, a disk is full.
    That ends no run.

    Attributes:
        machines: whether it speaks JSON.
        run: the run that the command is about, once it is known.
        parameters: the parameter file that the command was given.
    """

    def __init__(self) -> None:
        self.machines = False
        self.run: Run | None = None
        self.parameters: Path | None = None
        terminal = sys.stdout is not None and sys.stdout.isatty()
        self.console = _Console(highlight=False, soft_wrap=True, width=None if terminal else 160)

    def say(self, line: str, /, **facts: Any) -> None:
        """One timed line.

        Args:
            facts: for machines; `event` among them, else it is progress.
        """
        if self.machines:
            self.tell(**({"event": "progress", "text": line.strip()} | facts))
        else:
            self._write(lambda: self.console.print(f"{now():%H:%M:%SZ} {line}", markup=False))

    def tell(self, event: str, **facts: Any) -> None:
        """One object for machines; people are told the same in other words."""
        if self.machines:
            text = as_json({"at": stamp(), "event": event, **facts})
            self._write(lambda: print(text, flush=True))

    def print(self, words: str, *, style: str | None = None) -> None:
        """Words for people."""
        if not self.machines:
            self._write(lambda: self.console.print(words, markup=False, style=style))

    def show(self, table: Table) -> None:
        """A table for people."""
        if self.machines:
            return
        if not table.rows:
            self.print(table.title)
            return
        if len(table) > _MOST_DRAWN:
            self._write(lambda: print(table))
            return
        shown = RichTable(title=table.title, title_justify="left")
        for column in table.columns:
            shown.add_column(column, overflow="fold")
        for row in table.rows:
            shown.add_row(*(escape(text(value)) for value in row))
        self._write(lambda: self.console.print(shown))

    def _write(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError):  # ValueError: the file is closed
            _swallow()


class _Console(Console):
    """A console for which a closed pipe is no reason to end the process."""

    def on_broken_pipe(self) -> None:
        _swallow()


def _swallow() -> None:
    """Let what is written to standard output from now on go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


out = Output()
"""The one output of this process."""


def _machines(chosen: bool) -> bool:
    out.machines = chosen
    return chosen


Json = Annotated[
    bool,
    typer.Option(
        "--json", help="For machines: one JSON object a line", callback=_machines, is_eager=True
    ),
]
"""The option that every command has which a machine may call."""
