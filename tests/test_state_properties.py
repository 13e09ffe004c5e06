"""Whatever is done in whatever order, every view of a run tells the same, and what was told once is
never taken back.

Random nights: cells that pass, fail, wait, are refused or interrupted; kernels that die; second
browsers; approvals and refusals.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import runbook_lib.run
from runbook_lib import gate, history, params, runner
from runbook_lib.advice import next_command
from runbook_lib.check import Checks, check
from runbook_lib.errors import Aborted, ApprovalNeeded, CheckError, GateError, Refused
from runbook_lib.phases import seat, talk
from runbook_lib.phases.base import Phase
from runbook_lib.run import FINAL, PHASES, Run, create
from runbook_lib.show import night, report
from runbook_lib.state import cause, derive
from runbook_lib.whereabouts import this_process

ROOT = Path(__file__).resolve().parents[1]
TARGET = {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
GOOD = Checks("Good", [check("a", "it holds", True, "yes")])
NAMES = st.sampled_from(["plan", "migrate", "validate", "rollback"])
HERE = this_process()
GONE = {**HERE, "pid": 2**22 + 1}
"""A process that is not there any more."""


class Kernel(Phase):
    """A phase in a kernel, without a database; what it is to do is said cell by cell."""

    needs_database = False

    def begin(self, notebook: str) -> None:
        self.claim()
        self.run.begin_phase(self.name, notebook)


def kernel(run: Run, name: str) -> Kernel:
    """A phase of that name, opened."""
    return type(name.title(), (Kernel,), {"name": name, "gates": (name,)})(run)


class Night(RuleBasedStateMachine):
    """A run, and a model of it that knows only the rules that people are told."""

    @initialize()
    def start(self) -> None:
        self.folder = TemporaryDirectory()
        values = params.load(ROOT / "params" / "demo.yaml")
        values["environment"]["archive"] = self.folder.name
        values["approvals"] = {"required": ["plan"]}
        values["notify"] = {}
        self.run = create(values, ["1_x"], TARGET)
        self.open: dict[str, Kernel] = {}
        self.status: dict[str, str] = {}
        self.outcome, self.refused_gates = "running", set[str]()
        self.undecided, self.acknowledged = set[str](), list[bool]()
        self.plans = 0
        self.written = b""
        self.cell = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    # what people do

    @rule(name=NAMES, dies=st.booleans())
    def open_a_notebook(self, name: str, dies: bool) -> None:
        dies = dies and name not in self.open
        with _process(GONE if dies else HERE):
            opened, before = kernel(self.run, name), self._views()
            if self._refused(name) - {name}:
                with pytest.raises(Refused, match="was refused by"):
                    opened.begin(f"{name}.ipynb")
                assert self._views() == before
                return
            opened.begin(f"{name}.ipynb")
        self.open.pop(name, None)
        if not dies:
            self.open[name] = opened
        self._is(name, "running")
        self.outcome = "running"

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["failed", "waiting", "aborted"]))
    def a_cell_stops_the_phase(self, data: st.DataObject, how: str) -> None:
        phase = self._one(data)
        error = {
            "failed": CheckError("no", failed=("a.b",)),
            "waiting": ApprovalNeeded("a person", gate=phase.name),
            "aborted": Aborted("interrupted by somebody"),
        }[how]
        was_running = self.status[phase.name] == "running"
        self._cell(phase, error)
        if was_running:
            self._is(phase.name, how)
        if self.outcome not in FINAL:
            self.outcome = how

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_cell_is_run_out_of_order(self, data: st.DataObject) -> None:
        phase, before = self._one(data), self._views()
        with pytest.raises(Refused) as refused:
            phase.require_steps("deploy")
        self._cell(phase, refused.value)
        assert self._views() == before

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def it_is_finished_too_early(self, data: st.DataObject) -> None:
        phase, before = self._one(data), self._views()
        if phase.name not in phase._passed or phase._failing:
            with pytest.raises(Refused) as refused:
                phase.finish()
            self._cell(phase, refused.value)
            assert self._views() == before

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def the_cell_that_failed_passes(self, data: st.DataObject) -> None:
        phase = self._one(data)
        for cell in list(phase._failing):
            phase.cell_ended(cell, True)
            if not phase._failing and self.outcome not in FINAL:
                self._is(phase.name, "running")
                self.outcome = "running"

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def the_gate_is_asked(self, data: st.DataObject) -> None:
        phase, before = self._one(data), self._views()
        try:
            phase.pass_gate(phase.name, GOOD)
        except (ApprovalNeeded, GateError) as error:
            assert phase.name in self.refused_gates or phase.name == "plan"
            assert (
                self._views() == before
            )  # it says so by its own events; the cell's end does the rest
            was_running = self.status[phase.name] == "running"
            self._cell(phase, error)
            how = "waiting" if isinstance(error, ApprovalNeeded) else "failed"
            if was_running:
                self._is(phase.name, how)
            if self.outcome not in FINAL:
                self.outcome = how
        else:
            assert phase.name not in self.refused_gates

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def the_phase_is_finished(self, data: st.DataObject) -> None:
        phase = self._one(data)
        if self._refused(phase.name):
            before = self._views()
            with pytest.raises(Refused):
                phase.finish()
            assert self._views() == before
        elif phase.name in phase._passed and not phase._failing:
            phase.finish()
            if self.status[phase.name] == "running":
                self._is(phase.name, "succeeded")
            del self.open[phase.name]

    @precondition(lambda self: self.run.lost and not self.run.at_work)
    @rule()
    def what_was_killed_is_settled(self) -> None:
        assert runner.outcome(self.run) == "unknown" and "killed" in str(seat.next_step(self.run))
        runner.settle(self.run)
        for name in [name for name in self.status if name not in self.open]:
            if self.status[name] == "running":
                self._is(name, "aborted")
                self.outcome = "aborted"

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_second_browser_opens_it(self, data: st.DataObject) -> None:
        """The notebook that is open in another process is refused to this one."""
        phase, before = self._one(data), self._views()
        if self.status[phase.name] == "running":
            with _process({**HERE, "pid": 1}), pytest.raises(Refused, match="has been at work"):
                self.run.begin_phase(phase.name, "second.ipynb")
            assert self._views() == before

    @rule(name=NAMES, refused=st.booleans())
    def somebody_decides(self, name: str, refused: bool) -> None:
        before = self._views()
        gate.approve(self.run, name, "read it", refused=refused)
        self.undecided.discard(name)
        (self.refused_gates.add if refused else self.refused_gates.discard)(name)
        after = self._views()
        assert after["state"] == before["state"]

    @rule()
    def the_plan_is_sealed_anew(self) -> None:
        """What was decided of another plan stands no more."""
        self.plans += 1
        self.run.write_evidence("plan", {"hash": f"plan {self.plans}", "dangers": []})
        self.run.journal("plan sealed", hash=f"plan {self.plans}")
        self.refused_gates.clear()

    @precondition(lambda self: "migrate" in self.open)
    @rule()
    def the_migration_is_escalated(self) -> None:
        before = len(self.run.derived.escalations)
        talk.escalate(self.open["migrate"], ["x"])
        self.acknowledged += [False] * (len(self.run.derived.escalations) - before)

    @rule()
    def somebody_takes_it_up(self) -> None:
        talk.acknowledge(self.run, "on it")
        if self.acknowledged:
            self.acknowledged[-1] = True

    @rule()
    def a_line_is_cut_off(self) -> None:
        """The machine went down in the middle of a line."""
        before = self._views()
        path = self.run.folder / "journal.jsonl"
        path.write_bytes(
            path.read_bytes() + b'{"at": "2026-01-01T00:00:00.000Z", "what": "phase en'
        )
        self.written = path.read_bytes()
        assert self._views() == before

    # what must be true

    @invariant()
    def the_model_and_every_view_agree(self) -> None:
        if not hasattr(self, "run"):
            return
        views = self._views()
        assert views["outcome"] == self.outcome
        assert {name: entry["status"] for name, entry in views["newest"].items()} == self.status
        assert views["state"] == views["file"] == views["folded"]

    @invariant()
    def the_history_names_what_the_headline_rests_on(self) -> None:
        if not hasattr(self, "run"):
            return
        state, entry = self.run.state, history.entry(self.run)
        why = report._failures(state["outcome"], state["phases"])["why"]
        found = cause(state["phases"])
        if found:
            assert why == found or state["outcome"] == "succeeded"
            assert (
                any(line.startswith(f"{found['phase']}: ") for line in entry.issues)
                or found["status"] == "unknown"
            )
        assert entry.outcome == state["outcome"]

    @invariant()
    def decisions_are_the_same_in_the_account_and_at_the_gates(self) -> None:
        if not hasattr(self, "run"):
            return
        derived = self.run.derived
        for name in ("plan", "migrate", "validate", "rollback"):
            counts, told = gate.standing(self.run, name), derived.standing(name)
            assert bool(counts) == bool(told)
            if counts and told:
                said = "gate refused" if counts["decision"] == "refused" else "gate approved"
                assert (said, counts["person"]) == (told["what"], told["who"])
        assert set(derived.refused) == set(gate.refused(self.run)) == self.refused_gates

    @invariant()
    def who_looks_at_00_start_and_who_asks_for_status_are_told_the_same(self) -> None:
        if not hasattr(self, "run"):
            return
        title, command = seat.next_step(self.run).title, next_command(self.run)
        if self.run.at_work:
            assert title.startswith("Do not start it again") and command == ""
            return
        if self.run.lost:
            assert "was killed" in title and command
            return
        kind, phase = self.run.derived.next
        assert (kind == "waiting") == bool(self.undecided)
        words, verbs = {
            "waiting": ("A gate waits for a person", ("approve", "rollback")),
            "refused": (f"The gate `{phase}` was refused by", ("approve", "rollback")),
            "stopped": (f"{phase} has not succeeded", ("resume", "rollback")),
            "next": (f"Next: {phase}", ("resume", "rollback")),
        }[kind]
        assert title.startswith(words) and command.split()[1] in verbs

    @invariant()
    def the_timeline_and_the_escalation_tell_what_the_account_holds(self) -> None:
        if not hasattr(self, "run"):
            return
        journal = self.run.read_journal()
        lanes = [one.name for one in night.lanes([], journal, night.Proofs([], []))]
        derived = self.run.derived
        assert [one for one in lanes if one.startswith("gate")] == [
            f"gate “{name}”" for name in derived.waits
        ]
        for name, spans in derived.waits.items():
            decided = derived.decisions.get(name, {"at": ""})["at"]
            assert spans[-1][1] or spans[-1][0] >= decided
        told = [one.over.startswith("acknowledged by") for one in talk.escalations(self.run)]
        assert told == self.acknowledged

    @invariant()
    def the_journal_only_grows(self) -> None:
        if not hasattr(self, "run"):
            return
        now = self._journal()
        assert now.startswith(self.written)
        self.written = now

    def _is(self, name: str, how: str) -> None:
        """The newest attempt at a phase stands so."""
        self.status[name] = how
        (self.undecided.add if how == "waiting" else self.undecided.discard)(name)

    def _refused(self, name: str) -> set[str]:
        """The gates that stand refused before a phase may go on: its own, and those of the
        phases before it.
        """
        before = PHASES[: PHASES.index(name) + 1] if name in PHASES else (name,)
        return self.refused_gates & set(before)

    def _views(self) -> dict[str, Any]:
        state = self.run.state
        newest = {entry["phase"]: entry for entry in state["phases"]}
        return {
            "outcome": state["outcome"],
            "newest": newest,
            "state": _settled(state),
            "file": _settled(json.loads((self.run.folder / "run.json").read_text())),
            "folded": _settled(derive(Run(self.run.folder).read_journal()).summary),
        }

    def _cell(self, phase: Kernel, error: BaseException) -> None:
        """A cell ends by an error, as the kernel tells the phase."""
        self.cell += 1
        phase.fail(error)
        phase.cell_ended(f"cell-{self.cell}", False)

    def _one(self, data: st.DataObject) -> Kernel:
        return self.open[data.draw(st.sampled_from(sorted(self.open)))]

    def _journal(self) -> bytes:
        return (self.run.folder / "journal.jsonl").read_bytes()


@contextmanager
def _process(process: dict[str, Any]) -> Iterator[None]:
    """Be that process for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runbook_lib.run, "this_process", lambda: process)
        yield


def _settled(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what tells only whether anything was done in an attempt."""
    phases = [
        {key: value for key, value in entry.items() if key not in ("idle", "process")}
        for entry in state["phases"]
    ]
    return {**state, "phases": phases}


def test_every_view_of_a_night_tells_the_same_whatever_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # what a power cut would take is not asked here
    run_state_machine_as_test(
        Night,
        settings=settings(
            max_examples=50,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
