"""The levels of log lines.

JSON (pino, winston, bunyan, structlog, GCP) and text, counted without keeping a message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

ERRORS = ("error", "fatal")
"""Levels that count as errors."""
_NAMES = {
    "trace": "trace",
    "verbose": "trace",
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "err": "error",
    "severe": "error",
    "fatal": "fatal",
    "critical": "fatal",
    "crit": "fatal",
    "alert": "fatal",
    "emerg": "fatal",
    "emergency": "fatal",
    "panic": "fatal",
    "10": "trace",
    "20": "debug",
    "30": "info",
    "40": "warn",
    "50": "error",
    "60": "fatal",
}
_WORDS = "|".join(sorted((name for name in _NAMES if name.isalpha()), key=len, reverse=True))
_JSON = re.compile(rb'"(?:level|severity|lvl|levelname|log\.level)"\s*:\s*"?(\w+)', re.IGNORECASE)
# upper case anywhere; lower case only where its form says that it is a level: [info], <info>,
# info:, level=info
_TEXT = re.compile(
    rf"(?<![\w-])(?:({_WORDS.upper()})(?![\w-])|(?:level=|[\[<(]\s*)\"?({_WORDS})\"?(?![\w-])|"
    rf"({_WORDS}):)".encode()
)
_HEAD = 160
"""Bytes at a line's beginning in which a level is looked for in text."""
_TIME = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?")


def count_levels(lines: bytes) -> Counter[str]:
    """Lines by level; those without one are "other"."""
    return Counter(level_of(line) for line in lines.split(b"\n") if line.strip())


def level_of(line: bytes) -> str:
    """The level of one line, or "other"."""
    if line.lstrip().startswith(b"{"):
        found = _JSON.search(line)
        return (
            _NAMES.get(found[1].decode("ascii", "replace").lower(), "other") if found else "other"
        )
    found = _TEXT.search(line[:_HEAD])
    return _NAMES[found[found.lastindex or 0].decode("ascii").lower()] if found else "other"


def errors_in(levels: Mapping[str, int]) -> int:
    """How many of the lines are errors."""
    return sum(levels.get(level, 0) for level in ERRORS)


def span_minutes(lines: bytes) -> float | None:
    """Minutes between the first and the last time that the lines name.

    None where they name none.
    """
    times = [
        moment for line in (_first(lines), _first(lines, last=True)) if (moment := _moment(line))
    ]
    if len(times) < 2 or (times[0].tzinfo is None) != (times[1].tzinfo is None):
        return None
    return max(0.0, (times[1] - times[0]).total_seconds() / 60)


def time_of(line: bytes) -> str:
    """The time that a line names, as it stands there; empty where it names none."""
    found = _TIME.search(line)
    return found[0].decode("ascii") if found else ""


def _first(lines: bytes, *, last: bool = False) -> bytes:
    """The first (or last) line that names a time."""
    ordered = lines.split(b"\n")
    return next(
        (line for line in (reversed(ordered) if last else ordered) if _TIME.search(line)), b""
    )


def _moment(line: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace(",", ".")) if (text := time_of(line)) else None
    except ValueError:
        return None
