"""Prometheus's HTTP API: exactly one number is one, everything else is said to be none, with the
reason.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook_lib.errors import ToolError
from runbook_lib.service.prometheus import POINTS, Prometheus
from tests.service.small_prometheus import Server, success, vector

PASSWORD = "prometheus-password-nobody-may-see"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that speaks the API."""
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (vector("12.5"), 12.5),
        (success("scalar", [1435781451.781, "3"]), 3.0),
        (vector("1e+02"), 100.0),
        (
            success(
                "vector", vector("7")["data"]["result"], infos=["metric might not be a counter"]
            ),
            7.0,
        ),
    ],
)
def test_one_number_is_read(server: Server, body: Any, value: float) -> None:
    server.answers(body)
    assert Prometheus(server.url).value("up") == value
    assert server.asked[0][:2] == ("/api/v1/query", {"query": "up", "timeout": "10s"})


ERROR = {
    "status": "error",
    "errorType": "bad_data",
    "error": 'invalid parameter "query": 1:4: parse error',
}
HTML = "<html><title>Sign in</title></html>"
WRONG = [
    (vector(), 200, "no series"),
    (vector("1", "2"), 200, "2 series: sum"),
    (vector("NaN"), 200, "NaN, which is no number"),
    (vector("+Inf"), 200, r"\+Inf, which is no number"),
    (success("string", [1435781451.781, "5"]), 200, "a string, not a number"),
    (
        success("matrix", [{"metric": {}, "values": [[1435781451.781, "5"]]}]),
        200,
        "a matrix, not a number",
    ),
    (
        success("vector", [{"metric": {}, "histogram": [1435781451.781, {"count": "1"}]}]),
        200,
        "not in the form of its API",
    ),
    (
        vector("1") | {"warnings": ["remote read: one of the stores did not answer"]},
        200,
        "a part only: remote read",
    ),
    (ERROR, 400, "bad_data: invalid parameter"),
    (
        {"status": "error", "errorType": "execution", "error": "many-to-many matching not allowed"},
        422,
        "execution: many-to-many",
    ),
    (
        {"status": "error", "errorType": "timeout", "error": "query timed out"},
        503,
        "timeout: query timed out",
    ),
    (ERROR, 200, "bad_data"),
    ("", 401, r"credentials were refused \(401\)"),
    ("", 403, "may not ask"),
    ("404 page not found", 404, "no such API"),
    (HTML, 200, "not in the form of its API"),
    (HTML, 302, "answered 302"),
    ("<h1>Bad Gateway</h1>", 502, "answered 502"),
    ("", 200, "not in the form of its API"),
    ([], 200, "not in the form of its API"),
    ({"status": "success"}, 200, "not in the form of its API"),
    (
        success("vector", [{"metric": {}, "value": [1435781451.781, "many"]}]),
        200,
        "not in the form of its API",
    ),
    (success("vector", [{"metric": {}, "value": [1e300, "5"]}]), 200, "not in the form of its API"),
    ('{"status": "success", "data"', 200, "not in the form of its API"),
]


@pytest.mark.parametrize(("body", "status", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_everything_else_is_an_error_with_its_reason(
    server: Server, body: Any, status: int, said: str
) -> None:
    server.answers(
        body,
        status,
        "text/html" if isinstance(body, str) and not body.startswith("{") else "application/json",
    )
    with pytest.raises(ToolError, match=said) as error:
        Prometheus(server.url).value("up")
    assert error.value.remedy


def test_a_server_that_hangs_or_is_not_there_is_an_error(server: Server, closed_port: int) -> None:
    server.wait_s = 2
    with pytest.raises(ToolError, match="no whole answer within 0.2 s"):
        Prometheus(server.url, timeout_s=0.2).value("up")
    with pytest.raises(ToolError, match="nothing listens there"):
        Prometheus(f"http://127.0.0.1:{closed_port}").value("up")


def test_a_token_and_a_password_are_sent_and_never_shown(server: Server) -> None:
    server.answers("", 401)
    secret = server.url.replace("//", f"//reader:{PASSWORD}@")
    for asked, sent in (
        (Prometheus(server.url, "prometheus-token-1"), "Bearer prometheus-token-1"),
        (Prometheus(secret), "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()),
    ):
        with pytest.raises(ToolError) as error:
            asked.value("up")
        assert server.asked[-1][2] == sent
        assert (
            PASSWORD not in f"{asked!r}{error.value}"
            and "prometheus-token-1" not in f"{asked!r}{error.value}"
        )


def test_a_time_is_asked_in_a_bearable_number_of_points_and_moments_without_a_number_are_left_out(
    server: Server,
) -> None:
    server.answers(
        success(
            "matrix",
            [{"metric": {}, "values": [[1435781430, "1"], [1435781445, "NaN"], [1435781460, "2"]]}],
        )
    )
    end = datetime(2026, 11, 24, 4, tzinfo=UTC)
    found = Prometheus(server.url).series("up", end - timedelta(hours=4), end)
    assert [value for _, value in found] == [1.0, 2.0] and found[0][0] == datetime.fromtimestamp(
        1435781430, UTC
    )
    path, arguments, _ = server.asked[0]
    assert (
        path == "/api/v1/query_range"
        and float(arguments["step"]) >= 4 * 3600 / POINTS
        and float(arguments["end"]) - float(arguments["start"]) == 4 * 3600
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (success("matrix", []), "no series"),
        (vector("1"), "a vector, not a line"),
        (ERROR, "bad_data"),
    ],
)
def test_a_time_without_one_line_is_an_error(server: Server, body: Any, said: str) -> None:
    server.answers(body)
    with pytest.raises(ToolError, match=said):
        Prometheus(server.url).series(
            "up", datetime(2026, 11, 24, 4, tzinfo=UTC), datetime(2026, 11, 24, 5, tzinfo=UTC)
        )
