"""What the night will take.

The rehearsal's figures, corrected by how the runs before came out against theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from runbook_lib.check import Check, Checks, attempt, check, unknown
from runbook_lib.errors import UsageError
from runbook_lib.gate import plan_hash
from runbook_lib.params import Params
from runbook_lib.phases.base import Phase
from runbook_lib.run import Run, earlier
from runbook_lib.show import charts
from runbook_lib.table import Shown, Table, size

RUNS = 10
"""So many past runs are learned from, the newest."""
_ROOM = "the server's disk has room for WAL and growth"


ENOUGH = 3
"""So many past runs it takes to forecast less than the rehearsal measured."""


@dataclass(frozen=True)
class Correction:
    """How past runs came out against what their rehearsal had said.

    Args:
        ratios: actual by rehearsed, oldest first.
        of: which runs those are.
    """

    ratios: tuple[float, ...] = ()
    of: str = ""

    @property
    def factor(self) -> float:
        """What the rehearsal's figure is multiplied by.

        1 where nothing is known, and never less by fewer runs than `ENOUGH`.
        """
        if not self.ratios:
            return 1.0
        return median(self.ratios) if self._enough else max(1.0, *self.ratios)

    @property
    def _enough(self) -> bool:
        return len(self.ratios) >= ENOUGH

    def span(self, rehearsed: float) -> tuple[float, float] | None:
        """From which figure to which, as past runs came out, the rehearsal's own among them.

        `None` where none is known.
        """
        if not self.ratios:
            return None
        known = self.ratios if self._enough else (1.0, *self.ratios)
        return rehearsed * min(known), rehearsed * max(known)

    def __str__(self) -> str:
        if not self.ratios:
            return "no past run to learn from: the rehearsal's figure stands as it is"
        many = len(self.ratios)
        spread = f" (from {min(self.ratios):.1f} to {max(self.ratios):.1f})" if many > 1 else ""
        what = f"the last {many} runs{self.of} took" if many > 1 else f"the last run{self.of} took"
        if self._enough:
            return f"{what} {self.factor:.1f} × what the rehearsal had said{spread}"
        took = spread.strip(" ()") if many > 1 else f"{self.ratios[0]:.1f}"
        stands = "" if self.factor > 1 else ": too few to forecast less than the rehearsal"
        return (
            f"{what} {took} × what the rehearsal had said{stands or '; the longest counts'} "
            f"({many} of the {ENOUGH} runs that it takes)"
        )


@dataclass(frozen=True)
class Forecast(Shown):
    """What the night will take.

    Args:
        migrate_s, restore_s: seconds of the migration and of the way back, corrected.
        downtime_s: from maintenance mode to back in service; None where no past run tells what is
            around the migration.
        around_s: the downtime of past runs beside the migration itself: proving, validating,
            deploying the client.
        rehearsed_migrate_s, rehearsed_restore_s: as the rehearsal measured them.
        migration, way_back: the corrections.
        wal_bytes, growth_bytes: that the rehearsal wrote and grew by; None where it did not measure
        them.
    """

    migrate_s: float
    restore_s: float
    downtime_s: float | None
    around_s: tuple[float, ...]
    rehearsed_migrate_s: float
    rehearsed_restore_s: float
    migration: Correction = field(default_factory=Correction)
    way_back: Correction = field(default_factory=Correction)
    wal_bytes: int | None = None
    growth_bytes: int | None = None

    @property
    def disk_bytes(self) -> int | None:
        """What the server's disk must have free, all WAL kept.

        None where the rehearsal did not measure it.
        """
        if self.wal_bytes is None or self.growth_bytes is None:
            return None
        return self.wal_bytes + max(0, self.growth_bytes)

    @property
    def closed_s(self) -> float:
        """The migration with what is around it, where that is known."""
        return self.downtime_s if self.downtime_s is not None else self.migrate_s

    @property
    def downtime_span(self) -> tuple[float, float] | None:
        """From which downtime to which.

        That of the migration, and the least and the most that was around it.
        """
        migration = self.migration.span(self.rehearsed_migrate_s)
        if not self.around_s or not migration:
            return None
        return migration[0] + min(self.around_s), migration[1] + max(self.around_s)

    def table(self) -> Table:
        """The figures, and where each comes from."""
        around = "no past run tells what is around the migration"
        if self.around_s:
            runs = f"{len(self.around_s)} past run{'s' * (len(self.around_s) > 1)}"
            around = f"the migration, and around it {_around_of(self.around_s):.1f} s as in {runs}"
        needs = "the rehearsal did not measure it"
        if self.disk_bytes is not None:
            needs = (
                f"WAL and growth in the rehearsal: {size(self.wal_bytes)} and "
                f"{size(self.growth_bytes)}"
            )
        rows = [
            (
                "migration",
                f"{self.rehearsed_migrate_s:.1f} s",
                f"{self.migrate_s:.1f} s",
                _span(self.migration.span(self.rehearsed_migrate_s)),
                str(self.migration),
            ),
            (
                "downtime",
                None,
                None if self.downtime_s is None else f"{self.downtime_s:.1f} s",
                _span(self.downtime_span),
                around,
            ),
            (
                "way back",
                f"{self.rehearsed_restore_s:.1f} s",
                f"{self.restore_s:.1f} s",
                _span(self.way_back.span(self.rehearsed_restore_s)),
                str(self.way_back),
            ),
            ("disk", size(self.disk_bytes), size(self.disk_bytes), None, needs),
        ]
        return Table(
            f"Forecast: {self.migrate_s:.1f} s for the migration, {self.restore_s:.1f} s for the "
            "way back",
            ("what", "rehearsed", "forecast", "range", "because"),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {
            "factor": self.migration.factor,
            "migrate_span_s": self.migration.span(self.rehearsed_migrate_s),
            "restore_span_s": self.way_back.span(self.rehearsed_restore_s),
            "downtime_span_s": self.downtime_span,
            "correction": str(self.migration),
            "disk_bytes": self.disk_bytes,
        }

    def checks(self, params: Params, free_bytes: Callable[[], int | None]) -> Checks:
        """Go or no-go against the budgets.

        Args:
            free_bytes: asks the server's disk; gives None where it cannot be seen.
        """
        found = [
            check(
                id,
                f"{what}: within what it may take",
                seconds <= limit,
                f"{seconds:.1f} s",
                f"at most {limit:.0f} s",
                f"no-go: raise `{key}`, or split the migration",
            )
            for id, what, seconds, limit, key in self._budgets(params)
            if limit is not None
        ]
        if self.disk_bytes is not None:
            found.append(attempt("forecast.disk", _ROOM, lambda: self._disk(free_bytes())))
        return Checks("Go or no-go, corrected by past runs", found)

    def chart(self, params: Params) -> Any:
        """Forecast against window and budgets."""
        budgets = self._budgets(params)
        over = [
            what for _, what, seconds, limit, _ in budgets if limit is not None and seconds > limit
        ]
        whole = budgets[-1]
        fits = (
            f"The forecast of {whole[2]:.1f} s fits "
            f"{'the window' if whole[3] else 'the budgets; no window is set'}"
        )
        title = f"No-go: longer than it may take: {', '.join(over)}" if over else fits
        return charts.durations(
            title,
            {what: seconds for _, what, seconds, _, _ in budgets},
            {what: limit for _, what, _, limit, _ in budgets if limit is not None},
        )

    def _budgets(self, params: Params) -> list[tuple[str, str, float, float | None, str]]:
        """Return what takes how long, how long it may take, and the parameter that says so.

        The limit is None if nothing limits it. The whole comes last.
        """
        window = params.migrate.window
        open_s = window.bounds()[1].timestamp() - window.bounds()[0].timestamp() if window else None
        return [
            (
                "forecast.migrate",
                "migration",
                self.migrate_s,
                params.migrate.deadline_s,
                "migrate.deadline_s",
            ),
            (
                "forecast.restore",
                "way back",
                self.restore_s,
                params.backup.restore_within_minutes * 60,
                "backup.restore_within_minutes",
            ),
            (
                "forecast.window",
                "downtime and way back",
                self.closed_s + self.restore_s,
                open_s,
                "migrate.window",
            ),
        ]

    def _disk(self, free: int | None) -> Check:
        needed = self.disk_bytes or 0
        if free is None:
            return unknown(
                "forecast.disk",
                _ROOM,
                "the server's disk cannot be seen from here",
                size(needed),
                "look at it where it can be seen; then approve the gate `preflight`",
            )
        return check(
            "forecast.disk",
            _ROOM,
            free >= needed,
            f"{size(free)} free",
            f"at least {size(needed)}",
            "no-go: make room",
        )


@dataclass(frozen=True)
class NoForecast(Shown):
    """Stands for a forecast where a person decided to go on without a rehearsal.

    Args:
        why: no rehearsal could be made.
    """

    why: str

    def table(self) -> Table:
        """Say that there is none."""
        return Table(f"No forecast: there was no rehearsal ({self.why})", ("",), [])

    def checks(self, params: Params, free: Callable[[], int | None]) -> Checks:
        """Ask a person: how long it takes and what it needs could not be checked."""
        return Checks(
            "Go or no-go",
            [
                unknown(
                    "forecast.made",
                    "what the night takes was forecast",
                    f"there was no rehearsal: {self.why}",
                    "a forecast",
                    "estimate it by the size of the tables that the plan rewrites; then approve "
                    "the gate",
                )
            ],
        )

    def chart(self, params: Params) -> Table:
        """Show the same in the place of the chart."""
        return self.table()

    def as_dict(self) -> dict[str, Any]:
        """Hold no figure."""
        return {}


def forecast(phase: Phase) -> Forecast | NoForecast:
    """The rehearsal's figures, corrected by the archive.

    Where a person waived the rehearsal, that there are none.

    Raises:
        UsageError: there was no rehearsal, and nobody waived it.
    """
    rehearsed = phase.run.read_evidence("rehearsal", missing=None)
    waived = phase.run.read_evidence("rehearse.waived", missing=None)
    if rehearsed is None and waived is not None and waived["plan"] == plan_hash(phase.run):
        return NoForecast(waived["why"])
    if rehearsed is None:
        raise UsageError("there is no rehearsal to forecast from", "run 20_rehearse")
    past, of = _past(phase.run)
    migration, way_back = (
        Correction(_ratios(past, _migration), of),
        Correction(_ratios(past, _way_back), of),
    )
    around = tuple(seconds for run in past if (seconds := _around(run)) is not None)
    migrate_s = rehearsed["migrate_s"] * migration.factor
    return Forecast(
        migrate_s,
        rehearsed["rollback_s"] * way_back.factor,
        migrate_s + _around_of(around) if around else None,
        around,
        rehearsed["migrate_s"],
        rehearsed["rollback_s"],
        migration,
        way_back,
        rehearsed.get("wal_bytes"),
        rehearsed.get("size_growth_bytes"),
    )


def _past(run: Run) -> tuple[list[Run], str]:
    """The newest runs before this one that migrated: of this environment, else of any."""
    others = [
        other
        for other in earlier(run)
        if other.has_evidence("migration") and other.has_evidence("rehearsal")
    ]
    same = [other for other in others if other.state["environment"] == run.state["environment"]]
    return (same or others)[-RUNS:], "" if same or not others else " (of other environments)"


def _ratios(
    past: Sequence[Run], measured: Callable[[Run], tuple[float, float] | None]
) -> tuple[float, ...]:
    pairs = [pair for run in past if (pair := measured(run))]
    return tuple(round(actual / said, 3) for said, actual in pairs if said > 0)


def _migration(run: Run) -> tuple[float, float] | None:
    done, rehearsed = run.read_evidence("migration"), run.read_evidence("rehearsal")
    return (rehearsed["migrate_s"], done["seconds"]) if done["applied"] else None


def _way_back(run: Run) -> tuple[float, float] | None:
    """The restore that proved the night's backup, against the rehearsal's."""
    rehearsed, backup = run.read_evidence("rehearsal"), run.read_evidence("backup", missing={})
    return (rehearsed["restore_s"], backup["restore_s"]) if backup.get("restore_s") else None


def _around_of(seconds: Sequence[float]) -> float:
    """What is around the migration, as past runs had it.

    The most of a few, the median of enough.
    """
    return median(seconds) if len(seconds) >= ENOUGH else max(seconds)


def _span(found: tuple[float, float] | None) -> str:
    return "not known" if found is None else f"{found[0]:.1f} to {found[1]:.1f} s"


def _around(run: Run) -> float | None:
    """The downtime beside the migration."""
    down = run.state["downtime_s"]
    return (
        None
        if down is None or run.outcome != "succeeded"
        else round(max(0.0, down - run.read_evidence("migration")["seconds"]), 1)
    )
