"""Readings through the run: from the source that is named, kept as evidence, drawn together;
what does not answer is a gap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from runbook_lib import process
from runbook_lib.check import Status
from runbook_lib.phases import readings, server
from runbook_lib.phases.base import Phase
from runbook_lib.phases.validate import Validate
from runbook_lib.postgres import disk
from runbook_lib.service.measures import Reading
from runbook_lib.surroundings import Source
from tests.phases.conftest import Night
from tests.prisma.conftest import INIT
from tests.service.small_application import serving
from tests.service.small_prometheus import Server, success, vector

NEXT = {"20260201000000_next": 'ALTER TABLE "Patient" ADD COLUMN "seen" INTEGER;\n'}
QUIET = {"cpu_percent": 100.0, "memory_percent": 100.0, "disk_io_percent": 100.0}


@pytest.fixture
def prometheus() -> Iterator[Server]:
    """A server that speaks Prometheus's API."""
    with serving(Server()) as made:
        yield made


@pytest.fixture
def phase(make: Any, deployed: str, opened: Callable[..., Any]) -> Callable[..., Any]:
    """Opens a phase whose parameters name these sources."""

    def made(
        cls: type[Phase] = Validate, sources: list[dict[str, str]] | None = None, **monitoring: Any
    ) -> Any:
        return opened(
            cls, make(INIT), deployed, monitoring=QUIET | {"sources": sources or []} | monitoring
        )

    return made


def by_name(found: list[Reading]) -> dict[str, Reading]:
    """The readings by measure."""
    return {one.measure: one for one in found}


def test_a_server_on_this_machine_is_measured_without_any_parameter(phase: Any) -> None:
    found = by_name(readings.take(made := phase()))
    assert set(found) == {
        "cpu_percent",
        "memory_percent",
        "disk_io_percent",
        "disk_free_percent",
        "connections_percent",
        "deadlocks",
        "blocked_sessions",
    }
    assert all(
        one.value is not None and one.phase == "validate"
        for name, one in found.items()
        if name != "disk_io_percent"
    ), found
    assert made.run.read_evidence("validate.readings")[0]["measure"] in found


def test_a_server_that_is_not_proven_to_run_here_could_not_be_checked(
    phase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "elsewhere", lambda _: "the server db is another machine")
    made = phase()
    checks = {one.id: one for one in made.monitoring()}
    assert {checks[f"monitoring.{name}"].status for name in ("cpu", "memory", "disk_io")} == {
        Status.UNKNOWN
    }
    assert (
        "another machine" in checks["monitoring.cpu"].found
        and checks["monitoring.connections"].status is Status.PASSED
    )
    assert {
        checks[f"monitoring.{name}"].status for name in ("response_ms", "errors_per_minute")
    } == {Status.NOT_CONFIGURED}
    assert "could not check: CPU, memory, disk I/O" in made.monitoring_chart().title


def test_a_command_sql_and_prometheus_are_asked_instead(phase: Any, prometheus: Server) -> None:
    prometheus.answers(vector("42.5"))
    found = by_name(
        readings.take(
            phase(
                sources=[
                    {"measure": "cpu_percent", "query": "cpu"},
                    {"measure": "memory_percent", "command": "echo 7"},
                    {"measure": "response_ms", "sql": "SELECT 12.5"},
                    {"measure": "errors_per_minute", "command": "exit 3"},
                ],
                prometheus={"url": prometheus.url},
            )
        )
    )
    assert {
        name: (one.value, one.source)
        for name, one in found.items()
        if one.value is not None and one.source not in (readings.HERE, readings.SERVER)
    } == {
        "cpu_percent": (42.5, "Prometheus"),
        "memory_percent": (7.0, "a command"),
        "response_ms": (12.5, "SQL"),
    }
    assert "status 3" in found["errors_per_minute"].why


WRONG = [
    ({"command": "echo 4200"}, "4200 is not possible"),
    ({"sql": "SELECT -1"}, "-1 is not possible"),
    ({"sql": "SELECT 1, 2"}, "one row with one number"),
    ({"sql": "SELECT 1 WHERE false"}, "one row with one number"),
    ({"sql": "SELECT 'many'"}, "one row with one number"),
    ({"sql": "SELECT nope"}, "does not exist"),
    ({"sql": 'DELETE FROM "_prisma_migrations" RETURNING 1'}, "read-only transaction"),
    ({"command": "exit 3"}, "status 3"),
]


def test_a_number_that_cannot_be_is_none(phase: Any) -> None:
    reader = readings.Reader(made := phase())
    for source, said in WRONG:
        reader.sources = {"cpu_percent": Source(measure="cpu_percent", **source)}
        found = reader.sourced(made.db, "cpu_percent")
        assert found.value is None and said in found.why, source


