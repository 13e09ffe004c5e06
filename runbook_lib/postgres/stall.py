"""Ends a session whose server gives no answer for longer than it may.

A connection can stall: whatever stands between acknowledges each packet, and passes none on. No
keepalive and no `tcp_user_timeout` sees that. But a statement of ours has a limit that the server
keeps; where its answer is overdue by `GRACE_S`, the connection is closed, and what the server does
meanwhile is not known.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any

import psycopg

GRACE_S = 20.0
"""Seconds that an answer may be overdue: the server ends a statement at its limit, and has to say
so.
"""
_UNITS = {"": 0.001, "us": 1e-6, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Stalled(psycopg.OperationalError):
    """The server gave no answer in time, and was left."""


class Connection(psycopg.Connection[dict[str, Any]]):
    """A connection that waits for an answer no longer than `limit_s` and `GRACE_S`.

    None waits for ever.
    """

    limit_s: float | None = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Consume a generator of psycopg's, as it does."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif self._overdue(time.monotonic() - heard):
                    self._leave(time.monotonic() - heard)
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value

    def _overdue(self, silent_s: float) -> bool:
        return self.limit_s is not None and silent_s > self.limit_s + GRACE_S

    def _leave(self, silent_s: float) -> None:
        self.pgconn.finish()
        raise Stalled(
            f"no answer for {silent_s:.0f} s, though a statement may take {self.limit_s:g} s: the "
            "connection stalls"
        )


def seconds(setting: str | None) -> float | None:
    """A time as PostgreSQL takes it, e.g. "10min" or "5000"; None for no limit."""
    found = re.fullmatch(r"([0-9.]+)\s*([a-z]*)", setting or "0")
    value = float(found[1]) * _UNITS[found[2]] if found and found[2] in _UNITS else 0.0
    return value or None
