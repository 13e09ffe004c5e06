"""One HTTP request and what became of it.

Bodies are read to be judged, and never shown: they may hold data.
"""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runbook_lib.check import Check, Status
from runbook_lib.redact import remember
from runbook_lib.table import size

if TYPE_CHECKING:
    import httpx

LARGEST_BODY = 16 * 2**20
"""Bytes of an answer that are read; what comes after them is left unread."""
_AWAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}


class Reach(StrEnum):
    """How far a request came."""

    ANSWERED = "answered"
    REFUSED = "refused"
    HANGING = "hanging"
    BROKEN = "broken off"
    UNREACHABLE = "could not be asked"


@dataclass(frozen=True)
class Request:
    """One request.

    Args:
        url: where to; a query in it is sent and never shown.
        token: a bearer token; never shown.
        body: sent as JSON where it is not None.
        headers: further ones; never shown.
    """

    url: str = field(repr=False)
    method: str = "GET"
    token: str | None = field(default=None, repr=False)
    body: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        remember(self.token or "")

    def __str__(self) -> str:
        return f"{self.method} {urlsplit(self.url).path or '/'}"


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Args:
        reach: how far it came; the fields below have a meaning only where it was answered.
        why: what kept it from being answered.
        media: the media type of the body, without parameters.
        content: the body; judged, never shown.
    """

    reach: Reach
    ms: float
    why: str = ""
    status: int = 0
    media: str = ""
    content: bytes = field(default=b"", repr=False)

    def document(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.content)

    def __str__(self) -> str:
        if self.reach is not Reach.ANSWERED:
            return self.why
        return (
            f"{self.status} in {self.ms:.0f} ms, {size(len(self.content))} "
            f"{self.media or 'without a type'}"
        )


def client(url: str) -> httpx.Client:
    """A client for requests to that host.

    A proxy of the environment is not used for the machine's own addresses.
    """
    import httpx

    own = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    return httpx.Client(
        trust_env=not own,
        follow_redirects=False,
        headers={"User-Agent": "runbook", "Accept": "application/json, */*;q=0.1"},
    )


def ask(session: httpx.Client, request: Request, timeout_s: float) -> Answer:
    """Send one request; never raises for what the other side does or does not do.

    Args:
        timeout_s: seconds for connecting, for the first byte, and for the whole body, however
            slowly its parts come.
    """
    import httpx

    started = time.monotonic()
    headers = {
        **request.headers,
        **({"Authorization": f"Bearer {request.token}"} if request.token else {}),
    }
    try:
        with session.stream(
            request.method, request.url, json=request.body, headers=headers, timeout=timeout_s
        ) as response:
            content = _read(response, started + timeout_s)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
        reach, why = _classify(error, timeout_s)
        return Answer(reach, _ms(started), why)
    media = response.headers.get("content-type", "").split(";")[0].strip().lower()
    return Answer(Reach.ANSWERED, _ms(started), "", response.status_code, media, content)


def unanswered(id: str, title: str, answer: Answer, expected: str, remedy: str = "") -> Check:
    """The check for a request without an answer.

    UNKNOWN where it could not be asked from here, else FAILED.
    """
    status = Status.UNKNOWN if answer.reach is Reach.UNREACHABLE else Status.FAILED
    return Check(id, title, status, answer.why, expected, remedy or _REMEDY[answer.reach])


def at(document: Any, path: str) -> Any:
    """The value at a dotted path of a JSON document: `items.0.name`.

    A key that holds dots is found too.

    Raises:
        KeyError: there is nothing.
    """
    if isinstance(document, Mapping) and path in document:
        return document[path]
    head, _, rest = path.partition(".")
    try:
        inner = document[int(head)] if isinstance(document, list) else document[head]
    except (KeyError, IndexError, ValueError, TypeError):
        raise KeyError(path) from None
    return at(inner, rest) if rest else inner


_REMEDY = {
    Reach.REFUSED: "start the application, and read its log",
    Reach.HANGING: "see what it waits for: its log, its pool of connections, 95_troubleshoot",
    Reach.BROKEN: "read the application's log: the process may have crashed",
    Reach.UNREACHABLE: "check the address in the parameters, DNS, certificates and the network "
    "from here",
}


def _read(response: httpx.Response, deadline: float) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > LARGEST_BODY:
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def _classify(error: Exception, timeout_s: float) -> tuple[Reach, str]:
    import httpx

    cause = _root(error)
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return Reach.HANGING, f"no whole answer within {timeout_s:g} s"
    if isinstance(cause, ConnectionRefusedError):
        return Reach.REFUSED, "the connection was refused: nothing listens there"
    if isinstance(cause, socket.gaierror):
        return Reach.UNREACHABLE, "the host's name is not known here"
    if isinstance(cause, OSError) and (cause.errno in _AWAY or "SSL" in type(cause).__name__):
        return Reach.UNREACHABLE, f"it cannot be reached from here: {type(cause).__name__}"
    if isinstance(
        error,
        (
            httpx.UnsupportedProtocol,
            httpx.LocalProtocolError,
            httpx.InvalidURL,
            UnicodeError,
            httpx.ProxyError,
        ),
    ):
        return Reach.UNREACHABLE, f"the request cannot be sent: {type(error).__name__}"
    return Reach.BROKEN, f"the connection was broken off: {type(error).__name__}"


def _root(error: BaseException) -> BaseException:
    """What the library's exceptions were made from."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error


def _ms(started: float) -> float:
    return (time.monotonic() - started) * 1000
