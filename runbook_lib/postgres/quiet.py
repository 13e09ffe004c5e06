"""Whether nothing writes to a database.

Observed over some seconds, from its own record, whoever it might be.

What counts is exact where it can be: which transactions of the whole server have ended, and which
of this database have written and not ended. Where something else on the server writes, the tables'
counters decide, which lag by up to ten seconds. From PostgreSQL 18 on the server also tells how
much write-ahead log each session wrote.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from runbook_lib.check import Check, check, not_configured, unknown
from runbook_lib.postgres import activity, databases
from runbook_lib.postgres.connection import Database, query

LAG_S = 12.0
"""For so long it is observed where it is not certain at once: longer than the counters lag."""
EVERY_S = 0.25
"""Seconds between two looks at whose transactions are writing."""
WAL_SINCE = 18_00_00
"""The version from which on `pg_stat_get_backend_wal()` is there."""


@dataclass(frozen=True)
class Seen:
    """A session or a background worker of the database; ages in seconds."""

    pid: int
    application: str
    kind: str
    state: str
    transaction_s: float | None
    state_s: float | None
    writing: bool

    @property
    def hidden(self) -> bool:
        """Whether this role may not see its state."""
        return self.state == "hidden"

    @property
    def at_work(self) -> bool:
        """Whether it runs a statement or holds a transaction open."""
        return (
            self.state == "active"
            or self.state.startswith("idle in transaction")
            or self.transaction_s is not None
        )

    def __str__(self) -> str:
        kind = f"{self.kind}, " if self.kind != "client backend" else ""
        age = f" for {self.state_s:.0f} s" if self.state_s is not None else ""
        opened = (
            f", transaction open for {self.transaction_s:.0f} s"
            if self.transaction_s is not None
            else ""
        )
        return f"pid {self.pid} ({self.application or 'unnamed'}, {kind}{self.state}{age}{opened})"


@dataclass(frozen=True)
class Look:
    """Look once: what was written until now, who is there, and the log that each wrote.

    The log is the write-ahead log.
    """

    writes: activity.Writes
    sessions: Mapping[int, Seen]
    wal: Mapping[int, int]


@dataclass(frozen=True)
class Observation:
    """What was seen between looks.

    Args:
        names: the application's, as its sessions are called.
        seconds: between `before` and `last`.
        first, before, last: the looks; where it was certain at once, `first` is `before`.
        writers: whose transactions were seen writing, by pid, as they were then.
    """

    names: Collection[str]
    seconds: float
    first: Look
    before: Look
    last: Look
    writers: Mapping[int, Seen] = field(default_factory=dict)

    @cached_property
    def application(self) -> tuple[Seen, ...]:
        """The application's sessions, at the last look."""
        return tuple(one for one in self.last.sessions.values() if one.application in self.names)

    @property
    def certain(self) -> bool:
        """Whether it is certain that nothing was written, and the application is at rest."""
        return (
            self.last.writes.quiet_since(self.before.writes)
            and not self._wal(self.before)
            and not any(one.at_work for one in self.application)
        )

    def cleared(self) -> Check:
        """Whether the application's sessions are gone or idle, and not in a transaction."""
        id, title, expected = (
            "sessions.cleared",
            "the application's sessions are gone or idle",
            "none at work, none in a transaction",
        )
        if not self.names:
            return not_configured(id, title, "service.application_names")
        busy, hidden = (
            [one for one in self.application if one.at_work],
            [one for one in self.application if one.hidden],
        )
        if hidden and not busy:
            return unknown(
                id,
                title,
                f"{len(hidden)} sessions whose state this role may not see: {_named(hidden)}",
                expected,
                "grant the role pg_read_all_stats",
            )
        return check(
            id,
            title,
            not busy,
            _named(busy) or f"{len(self.application)} idle" * bool(self.application) or "all gone",
            expected,
            "wait for them, or stop the application; 95_troubleshoot shows what they do",
        )

    def written(self) -> Check:
        """Whether nothing was written.

        No row changed, no transaction of this database is writing, no WAL from the application.
        """
        title = f"nothing was written for {self.seconds:g} s"
        changed = [
            f"{count} rows of {table}"
            for table, count in self.last.writes.since(self.first.writes).items()
        ]
        wal = self._wal(self.before)
        if self.last.writes.quiet_since(self.before.writes) and not wal:
            return check(
                "writes.stopped",
                title,
                True,
                "no transaction that writes ended on this server, and none is open "
                f"here{self._no_wal()}",
                "no write",
            )
        writing = [
            self.writers.get(pid) or self.last.sessions.get(pid) or f"pid {pid}"
            for pid in self.last.writes.writing_pids
        ]
        if not changed and not writing and not wal:
            return check(
                "writes.stopped",
                title,
                True,
                f"no table of this database changed{self._no_wal()}; something else on the server "
                "writes",
                "no write",
            )
        return check(
            "writes.stopped",
            title,
            False,
            "; ".join([*changed[:5], *self._by(), *wal]),
            "no write",
            "stop who writes where it was started, then look again; 95_troubleshoot lists the "
            "sessions",
        )

    def _by(self) -> list[str]:
        """Who wrote, as far as it was seen; else who was at work in that time."""
        grown = {
            pid: one
            for pid, one in self.last.sessions.items()
            if self._grown(pid, self.first) and one.kind != "autovacuum worker"
        }
        if seen := {**grown, **self.writers}:
            return [f"written by {_named(seen.values())}"]
        meanwhile = [
            one
            for one in self.last.sessions.values()
            if one.at_work or (one.state_s or math.inf) <= max(self.seconds, LAG_S)
        ]
        return (
            [f"at work meanwhile: {_named(meanwhile)}"]
            if meanwhile
            else ["by a session that has left"]
        )

    def _wal(self, since: Look) -> list[str]:
        """What the application's sessions wrote of the write-ahead log, in words."""
        return [
            f"{one} wrote {grown} bytes of WAL"
            for one in self.application
            if (grown := self._grown(one.pid, since))
        ]

    def _grown(self, pid: int, since: Look) -> int:
        return self.last.wal.get(pid, 0) - since.wal.get(pid, 0)

    def _no_wal(self) -> str:
        return ", no session of the application wrote WAL" if self.names and self.last.wal else ""


