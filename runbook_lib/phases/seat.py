"""How a run stands, for whoever opens it.

What comes next, the phases, who decided what, and the last lines of the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib import gate
from runbook_lib.history import minutes
from runbook_lib.phases import checklists
from runbook_lib.phases.base import notebook_name
from runbook_lib.run import ASIDE, Run, moment, now
from runbook_lib.show.widgets import Item
from runbook_lib.state import LOOKING, PHASES
from runbook_lib.table import Link, Table, text
from runbook_lib.whereabouts import at_work

ABOUT: Mapping[str, str] = {
    "start": "what this run is about",
    "plan": "what is pending, and what it will do",
    "rehearse": "the same on copies, measured, and the way back",
    "backup": "a backup that is proven",
    "preflight": "all that the night depends on; go or no-go",
    "announce": "people told, writes stopped",
    "migrate": "the migration, watched",
    "validate": "nothing but the declared change",
    "close": "back in service, the history's entry",
    "rollback": "the way back",
    "troubleshoot": "what is in the way, with this database's numbers",
    "history": "all runs",
}
"""What each phase is for."""
STATES: Mapping[str, tuple[str, str]] = {
    "succeeded": ("✔ succeeded", "good"),
    "failed": ("✘ failed", "bad"),
    "waiting": ("? waits for a person", "unknown"),
    "running": ("▶ at work", "unknown"),
    "aborted": ("■ stopped", "bad"),
    "unknown": ("? not known how it ended", "unknown"),
    "killed": ("✘ killed", "bad"),
}
"""How a phase stands: its words, and the mark of the row."""
LINES = 12
"""Lines of the journal that are shown."""


def link(phase: str, words: str = "") -> Link:
    """A link to a phase's notebook."""
    return Link(words or notebook_name(phase).removesuffix(".ipynb"), notebook_name(phase))


def phases(run: Run) -> Table:
    """Every phase with its notebook, how it stands, who carried it out and when."""
    rows, marks = [], []
    for name in PHASES + ASIDE:
        entry = run.phase(name)
        words, mark = (
            STATES[_status(run, entry)]
            if entry
            else ("· to come" if name in PHASES else "· when it is needed", "")
        )
        rows.append(
            (link(name), ABOUT[name], words, _checklist(run, name), _who(entry), _why(entry))
        )
        marks.append(mark)
    done = sum((run.phase(name) or {}).get("status") == "succeeded" for name in PHASES)
    columns = ("notebook", "what it does", "state", "checklist", "who, when (UTC), how long", "why")
    return Table(
        f"{done} of {len(PHASES)} phases have succeeded, at {_time(now().isoformat())} UTC",
        columns,
        rows,
        marks,
    )


def decisions(run: Run) -> Table:
    """Who approved or refused which gate, and why; and the gates that wait."""
    rows: list[tuple[Any, ...]] = []
    marks = []
    for record in filter(gate.whole, run.read_approvals()):
        approved, stands = (
            record["decision"] == "approved",
            gate.standing(run, record["gate"]) == record,
        )
        of_another = "" if record.get("run") == run.id else f", of the run {record.get('run')}"
        rows.append(
            (
                link_of_gate(record["gate"]),
                ("✔ approved" if approved else "✘ refused")
                + ("" if stands else of_another or ", no longer in force"),
                record["person"],
                _time(record["at"]),
                record["reason"] or "no reason given",
            )
        )
        marks.append("" if not stands else "good" if approved else "bad")
    for entry in run.derived.waiting:
        rows.append(
            (
                link(entry["phase"], entry["phase"]),
                "? waits",
                None,
                _time(entry["ended_at"]),
                _why(entry),
            )
        )
        marks.append("unknown")
    waiting = len(run.derived.waiting)
    title = (
        f"{waiting} gates wait for a person"
        if waiting > 1
        else "A gate waits for a person"
        if waiting
        else "No gate waits"
    )
    return Table(title, ("gate", "decision", "who", "at (UTC)", "why"), rows, marks)


def journal(run: Run) -> Table:
    """The last lines of the journal, newest first."""
    lines = run.read_journal()
    rows = [
        (_time(line["at"], seconds=True), line["who"], line["host"], line["what"], _facts(line))
        for line in reversed(lines[-LINES:])
    ]
    return Table(
        f"The last {len(rows)} of {len(lines)} lines of the journal",
        ("at (UTC)", "who", "where", "what", ""),
        rows,
    )


