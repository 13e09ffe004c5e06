"""What a rehearsal measured.

As evidence for the night and for later runs, against the budgets, and drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from runbook_lib.check import Check, check, unknown
from runbook_lib.params import Params
from runbook_lib.postgres.costs import Costs
from runbook_lib.postgres.disk import Disks
from runbook_lib.postgres.probes import Stalls
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.postgres.timeline import WAITS, Timeline
from runbook_lib.prisma.names import short
from runbook_lib.show import charts, lanes
from runbook_lib.table import Table, size

if TYPE_CHECKING:
    from runbook_lib.phases.rehearse import Rehearse

LINES = 6
"""Probes in the chart of stalls: those that waited longest."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """What the rehearsal measured, in seconds and bytes.

    Args:
        files: seconds by file, by the CLI and under load.
        stalls: of readers and writers, as `postgres.probes` has it.
        statements: what each cost without load, as `postgres.costs` has it; so do the bytes.
        peak_bytes: by how much the database was larger at most: what a commit removes is there
            until then.
    """

    restore_s: float
    migrate_s: float
    files: dict[str, float]
    rollback_s: float
    swap_s: float
    stalls: dict[str, Any]
    statements: list[dict[str, Any]]
    wal_bytes: int
    size_growth_bytes: int
    peak_bytes: int


def rehearsed(look: Callable[[Rehearse], Result]) -> Callable[[Rehearse], Result | Table]:
    """A cell that has nothing to say where a person waived the rehearsal: it says that."""

    @wraps(look)
    def made(phase: Rehearse) -> Result | Table:
        return Table(f"Not rehearsed: {phase.waived}", ("",), []) if phase.waived else look(phase)

    return made


def budgets(found: Measured, params: Params) -> list[Check]:
    """The measured seconds against those that the parameters allow."""
    checks = [
        _budget(
            "migrate",
            "the migration fits its deadline",
            found.migrate_s,
            params.migrate.deadline_s,
            "migrate.deadline_s",
        ),
        _budget(
            "restore",
            "the way back fits the allowed time",
            found.rollback_s,
            params.backup.restore_within_minutes * 60,
            "backup.restore_within_minutes",
        ),
    ]
    if params.migrate.window:
        start, end = params.migrate.window.bounds()
        checks.append(
            _budget(
                "window",
                "migration and way back together fit the window",
                found.migrate_s + found.rollback_s,
                (end - start).total_seconds(),
                "migrate.window",
            )
        )
    return checks


def stall_checks(stalls: Stalls, limit_s: float) -> list[Check]:
    """The longest stall against its budget.

    Tables that had no readers and writers could not be checked.
    """
    worst, title = stalls.worst, "nobody stalls longer than allowed"
    checks = [
        check(
            "forecast.stall",
            title,
            worst is None or worst.longest_s <= limit_s,
            stalls.finding,
            f"at most {limit_s:g} s",
            "no-go: take the safer way that 10_plan names, split the file, or raise "
            "`migrate.max_stall_s`",
        )
    ]
    if stalls.left_out:
        checks.append(
            unknown(
                "forecast.load",
                "every affected table had readers and writers",
                f"too many tables: none on {', '.join(stalls.left_out)}",
                "all of them",
                "raise the server's max_connections, or accept it",
            )
        )
    return checks


def room_check(costs: Costs, disks: Disks) -> Check:
    """Whether the server has room for what the migration writes."""
    title, need = "the server has room for the migration", costs.peak_bytes + costs.wal_bytes
    if costs.failed:
        return unknown("forecast.room", title, f"what it needs was not measured: {costs.failed}")
    needs = (
        f"{size(costs.peak_bytes)} for the database at its largest, {size(costs.wal_bytes)} of WAL"
    )
    if not disks.known:
        return unknown(
            "forecast.room",
            title,
            f"it needs {needs}; {disks.why_unknown}",
            needs,
            "look there, and confirm",
        )
    free = min(disk.free_bytes or 0 for disk in disks)
    return check(
        "forecast.room", title, free >= need, f"{size(free)} free", needs, "no-go: make room"
    )


def stall_chart(stalls: Stalls, limit_s: float) -> Any:
    """How long requests waited, over the migration."""
    worst = [one for one in stalls][:LINES]
    near = bool(worst) and worst[0].longest_s > limit_s / 4
    return charts.stalls(
        stalls.finding,
        {f"{short(one.table)}, {one.kind}": one.samples for one in worst},
        limit=limit_s if near else None,
        over="seconds since the load began",
    )


def lock_chart(found: Timeline) -> Any:
    """Which tables were locked from when to when, and who waited meanwhile."""
    lines: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for span in found:
        waiting = span.what == WAITS
        said = (
            f"{span.who} waits for {', '.join(span.behind) or 'nobody seen'}"
            if waiting
            else f"{span.who} holds {span.mode.removesuffix('Lock')}"
        )
        label = f"{short(span.table)}: {said}"
        lines.setdefault((label, waiting), []).append((span.start_s, span.end_s))
    return lanes.lanes(
        found.finding,
        found.table(),
        [lanes.Lane(label, tuple(bars), waiting) for (label, waiting), bars in lines.items()],
        "seconds since the first look",
    )


def size_chart(before: Snapshot, after: Snapshot) -> Any:
    """The tables whose size changed, before and after."""
    pairs = {
        name: (_mebibytes(before, name), _mebibytes(after, name))
        for name in {**before.tables, **after.tables}
    }
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    total = after.database_bytes - before.database_bytes
    title = (
        f"The copy is {size(abs(total))} {'larger' if total >= 0 else 'smaller'} after the "
        f"migration; {len(changed)} tables changed in size"
    )
    return charts.before_after(
        title,
        list(map(short, changed)),
        [pair[0] for pair in changed.values()],
        [pair[1] for pair in changed.values()],
        "MiB",
    )


def duration_chart(found: Measured) -> Any:
    """What each step took."""
    steps = {
        **{f"apply {name}": seconds for name, seconds in found.files.items()},
        "restore": found.restore_s,
        "way back": found.rollback_s,
    }
    return charts.durations(
        f"The migration took {found.migrate_s:.1f} s on the copy, the way back "
        f"{found.rollback_s:.1f} s",
        steps,
    )


def _mebibytes(shot: Snapshot, table: str) -> float | None:
    return shot.tables[table].total_bytes / 2**20 if table in shot.tables else None


def _budget(name: str, title: str, seconds: float, limit: float, key: str) -> Check:
    return check(
        f"forecast.{name}",
        title,
        seconds <= limit,
        f"{seconds:.1f} s",
        f"at most {limit:.0f} s",
        f"no-go: raise `{key}` or split the migration",
    )
