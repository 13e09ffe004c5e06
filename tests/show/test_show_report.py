"""The page of a run: whole, self-contained, and true about how the run ended."""

import re

import pytest
from pages import Page, code, notebook, phase, prints, raises, run, shows

from runbook_lib.check import Checks, check
from runbook_lib.show import charts, report

HOSTILE = "<script>alert(1)</script>"
ORPHANS = Checks(
    "Foreign keys",
    [check("fk", "InsurancePolicy has no orphan", False, "217 orphans", "0", "90_rollback")],
)
JOURNAL = [
    {"at": "2026-11-24T02:00:00.000Z", "who": "dana", "what": "run started"},
    {
        "at": "2026-11-24T02:01:10.000Z",
        "who": "dana",
        "what": "maintenance on",
        "phase": "announce",
    },
    {
        "at": "2026-11-24T02:01:11.000Z",
        "who": "dana",
        "what": "notified",
        "audience": "operations",
        "occasion": "started",
        "title": "It starts",
        "deliveries": [
            {
                "to": "slack://•••",
                "delivered": False,
                "why": "error=503",
                "audience": "operations",
                "at": "x",
            }
        ],
    },
    {"at": "2026-11-24T02:05:00.000Z", "who": "dana", "what": "maintenance off", "verified": True},
    {
        "at": "2026-11-24T02:06:00.000Z",
        "who": "dana",
        "what": "lessons learned",
        "text": "Autovacuum was running.",
    },
]
APPROVALS = [
    {
        "run": "r",
        "gate": "migrate",
        "plan": "9f2c77aa01bb23de",
        "person": "Rita Reviewer",
        "at": "2026-11-24T02:01:00.000Z",
        "reason": "read it all",
        "decision": "approved",
    }
]
PLAN = notebook(
    "# 10 · Plan\n\n"
    "See [validate](20_validate.ipynb#keys), [gone](95_gone.ipynb), [below](#Findings), "
    "[nowhere](20_validate.ipynb#nowhere).\n\n"
    "## Findings",
    code("run_folder = None", tags=("parameters",)),
    code("phase.findings()", prints("\x1b[32mfine\x1b[0m\n")),
    code(
        "phase.chart()",
        shows(html=charts.sizes("Largest", {"Appointment": 5})._repr_html_(), plain="x"),
    ),
)
VALIDATE = notebook(
    '# 20 · Validate\n\n<a id="keys"></a>\n\n## Foreign keys',
    code("phase.foreign_keys()", shows(html=ORPHANS._repr_html_(), plain="x")),
    code(
        "phase.require()",
        raises(
            "CheckError",
            "Validation: 1 failed\n✘ InsurancePolicy has no orphan — failed: 217 orphans",
        ),
    ),
    code("phase.finish()", ran=False),
)
NOTEBOOKS = [("10_plan.ipynb", PLAN), ("20_validate.ipynb", VALIDATE)]
FAILED = run(
    "failed",
    phase("plan", 1),
    phase(
        "validate",
        2,
        "failed",
        failed_checks=["fk"],
        reason="Validation: 1 failed\n✘ InsurancePolicy has no orphan — failed: 217 orphans",
    ),
)


@pytest.fixture(scope="module")
def text():
    return report.render(
        FAILED,
        NOTEBOOKS,
        JOURNAL,
        APPROVALS,
        evidence=["plan.json"],
        changes=["table InsurancePolicy created"],
    )


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_opens_with_verdict_downtime_and_reason(page):
    opening = page.text[:1500]
    for fact in (
        "✘ Failed",
        "41.5 s",
        "9 min 30 s",
        "clinic",
        "Dana Fictitious",
        "InsurancePolicy has no orphan — failed: 217 orphans",
    ):
        assert fact in opening


@pytest.mark.parametrize("outcome", report.VERDICTS)
def test_every_outcome_has_its_word_and_sign(outcome):
    verdict = report.VERDICTS[outcome]
    text = report.render(run(outcome), [])
    assert (
        f"<h1>{verdict.sign} {verdict.word}</h1>" in text
        and f'class="verdict {verdict.mark}"' in text
    )


