"""The migration history: one entry a run, filled in from the run and not by hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runbook_lib.run import LOOKING, Run, moment, runs
from runbook_lib.table import Shown, Table


@dataclass(frozen=True)
class Entry(Shown):
    """What the history keeps of one migration.

    Args:
        duration_s, downtime_s: seconds; `None` where it was not measured.
        changes: one line a change of the catalogue.
        issues: one line a failed check or error.
    """

    run_id: str
    migrations: tuple[str, ...]
    date: str
    environment: str
    engineer: str
    outcome: str
    duration_s: float | None
    downtime_s: float | None
    changes: tuple[str, ...]
    issues: tuple[str, ...]
    rollback: bool
    lessons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    def table(self) -> Table:
        """The entry in the order of the runbook's template."""
        rows = [
            ("Migration", ", ".join(self.migrations)), ("Date (UTC)", self.date), ("Environment", self.environment),
            ("Engineer", self.engineer), ("Duration", minutes(self.duration_s)),
            ("Downtime", minutes(self.downtime_s) if self.downtime_s is not None else "not measured (no maintenance mode configured)"),
            *(("Change made", line) for line in self.changes or ("none",)),
            *(("Issue encountered", line) for line in self.issues or ("none",)),
            ("Rollback required", "yes" if self.rollback else "no"),
            *(("Lesson learned", line) for line in self.lessons or ("none recorded",)),
        ]
        return Table(f"History entry: {'as far as the run has come' if self.outcome == 'running' else self.outcome}", ("", ""), rows)


def entry(run: Run) -> Entry:
    """The entry of a run, as far as it has come."""
    state, journal = run.state, run.read_journal()
    last = journal[-1]["at"] if journal else state["started_at"]
    duration = state["duration_s"]
    if duration is None:
        duration = round((moment(last) - moment(state["started_at"])).total_seconds(), 1)
    return Entry(
        run_id=run.id, migrations=tuple(state["migrations"]), date=state["started_at"][:10], environment=state["environment"],
        engineer=state["engineer"], outcome=state["outcome"], duration_s=duration, downtime_s=state["downtime_s"],
        changes=_changes(run), issues=_issues(state),
        rollback=any(phase["phase"] == "rollback" and phase["status"] == "succeeded" and phase.get("effect", True)
                     for phase in state["phases"]) and state["outcome"] == "rolled_back",
        lessons=tuple(line["text"] for line in journal if line["what"] == "lessons learned"),
    )


def table(archive: Path) -> Table:
    """All runs of an archive, newest first."""
    entries = [entry(run) for run in reversed(runs(archive))]
    rows = [(e.date, e.environment, e.outcome, _last(e.migrations), e.engineer, e.duration_s, e.downtime_s, "yes" if e.rollback else "no")
            for e in entries]
    marks = [{"succeeded": "good", "failed": "bad", "rolled_back": "unknown"}.get(e.outcome, "") for e in entries]
    return Table(f"{len(rows)} runs", ("date (UTC)", "environment", "outcome", "last migration", "engineer", "duration (s)", "downtime (s)", "rolled back"),
                 rows, marks)


def _last(migrations: tuple[str, ...]) -> str:
    return migrations[-1] + (f" (+{len(migrations) - 1})" if len(migrations) > 1 else "") if migrations else "–"


def minutes(seconds: float | None) -> str:
    """Seconds for people: 75 → '1 min 15 s'."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 60 else f"{whole // 60} min {whole % 60} s"


def _changes(run: Run) -> tuple[str, ...]:
    found = run.read_evidence("migrate.difference")
    return tuple(change["in_words"] for change in found["changes"]) if found else ()


def _issues(state: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{phase['phase']}: {phase.get('reason') or ', '.join(phase['failed_checks']) or phase['status']}".splitlines()[0]
                 for phase in state["phases"] if phase["status"] in ("failed", "aborted") and phase["phase"] not in LOOKING)
