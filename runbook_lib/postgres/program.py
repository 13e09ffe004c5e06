"""Runs pg_dump and pg_restore.

How far they are and how long still, and what their failures mean.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from runbook_lib.errors import ToolError
from runbook_lib.postgres import told
from runbook_lib.postgres.connection import LOST, NO_DDL
from runbook_lib.postgres.parallel import Ticker, again_and_again
from runbook_lib.process import run
from runbook_lib.table import size

MORE_LOCKS = "raise max_locks_per_transaction (it needs a restart)"
_FULL = "No space left on device"
_SERVER = r"(ERROR|FATAL|PANIC):.*"
_REMEDIES = {
    "out of shared memory": MORE_LOCKS,
    _SERVER + _FULL: "the server's disk is full: free space there, and repeat",
    _FULL: "the disk of the backup's folder is full: free space there or name another "
    "`backup.directory`, and repeat",
    _SERVER
    + r'role "[^"]*" does not exist': "create the role first: globals.sql of the backup has it",
    _SERVER
    + r'tablespace "[^"]*" does not exist': "create the tablespace first: globals.sql of the "
    "backup has it",
    _SERVER
    + r"(extension .* is not available|could not open extension control file)": "install the "
    "package that brings the extension on the server",
    _SERVER + r'((relation|column) "[^"]*"( of relation "[^"]*")? does not exist|could not open '
    r"relation|cache lookup failed)": NO_DDL,
    r"(terminating connection|server closed the connection|connection to server|could not connect "
    r'to|snapshot "[^"]*" does not exist|'
    r"is (starting|shutting) (up|down)|in recovery mode)": LOST,
}
"""What a failed program says → what to do; the first that fits."""


class Progress:
    """How far pg_dump or pg_restore is: tables by what it says, bytes by what has arrived.

    Args:
        done: "dumped" or "restored".
        tables: how many there are.
        arrived: the bytes that have arrived so far; `None` where that cannot be known.
        expected: how many there will be, about; `None` where that is not known.
    """

    def __init__(
        self,
        ticker: Ticker,
        done: str,
        tables: int,
        arrived: Callable[[], int | None],
        expected: int | None,
    ) -> None:
        self._ticker, self._done, self._tables, self._arrived, self._expected = (
            ticker,
            done,
            tables,
            arrived,
            expected,
        )
        self._begun, self._finished, self._started = 0, 0, time.monotonic()

    def __call__(self, line: str) -> None:
        """Hear one line of the program: count its tables, pass its warnings on.

        With one job it tells only which it begins.
        """
        if re.search(r"finished item \d+ TABLE DATA", line):
            self._finished += 1
        elif re.search(r"(dumping contents of|processing data for) table", line):
            self._begun += 1
        elif said := told.live(line):
            self._ticker(said, last=True)

    def __str__(self) -> str:
        said, arrived = (
            f"{self._done} {min(self._finished or self._begun, self._tables)} of {self._tables} "
            "tables",
            self._arrived(),
        )
        if arrived is None:
            return f"{said}; how many bytes is not known"
        if not self._expected:
            return f"{said}, {size(arrived)}"
        return (
            f"{said}, {size(arrived)} of about "
            f"{size(self._expected)}{self._left(arrived / self._expected)}"
        )

    def _left(self, part: float) -> str:
        """How long still, once enough has arrived to tell."""
        if not 0.03 < part < 1:
            return ""
        return f", about {(time.monotonic() - self._started) * (1 / part - 1):.0f} s left"

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say how far it is, again and again, while the context is open; and once at its end."""
        with again_and_again(lambda: self._ticker(str(self))):
            yield
        self._ticker(str(self), last=True)


def carry_out(
    command: Sequence[str],
    env: Mapping[str, str],
    state: str,
    *,
    timeout_s: float | None,
    progress: Progress,
    remedy: str,
) -> None:
    """Run one of the programs to its end, telling how far it is.

    Args:
        state: what is true where it fails.
        remedy: what to do where the failure itself does not tell.

    Raises:
        ToolError: it failed; quotes its own error lines.
    """
    with failures_named(command[0].rpartition("/")[2], state), progress.told():
        run(command, env=env, timeout_s=timeout_s, on_line=progress, remedy=remedy)


@contextmanager
def failures_named(program: str, state: str) -> Iterator[None]:
    """Turn a failed program into an error with its own error lines and what is now true."""
    try:
        yield
    except ToolError as error:
        lines = told.lines(error.output)
        said = "; ".join(dict.fromkeys(lines[:5])) or error.message
        raise ToolError(
            f"{program} failed, {state}: {said}",
            remedy_of(error.output) or error.remedy,
            status=error.status,
            output="\n".join(lines),
        ) from None


def remedy_of(said: str) -> str:
    """What to do about a failure, where its words tell; else nothing.

    The programs' own words are always English; the server's are in its `lc_messages`, which only a
    superuser may set.
    """
    return next((remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, said)), "")