def test_an_outcome_that_nobody_knows_is_no_success():
    assert "do not take it for a success" in report.render(run("splendid"), [])


def test_the_failure_leads_to_the_cell_that_proves_it(text, page):
    proof = re.search(r'<a href="#([^"]+)">The cell that shows it', text)[1]
    assert proof == "20_validate--cell-2" and proof in page.ids


def test_ids_are_unique_and_every_anchor_leads_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_links_between_notebooks_stay_on_the_page_and_dead_ones_are_gone(page):
    assert "#20_validate--keys" in page.links and "#10_plan--Findings" in page.links
    assert page.links.count("#20_validate") == 2  # the contents, and the link to nowhere
    assert not [link for link in page.links if "ipynb" in link]
    assert "gone" in page.text


def test_nothing_comes_from_the_network_and_nothing_runs(text, page):
    assert not [
        tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "form")
    ]
    assert not [link for link in page.links if link.startswith(("http", "//"))]
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in page.tags)
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text


def test_it_is_whole_html_with_language_title_and_ordered_headings(text, page):
    assert text.startswith("<!doctype html>") and ("html", {"lang": "en"}) in page.tags
    assert not page.unbalanced
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_notebooks_are_shown_with_their_titles_and_results(page):
    assert (3, "10 · Plan") in page.headings and (3, "20 · Validate") in page.headings
    for fact in ("fine", "217 orphans", "phase.findings()", "Largest", "This cell did not run."):
        assert fact in page.text


def test_the_parameters_defaults_are_not_shown(page):
    assert "run_folder = None" not in page.text


def test_colours_of_the_terminal_are_removed(text):
    assert "\x1b" not in text and "[0;31m" not in text and "[32m" not in text


def test_approvals_messages_lessons_changes_and_evidence_are_there(page):
    for fact in (
        "Rita Reviewer",
        "read it all",
        "9f2c77aa01bb",
        "slack://•••",
        "error=503",
        "Autovacuum was running.",
        "InsurancePolicy created",
    ):
        assert fact in page.text
    assert "evidence/plan.json" in page.links


def test_the_timeline_shows_phases_and_maintenance_mode_inside_its_frame(text):
    bars = [
        (float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)%" width="([\d.]+)%"', text)
    ]
    assert len(bars) == 3 and "maintenance mode" in text
    assert all(x >= 0 and w > 0 and x + w <= 100.01 for x, w in bars)


def test_hostile_text_is_only_text():
    state = run(
        "failed", phase("plan", 1, "failed", reason=HOSTILE), engineer=HOSTILE, environment=HOSTILE
    )
    cells = notebook(
        "# x", code(HOSTILE, prints(HOSTILE), raises("E", HOSTILE), shows(plain=HOSTILE))
    )
    text = report.render(
        state,
        [("10_plan.ipynb", cells)],
        [{"at": None, "who": HOSTILE, "what": HOSTILE, "note": HOSTILE}],
        [{**APPROVALS[0], "reason": HOSTILE}],
        changes=[HOSTILE],
    )
    assert "<script" not in text and Page(text).text.count(HOSTILE) >= 8


def test_scripts_and_styles_of_outputs_are_left_out():
    cells = notebook(
        code("x", shows(html="<style>p{}</style><p>kept</p><script>alert(1)</script>"))
    )
    page = Page(report.render(run(), [("10_plan.ipynb", cells)]))
    assert "kept" in page.text and "alert" not in page.text


def test_a_widget_is_shown_by_its_html_or_not_at_all():
    cells = notebook(
        code("a", shows(widget='{"model_id": "1"}', html="<p>The record</p>", plain="VBox()")),
        code("b", shows(widget='{"model_id": "2"}', plain="VBox(children=())")),
    )
    page = Page(report.render(run(), [("10_plan.ipynb", cells)]))
    assert "The record" in page.text and "VBox" not in page.text


