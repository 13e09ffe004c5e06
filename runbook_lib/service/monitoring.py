"""Monitoring: the configured probes, each asked; and the number that a command prints."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runbook_lib import process
from runbook_lib.check import Check, attempt, check
from runbook_lib.errors import ToolError
from runbook_lib.service.health import Endpoint, endpoints

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
    id, title = (
        "probe." + (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"),
        f"{name} answers",
    )
    if url is not None:
        base, path = _split(url)
        asked = [Endpoint(path, name, status=status, expect=expect or {}, max_ms=timeout_s * 1000)]
        only = endpoints(base, asked, timeout_s=timeout_s).items[0]
        return Check(id, title, only.status, only.found, only.expected, only.remedy)
    if command is None:
        raise ValueError("a probe needs a URL or a command")
    return attempt(id, title, lambda: _run(id, title, command, cwd, env, timeout_s))


def number(command: str, timeout_s: float = 10.0) -> float:
    """The one number that a command prints.

    Raises:
        ToolError: it failed, took too long, or printed something else.
    """
    done = process.run(
        command,
        timeout_s=timeout_s,
        remedy="correct the command in `monitoring.sources`: it prints one number",
    )
    try:
        found = float(done.output.strip())
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ToolError(
            "the command did not print one number",
            "correct it in `monitoring.sources`; run it by hand",
        )
    return found


def _split(url: str) -> tuple[str, str]:
    """An address as the base of its host, and the rest."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", url.removeprefix(f"{parts.scheme}://{parts.netloc}")


def _run(
    id: str,
    title: str,
    command: str,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    timeout_s: float,
) -> Check:
    done = process.run(command, cwd=cwd, env=env, timeout_s=timeout_s, check=False)
    if done.status in _NOT_THERE:
        raise ToolError(
            f"`{done.command}`: {_NOT_THERE[done.status]}",
            "correct `monitoring.probes`",
            status=done.status,
        )
    return check(
        id,
        title,
        done.status == 0,
        f"status {done.status} in {done.seconds:.1f} s",
        "status 0",
        "run it by hand; without monitoring nobody sees the night",
    )
