"""The eyes on a running migration: one line a second, and a record of who blocked whom."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity, locks
from runbook_lib.postgres.connection import Database
from runbook_lib.run import stamp

EVERY_S = 1.0
"""Seconds between two lines."""
SAMPLE_S = 0.2
"""Seconds between two samples of who blocks whom."""


class Watch:
    """Samples the migration's sessions from a session of its own, until its block is left.

    Args:
        phase: the phase whose sessions are watched, by their application name.
        forecast_s: how long the rehearsal took, in seconds, for the lines.
    """

    def __init__(self, phase: Phase, forecast_s: float | None = None) -> None:
        self.phase = phase
        self.forecast_s = forecast_s
        self.samples: list[dict[str, Any]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(5)
        self.phase.keep("blockers", self.samples)

    def session(self) -> Database:
        """A session of the watch: named so that it is not taken for one of the migration's."""
        return Database(self.phase.target, f"{self.phase.application_name}-watch", statement_timeout="5s")

    def blockers(self) -> list[str]:
        """Who was in the way of the migration, one line each with the longest wait seen."""
        longest: dict[str, tuple[float, str]] = {}
        for sample in self.samples:
            if sample["waited_s"] >= longest.get(sample["by"], (-1.0, ""))[0]:
                longest[sample["by"]] = (sample["waited_s"], f"{sample['mode']} on {sample['on']} for {sample['waited_s']:.1f} s, held up by {sample['who']}")
        return [line for _, line in sorted(longest.values(), reverse=True)]

    def _watch(self) -> None:
        started, said = time.monotonic(), 0.0
        try:
            with self.session() as db:
                while not self._ended.wait(SAMPLE_S):
                    waits = self._sample(db)
                    if time.monotonic() - said >= EVERY_S:
                        said = time.monotonic()
                        self.phase.say(self._line(db, said - started, waits))
        except DatabaseError as error:
            self.phase.say(f"the watch lost its session, the migration goes on: {error.message}")

    def _sample(self, db: Database) -> list[str]:
        """Keep who blocks the migration now; the same as lines."""
        found = locks.blockers(db)
        ours = [wait for wait in found.waits if activity.named(wait.session.application, self.phase.prisma_name)]
        for wait in ours:
            for pid in wait.blocked_by:
                who = str(found.sessions.get(pid) or f"process {pid}")
                self.samples.append({"at": stamp(), "by": pid, "who": who, "mode": wait.mode, "on": wait.on, "waited_s": wait.waiting_s or 0.0,
                                     "victims": len(found.victims_of(wait.session.pid))})
        return [str(wait) for wait in ours]

    def _line(self, db: Database, elapsed: float, waits: list[str]) -> str:
        against = f" of about {self.forecast_s:.1f} s" if self.forecast_s else ""
        steps = [str(step) for step in activity.progress(db, application_name_prefix=self.phase.prisma_name)]
        at_work = [one for one in activity.of_application(db, self.phase.prisma_name) if one.working]
        doing = "; ".join(waits or steps) or (f"{at_work[0].command or 'a statement'} running" if at_work else "between statements")
        return f"migrating, {elapsed:.0f} s{against}: {doing}"
