"""Keeps secrets and rows of data out of everything that is printed, raised or written.

Secrets are known by value once they were resolved (`remember`); passwords in URLs are recognised by form. Rows of
data reach messages through PostgreSQL's DETAIL and CONTEXT lines, and through the messages of class 22 (data
exceptions), which quote the offending value.
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
_ROW_DATA = (
    # DETAIL / CONTEXT / Failing row, as libpq tools, PostgreSQL's log and the Prisma engine print them
    re.compile(r"(?P<before>\b(?:DETAIL|CONTEXT|Detail|Context):\s*)[^\n]+"),
    re.compile(r"(?P<before>\b(?:detail|where_|where):\s*Some\(\s*)\"(?:[^\"\\]|\\.)*\""),
    re.compile(r"(?P<before>\bKey \([^)\n]*\)=)\([^\n]*?\)(?=[ ,.\n]|$)"),
    re.compile(r"(?P<before>\bFailing row contains )\([^\n]*\)"),
    # class 22: invalid input syntax for type integer: "…", invalid input value for enum "Status": "…"
    re.compile(r"(?P<before>\binvalid (?:input|byte|hexadecimal|value)[^\n:]*: )\"[^\n]*\""),
    re.compile(r"(?P<before>\bvalue )\"[^\"\n]*\"(?= is out of range)"),
    re.compile(
        r"(?P<before>\b(?:date/time field value|malformed (?:array|record|range) literal)[^\n:]*: )\"[^\n]*\""
    ),
)


def remember(secret: str) -> None:
    """Hide `secret` (URL-encoded and in JSON, too) wherever it appears from now on; shorter than 4 characters is kept."""
    if len(secret) >= 4:
        _secrets.update(
            (secret, quote(secret, safe=""), json.dumps(secret, ensure_ascii=False)[1:-1])
        )


def redact(text: str) -> str:
    """The text without known secrets, without passwords in URLs, without rows of data."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _URL_PASSWORD.sub(rf"\g<before>{HIDDEN}", text)
    for pattern in _ROW_DATA:
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return text