def next_step(run: Run) -> Table:
    """What comes next: one row for each thing that can be done, the best first."""
    title, rows, mark = _next(run)
    return Table(title, ("notebook", "to do"), rows, [mark] + [""] * (len(rows) - 1))


def link_of_gate(name: str) -> Link:
    """A gate, leading to its notebook."""
    return link(name, name)


def _next(run: Run) -> tuple[str, list[tuple[Link, str]], str]:
    busy = [entry for entry in run.at_work if entry["phase"] not in (*LOOKING, "start")]
    lost = [entry for entry in run.lost if entry["phase"] not in LOOKING]
    if busy:
        return (
            f"Do not start it again: {at_work(busy[-1])}",
            [
                (
                    link(busy[-1]["phase"]),
                    "the notebook that is at work; opened in the same JupyterLab it goes on where "
                    "it is",
                ),
                (
                    link("troubleshoot"),
                    "where it stands on the server, who blocks it, how to end what is in its way",
                ),
            ],
            "unknown",
        )
    if lost:
        return (
            f"{lost[-1]['phase']} was killed, and what it began may have landed in part",
            [
                (
                    link(lost[-1]["phase"]),
                    "run it again from its first cell: what is true now is looked at, and what is "
                    "done already is not repeated",
                ),
                (link("troubleshoot"), "whether its work still goes on on the server"),
                *_way_back(run),
            ],
            "bad",
        )
    return _next_at_rest(run)


def _next_at_rest(run: Run) -> tuple[str, list[tuple[Link, str]], str]:
    """What comes next where nobody is at work."""
    state = run.derived
    kind, phase = state.next
    if kind == "ended":
        return (
            f"The run has ended: {run.outcome.replace('_', ' ')}",
            [(link("history"), "its entry, and all other runs")],
            "good",
        )
    if kind == "waiting":
        to_do = "read the evidence, approve or refuse with a reason, and run the cell again"
        waiting = [(link(entry["phase"]), to_do) for entry in state.waiting]
        return "A gate waits for a person", waiting, "unknown"
    if kind == "refused":
        said = state.decisions[phase]
        why = said["reason"] or "no reason given"
        return (
            f"The gate `{phase}` was refused by {said['who']}: {why}",
            [(link(phase), f"settle it with {said['who']}; then decide anew at its gate")],
            "bad",
        )
    if kind == "stopped":
        entry = state.phase(phase) or {}
        return (
            f"{phase} has not succeeded: {_why(entry) or entry['status']}",
            [
                (link("troubleshoot"), "the cause, with this database's numbers"),
                (link(state.first_open), "once the cause is gone: run it again"),
                *_way_back(run),
            ],
            "bad",
        )
    return f"Next: {phase}", [(link(phase), ABOUT[phase])], "good"


def _way_back(run: Run) -> list[tuple[Link, str]]:
    """The way back, once there is something to lead back from."""
    return [(link("rollback"), "what landed, and the way back")] if run.phase("migrate") else []


def _status(run: Run, entry: Mapping[str, Any]) -> str:
    return "killed" if entry in run.lost else entry["status"]


def _why(entry: Mapping[str, Any] | None) -> str:
    return ((entry or {}).get("reason") or "").split("\n")[0][:160]


def _who(entry: Mapping[str, Any] | None) -> str:
    if not entry:
        return ""
    took = (
        minutes((moment(entry["ended_at"]) - moment(entry["started_at"])).total_seconds())
        if entry["ended_at"]
        else "not ended"
    )
    return f"{entry.get('who') or 'somebody'}, {_time(entry['started_at'])}, {took}"


def _checklist(run: Run, phase: str) -> str:
    """How much of a phase's checklist is done, once the phase has begun."""
    found = (
        [item for item in checklists.items(run, phase) if item.state != Item.NOT_NEEDED]
        if run.phase(phase)
        else []
    )
    waiting = sum(item.open for item in found)
    return (
        f"{sum(item.state in (Item.PASSED, Item.DONE) for item in found)} of {len(found)}"
        + (f", {waiting} open" if waiting else "")
        if found
        else ""
    )


def _time(at: str, *, seconds: bool = False) -> str:
    return at[: 19 if seconds else 16].replace("T", " ")


def _facts(line: Mapping[str, Any]) -> str:
    """What a line says beyond who and when, in words."""
    said = {
        key: text(value)
        for key, value in line.items()
        if key not in ("at", "who", "host", "what")
        and value not in (None, "", [])
        and not isinstance(value, dict)
        and not (isinstance(value, list) and isinstance(value[0], dict))
    }
    return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in said.items())[:200]
