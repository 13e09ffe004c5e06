"""The report and the index in a real browser: on a laptop, on a telephone, in the dark, in
print; with no network and no script.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nights
import pytest
from looking import OUT_OF_FRAME_OR_SMALL, OVERLAPPING_TEXT, SCREENSHOTS, TOO_WIDE, serious
from pages import run

from runbook_lib.show import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
VIEWS = [(1366, "light"), (1366, "dark"), (390, "light"), (390, "dark")]
A4 = 718
"""CSS pixels between the margins of a sheet."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both pages, as files."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        run(
            outcome,
            run_id=f"20261{n:03}",
            environment=name,
            production=name == "live",
            started_at=f"202{n % 3 + 4}-11-24T02:{n:02}:00.000Z",
            migrations=nights.FILES * (n % 4),
        )
        for n, (outcome, name) in enumerate(
            (outcome, name)
            for outcome in report.VERDICTS
            for name in ("live", "staging", "a-rather-long-environment-name")
        )
    ]
    pages = {
        "index": report.index(runs),
        "report": report.render(
            nights.RUN,
            nights.notebooks(),
            nights.JOURNAL,
            nights.APPROVALS,
            evidence=["plan.json", f"{nights.LONG}.csv"],
            changes=nights.CHANGES,
            content=nights.CONTENT,
        ),
    }
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    SCREENSHOTS.mkdir(exist_ok=True)
    return {name: folder / f"{name}.html" for name in pages}


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def view(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    """A window of each width and scheme."""
    width, scheme = request.param
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield page
    page.close()


@pytest.fixture(params=["report", "index"])
def file(request: pytest.FixtureRequest, written: dict[str, Path]) -> Path:
    """Each page."""
    return written[request.param]


def test_on_every_screen_no_text_lies_over_another_nothing_scrolls_sideways_and_axe_is_content(
    view: Page, file: Path
) -> None:
    view.goto(file.as_uri())
    size, dark = (
        view.viewport_size,
        view.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"),
    )
    view.screenshot(
        path=SCREENSHOTS
        / f"{file.stem}-{size['width'] if size else 0}-{'dark' if dark else 'light'}.png",
        full_page=True,
    )
    assert view.evaluate(TOO_WIDE) <= 0
    assert view.evaluate(OVERLAPPING_TEXT) == []
    assert serious(view) == []
    view.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert view.evaluate(TOO_WIDE) <= 0
    assert view.evaluate(OVERLAPPING_TEXT) == []


def test_the_measure_of_overlap_and_axe_find_what_is_planted(chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content(
        "<html lang=en><title>t</title><p style='color:#ccc;background:#fff'>pale</p><p "
        "style='margin:0'>one</p><p style='margin:-20px 0 0'>two</p><div "
        "style='width:4000px'>wide</div>"
    )
    assert (
        page.evaluate(OVERLAPPING_TEXT)
        and page.evaluate(TOO_WIDE) > 0
        and any("color-contrast" in line for line in serious(page))
    )
    page.close()


def test_nothing_is_loaded_and_everything_works_without_a_script(
    chromium: Browser, written: dict[str, Path]
) -> None:
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page, asked = context.new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written["report"].as_uri())
    page.get_by_role("link", name="What failed").click()
    page.locator("#journal summary").click()
    assert page.locator("#journal td").first.is_visible()
    page.locator("#night a[href$='rollback-record']").first.click()
    assert page.locator("#90_rollback--rollback-record".replace("#9", "#\\39 ")).is_visible()
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {
        written["report"].as_uri()
    }
    context.close()


def test_the_index_is_filtered_without_a_script(
    chromium: Browser, written: dict[str, Path]
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written["index"].as_uri())
    rows = page.locator("tr.run:visible")
    whole = rows.count()
    page.get_by_label("▲ live").check()
    of_live = rows.count()
    page.get_by_label("rolled back", exact=True).check()
    assert (whole, of_live, rows.count()) == (len(report.VERDICTS) * 3, len(report.VERDICTS), 1)
    assert "↩ Rolled back" in rows.first.inner_text() and "▲ live" in rows.first.inner_text()
    context.close()


def test_a_stranger_sees_at_once_what_happened_why_and_who_approved(
    chromium: Browser, written: dict[str, Path]
) -> None:
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    page.goto(written["report"].as_uri())
    for words in (
        "PRODUCTION",
        "Rolled back",
        "could not create unique index",
        "31 min 30 s",
        "Rita Reviewer",
        "the import is done",
    ):
        box = page.get_by_text(words).first.bounding_box()
        assert box and box["y"] + box["height"] < 768, words
    page.close()


def test_in_print_nothing_overlaps_nothing_is_cut_off_and_charts_bring_their_numbers(
    chromium: Browser, file: Path
) -> None:
    page = chromium.new_page(viewport={"width": A4, "height": 1000})
    page.emulate_media(media="print")
    page.goto(file.as_uri())
    assert page.evaluate(TOO_WIDE) <= 0
    assert page.evaluate(OVERLAPPING_TEXT) == []
    assert (
        page.evaluate(
            "[...document.querySelectorAll('.runbook-scroll')].filter(box => box.scrollWidth > "
            "box.clientWidth + 1).map(box => box.textContent.trim().slice(0, 80))"
        )
        == []
    )
    if file.stem == "report":
        assert (
            page.locator(".runbook-chart details table").first.is_visible()
            and not page.locator("nav").first.is_visible()
        )
    page.pdf(
        path=SCREENSHOTS / f"{file.stem}.pdf",
        format="A4",
        margin={side: "1cm" for side in ("top", "right", "bottom", "left")},
    )
    page.close()


def test_the_texts_of_charts_are_large_enough_apart_from_each_other_and_inside_their_frames(
    chromium: Browser,
) -> None:
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    page.set_content(
        "<body style='margin:0'>"
        + "".join(
            f"<div id='{name}'>{chart.svg}</div>" for name, chart in nights.extremes().items()
        )
    )
    assert page.evaluate(OVERLAPPING_TEXT) == []
    assert page.evaluate(OUT_OF_FRAME_OR_SMALL) == []
    page.close()


def test_two_thousand_runs_are_shown_and_filtered(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(
        report.index(
            [
                run(outcome, run_id=f"r{n}", started_at=f"20{n // 100:02}-11-24T02:00:00.000Z")
                for n in range(2000)
                for outcome in [[*report.VERDICTS][n % 3]]
            ]
        ),
        encoding="utf-8",
    )
    page = chromium.new_page()
    page.goto(file.as_uri())
    page.get_by_label("failed", exact=True).check()
    assert (
        page.evaluate(
            "[...document.querySelectorAll('tr.run')].filter(row => row.checkVisibility()).length"
        )
        == 666
    )
    page.close()
    shutil.rmtree(tmp_path)
