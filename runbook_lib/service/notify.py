"""Telling people, through apprise.

Every delivery is recorded, tried again a few times, and none of them ever stops a run.

Besides apprise's own services `file:///path` appends a JSON line to a file. A URL's secrets are
never shown: only its scheme, and the host of the schemes in which the host is one (in others it is
a token).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runbook_lib.errors import UsageError
from runbook_lib.redact import HIDDEN, redact
from runbook_lib.table import Shown, Table

TIMEOUT_S = 15.0
"""Seconds that all deliveries of one message may take together, with what is tried again."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try at an address that did not take a message."""
_SHOWS_HOST = frozenset(
    {
        "json",
        "jsons",
        "xml",
        "xmls",
        "form",
        "forms",
        "apprise",
        "apprises",
        "gotify",
        "gotifys",
        "mailto",
        "mailtos",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
        "syslog",
        "rsyslog",
    }
)
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
        tries: how often it was tried.
    """

    audience: str
    to: str
    delivered: bool
    why: str
    at: str
    tries: int = 1


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
        rows = [
            (
                "✔ delivered" if d.delivered else "✘ not delivered",
                d.audience,
                d.to,
                d.tries,
                d.why,
                d.at,
            )
            for d in self.deliveries
        ]
        title = (
            f"“{self.title}”: {len(self.deliveries) - len(self.failed)} of {len(self.deliveries)} "
            "delivered"
        )
        return Table(
            title,
            ("result", "audience", "to", "tries", "why", "at (UTC)"),
            rows,
            ["good" if d.delivered else "bad" for d in self.deliveries],
        )


def send(
    audiences: Mapping[str, Iterable[str]],
    names: Iterable[str],
    title: str,
    body: str,
    *,
    timeout_s: float = TIMEOUT_S,
    pauses_s: Sequence[float] | None = None,
    resolve: Callable[[str], str] = str,
) -> Sent:
    """Send a message to audiences, all addresses at once; failures are recorded and never raised.

    Args:
        audiences: by name, apprise URLs.
        names: which of them are told.
        timeout_s: seconds after which an address counts as not reached, however often it was tried.
        pauses_s: seconds before each further try; default: `PAUSES_S`.
        resolve: what a reference to an address leads to.
    """
    attempts, missing, deadline = [], [], time.monotonic() + timeout_s
    for name in dict.fromkeys(names):
        addresses = list(audiences.get(name, ()))
        for address in addresses:
            try:
                attempts.append(
                    _Attempt(
                        name,
                        resolve(address),
                        title,
                        body,
                        PAUSES_S if pauses_s is None else pauses_s,
                        deadline,
                    )
                )
            except UsageError as error:
                missing.append(
                    Delivery(name, "an address that is not known", False, error.message, _now(), 0)
                )
        if not addresses:
            missing.append(
                Delivery(
                    name,
                    "nobody",
                    False,
                    "the audience has no address: set `notify.audiences`",
                    _now(),
                    0,
                )
            )
    for attempt in attempts:
        attempt.thread.start()
    for attempt in attempts:
        attempt.thread.join(max(0.0, deadline - time.monotonic()))
    return Sent(title, tuple([attempt.outcome(timeout_s) for attempt in attempts] + missing))


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


class _Hopeless(ValueError):
    """Why it is not tried again."""


class _Attempt:
    """One delivery, in a thread of its own that outlives nobody's patience."""

    def __init__(
        self,
        audience: str,
        url: str,
        title: str,
        body: str,
        pauses_s: Sequence[float],
        deadline: float,
    ) -> None:
        self.url, self.title, self.body, self.pauses_s, self.deadline = (
            url,
            title,
            body,
            pauses_s,
            deadline,
        )
        self.pending = Delivery(audience, shown(url), False, "", _now())
        self.result: Delivery | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def outcome(self, timeout_s: float) -> Delivery:
        """What became of it, now."""
        last = f", after: {self.pending.why}" if self.pending.why else ""
        return self.result or replace(self.pending, why=f"no answer within {timeout_s:g} s{last}")

    def _run(self) -> None:
        for tries, pause in enumerate((*self.pauses_s, None), 1):
            self.pending = replace(self.pending, tries=tries)
            why, again = self._once()
            self.pending = replace(self.pending, why=why)
            if not why or not again or pause is None or time.monotonic() + pause >= self.deadline:
                break
            time.sleep(pause)
        self.result = replace(self.pending, delivered=not self.pending.why)

    def _once(self) -> tuple[str, bool]:
        """Why it was not delivered, or an empty text.

        And whether that may be otherwise in a moment.
        """
        try:
            why, again = (
                (_append if _is_file(self.url) else _apprise)(self.url, self.title, self.body),
                True,
            )
        except _Hopeless as error:
            why, again = str(error), False
        except (OSError, ValueError) as error:
            why, again = getattr(error, "strerror", None) or type(error).__name__, True
        return redact(why.replace(self.url, self.pending.to)), again


def _append(url: str, title: str, body: str) -> str:
    """Append the message to a file, one JSON object a line."""
    path = _path(url)
    line = json.dumps({"at": _now(), "title": title, "message": body}, ensure_ascii=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return ""


def _is_file(url: str) -> bool:
    return url.lower().startswith("file:")


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def understood(url: str) -> bool:
    """Return whether a message could be sent to an address, as far as that is told without one.

    Apprise knows its service and finds what it needs; or it is a file, in a folder that is there.
    """
    return _path(url).parent.is_dir() if _is_file(url) else _sender(url) is not None


def _sender(url: str) -> Any:
    """Return apprise's sender for an address, or None where it is not understood.

    Nothing is logged, which would show a secret.
    """
    import apprise

    logging.getLogger("apprise").addHandler(_QUIET)
    sender = apprise.Apprise(
        asset=apprise.AppriseAsset(app_id="runbook", async_mode=False, secure_logging=True)
    )
    return sender if sender.add(url) else None


def _apprise(url: str, title: str, body: str) -> str:
    """Hand the message to apprise; why it was not delivered, or an empty text."""
    sender = _sender(url)
    if sender is None:
        raise _Hopeless(
            "apprise does not understand the address: see https://github.com/caronc/apprise/wiki "
            "for its form"
        )
    outcome = sender.notify(title=title, body=body)
    said = [
        entry.message for entry in getattr(outcome, "logs", list)()
    ]  # before 2.0 it was a bool, and said nothing
    return "" if outcome else (said[-1].splitlines()[0] if said else "the service did not take it")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
