"""The whole night on the page: everything in its order, to one scale, each thing with the cell
that shows it.
"""

import re
from copy import deepcopy
from pathlib import Path

import nbformat
import nights
import pytest
from pages import Page, phase, run

from runbook_lib.show import night, report, words

BOOKS = nights.notebooks()


@pytest.fixture(scope="module")
def proofs():
    return night.Proofs(nights.PHASES, BOOKS)


@pytest.fixture(scope="module")
def text():
    return report.render(
        nights.RUN,
        BOOKS,
        nights.JOURNAL,
        nights.APPROVALS,
        evidence=["plan.json"],
        changes=nights.CHANGES,
        content=nights.CONTENT,
    )


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_an_event_leads_to_the_cell_that_was_at_work_then(proofs):
    found = {event.text: event.href for event in night.events(nights.JOURNAL, proofs)}
    assert found["maintenance mode is on"] == "#50_announce--announce-on"
    assert found["the gate “migrate” waits for a person"] == "#60_migrate--migrate-gate"
    assert (
        found["the gate “migrate” opens, approved by Rita Reviewer"]
        == "#60_migrate-2--migrate-gate"
    )
    assert (
        found["Omar Operator refuses the gate “migrate”: the nightly import still runs"] == ""
    )  # from the command line: no cell was at work


def test_every_event_of_a_cell_has_its_link_and_every_link_its_cell(page, proofs):
    told = night.events(nights.JOURNAL, proofs)
    assert {event.href[1:] for event in told if event.href} <= set(page.ids)
    assert not page.unbalanced and len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_without_times_in_the_notebook_an_event_leads_to_the_notebook():
    bare = deepcopy(BOOKS)
    for cell in (cell for _, book in bare for cell in book.cells):
        cell.metadata.pop("papermill", None)
    assert night.Proofs(nights.PHASES, bare).at(nights.at(20.1)) == "#50_announce"


def test_an_approval_leads_to_the_gate_that_it_opened(proofs):
    hrefs = [night.decided(item, nights.JOURNAL, proofs) for item in nights.APPROVALS]
    assert hrefs == [
        "#10_plan--plan-gate",
        "#60_migrate-2--migrate-gate",
        "#60_migrate-2--migrate-gate",
    ]


def test_the_picture_holds_phases_maintenance_waits_attempts_decisions_messages_and_failures(
    proofs,
):
    drawn = [
        {**entry, "mark": "", "sign": "", "word": entry["status"], "proof": "", "href": ""}
        for entry in nights.PHASES
    ]
    found = {lane.name: lane for lane in night.lanes(drawn, nights.JOURNAL, proofs)}
    assert [*found] == [
        "plan",
        "announce",
        "migrate",
        "rollback",
        "maintenance mode",
        "gate “plan”",
        "gate “migrate”",
        "attempt 1",
        "attempt 2",
        "decisions",
        "messages",
        "failures",
    ]
    assert (
        "✘ cancelled by the guard" in found["attempt 1"].words
        and "30 min 54 s" in found["maintenance mode"].words
    )
    assert (len(found["decisions"].spans), found["decisions"].shape) == (3, "triangle")
    assert all(
        left >= 0 and left + width <= 100.01
        for lane in found.values()
        for left, width in lane.spans
    )


def test_what_has_no_end_lasts_to_the_last_moment():
    entry = {
        **phase("plan", 1),
        "ended_at": None,
        "mark": "",
        "sign": "▶",
        "word": "running",
        "proof": "",
        "href": "",
    }
    waits = [
        {"at": "2026-11-24T02:02:00.000Z", "what": "gate waits", "gate": "plan"},
        {"at": "2026-11-24T02:03:00.000Z", "what": "gate waits", "gate": "plan"},
    ]
    found = night.lanes([entry], waits, night.Proofs([], []))
    assert [lane.words for lane in found] == [
        "02:01:00 · ▶ running",
        "02:02:00 · ? waits for a person",
    ]


SENTENCES = [
    (nights.JOURNAL[0], "the run is started for Dana Fictitious on production"),
    ({"what": "a thing", "depth": 3, "rows": [{}]}, "a thing (depth: 3; rows: none)"),
    ({"what": "plan sealed", "hash": "ab" * 32}, "plan sealed (hash: abababababab…)"),
    ({"what": "phase ended"}, "–: –"),
    ({}, ""),
    ({"what": "backup made", "bytes": 1536}, "backup made, 1.5 KiB"),
    (
        {"what": "migration ended", "seconds": 75.2, "attempts": 1},
        "migrated in 1 min 15 s, attempts: 1",
    ),
]


