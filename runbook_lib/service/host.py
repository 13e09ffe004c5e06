"""This machine's processor, memory and disk, by the counters of its kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from runbook_lib.errors import ToolError

SAMPLE_S = 0.3
"""Seconds that a first measurement takes."""
LONGER_S = 1.0
"""Seconds of each further one, where the first was above a limit: only what lasts counts."""
LONGER_TRIES = 5
_NO_DISK = "this system does not count how long its disks are at work"


@dataclass(frozen=True)
class Load:
    """What this machine was busy with between two moments, in percent.

    Args:
        disk_io_percent: the part of the time in which the disk had something to do, as iostat's
            `%util`; `None` where the system
            does not count that.
    """

    cpu_percent: float
    memory_percent: float
    disk_io_percent: float | None


class Gauge:
    """Measures this machine from one look to the next.

    Args:
        place: a path on the disk that counts; default, and where its device cannot be told: the
            busiest.
    """

    def __init__(self, place: Path | None = None) -> None:
        self.device = device(place) if place else None
        self._last = self._counters()

    def lap(self) -> Load:
        """The load since the last look."""
        before, self._last = self._last, self._counters()
        seconds = max(self._last[0] - before[0], 1e-6)
        total, idle = (self._last[1][n] - before[1][n] for n in (0, 1))
        busy = [
            min(100.0, (ms - before[2][name]) / seconds / 10)
            for name, ms in self._last[2].items()
            if name in before[2]
        ]
        return Load(
            100.0 * max(0.0, 1 - idle / total) if total > 0 else 0.0,
            psutil.virtual_memory().percent,
            max(busy) if busy else None,
        )

    def settled(self, limits: Mapping[str, float]) -> Load:
        """The load over `SAMPLE_S`.

        Where it is above a limit, looked at longer, and the calmest look counts.
        """
        found, tries = self.over(SAMPLE_S), 0
        while tries < LONGER_TRIES and any(
            (getattr(found, name, None) or 0) > limit for name, limit in limits.items()
        ):
            again, tries = self.over(LONGER_S), tries + 1
            disk = (
                None
                if found.disk_io_percent is None or again.disk_io_percent is None
                else min(found.disk_io_percent, again.disk_io_percent)
            )
            found = Load(
                min(found.cpu_percent, again.cpu_percent),
                min(found.memory_percent, again.memory_percent),
                disk,
            )
        return found

    def over(self, seconds: float = SAMPLE_S) -> Load:
        """The load of the next seconds."""
        self._last = self._counters()
        time.sleep(seconds)
        return self.lap()

    def _counters(self) -> tuple[float, tuple[float, float], dict[str, float]]:
        """When; the processors' seconds in all and idle (waiting for a disk is idle).

        The disks' milliseconds at work.
        """
        times = psutil.cpu_times()
        total = (
            sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        )  # those are in `user` and `nice`, too
        disks = psutil.disk_io_counters(perdisk=True) or {}
        chosen = {self.device: disks[self.device]} if self.device in disks else disks
        busy = {
            str(name): float(found.busy_time)
            for name, found in chosen.items()
            if hasattr(found, "busy_time")
        }
        return time.monotonic(), (total, times.idle + getattr(times, "iowait", 0.0)), busy


def value(load: Load, name: str) -> float:
    """One figure of a load.

    Raises:
        ToolError: this system does not measure it.
    """
    found: float | None = getattr(load, name)
    if found is None:
        raise ToolError(_NO_DISK, "name a source for `disk_io_percent` in `monitoring.sources`")
    return found


def device(place: Path) -> str | None:
    """The name of the block device on which a path lies, as the kernel's counters have it.

    `None` where it has none of its own.
    """
    try:
        number = os.stat(place).st_dev
    except OSError:
        return None
    link = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return link.resolve().name if link.exists() else None
