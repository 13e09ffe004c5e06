"""Where a run or a phase is at work: the process that began it, and whether it is still there.

And one process at a time.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from runbook_lib import login
from runbook_lib.errors import Refused
from runbook_lib.files import lock, write_json


class Presence(StrEnum):
    """What is known of a process.

    That of another machine cannot be seen: it is neither taken for gone nor for alive.
    """

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
    """Whether the process that `this_process` described is still there.

    Of one that nobody described nothing is known.
    """
    if process is None or process["host"] != socket.gethostname():
        return Presence.ELSEWHERE
    try:
        found = psutil.Process(process["pid"])
        reused = abs(found.create_time() - process["started"]) > 2  # the clock is set now and then
        return Presence.GONE if reused or found.status() == psutil.STATUS_ZOMBIE else Presence.HERE
    except psutil.NoSuchProcess:
        return Presence.GONE


def person() -> str:
    """Who is at work, as it is recorded.

    A name that was merely typed (`$RUNBOOK_PERSON`) says so.
    """
    return str(login.current())


def at_work(entry: Mapping[str, Any]) -> str:
    """Who carries a phase out, where and since when, in words."""
    process = entry.get("process") or {"pid": "unknown", "host": "a machine that is not known"}
    since = entry["started_at"][:16].replace("T", " ")
    return (
        f"{entry.get('who') or 'somebody'} has been at work on {entry['phase']} since {since} UTC "
        f"(process {process['pid']} on {process['host']})"
    )


@contextmanager
def carrying(archive: Path, run: str, *, take_over: bool = False) -> Iterator[None]:
    """Be the one process that carries a run from phase to phase, as long as the block is executed.

    Args:
        take_over: a person has made sure that the process on another machine is gone.

    Raises:
        Refused: another process carries it; nothing was changed.
    """
    with lock(archive, f"{run}.process"):
        mine = _is_this(_carrier(archive, run))
        other = carrier(archive, run)
        if other and not (take_over and presence(other) is Presence.ELSEWHERE):
            raise carried_by(other, archive / run)
        sign = {**this_process(), "who": person(), "since": datetime.now(UTC).isoformat()}
        write_json(_sign(archive, run), sign)
    try:
        yield
    finally:
        if not mine:
            _sign(archive, run).unlink(missing_ok=True)


def carrier(archive: Path, run: str) -> dict[str, Any] | None:
    """Return the process that carries a run.

    None where none does, or it is this one, or one that started this one.
    """
    found = _carrier(archive, run)
    if found is None or presence(found) is Presence.GONE:
        return None
    own = [psutil.Process(), *psutil.Process().parents()]
    here = presence(found) is Presence.HERE
    return None if here and found["pid"] in [process.pid for process in own] else found


def carried_by(other: Mapping[str, Any], run: Path) -> Refused:
    """Return the refusal that names who is at work on a run."""
    where = f"process {other['pid']} on {other['host']}"
    since = str(other["since"])[:19].replace("T", " ")
    return Refused(
        f"{other['who']} is at work on {run.name} since {since} UTC ({where})",
        "wait until it has ended, or stop it there with Ctrl-C; `runbook status "
        f"{shlex.quote(str(run))}` shows how the run stands"
        + (
            ""
            if presence(other) is Presence.HERE
            else "; where it is gone, the same command with `--take-over`"
        ),
    )


def _sign(archive: Path, run: str) -> Path:
    return archive / ".locks" / f"{run}.process.json"


def _is_this(process: Mapping[str, Any] | None) -> bool:
    return process is not None and this_process().items() <= process.items()


def _carrier(archive: Path, run: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(_sign(archive, run).read_bytes()))
    except FileNotFoundError:
        return None
