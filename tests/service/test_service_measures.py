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
def test_each_is_judged_by_its_newest_value(name, limit, values, status, said):
    item = only(trends(readings(name, *values), {name: float(limit)})).check()
    assert (
        item.status is status
        and item.found.startswith(said.split(";")[0] if status is Status.PASSED else "")
        and said in item.found
    )


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
