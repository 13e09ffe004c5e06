"""Endpoints: what is told apart, and what is never shown."""

import threading

import pytest
from small_application import PATIENT, TOKEN, Application

from runbook_lib.check import Status
from runbook_lib.service.health import Endpoint, endpoints, wait


def ask(application, **endpoint):
    (item,) = endpoints(application.url, [Endpoint(**endpoint)], timeout_s=0.3)
    return item


def test_a_good_answer_passes_with_status_time_and_size(application):
    item = ask(application, path="/health", expect={"status": "ok", "items.0.ready": True})
    assert item.status is Status.PASSED
    assert item.found.startswith("200 in ") and "application/json" in item.found


WRONG = [
    ("wrong status", {"path": "/broken"}, "500 in"),
    ("nothing there", {"path": "/gone"}, "404 in"),
    ("hanging", {"path": "/hang", "max_ms": 100.0}, "no whole answer within 0.3 s"),
    ("broken off", {"path": "/drop"}, "broken off"),
    ("slow", {"path": "/slow", "max_ms": 1.0}, "slower than 1 ms"),
    ("an error page with status 200", {"path": "/error-page"}, "headline speaks of an error"),
    ("an error in JSON with status 200", {"path": "/quiet-error"}, "the JSON carries an error"),
    (
        "no JSON where JSON was asserted",
        {"path": "/error-page", "expect": {"status": "ok"}},
        "the body is no JSON",
    ),
    (
        "another value than asserted",
        {"path": "/health", "expect": {"status": "up"}},
        "status is not as expected",
    ),
    (
        "true is not 1",
        {"path": "/health", "expect": {"items.0.ready": 1}},
        "items.0.ready is not as expected",
    ),
    (
        "a path that is not there",
        {"path": "/health", "expect": {"items.7.ready": True}},
        "not as expected",
    ),
]


@pytest.mark.parametrize(
    ("endpoint", "found"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_told_apart(application, endpoint, found):
    item = ask(application, **endpoint)
    assert item.status is Status.FAILED
    assert found in item.found
    assert item.remedy


def test_a_refused_connection_has_failed(closed_port):
    (item,) = endpoints(f"http://127.0.0.1:{closed_port}", [Endpoint("/health")])
    assert (item.status, "refused" in item.found) == (Status.FAILED, True)


@pytest.mark.parametrize("base", ["http://no-such-host.invalid", "ftp://127.0.0.1", "http://"])
def test_what_cannot_be_asked_is_unknown(base):
    (item,) = endpoints(base, [Endpoint("/health")], timeout_s=2)
    assert item.status is Status.UNKNOWN


def test_a_token_with_a_newline_is_unknown_and_not_shown(application):
    item = ask(application, path="/me", token="abcd\nsecret")
    assert item.status is Status.UNKNOWN
    assert "abcd" not in str(item)


def test_the_token_is_sent_and_neither_it_nor_the_body_is_shown(application):
    asked = [
        Endpoint("/me?key=hidden", token=TOKEN),
        Endpoint("/broken"),
        Endpoint("/me", token="another-token"),
    ]
    found = endpoints(application.url, asked)
    assert [item.status.mark for item in found] == ["good", "bad", "bad"]
    for text in (str(found), found._repr_html_(), repr(asked), str(found.times())):
        assert not any(secret in text for secret in (TOKEN, PATIENT, "hidden", "another-token"))


def test_several_requests_give_a_distribution(application):
    found = endpoints(application.url, [Endpoint("/health", requests=5)])
    assert application.asked == 5
    assert found.times().rows[0][:2] == ("GET /health", 5)


def test_waiting_ends_when_the_application_comes_up():
    server = Application()
    threading.Timer(
        0.4,
        lambda: threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start(),
    ).start()
    assert wait(server.url + "/health", timeout_s=10).status is Status.PASSED
    server.shutdown()
    server.server_close()


def test_waiting_for_what_never_comes_fails(closed_port, application):
    assert wait(f"http://127.0.0.1:{closed_port}/health", timeout_s=0.3).status is Status.FAILED
    assert "500" in wait(application.url + "/broken", timeout_s=0.3).found
