"""Where a phase is at work: the process that began it, and whether it is still there."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from enum import Enum
from typing import Any

import psutil


class Presence(str, Enum):
    """What is known of a process. That of another machine cannot be seen: it is neither taken for gone nor for alive."""

    HERE = "at work"
    GONE = "gone"
    ELSEWHERE = "cannot be told from here"


def this_process() -> dict[str, Any]:
    """What tells this process from all others: its number is used again once it is gone."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": round(psutil.Process().create_time(), 1),
    }


def presence(process: Mapping[str, Any] | None) -> Presence:
    """Whether the process that `this_process` described is still there; of one that nobody described nothing is known."""
    if process is None or process["host"] != socket.gethostname():
        return Presence.ELSEWHERE
    try:
        found = psutil.Process(process["pid"])
        reused = abs(found.create_time() - process["started"]) > 2  # the clock is set now and then
        return Presence.GONE if reused or found.status() == psutil.STATUS_ZOMBIE else Presence.HERE
    except psutil.NoSuchProcess:
        return Presence.GONE


def person() -> str:
    """Who is at work: `$RUNBOOK_PERSON`, else the login name, else the user's number."""
    try:
        return os.environ.get("RUNBOOK_PERSON") or getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"


def at_work(entry: Mapping[str, Any]) -> str:
    """Who carries a phase out, where and since when, in words."""
    process = entry.get("process") or {"pid": "unknown", "host": "a machine that is not known"}
    since = entry["started_at"][:16].replace("T", " ")
    return f"{entry.get('who') or 'somebody'} has been at work on {entry['phase']} since {since} UTC (process {process['pid']} on {process['host']})"
