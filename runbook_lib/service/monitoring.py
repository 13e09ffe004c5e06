"""Monitoring: the configured probes, and this machine's own measurements, each a value beside its limit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runbook_lib import process
from runbook_lib.check import Check, attempt, check, unknown
from runbook_lib.errors import ToolError
from runbook_lib.service.health import Endpoint, endpoints
from runbook_lib.table import size

SAMPLE_S = 0.3
"""Seconds that a first measurement of the processor takes."""
LONGER_S = 1.0
"""Seconds of each further one, where the first was above the limit: only what lasts counts."""
LONGER_TRIES = 5
_NOT_THERE = {126: "it cannot be executed", 127: "it was not found"}


def probe(
    name: str,
    *,
    url: str | None = None,
    command: str | None = None,
    status: int = 200,
    expect: Mapping[str, Any] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> Check:
    """One question to the monitoring: a URL that answers, or a command that ends with status 0.

    Args:
        name: what is asked, for people.
        url, command: one of them.
        status, expect: what the URL must answer, see `runbook_lib.service.health.Endpoint`.
        cwd, env: for the command.
    """
    id, title = "probe." + (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"), f"{name} answers"
    if url is not None:
        base, path = _split(url)
        asked = [Endpoint(path, name, status=status, expect=expect or {}, max_ms=timeout_s * 1000)]
        only = endpoints(base, asked, timeout_s=timeout_s).items[0]
        return Check(id, title, only.status, only.found, only.expected, only.remedy)
    if command is None:
        raise ValueError("a probe needs a URL or a command")
    return attempt(id, title, lambda: _run(id, title, command, cwd, env, timeout_s))


def host(
    *,
    local: bool,
    cpu_percent: float = 95.0,
    memory_percent: float = 95.0,
    io_wait_percent: float = 50.0,
    disk: Path | None = None,
    disk_free_percent: float = 30.0,
) -> list[Check]:
    """Processor, memory and disk of the database's machine.

    Args:
        local: whether that is this machine; where it is not, nothing can be measured from here.
        cpu_percent, memory_percent, io_wait_percent: limits.
        disk: a path on the disk to measure; not measured where it is None.
        disk_free_percent: how much of it must be free.
    """
    if not local:
        return [_elsewhere("cpu", "the processor is not saturated", f"at most {cpu_percent:.0f} %"),
                _elsewhere("memory", "memory is not exhausted", f"at most {memory_percent:.0f} %"),
                _elsewhere("io", "the disk keeps up", f"at most {io_wait_percent:.0f} % waiting")]
    checks = [*_processor(cpu_percent, io_wait_percent), _memory(memory_percent)]
    return checks + ([_disk(disk, disk_free_percent)] if disk else [])


def _split(url: str) -> tuple[str, str]:
    """An address as the base of its host, and the rest."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", url.removeprefix(f"{parts.scheme}://{parts.netloc}")


def _run(id: str, title: str, command: str, cwd: Path | None, env: Mapping[str, str] | None, timeout_s: float) -> Check:
    done = process.run(command, cwd=cwd, env=env, timeout_s=timeout_s, check=False)
    if done.status in _NOT_THERE:
        raise ToolError(f"`{done.command}`: {_NOT_THERE[done.status]}", "correct `monitoring.probes`", status=done.status)
    return check(id, title, done.status == 0, f"status {done.status} in {done.seconds:.1f} s", "status 0",
                 "run it by hand; without monitoring nobody sees the night")


def _processor(limit: float, io_limit: float) -> list[Check]:
    """Busy and waiting shares; measured longer where the first look was above a limit, and the calmest look counts."""
    busy, waiting = _sample(SAMPLE_S)
    seconds, tries = SAMPLE_S, 0
    while (busy > limit or (waiting or 0) > io_limit) and tries < LONGER_TRIES:
        again = _sample(LONGER_S)
        busy, waiting = min(busy, again[0]), min(waiting, again[1]) if waiting is not None and again[1] is not None else None
        seconds, tries = seconds + LONGER_S, tries + 1
    from psutil import cpu_count, getloadavg

    load = f"{busy:.0f} % over {seconds:.1f} s, load {getloadavg()[0]:.1f} on {cpu_count()} processors"
    processor = check("monitoring.cpu", "the processor is not saturated", busy <= limit, load, f"at most {limit:.0f} %",
                      "see what runs: 95_troubleshoot lists the sessions")
    title, expected = "the disk keeps up", f"at most {io_limit:.0f} % waiting"
    if waiting is None:
        return [processor, unknown("monitoring.io", title, "this system does not say how long the processor waits for the disk", expected)]
    return [processor, check("monitoring.io", title, waiting <= io_limit, f"{waiting:.0f} % of the time waiting for it", expected,
                             "see what reads and writes: 95_troubleshoot")]


def _sample(seconds: float) -> tuple[float, float | None]:
    """How busy the processors were, and how much they waited for the disk, in percent."""
    import psutil

    times = psutil.cpu_times_percent(interval=seconds)
    waiting = getattr(times, "iowait", None)
    return 100.0 - times.idle - (waiting or 0.0), waiting


def _memory(limit: float) -> Check:
    import psutil

    memory = psutil.virtual_memory()
    return check("monitoring.memory", "memory is not exhausted", memory.percent <= limit,
                 f"{memory.percent:.0f} % used, {size(memory.available)} available", f"at most {limit:.0f} %", "see what uses it")


def _disk(path: Path, least: float) -> Check:
    id, title, expected = "monitoring.disk", "the disk has room", f"at least {least:.0f} % free"

    def look() -> Check:
        disk = shutil.disk_usage(path)
        free = disk.free / disk.total * 100
        return check(id, title, free >= least, f"{size(disk.free)} of {size(disk.total)} free: {free:.0f} %", expected, "make room")
    return attempt(id, title, look)


def _elsewhere(name: str, title: str, expected: str) -> Check:
    return unknown(f"monitoring.{name}", title, "the database's machine cannot be measured from here", expected,
                   "look at its dashboard, then approve the gate; or set `monitoring.probes`")
