"""This machine's load, by the counters of its kernel."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from runbook_lib.errors import ToolError
from runbook_lib.service import host
from runbook_lib.service.host import Gauge, Load


def test_this_machine_is_measured() -> None:
    found = Gauge(Path("/tmp")).over(0.1)
    assert (
        0 <= found.cpu_percent <= 100
        and 0 < found.memory_percent < 100
        and host.value(found, "cpu_percent") >= 0
    )


def test_a_processor_at_work_is_seen() -> None:
    gauge, spent = Gauge(), os.times().user
    while os.times().user - spent < 0.3:
        pass
    assert gauge.lap().cpu_percent > 100 / (psutil.cpu_count() or 1) * 0.3


def test_the_disk_of_a_path_is_found_where_it_is_a_device(tmp_path: Path) -> None:
    name = host.device(tmp_path)
    assert name is None or name in psutil.disk_io_counters(perdisk=True)
    assert host.device(tmp_path / "none") is None and host.device(Path("/proc")) is None


@pytest.mark.parametrize(
    "looks, cpu", [([(99.0, 3), (20.0, 4)], 20.0), ([(99.0, 3)] * 9, 99.0), ([(50.0, 1)], 50.0)]
)
def test_only_what_lasts_counts(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[float, float]], cpu: float
) -> None:
    given = iter(looks)
    monkeypatch.setattr(Gauge, "over", lambda self, seconds: Load(next(given)[0], 10.0, None))
    assert Gauge().settled({"cpu_percent": 95.0, "disk_io_percent": 95.0}) == Load(cpu, 10.0, None)


def test_a_system_that_does_not_count_its_disks_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk: None)
    with pytest.raises(ToolError, match="does not count"):
        host.value(Gauge().over(0.01), "disk_io_percent")
