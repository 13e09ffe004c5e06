"""Telling people, through apprise: every delivery is recorded, and none of them ever stops a run.

Besides apprise's own services `file:///path` appends a JSON line to a file. A URL's secrets are never shown: only its
scheme, and the host of the schemes in which the host is one (in others it is a token).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runbook_lib.redact import HIDDEN, redact
from runbook_lib.table import Shown, Table

TIMEOUT_S = 15.0
"""Seconds that all deliveries of one message may take together."""
_SHOWS_HOST = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "apprise", "apprises", "gotify", "gotifys", "mailto", "mailtos",
                         "mmost", "mmosts", "rocket", "rockets", "syslog", "rsyslog"})
_QUIET = logging.NullHandler()


@dataclass(frozen=True)
class Delivery:
    """What became of one message to one address.

    Args:
        audience: as in the parameters.
        to: the address without its secrets.
        delivered: whether the service took it.
        why: what kept it from being delivered.
        at: when it was sent, UTC, ISO 8601.
    """

    audience: str
    to: str
    delivered: bool
    why: str
    at: str


@dataclass(frozen=True)
class Sent(Shown):
    """A message and its deliveries."""

    title: str
    deliveries: tuple[Delivery, ...]

    @property
    def failed(self) -> tuple[Delivery, ...]:
        """Those that did not arrive."""
        return tuple(item for item in self.deliveries if not item.delivered)

    def as_dict(self) -> list[dict[str, Any]]:
        """For evidence and journal."""
        return [asdict(item) for item in self.deliveries]

    def table(self) -> Table:
        """A row a delivery."""
        rows = [("✔ delivered" if d.delivered else "✘ not delivered", d.audience, d.to, d.why, d.at) for d in self.deliveries]
        title = f"“{self.title}”: {len(self.deliveries) - len(self.failed)} of {len(self.deliveries)} delivered"
        return Table(title, ("result", "audience", "to", "why", "at (UTC)"), rows, ["good" if d.delivered else "bad" for d in self.deliveries])


def send(audiences: Mapping[str, Iterable[str]], names: Iterable[str], title: str, body: str, *, timeout_s: float = TIMEOUT_S) -> Sent:
    """Send a message to audiences, all addresses at once; failures are recorded and never raised.

    Args:
        audiences: by name, apprise URLs with their secrets resolved.
        names: which of them are told.
        timeout_s: seconds after which an address counts as not reached.
    """
    open_ones, missing = [], []
    for name in dict.fromkeys(names):
        urls = list(audiences.get(name, ()))
        open_ones += [_Attempt(name, url, title, body) for url in urls]
        if not urls:
            missing.append(Delivery(name, "nobody", False, "the audience has no address: set `notify.audiences`", _now()))
    for attempt in open_ones:
        attempt.thread.start()
    deadline = time.monotonic() + timeout_s
    for attempt in open_ones:
        attempt.thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {timeout_s:g} s"
    return Sent(title, tuple([a.result or replace(a.pending, why=late) for a in open_ones] + missing))


def shown(url: str) -> str:
    """An address without its secrets: scheme and, where it is one, host."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() == "file":
        return f"file {Path(unquote(rest)).name}"
    try:
        host = urlsplit(url).hostname if scheme.lower() in _SHOWS_HOST else HIDDEN
    except ValueError:
        host = None
    return f"{scheme}://{host or HIDDEN}" if rest.startswith("//") else HIDDEN


class _Attempt:
    """One delivery, in a thread of its own that outlives nobody's patience."""

    def __init__(self, audience: str, url: str, title: str, body: str) -> None:
        self.url, self.title, self.body = url, title, body
        self.pending = Delivery(audience, shown(url), False, "", _now())
        self.result: Delivery | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            why = _append(self.url, self.title, self.body) if self.url.lower().startswith("file:") else _apprise(self.url, self.title, self.body)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
        self.result = replace(self.pending, delivered=not why, why=redact(why.replace(self.url, self.pending.to)))


def _append(url: str, title: str, body: str) -> str:
    """Append the message to a file, one JSON object a line."""
    path = Path(unquote(urlsplit(url).path))
    line = json.dumps({"at": _now(), "title": title, "message": body}, ensure_ascii=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return ""


def _apprise(url: str, title: str, body: str) -> str:
    """Hand the message to apprise; why it was not delivered, or an empty text."""
    import apprise

    logging.getLogger("apprise").addHandler(_QUIET)
    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="runbook", async_mode=False, secure_logging=True))
    if not sender.add(url):
        return "apprise does not understand the address: see https://github.com/caronc/apprise/wiki for its form"
    outcome = sender.notify(title=title, body=body)
    said = [entry.message for entry in getattr(outcome, "logs", list)()]  # before 2.0 it was a bool, and said nothing
    return "" if outcome else (said[-1].splitlines()[0] if said else "the service did not take it")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
