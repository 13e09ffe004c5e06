"""The migration, attempt by attempt.

`prisma migrate deploy` under watch, and again only where that is proven to be safe.
"""

from __future__ import annotations

import time
from typing import Any

from runbook_lib.check import Status
from runbook_lib.errors import DatabaseError, beside
from runbook_lib.phases import declared
from runbook_lib.phases.base import Phase
from runbook_lib.phases.cause import Cause
from runbook_lib.phases.plan import window_check
from runbook_lib.phases.start import applied
from runbook_lib.phases.watch import Watch
from runbook_lib.postgres import catalog, locks, snapshot
from runbook_lib.postgres.connection import reach
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.prisma import cli, history
from runbook_lib.prisma.declared import Declared
from runbook_lib.prisma.effect import Change
from runbook_lib.prisma.transactions import Level

BY_GUARD = Cause.GUARD.value
"""The cause of a failure that the guard brought about."""
_STOPPED = ("", "57014", "57P01")
"""How a statement fails that is cancelled, or whose session is ended: without a SQLSTATE where the
connection is gone.
"""


class Attempts:
    """Deploy; try again after growing pauses if the guard cancelled it.

    Only if nothing of the cancelled file landed.

    Args:
        phase: whose database and project it is.
        forecast_s: how long the rehearsal took.
    """

    def __init__(self, phase: Phase, forecast_s: float | None) -> None:
        self.phase, self.forecast_s = phase, forecast_s
        self.limits = phase.params.migrate
        self.number = 0
        self.watch: Watch

    def blockers(self) -> list[str]:
        """Who was in the way of the newest attempt; nobody where none was begun."""
        return self.watch.blockers() if self.number else []

    def deploy(self) -> cli.Deployed:
        """Deploy.

        Raises:
            MigrationFailed: with its cause, where the guard was it.
        """
        began = time.monotonic()
        while True:
            try:
                done = self._attempt(began)
            except KeyboardInterrupt as interrupt:
                with beside(interrupt, "recording the attempt"):
                    self._record("interrupted")
                raise
            except cli.MigrationFailed as error:
                if self.watch.guard.decisions and error.sqlstate in _STOPPED:
                    error.cause = BY_GUARD
                pause = self.limits.guard.pause_s * 2 ** (self.number - 1)
                why_not = self._why_not_again(error, pause, began)
                with beside(error, "recording the attempt"):
                    self._record(
                        "failed", sqlstate=error.sqlstate, cause=error.cause, not_again=why_not
                    )
                if why_not or hasattr(
                    error, "__notes__"
                ):  # without a record, nothing is tried again
                    raise
                self._settle()
                time.sleep(pause)
            else:
                self._record("succeeded", seconds=round(done.seconds, 1))
                return done

    def _attempt(self, began: float) -> cli.Deployed:
        self.number += 1
        left = self.limits.deadline_s - (time.monotonic() - began)
        with Watch(self.phase, self.forecast_s) as self.watch:
            try:
                return cli.deploy(
                    self.phase.project,
                    self.phase.prisma_url,
                    timeout_s=left,
                    on_line=self.phase.say,
                )
            finally:
                self._nothing_left_behind()

    def _nothing_left_behind(self) -> None:
        """End what the CLI may have left on the server.

        After a kill, the server would go on and commit.
        """
        try:
            with reach(
                self.phase.target, f"{self.phase.application_name}-watch", statement_timeout="5s"
            ) as db:
                done = locks.cancel(db, self.phase.prisma_name)
        except DatabaseError as error:
            self.phase.say(
                "whether the migration still works on the server is not known, it does not "
                f"answer: {error.message}"
            )
            return
        if done.cancelled or done.ended:
            self.phase.say(
                "stopped on the server: sessions "
                f"{', '.join(map(str, {*done.cancelled, *done.ended}))}"
            )

    def _record(self, outcome: str, **facts: Any) -> None:
        decisions = [one.as_dict() for one in self.watch.guard.decisions]
        worst = self.watch.guard.worst
        self.phase.run.journal(
            "attempt ended",
            number=self.number,
            outcome=outcome,
            **facts,
            guard=decisions,
            most_victims=len(worst.victims),
            longest_wait_s=round(worst.longest_s, 1),
        )

    def _why_not_again(self, error: cli.MigrationFailed, pause: float, began: float) -> str:
        """Why it is not tried again; empty where it is."""
        if error.cause != BY_GUARD:
            return "only what the guard cancelled is tried again"
        if self.number > self.limits.guard.retries:
            return f"it was tried again {self.limits.guard.retries} times (`migrate.guard.retries`)"
        if time.monotonic() - began + pause >= self.limits.deadline_s:
            return "the deadline leaves no time for it"
        if window_check(self.phase, opening=True).status is Status.FAILED:
            return "the maintenance window is over"
        try:
            return not_proven(self.phase)
        except DatabaseError as unseen:
            return f"whether anything landed could not be seen: {unseen.message}"

    def _settle(self) -> None:
        """Close Prisma's record of the file, of which nothing landed."""
        name = _history(self.phase).failed[0]
        cli.resolve(self.phase.project, self.phase.prisma_url, rolled_back=name)
        self.phase.run.journal(
            "resolved",
            files=[name],
            marked="rolled back",
            proof="whole by plan; catalogue and content unchanged",
        )
        self.phase.say(
            f"nothing of {name} landed; attempt {self.number + 1} of "
            f"{self.limits.guard.retries + 1} follows after a pause"
        )


