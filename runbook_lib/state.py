"""How a run stands, derived from its journal.

One function, from which everything is shown that is told of a run.

run.json, `status`, 00_start, the report's headline, its timeline, the history's entry and the
escalation read this, and so cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from runbook_lib.events import KINDS

PHASES = (
    "start",
    "plan",
    "rehearse",
    "backup",
    "preflight",
    "announce",
    "migrate",
    "validate",
    "close",
)
"""The phases of a migration, in their order."""
ASIDE = ("rollback", "troubleshoot", "history")
"""Phases that are run when they are needed."""
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
Span = tuple[str, str | None]
"""From when to when; None where it goes on."""


class Step(NamedTuple):
    """What comes next while nobody is at work.

    Args:
        kind: "ended"; "waiting" for a decision; "refused": somebody has to decide anew;
            "stopped": the phase has not succeeded; "next".
        phase: which; "" where the run has ended.
    """

    kind: str
    phase: str


@dataclass
class RunState:
    """How a run stands.

    Args:
        summary: the content of run.json; empty where the journal does not tell how the run was
            started.
        migrating: whether the migration was begun.
        application: the newest event that says whether the application is in service.
        outages: from when to when the application was out of service, as far as that was verified.
        maintenance: from when to when maintenance mode was on, each time.
        plan: the hash of the plan as it stands.
        decisions: gate → the newest decision on it, with the plan that it was made of.
        waits: gate → from when to when it waited for a person.
        attempts: how each attempt at the migration ended, with its start.
        cut_off: whether the migration was begun, and neither ended nor settled since.
        escalations: each with the steps that were sent, and with its acknowledgement.
        unknown: events that this version does not understand, by their kind.
    """

    summary: dict[str, Any] = field(default_factory=dict)
    migrating: bool = False
    application: Event | None = None
    outages: list[Span] = field(default_factory=list)
    maintenance: list[Span] = field(default_factory=list)
    plan: str | None = None
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    waits: dict[str, list[Span]] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    cut_off: bool = False
    escalations: list[dict[str, Any]] = field(default_factory=list)
    _decided_since: set[str] = field(default_factory=set)
    """The gates on which somebody has decided since their phase began to wait."""
    _attempt_since: str = ""
    unknown: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """How the run ended, or that it has not."""
        return str(self.summary["outcome"])

    @property
    def phases(self) -> list[dict[str, Any]]:
        """The attempts at phases, in their order."""
        return list(self.summary.get("phases", ()))

    def standing(self, gate: str) -> dict[str, Any] | None:
        """The newest decision on a gate, where it was made of the plan as it stands."""
        found = self.decisions.get(gate)
        return found if found and found["plan"] == self.plan else None

    @property
    def refused(self) -> list[str]:
        """The gates that stand refused, in the order of their phases."""
        return [
            gate
            for gate in PHASES + ASIDE
            if (one := self.standing(gate)) and one["what"] == "gate refused"
        ]

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """The newest attempts at phases that wait for a person, where nobody has decided since."""
        newest = [one for name in PHASES + ASIDE if (one := self.phase(name))]
        return [
            one
            for one in newest
            if one["status"] == "waiting" and one["phase"] not in self._decided_since
        ]

    @property
    def next(self) -> Step:
        """What comes next while nobody is at work."""
        if self.outcome in FINAL:
            return Step("ended", "")
        if self.waiting:
            return Step("waiting", self.waiting[-1]["phase"])
        if self.refused:
            return Step("refused", self.refused[0])
        tried = [one for one in self.phases if one["phase"] not in (*LOOKING, "start")]
        if tried and tried[-1]["status"] in BAD:
            return Step("stopped", tried[-1]["phase"])
        if tried and tried[-1]["status"] == "waiting":  # and decided since
            return Step("next", tried[-1]["phase"])
        return Step("next", self.first_open)

    @property
    def first_open(self) -> str:
        """The first phase that has not succeeded."""
        return next(
            (one for one in PHASES[1:] if (self.phase(one) or {}).get("status") != "succeeded"),
            PHASES[-1],
        )

    @property
    def told(self) -> bool:
        """Whether the journal tells how the run stands; of another version's run it may not."""
        return bool(self.summary) and not SUMMARISED & set(self.unknown)

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
        elif failures([one]) and not _met_later(one, standing.get(one["phase"])):
            standing[one["phase"]] = one
    return next(iter(standing.values()), None)


