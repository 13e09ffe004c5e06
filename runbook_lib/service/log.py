"""The application's log, read from where it stood before.

Lines by level, errors a minute, and which errors are new.

Messages may hold data: they are masked (`runbook_lib.service.masking`). JSON lines and text with
levels are understood. Rotation is followed (renamed, copied and truncated); what cannot be read is
said to be unknown, never taken for "no errors".
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from runbook_lib.check import Check, check, unknown
from runbook_lib.service.levels import count_levels, errors_in, span_minutes
from runbook_lib.service.masking import Kind, Messages
from runbook_lib.table import Shown, Table, size

CHUNK = 2**20
"""Bytes read at a time."""
BEFORE = 8 * 2**20
"""Bytes before a position from which the errors of then are known."""
LARGEST_WINDOW = 256 * 2**20
"""Bytes of news that are read at most: beyond it the newest are read, and the counts are said to be
a part.
"""
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
        errors_per_minute: in the last part before the position, where its lines say when they were
            written.
        messages: the kinds of error messages in that part, masked.
    """

    path: str
    at: str
    size: int = 0
    inode: int = 0
    fingerprint: str = ""
    errors_per_minute: float | None = None
    messages: tuple[str, ...] = ()

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
        new: the kinds of error messages that were not there before the position.
    """

    seconds: float
    levels: Mapping[str, int]
    rotated: bool
    size: int
    gaps: tuple[str, ...] = ()
    new: tuple[Kind, ...] = ()

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
        rows = [
            (level, count)
            for level, count in sorted(self.levels.items(), key=lambda item: -item[1])
        ]
        rotated = ", rotated meanwhile" if self.rotated else ""
        title = (
            f"{self.errors} errors in {self.seconds / 60:.1f} minutes of the log "
            f"({size(self.size)}{rotated})"
        )
        return Table("; ".join([title, *self.gaps]), ("level", "lines"), rows)

    def new_messages(self) -> Table:
        """The errors that were not there before, masked."""
        title = (
            f"{len(self.new)} kinds of errors that were not there before"
            if self.new
            else "No error that was not there before"
        )
        return Table(
            title,
            ("message, masked", "times", "first at"),
            [(kind.text, kind.count, kind.first) for kind in self.new],
            ["bad"] * len(self.new),
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


def position(path: Path, known: Collection[str] = ()) -> Position:
    """Where the log stands now; a log that is not there, or cannot be read, stands at 0.

    Args:
        known: words that may be shown in messages.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        with path.open("rb") as file:
            status = path.stat()
            tail = _tail(file, status.st_size, BEFORE)
    except OSError:
        return Position(str(path), at)
    minutes, found = span_minutes(tail), Messages(known)
    found.add(tail.split(b"\n"))
    rate = (
        round(errors_in(count_levels(tail)) / max(1.0, minutes), 2) if minutes is not None else None
    )
    return Position(
        str(path),
        at,
        status.st_size,
        status.st_ino,
        _hash(tail[-FINGERPRINT:]),
        rate,
        tuple(kind.text for kind in found.kinds()),
    )


def since(
    path: Path, before: Position | Mapping[str, Any], known: Collection[str] = ()
) -> LogWindow:
    """What was written since a position.

    Args:
        known: words that may be shown in messages.

    Raises:
        OSError: the log is not there or cannot be read.
        ValueError: it is no text.
    """
    start = before if isinstance(before, Position) else Position(**before)
    parts, rotated, gaps = _parts(path, start)
    levels, found, size_read = Counter[str](), Messages(known), 0
    for part, offset, length in _newest(parts, gaps):
        for chunk in _chunks(part, offset, length):
            levels.update(count_levels(chunk))
            found.add(chunk.split(b"\n"))
        size_read += length
    seconds = (datetime.now(UTC) - datetime.fromisoformat(start.at)).total_seconds()
    new = tuple(kind for kind in found.kinds() if kind.text not in start.messages)
    return LogWindow(seconds, dict(levels), rotated, size_read, tuple(dict.fromkeys(gaps)), new)


def read(
    path: Path, before: Position | Mapping[str, Any], known: Collection[str] = ()
) -> LogWindow | str:
    """What was written since a position, or why that cannot be told."""
    try:
        return since(path, before, known)
    except (OSError, ValueError) as error:
        return (
            f"the log {path.name}: "
            f"{error.strerror if isinstance(error, OSError) and error.strerror else error}"
        )


