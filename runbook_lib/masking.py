"""What programs of others print, with every word masked that could be somebody's.

A text may quote anything: a name, an address, a finding. So a word is shown only where it stands in
a list: the words of `words.txt`, which say what went wrong, and those that the caller knows to be
harmless (names of models and columns, paths).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

WORDS = frozenset(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split())
"""Lower case: what goes wrong in an application, and nobody's name."""
_PART = re.compile(r"\w+|\W+")
_CODE = re.compile(
    r"P[1-6]\d{3}|\d\dP\d\d"
)  # Prisma's codes, and SQLSTATEs that are not a number only: that may be anything


def masked(text: str, harmless: Callable[[str], bool] = WORDS.__contains__) -> str:
    """Return the text with every word as … that is not harmless, and numbers as #.

    Of the rest only plain punctuation is kept.
    """
    return re.sub(
        r"(?:… ?){2,}", "… ", "".join(_part(part, harmless) for part in _PART.findall(text))
    ).strip()


def _part(part: str, harmless: Callable[[str], bool]) -> str:
    if not part[0].isalnum() and part[0] != "_":
        return re.sub(r"[^ .,:;()/=•-]+", "", part) or (" " if part.isspace() else "")
    if _CODE.fullmatch(part) or harmless(part.lower()):
        return part
    return "#" if part.isdecimal() else "…"