def not_proven(phase: Phase) -> str:
    """Why it is not proven that nothing of the one unfinished file landed.

    Empty where it is: by the plan, the catalogue and the content.
    """
    found = _history(phase)
    review, before = (
        phase.run.read_evidence("plan.review", missing=None),
        phase.run.read_evidence("before.catalog", missing=None),
    )
    if len(found.failed) != 1:
        return f"{len(found.failed)} files are unfinished"
    if review is None or before is None:
        return "there is no plan, or no state from before, to hold it against"
    name = found.failed[0]
    statements = [one for one in review["statements"] if one["file"] == name]
    whole = any(
        (one["file"], one["level"]) == (name, Level.WHOLE.value) for one in review["atomicity"]
    )
    if not whole or any(one["unclear"] for one in statements):
        return f"by the plan, it cannot be told that {name} rolls back whole"
    own, finished = (
        _declared([one for one in review["statements"] if one["file"] in files])
        for files in ((name,), found.applied)
    )
    changes = catalog.difference(catalog.Catalog.from_dict(before), catalog.read(phase.db)).changes
    landed = [
        str(change) for change in changes if _covers(own, change) or not _covers(finished, change)
    ]
    if landed:
        return f"the catalogue changed: {'; '.join(landed[:3])}"
    return _changed_content(phase, {rows["table"] for one in statements for rows in one["rows"]})


def _history(phase: Phase) -> history.History:
    return history.compare(history.files(phase.project), applied(phase.db, phase.target))


def _declared(statements: list[dict[str, Any]]) -> Declared:
    return Declared(
        tuple(Change(**change) for one in statements for change in one["changes"]), {}, ()
    )


def _covers(what: Declared, change: catalog.Change) -> bool:
    return what.covers(change.kind, change.name, change.action, change.before, change.after)


def _changed_content(phase: Phase, tables: set[str]) -> str:
    """Which of these tables do not hold what they held before the migration.

    Those that are not there hold nothing.
    """
    stored = phase.run.read_evidence("before.snapshot", missing=None)
    if not tables:
        return ""
    if stored is None:
        return "there is no content from before to hold it against"
    before = snapshot.Snapshot.from_dict(stored)
    there = sorted(tables & before.tables.keys())
    after = snapshot.take(
        phase.target,
        phase.application_name,
        tables=there,
        columns=before.columns(),
        method=Method(before.method),
    )
    changed = [item.name for item in declared.differing(before, after) if item.name in tables]
    return f"the content of {', '.join(changed)} is not that of before" if changed else ""
