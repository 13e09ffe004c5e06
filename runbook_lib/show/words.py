"""What a run's record says, in words.

Verdicts, moments, durations, and each line of the journal as a sentence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook_lib.table import size, text


@dataclass(frozen=True)
class Verdict:
    """An outcome in words: sign, word, mark, and what is true now."""

    sign: str
    word: str
    mark: str
    meaning: str


VERDICTS: Mapping[str, Verdict] = {
    "succeeded": Verdict("✔", "Succeeded", "good", "The migration was applied and validated."),
    "rolled_back": Verdict(
        "↩", "Rolled back", "unknown", "The migration was undone: the database is as it was before."
    ),
    "failed": Verdict(
        "✘",
        "Failed",
        "bad",
        "The run stopped at a failure. What is true of the database now stands under “What "
        "failed”.",
    ),
    "aborted": Verdict(
        "■",
        "Aborted",
        "bad",
        "The run was told to stop; it can be resumed.",
    ),
    "waiting": Verdict(
        "?",
        "Waiting for a person",
        "unknown",
        "A gate needs an approval; the run then goes on with `runbook resume`.",
    ),
    "running": Verdict(
        "▶", "Running", "running", "This page was written while the run was at work."
    ),
    "unknown": Verdict(
        "?", "Unknown", "unknown", "How the run ended is not known: do not take it for a success."
    ),
}
"""The outcomes of run.json; of an unknown one nothing good is assumed."""

_SAID: Mapping[str, tuple[str, str]] = {
    "run started": ("run", "the run is started for {engineer} on {environment}"),
    "run ended": ("run", "the run ends: {outcome}"),
    "resumed": ("run", "the run is resumed"),
    "phase begun": ("phase", "{phase} begins"),
    "phase taken up again": ("phase", "{phase} is taken up again"),
    "phase ended": ("phase", "{phase}: {outcome}"),
    "checks": (
        "check",
        "{phase}, {checks}: {passed} passed, failed: {failed}, could not check: {unknown}",
    ),
    "gate waits": ("gate", "the gate “{gate}” waits for a person"),
    "gate approved": ("gate", "{who} approves the gate “{gate}”: {reason}"),
    "gate refused": ("gate", "{who} refuses the gate “{gate}”: {reason}"),
    "gate passed": ("gate", "the gate “{gate}” opens, approved by {approved_by}"),
    "rehearsal waived": ("gate", "there is no rehearsal: {why}"),
    "notified": ("message", "{audience} are told: {title}"),
    "not notified": ("message", "{audience} are not told ({occasion}): {why}"),
    "escalated": ("escalation", "{phase} failed, severity {severity}: {failures}"),
    "escalation step": (
        "escalation",
        "severity {severity}, {after} minutes without acknowledgement: {told}; {delivered} of "
        "{tried} messages delivered",
    ),
    "acknowledged": ("escalation", "{who} has taken the failure up: {note}"),
    "checklist item done": ("checklist", "{who} ticks {item}, {text}: {note}"),
    "maintenance not switched": ("maintenance", "maintenance mode could not be switched on"),
    "opened in JupyterLab": ("run", "{who} opens the run in JupyterLab"),
    "looked at again": ("phase", "{phase} had succeeded already, and is looked at again"),
    "seal opened": ("record", "the seal is opened; it is kept as {manifest}"),
    "maintenance on": ("maintenance", "maintenance mode is on"),
    "maintenance off": ("maintenance", "maintenance mode is off, verified: {verified}"),
    "backup made": ("way back", "backup made, {bytes}"),
    "backup proven": (
        "way back",
        "backup proven by a restore on {proven_on}, which took {restore_s}",
    ),
    "restore point made": ("way back", "restore point {name} at {lsn}"),
    "saved what will be dropped": ("way back", "saved what will be dropped: {rows} rows"),
    "migration begun": ("migration", "`prisma migrate deploy` begins, forecast {forecast_s}"),
    "attempt ended": ("migration", "attempt {number}: {outcome}"),
    "migration failed": ("migration", "{file} failed: {cause}; {now}"),
    "refused": ("refused", "{phase}: not begun: {reason}"),
    "lease taken": ("database", "the run has the database from here on, alone"),
    "lease taken over": ("database", "{who} takes the database over from {before}"),
    "lease released": ("database", "the database is free for another run"),
    "lease not released": ("database", "the record that the run has the database stays: {why}"),
    "lease not recorded": ("database", "that the run has the database is not recorded: {why}"),
    "migration interrupted": ("migration", "{told}"),
    "notebook damaged": (
        "notebook",
        "{notebook} was cut off and cannot be read; it is kept as it is",
    ),
    "migration ended": ("migration", "migrated in {seconds}, attempts: {attempts}"),
    "rollback decided": ("rollback", "the way back is `{way}`, decided by {by}"),
    "rolled back": ("rollback", "rolled back by `{way}`"),
    "swap ended": ("rollback", "{restored} took the name {live}; what failed is kept as {failed}"),
    "lessons learned": ("lesson", "{text}"),
}
"""What a line of the journal is about, and its sentence. Lines that are not here are told by their
facts.
"""
_BAD = frozenset(
    {
        "escalated",
        "maintenance not switched",
        "migration failed",
        "gate refused",
        "watch interrupted",
        "blocker was not ended",
    }
)
_UNKNOWN = frozenset(
    {
        "gate waits",
        "not mirrored",
        "notebook damaged",
        "refused",
        "lease taken over",
        "lease not released",
        "lease not recorded",
        "migration interrupted",
    }
)
_GOOD = frozenset({"acknowledged", "gate approved", "gate passed", "rolled back"})
_NOT_FACTS = frozenset({"at", "who", "what", "host", "deliveries", "guard"})


def verdict(outcome: str) -> Verdict:
    """An outcome in words."""
    return VERDICTS.get(outcome, VERDICTS["unknown"])


def moment(text: str) -> datetime:
    """A moment of run.json."""
    return datetime.fromisoformat(text)


def clock(text: str | None) -> str:
    """A moment of run.json for people: '2026-11-24 02:00:00'; the heading says UTC."""
    return f"{moment(text):%Y-%m-%d %H:%M:%S}" if text else "–"


def lasting(seconds: float | None) -> str:
    """Seconds for people: 75 → '1 min 15 s'."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if rest
        else f"{minutes} min"
    )


