"""Find who waits for whom, stop our own sessions, and keep two runs apart.

One lock of our own sees to it that they never meet.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from runbook_lib.errors import DatabaseError, GateError
from runbook_lib.postgres.activity import Session, everyone, named
from runbook_lib.postgres.connection import Database, query
from runbook_lib.table import Table

RUNBOOK = 0x52554E42
"""The first number of our advisory locks ("RUNB"); Prisma's own lock is a single number and never
the same.
"""


@dataclass(frozen=True)
class Wait:
    """One session that waits for a lock.

    Args:
        session: who waits.
        blocked_by: process numbers whose lock, or whose place further up in the queue, is in the
            way.
        mode: the lock mode that is waited for, e.g. "AccessExclusiveLock".
        on: the relation, or the kind of lock where it is none of this database.
        waiting_s: seconds; `None` in the first moment.
        by_prepared_transaction: whether a prepared transaction is in the way, which has no session.
    """

    session: Session
    blocked_by: tuple[int, ...]
    mode: str
    on: str
    waiting_s: float | None
    by_prepared_transaction: bool

    def __str__(self) -> str:
        return f"{self.session} waits {self.waiting_s or 0:.1f} s for {self.mode} on {self.on}"


@dataclass(frozen=True)
class Blockers:
    """Everyone who waits for a lock in this database, and everyone who is in the way.

    Args:
        waits: who waits, longest first.
        sessions: all sessions that take part, by process number.
    """

    waits: tuple[Wait, ...]
    sessions: dict[int, Session]

    @property
    def roots(self) -> tuple[Session, ...]:
        """Those in the way who wait for nobody themselves: where it all comes from."""
        waiting = {wait.session.pid for wait in self.waits}
        pids = dict.fromkeys(
            pid for wait in self.waits for pid in wait.blocked_by if pid not in waiting
        )
        return tuple(self.sessions[pid] for pid in pids if pid in self.sessions)

    def freed_by(self, pids: Collection[int]) -> tuple[Wait, ...]:
        """Those who would go on if `pids` were gone.

        Each of those in their way is one of these, or would be freed itself.

        Who waits for somebody else as well is not among them, and nor is who wants an advisory
        lock: that one was asked for.
        """
        gone, free = set(pids), dict[int, Wait]()
        todo = [
            wait
            for wait in self.waits
            if wait.on != "advisory"
            and not wait.by_prepared_transaction
            and wait.session.pid not in gone
        ]
        while new := [
            wait
            for wait in todo
            if wait.session.pid not in free and wait.blocked_by and gone.issuperset(wait.blocked_by)
        ]:
            free |= {wait.session.pid: wait for wait in new}
            gone |= free.keys()
        return tuple(free.values())

    def in_the_way_of(self, pids: Collection[int]) -> set[int]:
        """The sessions for which `pids` wait, directly or through others."""
        found, todo = set[int](), set(pids)
        while todo:
            todo = {
                pid for wait in self.waits if wait.session.pid in todo for pid in wait.blocked_by
            } - found
            found |= todo
        return found

    def tree(self) -> tuple[str, ...]:
        """The same as indented lines, from those in the way down to those who wait."""
        lines = [
            line
            for root in self.roots
            for line in (str(root), *self._below(root.pid, 1, {root.pid}))
        ]
        return tuple(
            lines
            + [
                f"a prepared transaction\n    {wait}"
                for wait in self.waits
                if wait.by_prepared_transaction
            ]
        )

    def _below(self, pid: int, depth: int, seen: set[int]) -> Iterator[str]:
        for wait in self.waits:
            if pid in wait.blocked_by and wait.session.pid not in seen:
                yield f"{'    ' * depth}{wait}"
                yield from self._below(wait.session.pid, depth + 1, seen | {wait.session.pid})

    def table(self) -> Table:
        """One row for each who waits."""
        rows = [
            (
                w.session.pid,
                w.session.application,
                w.session.command,
                w.mode,
                w.on,
                w.waiting_s,
                w.blocked_by,
                tuple(str(self.sessions[pid]) for pid in w.blocked_by if pid in self.sessions),
            )
            for w in self.waits
        ]
        title = (
            f"{len(self.waits)} sessions wait for a lock"
            if self.waits
            else "No session waits for a lock"
        )
        return Table(
            title,
            (
                "pid",
                "application",
                "command",
                "waits for",
                "on",
                "waiting s",
                "blocked by",
                "who that is",
            ),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "waits": [asdict(wait) for wait in self.waits],
            "roots": [asdict(root) for root in self.roots],
        }

    def _repr_html_(self) -> str:
        return (
            f"<pre>{escape(str(self))}</pre>" if self.waits else ""
        ) + self.table()._repr_html_()

    def __str__(self) -> str:
        return "\n".join(self.tree()) or "no session waits for a lock"

    __repr__ = __str__


def blockers(db: Database) -> Blockers:
    """Return who waits for a lock in this database, and who is in the way.

    As `pg_blocking_pids` has it.
    """
    rows = db.rows(query("activity_blockers"))
    if not rows:
        return Blockers((), {})
    there = {one.pid: one for one in everyone(db)}
    waits = tuple(
        Wait(
            there[row["pid"]],
            tuple(row["blocked_by"]),
            row["mode"],
            row["relation"] or row["lock_type"],
            row["waiting_s"],
            row["by_prepared_transaction"],
        )
        for row in rows
        if row["pid"] in there and there[row["pid"]].database == db.target.database
    )
    pids = {pid for wait in waits for pid in (wait.session.pid, *wait.blocked_by)}
    return Blockers(waits, {pid: one for pid, one in there.items() if pid in pids})


@dataclass(frozen=True)
class Cancelled:
    """What was done to sessions of ours.

    Cancelled (they went on living, or left by themselves), or ended.
    """

    cancelled: tuple[int, ...]
    ended: tuple[int, ...]


def cancel(db: Database, application_name_prefix: str, wait_s: float = 2.0) -> Cancelled:
    """Stop what sessions of ours do.

    Cancel their statement, and end those that are still at work after `wait_s` seconds.

    Touches only sessions in this database whose application name is the prefix or goes on with "/"
    after it. A statement that is begun after the first was cancelled is left its time: it is how
    the client puts things away.

    Raises:
        DatabaseError: this role may not stop one of them.
    """
    working = left = at_work(db, application_name_prefix)
    begun, deadline = db.value("SELECT clock_timestamp()"), time.monotonic() + wait_s
    while left and time.monotonic() < deadline:
        _signal(db, "pg_cancel_backend", left, begun)
        time.sleep(0.02)
        left = at_work(db, application_name_prefix)
    _signal(db, "pg_terminate_backend", left)
    ended = tuple(one.pid for one in left)
    return Cancelled(tuple(one.pid for one in working if one.pid not in ended), ended)


def end(db: Database, session: Session, grace_s: float = 1.0) -> str:
    """End what one session of others does.

    Cancel its statement, and where its transaction is still open after `grace_s` seconds, end the
    session.

    Returns:
        "cancelled" where its statement was cancelled and its transaction has failed, "ended" where
        the session is gone.

    Raises:
        DatabaseError: this role may not, or the server did not do it.
    """
    for function, done in (("pg_cancel_backend", "cancelled"), ("pg_terminate_backend", "ended")):
        _signal(db, function, [session])
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            left = [one for one in everyone(db) if one.pid == session.pid and one.working]
            if all(
                one.state == "idle in transaction (aborted)" for one in left
            ):  # it holds no lock any more
                return done
            time.sleep(0.02)
    raise DatabaseError(
        f"{session} was told to end, and has not",
        "it may be in the middle of a rollback: look again; else stop its client",
    )


def at_work(db: Database, prefix: str) -> list[Session]:
    """The other sessions in this database that work under that application name."""
    return [
        one
        for one in everyone(db)
        if one.database == db.target.database and one.working and named(one.application, prefix)
    ]


def _signal(
    db: Database, function: str, found: list[Session], begun: datetime | None = None
) -> None:
    """Signal sessions that are still those that were seen.

    A number is used again, by one that has been connected for less long.

    Args:
        begun: only where the statement was begun before that.
    """
    for one in found:
        db.signal(
            f"SELECT {function}(pid) FROM pg_stat_activity WHERE pid = %s AND application_name = %s"
            " AND extract(epoch FROM clock_timestamp() - backend_start) >= %s "
            "AND (%s::timestamptz IS NULL OR query_start <= %s)",
            [one.pid, one.application, one.connected_s or 0.0, begun, begun],
        )


@contextmanager
def advisory_lock(db: Database, key: str = "runbook") -> Iterator[None]:
    """Hold the runbook's own lock on this database: one run at a time.

    It ends with the session at the latest.

    Raises:
        GateError: another session holds it; it is named.
    """
    number = db.value("SELECT hashtext(%s)", [key])
    if not db.value("SELECT pg_try_advisory_lock(%s, %s)", [RUNBOOK, number]):
        who = holder(db, key) or "it has just ended"
        raise GateError(
            f"another run works on {db.target.database}: {who}",
            "wait until it has ended, or end it, then repeat",
        )
    try:
        yield
    finally:
        with suppress(DatabaseError):  # a session that is lost has given it back
            db.execute("SELECT pg_advisory_unlock(%s, %s)", [RUNBOOK, number])


def holder(db: Database, key: str | int = "runbook") -> str:
    """Who holds an advisory lock, from where, since when; empty where nobody does.

    Args:
        key: the name of one of ours, in whichever database it is held; or the number of somebody
            else's, in this database.
    """
    wanted = (
        (RUNBOOK, db.value("SELECT hashtext(%s)", [key]) % 2**32, 2)
        if isinstance(key, str)
        else (key >> 32, key % 2**32, 1)
    )
    for row in db.rows(query("activity_lock_holder")):
        if (row["class"], row["key"], row["numbers"]) == wanted and (
            isinstance(key, str) or row["database"] == db.target.database
        ):
            since = (
                f", connected since {row['since'].astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
                if row["since"]
                else ""
            )
            return (
                f"session {row['pid']}, application “{row['application'] or 'unnamed'}” from "
                f"{row['client']}{since}"
            )
    return ""
