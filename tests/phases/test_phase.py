"""A phase ends as what it was: by its gates, and by the cells that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib import params
from runbook_lib.check import Checks, check
from runbook_lib.errors import ApprovalNeeded, CheckError, GateError
from runbook_lib.phases.base import Phase, open_phase
from runbook_lib.run import Run, create

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
    return (phase.run.phase("plan") or {})["status"]


def test_a_phase_is_not_finished_before_its_gate_was_passed(phase: Example) -> None:
    with pytest.raises(GateError, match="`plan` was not passed"):
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
    with pytest.raises(GateError, match="run them again"):
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