def checks(
    window: LogWindow | str, before: Position | Mapping[str, Any], limit_per_minute: float
) -> list[Check]:
    """Whether errors became more frequent, and whether there are any that were not there before.

    Those are for a person to read.

    Args:
        window: what `read` gave.
        before: where the log stood before the migration.
        limit_per_minute: errors a minute that are normal; where there were more before, that many
            are.
    """
    start = before if isinstance(before, Position) else Position(**before)
    allowed = max(limit_per_minute, start.errors_per_minute or 0.0)
    return [_rate(window, start, allowed), _news(window)]


def _rate(window: LogWindow | str, start: Position, allowed: float) -> Check:
    id, title, expected = (
        "application.log",
        "the log's error rate did not rise",
        f"at most {allowed:.1f} errors a minute",
    )
    if isinstance(window, str):
        return unknown(
            id, title, window, expected, "correct `service.log`, or let this user read it"
        )
    was = (
        f", {start.errors_per_minute:.1f} a minute before"
        if start.errors_per_minute is not None
        else ""
    )
    found = f"{window.errors} errors in {max(1.0, window.seconds / 60):.1f} minutes{was}"
    if window.rotated:
        found += "; the log was rotated meanwhile"
    if window.gaps and window.errors_per_minute <= allowed:
        return unknown(
            id,
            title,
            "; ".join([found, *window.gaps]),
            expected,
            "count the errors in the rotated log by hand",
        )
    return check(
        id,
        title,
        window.errors_per_minute <= allowed,
        found,
        expected,
        "read the log; 90_rollback where the errors come from the migration",
    )


def _news(window: LogWindow | str) -> Check:
    id, title = "application.new_errors", "no error that was not there before"
    if isinstance(window, str):
        return unknown(id, title, window, "none")
    if window.new:
        return unknown(
            id,
            title,
            f"{len(window.new)} kinds, {sum(kind.count for kind in window.new)} times",
            "none",
            "read them, masked, in the table; whole, at the times that it names, in the log",
        )
    return (
        check(id, title, True, "none", "none")
        if not window.gaps
        else unknown(id, title, "; ".join(window.gaps), "none", "read the rotated log by hand")
    )


def _parts(path: Path, start: Position) -> tuple[list[tuple[Path, int]], bool, list[str]]:
    """The files that hold what is new, oldest first, and where in each it begins; whether rotated.

    What is missing.
    """
    now = path.stat()
    here = _continues(path, start)
    if not start.inode or (here and now.st_ino == start.inode):
        return [(path, start.size)], False, []
    older = _rotated(path, start)
    if not older and here and start.size:
        return (
            [(path, start.size)],
            False,
            [],
        )  # the same content under another number: it was copied back
    gap = [] if older else ["what was written between the position and the rotation was not found"]
    return [*older, (path, 0)], True, gap


def _newest(parts: list[tuple[Path, int]], gaps: list[str]) -> list[tuple[Path, int, int]]:
    """What is read of the files, with offset and length.

    Where there is too much, the oldest is left out, and `gaps` says so.
    """
    chosen: list[tuple[Path, int, int]] = []
    room = LARGEST_WINDOW
    for part, offset in reversed(parts):
        length = part.stat().st_size - offset
        if length > room:
            gaps.append(f"only the newest {size(LARGEST_WINDOW)} were read")
            offset, length = offset + length - room, room
        chosen.insert(0, (part, offset, length))
        room -= length
        if room <= 0:
            break
    return chosen


def _rotated(path: Path, start: Position) -> list[tuple[Path, int]]:
    """The rotated files from the one that the position was taken in, oldest first.

    None where it is not found.
    """
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    name = re.compile(
        rf"{stem}(?:{suffix})?[._-]+[\d._:T-]+(?:{suffix})?"
    )  # app.log.1, app.log-20260101, app-2026-01-01.log
    siblings = [
        other for other in path.parent.iterdir() if name.fullmatch(other.name) and other.is_file()
    ]
    found: list[tuple[Path, int]] = []
    for other in sorted(siblings, key=lambda item: item.stat().st_mtime_ns):
        if found:
            found.append((other, 0))
        elif _continues(other, start):
            found.append((other, start.size))
    return found


def _continues(path: Path, start: Position) -> bool:
    """Return whether this file is the one that the position was taken in.

    By what stands before the position.
    """
    status = path.stat()
    if not start.size:
        return status.st_ino == start.inode
    with path.open("rb") as file:
        return (
            status.st_size >= start.size
            and _hash(_tail(file, start.size, FINGERPRINT)) == start.fingerprint
        )


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
            rest = tail[
                :CHUNK
            ]  # of a line without end the beginning is enough: its level stands there
        yield rest


def _tail(file: IO[bytes], end: int, length: int) -> bytes:
    file.seek(max(0, end - length))
    return file.read(min(end, length))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if content else ""


__all__ = ["Position", "LogWindow", "position", "since", "read", "checks"]
