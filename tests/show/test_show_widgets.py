"""Banner, gates, checklists: facts as HTML and text; buttons record, and need a name."""

import pytest

from runbook_lib.check import Checks, check, unknown
from runbook_lib.show import widgets
from runbook_lib.show.widgets import Checklist, Decision, Gate, Item

FACTS = {
    "environment": "eu-1",
    "database": "clinic",
    "host": "db.internal",
    "run": "20261124T020000Z_eu-1_x",
    "phase": "Migrate",
    "engineer": "Dana",
}
CHECKS = Checks(
    "The gate",
    [
        check("a", "the backup is proven", True, "14 min old"),
        unknown("b", "the disk has room", "cannot be seen from here"),
    ],
)


def test_production_differs_by_word_colour_and_shape():
    production, other = (
        widgets.banner(**FACTS, production=True),
        widgets.banner(**FACTS, production=False),
    )
    assert "▲ PRODUCTION — eu-1" in str(production) and "● eu-1 — not production" in str(other)
    for shape in ("#86120f", "border-image", "border-radius:0"):
        assert (
            shape in production._repr_html_()
            and shape not in other._repr_html_().split("</style>")[1]
        )


@pytest.mark.parametrize("fact", [value for name, value in FACTS.items() if name != "environment"])
def test_the_banner_says_where_this_is_as_html_and_as_text(fact):
    shown = widgets.banner(**FACTS, production=False)
    assert fact in shown._repr_html_() and fact in str(shown)


def test_a_hostile_name_is_only_a_name():
    shown = widgets.banner(**{**FACTS, "database": "<script>alert(1)</script>"}, production=False)
    assert "<script>" not in shown._repr_html_()


def pressed(gate):
    """The gate's widgets by what they are called, and what it became."""
    became = []
    name, reason, buttons, said = gate.buttons(became.append).children
    approve, refuse = buttons.children
    return name, reason, approve, refuse, said, became


def decide(approved, person, reason):
    return Decision(approved, person, "2026-11-24T02:00:00Z", reason)


def test_a_gate_that_waits_says_so_and_how_to_open_it():
    text = str(Gate("migrate", CHECKS, command="`runbook approve clinic migrate`"))
    assert (
        "waits for a person" in text
        and "runbook approve clinic migrate" in text
        and "the disk has room" in text
    )


@pytest.mark.parametrize(
    ("approved", "word"), [(True, "approved by Rita"), (False, "refused by Rita")]
)
def test_a_button_records_who_and_why(approved, word):
    name, reason, approve, refuse, said, became = pressed(Gate("migrate", CHECKS, decide=decide))
    name.value, reason.value = "Rita", "read it all"
    (approve if approved else refuse).click()
    assert became[0].decision == decide(approved, "Rita", "read it all")
    assert word in said.value and word in became[0]._repr_html_() and word in str(became[0])
    approve.click(), refuse.click()
    assert len(became) == 1, "once it is decided, a second press decides nothing"


@pytest.mark.parametrize(("person", "why"), [("", "because"), ("Rita", " ")])
def test_without_name_and_reason_nothing_is_recorded(person, why):
    name, reason, approve, _, said, became = pressed(Gate("migrate", CHECKS, decide=decide))
    name.value, reason.value = person, why
    approve.click()
    assert not became and "needed" in said.value


ITEMS = [
    Item("B1", "the backup works", "passed", "14 min old", "backup-make"),
    Item("B2", "the disk has room", "failed", "0 B free", "backup-make"),
    Item("P5", "the front desk told users", "open", "nobody was told"),
    Item("P6", "on-call is awake", "done", "by phone", done_by="Devin"),
    Item("R1", "marked as rolled back", "not needed", "way back: none"),
]


def told(id, person, note):
    return Item(
        id, "the front desk told users", "done", f"2026-11-24 01:55 UTC: {note}", done_by=person
    )


def test_a_checklist_shows_what_was_checked_with_its_evidence_and_cell_and_what_is_open():
    checklist = Checklist("Before the window", ITEMS)
    assert (
        "2 of 4 done, 1 open for a person" in str(checklist)
        and "14 min old" in str(checklist)
        and "✘ failed" in str(checklist)
    )
    assert '<a href="#cell-id=backup-make">show</a>' in checklist._repr_html_()


def test_only_what_is_a_persons_has_a_button():
    _, row, _ = Checklist("Before", ITEMS, tick=told).buttons(print).children
    assert row.children[1].children[1].description == "P5 is done"


@pytest.mark.parametrize(("person", "note"), [("", "by phone"), ("Rita", " ")])
def test_without_name_and_note_no_item_is_ticked(person, note):
    name, row, said = (
        Checklist("Before", ITEMS, tick=told).buttons(lambda now: pytest.fail("ticked")).children
    )
    (text, button), name.value = row.children[1].children, person
    text.value = note
    button.click()
    assert "needed" in said.value


def test_ticking_records_who_when_and_the_note():
    became = []
    name, row, said = Checklist("Before", ITEMS, tick=told).buttons(became.append).children
    (text, button), name.value = row.children[1].children, "Rita"
    text.value = "by phone"
    button.click()
    assert (
        "2026-11-24 01:55 UTC: by phone" in str(became[0])
        and "3 of 4 done" in str(became[0])
        and "Rita" in str(became[0])
    )
    button.click()
    assert len(became) == 1 and "P5 was recorded" in said.value


def test_shown_in_a_notebook_there_are_buttons_only_where_something_is_to_be_decided(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda what, **_: shown.append(type(what).__name__)
    )
    Gate("migrate", CHECKS)._ipython_display_()
    Gate("migrate", CHECKS, decision=decide(True, "Rita", "x"), decide=decide)._ipython_display_()
    assert shown == ["Html", "Html"]
    Gate("migrate", CHECKS, decide=decide)._ipython_display_()
    assert shown[2:] == ["Html", "VBox"]


def test_a_refused_gate_can_be_approved_after_all(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda what, **_: shown.append(type(what).__name__)
    )
    Gate(
        "migrate", CHECKS, decision=decide(False, "Rita", "not tonight"), decide=decide
    )._ipython_display_()
    assert shown == ["Html", "VBox"]
