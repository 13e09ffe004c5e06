"""The night of a run, in its order.

What happened when and by whom, drawn to scale and told, each with the cell that shows it.

No list says which cell proves what: a cell's times stand in its executed notebook, and what the
journal recorded at a moment was recorded by the cell that was at work then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.show import words
from runbook_lib.show.cells import anchor_of, is_shown
from runbook_lib.show.words import lasting, moment
from runbook_lib.state import RunState, Span, derive, failures

if TYPE_CHECKING:
    from nbformat import NotebookNode

Line = Mapping[str, Any]
"""A line of journal.jsonl."""
_ROUNDED = timedelta(milliseconds=5)
"""The journal's times have milliseconds, a notebook's have microseconds."""
_NARROWEST = 0.4
"""Per cent of the night that a bar takes at least, so that it is seen."""


class Proofs:
    """Finds the cell that shows a fact.

    Of a notebook without times (JupyterLab may leave them out) the notebook.

    Args:
        phases: the entries of run.json.
        notebooks: executed notebooks with their files' names.
    """

    def __init__(
        self, phases: Sequence[Line], notebooks: Sequence[tuple[str, NotebookNode]]
    ) -> None:
        present = {anchor_of(file) for file, _ in notebooks}
        self._cells = [
            (anchor_of(file), cell)
            for file, notebook in notebooks
            for cell in notebook.cells
            if cell.get("outputs") and is_shown(cell)
        ]
        self._spans = [
            (start, end, f"#{anchor}--{cell.id}")
            for anchor, cell in self._cells
            for start, end in _times(cell)
        ]
        self._phases = [
            (
                moment(entry["started_at"]),
                moment(entry["ended_at"])
                if entry.get("ended_at")
                else datetime.max.replace(tzinfo=UTC) - _ROUNDED,
                f"#{anchor}",
            )
            for entry in phases
            for anchor in (anchor_of(entry.get("notebook") or entry["phase"]),)
            if anchor in present
        ]

    def at(self, when: str | None) -> str:
        """The link to the cell that was at work at a moment; empty where none was."""
        if not when:
            return ""
        then = moment(when)
        for spans in (self._spans, self._phases):
            found = [
                (start, href)
                for start, end, href in spans
                if start - _ROUNDED <= then <= end + _ROUNDED
            ]
            if found:
                return max(found)[1]
        return ""

    def of(self, cell_id: str) -> str:
        """The link to the newest cell of that id.

        Empty where it is not on the page or showed nothing.
        """
        return next(
            (
                f"#{anchor}--{cell.id}"
                for anchor, cell in reversed(self._cells)
                if cell.id == cell_id
            ),
            "",
        )


def _times(cell: NotebookNode) -> Iterator[tuple[datetime, datetime]]:
    """From when to when a cell was at work, as the front end or papermill wrote it down."""
    times, papermill = cell.metadata.get("execution", {}), cell.metadata.get("papermill", {})
    start = times.get("iopub.execute_input") or papermill.get("start_time")
    end = times.get("shell.execute_reply") or papermill.get("end_time")
    if start and end:
        yield moment(start), moment(end)


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Args:
        about: what it is about, e.g. "gate".
        mark: as in `runbook_lib.table.Table`.
        href: leads to the cell that shows it; empty where none does.
    """

    at: str
    who: str
    about: str
    mark: str
    text: str
    href: str

    @property
    def sign(self) -> str:
        """The mark without colour."""
        return {"good": "✔", "bad": "✘", "unknown": "?"}.get(self.mark, "")


def events(journal: Sequence[Line], proofs: Proofs) -> list[Event]:
    """The journal in sentences, without the checks that passed: those stand in their notebooks."""
    return [
        Event(
            line["at"],
            str(line.get("who", "")),
            words.about(line),
            words.mark(line),
            words.sentence(line),
            proofs.at(line["at"]),
        )
        for line in journal
        if line.get("at") and (line.get("what") != "checks" or words.mark(line))
    ]


def decided(approval: Line, journal: Sequence[Line], proofs: Proofs) -> str:
    """The link to the cell of the gate that a decision was about.

    Where it opened then, else where it had waited.
    """
    lines = [
        line
        for line in journal
        if line.get("gate") == approval["gate"]
        and line.get("what") in ("gate passed", "gate waits")
    ]
    after = [line for line in lines if line["at"] >= approval["at"]]
    return proofs.at((after[0] if after else lines[-1])["at"]) if lines else ""


@dataclass(frozen=True)
class Lane:
    """One line of the picture.

    Args:
        mark: colours it; `words` says the same.
        shape: "bar", or the marker of moments: "triangle", "circle", "cross".
        spans: (left, width) in per cent of the night.
    """

    name: str
    mark: str
    shape: str
    spans: tuple[tuple[float, float], ...]
    words: str
    href: str


@dataclass(frozen=True)
class _Raw:
    name: str
    mark: str
    spans: Sequence[tuple[datetime, datetime | None]]
    words: str
    href: str = ""
    shape: str = "bar"


