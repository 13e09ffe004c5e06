"""The runbook's checklists: every item is there, what is checked cannot be ticked, what is a
person's is ticked by a person; and how a run stands.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from runbook_lib import gate, params
from runbook_lib.check import Checks, check, not_configured, unknown
from runbook_lib.errors import ApprovalNeeded, GateError, Refused
from runbook_lib.phases import checklists, seat
from runbook_lib.phases.base import Phase, notebook_name, open_phase
from runbook_lib.run import PHASES, Run, create
from tests.journals import begun_by

ROOT = Path(__file__).resolve().parents[2]
PROMISES = {"P": 7, "B": 6, "E": 6, "C": 4, "X": 6, "V": 5}
"""How many items each list of the runbook has; the steps of the migration and of the validation are
items, too.
"""


class Plan(Phase):
    name, needs_database, gates = "plan", False, ("plan",)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"], values["approvals"] = str(tmp_path), {"required": ["plan"]}
    made = create(
        values, ["1_x"], {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
    )
    made.begin_phase("plan", "10_plan.ipynb")
    return made


@pytest.fixture
def before_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "10_plan.ipynb")
    monkeypatch.delenv("RUNBOOK_NOTEBOOK", raising=False)


def item(run: Run, id: str, phase: str = "plan") -> Any:
    return next(one for one in checklists.items(run, phase) if one.id == id)


def test_every_item_of_the_runbook_is_there_and_leads_to_a_cell_of_its_notebook() -> None:
    entries = [(phase, entry) for phase, found in checklists.entries().items() for entry in found]
    assert max(Counter(entry.id for _, entry in entries).values()) == 1
    ids = {entry.id.split(".")[0] for _, entry in entries}
    assert {f"{letter}{n}" for letter, count in PROMISES.items() for n in range(1, count + 1)} | {
        f"R{n}" for n in range(5)
    } <= ids
    assert [sum(entry.id.startswith(f"{id}.") for _, entry in entries) for id in ("V5", "R4")] == [
        7,
        5,
    ]
    for phase, entry in entries:
        cells = [
            cell.id
            for cell in nbformat.read(ROOT / "notebooks" / notebook_name(phase), as_version=4).cells
        ]
        assert f"{phase}-checklist" in cells and (not entry.cell or entry.cell in cells), entry.id


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (check("window", "it is open", True, "02:00"), "passed"),
        (check("window", "it is open", False, "over"), "failed"),
        (unknown("window", "it is open", "no clock"), "could not check"),
        (not_configured("window", "it is open", "migrate.window"), "open"),
    ],
)
def test_an_item_stands_as_its_check_ended_and_is_a_persons_where_none_was_asked_for(
    run: Run, found: Any, state: str
) -> None:
    assert item(run, "P4").state == "to come"
    run.write_evidence("plan.window", [found.as_dict()])
    assert item(run, "P4").state == state and found.found in item(run, "P4").evidence


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ({"what": "notified", "deliveries": [{"delivered": True, "why": ""}]}, "passed"),
        ({"what": "notified", "deliveries": [{"delivered": False, "why": "refused"}]}, "open"),
        ({"what": "not notified", "why": "nobody is named"}, "open"),
    ],
)
def test_people_whom_no_message_reached_are_a_persons_to_tell(
    run: Run, line: dict[str, Any], state: str
) -> None:
    run.journal(audience="stakeholders", occasion="planned", title="Planned", **line)
    assert item(run, "P5").state == state


def test_nobody_ticks_what_is_checked_here_nor_headless(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GateError, match="who sits before the notebook"):
        checklists.ticked(run, "validate", "V3.2", "Rita", "looked at it")
    monkeypatch.setenv("JPY_SESSION_NAME", "10_plan.ipynb")
    monkeypatch.delenv("RUNBOOK_NOTEBOOK", raising=False)
    run.write_evidence("plan.window", [check("window", "it is open", False, "over").as_dict()])
    with pytest.raises(GateError, match="P4 is not open: failed"):
        checklists.ticked(run, "plan", "P4", "Rita", "never mind")


def test_who_ticked_when_and_the_note_stand_in_the_journal(
    run: Run, before_the_notebook: None
) -> None:
    made = checklists.ticked(run, "validate", "V3.2", "Rita", "the dashboard is green")
    assert (made.state, made.done_by) == (
        "done",
        "Rita (typed)",
    ) and "the dashboard is green" in made.evidence
    assert [
        (line["who"], line["note"])
        for line in run.read_journal()
        if line["what"] == checklists.TICKED
    ] == [("Rita (typed)", "the dashboard is green")]
    checklists.ticked(run, "close", "H1.2", "Rita", "vacuum first")
    assert [line["text"] for line in run.read_journal() if line["what"] == "lessons learned"] == [
        "vacuum first"
    ]


def test_a_gate_that_asks_for_a_person_names_what_is_open_and_the_approval_accepts_it(
    run: Run,
) -> None:
    run.write_evidence(
        "plan.window", [not_configured("window", "it is open", "migrate.window").as_dict()]
    )
    with pytest.raises(ApprovalNeeded, match="Schedule maintenance window"):
        Plan(run).pass_gate("plan", Checks("Good", []))
    assert gate.approve(run, "plan", "it is Sunday")["could_not_check"] == ["checklist.P4"]
    Plan(run).pass_gate("plan", Checks("Good", []))


def test_a_phase_that_another_process_is_at_work_on_is_refused_with_who_where_and_since_when(
    run: Run,
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        process = {
            "host": (run.phase("plan") or {})["process"]["host"],
            "pid": other.pid,
            "started": round(psutil.Process(other.pid).create_time(), 1),
        }
        begun_by(run, "Mark", process)
        with pytest.raises(
            Refused,
            match=rf"Mark has been at work on plan since .* UTC \(process {other.pid} on "
            rf"{process['host']}\)",
        ):
            run.begin_phase("plan", "10_plan.ipynb")
        assert [entry["status"] for entry in run.state["phases"]] == ["running"]
        assert "Do not start it again: Mark has been at work on plan" in str(seat.next_step(run))
        other.communicate(b"\n")
    assert "plan was killed" in str(seat.next_step(run)) and "✘ killed" in str(seat.phases(run))
    run.begin_phase("plan", "10_plan.ipynb")
    assert [entry["status"] for entry in run.state["phases"]] == ["unknown", "running"]


def test_what_comes_next_follows_from_how_the_run_stands(run: Run) -> None:
    run.end_phase("plan", "waiting", reason="the gate `plan` needs a person")
    assert "A gate waits for a person" in str(seat.next_step(run)) and "? waits" in str(
        seat.decisions(run)
    )
    gate.approve(run, "plan", "read it")
    assert (
        "Next: plan" in str(seat.next_step(run))
        and "read it" in str(seat.decisions(run))
        and "gate approved" in str(seat.journal(run))
    )
    run.begin_phase("plan", "10_plan.ipynb")
    run.end_phase("plan", "failed", reason="the disk is full")
    assert "plan has not succeeded: the disk is full" in str(
        seat.next_step(run)
    ) and "rollback" not in str(seat.next_step(run))
    for phase in PHASES[1:]:
        run.begin_phase(phase, notebook_name(phase))
        run.end_phase(phase, "succeeded")
    run.end("succeeded")
    assert "The run has ended: succeeded" in str(seat.next_step(run))
    assert '<a href="10_plan.ipynb">10_plan</a>' in seat.phases(run)._repr_html_()


def test_who_comes_back_to_00_start_changes_nothing_and_needs_no_database(run: Run) -> None:
    run.begin_phase("start", "00_start.ipynb")
    run.end_phase("start", "succeeded")
    before = run.state
    phase = open_phase("start", {"run_folder": str(run.folder)})  # of a database that is nowhere
    assert "plan" in str(phase.next()) and "● demo" in str(phase)
    phase.finish()
    assert run.state == before
