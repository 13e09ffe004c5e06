"""The eyes on a running migration.

One line a second, a record of who blocked whom, and the guard.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.phases import kernel
from runbook_lib.phases.base import Phase
from runbook_lib.phases.start import applied
from runbook_lib.postgres import activity, locks, writers
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.guard import Guard, Harm, Limits
from runbook_lib.run import stamp
from runbook_lib.show import live

EVERY_S = 1.0
"""Seconds between two lines."""
SAMPLE_S = 0.2
"""Seconds between two looks at who waits for whom."""


class Watch:
    """Looks at the migration's sessions from a session of its own, until its block is left.

    The guard looks along.

    Args:
        phase: the phase whose sessions are watched, by their application name.
        forecast_s: how long the rehearsal took, in seconds, for the lines.
    """

    def __init__(self, phase: Phase, forecast_s: float | None = None) -> None:
        self.phase = phase
        self.forecast_s = forecast_s
        limits = phase.params.migrate.guard
        self.guard = Guard(
            phase.prisma_name, f"runbook/{phase.run.key}", Limits(limits.victims, limits.wait_s)
        )
        self.lost: list[str] = []
        """What interrupted the watch; for that time nobody guarded."""
        self._transactions: set[int] = set()
        self._waits: dict[tuple[int, int, str, str], dict[str, Any]] = {}
        self._view: live.View | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        if kernel.in_front_end():
            self._view = live.View(self._cancel)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(10)
        if self._view:
            self._view.close()
        self.phase.keep("blockers", list(self._waits.values()))
        earlier = self.phase.run.read_evidence(f"{self.phase.name}.transactions", missing=())
        self.phase.keep("transactions", sorted({*earlier, *self._transactions}))
        if self.lost:
            self.phase.run.journal("watch interrupted", reasons=self.lost)

    def session(self) -> Database:
        """A session of the watch: named so that it is not taken for one of the migration's."""
        return Database(
            self.phase.target,
            f"{self.phase.application_name}-watch",
            statement_timeout="5s",
            lock_timeout="100ms",
        )

    def blockers(self) -> list[str]:
        """Who was in the way of the migration, one line each with the longest wait seen."""
        longest: dict[int, tuple[float, str]] = {}
        for one in self._waits.values():
            if (
                one["who"] == "migration"
                and one["waited_s"] >= longest.get(one["by"], (-1.0, ""))[0]
            ):
                longest[one["by"]] = (
                    one["waited_s"],
                    f"{one['mode']} on {one['on']} for {one['waited_s']:.1f} s, held up by "
                    f"{one['held_by']}",
                )
        return [line for _, line in sorted(longest.values(), reverse=True)]

    def _cancel(self) -> None:
        self.phase.run.journal("cancel asked for", by="the button of the live view")
        kernel.interrupt()

    def _watch(self) -> None:
        started = time.monotonic()
        try:
            while not self._ended.is_set():
                try:
                    with self.session() as db:
                        self._look(db, started)
                except DatabaseError as error:
                    self._lose(
                        "the watch was interrupted, and nobody guards the migration until it goes "
                        f"on: {error.message}"
                    )
                    self._ended.wait(EVERY_S)
        finally:
            if not self._ended.is_set():
                self._lose(
                    "the watch ended by a fault of its own: nobody guards the migration; "
                    "interrupt the kernel to cancel it"
                )

    def _lose(self, why: str) -> None:
        self.lost.append(why)
        self.phase.say(why)

    def _look(self, db: Database, started: float) -> None:
        said = 0.0
        while not self._ended.wait(SAMPLE_S):
            found, decided = locks.blockers(db), len(self.guard.decisions)
            harm = self.guard.look(db, found)
            self._transactions |= {
                xid
                for xid, application in writers.at_work(db).items()
                if activity.named(application, self.phase.prisma_name)
            }
            ours = [
                wait
                for wait in found.waits
                if activity.named(wait.session.application, self.phase.prisma_name)
            ]
            self._remember(found, ours, harm)
            for decision in self.guard.decisions[decided:]:
                self.phase.say(str(decision))
            if time.monotonic() - said >= EVERY_S:
                said = time.monotonic()
                self._say(db, said - started, [_waiting(found, wait) for wait in ours], harm)

    def _remember(self, found: locks.Blockers, ours: list[locks.Wait], harm: Harm) -> None:
        """Keep who waits for whom, and the longest wait of each."""
        for who, waits in (("migration", ours), ("others", harm.victims)):
            for wait in waits:
                by = {
                    pid: str(found.sessions.get(pid) or f"process {pid}") for pid in wait.blocked_by
                }
                for pid, held_by in (
                    by | ({0: "a prepared transaction"} if wait.by_prepared_transaction else {})
                ).items():
                    before = self._waits.get(
                        (wait.session.pid, pid, wait.mode, wait.on),
                        {"first_at": stamp(), "waited_s": 0.0},
                    )
                    self._waits[wait.session.pid, pid, wait.mode, wait.on] = {
                        "who": who,
                        "waits": str(wait.session),
                        "by": pid,
                        "held_by": held_by,
                        "mode": wait.mode,
                        "on": wait.on,
                        "first_at": before["first_at"],
                        "last_at": stamp(),
                        "waited_s": max(before["waited_s"], wait.waiting_s or 0.0),
                    }

    def _say(self, db: Database, elapsed: float, waits: list[str], harm: Harm) -> None:
        against = f" of about {self.forecast_s:.1f} s" if self.forecast_s else ""
        steps = [
            str(step)
            for step in activity.progress(db, application_name_prefix=self.phase.prisma_name)
        ]
        at_work = [
            one for one in activity.of_application(db, self.phase.prisma_name) if one.working
        ]
        doing = "; ".join(waits + steps) or (
            f"{at_work[0].command or 'a statement'} running" if at_work else "between statements"
        )
        begun = self._begun(db)
        self.phase.say(
            f"migrating, {elapsed:.0f} s{against}{''.join(f', {name}' for name in begun)}: {doing}"
            + (f"; {harm}" if harm.victims else "")
        )
        if self._view:
            self._view.show(
                [
                    ("elapsed", f"{elapsed:.0f} s{against}"),
                    ("file", ", ".join(begun) or "–"),
                    ("doing", doing),
                    ("others", str(harm)),
                ],
                bool(harm.victims),
            )

    def _begun(self, db: Database) -> list[str]:
        """The file that is being applied.

        None where the migration itself has locked Prisma's table: a name is not worth a wait.
        """
        try:
            return [
                row["migration_name"]
                for row in applied(db, self.phase.target)
                if not row["finished_at"] and not row["rolled_back_at"]
            ]
        except DatabaseError as error:
            if error.sqlstate != "55P03":
                raise
            return []


def _waiting(found: locks.Blockers, wait: locks.Wait) -> str:
    """What the migration waits for, and who is in its way."""
    who = [str(found.sessions.get(pid) or f"process {pid}") for pid in wait.blocked_by] + [
        "a prepared transaction"
    ] * wait.by_prepared_transaction
    return (
        f"waits {wait.waiting_s or 0:.1f} s for {wait.mode} on {wait.on}, held up by "
        f"{'; '.join(who)}"
    )