def observe(db: Database, names: Collection[str], own: str, seconds: float) -> Observation:
    """Look for some seconds, and again until it is certain or the counters cannot lag any more.

    Args:
        names: what the application's sessions are called.
        own: how the runbook's own sessions are called; they are passed over.
        seconds: for which nothing may be written.
    """
    first = before = _look(db, own)
    writers: dict[int, Seen] = {}
    for _ in range(max(2, math.ceil(LAG_S / seconds))):
        _watch(db, own, seconds, writers)
        found = Observation(names, seconds, first, before, last := _look(db, own), writers)
        if found.certain:
            break
        before = last
    return found


def prepared(db: Database) -> Check:
    """Whether no prepared transaction waits in this database.

    Whoever ends it writes, without a session until then.
    """
    found = ", ".join(
        f"`{one.name}` of {one.owner}, {one.age_s:.0f} s old"
        for one in activity.prepared_transactions(db)
    )
    return check(
        "writes.prepared",
        "no prepared transaction waits in this database",
        not found,
        found or "none",
        "none",
        "COMMIT PREPARED or ROLLBACK PREPARED each, by whoever began it",
    )


def subscriptions(db: Database) -> Check:
    """Whether no logical replication brings changes of another server into this database."""
    if not databases.sees_subscriptions(db):
        return unknown(
            "writes.subscriptions",
            "no subscription brings changes in",
            "this service lets no role see the subscriptions",
            "none",
            "ask whoever set up replication, if anybody did; then approve",
        )
    rows = db.rows(query("quiet_subscriptions"))
    found = ", ".join(
        f"{row['name']} ({'pid ' + str(row['pid']) if row['pid'] else 'no worker at the moment'})"
        for row in rows
    )
    return check(
        "writes.subscriptions",
        "no subscription brings changes in",
        not rows,
        found or "none is enabled",
        "none is enabled",
        "ALTER SUBSCRIPTION … DISABLE each, and ENABLE it after 80_close",
    )


def _look(db: Database, own: str) -> Look:
    writes = activity.writes(db)
    wal = (
        {row["pid"]: row["bytes"] for row in db.rows(query("quiet_wal"))}
        if db.server_version >= WAL_SINCE
        else {}
    )
    return Look(writes, {one.pid: one for one in _sessions(db, own)}, wal)


def _sessions(db: Database, own: str) -> list[Seen]:
    found = (Seen(**row) for row in db.sessions(query("quiet_sessions")))
    return [one for one in found if not activity.named(one.application, own)]


def _watch(db: Database, own: str, seconds: float, writers: dict[int, Seen]) -> None:
    """Remember whose transactions are writing, for so long."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        db.execute("SELECT pg_stat_clear_snapshot()")
        writers |= {one.pid: one for one in _sessions(db, own) if one.writing}
        time.sleep(min(EVERY_S, left))


def _named(sessions: Collection[Seen]) -> str:
    shown = [str(one) for one in sessions]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
