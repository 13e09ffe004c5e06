"""The folder of archived WAL, as it is seen from here.

Which segments are in it, whole, and of which server.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runbook_lib.process import run
from runbook_lib.recovery.point import RestorePoint

_NAME = re.compile(r"[0-9A-F]{24}")
_HEADER = struct.Struct("=HHIQI4xQII")
"""XLogLongPageHeaderData: magic, info, timeline, address, rest, *system identifier*, *segment
size*, block size.
"""

_PAGE, _HEADERS = 8192, (24, 40)
"""Bytes of a WAL page, and of the header of a later and of a segment's first page."""


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


def await_segment(
    folder: Path, name: str, seconds: float, say: Callable[[str], None] | None = None
) -> Segment | None:
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
    """Return names of the segments from position `first` to the point's.

    On the point's timeline.
    """
    a_file = 2**32 // bytes
    last = int(point.segment[8:16], 16) * a_file + int(point.segment[16:], 16)
    return [
        f"{point.segment[:8]}{number // a_file:08X}{number % a_file:08X}"
        for number in range(first // bytes, last + 1)
    ]


def missing(folder: Path, first: int, point: RestorePoint, bytes: int) -> list[str]:
    """Those of them that are not in the archive as a whole."""
    names = span(first, point, bytes)
    return [name for name in names if not ((found := read(folder, name)) and found.whole)]


def tablespaces(folder: Path, first: str, point: RestorePoint, programs: Path) -> str:
    """The first record that makes or drops a tablespace on the way to the point.

    "" where there is none. Every record is read.

    Args:
        first: the LSN to begin at.
        programs: folder of the server's own programs.

    Raises:
        ToolError: the WAL is damaged.
    """
    done = run(
        [
            str(programs / "pg_waldump"),
            "--path",
            str(folder),
            "--timeline",
            str(point.timeline),
            "--start",
            first,
            "--end",
            _end(point),
            "--rmgr",
            "Tablespace",
        ],
        remedy="restore the dump instead: this WAL cannot be replayed",
        keep_lines=100,
    )
    return next(
        (line.partition("desc: ")[2] for line in done.output.splitlines() if "desc: " in line), ""
    )


def _end(point: RestorePoint) -> str:
    """The point's LSN, or the start of its page where it stands right behind the page's header.

    pg_waldump errs there.
    """
    at = (
        point.position - point.position % _PAGE
        if point.position % _PAGE in _HEADERS
        else point.position
    )
    return f"{at >> 32:X}/{at % 2**32:X}"
