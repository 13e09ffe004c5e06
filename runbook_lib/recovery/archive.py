"""The folder of archived WAL, as it is seen from here: which segments are in it, whole, and of which server."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runbook_lib.recovery.point import RestorePoint

_NAME = re.compile(r"[0-9A-F]{24}")
_HEADER = struct.Struct("=HHIQI4xQII")
"""XLogLongPageHeaderData: magic, info, timeline, address, rest, *system identifier*, *segment size*, block size."""


@dataclass(frozen=True)
class Segment:
    """One WAL file, by its own first page.

    Args:
        system_identifier: of the server that wrote it.
        bytes: how large a whole segment of that server is.
        whole: whether this one is.
    """

    name: str
    system_identifier: str
    bytes: int
    whole: bool


def read(folder: Path, name: str) -> Segment | None:
    """A segment of the archive; None where it is not there, or is no WAL as the server writes it.

    Raises:
        OSError: the archive cannot be read.
    """
    path = folder / name
    if not _NAME.fullmatch(name) or not path.exists():
        return None
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    *_, identifier, size, _ = _HEADER.unpack(head)
    return Segment(name, str(identifier), size, path.stat().st_size == size)


def await_segment(folder: Path, name: str, seconds: float, say: Callable[[str], None] | None = None) -> Segment | None:
    """A segment once it is there as a whole; None where it does not come in time."""
    deadline, told = time.monotonic() + seconds, 0.0
    while not ((found := read(folder, name)) and found.whole):
        now = time.monotonic()
        if now > deadline:
            return None
        if say and now - told > 5:
            say(f"waiting for WAL segment {name} in the archive, {deadline - now:.0f} s at most")
            told = now
        time.sleep(0.05)
    return found


def span(first: int, point: RestorePoint, bytes: int) -> list[str]:
    """Names of the segments from the one that holds position `first` to that of the point, on the point's timeline."""
    a_file = 2**32 // bytes
    last = int(point.segment[8:16], 16) * a_file + int(point.segment[16:], 16)
    return [f"{point.segment[:8]}{number // a_file:08X}{number % a_file:08X}" for number in range(first // bytes, last + 1)]


def missing(folder: Path, first: int, point: RestorePoint, bytes: int) -> list[str]:
    """Those of them that are not in the archive as a whole."""
    names = span(first, point, bytes)
    return [name for name in names if not ((found := read(folder, name)) and found.whole)]
