"""A phase ends as what it was: by its gates, and by the cells that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib import gate, history, params
from runbook_lib.check import Checks, check, unknown
from runbook_lib.errors import Aborted, ApprovalNeeded, CheckError, GateError, Refused
from runbook_lib.phases import again
from runbook_lib.phases.base import Phase, newest_of, open_phase
from runbook_lib.phases.plan import Plan
from runbook_lib.run import Run, create
from runbook_lib.show import report

ROOT = Path(__file__).resolve().parents[2]
GOOD = Checks("Good", [check("a", "it holds", True, "yes")])


class Example(Phase):
    """A phase without a database."""

    name, needs_database, gates = "plan", False, ("plan",)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(tmp_path)
    return create(
        values, ["1_x"], {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
    )


@pytest.fixture
def phase(run: Run) -> Example:
    made = Example(run)
    run.begin_phase("plan", "10_plan.ipynb")
    return made


def status(phase: Phase) -> str:
    return (phase.run.phase(phase.name) or {})["status"]


def test_a_phase_is_not_finished_before_its_gate_was_passed(phase: Example) -> None:
    with pytest.raises(Refused, match="`plan` was not passed"):
        phase.finish()
    phase.pass_gate("plan", GOOD)
    phase.finish()
    assert status(phase) == "succeeded"


def test_a_cell_that_failed_ends_the_phase_and_must_pass_before_it_is_finished(
    phase: Example,
) -> None:
    phase.pass_gate("plan", GOOD)
    phase.fail(CheckError("no", failed=("a.b",)))
    phase.cell_ended("cell-1", False)
    assert (status(phase), phase.run.outcome) == ("failed", "failed")
    phase.cell_ended("cell-2", True)
    with pytest.raises(Refused, match="run them again"):
        phase.finish()
    phase.cell_ended("cell-1", True)
    assert (status(phase), phase.run.outcome) == ("running", "running")
    phase.finish()
    assert status(phase) == "succeeded"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ApprovalNeeded("a person", gate="plan"), "waiting"),
        (KeyboardInterrupt(), "aborted"),
        (CheckError("no"), "failed"),
        (ValueError("x"), "failed"),
    ],
)
def test_how_a_phase_ends_follows_from_the_error(
    phase: Example, error: BaseException, expected: str
) -> None:
    phase.fail(error)
    assert (status(phase), phase.run.outcome) == (expected, expected)


def test_an_entry_whose_kernel_died_is_closed_when_the_phase_begins_again(phase: Example) -> None:
    phase.run.begin_phase("plan", "10_plan-2.ipynb")
    assert [entry["status"] for entry in phase.run.state["phases"]] == ["unknown", "running"]


def test_parameters_that_are_not_the_runs_are_refused(run: Run) -> None:
    other = {**run.parameters, "run_folder": str(run.folder), "backup": {"directory": "/elsewhere"}}
    with pytest.raises(Exception, match="the parameters backup differ"):
        open_phase("history", other)


def test_another_engineer_may_go_on(run: Run) -> None:
    values: dict[str, Any] = {
        **run.parameters,
        "run_folder": str(run.folder),
        "engineer": "Somebody Else",
    }
    assert open_phase("history", values).run.id == run.id


class Measuring(Example):
    """A phase that measures, asks a person, and goes on."""

    name, gates = "preflight", ("preflight",)
    measured = 0

    def measure(self) -> Checks:
        type(self).measured += 1
        return Checks("Measured", [unknown("disk", "the disk has room", "it cannot be seen")])

    def ask(self, found: Checks) -> Checks:
        return self.pass_gate_once("preflight", "ask", lambda: found)

    def afterwards(self) -> str:
        return "done"


def waits(run: Run) -> None:
    """The phase has come to its gate, and waits."""
    Measuring.measured = 0
    first = Measuring(run)
    run.begin_phase("preflight", "40_preflight.ipynb")
    with pytest.raises(ApprovalNeeded, match="it cannot be seen") as asked:
        first.ask(first.measure())
    first.fail(asked.value)


def test_a_phase_whose_gate_was_approved_goes_on_there_and_measures_nothing_again(run: Run) -> None:
    waits(run)
    gate.approve(run, "preflight", "looked at it on the server")
    second = again.decided(phase := Measuring(run))
    phase.begin("40_preflight-2.ipynb")
    assert second is not None
    found = second.measure()
    assert "is not done again: measured before" in str(found)
    assert [item.id for item in second.ask(found)] == ["disk"]
    assert second.afterwards() == "done"
    second.finish()
    assert Measuring.measured == 1 and run.phase("preflight")["status"] == "succeeded"  # type: ignore[index]


def test_a_refusal_is_told_without_measuring_again(run: Run) -> None:
    waits(run)
    gate.approve(run, "preflight", "no room", refused=True)
    second = again.decided(Measuring(run))
    assert second is not None
    found = second.measure()
    with pytest.raises(GateError, match="was refused by .*: no room"):
        second.ask(found)
    assert Measuring.measured == 1


def test_a_phase_measures_again_where_nobody_decided_or_it_is_asked_for_or_the_plan_is_another(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(run)
    assert again.decided(Measuring(run)) is None
    gate.approve(run, "preflight", "looked")
    assert again.decided(Measuring(run)) is not None
    monkeypatch.setenv(again.AGAIN, "preflight")
    assert again.decided(Measuring(run)) is None
    monkeypatch.delenv(again.AGAIN)
    run.write_evidence("plan", {"hash": "another"})
    assert again.decided(Measuring(run)) is None


def test_parameters_lead_to_the_newest_run_of_their_database_though_another_has_a_later_one(
    run: Run,
) -> None:
    values = run.parameters
    other = {**values, "database": {"url": "env:ANOTHER_DATABASE"}}
    later = create(other, ["1_x"], {**run.state["target"], "database": "another"})
    assert (newest_of(values).id, newest_of(other).id) == (run.id, later.id)  # type: ignore[union-attr]
    assert newest_of({**values, "database": {"url": "env:A_THIRD"}}) is None


class Deploying(Example):
    """A phase whose deployment comes after its gate."""

    name, gates, steps = "migrate", ("migrate",), ("deploy",)

    def deploy(self) -> None:
        self.require_gate("migrate")
        self._passed.add("deploy")


def cell(phase: Phase, name: str, run: Any) -> None:
    """A cell of its notebook, as the kernel tells the phase of it."""
    try:
        run()
    except Exception as error:
        phase.fail(error)
        phase.cell_ended(name, False)
    else:
        phase.cell_ended(name, True)


@pytest.fixture
def deploying(run: Run) -> Deploying:
    run.begin_phase("migrate", "60_migrate.ipynb")
    return Deploying(run)


def test_a_cell_that_is_run_too_early_moves_nothing_and_can_be_run_in_its_turn(
    deploying: Deploying,
) -> None:
    before = deploying.run.state
    cell(deploying, "deploy", deploying.deploy)
    assert deploying.run.state == before
    assert deploying.run.read_journal()[-1]["what"] == "refused"
    cell(deploying, "gate", lambda: deploying.pass_gate("migrate", GOOD))
    cell(deploying, "deploy", deploying.deploy)
    assert (deploying.run.outcome, status(deploying)) == ("running", "running")
    deploying.finish()
    assert status(deploying) == "succeeded"


def test_finishing_before_the_gate_is_open_can_be_repeated_once_it_is(deploying: Deploying) -> None:
    cell(deploying, "finish", deploying.finish)
    cell(deploying, "gate", lambda: deploying.pass_gate("migrate", GOOD))
    cell(deploying, "finish", deploying.finish)
    assert status(deploying) == "running", "the deployment has not run"
    cell(deploying, "deploy", deploying.deploy)
    cell(deploying, "finish", deploying.finish)
    assert status(deploying) == "succeeded"


def test_the_cause_of_the_night_stays_whatever_is_run_out_of_order_afterwards(run: Run) -> None:
    run.begin_phase("migrate", "60_migrate.ipynb")
    run.journal("migration begun", files=["1_x"])
    Deploying(run).fail(Aborted("interrupted by Ada: it waited 114 s for the monthly report"))
    run.begin_phase("migrate", "60_migrate.ipynb")  # another kernel, and nothing but this cell
    later = Deploying(run)
    cell(later, "deploy", later.deploy)
    run.end_phase("migrate", "aborted", reason="its process 1 was killed", killed=True)
    run.end("aborted")
    told = "interrupted by Ada: it waited 114 s for the monthly report"
    why = report._failures(run.outcome, run.state["phases"])["why"]
    assert why["reason"] == told  # type: ignore[index]
    assert history.entry(run).issues == (f"migrate: {told}",)


def test_work_on_the_database_is_told_as_running_though_an_earlier_cell_failed(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.fail(CheckError("no", failed=("health.data",)))
    deploying.cell_ended("health", False)
    deploying._goes_on()
    assert (deploying.run.outcome, status(deploying)) == ("running", "running")
    deploying.pass_gate("migrate", GOOD)
    deploying.deploy()
    with pytest.raises(Refused, match="run them again"):
        deploying.finish()


def test_who_refused_has_accepted_nothing(run: Run) -> None:
    run.begin_phase("plan", "10_plan.ipynb")
    run.write_evidence("plan", {"hash": "one", "severe": ["drops a column"]})
    gate.approve(run, "plan", "not tonight", refused=True)
    before = run.state
    plan = Plan(run)
    cell(plan, "accepted", plan.accepted)
    assert run.state == before and "not tonight" in run.read_journal()[-1]["reason"]
    assert gate.refused(run).keys() == {"plan"}
    gate.approve(run, "plan", "I was shown why it is safe")
    assert gate.refused(run) == {}
