"""The runbook's checklists: each item with the evidence that it was done, or the person who did it.

What a check of this run answers is shown with that answer, and nobody ticks it by hand. The rest is
a person's: it is ticked by a button in JupyterLab, with name, time and note in the journal. An open
item is reported and stops nothing by itself; where `approvals.required` names a gate, it waits
there with everything else that could not be checked, for whoever approves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib import gate, login
from runbook_lib.asked import CHECKLIST
from runbook_lib.check import Check, Checks, Status, unknown
from runbook_lib.errors import GateError
from runbook_lib.phases import kernel
from runbook_lib.run import Run
from runbook_lib.show.widgets import Checklist, Item
from runbook_lib.state import PHASES

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

SHOWN = 3
"""How many of an item's checks are named where all have passed."""
TICKED = "checklist item done"
"""What the journal says of an item that a person ticked."""


@dataclass(frozen=True)
class Entry:
    """One item as `checklists.yaml` has it, which says what each field means."""

    id: str
    text: str
    cell: str = ""
    checks: tuple[str, ...] = ()
    kept: str = ""
    journal: Mapping[str, str] = field(default_factory=dict)
    says: str = ""
    person: bool = False
    way: str = ""


@cache
def entries() -> Mapping[str, tuple[Entry, ...]]:
    """The items of each phase, in their order."""
    text = resources.files(__package__).joinpath("checklists.yaml").read_text(encoding="utf-8")
    return {
        phase: tuple(Entry(**{**one, "checks": tuple(one.get("checks", ()))}) for one in found)
        for phase, found in yaml.safe_load(text).items()
    }


def items(run: Run, phase: str) -> tuple[Item, ...]:
    """The items of a phase as they stand in this run."""
    return tuple(_item(run, entry) for entry in entries().get(phase, ()))


def shown(phase: Phase) -> Checklist:
    """The checklist of a phase, kept as evidence.

    With buttons for what is a person's, where one sits before the notebook.
    """
    found = items(phase.run, phase.name)
    phase.keep("checklist", [item.as_dict() for item in found])
    tick = (
        (lambda id, person, note: ticked(phase.run, phase.name, id, person, note))
        if kernel.in_front_end()
        else None
    )
    return Checklist(f"Checklist of {phase.name}", found, tick, login.current().name)


def ticked(run: Run, phase: str, id: str, name: str, note: str) -> Item:
    """Record that a person did an item.

    Raises:
        GateError: nobody sits before this notebook, the item is not a person's, or is done already.
    """
    if not kernel.in_front_end():
        raise GateError(
            "what only a person can do is ticked by one who sits before the notebook",
            "open it in JupyterLab: `runbook lab PARAMS`",
        )
    both = {
        entry.id: (entry, item)
        for entry, item in zip(entries()[phase], items(run, phase), strict=True)
    }
    if id not in both:
        raise GateError(
            f"the checklist of {phase} has no item {id!r}", "run the checklist's cell again"
        )
    entry, now = both[id]
    if not now.open:
        raise GateError(f"{id} is not open: {now.state}", "run the checklist's cell again")
    person = str(login.named(name))
    if entry.person and entry.journal:
        run.journal(entry.journal["what"], text=note, who=person)
    else:
        run.journal(TICKED, item=id, text=entry.text, note=note, who=person)
    return _item(run, entry)


def open_checks(run: Run, name: str) -> Checks:
    """What is open for a person when a gate is asked to open.

    Items of its phase and of those before it.
    """
    before = PHASES[: PHASES.index(name) + 1] if name in PHASES else (name,)
    found = [item for phase in before for item in items(run, phase) if item.open]
    return Checks(
        "The checklist",
        [
            unknown(
                f"{CHECKLIST}{item.id}",
                item.title,
                f"open: {item.evidence}",
                "done",
                "do it, and tick it in its notebook",
            )
            for item in found
        ],
    )


