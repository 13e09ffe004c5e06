"""Charts: the finding as title, the numbers beneath, the same bytes each time, and nothing that
breaks them.
"""

import subprocess
import sys

import pytest

from runbook_lib.show import charts, lanes, style
from runbook_lib.table import Table

RUN = {
    "started_at": "2026-11-24T02:00:00.000Z",
    "environment": "demo",
    "outcome": "succeeded",
    "duration_s": 60.0,
    "downtime_s": 4.0,
}
NAN = float("nan")
HOSTILE = "<script>alert('$1')</script> & $x_{$"

MADE = {
    "before_after": lambda name: charts.before_after(
        f"{name} grew", [name, "b"], [10, None], [12, 3], "rows"
    ),
    "durations": lambda name: charts.durations(
        f"{name} took long", {name: 3.0, "b": 70.0}, {"b": 60.0}
    ),
    "sizes": lambda name: charts.sizes(f"{name} is large", {name: 10**9, "b": 5}),
    "lanes": lambda name: lanes.lanes(
        f"{name} waited",
        Table(f"{name} waited", ("what", "seconds"), [(name, 9.0)]),
        [lanes.Lane(name, ((0, 9),), True), lanes.Lane("b", ((1, 2), (3, 4)))],
        "seconds",
    ),
    "stalls": lambda name: charts.stalls(
        f"{name} stalled", {name: [(0, 0.0), (1, 2.5)], "_prisma_migrations": [(0, 0.1)]}, limit=1.0
    ),
    "judged": lambda name: charts.judged(
        f"{name} differs",
        [
            (name, 10, 9, "undeclared", "bad"),
            ("b", 3, 3, "the application wrote", "unknown"),
            ("c", None, 5, "as declared", "good"),
        ],
        of=7,
        unit="rows",
    ),
    "history": lambda name: charts.history(
        [{**RUN, "environment": name}, {**RUN, "outcome": "rolled_back", "downtime_s": None}]
    ),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_chart_says_the_same_as_picture_words_and_table(make):
    chart = make("Appointment")
    html = chart._repr_html_()
    assert chart.title in html and "alt='Chart: " in html and "<details>" in html
    assert chart.title in str(chart) and chart.svg.startswith("<svg")


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_same_numbers_give_the_same_bytes(make):
    assert make("Appointment")._repr_html_() == make("Appointment")._repr_html_()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_hostile_name_is_only_a_name(make):
    html = make(HOSTILE)._repr_html_()
    assert "<script>" not in html


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_chart_is_small_and_follows_the_scheme(make):
    chart = make("Appointment")
    assert len(chart.svg) < 40_000
    assert (
        "prefers-color-scheme:dark" in chart.svg
        and "var(--c0)" in chart.svg
        and "DejaVu" in chart.svg
    )


EMPTY = [
    charts.before_after("t", [], [], []),
    charts.durations("t", {}),
    charts.sizes("t", {}),
    lanes.lanes("t", Table("t", ("a",), []), [lanes.Lane("held by nobody", ())], "s"),
    charts.stalls("t", {}),
    charts.judged("t", [], 0),
    charts.history([]),
    charts.history([{**RUN, "duration_s": None, "downtime_s": None}]),
]


@pytest.mark.parametrize("chart", EMPTY)
def test_without_numbers_there_is_only_the_table(chart):
    assert not chart.svg and "<table" in chart._repr_html_() and "<img" not in chart._repr_html_()


def test_too_many_bars_are_said_to_be_a_part():
    chart = charts.sizes("t", {f"table_{n:03}": n for n in range(300)})
    assert len(chart.table) == 300
    assert "20 of 300" in chart.svg and "table_299" in chart.svg and "table_000" not in chart.svg


def test_what_changed_is_drawn_before_what_is_large():
    labels = [f"t{n}" for n in range(40)]
    chart = charts.before_after("t", labels, [1000] * 40, [1000] * 39 + [1001])
    assert ">t39<" in chart.svg


def test_values_far_apart_are_drawn_on_an_axis_that_says_so():
    assert "logarithmic" in charts.before_after("t", ["a", "b"], [1, 10**7], [1, 10**7]).svg
    assert "logarithmic" not in charts.before_after("t", ["a", "b"], [1, 10], [1, 10]).svg


def test_a_limit_that_is_passed_is_a_marked_row_and_a_word():
    chart = charts.durations("t", {"a": 70.0}, {"a": 60.0})
    assert "too long" in chart.svg and "class='bad'" in chart._repr_html_()


def test_a_line_whose_name_begins_with_an_underscore_is_in_the_legend():
    assert "_prisma_migrations" in MADE["stalls"]("a").svg


def test_a_long_label_is_shortened_in_the_picture_only():
    name = "20261102100000_drop_the_columns_of_the_insurance_of_all_patients"
    chart = charts.durations("t", {name: 1.0})
    assert name not in chart.svg and "…" in chart.svg and name in str(chart)


UNMEASURED = [
    charts.before_after("t", ["a", "b"], [NAN, 1], [2, 3]),
    charts.durations("t", {"a": NAN, "b": 1.0}, {"a": 5.0}),
    charts.stalls("t", {"a": [(0, NAN)], "b": [(0, 1.0), (1, NAN)]}, limit=2.0),
]


@pytest.mark.parametrize("chart", UNMEASURED)
def test_what_could_not_be_measured_is_unknown_and_neither_nothing_nor_fine(chart):
    said = str(chart) + chart.alt + chart.svg
    assert (
        "unknown" in str(chart)
        and "unknown" in chart.alt
        and "nan" not in said.lower()
        and "class='good'" not in chart._repr_html_()
    )


def test_what_is_below_zero_is_drawn():
    assert ">−5<" in charts.before_after("t", ["a"], [5.0], [-4.0]).svg


def test_of_too_many_steps_those_that_took_too_long_are_drawn_and_that_they_are_a_part_is_said():
    chart = charts.durations("t", {f"step_{n}": float(n) for n in range(60)}, {"step_1": 0.5})
    assert (
        "20 of 60" in chart.svg
        and ">step_1<" in chart.svg
        and ">step_59<" in chart.svg
        and ">step_2<" not in chart.svg
    )


TICKS = [
    (0, "0"),
    (0.05, "0.05"),
    (20_000, "20 000"),
    (8e8, "800 million"),
    (1e13, "10 000 billion"),
    (-4, "−4"),
]


@pytest.mark.parametrize(("value", "words"), TICKS)
def test_ticks_are_numbers_for_people(value, words):
    assert charts.compact(value) == words


def test_runs_of_one_day_are_told_apart_by_their_time():
    svg = charts.history(
        [{**RUN, "started_at": f"2026-11-24T0{n}:00:00.000Z"} for n in range(3)]
    ).svg
    assert ">2026-11-24<" in svg and ">01:00<" in svg and ">02:00<" in svg


def test_a_chart_in_words_names_its_numbers_and_what_is_left_out():
    alt = charts.sizes("t", {f"table_{n}": 2**n for n in range(12)}).alt
    assert "table_11: bytes 2 048, size 2.0 KiB" in alt and "4 more stand in the table" in alt


def test_characters_that_our_font_lacks_are_no_warning(recwarn):
    charts.sizes("t", {"予約": 5})
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


CHANGES = [
    (10, 12, "+2 (+20.0 %)"),
    (10, 8, "−2 (−20.0 %)"),
    (0, 3, "+3"),
    (5, 5, "none"),
    (None, 3, "new"),
    (3, None, "gone"),
    (None, None, "–"),
    (NAN, 3, "unknown"),
    (3, NAN, "unknown"),
    (None, NAN, "unknown"),
]


@pytest.mark.parametrize(("before", "after", "words"), CHANGES)
def test_a_change_is_told_in_words(before, after, words):
    assert charts.change(before, after) == words


def test_nothing_heavy_is_imported_before_a_chart_is_drawn():
    heavy = "matplotlib", "pandas", "nbconvert", "apprise", "httpx", "ipywidgets", "psutil"
    source = (
        "import sys; import runbook_lib.show.charts, runbook_lib.show.widgets, "
        "runbook_lib.show.report;from runbook_lib.service import health, notify, maintenance, "
        f"monitoring, log, deploy, people;print([name for name in {heavy!r} if name in "
        "sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_drawing_does_not_touch_pyplot():
    MADE["sizes"]("a")
    assert "matplotlib.pyplot" not in sys.modules


def _luminance(colour):
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def variables(css):
    import re

    return dict(re.findall(r"--rb-([a-z-]+):\s*(#[0-9a-f]{6})", css))


PAIRS = [
    ("ink", "paper"),
    ("muted", "paper"),
    ("muted", "raised"),
    ("link", "paper"),
    ("good-ink", "good"),
    ("bad-ink", "bad"),
    ("unknown-ink", "unknown"),
]


@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
@pytest.mark.parametrize("css", [style.base_css(), style.dark_variables()], ids=["light", "dark"])
def test_colours_are_told_apart_as_wcag_asks(css, pair):
    found = variables(css)
    assert contrast(found[pair[0]], found[pair[1]]) >= 4.5


@pytest.mark.parametrize("colour", ["BEFORE", "AFTER", "GOOD", "BAD", "UNKNOWN"])
def test_what_is_drawn_stands_out_from_its_ground_as_wcag_asks_of_graphics(colour):
    drawn = getattr(style, colour)
    assert (
        contrast(drawn, style.PAPER) >= 3
        and contrast(style.DARK[drawn], style.DARK[style.PAPER]) >= 3
    )
