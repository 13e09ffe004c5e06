"""What on the server would get in the way.

Looked at in the preflight, and again in the minute before the migration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from runbook_lib.check import Check, attempt, check, unknown
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.phases.readings import disks
from runbook_lib.postgres import activity, disk, locks
from runbook_lib.postgres.activity import Follower
from runbook_lib.postgres.connection import Database
from runbook_lib.prisma.cli import ADVISORY_LOCK
from runbook_lib.show import charts
from runbook_lib.table import size

LOOK_S = 5.0
"""Seconds that one look may take in the minute before the migration."""


def minute_checks(phase: Phase) -> list[Check]:
    """The server in the minute before the migration, by one session in which no look takes long."""
    with Database(
        phase.target,
        phase.application_name,
        statement_timeout=milliseconds(LOOK_S),
        lock_timeout="1s",
    ) as db:
        return [
            _alone(db, "migrate.run", "no other run works on this database", phase.target.database),
            _alone(db, "migrate.alone", "no other migration is in flight", ADVISORY_LOCK),
            _forgotten(db, affected_tables(phase), phase.params.migrate.max_transaction_s),
            prepared_check(db, "migrate.prepared"),
            disk_check(db, "migrate.disk", phase, measured=False),
            replication_check(db, "migrate.replication", phase),
        ]


def affected_tables(phase: Phase) -> list[str] | None:
    """The tables that exist and that the plan locks.

    `None` where it cannot tell which: then it may be any.
    """
    review = phase.run.read_evidence("plan.review", missing=None)
    statements = [] if review is None else review["statements"]
    tables = {
        lock["relation"]
        for one in statements
        for lock in one["locks"]
        if not lock["new"] and lock["kind"] in ("table", "materialized view")
    }
    return None if "*" in tables or review is None else sorted(tables)


def need(db: Database, phase: Phase) -> disk.Need | None:
    """Return what the plan writes, as measured, and the size of a copy restored beside.

    The copy is needed for a rollback. `None` if the rehearsal did not measure it.
    """
    measured = phase.run.read_evidence("rehearsal", missing={})
    log, growth = (
        measured.get("wal_bytes"),
        measured.get("peak_bytes", measured.get("size_growth_bytes")),
    )
    if log is None or growth is None:
        return None
    return disk.Need(
        max(0, log), max(0, growth), db.value("SELECT pg_database_size(current_database())")
    )


def idle_check(db: Database, id: str, older_than_s: float) -> Check:
    """Transactions that were left open, whatever they hold."""
    title = "no transaction is left open"

    def look() -> Check:
        found = activity.idle_in_transaction(db, older_than_s)
        names = ", ".join(
            f"pid {s.pid} ({s.application or 'unnamed'}, {s.transaction_s or 0:.0f} s)"
            for s in found
        )
        return check(
            id,
            title,
            not found,
            names or "none",
            f"none older than {older_than_s:g} s",
            "end it where it was opened; 95_troubleshoot shows what it holds",
        )

    return attempt(id, title, look)


def prepared_check(db: Database, id: str) -> Check:
    """Prepared transactions: they hold their locks without a session."""
    title = "no prepared transaction is left"

    def look() -> Check:
        found = activity.prepared_transactions(db)
        return check(
            id,
            title,
            not found,
            ", ".join(f"{p.name} of {p.owner}, {p.age_s:.0f} s old" for p in found) or "none",
            "none",
            "COMMIT PREPARED or ROLLBACK PREPARED each of them",
        )

    return attempt(id, title, look)


def disk_check(db: Database, id: str, phase: Phase, *, measured: bool = True) -> Check:
    """What is free on the server now, and after what the plan needs.

    Args:
        measured: whether the check is unknown where the rehearsal did not measure what the plan
            needs; else what is free now counts,
            for a person was asked about that before.
    """
    title, limit = (
        "the server's disk has room, after what the plan needs",
        phase.params.backup.disk_free_percent,
    )
    expected = f"at least {limit:.0f} % free afterwards"

    def look() -> Check:
        needed, found = need(db, phase), disks(phase, db)
        after = found.after(needed or disk.Need()).tightest
        if after is None or after.free_percent is None:
            return unknown(
                id,
                title,
                f"{found.why_unknown}; needed are {_needs(needed)}",
                expected,
                "look at it where it can be seen; then approve the gate that asks for it",
            )
        same = (one for one in found if (one.place, one.path) == (after.place, after.path))
        now = next(same, after)
        said = (
            f"{after.place}: {size(now.free_bytes)} of {size(now.total_bytes)} free, "
            f"{now.free_percent:.0f} %; needed are {_needs(needed)}"
        )
        if needed is None and measured and after.free_percent >= limit:
            return unknown(
                id,
                title,
                said,
                expected,
                "estimate it, by the size of the tables that the plan rewrites; then approve the "
                "gate",
            )
        return check(
            id,
            title,
            after.free_percent >= limit,
            said + (f"; afterwards {after.free_percent:.0f} %" if needed else ""),
            expected,
            "make room (95_troubleshoot tells what would free most), or lower "
            "`backup.disk_free_percent`",
        )

    return attempt(id, title, look)


def disk_chart(phase: Phase) -> Any:
    """What is free of each disk, now and after what the plan needs."""
    found, limit, needed = (
        disks(phase, phase.db),
        phase.params.backup.disk_free_percent,
        need(phase.db, phase),
    )
    after = found.after(needed or disk.Need())
    known = [
        (f"{now.place}, {size(now.total_bytes)}", now.free_percent, later.free_percent)
        for now, later in zip(found, after, strict=True)
        if now.free_percent is not None and later.free_percent is not None
    ]
    least = min((later for *_, later in known), default=0.0)
    title = (
        f"Could not check: {found.why_unknown}"
        if not found.known
        else f"{least:.0f} % of the disk are free now; what the plan needs is not known"
        if needed is None
        else f"{least:.0f} % of the disk are free after what the plan needs"
    )
    return charts.room(
        title,
        [(name, round(100 - now, 2), round(now - later, 2)) for name, now, later in known],
        limit,
    )


def _needs(needed: disk.Need | None) -> str:
    if needed is None:
        return "not known: the rehearsal did not measure what it writes"
    return (
        f"{size(needed.bytes)} ({size(needed.log)} of write-ahead log, {size(needed.growth)} for "
        f"the tables, {size(needed.beside)} for a copy restored beside)"
    )


def replication_check(db: Database, id: str, phase: Phase) -> Check:
    """Each standby and replication slot against the limits, where there are any."""
    limits, title = phase.params.monitoring, "standbys and replication slots keep up"
    most, seconds = limits.replica_lag_mb * 2**20, limits.replica_lag_s
    expected = f"at most {size(int(most))}, a standby at most {seconds:g} s behind"

    def look() -> Check:
        found = list(activity.replication(db))
        late = [
            one for one in found if (one.behind_bytes or 0) > most or (one.behind_s or 0) > seconds
        ]
        blind = [one for one in found if one.behind_bytes is None]
        if blind and not late:
            return unknown(
                id,
                title,
                f"how far behind: {_said(blind)}",
                expected,
                "give the role pg_monitor, or look at the primary",
            )
        return check(
            id,
            title,
            not late,
            _said(late or found) or "there are none",
            expected,
            "wait until they have caught up; drop a slot that nobody reads (it fills the disk "
            "with write-ahead log)",
        )

    return attempt(id, title, look)


def _said(followers: Iterable[Follower]) -> str:
    def behind(one: Follower) -> str:
        parts = [size(one.behind_bytes)] if one.behind_bytes is not None else ["not known"]
        return " and ".join(parts + ([f"{one.behind_s:.0f} s"] if one.behind_s is not None else []))

    return "; ".join(
        f"{one.kind} {one.name} ({one.state}): {behind(one)} behind" for one in followers
    )


def _forgotten(db: Database, tables: Collection[str] | None, older_than_s: float) -> Check:
    """Transactions for which the migration would wait, and everybody else behind it."""
    id, title = "migrate.transactions", "no long transaction holds an affected table"
    where = (
        "any table"
        if tables is None
        else ", ".join(tables) or "the tables that the plan locks: it locks none that exists"
    )
    expected = f"none older than {older_than_s:g} s on {where}"

    def look() -> Check:
        found = activity.holders(db, tables)
        old = [one for one in found if (one.session.transaction_s or 0) > older_than_s]
        blind = [one for one in found if one.session.transaction_s is None]
        if blind and not old:
            return unknown(
                id,
                title,
                "; ".join(map(str, blind)),
                expected,
                "give the role pg_monitor, or ask whose it is",
            )
        return check(
            id,
            title,
            not old,
            "; ".join(map(str, old)) or "none",
            expected,
            "end it where it was opened, or raise `migrate.max_transaction_s`",
        )

    return attempt(id, title, look)


def _alone(db: Database, id: str, title: str, lock: str | int) -> Check:
    def look() -> Check:
        holder = locks.holder(db, lock)
        return check(id, title, not holder, holder or "nobody", "nobody", "wait until it has ended")

    return attempt(id, title, look)
