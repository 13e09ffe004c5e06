"""The application's log, read from where it stood before: how many lines of which level, how many errors a minute.

Messages are never shown, they may hold data: only counts. JSON lines and text with levels are understood. Rotation
is followed (renamed, copied and truncated); what cannot be read is said to be unknown, never taken for "no errors".
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, unknown
from runbook_lib.check import check as judged
from runbook_lib.service.levels import count_levels, errors_in, span_minutes
from runbook_lib.table import Shown, Table, size

CHUNK = 2**20
"""Bytes read at a time."""
LARGEST_WINDOW = 256 * 2**20
"""Bytes of news that are read at most: beyond it the newest are read, and the counts are said to be a part."""
FINGERPRINT = 4096
"""Bytes before the position by which the file is known again after a rotation."""


@dataclass(frozen=True)
class Position:
    """Where a log stood.

    Args:
        at: when, UTC, ISO 8601.
        size: its bytes; 0 where it was not there yet.
        inode: its number in the file system; 0 where it was not there yet.
        fingerprint: a hash of what stood directly before the position.
        errors_per_minute: in the last part before the position, where its lines say when they were written.
    """

    path: str
    at: str
    size: int = 0
    inode: int = 0
    fingerprint: str = ""
    errors_per_minute: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


@dataclass(frozen=True)
class LogWindow(Shown):
    """What was written to a log since a position.

    Args:
        seconds: how long ago the position was taken.
        levels: lines by level; lines without one (stack traces) count as "other".
        rotated: whether the log was rotated meanwhile.
        size: bytes that were read.
        gaps: what could not be read, a line each; the counts are then a part of the truth.
    """

    seconds: float
    levels: Mapping[str, int]
    rotated: bool
    size: int
    gaps: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """Lines of the level error and worse."""
        return errors_in(self.levels)

    @property
    def errors_per_minute(self) -> float:
        """Errors a minute; a window shorter than a minute counts as one."""
        return self.errors / max(1.0, self.seconds / 60)

    def table(self) -> Table:
        """The counts as rows."""
        rows = [(level, count) for level, count in sorted(self.levels.items(), key=lambda item: -item[1])]
        rotated = ", rotated meanwhile" if self.rotated else ""
        title = f"{self.errors} errors in {self.seconds / 60:.1f} minutes of the log ({size(self.size)}{rotated})"
        return Table("; ".join([title, *self.gaps]), ("level", "lines"), rows)


def position(path: Path) -> Position:
    """Where the log stands now; a log that is not there, or cannot be read, stands at 0."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        with path.open("rb") as file:
            status = path.stat()
            tail = _tail(file, status.st_size, CHUNK)
    except OSError:
        return Position(str(path), at)
    minutes = span_minutes(tail)
    rate = round(errors_in(count_levels(tail)) / max(1.0, minutes), 2) if minutes is not None else None
    return Position(str(path), at, status.st_size, status.st_ino, _hash(tail[-FINGERPRINT:]), rate)


def since(path: Path, before: Position | Mapping[str, Any]) -> LogWindow:
    """What was written since a position.

    Raises:
        OSError: the log is not there or cannot be read.
        ValueError: it is no text.
    """
    start = before if isinstance(before, Position) else Position(**before)
    parts, rotated, gaps = _parts(path, start)
    levels: Counter[str] = Counter()
    room, read = LARGEST_WINDOW, 0
    for part, offset in reversed(parts):  # the newest first: where there is too much, the oldest is left out
        length = part.stat().st_size - offset
        if length > room:
            gaps.append(f"only the newest {size(LARGEST_WINDOW)} were read")
            offset, length = offset + length - room, room
        for chunk in _chunks(part, offset, length):
            levels.update(count_levels(chunk))
        room, read = room - length, read + length
        if room <= 0:
            break
    seconds = (datetime.now(UTC) - datetime.fromisoformat(start.at)).total_seconds()
    return LogWindow(seconds, dict(levels), rotated, read, tuple(dict.fromkeys(gaps)))


