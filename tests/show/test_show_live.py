"""The view of a running migration, in a real kernel whose cell is at work: it is asked twice, it
cancels, and it leaves no widget.
"""

from __future__ import annotations

from tests.show.front import Front

CELL = """
import time
from runbook_lib.phases import kernel
from runbook_lib.show.live import View

view = View(lambda: (print("cancelled by a person"), kernel.interrupt()))
view.show([("elapsed", "3 s of about 4.0 s"), ("others", "2 sessions <wait>")], True)
print("at work")
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
finally:
    view.close()
"""
ASKED = "Yes, cancel it", "No, go on"


def test_a_person_is_asked_once_more_and_then_the_cell_is_interrupted_and_no_widget_is_left() -> (
    None
):
    with Front.started() as front:
        front.client.execute(CELL)
        front.until("at work")
        assert "2 sessions &lt;wait&gt;" in next(
            state["value"]
            for state in front.models.values()
            if state.get("_model_name") == "HTMLModel"
        )
        for button, then in (
            ("Cancel the migration", ASKED),
            ("No, go on", ("Cancel the migration",)),
            ("Cancel the migration", ASKED),
        ):
            front.press(button)
            front.until_offered(*then)
        assert "cancelled" not in front.printed
        front.press("Yes, cancel it")
        front.until("")
        assert front.printed.split("\n")[1:3] == ["cancelled by a person", "interrupted"]
        assert "application/vnd.jupyter.widget-view+json" in front.shown[0]
        assert (
            set(front.updates[-1]) == {"text/html", "text/plain"}
            and "3 s of about 4.0 s" in front.updates[-1]["text/plain"]
        )
