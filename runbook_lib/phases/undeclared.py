"""Undeclared differences: where they lie, and whether the application can have written them.

The rule: three moments are known by content, the backup, the state before (when nothing wrote any
more) and now. What differs between backup and state before is the application's: no migration had
begun. What differs from then on is declared by the plan, or it is undeclared and fails, where
maintenance mode was proven and is still on. Without that proof only PostgreSQL's counters tell: a
difference with at least as many rows written since the backup may be the application's, and a
person must look; one with fewer is undeclared. Neither is ever taken for fine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runbook_lib.check import Check, Status
from runbook_lib.phases import declared
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.declared import Content, Judged, Verdict
from runbook_lib.phases.past import narrowed
from runbook_lib.postgres import statistics
from runbook_lib.postgres.comparison import Compared, Outcome
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.service import maintenance
from runbook_lib.table import text

Written = Mapping[str, Mapping[str, int]] | None
"""Table → rows inserted, updated, deleted; `None` where that is not known."""
LAG_S = 12.0
"""Seconds after which a session has reported what it wrote, at the latest."""
ROWS = (Outcome.ROWS, Outcome.CONTENT)
PROOF = {"maintenance.health", "writes.stopped"}
"""The checks of 50_announce that prove maintenance mode: the application says so, and no writing
transaction ended on the server.
"""


@dataclass(frozen=True)
class Counted:
    """What the server's counters say was written.

    Args:
        tables: table → rows inserted, updated, deleted since the backup; `None` where that is not
            known.
        earlier: the same, up to the state before.
        meanwhile: the same, from there to the end of the migration: its own among them.
    """

    tables: Written
    earlier: Written = None
    meanwhile: Written = None

    def explains(self, item: Judged, mixed: bool) -> bool:
        """Whether at least as many rows were written as differ.

        Args:
            mixed: whether where it lies also tells of rows that were written before.
        """
        one = (self.tables or {}).get(item.found.name, {})
        inserted, updated, deleted = (
            one.get(action, 0) for action in ("inserted", "updated", "deleted")
        )
        where, more = item.where, (item.found.after or 0) - (item.found.before or 0)
        if where and where.exact and not mixed and (where.missing or where.added or where.changed):
            return (
                where.missing <= deleted + updated
                and where.added <= inserted + updated
                and where.changed <= updated + inserted
            )
        return inserted >= more and deleted >= -more and bool(one)

    def words(self, table: str) -> str:
        """The same of one table, for people."""
        if self.tables is None:
            return "the server's counters began anew since the backup, or there are none of it"
        since = f"by the server's counters since the backup: {_counts(self.tables, table)}"
        return since + (
            f"; of these while the migration was at work: {_counts(self.meanwhile, table)}"
            if table in (self.meanwhile or {})
            else ""
        )


def looked_into(phase: Phase, content: Content, before: Snapshot) -> Content:
    """Return the same comparison, each undeclared difference with where it lies.

    It is told apart from what the application wrote.

    Where nothing differs, nothing is asked.
    """
    made = load_backup(phase) if phase.run.has_evidence("backup") else None
    earlier = declared.differing(made.snapshot, before) if made else ()
    wrong = [
        item
        for item in content.having(Verdict.UNDECLARED)
        if item.found.kind == "table" and item.found.outcome in ROWS
    ]
    if not wrong and not earlier:
        return content
    written = {item.name for item in earlier}
    where = narrowed(phase, [item.found for item in wrong], written)
    wrong = [replace(item, where=where[item.found.name]) for item in wrong]
    doubt = unproven(phase)
    counted = _counted(phase, wrong if doubt else [], written)
    judged = {
        item.found.name: _told_apart(item, doubt, counted, item.found.name in written)
        for item in wrong
    }
    items = tuple(
        judged.get(item.found.name, item) if item.found.kind == "table" else item
        for item in content.items
    )
    return Content(items, tuple(_earlier(item, doubt, counted) for item in earlier))


def unproven(phase: Phase) -> str:
    """Why it is not proven that nobody but the migration could write since the state before.

    Empty where it is.
    """
    proof = phase.run.read_evidence("announce.proof", missing=[])
    passed = {item["id"] for item in proof if item["status"] == Status.PASSED.value}
    if PROOF - passed or any(
        item["status"] in (Status.FAILED.value, Status.UNKNOWN.value) for item in proof
    ):
        return "maintenance mode was not proven"
    says = _maintenance(phase)
    return (
        ""
        if says.status is not Status.FAILED
        else f"maintenance mode was proven, and is off by now: {says.found}"
    )


def _maintenance(phase: Phase) -> Check:
    """What the application says now; no write is tried."""
    application = Application(phase)
    section = application.service.maintenance
    assert section is not None
    says, *_ = maintenance.seen(
        phase.params.service_url(),
        application.service.health,
        True,
        key=section.health_key,
        token=application.token,
        within_s=1,
    )
    return says


def _told_apart(item: Judged, doubt: str, counted: Counted, mixed: bool) -> Judged:
    if not doubt:
        return item
    why = f"{doubt}; {counted.words(item.found.name)}"
    if counted.tables is None:
        return replace(item, verdict=Verdict.BLIND, allowed=why)
    return (
        replace(item, verdict=Verdict.WROTE, allowed=why) if counted.explains(item, mixed) else item
    )


def _earlier(found: Compared, doubt: str, counted: Counted) -> Judged:
    """What differs between backup and state before: the application's rows.

    Anything else somebody has to explain.
    """
    if found.outcome not in ROWS or found.kind == "sequence":
        return Judged(
            found, "between backup and maintenance mode, and not by writing rows", Verdict.BLIND
        )
    when = (
        "between backup and maintenance mode; by the server's counters then: "
        f"{_counts(counted.earlier, found.name)}"
    )
    return (
        Judged(found, f"{when}; {doubt}", Verdict.WROTE)
        if doubt
        else Judged(found, when, Verdict.EARLIER)
    )


def _counted(phase: Phase, wrong: Sequence[Judged], written: set[str]) -> Counted:
    """Return the counters since the backup, read until they explain what differs.

    Or until every session must have reported.
    """
    backup, before, after = (_statistics(phase, name) for name in ("backup", "before", "migrated"))
    then = backup or before
    earlier, meanwhile = (
        statistics.written(one, other) if one and other else None
        for one, other in ((backup, before), (before, after))
    )
    until = time.monotonic() + LAG_S
    while True:
        now = statistics.written(then, statistics.read(phase.db)) if then else None
        found = Counted(now, earlier, meanwhile)
        if (
            now is None
            or time.monotonic() > until
            or all(found.explains(item, item.found.name in written) for item in wrong)
        ):
            return found
        time.sleep(1)


def _statistics(phase: Phase, name: str) -> statistics.Statistics | None:
    found = phase.run.read_evidence(f"{name}.statistics", missing=None)
    return None if found is None else statistics.Statistics.from_dict(found)


def _counts(written: Written, table: str) -> str:
    if written is None:
        return "not known"
    return (
        ", ".join(f"{text(count)} {action}" for action, count in written.get(table, {}).items())
        or "nothing"
    )
