"""Who is at work, and how that is known.

By the system's login, by JupyterHub, or only by a name that somebody typed.

Nothing here is remembered: whoever decides is named with that decision alone, and nobody's name
becomes another's.
"""

from __future__ import annotations

import json
import os
import pwd
import time
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from runbook_lib.redact import remember

TYPED = "RUNBOOK_PERSON"
"""The environment variable with which a person names themselves: a name that was typed."""
MARK = " (typed)"
_LOGIN_ID = Path("/proc/self/loginuid")
"""Who logged in, on Linux: sudo and su do not change it."""
_NOT_SET = 2**32 - 1


@dataclass(frozen=True)
class Person:
    """A person, by name.

    Args:
        name: what they are called here.
        login: whom the system or JupyterHub knows this process by; empty behind a JupyterHub that
            does not say.
        known_by: what vouches for `name`; nothing does where it was typed.
    """

    name: str
    login: str
    known_by: Literal["login", "JupyterHub", "typed"]

    @property
    def typed(self) -> bool:
        """Whether the name was merely typed."""
        return self.known_by == "typed"

    def __str__(self) -> str:
        return f"{self.name}{MARK}" if self.typed else self.name


def login() -> Person:
    """Return whom JupyterHub knows this server by, if it runs behind one.

    Else whom the system does.
    """
    system = _system()
    url, token = os.environ.get("JUPYTERHUB_API_URL"), os.environ.get("JUPYTERHUB_API_TOKEN")
    said = os.environ.get("JUPYTERHUB_USER", "")
    if not (url or token or said):
        return Person(system, system, "login")
    if url and token and (name := _hub(url, token, int(time.monotonic() // 60))):
        return Person(name, name, "JupyterHub")
    return Person(said or system, "", "typed")  # all servers of a hub may share one account


def current() -> Person:
    """Return who this process says that it works for."""
    return named(os.environ.get(TYPED, ""))


def named(name: str) -> Person:
    """Return the person of a name that was typed.

    The login's own name is no other than the login.
    """
    found, name = login(), bare(" ".join(name.split()))
    if not name or name == found.name:
        return found
    return Person(name, found.login, "typed")


def bare(shown: str) -> str:
    """Return a name without the mark that it was typed."""
    return shown.removesuffix(MARK)


def same(one: str, other: str) -> bool:
    """Return whether two names are of one person, for all that can be told."""
    return bare(one).casefold() == bare(other).casefold()


def _system() -> str:
    try:
        number = int(_LOGIN_ID.read_text())
    except (OSError, ValueError):
        number = _NOT_SET
    for one in [number] * (number != _NOT_SET) + [os.getuid()]:
        try:
            return pwd.getpwuid(one).pw_name
        except KeyError:  # a container's user often has no name
            continue
    return f"uid {os.getuid()}"


@cache
def _hub(url: str, token: str, minute: int) -> str:
    """Return the user whom JupyterHub gave this token; empty where it does not say.

    Asked once a minute at most.

    `GET /user` answers with the model of the token's owner (JupyterHub's REST API).
    """
    remember(token)
    request = urllib.request.Request(
        f"{url.rstrip('/')}/user", headers={"Authorization": f"token {token}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it carries a token
    try:
        with direct.open(request, timeout=3) as answer:
            found: dict[str, Any] = json.load(answer)
    except (OSError, ValueError):
        return ""
    is_user = isinstance(found, dict) and found.get("kind") == "user"
    return str(found.get("name") or "") if is_user else ""
