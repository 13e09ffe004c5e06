"""The monitoring list, drawn."""

from __future__ import annotations

from runbook_lib.service.measures import MEASURES, Reading, trends
from runbook_lib.show import charts
from runbook_lib.show.trends import trend_chart

BAND = {"started_at": "2026-11-24T02:00:10.000Z", "ended_at": "2026-11-24T02:00:20.000Z"}


def found(*names: str, hole: str = ""):
    """A minute of readings, one in ten seconds."""
    rows = [
        Reading(
            name,
            f"2026-11-24T02:00:{second:02}.000Z",
            None if name == hole else float(second),
            "tests",
            why="nobody answered" if name == hole else "",
        )
        for name in names
        for second in range(0, 60, 10)
    ]
    return trends(rows, dict.fromkeys(MEASURES, 95.0))


def test_each_measure_has_a_line_with_its_value_and_limit() -> None:
    chart = trend_chart(found("cpu_percent", "response_ms", "deadlocks"), BAND)
    assert (
        chart.title == "3 of 3 measures are within their limits"
        and "seconds since 2026-11-24 02:00:00 UTC; shaded: the migration" in chart.svg
    )
    for heading in (
        "✔ CPU: 50 % (limit 95 %)",
        "✔ response time: 50 ms (limit 95 ms)",
        "✔ deadlocks since the first reading: 50 (limit 95)",
    ):
        assert heading in chart.svg and heading in chart.alt
    assert (
        len(chart.table.rows) == 3
        and chart.svg == trend_chart(found("cpu_percent", "response_ms", "deadlocks"), BAND).svg
    )


def test_what_could_not_be_read_is_a_gap_that_the_titles_name() -> None:
    chart = trend_chart(found("cpu_percent", "memory_percent", hole="memory_percent"))
    assert (
        chart.title.endswith("could not check: memory")
        and "? memory: could not check (limit 95 %)" in chart.svg
    )
    assert "nobody answered" in str(chart)


def test_without_a_reading_the_table_alone_is_shown() -> None:
    assert not trend_chart(trends([], {"cpu_percent": 95.0})).svg


def test_a_disk_that_will_be_too_full_is_told_from_one_that_will_not() -> None:
    chart = charts.room(
        "20 % stay free", [("data directory", 60.0, 20.0), ("write-ahead log", 10.0, 1.0)], 30.0
    )
    assert (
        "20.0 % free afterwards — too little" in chart.svg
        and "89.0 % free afterwards" in chart.svg
        and list(chart.table.marks) == ["bad", ""]
    )
    assert not charts.room("Could not check", [], 30.0).svg
