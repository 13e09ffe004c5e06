"""The kinds of error messages in a log, with every word masked that could be somebody's.

A message may quote anything: a name, an address, a finding. So a word is shown only where it stands in a list: the words
of `words.txt`, which say what went wrong, and those that the caller knows to be harmless (names of models and columns, paths).
Two messages that differ in masked words only are of one kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from runbook_lib.service.levels import ERRORS, level_of, time_of

MOST_READ = 50_000
"""Errors whose messages are read; where there are more, their number alone says enough."""
_LONGEST = 160
"""Characters of a message that are read."""
WORDS = frozenset(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split())
"""Lower case: what goes wrong in an application, and nobody's name."""
_PART = re.compile(r"\w+|\W+")
_CODE = re.compile(
    r"P[1-6]\d{3}|\d\dP\d\d"
)  # Prisma's codes, and SQLSTATEs that are not a number only: that may be anything


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
    """What a line says: of JSON its message and the error's name and code, of text all of it but its time."""
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


def masked(text: str, harmless: Callable[[str], bool]) -> str:
    """The text with every word as … that is not harmless, numbers as #, and of the rest only plain punctuation."""
    return re.sub(
        r"(?:… ?){2,}", "… ", "".join(_part(part, harmless) for part in _PART.findall(text))
    ).strip()


def _part(part: str, harmless: Callable[[str], bool]) -> str:
    if not part[0].isalnum() and part[0] != "_":
        return re.sub(r"[^ .,:;()/=-]+", "", part) or (" " if part.isspace() else "")
    if _CODE.fullmatch(part) or harmless(part.lower()):
        return part
    return "#" if part.isdecimal() else "…"
