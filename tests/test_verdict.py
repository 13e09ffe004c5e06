"""A phase that did not begin the migration has no failed migration, and one that judged nothing
no failed validation.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib import advice, execute, gate, params, runner, verdict
from runbook_lib.check import Status
from runbook_lib.phases import talk
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[1]
TARGET = {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
BEGUN = ("migration begun", {"files": ["1_x"]})
MAINTENANCE = ("maintenance on", {"phase": "announce"})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("VERDICT_URL", "postgresql://nobody@127.0.0.1:1/d")
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(tmp_path / "archive")
    values["database"]["url"] = "env:VERDICT_URL"
    values["rollback"] = {"automatic": True}
    return create(values, ["20260101000000_first"], TARGET)


def ends(
    run: Run,
    phase: str,
    status: str = "failed",
    *events: tuple[str, dict[str, Any]],
    checks: tuple[str, ...] = (),
) -> None:
    """Let an attempt at a phase do something, and end."""
    run.begin_phase(phase, f"{phase}.ipynb")
    for what, facts in events:
        run.journal(what, **facts)
    run.end_phase(phase, status, checks, reason="TypeError")
    run.end(status)


@pytest.mark.parametrize(
    ("status", "events", "expected", "at_once"),
    [
        ("failed", (), Status.PASSED, False),  # its opening raised
        ("failed", (MAINTENANCE,), Status.PASSED, False),  # its gate did not open
        ("aborted", (MAINTENANCE,), Status.PASSED, False),
        ("failed", (BEGUN,), Status.FAILED, True),
        ("aborted", (BEGUN,), Status.FAILED, False),
        ("succeeded", (BEGUN,), Status.PASSED, False),
    ],
)
def test_only_a_migration_that_was_begun_can_have_failed(
    run: Run, status: str, events: tuple[Any, ...], expected: Status, at_once: bool
) -> None:
    ends(run, "migrate", status, *events)
    assert verdict.migration(run).status is expected
    assert verdict.leads_back(run, "migrate") is at_once


def test_a_kernel_that_never_answers_leads_nowhere_though_the_migration_was_begun_before(
    run: Run,
) -> None:
    ends(run, "migrate", "aborted", BEGUN)
    ends(run, "migrate")
    assert verdict.migration(run).status is Status.FAILED
    assert not verdict.leads_back(run, "migrate")


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        (("content.public.Visit",), Status.FAILED),
        ((), Status.UNKNOWN),  # the kernel died, or a statement's session was lost
        (("identity",), Status.UNKNOWN),  # it looked at another database: nothing was judged
    ],
)
def test_a_validation_that_judged_nothing_is_one_that_could_not_be_made(
    run: Run, checks: tuple[str, ...], expected: Status
) -> None:
    ends(run, "validate", "failed", MAINTENANCE, checks=checks)
    assert verdict.validation(run).status is expected
    assert verdict.leads_back(run, "validate") is (expected is Status.FAILED)


def test_a_validation_that_a_person_refuses_is_judged(run: Run) -> None:
    gate.approve(run, "validate", "the figures are wrong", refused=True)
    ends(run, "validate", "failed", MAINTENANCE)
    assert verdict.leads_back(run, "validate")


@pytest.mark.parametrize(
    ("events", "steps", "command"),
    [
        ((MAINTENANCE,), ["migrate"], "resume"),
        ((MAINTENANCE, BEGUN), ["migrate", "rollback"], "rollback"),
    ],
)
def test_no_way_back_is_begun_of_a_migration_that_was_not(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    events: tuple[Any, ...],
    steps: list[str],
    command: str,
) -> None:
    done: list[str] = []

    def step(run: Run, phase: str, *_: Any) -> Any:
        done.append(phase)
        if phase == "migrate":
            ends(run, phase, "failed", *events)
        return SimpleNamespace(status="failed")

    monkeypatch.setattr(runner, "step", step)
    monkeypatch.setattr(runner, "claim", lambda *_: None)
    monkeypatch.setattr(runner, "_holds", lambda *_: False)
    runner._carry(run, ("migrate",), print, execute.Stop())
    assert done == steps
    assert advice.next_command(run).startswith(f"runbook {command} ")


@pytest.mark.parametrize(
    ("events", "grave", "called", "does"),
    [
        ((), False, None, None),
        ((MAINTENANCE,), True, "partial outage", "it has stopped and changes nothing more"),
        ((MAINTENANCE, BEGUN), True, "failed migration", "it takes the way back at once"),
    ],
)
def test_people_are_told_what_failed_and_not_more(
    run: Run, events: tuple[Any, ...], grave: bool, called: str | None, does: str | None
) -> None:
    ends(run, "migrate", "failed", *events)
    phase = SimpleNamespace(name="migrate", run=run, params=run.params)
    assert talk.is_grave(phase) is grave
    if grave:
        told = talk.escalate(phase, ())
        assert told.failures == (called,) and str(told.runbook).startswith(str(does))


SILENT = """import sys, time
if "ipykernel_launcher" in sys.orig_argv:
    time.sleep(600)
"""
"""What keeps a kernel from ever answering."""


def test_a_kernel_that_does_not_answer_is_one_message_with_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent").mkdir()
    (tmp_path / "silent" / "sitecustomize.py").write_text(SILENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "silent"))
    monkeypatch.setattr(execute, "KERNEL_START_S", 1)
    said: list[str] = []
    done = runner.step(run, "migrate", lambda line, **_: said.append(line), execute.Stop())
    assert done.status == run.outcome == "failed"
    text = "\n".join(said)
    assert "kernel did not answer within 1 s" in text and "nothing was changed" in text
    assert f"runbook resume {run.reference}" in text and "Traceback" not in text
    assert not verdict.leads_back(run, "migrate")
