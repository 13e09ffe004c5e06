"""A phase that is opened again: when and by whom it was done, and whether that still holds.

It is not done a second time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.check import Check, Checks, Status, attempt, check
from runbook_lib.errors import GateError
from runbook_lib.gate import checks_of, plan_hash
from runbook_lib.gate import decided as gate_decided
from runbook_lib.phases import backup, plan
from runbook_lib.phases.application import Application
from runbook_lib.phases.base import Phase, phase_class
from runbook_lib.phases.start import applied
from runbook_lib.prisma import history
from runbook_lib.reviewed import differences
from runbook_lib.run import FINAL, Run
from runbook_lib.state import PHASES
from runbook_lib.table import Shown, Table

AGAIN = "RUNBOOK_AGAIN"
"""The environment variable that names the phase which is to be done again all the same."""


class Earlier(Shown):
    """Stands in a notebook for a phase that is done.

    Whatever is asked of it, it says what it is and does nothing.

    Args:
        words: when and by whom it was done.
        checks: what was looked at again.
    """

    def __init__(self, phase: Phase, words: str, checks: Checks) -> None:
        self._phase, self._words, self._checks = phase, words, checks

    def table(self) -> Table:
        """What was looked at again."""
        found = self._checks.table()
        return Table(
            f"{self._words}; it is not done again. {found.title}",
            found.columns,
            found.rows,
            found.marks,
        )

    def finish(self, status: str = "succeeded") -> None:
        """Nothing is recorded: it was, when it was done."""
        print(f"{self._words}; it is not done again", flush=True)

    def _repr_html_(self) -> str:
        return f"{self._phase.banner()._repr_html_()}{super()._repr_html_()}"

    def __getattr__(self, name: str) -> Step:
        if name.startswith("_"):
            raise AttributeError(name)
        return Step(name, self._words)


class AtGate(Shown):
    """A phase that waited for a person, who has decided.

    What was measured before its gate is not measured again.

    Steps say so, up to the one in which the gate asks; from there on the phase works as ever.
    """

    def __init__(self, phase: Phase, kept: Mapping[str, Any]) -> None:
        self._phase, self._kept, self._reached = phase, kept, False
        phase.decided = kept

    def table(self) -> Table:
        """What the gate waited with."""
        found = checks_of(self._kept).table()
        return Table(f"{self._words}. {found.title}", found.columns, found.rows, found.marks)

    @property
    def _words(self) -> str:
        return f"measured before the gate `{self._kept['gate']}` waited, at {self._kept['at']}"

    def _repr_html_(self) -> str:
        return f"{self._phase.banner()._repr_html_()}{super()._repr_html_()}"

    def __getattr__(self, name: str) -> Any:
        self._reached |= name == self._kept["step"]
        if self._reached or name.startswith("_") or name in ("checklist", "run", "params"):
            return getattr(self._phase, name)
        return Step(name, self._words)


@dataclass(frozen=True)
class Step(Shown):
    """What stands for a step of such a phase."""

    name: str
    words: str

    def table(self) -> Table:
        """That it was not done again."""
        return Table(f"`{self.name}` is not done again: {self.words}", ("",), [])

    def _repr_html_(self) -> str:
        return f"<p>{self.table().title.replace('`', '')}</p>"

    def __str__(self) -> str:
        return self.table().title

    def __call__(self, *_: Any, **__: Any) -> Step:
        """Do nothing: the phase is done."""
        return self

    def __getattr__(self, name: str) -> Step:
        if name.startswith("_"):
            raise AttributeError(name)
        return self


def done(run: Run, name: str) -> dict[str, Any] | None:
    """Return the newest entry of a phase of the migration, if it succeeded.

    None if it is asked for again (`$RUNBOOK_AGAIN`).
    """
    entry = run.phase(name) if name in PHASES and os.environ.get(AGAIN) != name else None
    return entry if entry and entry["status"] == "succeeded" else None


def words(entry: Mapping[str, Any]) -> str:
    """When and by whom a phase was done."""
    return f"already done at {entry['ended_at']}" + (
        f" by {entry['who']}" if entry.get("who") else ""
    )


def opened(phase: Phase) -> Earlier | None:
    """What stands for a phase that is done and still holds, or whose run has ended.

    None where it has to be done.

    Raises:
        GateError: it holds no more, and cannot be done again: the state before is not to be had any
            more.
    """
    entry = done(phase.run, phase.name)
    if entry is None or phase.name == "start":  # which only looks, as often as it is opened
        return None
    checks = look(phase)
    if checks.passed or phase.run.outcome in FINAL:
        return Earlier(phase, f"{phase.name}: {words(entry)}", checks)
    phase.say(f"{phase.name}: {words(entry)}; it holds no more, and is done again")
    return None


def decided(phase: Phase) -> AtGate | None:
    """The phase at its gate, where a person has decided and what was measured still holds.

    None where it has to be measured.
    """
    kept = gate_decided(phase.run, phase.name)
    if kept is None or os.environ.get(AGAIN) == phase.name:
        return None
    ask = {"plan": _plan, "rehearse": _plan, "validate": _applied}.get(phase.name)
    holds = Checks("What still holds", [*_pinned(phase), *(ask(phase) if ask else ())])
    return AtGate(phase, kept) if holds.passed else None


def look_at(run: Run, name: str) -> Checks:
    """The same, from outside a notebook."""
    phase = phase_class(name)(run)
    try:
        return look(phase)
    finally:
        phase._give_back()


def look(phase: Phase) -> Checks:
    """Whether what a phase has done still holds; recorded in the journal where the run goes on.

    Raises:
        GateError: it does not, and cannot be done again.
    """
    checks = Checks("What still holds", _still(phase))
    lacking = [item.id for item in (*checks.failed, *checks.unknown)]
    if not phase.run.sealed:
        phase.run.journal(
            "looked at again", phase=phase.name, passed=checks.passed, lacking=lacking
        )
    if (
        lacking
        and phase.name == "announce"
        and _begun(phase.run)
        and phase.run.outcome not in FINAL
    ):
        raise GateError(
            "the state before the migration was fixed, and the migration has begun: 50_announce "
            "cannot be done again, and what it did holds no more: "
            f"{'; '.join(item.found for item in (*checks.failed, *checks.unknown))}",
            "switch maintenance mode on by hand, and go on; or `runbook rollback "
            f"{phase.run.reference}`",
        )
    return checks


def _still(phase: Phase) -> Iterator[Check]:
    yield from _pinned(phase)
    ask = {
        "plan": _plan,
        "rehearse": _rehearsed,
        "backup": _backup,
        "announce": _maintenance,
        "migrate": _applied,
        "validate": _applied,
        "close": _maintenance,
    }.get(phase.name)
    if ask:
        yield from ask(phase)


def _pinned(phase: Phase) -> Iterator[Check]:
    if phase.needs_database:
        yield attempt("identity", "the database is the one that this run pinned", phase.identity)


def _plan(phase: Phase) -> list[Check]:
    title, record = (
        "the plan stands on what is there now",
        phase.run.read_evidence("plan", missing=None),
    )

    def ask() -> Check:
        if _begun(phase.run):  # then what was pending may be applied
            said = [
                f"file {file.name} was edited"
                for file in history.files(phase.project)
                if record["files"].get(file.name, file.sha256) != file.sha256
            ]
        else:
            said = differences(record, plan.contents(phase))
        return check(
            "again.plan",
            title,
            not said,
            "; ".join(said) or "unchanged",
            "unchanged",
            "plan again: 10_plan",
        )

    return (
        [attempt("again.plan", title, ask)]
        if record is not None
        else [check("again.plan", title, False, "evidence/plan.json is missing", "a plan")]
    )


def _rehearsed(phase: Phase) -> list[Check]:
    of = {
        phase.run.read_evidence(name, missing={}).get("plan")
        for name in ("promise", "rehearse.waived")
    }
    same = plan_hash(phase.run) in of
    return [
        check(
            "again.rehearsal",
            "the rehearsal was of the plan that stands",
            same,
            "the same plan" if same else "another plan",
            "the same plan",
            "rehearse again: 20_rehearse",
        )
    ]


def _backup(phase: Phase) -> list[Check]:
    """All of it while it may still be made anew.

    Once the migration has begun, that the way back is whole.
    """
    found = backup.backup_checks(phase)
    if _begun(phase.run):
        return [item for item in found if item.id in ("backup.made", "backup.intact")]
    decided = ("backup.proven", backup.LEFT_OUT)
    return [item for item in found if item.id not in decided or item.status is not Status.UNKNOWN]


def _maintenance(phase: Phase) -> list[Check]:
    """On after 50_announce, as long as the run goes on; off after 80_close."""
    application, on = Application(phase), phase.name == "announce"
    if not application.has_maintenance or (
        on and (phase.run.outcome in FINAL or done(phase.run, "close"))
    ):
        return []
    return application.maintenance_checks(on)


def _applied(phase: Phase) -> list[Check]:
    title, planned = (
        "every file of the plan is applied, as it was reviewed",
        phase.run.read_evidence("plan", missing={}).get("files", {}),
    )

    def ask() -> Check:
        entries = {
            entry.name: entry
            for entry in history.compare(
                history.files(phase.project), applied(phase.db, phase.target)
            ).entries
        }
        wrong = [
            f"{name}: {entries[name].state.value if name in entries else 'not there'}"
            for name in planned
            if name not in entries or entries[name].state is not history.State.APPLIED
        ]
        return check(
            "again.applied",
            title,
            not wrong,
            "; ".join(wrong) or f"{len(planned)} files applied",
            "all applied",
            "95_troubleshoot shows what landed",
        )

    return [attempt("again.applied", title, ask)]


def _begun(run: Run) -> bool:
    return run.derived.migrating
