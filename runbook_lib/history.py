"""The migration history: one entry a run, filled in from the run and not by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from runbook_lib.run import Run, lasted
from runbook_lib.state import failures
from runbook_lib.table import Shown, Table

DATA = "Data migrations"
KINDS: Mapping[str, tuple[str, ...]] = {
    "Table modifications": ("table", "column", "view", "materialized view", "sequence"),
    "Index additions/removals": ("index",),
    DATA: ("data",),
    "Constraint changes": ("constraint",),
    "Other objects": (),
}
"""The kinds of changes of the runbook's template, and the kinds of the catalogue that belong to
each; the last takes all others.
"""
_TOLD = re.compile(
    r'"what": "(lessons learned|notified|looked at again|not mirrored|notebook damaged|'
    r'maintenance o|seal opened)|"clock_set_back_s"'
)
"""The lines of a journal that an entry is made of."""
WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "COPY")
"""Statements that change rows."""


@dataclass(frozen=True)
class Entry(Shown):
    """What the history keeps of one migration.

    Args:
        date: of its start, UTC.
        duration_s, downtime_s: seconds; `None` where it was not measured.
        downtime: the same in words, or why there is none.
        forecast_s, migrate_s: seconds that the migration was to take, and took; `None` where it was
        not forecast, or did not end.
        changes: kind → one line a change. Those of a run that was rolled back were undone.
        issues: one line a failed check, error or anomaly.
    """

    run_id: str
    number: int
    migrations: tuple[str, ...]
    date: str
    started_at: str
    environment: str
    engineer: str
    outcome: str
    duration_s: float | None
    downtime_s: float | None
    downtime: str
    forecast_s: float | None
    migrate_s: float | None
    rollback: bool
    changes_by_kind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    issues: tuple[str, ...] = ()
    lessons: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes of the catalogue, a line each."""
        return tuple(
            line for kind, lines in self.changes_by_kind.items() if kind != DATA for line in lines
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files and machines."""
        return asdict(self)

    def table(self) -> Table:
        """The entry in the order of the runbook's template."""
        rows = [
            ("Migration", ", ".join(self.migrations)),
            ("Date (UTC)", self.date),
            ("Environment", self.environment),
            ("Engineer", self.engineer),
            ("Duration", minutes(self.duration_s)),
            ("Downtime", self.downtime),
            *self._changes_made(),
            *(("Issue encountered", line) for line in self.issues or ("none",)),
            ("Rollback required", "yes" if self.rollback else "no"),
            *(("Lesson learned", line) for line in self.lessons or ("none recorded",)),
        ]
        return Table(
            "History entry: "
            f"{'as far as the run has come' if self.outcome == 'running' else self.outcome}",
            ("", ""),
            rows,
        )

    def markdown(self) -> str:
        """The entry as the runbook's template has it."""
        made = [f"- {line}" for kind, line in self._changes_made() if kind == "Change made"]
        for kind, lines in self.changes_by_kind.items():
            made += [f"- {kind}", *(f"  - {line}" for line in lines)]
        return "\n".join(
            [
                f"### Migration: {', '.join(self.migrations) or 'none'}",
                "",
                f"**Date:** {self.date}  ",
                f"**Environment:** {self.environment}  ",
                f"**Engineer:** {self.engineer}  ",
                f"**Duration:** {minutes(self.duration_s)}  ",
                f"**Downtime:** {self.downtime}  ",
                f"**Outcome:** {self.outcome.replace('_', ' ')}",
                "",
                "#### Changes Made:",
                *made,
                "",
                "#### Issues Encountered:",
                *(f"- {line}" for line in self.issues or ("None",)),
                "",
                "#### Rollback Required:",
                "- [x] Yes [ ] No" if self.rollback else "- [ ] Yes [x] No",
                "",
                "#### Lessons Learned:",
                *(f"- {line}" for line in self.lessons or ("None recorded",)),
                "",
            ]
        )

    def _changes_made(self) -> Iterator[tuple[str, str]]:
        if self.rollback:
            yield (
                "Change made",
                "none remains: what is listed here was undone"
                if self.changes_by_kind
                else "none remains",
            )
        elif not self.changes_by_kind:
            yield (
                "Change made",
                "none"
                if self.outcome == "succeeded" or self.migrate_s is None
                else "not compared: see the issues",
            )
        for kind, lines in self.changes_by_kind.items():
            yield from ((kind, line) for line in lines)


def entry(run: Run) -> Entry:
    """The entry of a run, as far as it has come."""
    state, journal = run.state, run.read_journal(_TOLD)
    forecast, done = (
        run.read_evidence("forecast", missing={}),
        run.read_evidence("migration", missing={}),
    )
    duration = (
        state["duration_s"]
        if state["ended_at"]
        else lasted(state["started_at"], journal[-1]["at"] if journal else None)
    )
    rolled_back = state["outcome"] == "rolled_back" and any(
        phase["phase"] == "rollback"
        and phase["status"] == "succeeded"
        and phase.get("effect", True)
        for phase in state["phases"]
    )
    return Entry(
        run_id=run.id,
        number=state.get("number", 0),
        migrations=tuple(state["migrations"]),
        date=state["started_at"][:10],
        started_at=state["started_at"],
        environment=state["environment"],
        engineer=state["engineer"],
        outcome=state["outcome"],
        duration_s=duration,
        downtime_s=state["downtime_s"],
        downtime=_downtime(run, state, journal),
        forecast_s=done.get("forecast_s") or forecast.get("migrate_s"),
        migrate_s=done.get("seconds"),
        rollback=rolled_back,
        changes_by_kind=_changes(run),
        issues=(*_failures(state), *_anomalies(done, journal), *_beyond_limits(run)),
        lessons=tuple(line["text"] for line in journal if line["what"] == "lessons learned"),
    )


def downtime(run: Run) -> str:
    """How long the application was out of service, in words."""
    return _downtime(run, run.state, run.read_journal(_TOLD))


def minutes(seconds: float | None) -> str:
    """Seconds for people: 75 → '1 min 15 s'."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 60 else f"{whole // 60} min {whole % 60} s"


def _downtime(run: Run, state: Mapping[str, Any], journal: Sequence[Mapping[str, Any]]) -> str:
    if state["downtime_s"] is not None:
        return minutes(state["downtime_s"])
    if said := run.derived.application:
        return (
            "not over: the application is still in maintenance mode"
            if said["what"] == "maintenance on"
            else "not measured"
        )
    if (run.parameters.get("service") or {}).get("maintenance"):
        return "Zero downtime: the application was never taken out of service"
    return "not measured (no maintenance mode configured)"


def _changes(run: Run) -> dict[str, tuple[str, ...]]:
    """The changes of the catalogue and of rows, by the kinds of the template."""
    found = [
        (change["kind"], change["in_words"])
        for change in run.read_evidence("migrate.difference", missing={"changes": ()})["changes"]
    ]
    found += [("data", line) for line in _data(run)]
    kind_of = {kind: name for name, kinds in KINDS.items() for kind in kinds}
    by_kind = {
        name: tuple(words for kind, words in found if kind_of.get(kind, "Other objects") == name)
        for name in KINDS
    }
    return {name: lines for name, lines in by_kind.items() if lines}


def _data(run: Run) -> Iterator[str]:
    """Return which statements of the applied files wrote rows, and the row counts' difference."""
    files = run.read_evidence("migration", missing={}).get("applied", ())
    for one in run.read_evidence("rehearsal", missing={}).get("statements", ()) if files else ():
        if one["file"] in files and one["kind"].split()[0] in WRITES:
            yield f"{one['kind']} in {one['file']}, line {one['line']}"
    for item in run.read_evidence("validate.content.tables", missing={}).get("items", ()):
        if (
            item["kind"] == "table"
            and item["before"] != item["after"]
            and not item["name"].endswith("_prisma_migrations")
        ):
            was, now = (
                "no table" if count is None else f"{count:,} rows"
                for count in (item["before"], item["after"])
            )
            yield f"{item['name']}: {was} before, {now} after"


def _failures(state: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{phase['phase']}: {_why(phase)}".splitlines()[0] for phase in failures(state["phases"])
    )


def _why(phase: Mapping[str, Any]) -> str:
    return str(phase.get("reason") or ", ".join(phase["failed_checks"]) or phase["status"])


def _beyond_limits(run: Run) -> Iterator[str]:
    """What of the monitoring list was beyond its limit.

    Over the run, or as far as it came while it migrated.
    """
    found = run.read_evidence("validate.beyond_limits", missing=None)
    for line in run.read_evidence("migrate.beyond_limits", missing=()) if found is None else found:
        yield f"beyond its limit: {line}"


def _anomalies(done: Mapping[str, Any], journal: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What went on though it was not as it should be."""
    if done.get("attempts", 1) > 1:
        yield (
            f"migrate: {done['attempts']} attempts, the earlier ones cancelled for the sake of "
            "those who waited"
        )
    for line in journal:
        if line["what"] == "notified" and (
            lost := [item["to"] for item in line.get("deliveries", ()) if not item["delivered"]]
        ):
            yield f"not delivered: “{line['title']}” to {', '.join(lost)}"
        elif line["what"] == "looked at again" and not line["passed"]:
            yield f"{line['phase']} held no more and was done again: {', '.join(line['lacking'])}"
        elif line["what"] == "notebook damaged":
            yield f"{line['notebook']} was cut off and cannot be read; its phase was done anew"
        elif line["what"] == "not mirrored":
            yield f"not mirrored to {line['place']}: {line['why']}"
        if line.get("clock_set_back_s"):
            yield f"the clock was set back by {line['clock_set_back_s']:g} s at {line['at']}"
        for wrong in line.get("not_as_sealed", ()):
            yield f"found when the seal was opened at {line['at']}: {wrong}"
