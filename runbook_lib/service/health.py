"""Whether the application works.

One question an endpoint, each with a status, an assertion and a time limit.

Told apart are: refusing, hanging, broken off, slow, the wrong status, and a 200 that carries an
error page. Bodies and tokens are never shown: only status, size, time, and whether the assertion
held.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.check import Check, Checks, check
from runbook_lib.redact import remember
from runbook_lib.service.http import Answer, Reach, Request, ask, at, client, unanswered
from runbook_lib.table import Table

EVERY_S = 0.2
"""Seconds between two questions while waiting."""
_ERROR_WORDS = re.compile(
    r"error|exception|not found|unavailable|bad gateway|time-?out|forbidden|sign in|log ?in",
    re.IGNORECASE,
)
_HEADLINE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Endpoint:
    """One question that must be answered well.

    Args:
        path: below the base URL; a query in it is sent and never shown.
        name: for people; default: method and path.
        token: a bearer token, resolved; never shown.
        body: sent as JSON where it is not None.
        expect: dotted paths into the JSON answer and the values that they must have.
        max_ms: milliseconds that the slowest of its requests may take.
        requests: how often it is asked.
    """

    path: str = field(repr=False)
    name: str = ""
    method: str = "GET"
    status: int = 200
    token: str | None = field(default=None, repr=False)
    body: Any = field(default=None, repr=False)
    expect: Mapping[str, Any] = field(default_factory=dict)
    max_ms: float = 2000.0
    requests: int = 1

    def __post_init__(self) -> None:
        remember(self.token or "")

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return self.name or f"{self.method} {self.path.split('?')[0]}"

    @property
    def id(self) -> str:
        """The id of its check."""
        return "endpoint." + (re.sub(r"[^a-z0-9]+", "_", self.label.lower()).strip("_") or "root")


@dataclass(frozen=True, init=False)
class Responses(Checks):
    """The checks of several endpoints, and how long each request took.

    Args:
        latencies: by endpoint, the milliseconds of its requests in their order.
    """

    latencies: Mapping[str, tuple[float, ...]]

    def __init__(self, items: Sequence[Check], latencies: Mapping[str, tuple[float, ...]]) -> None:
        super().__init__("Endpoints", items)
        object.__setattr__(self, "latencies", dict(latencies))

    def times(self) -> Table:
        """The distribution of the answers' times."""
        rows = [
            (name, len(ms), min(ms), statistics.median(ms), _p95(ms), max(ms))
            for name, ms in self.latencies.items()
            if ms
        ]
        return Table(
            "Response times",
            ("endpoint", "requests", "fastest (ms)", "median (ms)", "95 % (ms)", "slowest (ms)"),
            rows,
        )


def wait(url: str, timeout_s: float = 60.0) -> Check:
    """Wait until the application answers at that address with a status below 400."""
    title, expected, started = (
        "the application answers",
        f"an answer below 400 within {timeout_s:g} s",
        time.monotonic(),
    )
    with client(url) as session:
        while True:
            answer = ask(session, Request(url), min(5.0, timeout_s))
            waited = time.monotonic() - started
            if answer.reach is Reach.ANSWERED and answer.status < 400:
                return check(
                    "service.up", title, True, f"{answer}; waited {waited:.1f} s", expected
                )
            if waited + EVERY_S >= timeout_s:
                break
            time.sleep(EVERY_S)
    if answer.reach is not Reach.ANSWERED:
        return unanswered("service.up", title, answer, expected)
    return check(
        "service.up",
        title,
        False,
        f"{answer}, still after {waited:.0f} s",
        expected,
        "read the application's log",
    )


def endpoints(base_url: str, asked: Sequence[Endpoint], *, timeout_s: float = 10.0) -> Responses:
    """Ask each endpoint, one after another.

    Args:
        timeout_s: seconds after which a request counts as hanging, where `max_ms` does not allow
            more.
    """
    checks, latencies = [], {}
    with client(base_url) as session:
        for endpoint in asked:
            request = Request(
                base_url.rstrip("/") + endpoint.path, endpoint.method, endpoint.token, endpoint.body
            )
            limit = max(timeout_s, endpoint.max_ms / 1000)
            answers = [ask(session, request, limit)]
            while len(answers) < endpoint.requests and answers[-1].reach is Reach.ANSWERED:
                answers.append(ask(session, request, limit))
            checks.append(_judge(endpoint, answers))
            latencies[endpoint.label] = tuple(
                round(a.ms, 1) for a in answers if a.reach is Reach.ANSWERED
            )
    return Responses(checks, latencies)


def _judge(endpoint: Endpoint, answers: Sequence[Answer]) -> Check:
    """The check of one endpoint; the first answer that is wrong decides."""
    title = f"{endpoint.label} works"
    expected = f"{endpoint.status} within {endpoint.max_ms:.0f} ms"
    if endpoint.expect:
        expected += ", " + ", ".join(
            f"{path} = {value!r}" for path, value in endpoint.expect.items()
        )
    for answer in answers:
        if answer.reach is not Reach.ANSWERED:
            return unanswered(endpoint.id, title, answer, expected)
        wrong, remedy = _wrong(endpoint, answer)
        if wrong:
            return check(endpoint.id, title, False, f"{answer}: {wrong}", expected, remedy)
    slowest = max(answers, key=lambda answer: answer.ms)
    return check(endpoint.id, title, True, str(slowest), expected)


def _wrong(endpoint: Endpoint, answer: Answer) -> tuple[str, str]:
    """What is wrong with an answer, and what to do; empty where nothing is."""
    if answer.status != endpoint.status:
        remedy = (
            "check the token that `service.token` leads to"
            if answer.status in (401, 403)
            else "read the application's log"
        )
        return f"not {endpoint.status}", remedy
    problem = (
        _broken_expectation(endpoint.expect, answer) if endpoint.expect else _error_page(answer)
    )
    if problem:
        return problem, "ask it by hand, and read the application's log"
    if answer.ms > endpoint.max_ms:
        return (
            f"slower than {endpoint.max_ms:.0f} ms",
            "70_validate compares the queries' times before and after",
        )
    return "", ""


def _broken_expectation(expect: Mapping[str, Any], answer: Answer) -> str:
    try:
        document = answer.document()
    except ValueError:
        return "the body is no JSON: an error page?"
    wrong = [path for path, value in expect.items() if not _holds(document, path, value)]
    return f"{', '.join(wrong)} is not as expected" if wrong else ""


def _holds(document: Any, path: str, value: Any) -> bool:
    try:
        found = at(document, path)
    except KeyError:
        return False
    return found == value and isinstance(found, bool) == isinstance(value, bool)


def _error_page(answer: Answer) -> str:
    """Where nothing was asserted: whether the body says by itself that it is an error."""
    if answer.media == "text/html":
        headlines = " ".join(
            text
            for _, text in _HEADLINE.findall(answer.content[:20_000].decode("utf-8", "replace"))
        )
        return (
            "the page's headline speaks of an error or a login"
            if _ERROR_WORDS.search(headlines)
            else ""
        )
    try:
        document = answer.document()
    except ValueError:
        return ""
    return (
        "the JSON carries an error"
        if isinstance(document, dict) and (document.get("error") or document.get("errors"))
        else ""
    )


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.95 * (len(values) - 1)))]


__all__ = ["Endpoint", "Responses", "endpoints", "wait"]
