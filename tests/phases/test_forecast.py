"""The forecast learns from past runs, and says how."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import runbook_lib.run
from runbook_lib import params
from runbook_lib.check import Status
from runbook_lib.errors import UsageError
from runbook_lib.params import parse
from runbook_lib.phases.base import Phase
from runbook_lib.phases.forecast import Correction, Forecast, forecast
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {
    "window": {"start": "2030-01-15 02:00", "end": "2030-01-15 02:01", "time_zone": "Europe/Berlin"}
}


class Example(Phase):
    """A phase without a database."""

    name, needs_database = "preflight", False


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes runs, each a minute after the one before."""
    began = iter(runbook_lib.run.now().replace(minute=n) for n in range(60))

    def made(
        rehearsed: float,
        actual: float | None,
        *,
        environment: str = "demo",
        downtime: float | None = None,
        restored: float | None = None,
        outcome: str = "succeeded",
        **more: Any,
    ) -> Run:
        values = params.load(ROOT / "params" / "demo.yaml")
        values["environment"] = {"name": environment, "archive": str(tmp_path)}
        moment = next(began)
        with monkeypatch.context() as patch:
            patch.setattr(runbook_lib.run, "now", lambda: moment)
            run = create(
                values,
                ["1_x"],
                {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1},
            )
        run.write_evidence(
            "rehearsal", {"migrate_s": rehearsed, "restore_s": 10.0, "rollback_s": 12.0, **more}
        )
        if actual is not None:
            run.write_evidence(
                "migration", {"applied": ["1_x"], "seconds": actual, "forecast_s": rehearsed}
            )
            if downtime is not None:
                _down(run, moment, downtime, monkeypatch)
            run.end(outcome)
        if restored:
            run.write_evidence("backup", {"restore_s": restored})
        return run

    return made