def _met_later(one: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    """Whether an attempt only met what one before it had left: that one had begun the migration."""
    return bool(before and before.get("migrated")) and not one.get("migrated")


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
            state._decided_since.discard(line["phase"])
            return


def _goes_on(state: RunState, line: Event) -> None:
    if line["phase"] not in LOOKING:
        state.summary.update(outcome="running", ended_at=None, duration_s=None)


def _switched(state: RunState, line: Event) -> None:
    state.application = line
    on, off = line["what"] == "maintenance on", line["what"] == "maintenance off"
    verified = off and bool(line.get("verified"))
    _span(state.maintenance, line["at"], opens=on, closes=off)
    _span(state.outages, line["at"], opens=on, closes=verified)
    if state.summary and state.outages:
        lengths = [lasted(*span) for span in state.outages]
        whole = [length for length in lengths if length is not None]
        ended = len(whole) == len(lengths)
        state.summary["downtime_s"] = round(sum(whole), 1) if ended else None


def _span(spans: list[Span], at: str, *, opens: bool, closes: bool) -> None:
    """Let a span begin unless one goes on, or end the one that does."""
    goes_on = bool(spans) and spans[-1][1] is None
    if opens and not goes_on:
        spans.append((at, None))
    elif closes and goes_on:
        spans[-1] = (spans[-1][0], at)


def _pinned_again(state: RunState, line: Event) -> None:
    state.summary["target"].update(line["target"])


def _migration_begun(state: RunState, line: Event) -> None:
    state.migrating = state.cut_off = True
    state._attempt_since = line["at"]
    for one in state.phases:
        if (one["phase"], one["status"]) == ("migrate", "running"):
            one["migrated"] = True


def _settled(state: RunState, line: Event) -> None:
    """Of a migration that ended, or whose unfinished part was settled: the next attempt begins."""
    state.cut_off = False
    state._attempt_since = line["at"]


def _attempt_ended(state: RunState, line: Event) -> None:
    state.attempts.append({**line, "started_at": state._attempt_since or line["at"]})
    state._attempt_since = line["at"]


def _plan_sealed(state: RunState, line: Event) -> None:
    state.plan = line["hash"]


def _gate_waits(state: RunState, line: Event) -> None:
    _span(state.waits.setdefault(line["gate"], []), line["at"], opens=True, closes=False)


def _gate_moved(state: RunState, line: Event) -> None:
    """A gate was decided or passed: it waits no more."""
    _span(state.waits.get(line["gate"], []), line["at"], opens=False, closes=True)
    if line["what"] != "gate passed":
        state.decisions[line["gate"]] = {**line, "plan": state.plan}
        state._decided_since.add(line["gate"])


def _escalated(state: RunState, line: Event) -> None:
    found = {**line, "migrating": state.migrating, "steps": [], "acknowledged": None}
    state.escalations.append(found)


def _escalation_step(state: RunState, line: Event) -> None:
    for one in state.escalations:
        if one["at"] == line["escalated_at"]:
            one["steps"].append(dict(line))


def _acknowledged(state: RunState, line: Event) -> None:
    for one in state.escalations:
        if one["at"] in line["escalations"] and one["acknowledged"] is None:
            one["acknowledged"] = dict(line)


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
    "migration ended": _settled,
    "resolved": _settled,
    "repaired": _settled,
    "rolled back": _settled,
    "attempt ended": _attempt_ended,
    "plan sealed": _plan_sealed,
    "gate waits": _gate_waits,
    "gate approved": _gate_moved,
    "gate refused": _gate_moved,
    "gate passed": _gate_moved,
    "escalated": _escalated,
    "escalation step": _escalation_step,
    "acknowledged": _acknowledged,
}
SUMMARISED = frozenset(_APPLIES)
"""The kinds of events from which it is derived how a run stands: every version must read them."""
