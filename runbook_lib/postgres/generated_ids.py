"""Whether a text key is an identifier that a library made: only such a one may be shown.

A key that people chose (an e-mail address, a name, a number of insurance) is personal data. So the
patterns are strict, and where a form would let words through, letters and digits must also
alternate as they do in random text and not in words.
"""

from __future__ import annotations

import re
from itertools import pairwise

_FORMS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), 0),  # uuid, as text
    (re.compile(r"c[0-9a-z]{24}"), 5),  # cuid
    (re.compile(r"[a-z][0-9a-z]{23}"), 5),  # cuid2
    (re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}"), 5),  # ulid: Crockford's base 32
    (re.compile(r"[A-Za-z0-9_-]{21}"), 8),  # nanoid
)
"""Each form, and how often letters and digits alternate in it at least; small and capital letters
count as two kinds.
"""


def generated(key: str) -> bool:
    """Whether a key is a cuid, cuid2, ulid, nanoid or uuid."""
    changes = sum(a != b for a, b in pairwise(map(_kind, key)))
    return any(form.fullmatch(key) and changes >= least for form, least in _FORMS)


def _kind(letter: str) -> str:
    return (
        "digit"
        if letter.isdigit()
        else "capital"
        if letter.isupper()
        else "small"
        if letter.islower()
        else "sign"
    )
