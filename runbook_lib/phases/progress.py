"""Telling operations how a migration goes on, beside it.

No receiver, however slow, holds the migration up.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from runbook_lib.errors import DatabaseError
from runbook_lib.phases import talk
from runbook_lib.phases.base import Phase
from runbook_lib.phases.start import applied
from runbook_lib.postgres.connection import Database
from runbook_lib.service.notify import Sent

EVERY_S = 2.0
"""Seconds between two looks."""
LEAVE_S = 5.0
"""Seconds that a message which is being delivered gets when the migration has ended."""


class Progress:
    """Tells operations, until its block is left.

    Where a file was applied, or it takes longer than the forecast.

    Not more often than once in `notify.progress_minutes`.

    Args:
        phase: whose migration it is.
        files: the pending ones.
        forecast_s: how long all of them take by the forecast, in seconds.
    """

    def __init__(self, phase: Phase, files: Sequence[str], forecast_s: float | None) -> None:
        self.phase, self.files, self.forecast_s = phase, files, forecast_s or math.inf
        self._between_s = phase.params.notify.progress_minutes * 60
        self._began, self._said_at, self._said = time.monotonic(), -math.inf, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(LEAVE_S)

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            elapsed = time.monotonic() - self._began
            if time.monotonic() - self._said_at < self._between_s:
                continue
            done = self._done()
            if done is not None and (done > self._said or elapsed > self.forecast_s):
                self._tell(done, elapsed)

    def _done(self) -> int | None:
        """How many of the files are applied; None where that cannot be seen at the moment."""
        try:
            with Database(
                self.phase.target,
                f"{self.phase.application_name}-progress",
                statement_timeout="5s",
                lock_timeout="100ms",
            ) as db:
                return sum(
                    1
                    for row in applied(db, self.phase.target)
                    if row["migration_name"] in self.files and row["finished_at"]
                )
        except DatabaseError:
            return None

    def _tell(self, done: int, elapsed: float) -> None:
        late = (
            f"; that is longer than the forecast of {self.forecast_s:.0f} s"
            if elapsed > self.forecast_s
            else ""
        )
        said = talk.message(
            self.phase.run,
            "progress",
            f"the migration has been at work for {elapsed:.0f} s{late}",
            f"{done} of {len(self.files)} files are applied; {talk.standing(self.phase.run)}",
        )
        self._said_at, self._said = time.monotonic(), done
        sent = talk.tell(self.phase.run, said)
        self.phase.say(
            f"a message on how it goes: {len(sent.deliveries) - len(sent.failed)} of "
            f"{len(sent.deliveries)} delivered"
            if isinstance(sent, Sent)
            else sent.title
        )