def lanes(phases: Sequence[Line], journal: Sequence[Line], proofs: Proofs) -> list[Lane]:
    """Draw phases, maintenance mode, waiting gates, attempts and events to one scale.

    Events are decisions, messages and failures.

    Args:
        phases: entries of run.json with `mark`, `sign`, `word` and `href`.
    """
    state = derive(journal)
    raw = [
        *_phases(phases),
        *_maintenance(state, proofs),
        *_waits(state, proofs),
        *_attempts(state, proofs),
        *_moments(phases, journal),
    ]
    moments = [when for lane in raw for span in lane.spans for when in span if when]
    if not moments:
        return []
    first, last = min(moments), max(moments)
    whole = max((last - first).total_seconds(), 0.001)
    return [
        Lane(
            lane.name,
            lane.mark,
            lane.shape,
            tuple(_place(start, end or last, first, whole) for start, end in lane.spans),
            lane.words,
            lane.href,
        )
        for lane in raw
    ]


def _place(start: datetime, end: datetime, first: datetime, whole: float) -> tuple[float, float]:
    width = max(round((end - start).total_seconds() / whole * 100, 2), _NARROWEST)
    return min(
        round((start - first).total_seconds() / whole * 100, 2), round(100 - width, 2)
    ), width


def _lasted(spans: Sequence[tuple[datetime, datetime | None]], word: str) -> str:
    """'02:01:10 · 41.5 s · was on'; what goes on has no end."""
    begun = f"{spans[0][0]:%H:%M:%S}"
    if spans[-1][1] is None:
        return f"{begun} · {word}"
    return (
        f"{begun} · {lasting(sum((end - start).total_seconds() for start, end in spans if end))} "
        f"· {word}"
    )


def _phases(phases: Sequence[Line]) -> Iterator[_Raw]:
    for phase in phases:
        span = (
            moment(phase["started_at"]),
            moment(phase["ended_at"]) if phase.get("ended_at") else None,
        )
        yield _Raw(
            phase["phase"],
            phase["mark"],
            [span],
            _lasted([span], f"{phase['sign']} {phase['word']}"),
            phase["proof"] or phase["href"],
        )


def _spans(found: Sequence[Span]) -> list[tuple[datetime, datetime | None]]:
    return [(moment(start), moment(end) if end else None) for start, end in found]


def _maintenance(state: RunState, proofs: Proofs) -> Iterator[_Raw]:
    """From each time that it was switched on to the next time that it was switched off."""
    if not state.maintenance:
        return
    spans = _spans(state.maintenance)
    shown = next((href for start, _ in state.maintenance if (href := proofs.at(start))), "")
    word = "was on" if spans[-1][1] else "on"
    yield _Raw("maintenance mode", "down", spans, _lasted(spans, word), shown)


def _waits(state: RunState, proofs: Proofs) -> Iterator[_Raw]:
    """Each gate that waited, until it was decided.

    A question that was put again is the same wait.
    """
    for gate, found in state.waits.items():
        spans = _spans(found)
        word = "? waited" if spans[-1][1] else "? waits for a person"
        shown = proofs.at(found[0][0])
        yield _Raw(f"gate “{gate}”", "unknown", spans, _lasted(spans, word), shown)


def _attempts(state: RunState, proofs: Proofs) -> Iterator[_Raw]:
    """Each attempt at the migration, where there was more than one, or the guard stepped in."""
    ended = state.attempts
    if not state.migrating or (len(ended) < 2 and not any(line.get("guard") for line in ended)):
        return
    for line in ended:
        span, found = (moment(line["started_at"]), moment(line["at"])), words.mark(line)
        word = (
            "✘ cancelled by the guard"
            if line.get("guard") and found == "bad"
            else f"{words.verdict(line['outcome']).sign} {line['outcome']}"
        )
        yield _Raw(
            f"attempt {line['number']}", found, [span], _lasted([span], word), proofs.at(line["at"])
        )


def _moments(phases: Sequence[Line], journal: Sequence[Line]) -> Iterator[_Raw]:
    """Decisions of people, messages, failures of phases."""
    kinds: Mapping[str, tuple[str, str, list[Line]]] = {
        "decisions": (
            "running",
            "triangle",
            [line for line in journal if line.get("what") in ("gate approved", "gate refused")],
        ),
        "messages": (
            "down",
            "circle",
            [line for line in journal if line.get("what") == "notified"],
        ),
        "failures": (
            "bad",
            "cross",
            [{"at": one["ended_at"]} for one in failures(phases)],
        ),
    }
    for name, (mark, shape, found) in kinds.items():
        if found:
            times = [moment(line["at"]) for line in found]
            yield _Raw(
                name,
                mark,
                [(when, when) for when in times],
                f"{times[0]:%H:%M:%S} · {len(found)} {name if len(found) > 1 else name[:-1]}",
                "#night",
                shape,
            )