def short(reason: str) -> str:
    """The line of a reason that says most: the first failed check, else the first line."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return next(
        (line.removeprefix("✘ ") for line in lines if line.startswith("✘")),
        lines[0] if lines else "",
    )


def about(line: Mapping[str, Any]) -> str:
    """Return what a line of the journal is about: "phase", "gate", "message" and others."""
    return _SAID.get(str(line.get("what")), ("record", ""))[0]


def mark(line: Mapping[str, Any]) -> str:
    """Return whether a line of the journal is "good", "bad", "unknown" or none of these.

    See `runbook_lib.table.Table`.
    """
    what = line.get("what")
    if "outcome" in line:
        return verdict(str(line["outcome"])).mark
    if what in _BAD or line.get("not_as_sealed") or (what == "checks" and line.get("failed")):
        return "bad"
    if (
        what in _UNKNOWN
        or not delivered(line)
        or (what == "checks" and line.get("unknown"))
        or (what == "maintenance off" and not line.get("verified"))
    ):
        return "unknown"
    return "good" if what in _GOOD else ""


def delivered(line: Mapping[str, Any]) -> bool:
    """Whether everything that a line of the journal says was sent did arrive."""
    return all(item.get("delivered") for item in line.get("deliveries") or ())


def sentence(line: Mapping[str, Any]) -> str:
    """A line of the journal as a sentence."""
    what = str(line.get("what", ""))
    if what not in _SAID:
        facts = "; ".join(
            f"{key}: {value}"
            for key, value in (
                (key, _fact(key, line[key])) for key in line if key not in _NOT_FACTS
            )
            if value
        )
        return f"{what} ({facts})" if facts else what
    said = _SAID[what][1].format_map(
        defaultdict(lambda: "–", {key: _fact(key, value) for key, value in line.items()})
    )
    return said + "".join(f"; {more}" for more in _more(line))


def _more(line: Mapping[str, Any]) -> list[str]:
    """What is added to a sentence: why, what the guard did, who was not reached."""
    reason, again = short(str(line.get("reason") or "")), str(line.get("not_again") or "")
    why = (
        [reason]
        if reason and line["what"] == "phase ended"
        else [f"not again: {again}"]
        if again
        else [f"the attempt before it: {line['closes']}"]
        if line.get("closes")
        else []
    )
    guard = [
        f"cancelled by the guard: {one['victims']} sessions had waited too long, the longest "
        f"{one['longest_wait_s']:.1f} s"
        for one in line.get("guard") or ()
    ]
    lost = [
        f"{item.get('to')} was not reached: {item.get('why')}"
        for item in line.get("deliveries") or ()
        if not item.get("delivered")
    ]
    behind = (
        [f"changed behind the seal: {', '.join(line['not_as_sealed'])}"]
        if line.get("not_as_sealed")
        else []
    )
    return [*guard, *why, *lost, *behind]


def _fact(key: str, value: Any) -> str:
    """A fact of the journal for people; what has parts of its own is left to the journal."""
    if value is None or value == "" or isinstance(value, Mapping):
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value if not isinstance(item, Mapping)) or "none"
    if key == "bytes":
        return size(value)
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (key == "seconds" or key.endswith("_s"))
    ):
        return lasting(value)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1…", text(value))
