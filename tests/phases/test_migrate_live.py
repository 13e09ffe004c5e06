"""The deployment before the eyes of a person in JupyterLab, and headless."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbook_lib.phases import kernel
from tests.phases.conftest import Night, Statement
from tests.show.front import Front

NEXT = {"20260201000000_next": 'ALTER TABLE "Patient" ADD COLUMN "seen" INTEGER;\n'}
CELL = """
from runbook_lib.check import Checks
from runbook_lib.phases.base import open_phase

phase = open_phase("migrate", {{"run_folder": {folder!r}}})
phase.pass_gate("migrate", Checks("Open", []))
phase.save()
phase.restore_point()
phase.deploy()
"""


def test_who_cancels_by_the_button_finds_the_run_aborted_the_server_at_rest_and_all_as_text(
    night: Callable[..., Night],
) -> None:
    story = night(NEXT, guard={"victims": 5})
    story.phase.run.end_phase("migrate", "aborted")  # it goes on in a kernel
    holder = story.holding('SELECT count(*) FROM "Patient"')
    with Front.started(JPY_SESSION_NAME="60_migrate.ipynb") as front:
        front.client.execute(CELL.format(folder=str(story.phase.run.folder)))
        front.until("held up by")
        victim = Statement(story, 'SELECT count(*) FROM "Patient"')
        front.until("1 sessions of others wait for it")
        front.press("Cancel the migration")
        front.until_offered("Yes, cancel it", "No, go on")
        front.press("Yes, cancel it")
        front.until("")
    assert (
        victim.ended_well()
        and story.left() == []
        and story.history() == [("20260201000000_next", "unfinished")]
    )
    assert (story.phase.run.phase("migrate")["status"], story.phase.run.outcome) == (
        "aborted",
        "aborted",
    )
    assert [
        line["by"] for line in story.phase.run.read_journal() if line["what"] == "cancel asked for"
    ] == ["the button of the live view"]
    last = front.updates[-1]
    assert (
        "widget" not in str(last)
        and "waits" in last["text/plain"]
        and "monthly-report" in last["text/plain"]
    )
    for told in (
        "AccessExclusiveLock",
        "monthly-report",
        "1 sessions of others wait for it",
        "20260201000000_next",
    ):
        assert told in front.printed, "what the view shows is printed, too"
    holder.execute("COMMIT")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"JPY_SESSION_NAME": "x"}, True),
        ({"JPY_SESSION_NAME": "x", "RUNBOOK_NOTEBOOK": "y"}, False),
    ],
)
def test_a_notebook_that_is_executed_headless_has_no_front_end_wherever_it_was_started(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name in ("JPY_SESSION_NAME", "RUNBOOK_NOTEBOOK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert kernel.in_front_end() is expected