def check(path: Path, before: Position | Mapping[str, Any], limit_per_minute: float) -> Check:
    """Whether the error rate did not rise: at most the limit, or what it was before where that was more.

    Args:
        before: where the log stood before the migration.
        limit_per_minute: errors a minute that are normal.
    """
    start = before if isinstance(before, Position) else Position(**before)
    id, title = "application.log", "the log's error rate did not rise"
    allowed = max(limit_per_minute, start.errors_per_minute or 0.0)
    expected = f"at most {allowed:.1f} errors a minute"
    try:
        window = since(path, start)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return unknown(id, title, f"the log {path.name}: {why}", expected, "correct `service.log`, or let this user read it")
    was = f", {start.errors_per_minute:.1f} a minute before" if start.errors_per_minute is not None else ""
    found = f"{window.errors} errors in {max(1.0, window.seconds / 60):.1f} minutes{was}"
    if window.rotated:
        found += "; the log was rotated meanwhile"
    if window.gaps and window.errors_per_minute <= allowed:
        return unknown(id, title, "; ".join([found, *window.gaps]), expected, "count the errors in the rotated log by hand")
    return judged(id, title, window.errors_per_minute <= allowed, found, expected, "read the log; 90_rollback where the errors come from the migration")


def _parts(path: Path, start: Position) -> tuple[list[tuple[Path, int]], bool, list[str]]:
    """The files that hold what is new, oldest first, and where in each it begins; whether rotated; what is missing."""
    now = path.stat()
    here = _continues(path, start)
    if not start.inode or (here and now.st_ino == start.inode):
        return [(path, start.size)], False, []
    older = _rotated(path, start)
    if not older and here and start.size:
        return [(path, start.size)], False, []  # the same content under another number: it was copied back
    gap = [] if older else ["what was written between the position and the rotation was not found"]
    return [*older, (path, 0)], True, gap


def _rotated(path: Path, start: Position) -> list[tuple[Path, int]]:
    """The rotated files from the one that the position was taken in, oldest first; none where it is not found."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    name = re.compile(rf"{stem}(?:{suffix})?[._-]+[\d._:T-]+(?:{suffix})?")  # app.log.1, app.log-20260101, app-2026-01-01.log
    siblings = [other for other in path.parent.iterdir() if name.fullmatch(other.name) and other.is_file()]
    found: list[tuple[Path, int]] = []
    for other in sorted(siblings, key=lambda item: item.stat().st_mtime_ns):
        if found:
            found.append((other, 0))
        elif _continues(other, start):
            found.append((other, start.size))
    return found


def _continues(path: Path, start: Position) -> bool:
    """Whether this file is the one that the position was taken in, by what stands before the position."""
    status = path.stat()
    if not start.size:
        return status.st_ino == start.inode
    with path.open("rb") as file:
        return status.st_size >= start.size and _hash(_tail(file, start.size, FINGERPRINT)) == start.fingerprint


def _chunks(path: Path, offset: int, length: int) -> Iterator[bytes]:
    """The bytes in chunks that end at a line's end.

    Raises:
        ValueError: they are no text.
    """
    with path.open("rb") as file:
        file.seek(offset)
        rest = b""
        while length > 0 and (chunk := file.read(min(CHUNK, length))):
            length -= len(chunk)
            if b"\0" in chunk:
                raise ValueError("it is binary, and holds no lines of text")
            whole, newline, tail = (rest + chunk).rpartition(b"\n")
            yield whole + newline
            rest = tail[:CHUNK]  # of a line without end the beginning is enough: its level stands there
        yield rest


def _tail(file: Any, end: int, length: int) -> bytes:
    file.seek(max(0, end - length))
    return file.read(min(end, length))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if content else ""


__all__ = ["Position", "LogWindow", "position", "since", "check"]
