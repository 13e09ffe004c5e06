"""A demo run in a real JupyterLab, in a real browser: one run, from its first page to its last,
through everything that goes wrong.

The tests follow one another as the phases do: each goes on where the one before it has come to.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.browser.seats import PANEL, Desk, Server, saved, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Open = Callable[..., Desk]


def test_it_opens_on_where_this_is_how_the_run_stands_and_what_comes_next(
    lab: Server, desk: Open
) -> None:
    rita = desk()
    rita.open("00_start.ipynb")
    shown = rita.page.locator(PANEL).inner_text()
    target = lab.run.state["target"]
    for fact in (
        "● demo — not production",
        target["database"],
        f"{target['host']}:{target['port']}",
        target["system_identifier"],
        "Next: plan",
    ):
        assert fact in shown
    rita.picture("01_start")
    assert rita.page.locator("text=Jupyter news").count() == 0
    rita.cell("phase.next()").get_by_role("link", name="10_plan").click()
    rita.shown("10_plan.ipynb")


def test_a_gate_is_refused_then_approved_and_an_item_is_ticked_by_clicks(
    lab: Server, desk: Open
) -> None:
    rita = desk()
    rita.open("10_plan.ipynb")
    rita.top()
    assert rita.steps(to="phase.checklist()") == ""
    rita.step()
    assert rita.page.get_by_role("button", name="is done").all_inner_texts() == ["P4 is done"], (
        "what was checked here is not ticked by hand"
    )
    rita.cell("phase.checklist()").get_by_label("Note").fill("Sunday night, the quietest")
    rita.page.get_by_role("button", name="P4 is done").click()
    rita.page.wait_for_selector("text=P4 was recorded")
    rita.picture("02_checklist")
    rita.cell("phase.checklist()").get_by_role("link", name="show").first.click()
    until(lambda: 0 < (rita.cell("phase.pending()").bounding_box() or {"y": -1})["y"] < 700)
    rita.select("phase.gate()")
    rita.step()
    gate = rita.cell("phase.gate()")
    assert "ApprovalNeeded: the gate `plan` needs a person" in rita.error(
        gate
    ) and "decide with the buttons" in rita.error(gate)
    rita.picture("03_gate_waits")
    for button, reason in (
        ("Refuse", "Mark has not read it"),
        ("Approve", "Mark has read it, too"),
    ):
        gate.get_by_label("Reason").fill(reason)
        gate.get_by_role("button", name=button).click()
        gate.locator("text=run this cell again").last.wait_for()
        rita.picture(f"04_gate_{button.lower()}d")
        rita.select("phase.gate()")
        rita.step()
        assert ("was refused by" in rita.error(gate)) == (button == "Refuse")
    assert rita.steps() == ""
    rita.save()
    run, kept = lab.run, saved(lab.run, "10_plan.ipynb")
    assert (run.phase("plan") or {})["status"] == "succeeded"
    assert [(one["decision"], one["reason"]) for one in run.read_approvals()] == [
        ("refused", "Mark has not read it"),
        ("approved", "Mark has read it, too"),
    ]
    for fact in (
        "Sunday night, the quietest",
        "approved by Rita (typed)",
        "Mark has read it, too",
        "P7 Review migration for index additions/removals",
    ):
        assert fact in kept


def test_a_rehearsal_is_stepped_through_by_the_keyboard_alone(lab: Server, desk: Open) -> None:
    rita = desk()
    rita.open("20_rehearse.ipynb")
    rita.page.keyboard.press("Escape")
    assert rita.steps(by="keyboard") == ""
    assert (lab.run.phase("rehearse") or {})["status"] == "succeeded"
    rita.picture("05_rehearsed")
    rita.save()


def test_a_kernel_that_was_killed_loses_nothing_and_the_phase_goes_on(
    lab: Server, desk: Open
) -> None:
    rita = desk()
    rita.open("30_backup.ipynb")
    rita.top()
    assert rita.steps(to="phase.hashes()") == ""
    entry = lab.run.phase("backup") or {}
    os.kill(entry["process"]["pid"], signal.SIGKILL)
    rita.page.get_by_role("button", name="Ok").click()
    rita.picture("06_kernel_killed")
    mark = desk("Mark")
    mark.open("00_start.ipynb")
    mark.top()
    assert mark.steps() == ""
    assert (
        "backup was killed, and what it began may have landed in part"
        in mark.cell("phase.next()").inner_text()
    )
    mark.select("phase.next()")
    mark.picture("07_start_says_killed")
    rita.top()
    assert rita.steps() == ""
    rita.save()
    assert [one["status"] for one in lab.run.state["phases"] if one["phase"] == "backup"] == [
        "unknown",
        "succeeded",
    ]
    assert (lab.run.read_evidence("backup") or {})["proven_at"]


def test_two_people_see_the_same(lab: Server, desk: Open) -> None:
    rita, mark = desk(), desk("Mark")
    for person in (rita, mark):
        person.open("40_preflight.ipynb")
    rita.top()
    assert rita.steps() == ""
    rita.save()
    mark.open("40_preflight.ipynb")
    mark.select("phase.checklist()")
    mark.step()
    seen = [
        person.cell("phase.checklist()").locator("table").inner_text() for person in (rita, mark)
    ]
    assert seen[0] == seen[1] and "E6 Confirm rollback database backup is accessible" in seen[0]
    mark.picture("08_preflight_of_the_other")


def test_the_migration_is_found_at_work_and_cancelled_by_who_is_asked_once_more(
    lab: Server, desk: Open
) -> None:
    rita = desk()
    rita.open("50_announce.ipynb")
    rita.top()
    assert rita.steps() == ""
    rita.save()
    rita.open("60_migrate.ipynb")
    assert "needs a person" in rita.steps(by="keyboard")
    approve_by_keyboard(rita, "both of us are here")
    assert rita.steps(to="phase.deploy()", by="keyboard") == ""
    with lab.world.db() as somebody:
        somebody.execute("BEGIN")
        somebody.execute('SELECT count(*) FROM "Appointment"')
        rita.page.keyboard.press("Shift+Enter")
        rita.page.wait_for_selector("text=held up by")
        rita.picture("09_live_view")
        mark = desk("Mark")
        mark.open("00_start.ipynb")
        mark.top()
        assert mark.steps() == ""
        assert (
            "Do not start it again: Rita (typed) has been at work on migrate"
            in mark.cell("phase.next()").inner_text()
        )
        mark.select("phase.next()")
        mark.picture("10_start_says_at_work")
        for button in ("Cancel the migration", "No, go on", "Cancel the migration"):
            rita.page.get_by_role("button", name=button).click()
        rita.page.get_by_role("button", name="Yes, cancel it").wait_for()
        rita.picture("11_asked_once_more")
        assert (lab.run.phase("migrate") or {})["status"] == "running"
        rita.page.get_by_role("button", name="Yes, cancel it").click()
        rita.idle()
        somebody.execute("COMMIT")
    rita.picture("12_cancelled")
    rita.save()
    kept = saved(lab.run, "60_migrate.ipynb")
    assert (
        (lab.run.phase("migrate") or {})["status"] == "aborted"
        and "held up by" in kept
        and "elapsed" in kept
    )


def approve_by_keyboard(person: Desk, reason: str) -> None:
    """From the cell of the gate to its fields by Tab, to its button by Enter, and the cell once
    more.
    """
    person.page.keyboard.press("ArrowUp")
    while not person.focus().startswith("Approve gate"):
        person.page.keyboard.press("Tab")
    person.page.keyboard.press("Shift+Tab")
    person.page.keyboard.type(reason)
    person.page.keyboard.press("Tab")
    person.picture("13_focus_is_seen")
    person.page.keyboard.press("Enter")
    person.page.wait_for_selector("text=Now run this cell again")
    person.page.keyboard.press("Shift+Enter")
    person.idle()


def test_the_run_goes_on_to_its_end_and_every_notebook_is_small_and_opens_soon(
    lab: Server, desk: Open
) -> None:
    forward = lab.world.command(
        "rollback", str(lab.run.folder), "--way", "forward", "--reason", "cancelled by hand"
    )
    assert forward.returncode == 1, forward.stdout + forward.stderr
    rita = desk()
    for notebook in ("60_migrate.ipynb", "70_validate.ipynb", "80_close.ipynb"):
        rita.open(notebook)
        rita.top()
        if notebook == "70_validate.ipynb":
            assert "nobody has been waiting for a lock" in rita.steps(by="keyboard")
            approve_by_keyboard(rita, "that was the report which held it up")
        assert rita.steps() == ""
        rita.picture(f"14_{notebook[:2]}")
        rita.save()
    assert lab.run.outcome == "succeeded"
    reader = desk("reader")
    reader.open("00_start.ipynb")
    for path in sorted(lab.run.folder.glob("[0-9][0-9]_*.ipynb"))[1:]:
        seconds = reader.open_another(path.name)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, opened in {seconds:.1f} s")
        assert path.stat().st_size <= 2_000_000
