"""A run's folder is made once, told truly, and sealed."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import archive, gate, history, params
from runbook_lib.advice import next_command
from runbook_lib.check import Checks, check, unknown
from runbook_lib.errors import ApprovalNeeded, CheckError, GateError, NotMade, UsageError
from runbook_lib.redact import HIDDEN, remember
from runbook_lib.run import Run, create, newest

ROOT = Path(__file__).resolve().parents[1]
TARGET = {
    "host": "h",
    "database": "d",
    "system_identifier": "1",
    "database_oid": 1,
    "server_version": "18.6",
}
GOOD = Checks("Good", [check("a", "it holds", True, "yes")])
BLIND = Checks("Blind", [unknown("b", "it holds", "nobody can see")])


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    found = params.load(ROOT / "params" / "demo.yaml")
    found["environment"]["archive"] = str(tmp_path / "archive")
    return found


@pytest.fixture
def run(values: dict[str, Any]) -> Run:
    return create(values, ["20260101000000_first", "20260102000000_last"], TARGET)


def test_the_folder_is_named_by_time_environment_and_last_migration(run: Run) -> None:
    time, environment, migration = run.id.split("_", 2)
    assert (len(time), environment, migration) == (16, "demo", "20260102000000_last")


def test_a_folder_that_is_there_is_never_overwritten(
    values: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runbook_lib.run

    moment = runbook_lib.run.moment(run.state["started_at"])
    monkeypatch.setattr(runbook_lib.run, "now", lambda: moment)
    with pytest.raises(UsageError, match="is already there"):
        create(values, ["20260102000000_last"], TARGET)


def test_an_archive_that_cannot_be_written_is_refused(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    values["environment"]["archive"] = str(tmp_path / "file" / "archive")
    with pytest.raises(UsageError, match="cannot be made"):
        create(values, [], TARGET)


def test_run_json_has_what_other_programs_are_promised(run: Run) -> None:
    assert {
        "run_id",
        "environment",
        "engineer",
        "target",
        "migrations",
        "outcome",
        "started_at",
        "ended_at",
        "duration_s",
        "downtime_s",
        "phases",
    } <= run.state.keys()
    run.begin_phase("plan", "10_plan.ipynb")
    run.end_phase("plan", "failed", ["a.b"], "because")
    run.end("failed")
    state = json.loads((run.folder / "run.json").read_text())
    assert state["outcome"] == "failed" and state["duration_s"] >= 0
    assert {"phase", "status", "started_at", "ended_at", "notebook", "failed_checks"} <= state[
        "phases"
    ][0].keys()


def test_older_evidence_of_a_name_is_kept_beside_the_newer(run: Run) -> None:
    run.write_evidence("a.b", {"n": 1})
    run.write_evidence("a.b", {"n": 2})
    assert run.read_evidence("a.b") == {"n": 2}
    assert json.loads((run.folder / "evidence" / "a.b.1.json").read_text()) == {"n": 1}


def test_evidence_stays_readable_and_without_secrets_where_the_digits_of_one_occur_in_a_number(
    run: Run,
) -> None:
    remember("38517")
    remember('quote"d')
    run.write_evidence(
        "a.c",
        {"seconds": 1.385174, "port": 38517, "texts": ["at 38517", 'by quote"d', "DETAIL"]},
    )
    run.journal("application restart", seconds=0.385179)
    run.journal("lessons learned", text="at 38517")
    assert run.read_evidence("a.c") == {
        "seconds": 1.385174,
        "port": 38517,
        "texts": [f"at {HIDDEN}", f"by {HIDDEN}", "DETAIL"],
    }
    assert (
        run.read_journal()[-2]["seconds"] == 0.385179
        and run.read_journal()[-1]["text"] == f"at {HIDDEN}"
    )


def test_a_gate_opens_where_its_checks_passed_and_nobody_is_asked_for(run: Run) -> None:
    assert gate.require(run, "plan", GOOD, required=[]) is None


def test_a_gate_that_needs_a_person_waits_for_one(run: Run) -> None:
    with pytest.raises(ApprovalNeeded, match="runbook approve"):
        gate.require(run, "plan", GOOD, required=["plan"])
    gate.approve(run, "plan", "read it")
    assert gate.require(run, "plan", GOOD, required=["plan"])["reason"] == "read it"


def test_what_could_not_be_checked_needs_a_person_everywhere(run: Run) -> None:
    with pytest.raises(ApprovalNeeded, match="nobody can see"):
        gate.require(run, "plan", BLIND, required=[])
    gate.approve(run, "plan", "I looked")
    assert gate.require(run, "plan", BLIND, required=[])


def test_an_approval_accepts_only_what_the_gate_was_waiting_with(run: Run) -> None:
    gate.approve(run, "plan", "in advance")
    with pytest.raises(ApprovalNeeded, match="given before that was known"):
        gate.require(run, "plan", BLIND, required=["plan"])
    gate.approve(run, "plan", "I looked")
    assert gate.require(run, "plan", BLIND, required=["plan"])["reason"] == "I looked"
    with pytest.raises(ApprovalNeeded, match="another thing"):
        gate.require(
            run,
            "plan",
            BLIND + Checks("More", [unknown("later", "another thing", "nobody can see")]),
            required=[],
        )


def test_a_failed_check_is_opened_by_no_approval(run: Run) -> None:
    gate.approve(run, "plan", "let it pass")
    with pytest.raises(CheckError):
        gate.require(
            run, "plan", Checks("Bad", [check("c", "it holds", False, "no")]), required=["plan"]
        )


def test_an_approval_is_void_once_the_plan_has_changed(run: Run) -> None:
    run.write_evidence("plan", {"hash": "one"})
    gate.approve(run, "plan", "read it")
    run.write_evidence("plan", {"hash": "two"})
    with pytest.raises(ApprovalNeeded, match="of another plan and is void"):
        gate.require(run, "plan", GOOD, required=["plan"])


def test_a_refused_gate_stays_shut(run: Run) -> None:
    gate.approve(run, "plan", "not tonight", refused=True)
    with pytest.raises(GateError, match="not tonight"):
        gate.require(run, "plan", GOOD, required=[])


def test_a_sealed_run_is_intact_until_a_byte_changes(run: Run) -> None:
    run.write_evidence("a", {"n": 1})
    archive.seal(run)
    assert archive.verify(run) == []
    (run.folder / "evidence" / "a.json").write_text("{}")
    (run.folder / "added").touch()
    assert archive.verify(run) == [
        "added: added after sealing",
        "evidence/a.json: changed after sealing",
    ]


def test_a_sealed_run_that_goes_on_says_that_it_is_not_sealed_until_it_is_again(run: Run) -> None:
    archive.seal(run)
    run.begin_phase("rollback", "90_rollback.ipynb")
    with pytest.raises(UsageError, match="taken up again"):
        archive.verify(run)
    run.end_phase("rollback", "succeeded")
    archive.seal(run)
    assert archive.verify(run) == [] and (run.folder / "manifest.1.json").exists()


def test_an_approval_opens_the_seal(run: Run) -> None:
    archive.seal(run)
    gate.approve(run, "plan", "read it")
    assert not run.sealed and [line["what"] for line in run.read_journal()][-2:] == [
        "seal opened",
        "gate approved",
    ]


def test_looking_at_a_sealed_run_leaves_it_as_it_is(run: Run) -> None:
    from runbook_lib.phases.base import open_phase

    archive.seal(run)
    phase = open_phase("history", {"run_folder": str(run.folder)})
    phase.entry()
    phase.finish()
    assert archive.verify(run) == []


def test_seals_are_chained(
    values: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runbook_lib.run

    archive.seal(run)
    later = runbook_lib.run.now().replace(year=2090)
    monkeypatch.setattr(runbook_lib.run, "now", lambda: later)
    second = create(values, ["x"], TARGET)
    archive.seal(second)
    (run.folder / "manifest.json").write_text("{}")
    assert archive.verify(second) == [f"the previous run {run.id}: its manifest changed"]


def test_the_newest_run_is_found_by_environment(run: Run) -> None:
    assert newest(run.folder.parent, "demo").id == run.id
    assert newest(run.folder.parent, "production") is None


def test_the_history_entry_is_filled_in_from_the_run(run: Run) -> None:
    run.begin_phase("migrate", "60_migrate.ipynb")
    run.end_phase("migrate", "failed", [], "lock timeout\nmore")
    run.journal("lessons learned", text="ask first")
    run.end("failed")
    entry = history.entry(run)
    assert (
        entry.issues == ("migrate: lock timeout",)
        and entry.lessons == ("ask first",)
        and entry.rollback is False
    )
    assert "lock timeout" in str(entry) and entry.duration_s is not None


def test_the_history_names_what_was_beyond_its_limit_for_a_run_that_succeeded_too(run: Run) -> None:
    line = (
        "blocked sessions (limit 0): worst 1 at 02:00:05 UTC (migrate); beyond the limit for 75 s"
    )
    run.write_evidence("migrate.beyond_limits", [line])
    assert history.entry(run).issues == (f"beyond its limit: {line}",)
    run.write_evidence("validate.beyond_limits", [])
    assert history.entry(run).issues == ()


def test_what_to_type_after_a_failure_depends_on_whether_anything_was_changed(run: Run) -> None:
    for phase, begun, command in (
        ("plan", False, f"runbook resume {run.folder}"),
        ("migrate", False, f"runbook resume {run.folder}"),
        ("migrate", True, f"runbook rollback {run.folder}"),
    ):
        run.begin_phase(phase, f"{phase}.ipynb")
        if begun:
            run.journal("migration begun", files=["1_x"])
        run.end_phase(phase, "failed")
        run.end("failed")
        assert next_command(run).startswith(command)


@pytest.mark.parametrize(
    ("events", "command"),
    [
        ((), "resume"),
        (("migration begun",), "rollback"),  # Prisma applies nothing on top of what is unfinished
        (("migration begun", "migration ended"), "resume"),
        (("migration begun", "rolled back"), "resume"),
        (("migration begun", "rolled back", "migration begun"), "rollback"),
    ],
)
def test_what_to_type_after_an_interrupt_is_what_can_work(
    run: Run, events: tuple[str, ...], command: str
) -> None:
    run.begin_phase("migrate", "60_migrate.ipynb")
    facts: dict[str, dict[str, Any]] = {
        "migration begun": {"files": ["1_x"]},
        "migration ended": {"files": ["1_x"], "seconds": 1.0, "attempts": 1},
        "rolled back": {"way": "resolve", "reasons": []},
    }
    for event in events:
        run.journal(event, **facts[event])
    run.end_phase("migrate", "aborted")
    run.end("aborted")
    assert next_command(run).startswith(f"runbook {command} {run.folder}")


@pytest.mark.parametrize("empty", [[], {}, 0, None])
def test_an_empty_result_is_a_result_and_a_missing_one_is_an_error(run: Run, empty: Any) -> None:
    with pytest.raises(NotMade, match="plan was not made in run"):
        run.read_evidence("plan")
    assert run.read_evidence("plan", missing=()) == () and not run.has_evidence("plan")
    run.write_evidence("plan", empty)
    assert run.read_evidence("plan") == empty and run.has_evidence("plan")


def _truth_tests(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield every expression whose truth value decides something."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert)):
            yield node.test
        elif isinstance(node, ast.BoolOp):
            yield from node.values
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node.operand
        elif isinstance(node, ast.comprehension):
            yield from node.ifs


def _reads_evidence(node: ast.AST | None) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "read_evidence"
    )


def _evidence_names(function: ast.AST) -> set[str]:
    """Return the variables of a function that hold evidence as it was read."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found |= {node.targets[0].id} if _reads_evidence(node.value) else set()
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple)
        ):
            pairs = zip(node.targets[0].elts, node.value.elts, strict=False)
            found |= {to.id for to, of in pairs if isinstance(to, ast.Name) and _reads_evidence(of)}
    return found


def test_no_truth_value_tells_missing_evidence_from_empty_evidence() -> None:
    wrong = []
    for path in sorted((ROOT / "runbook_lib").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                names = _evidence_names(function)
                wrong += [
                    f"{path.name}:{test.lineno}"
                    for test in _truth_tests(function)
                    if _reads_evidence(test) or isinstance(test, ast.Name) and test.id in names
                ]
    assert not wrong
