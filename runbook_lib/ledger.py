"""All runs of an archive: filtered, sorted, compared over time and across environments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from runbook_lib.errors import UsageError
from runbook_lib.history import Entry, entry, minutes
from runbook_lib.run import runs
from runbook_lib.table import Table

SORTS = ("started", "duration", "downtime", "environment", "outcome", "migration", "engineer")
"""What the runs can be sorted by."""
OUTCOMES = ("running", "waiting", "succeeded", "failed", "rolled_back", "aborted", "unknown")
"""How a run can stand."""
_MARKS = {"succeeded": "good", "failed": "bad", "aborted": "bad", "rolled_back": "unknown"}


@dataclass(frozen=True)
class Filter:
    """Which runs are shown; what is empty excludes none.

    Args:
        since: a day, YYYY-MM-DD, UTC.
        migration: a part of a migration's name.

    Raises:
        UsageError: an outcome or a day that there is not.
    """

    environment: str = ""
    outcome: str = ""
    since: str = ""
    migration: str = ""

    def __post_init__(self) -> None:
        if self.outcome and self.outcome not in OUTCOMES:
            raise UsageError(
                f"there is no outcome {self.outcome!r}", "one of " + ", ".join(OUTCOMES)
            )
        if self.since and not re.fullmatch(r"\d{4}-\d\d-\d\d", self.since):
            raise UsageError(f"{self.since!r} is no day", "write it as YYYY-MM-DD")

    def has(self, one: Entry) -> bool:
        """Whether a run is among them."""
        return (
            self.environment in ("", one.environment)
            and self.outcome in ("", one.outcome)
            and one.date >= self.since
            and (not self.migration or any(self.migration in name for name in one.migrations))
        )


def entries(archive: Path, chosen: Filter | None = None, sort: str = "started") -> list[Entry]:
    """Return the entries of an archive's runs, newest first.

    Or by what they are to be sorted by, largest and latest first.

    Raises:
        UsageError: they cannot be sorted by that.
    """
    if sort not in SORTS:
        raise UsageError(f"runs are not sorted by {sort!r}", "one of " + ", ".join(SORTS))
    found = [one for run in reversed(runs(archive)) if (chosen or Filter()).has(one := entry(run))]
    if sort in ("duration", "downtime"):
        return sorted(found, key=lambda one: -(getattr(one, f"{sort}_s") or 0.0))
    if sort == "started":
        return found
    return sorted(
        found, key=lambda one: one.migrations[-1:] if sort == "migration" else getattr(one, sort)
    )


def table(found: Sequence[Entry]) -> Table:
    """Runs as rows, in the order that is given."""
    rows = [
        (
            one.started_at[:16].replace("T", " "),
            one.environment,
            one.outcome,
            _last(one.migrations),
            one.engineer,
            one.duration_s,
            one.downtime_s,
            "yes" if one.rollback else "no",
            one.run_id,
        )
        for one in found
    ]
    return Table(
        _finding(found),
        (
            "began (UTC)",
            "environment",
            "outcome",
            "last migration",
            "engineer",
            "duration (s)",
            "downtime (s)",
            "rolled back",
            "run",
        ),
        rows,
        [_MARKS.get(one.outcome, "") for one in found],
    )


def forecasts(found: Iterable[Entry]) -> Table:
    """What the migration was to take and took, for runs of which both are known, newest first."""
    rows = [
        (
            one.started_at[:16].replace("T", " "),
            one.environment,
            _last(one.migrations),
            one.forecast_s,
            one.migrate_s,
            one.migrate_s / one.forecast_s,
        )
        for one in found
        if one.forecast_s and one.migrate_s is not None
    ]
    middle = (
        f": they took {median(row[-1] for row in rows):.1f} × the forecast (median)" if rows else ""
    )
    return Table(
        f"Forecast against actual in {len(rows)} runs{middle}",
        (
            "began (UTC)",
            "environment",
            "last migration",
            "forecast (s)",
            "actual (s)",
            "actual / forecast",
        ),
        rows,
    )


def rollbacks(found: Iterable[Entry]) -> Table:
    """The runs that were led back, and what had gone wrong."""
    led_back = [one for one in found if one.rollback]
    rows = [
        (
            one.started_at[:16].replace("T", " "),
            one.environment,
            _last(one.migrations),
            one.issues,
            one.lessons or "none recorded",
        )
        for one in led_back
    ]
    return Table(
        f"{len(rows)} rolled back",
        ("began (UTC)", "environment", "last migration", "what had gone wrong", "lessons"),
        rows,
        ["unknown"] * len(rows),
    )


def across(found: Iterable[Entry], migrations: Iterable[str]) -> Table:
    """The newest run of each environment that had one of these migrations."""
    wanted, newest = set(migrations), dict[str, Entry]()
    for one in sorted(found, key=lambda one: (one.number, one.run_id)):
        if wanted & set(one.migrations):
            newest[one.environment] = one
    rows = [
        (
            one.environment,
            one.started_at[:16].replace("T", " "),
            one.outcome,
            len(wanted & set(one.migrations)),
            one.migrate_s,
            minutes(one.duration_s),
            one.downtime,
            "yes" if one.rollback else "no",
            one.run_id,
        )
        for one in newest.values()
    ]
    return Table(
        f"These migrations in {len(rows)} environment{'s' if len(rows) != 1 else ''}",
        (
            "environment",
            "began (UTC)",
            "outcome",
            "of these migrations",
            "migration (s)",
            "duration",
            "downtime",
            "rolled back",
            "run",
        ),
        rows,
        [_MARKS.get(one.outcome, "") for one in newest.values()],
    )


def _finding(found: Sequence[Entry]) -> str:
    led_back = sum(one.rollback for one in found)
    return f"{len(found)} run{'s' if len(found) != 1 else ''}" + (
        f", {led_back} rolled back" if led_back else ""
    )


def _last(migrations: tuple[str, ...]) -> str:
    return (
        migrations[-1] + (f" (+{len(migrations) - 1})" if len(migrations) > 1 else "")
        if migrations
        else "–"
    )
