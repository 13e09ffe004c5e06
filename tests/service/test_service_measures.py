"""The monitoring list: a value beside its limit; what could not be read is never taken for good."""

from __future__ import annotations

import pytest

from runbook_lib.check import Status
from runbook_lib.service.measures import MEASURES, Reading, Trends, to_a_person, trends


def readings(name: str, *values: float | None, epochs: str = "") -> list[Reading]:
    """One a second."""
    return [
        Reading(
            name,
            f"2026-11-24T02:00:{n:02}.000Z",
            value,
            "tests",
            why="" if value is not None else "nobody answered",
            epoch=epochs[n] if epochs else "",
        )
        for n, value in enumerate(values)
    ]


def only(found: Trends):
    """The trend of the one measure that has a limit."""
    (item,) = found
    return item


@pytest.mark.parametrize(
    ("name", "limit", "values", "status", "said"),
    [
        ("cpu_percent", 95, (12, 98, 30), Status.PASSED, "30 %; from 12 % to 98 % during the run"),
        ("cpu_percent", 95, (12, 96), Status.FAILED, "96 %"),
        ("disk_free_percent", 30, (40, 31), Status.PASSED, "31 %"),
        ("disk_free_percent", 30, (40, 29), Status.FAILED, "29 %"),
        (
            "response_ms",
            2000,
            (3.4, None, 8.25),
            Status.PASSED,
            "8.2 ms; from 3.4 ms to 8.2 ms during the run; 1 of 3 readings failed: nobody answered",
        ),
        ("response_ms", 2000, (3.4, None), Status.UNKNOWN, "nobody answered"),
        ("deadlocks", 0, (7, 7), Status.PASSED, "0"),
        ("deadlocks", 0, (7, 9), Status.FAILED, "2; from 0 to 2 during the run"),
        ("deadlocks", 0, (7, 3), Status.UNKNOWN, "reset"),
        ("deadlocks", 0, (7,), Status.UNKNOWN, "no earlier reading"),
        ("response_ms", 2000, (), Status.NOT_CONFIGURED, "`service` is not set"),
    ],
)
def test_each_is_judged_by_its_newest_value_and_by_what_lasted(name, limit, values, status, said):
    item = only(trends(readings(name, *values), {name: float(limit)})).check()
    assert (
        item.status is status
        and item.found.startswith(said.split(";")[0] if status is Status.PASSED else "")
        and said in item.found
    )


def spaced(name: str, *values: tuple[int, float | None], phase: str = "migrate") -> list[Reading]:
    """Readings so many seconds after two o'clock."""
    return [
        Reading(name, f"2026-11-24T02:{at // 60:02}:{at % 60:02}.000Z", value, "tests", phase)
        for at, value in values
    ]


WAITED = [(0, 0), *((at, 1) for at in range(5, 80)), (80, 0), (300, 0)]


def test_blocking_that_is_over_at_the_end_of_the_run_is_judged_with_its_worst_and_when() -> None:
    found = trends(spaced("blocked_sessions", *WAITED), {"blocked_sessions": 0.0})
    item = only(found).check()
    said = "worst 1 at 02:00:05 UTC (migrate); beyond the limit for 75 s"
    assert item.status is Status.FAILED and item.found.startswith("0 now") and said in item.found
    assert found.finding == "Beyond the limit: blocked sessions" and said in str(found.table())
    assert found.issues() == [f"blocked sessions (limit 0): {said}"]
    assert found.as_dict()["measures"][0]["episodes"][0]["seconds"] == 75.0


@pytest.mark.parametrize(
    "name, limit, values, phase, kept",
    [
        ("blocked_sessions", 0, [(0, 0), (1, 2), (3, 0), (9, 0)], "migrate", True),  # a short wait
        ("blocked_sessions", 0, [(0, 0), (1, 2), (9, None), (20, 0)], "migrate", False),
        ("blocked_sessions", 0, [(0, 0), (60, 1), (120, 0)], "migrate", False),  # rarely looked at
        ("blocked_sessions", 0, [(0, 3), (60, 0)], "preflight", True),  # judged at that gate
        ("cpu_percent", 95, [(0, 99), (20, 99), (25, 9)], "migrate", True),  # a peak
        ("cpu_percent", 95, [(0, 99), (20, 99), (35, 9)], "migrate", False),
        ("errors_per_minute", 1, [(0, 0), (10, 5), (11, 0)], "migrate", False),
        ("disk_free_percent", 30, [(0, 40), (10, 5), (11, 40)], "migrate", False),
        ("deadlocks", 0, [(0, 7), (5, 8), (9, 8)], "migrate", False),
    ],
)
def test_what_lasts_is_held_against_it_and_a_peak_is_shown(name, limit, values, phase, kept):
    trend = only(trends(spaced(name, *values, phase=phase), {name: float(limit)}))
    assert trend.kept is kept and trend.beyond().startswith("worst ")


def test_what_lasted_is_said_even_where_the_newest_reading_failed() -> None:
    values = [*WAITED, (400, None)]
    item = only(trends(spaced("blocked_sessions", *values), {"blocked_sessions": 0.0})).check()
    assert item.status is Status.FAILED and "75 s" in item.found


def test_a_counter_that_began_anew_is_unknown_even_where_it_grew():
    assert (
        only(trends(readings("deadlocks", 0, 5, epochs="ab"), {"deadlocks": 0.0})).check().status
        is Status.UNKNOWN
    )


def test_a_value_beyond_its_limit_is_a_persons_to_judge():
    item = to_a_person(only(trends(readings("cpu_percent", 99), {"cpu_percent": 95.0})).check())
    assert item.status is Status.UNKNOWN and item.found == "beyond its limit: 99 %"


def test_the_list_says_what_is_beyond_and_what_is_not_known():
    found = trends(
        [
            *readings("cpu_percent", 99),
            *readings("memory_percent", None),
            *readings("connections_percent", 5),
        ],
        dict.fromkeys(MEASURES, 95.0),
    )
    assert found.finding == "Beyond the limit: CPU; could not check: memory"
    rows = {row[0]: row for row in found.table().rows}
    assert (
        set(rows) == {"CPU", "memory", "connections"}
        and rows["memory"][-1] == "nobody answered"
        and rows["connections"][2] == 5
    )
    assert found.table().marks == ["bad", "unknown", ""] and len(
        found.as_dict()["measures"]
    ) == len(MEASURES)
