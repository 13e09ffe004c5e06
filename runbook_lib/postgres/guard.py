"""Guard others against the migration's waiting and holding.

It is ended if they wait too long.

A statement that waits for a lock lets everybody queue behind it; one that holds a lock lets
everybody wait for it. Both are seen in `pg_blocking_pids`. Only the migration's own sessions are
ever cancelled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from runbook_lib.postgres.activity import named
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.locks import Blockers, Wait, cancel

END_S = 1.0
"""Seconds that the migration's session has, once cancelled, before it is ended."""


@dataclass(frozen=True)
class Limits:
    """What others have to bear: at most `victims` of them wait longer than `wait_s` seconds."""

    victims: int
    wait_s: float

    def __str__(self) -> str:
        return f"at most {self.victims} may wait longer than {self.wait_s:g} s"


@dataclass(frozen=True)
class Harm:
    """Return who waits for the migration at one moment and would go on without it.

    Directly, or in the queue behind it.
    """

    victims: tuple[Wait, ...] = ()

    @property
    def longest_s(self) -> float:
        """The longest wait, in seconds."""
        return max((wait.waiting_s or 0.0 for wait in self.victims), default=0.0)

    def longer_than(self, seconds: float) -> int:
        """How many have waited longer than that."""
        return sum((wait.waiting_s or 0.0) > seconds for wait in self.victims)

    def __str__(self) -> str:
        return (
            f"{len(self.victims)} sessions of others wait for it, the longest "
            f"{self.longest_s:.1f} s"
            if self.victims
            else "nobody waits for it"
        )


@dataclass(frozen=True)
class Decision:
    """The migration was cancelled for the sake of others.

    Args:
        harm: what was seen.
        limits: what was allowed.
        cancelled, ended: sessions of the migration whose statement was cancelled, and which had to
        be ended.
        seconds: from the look to their end.
    """

    harm: Harm
    limits: Limits
    cancelled: tuple[int, ...]
    ended: tuple[int, ...]
    seconds: float

    def __str__(self) -> str:
        return (
            f"cancelled by guard: {self.harm.longer_than(self.limits.wait_s)} sessions of others "
            f"had waited longer than {self.limits.wait_s:g} s for the migration, the longest "
            f"{self.harm.longest_s:.1f} s; {self.limits}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files and the journal."""
        return {
            "victims": self.harm.longer_than(self.limits.wait_s),
            "waiting": len(self.harm.victims),
            "longest_wait_s": round(self.harm.longest_s, 3),
            "allowed": {"victims": self.limits.victims, "wait_s": self.limits.wait_s},
            "who": [str(wait) for wait in self.harm.victims],
            "cancelled": list(self.cancelled),
            "ended": list(self.ended),
            "seconds": round(self.seconds, 3),
        }


class Guard:
    """Looks after those who are not the migration.

    Args:
        application: name of the migration's sessions (see `activity.named`): they alone are
            cancelled.
        family: sessions of that name are no victims: they are ours.
        limits: what others have to bear.
    """

    def __init__(self, application: str, family: str, limits: Limits) -> None:
        self.application, self.family, self.limits = application, family, limits
        self.decisions: list[Decision] = []
        self.worst = Harm()
        """The most that others had to bear so far."""

    def look(self, db: Database, found: Blockers) -> Harm:
        """What the migration does to others, by a look at who waits for whom.

        It is cancelled where that is too much.

        Args:
            db: a session that is not the migration's.
            found: `locks.blockers`, read just now.
        """
        seen = time.monotonic()
        ours = [
            pid for pid, one in found.sessions.items() if named(one.application, self.application)
        ]
        victims = (
            wait
            for wait in found.freed_by(ours)
            if wait.session.backend_type == "client backend"
            and not named(wait.session.application, self.family)
        )
        harm = Harm(tuple(victims))
        self.worst = max(
            self.worst,
            harm,
            key=lambda one: (one.longer_than(self.limits.wait_s), len(one.victims), one.longest_s),
        )
        if harm.longer_than(self.limits.wait_s) > self.limits.victims:
            done = cancel(db, self.application, END_S)
            if done.cancelled or done.ended:  # else it ended by itself in this moment
                self.decisions.append(
                    Decision(harm, self.limits, done.cancelled, done.ended, time.monotonic() - seen)
                )
        return harm