def _down(run: Run, since: datetime, seconds: float, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as clock:
        clock.setattr(runbook_lib.run, "now", lambda: since)
        run.journal("maintenance on", phase="announce")
        clock.setattr(runbook_lib.run, "now", lambda: since + timedelta(seconds=seconds))
        run.journal("maintenance off", phase="close", verified=True)


def test_without_a_past_run_the_rehearsals_figures_stand_and_that_is_said(archive: Any) -> None:
    found = forecast(Example(archive(8.0, None)))
    assert (found.migrate_s, found.restore_s, found.downtime_s) == (8.0, 12.0, None)
    assert "no past run" in str(found) and found.as_dict()["factor"] == 1.0


def test_the_median_of_past_runs_corrects_the_forecast_and_its_spread_is_shown(
    archive: Any,
) -> None:
    for rehearsed, actual, down in ((10.0, 14.0, 44.0), (10.0, 12.0, 62.0), (100.0, 300.0, 340.0)):
        archive(rehearsed, actual, downtime=down, restored=15.0)
    found = forecast(Example(archive(8.0, None)))
    assert found.migration.ratios == (1.4, 1.2, 3.0) and found.migrate_s == pytest.approx(8 * 1.4)
    assert (
        str(found.migration)
        == "the last 3 runs took 1.4 × what the rehearsal had said (from 1.2 to 3.0)"
    )
    assert found.restore_s == pytest.approx(12 * 1.5) and found.around_s == (30.0, 50.0, 40.0)
    assert found.downtime_s == pytest.approx(8 * 1.4 + 40.0)


def test_runs_of_the_same_environment_come_first_and_others_only_where_there_are_none(
    archive: Any,
) -> None:
    archive(10.0, 20.0, environment="staging")
    assert str(forecast(Example(archive(1.0, None))).migration).startswith(
        "the last run (of other environments) took 2.0 × what the rehearsal had said"
    )
    archive(10.0, 15.0)
    assert forecast(Example(archive(1.0, None))).migration.ratios == (1.5,)


@pytest.mark.parametrize(
    "ratios, factor, span, said",
    [
        ((), 1.0, None, "no past run"),
        ((0.33,), 1.0, (3.3, 10.0), "too few to forecast less than the rehearsal (1 of the 3"),
        ((0.3, 0.5), 1.0, (3.0, 10.0), "from 0.3 to 0.5 × what the rehearsal had said: too few"),
        ((2.0,), 2.0, (10.0, 20.0), "2.0 × what the rehearsal had said; the longest counts"),
        ((0.5, 3.0), 3.0, (5.0, 30.0), "the longest counts (2 of the 3"),
        ((0.3, 0.5, 0.4), 0.4, (3.0, 5.0), "the last 3 runs took 0.4 ×"),
    ],
)
def test_a_forecast_says_from_how_many_runs_with_a_range_and_fewer_than_three_never_shorten_it(
    ratios: tuple[float, ...], factor: float, span: tuple[float, float] | None, said: str
) -> None:
    found = Correction(ratios)
    assert found.factor == factor and said in str(found)
    assert found.span(10.0) == (span and pytest.approx(span))


def test_the_range_of_the_downtime_is_in_the_table_and_a_few_runs_count_with_their_worst(
    archive: Any,
) -> None:
    archive(10.0, 5.0, downtime=25.0)
    archive(10.0, 20.0, downtime=80.0)
    found = forecast(Example(archive(10.0, None)))
    assert found.around_s == (20.0, 60.0) and found.downtime_s == 20.0 + 60.0
    assert found.downtime_span == (5.0 + 20.0, 20.0 + 60.0)
    assert "25.0 to 80.0 s" in str(found) and found.as_dict()["migrate_span_s"] == (5.0, 20.0)


def test_a_run_that_did_not_succeed_tells_how_long_it_took_and_nothing_of_the_downtime(
    archive: Any,
) -> None:
    archive(10.0, 20.0, downtime=500.0, outcome="rolled_back")
    found = forecast(Example(archive(1.0, None)))
    assert found.migration.ratios == (2.0,) and found.around_s == ()


def test_there_is_no_forecast_without_a_rehearsal(archive: Any) -> None:
    run = archive(1.0, None)
    (run.folder / "evidence" / "rehearsal.json").unlink()
    with pytest.raises(UsageError, match="20_rehearse"):
        forecast(Example(run))


def parameters(**migrate: Any) -> params.Params:
    return parse(
        params.load(ROOT / "params" / "demo.yaml") | {"migrate": {"deadline_s": 20.0, **migrate}}
    )


def made(**changed: Any) -> Forecast:
    return Forecast(
        **(
            {
                "migrate_s": 10.0,
                "restore_s": 20.0,
                "downtime_s": 30.0,
                "around_s": (20.0,),
                "rehearsed_migrate_s": 5.0,
                "rehearsed_restore_s": 20.0,
                "migration": Correction((2.0,)),
            }
            | changed
        )
    )


@pytest.mark.parametrize(
    ("changed", "failed"),
    [
        ({}, ()),
        ({"migrate_s": 21.0}, ("forecast.migrate",)),
        ({"restore_s": 3601.0}, ("forecast.restore", "forecast.window")),
        ({"downtime_s": 41.0}, ("forecast.window",)),
        ({"downtime_s": None}, ()),
    ],
)
def test_go_or_no_go_against_deadline_way_back_and_window(
    changed: dict[str, Any], failed: tuple[str, ...]
) -> None:
    found = made(**changed)
    assert (
        tuple(item.id for item in found.checks(parameters(**WINDOW), lambda: None).failed) == failed
    )
    assert ("No-go" in found.chart(parameters(**WINDOW)).title) == bool(failed)


@pytest.mark.parametrize(
    ("free", "status"), [(2_000, Status.PASSED), (1_999, Status.FAILED), (None, Status.UNKNOWN)]
)
def test_the_disk_must_hold_the_wal_and_the_growth(free: int | None, status: Status) -> None:
    found = made(wal_bytes=1_000, growth_bytes=1_000)
    assert found.disk_bytes == 2_000
    assert {item.id: item.status for item in found.checks(parameters(), lambda: free)}[
        "forecast.disk"
    ] is status


def test_a_disk_need_that_was_not_measured_is_said_and_not_invented() -> None:
    assert "did not measure" in str(made()) and made().disk_bytes is None


def test_the_rehearsals_wal_and_growth_are_read_where_they_are(archive: Any) -> None:
    assert forecast(Example(archive(1.0, None, wal_bytes=7, size_growth_bytes=-3))).disk_bytes == 7


def test_without_a_rehearsal_a_person_decides_where_it_was_waived_and_else_it_is_refused(
    archive: Any,
) -> None:
    run = archive(5.0, None)
    (run.folder / "evidence" / "rehearsal.json").unlink()
    with pytest.raises(UsageError, match="there is no rehearsal"):
        forecast(Example(run))
    run.write_evidence("plan", {"hash": "h"})
    run.write_evidence("rehearse.waived", {"why": "it may not create databases", "plan": "h"})
    found = forecast(Example(run))
    (only,) = found.checks(run.params, lambda: None)
    assert (only.status, "it may not create databases" in only.found) == (Status.UNKNOWN, True)
    assert "No forecast" in str(found) and "No forecast" in str(found.chart(run.params))
    run.write_evidence("plan", {"hash": "another"})
    with pytest.raises(UsageError, match="there is no rehearsal"):
        forecast(Example(run))
