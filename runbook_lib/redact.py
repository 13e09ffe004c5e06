"""Keeps secrets out of everything that is printed, raised or written: the second net.

The first is that secrets are given by reference, and stay out of every command and text. What
passes it nevertheless is caught here: a secret is known by its value once it was resolved
(`remember`), a password in a URL by its form. Rows of data cannot be known by either. They never
come this far: see `runbook_lib.refusal` for the errors of servers, and `runbook_lib.masking` for
the words of programs.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

HIDDEN = "•••"
_secrets: set[str] = set()

_URL_PASSWORD = re.compile(
    r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]*(?=@)", re.IGNORECASE
)


def remember(secret: str) -> None:
    """Hide `secret` (URL-encoded and in JSON, too) wherever it appears from now on.

    Shorter than 4 characters is kept.
    """
    if len(secret) >= 4:
        _secrets.update(
            (secret, quote(secret, safe=""), json.dumps(secret, ensure_ascii=False)[1:-1])
        )


def redact(text: str) -> str:
    """The text without known secrets, and without passwords in URLs."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _URL_PASSWORD.sub(rf"\g<before>{HIDDEN}", text)