def _item(run: Run, entry: Entry) -> Item:
    journal = run.read_journal()
    for line in reversed(journal):
        if line["what"] == TICKED and line["item"] == entry.id:
            return Item(
                entry.id,
                entry.text,
                Item.DONE,
                f"{line['at'][:16].replace('T', ' ')} UTC: {line['note']}",
                entry.cell,
                line["who"],
            )
    way = next(
        (line["way"] for line in reversed(journal) if line["what"] == "rollback decided"), "none"
    )
    if entry.way and way != entry.way and not (entry.way == "any" and way != "none"):
        return Item(entry.id, entry.text, Item.NOT_NEEDED, f"way back: {way}", entry.cell)
    state, evidence = _seen(run, entry, journal)
    return Item(entry.id, entry.text, state, evidence, entry.cell)


def _seen(run: Run, entry: Entry, journal: list[dict[str, Any]]) -> tuple[str, str]:
    """How an item stands by what this run has looked at, and the evidence."""
    if entry.journal:
        return _said(entry, journal)
    made = [
        run.read_evidence(reference.partition("/")[0], missing=None) for reference in entry.checks
    ]
    if None in made or (entry.kept and not (run.folder / "evidence" / entry.kept).exists()):
        return Item.TO_COME, "its cell has not run yet"
    if not entry.checks:
        return (
            (Item.PASSED, f"evidence/{entry.kept}, kept in this run")
            if entry.kept
            else (Item.OPEN, "nothing here can see it")
        )
    found = [
        Check(**{**one, "status": Status(one["status"])}) for one in _chosen(entry.checks, made)
    ]
    asked = [one for one in found if one.status is not Status.NOT_CONFIGURED]
    if not asked:
        return Item.OPEN, "; ".join(dict.fromkeys(one.found for one in found)) or "not checked here"
    worst = next(
        (
            status
            for status in (Status.FAILED, Status.UNKNOWN)
            if any(one.status is status for one in asked)
        ),
        Status.PASSED,
    )
    return worst.value, _summary(asked) + _accepted(run, asked)


def _chosen(references: Iterable[str], made: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        one
        for reference, kept in zip(references, made, strict=True)
        for one in kept
        if one["id"].startswith(reference.partition("/")[2])
    ]


def _summary(checks: list[Check]) -> str:
    """Return what was found: in full if it is one check, else how many passed.

    Those that did not pass are named.
    """
    if len(checks) == 1:
        return f"{checks[0].title}: {checks[0].found}"
    good = [one.title for one in checks if one.status is Status.PASSED]
    wrong = [f"{one.title}: {one.found}" for one in checks if one.status is not Status.PASSED]
    said = "; ".join(wrong or good[:SHOWN]) + ("; …" if len(good) > SHOWN and not wrong else "")
    return f"{len(good)} of {len(checks)} checks passed: {said}"


def _accepted(run: Run, checks: list[Check]) -> str:
    """Who approved although it could not be checked."""
    missing = {one.id for one in checks if one.status is Status.UNKNOWN}
    who = [
        record["person"]
        for record in run.read_approvals()
        if record["decision"] == "approved"
        and gate.standing(run, record["gate"]) == record
        and missing & set(record.get("could_not_check", ()))
    ]
    return f"; accepted by {who[-1]}" if who else ""


def _said(entry: Entry, journal: list[dict[str, Any]]) -> tuple[str, str]:
    """How an item stands by the newest line of the journal that speaks of it.

    What nobody was told is a person's.
    """
    for line in reversed(journal):
        same = all(line.get(key) == value for key, value in entry.journal.items() if key != "what")
        if same and line["what"] == f"not {entry.journal['what']}":
            return Item.OPEN, line["why"]
        if same and line["what"] == entry.journal["what"]:
            deliveries = line.get("deliveries", [])
            if lost := [one["why"] for one in deliveries if not one["delivered"]]:
                return (
                    Item.OPEN,
                    f"{len(lost)} of {len(deliveries)} messages were not delivered: {lost[0]}",
                )
            return (
                Item.PASSED,
                f"{line['what']} by {line['who']}, {line['at'][:16].replace('T', ' ')} UTC"
                + (f": {line[entry.says]}" if entry.says else ""),
            )
    return (Item.OPEN, "none yet") if entry.person else (Item.TO_COME, "its cell has not run yet")