def test_overwritten_lines_are_shown_once():
    cells = notebook(code("x", prints("10 %\r50 %\r100 %\ndone\n")))
    page = Page(report.render(run(), [("10_plan.ipynb", cells)]))
    assert "50 %" not in page.text and "100 %\ndone" in page.text


def test_lines_that_follow_one_another_are_one_piece():
    cells = notebook(
        code("x", prints("a\n"), prints("b\n"), prints("c\n", "stderr"), prints("d\n"))
    )
    text = report.render(run(), [("10_plan.ipynb", cells)])
    assert text.count('<pre class="stream') == 3 and "a\nb\n" in text


def test_outputs_without_end_do_not_make_a_page_without_end():
    cells = notebook(
        *[code("x", prints("line\n" * 200_000)) for _ in range(40)],
        code("y", shows(html="<p>" + "z" * 9_000_000 + "</p>", plain="z")),
    )
    text = report.render(run(), [("10_plan.ipynb", cells)])
    assert len(text.encode()) <= report.LARGEST_PAGE
    assert "characters are left out here" in text and "the notebook holds it" in text


def test_the_notebook_itself_is_not_changed():
    cells = notebook(code("x", prints("line\n" * 200_000)))
    before = cells.copy()
    report.render(run(), [("10_plan.ipynb", cells)])
    assert cells == before


def test_two_notebooks_of_the_same_phase_stand_side_by_side():
    text = report.render(
        run(), [("20_validate.ipynb", VALIDATE), ("20_validate-2.ipynb", VALIDATE)]
    )
    page = Page(text)
    assert len(page.ids) == len(set(page.ids)) and "20_validate-2--cell-2" in page.ids


def test_a_run_that_has_just_begun_has_a_page():
    state = run(
        "running",
        {**phase("start", 0, "running"), "ended_at": None},
        ended_at=None,
        duration_s=None,
        downtime_s=None,
        migrations=[],
    )
    page = Page(report.render(state, []))
    assert (
        "▶ Running" in page.text and "not measured" in page.text and "none was pending" in page.text
    )


def test_production_says_so_at_the_top():
    assert (
        "▲ PRODUCTION — live"
        in Page(report.render(run(production=True, environment="live"), [])).text[:400]
    )


def test_the_page_is_the_same_each_time(text):
    again = report.render(
        FAILED,
        NOTEBOOKS,
        JOURNAL,
        APPROVALS,
        evidence=["plan.json"],
        changes=["table InsurancePolicy created"],
    )
    assert again == text


def test_the_index_lists_runs_newest_first_and_leads_to_their_reports():
    runs = [
        run(outcome, run_id=f"2026112{n}T020000Z_x", started_at=f"2026-11-2{n}T02:00:00.000Z")
        for n, outcome in enumerate(report.VERDICTS, 1)
    ]
    page = Page(report.index(runs))
    reports = [link for link in page.links if not link.startswith("#")][
        1:
    ]  # the first is the environment's newest
    assert reports == [f"2026112{n}T020000Z_x/report.html" for n in range(7, 0, -1)]
    assert "1 succeeded" in page.text and "1 rolled back" in page.text and not page.unbalanced


def test_the_index_of_an_empty_archive_says_so():
    assert "no run yet" in report.index([])


def test_the_index_counts_each_environment_and_offers_each_as_a_filter():
    page = Page(
        report.index(
            [
                run(),
                run("failed", environment="live", production=True),
                run("splendid", environment="live", production=True),
            ]
        )
    )
    assert [values["id"] for tag, values in page.tags if tag == "input"] == [
        "e-all",
        "e-1",
        "e-2",
        "o-all",
        "o-1",
        "o-2",
        "o-3",
    ]
    assert (
        "▲ live" in page.text
        and "1 unknown" in page.text
        and not page.unbalanced
        and len(page.ids) == len(set(page.ids))
    )


def test_the_index_of_two_thousand_runs_is_small_whatever_they_hold():
    text = report.index(
        [run(migrations=[f"20261019_{n}" for n in range(n % 500)]) for n in range(2000)]
    )
    assert text.count('<tr class="run ') == 2000 and len(text.encode()) < 3_000_000
