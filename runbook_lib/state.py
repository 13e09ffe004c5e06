"""How a run stands, derived from its journal.

One function, from which everything is shown that is told of a run.

run.json, `status`, 00_start, the report's headline, the history's entry and the escalation read
this, and so cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook_lib.events import KINDS

LOOKING = frozenset({"troubleshoot", "history"})
"""Phases that only look: the run's outcome stays as it is."""
FINAL = frozenset({"succeeded", "rolled_back"})
"""Outcomes after which a run is not gone on with."""
BAD = frozenset({"failed", "aborted", "unknown"})
"""How an attempt at a phase ends that did not succeed, and waits for nobody."""
_NOTHING = frozenset(
    {"refused", "phase begun", "phase ended", "run ended", "resumed", "gate waits"}
)
"""Events that say nothing of the database, the application or a check: an attempt with no other has
done nothing.
"""
Event = Mapping[str, Any]


@dataclass
class RunState:
    """How a run stands.

    Args:
        summary: the content of run.json; empty where the journal does not tell how the run was
            started.
        migrating: whether the migration was begun.
        application: the newest event that says whether the application is in service.
        down_since: since when the application has been out of service, for the first time.
        unknown: events that this version does not understand, by their kind.
    """

    summary: dict[str, Any] = field(default_factory=dict)
    migrating: bool = False
    application: Event | None = None
    down_since: str | None = None
    unknown: list[str] = field(default_factory=list)

    @property
    def phases(self) -> list[dict[str, Any]]:
        """The attempts at phases, in their order."""
        return list(self.summary.get("phases", ()))

    def phase(self, name: str) -> dict[str, Any] | None:
        """The newest attempt at a phase."""
        return next((one for one in reversed(self.phases) if one["phase"] == name), None)


def failures(phases: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the attempts that failed, were stopped or killed.

    Not those that were left before anything was done in them.
    """
    return [
        one
        for one in phases
        if one["status"] in BAD
        and one["phase"] not in LOOKING
        and not (one.get("idle") and (one.get("killed") or one["status"] == "unknown"))
    ]


def cause(phases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the failure on which a run rests.

    The newest of the phase that failed first, and has not succeeded since.
    """
    standing: dict[str, Mapping[str, Any]] = {}
    for one in phases:
        if one["status"] == "succeeded":
            standing.pop(one["phase"], None)
        elif failures([one]):
            standing[one["phase"]] = one
    return next(iter(standing.values()), None)


def derive(events: Iterable[Event]) -> RunState:
    """Return how a run stands after these events, in the order of its journal."""
    state = RunState()
    for line in events:
        what = str(line.get("what", ""))
        try:
            _APPLIES.get(what, _nothing)(state, line)
        except (KeyError, TypeError, ValueError):  # a line that was damaged, or of another version
            state.unknown.append(what)
        if what not in KINDS:
            state.unknown.append(what)
        elif what not in _NOTHING:
            _something_was_done(state, line)
    return state


def _nothing(state: RunState, line: Event) -> None:
    """Leave the state as it is: most events are told, and change nothing of it."""


def lasted(start: str, end: str | None) -> float | None:
    """Return the seconds between two moments.

    None where it goes on, or where the clock was set back in between.
    """
    if not end:
        return None
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return round(seconds, 1) if seconds >= 0 else None


def _run_started(state: RunState, line: Event) -> None:
    if "target" not in line:  # written by an earlier version: run.json stands as it is
        return
    told = ("run_id", "number", "environment", "production", "engineer", "migrations")
    state.summary = {
        **{key: line[key] for key in told},
        "target": dict(line["target"]),
        "outcome": "running",
        "started_at": line["started_at"],
        "ended_at": None,
        "duration_s": None,
        "downtime_s": None,
        "phases": [],
    }


def _run_ended(state: RunState, line: Event) -> None:
    state.summary.update(
        outcome=line["outcome"],
        ended_at=line["at"],
        duration_s=lasted(state.summary["started_at"], line["at"]),
    )


def _phase_begun(state: RunState, line: Event) -> None:
    for older in state.phases:
        if line.get("closes") and (older["phase"], older["status"]) == (line["phase"], "running"):
            older.update(status="unknown", ended_at=line["at"], reason=line["closes"])
    state.summary["phases"].append(
        {
            "phase": line["phase"],
            "status": "running",
            "started_at": line["at"],
            "ended_at": None,
            "notebook": line["notebook"],
            "failed_checks": [],
            "who": line["who"],
            "process": line["process"],
            "idle": True,
        }
    )
    _goes_on(state, line)


def _phase_taken_up_again(state: RunState, line: Event) -> None:
    entry = state.phase(line["phase"])
    if entry and entry["status"] != "running":
        ended = {key: entry.get(key) for key in ("status", "ended_at", "failed_checks", "reason")}
        entry.setdefault("earlier", []).append(ended)
        entry.update(status="running", ended_at=None, failed_checks=[], reason="")
        _goes_on(state, line)


def _phase_ended(state: RunState, line: Event) -> None:
    for entry in reversed(state.phases):
        if (entry["phase"], entry["status"]) == (line["phase"], "running"):
            entry.update(
                status=line["outcome"],
                ended_at=line["at"],
                failed_checks=list(line.get("failed_checks", ())),
                reason=line.get("reason", ""),
                **({"killed": True} if line.get("killed") else {}),
            )
            return


def _goes_on(state: RunState, line: Event) -> None:
    if line["phase"] not in LOOKING:
        state.summary.update(outcome="running", ended_at=None, duration_s=None)


def _switched(state: RunState, line: Event) -> None:
    state.application = line
    if line["what"] == "maintenance on":
        state.down_since = state.down_since or line["at"]
    elif state.down_since and line.get("verified") and state.summary.get("downtime_s") is None:
        state.summary["downtime_s"] = lasted(state.down_since, line["at"])


def _pinned_again(state: RunState, line: Event) -> None:
    state.summary["target"].update(line["target"])


def _migration_begun(state: RunState, _: Event) -> None:
    state.migrating = True


def _something_was_done(state: RunState, line: Event) -> None:
    """Mark the attempt to which an event belongs.

    It is not one that was left before anything was done in it.
    """
    running = [one for one in state.phases if one["status"] == "running"]
    own = [one for one in running if one["phase"] == line.get("phase")] or running
    if own:
        own[-1].pop("idle", None)


_APPLIES: Mapping[str, Callable[[RunState, Event], None]] = {
    "run started": _run_started,
    "run ended": _run_ended,
    "phase begun": _phase_begun,
    "phase taken up again": _phase_taken_up_again,
    "phase ended": _phase_ended,
    "maintenance on": _switched,
    "maintenance not switched": _switched,
    "maintenance off": _switched,
    "database pinned again": _pinned_again,
    "migration begun": _migration_begun,
}
SUMMARISED = frozenset(_APPLIES)
"""The kinds of events after which run.json is another."""
