"""The kinds of error messages in a log, masked.

Two messages that differ in masked words only are of one kind.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from runbook_lib.masking import WORDS, masked
from runbook_lib.service.levels import ERRORS, level_of, time_of

MOST_READ = 50_000
"""Errors whose messages are read; where there are more, their number alone says enough."""
_LONGEST = 160
"""Characters of a message that are read."""


@dataclass(frozen=True)
class Kind:
    """One kind of error message.

    Args:
        text: the message with everything masked that is not known to be harmless.
        count: how often it was read.
        first: when first, as the log's line has it; empty where it names no time.
    """

    text: str
    count: int
    first: str


class Messages:
    """Collects the kinds of the error lines that it is shown.

    Args:
        known: further words that may be shown, whatever their case.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        self._shown = WORDS | {word.lower() for word in known}
        self._kinds: dict[str, Kind] = {}
        self.read = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Take in the lines that are errors."""
        for line in lines:
            if level_of(line) in ERRORS and self.read < MOST_READ:
                self.read += 1
                text = masked(message(line), self._shown.__contains__)
                old = self._kinds.get(text)
                self._kinds[text] = Kind(
                    text, old.count + 1 if old else 1, old.first if old else time_of(line)
                )

    def kinds(self) -> tuple[Kind, ...]:
        """Those found, the most frequent first."""
        return tuple(sorted(self._kinds.values(), key=lambda kind: (-kind.count, kind.text)))


def message(line: bytes) -> str:
    """Return what a line says.

    Of JSON its message and the error's name and code, of text all of it but its time.
    """
    text = line.decode("utf-8", "replace")
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return text.replace(time_of(line), "", 1).strip()[:_LONGEST]
    error = document.get("err") or document.get("error") or {}
    parts = [document.get("msg") or document.get("message")]
    parts += (
        [error.get("type") or error.get("name"), error.get("code"), error.get("message")]
        if isinstance(error, dict)
        else [error]
    )
    return " ".join(str(part) for part in parts if part)[:_LONGEST]
