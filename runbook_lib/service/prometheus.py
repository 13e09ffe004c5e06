"""Prometheus's HTTP API: one number now, and the same number over a time.

What the answers look like is documented under
https://prometheus.io/docs/prometheus/latest/querying/api/. Prometheus answers with a sample of up
to five minutes ago where there is no newer one. A query whose answer is not exactly one number is
an error: nothing is picked, and nothing is taken for 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from runbook_lib.errors import ToolError
from runbook_lib.redact import remember
from runbook_lib.service.http import Answer, Reach, Request, ask, client

POINTS = 240
"""Points of a range at most; the API itself refuses more than 11,000."""
_KEY = "correct `monitoring.sources`: ask the query in Prometheus's own page"
_STATUS = {
    401: (
        "the credentials were refused",
        "check what `monitoring.prometheus.token`, or the user and password in its `url`, leads to",
    ),
    403: ("the credentials may not ask this", "check what `monitoring.prometheus.token` may do"),
    404: ("there is no such API", "`monitoring.prometheus.url` is the address before `/api/v1`"),
}


@dataclass(frozen=True)
class Prometheus:
    """A server that speaks Prometheus's HTTP API.

    Args:
        url: its base, before `/api/v1`; a user and a password in it are sent by basic
            authentication.
        token: a bearer token, resolved.
        timeout_s: for each question.
    """

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        remember(unquote(urlsplit(self.url).password or ""))

    def value(self, query: str) -> float:
        """What a query gives now.

        Raises:
            ToolError: it could not be asked, was refused, or did not give exactly one number.
        """
        data = self._data("query", {"query": query, "timeout": f"{self.timeout_s:g}s"})
        kind, result = data["resultType"], data["result"]
        sample = (
            result if kind == "scalar" else _only(result)["value"] if kind == "vector" else None
        )
        if sample is None:
            raise ToolError(f"Prometheus: the query gives a {kind}, not a number", _KEY)
        number = _number(sample[1])
        if number is None:
            raise ToolError(f"Prometheus: the query gives {sample[1]}, which is no number", _KEY)
        return number

    def series(self, query: str, start: datetime, end: datetime) -> list[tuple[datetime, float]]:
        """What a query gave between two moments; moments without a number are left out.

        Raises:
            ToolError: as for `value`, or there is nothing in all that time.
        """
        step = max(1, math.ceil((end - start).total_seconds() / POINTS))
        data = self._data(
            "query_range",
            {
                "query": query,
                "start": start.timestamp(),
                "end": end.timestamp(),
                "step": step,
                "timeout": f"{self.timeout_s:g}s",
            },
        )
        if data["resultType"] != "matrix":
            raise ToolError(
                f"Prometheus: the query over a time gives a {data['resultType']}, not a line", _KEY
            )
        samples = [
            (datetime.fromtimestamp(float(at), UTC), _number(text))
            for at, text in _only(data["result"])["values"]
        ]
        return [(at, number) for at, number in samples if number is not None]

    def _data(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The `data` of an answer, its envelope judged."""
        request = Request(
            f"{self.url.rstrip('/')}/api/v1/{what}?{urlencode(arguments)}", token=self.token
        )
        with client(self.url) as session:
            answer = ask(session, request, self.timeout_s)
        try:
            return _judged(answer)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise ToolError(
                f"Prometheus: answered {answer.status}, and not in the form of its API: a login "
                "or an error page?",
                _STATUS[404][1],
            ) from None


def _judged(answer: Answer) -> dict[str, Any]:
    if answer.reach is not Reach.ANSWERED:
        raise ToolError(
            f"Prometheus: {answer.why}", "check `monitoring.prometheus.url`, and that it runs"
        )
    if answer.status in _STATUS:
        why, remedy = _STATUS[answer.status]
        raise ToolError(f"Prometheus: {why} ({answer.status})", remedy)
    if answer.media != "application/json" and answer.status >= 300:
        raise ToolError(f"Prometheus: answered {answer.status}", "ask it by hand; see its log")
    document = answer.document()
    if document["status"] != "success":
        raise ToolError(
            f"Prometheus: refused the query ({answer.status}): {document['errorType']}: "
            f"{_short(document['error'])}",
            _KEY,
        )
    if document.get(
        "warnings"
    ):  # the documentation: there were errors that did not keep it from answering with a part
        raise ToolError(
            f"Prometheus: answered with a part only: {_short(document['warnings'][0])}",
            "see Prometheus's own status",
        )
    data: dict[str, Any] = document["data"]
    _check_form(data)
    return data


def _check_form(data: Any) -> None:
    """Raise where a result has not its documented form."""
    kind, result = data["resultType"], data["result"]
    samples = (
        [result]
        if kind == "scalar"
        else [one["value"] for one in result]
        if kind == "vector"
        else [sample for one in result for sample in one["values"]]
        if kind == "matrix"
        else []
    )
    for at, text in samples:
        datetime.fromtimestamp(float(at), UTC), float(text)


def _only(series: Sequence[Any]) -> Any:
    if len(series) != 1:
        how = (
            f"{len(series)} series: sum(…), avg(…) or max(…) makes one of them"
            if series
            else "no series: nothing of that name was measured lately"
        )
        raise ToolError(f"Prometheus: the query gives {how}", _KEY)
    return series[0]


def _number(text: str) -> float | None:
    """A sample's value; NaN and the infinities are none."""
    number = float(text)
    return number if math.isfinite(number) else None


def _short(text: Any) -> str:
    return " ".join(str(text).split())[:200]
