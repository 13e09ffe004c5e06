"""Finds secrets that were written out where a reference belongs.

In URLs, commands, variables, request bodies and any other text.

A parameter is copied into every notebook, so whatever stands in it stands in the archive. Each
check raises `ValueError` with what to do instead, and never with the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from runbook_lib.secret import FORMS, is_reference

SECRET_NAME = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|(?<![A-Z])PASS(?![A-Z])|PWD|SECRET|TOKEN|CREDENTIAL|"
    r"AUTHORIZATION|COOKIE"
    r"|(?:API|PRIVATE|ACCESS|SIGNING|ENCRYPTION)[_-]?KEY|DSN$)(?!.*(?:FILE|PATH|ARN|URL|_ID)$)",
    re.IGNORECASE,
)
"""Names of variables, fields and parameters whose value is a secret."""
_TOKENS = re.compile(
    r"xox[abeoprs]-[\w-]{8,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|npm_\w{30,}|"
    r"\bA[KS]IA[0-9A-Z]{16}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.|\b[sr]k_(?:live|test)_\w{10,}|\bsk-[\w-]{20,}|"
    r"hooks\.slack\.com/services/T"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
"""Forms by which services' own secrets are known."""
_HOST_ALONE = re.compile(r"^(?:jsons?|xmls?|forms?|syslog|rsyslog)://[^/\s@?:]+(?::\d+)?/?$")
"""Addresses of messages that have no place for a secret."""
_LITERAL = r"(?![\"']?\$)[\"']?[^\s\"'$]{3,}"
_IN_COMMAND = (
    re.compile(rf"\b(?P<name>[A-Za-z_][\w]*)=(?={_LITERAL})"),
    re.compile(rf"--?(?P<name>[A-Za-z][\w-]*)(?:=|\s+)(?={_LITERAL})"),
    re.compile(
        r"(?P<name>Authorization|X-[\w-]*(?:Key|Token)|Cookie)\s*:\s*(?:(?:Bearer|Basic|"
        rf"Token)\s+)?+(?={_LITERAL})",
        re.IGNORECASE,
    ),
)
_USER_OF_A_REQUEST = re.compile(
    r"(?:^|\s)(?:-u|--user)(?:=|\s+)[\"']?[^\s:\"'$]+:(?![\"']?\$)[^\s\"']+"
)
_WAYS = f"give it by reference: {FORMS}"


def refuse_password(text: str) -> str:
    """Return a URL, or a text with URLs in it, that holds no password."""
    if re.search(r"://[^/\s:@]*:[^/\s@]+@", text):
        raise ValueError(f"a URL with a password in it is refused; {_WAYS}")
    return text


def refuse_secret_url(text: str) -> str:
    """Return a URL without a user and without a query that lets somebody in.

    Or a reference to one.
    """
    if is_reference(text):
        return text
    refuse_password(text)
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError(f"a URL with a user or token in it is refused; {_WAYS}")
    for name, value in parse_qsl(parts.query):
        if SECRET_NAME.search(name) and value:
            raise ValueError(f"a URL with a value of {name} in it is refused; {_WAYS}")
    return text


def refuse_address(text: str) -> str:
    """Return a reference to the address of a message, or one that is a host and nothing else.

    The token of most services is part of their apprise URL: as user, as host or in the path.
    """
    if is_reference(text) or _HOST_ALONE.match(text):
        return text
    raise ValueError(f"an apprise URL holds the service's token, or may; {_WAYS}")


def refuse_secret_command(text: str) -> str:
    """Return a command that holds no secret; it reads them from variables, `$NAME`."""
    refuse_password(text)
    named = (found["name"] for pattern in _IN_COMMAND for found in pattern.finditer(text))
    name = next((name for name in named if SECRET_NAME.search(name)), "")
    if name or _USER_OF_A_REQUEST.search(text):
        raise ValueError(
            f"the value of {name or 'a user’s password'} stands in the command; give it by "
            "reference under `environment`, and write $NAME here"
        )
    return text


def refuse_secret_variables(variables: dict[str, str]) -> dict[str, str]:
    """Return variables of which those that are secrets are references."""
    for name, value in variables.items():
        refuse_password(value)
        if SECRET_NAME.search(name) and value and not is_reference(value):
            raise ValueError(f"the value of {name} is given by reference: {FORMS}")
    return variables


def refuse_secret_body(body: Any) -> Any:
    """Return the JSON of a request in which no field is a secret."""
    for name, value in body.items() if isinstance(body, Mapping) else ():
        if SECRET_NAME.search(str(name)) and isinstance(value, str) and value:
            raise ValueError(
                f"the value of {name} would be a secret; send it in `headers`, by reference"
            )
        refuse_secret_body(value)
    for value in body if isinstance(body, list) else ():
        refuse_secret_body(value)
    return body


def refuse_token(value: Any) -> Any:
    """Return a value in none of whose texts a service's own secret is recognised by its form."""
    if isinstance(value, str) and _TOKENS.search(value):
        raise ValueError(f"this looks like a token or key; {_WAYS}")
    for part in value if isinstance(value, (list, tuple)) else ():
        refuse_token(part)
    for part in value.values() if isinstance(value, Mapping) else ():
        refuse_token(part)
    return value