@pytest.mark.parametrize(("line", "sentence"), SENTENCES)
def test_a_line_of_the_journal_is_a_sentence(line, sentence):
    assert words.sentence(line) == sentence


def test_what_was_not_delivered_what_the_guard_did_and_why_are_said(page):
    for fact in (
        "slack://••• was not reached: error=503",
        "cancelled by the guard: 3 sessions had waited too long, the longest 2.4 s",
        "not again: only what the guard cancelled",
        "a thing nobody foresaw (depth: 3)",
        "could not check: plan.drift",
    ):
        assert fact in page.text


MARKS = [
    ({"what": "phase ended", "outcome": "splendid"}, "unknown"),
    ({"what": "checks", "failed": [], "unknown": ["x"]}, "unknown"),
    ({"what": "checks", "failed": ["x"], "unknown": ["y"]}, "bad"),
    ({"what": "maintenance off", "verified": False}, "unknown"),
    ({"what": "gate refused"}, "bad"),
    ({"what": "notified", "deliveries": [{"delivered": False}]}, "unknown"),
    ({"what": "backup made"}, ""),
    ({"what": "not mirrored"}, "unknown"),
]


@pytest.mark.parametrize(("line", "mark"), MARKS)
def test_what_is_not_known_to_be_good_is_not_marked_as_good(line, mark):
    assert words.mark(line) == mark


def test_the_opening_says_who_approved_what_when_and_why(page):
    opening = page.text[: page.text.index("What failed")]
    for fact in (
        "▲ PRODUCTION",
        "Rolled back",
        "31 min 30 s",
        "could not create unique index",
        "Rita Reviewer approved the gate “plan” at 2026-11-24 02:02:24",
        "Omar Operator refused the gate “migrate” at 2026-11-24 02:30:00: the nightly import "
        "still runs",
        "the import is done",
    ):
        assert fact in opening, fact


def test_what_changed_is_told_by_kind_and_many_of_a_kind_are_folded_away(text, page):
    kinds = re.findall(r'<th scope="row">(.*?)</th><td class="number">(\d+)', text)
    assert kinds == [
        ("enum", "1"),
        ("table", "1"),
        ("column", "24"),
        ("materialized view", "1"),
        ("rows", "1"),
    ]
    part = page.text[page.text.index("What had changed") : page.text.index("The whole night")]
    assert (
        "and 23 more" in part
        and f'public."{nights.LONG}": – → 800, added (as declared)' in part
        and "identical" not in part
    )


def test_a_gate_that_was_passed_is_no_failure_and_one_that_still_waits_is():
    waited = phase("migrate", 1, "waiting", reason="the gate needs a person")
    passed = Page(
        report.render(
            run("succeeded", waited, phase("migrate", 2, notebook="60_migrate-2.ipynb")), []
        )
    )
    assert "What failed" not in passed.text and "is waited for" not in passed.text
    assert "What is waited for" in Page(report.render(run("waiting", waited), [])).text


NOBODY = [
    (
        "waiting",
        [nights.line(1, "gate waits", gate="plan", could_not_check=[])],
        "Nobody has decided yet: a gate waits.",
    ),
    ("failed", [], "Nobody was asked so far."),
    ("succeeded", [], "gates opened by their checks alone"),
]


@pytest.mark.parametrize(("outcome", "journal", "words"), NOBODY)
def test_why_nobody_approved_is_said(outcome, journal, words):
    assert Page(report.render(run(outcome), [], journal)).text.count(words) == 2


def test_under_success_nothing_is_named_as_its_reason_and_what_was_mended_is_told():
    text = Page(
        report.render(
            run(
                "succeeded",
                phase("migrate", 1, "failed", reason="the disk was full"),
                phase("migrate", 2),
            ),
            [],
        )
    ).text
    assert (
        "What failed on the way, and was mended" in text
        and "the disk was full" not in text[: text.index("What failed on the way")]
    )


def test_the_cells_that_the_page_leads_to_are_in_the_notebooks():
    folder = Path(__file__).resolve().parents[2] / "notebooks"
    ids = {
        cell.id
        for path in folder.glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
    }
    assert set(report.SHOWN_BY.values()) <= ids