def test_what_prometheus_knows_of_the_runs_time_is_drawn_with_it(
    phase: Any, prometheus: Server
) -> None:
    made = phase(
        sources=[{"measure": "cpu_percent", "query": "cpu"}], prometheus={"url": prometheus.url}
    )
    prometheus.answers(vector("30"))
    readings.take(made)
    now = time.time()
    prometheus.answers(
        success(
            "matrix",
            [{"metric": {}, "values": [[now - 20, "10"], [now - 10, "90"], [now + 60, "20"]]}],
        )
    )
    trend = next(one for one in readings.gathered(made) if one.measure.name == "cpu_percent")
    assert (
        trend.values == [10.0, 90.0, 30.0, 20.0]
        and "from 10 % to 90 % during the run" in trend.check().found
    )


def test_a_source_that_does_not_answer_is_a_gap_with_its_reason(
    phase: Any, prometheus: Server
) -> None:
    prometheus.answers(vector())
    made = phase(
        sources=[{"measure": "cpu_percent", "query": "cpu"}], prometheus={"url": prometheus.url}
    )
    item = next(one for one in made.monitoring() if one.id == "monitoring.cpu")
    assert item.status is Status.UNKNOWN and "no series" in item.found
    assert (
        "could not check: CPU" in made.monitoring_chart().title
        and "could not check (limit 100 %)" in made.monitoring_chart().svg
    )


def test_deadlocks_since_the_first_reading_are_counted_and_a_reset_is_said(phase: Any) -> None:
    made = phase()
    readings.take(made)
    assert (
        next(one for one in readings.gathered(made) if one.measure.name == "deadlocks")
        .check()
        .status
        is Status.UNKNOWN
    )
    readings.take(made)
    assert (
        next(one for one in readings.gathered(made) if one.measure.name == "deadlocks")
        .check()
        .found
        == "0"
    )
    made.db.value("SELECT pg_stat_reset()")
    readings.take(made)
    assert (
        "reset"
        in next(one for one in readings.gathered(made) if one.measure.name == "deadlocks")
        .check()
        .found
    )


def test_the_migration_is_read_all_through_and_a_source_that_hangs_does_not_hold_it_up(
    night: Callable[..., Night],
) -> None:
    story = night(
        NEXT,
        monitoring={
            "sources": [{"measure": "memory_percent", "command": "sleep 60"}],
            "timeout_s": 50.0,
        },
    )
    booking = story.holding('SELECT count(*) FROM "Patient"')
    blocked = threading.Thread(
        target=story.db().execute,
        args=('ALTER TABLE "Patient" ADD COLUMN "note" TEXT',),
        daemon=True,
    )
    with readings.recording(story.phase):
        recorder = next(one for one in threading.enumerate() if isinstance(one, readings._Recorder))
        recorder.reader.sources = {}
        blocked.start()
        _until(
            lambda: any(
                one.measure == "blocked_sessions" and one.value for one in list(recorder.found)
            )
        )
        recorder.reader.sources = {
            "memory_percent": Source(measure="memory_percent", command="sleep 60")
        }
        _until(
            lambda: [
                one
                for one in psutil.Process().children(recursive=True)
                if "sleep 60" in " ".join(one.cmdline())
            ]
        )
    booking.execute("ROLLBACK")
    blocked.join(20)
    kept = story.phase.run.read_evidence("migrate.readings")
    assert max(one["value"] for one in kept if one["measure"] == "blocked_sessions") == 1 and {
        "cpu_percent",
        "deadlocks",
    } <= {one["measure"] for one in kept}
    _until(
        lambda: (
            not story.db().value(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name LIKE 'runbook/%%-readings'",
                (),
            )
        )
    )
    process.end_running()
    recorder.join(20)
    assert not recorder.is_alive()


def _until(seen: Callable[[], Any]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline, "never seen"
        time.sleep(0.1)


TOLD = [
    ((40, 40, None), ""),
    ((None, 40, 100), ""),
    ((40, None, 100), ""),
    ((40, 40, 100), ""),
    ((40, None, None), "40 % free; how much that is"),
    ((None, 40, None), "one number does not tell it"),
    ((0, 0, None), "0 % free; how much"),
]


@pytest.mark.parametrize("numbers, why", TOLD)
def test_a_disk_is_known_by_two_of_its_numbers(numbers: tuple[float | None, ...], why: str) -> None:
    (found,) = readings.told(
        {
            name: Reading(name, "", value, "tests")
            for name, value in zip(readings.DISK, numbers, strict=True)
            if value is not None
        }
    )
    assert (found.free_bytes, found.total_bytes) == (
        (40, 100) if not why else (None, None)
    ) and why in found.why


def test_a_disk_of_which_a_number_could_not_be_read_is_a_persons_to_look_at(phase: Any) -> None:
    made = phase(
        sources=[
            {"measure": "disk_free_bytes", "command": "echo 40"},
            {"measure": "disk_total_bytes", "command": "exit 1"},
        ]
    )
    item = server.disk_check(made.db, "environment.disk", made)
    assert (
        item.status is Status.UNKNOWN
        and "ended with status 1" in item.found
        and not server.disk_chart(made).svg
    )
