"""Outside its window the migration refuses."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from runbook_lib.check import Status
from runbook_lib.params import Migrate, Window
from runbook_lib.phases.plan import window_check
from runbook_lib.run import now

BERLIN = ZoneInfo("Europe/Berlin")


def phase(begins_in: timedelta | None, lasts: timedelta = timedelta(hours=2)) -> SimpleNamespace:
    """A phase whose window begins that far from now, by the clock of Berlin."""
    if begins_in is None:
        return SimpleNamespace(params=SimpleNamespace(migrate=Migrate()))
    start = now().astimezone(BERLIN) + begins_in
    texts = [f"{moment:%Y-%m-%d %H:%M}" for moment in (start, start + lasts)]
    return SimpleNamespace(
        params=SimpleNamespace(
            migrate=Migrate(window=Window(start=texts[0], end=texts[1], time_zone="Europe/Berlin"))
        )
    )


@pytest.mark.parametrize(
    ("begins_in", "opening", "expected"),
    [
        (timedelta(hours=-1), True, Status.PASSED),
        (timedelta(hours=3), True, Status.FAILED),
        (timedelta(hours=-5), True, Status.FAILED),
        (timedelta(hours=3), False, Status.PASSED),
        (timedelta(hours=-5), False, Status.FAILED),
        (None, True, Status.NOT_CONFIGURED),
    ],
)
def test_the_window_is_open_only_between_its_ends(
    begins_in: timedelta | None, opening: bool, expected: Status
) -> None:
    assert window_check(phase(begins_in), opening=opening).status is expected


def test_the_windows_own_zone_stands_beside_utc() -> None:
    found = window_check(phase(timedelta(hours=3)), opening=True).found
    assert "UTC" in found and ("CET" in found or "CEST" in found)
