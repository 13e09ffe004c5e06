"""The eyes on a running migration: one line a second, and a record of who blocked whom."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity
from runbook_lib.postgres.connection import Database

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
        """Who blocked the migration, one line each, longest wait first."""
        longest: dict[int, dict[str, Any]] = {}
        for sample in self.samples:
            known = longest.setdefault(sample["blocker_pid"], sample)
            known["waited_s"] = max(known["waited_s"], sample["waited_s"])
        ordered = sorted(longest.values(), key=lambda sample: -sample["waited_s"])
        return [f"{s['relation'] or 'a lock'}: held by pid {s['blocker_pid']} ({s['blocker_application'] or 'unnamed'}, user {s['blocker_user']},"
                f" {s['blocker_state']}, transaction open for {s['blocker_transaction_s']:.0f} s); waited {s['waited_s']:.1f} s" for s in ordered]

    def _watch(self) -> None:
        started, said = time.monotonic(), 0.0
        try:
            with self.session() as db:
                while not self._ended.wait(SAMPLE_S):
                    self.samples += activity.blocking(db, self.phase.application_name)
                    if time.monotonic() - said >= EVERY_S:
                        said = time.monotonic()
                        self.phase.say(self._line(db, said - started))
        except DatabaseError as error:
            self.phase.say(f"the watch lost its session, the migration goes on: {error.message}")

    def _line(self, db: Database, elapsed: float) -> str:
        against = f" of about {self.forecast_s:.1f} s" if self.forecast_s else ""
        return f"migrating, {elapsed:.0f} s{against}: " + ("; ".join(activity.progress(db, self.phase.application_name)) or "between statements")
