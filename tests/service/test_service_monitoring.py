"""Probes, and commands that print a number."""

import pytest

from runbook_lib.check import Status
from runbook_lib.errors import ToolError
from runbook_lib.service import monitoring


def test_a_url_that_answers_passes(application):
    item = monitoring.probe(
        "the API's health", url=application.url + "/health", expect={"status": "ok"}
    )
    assert (item.id, item.status) == ("probe.the_api_s_health", Status.PASSED)


def test_a_url_that_does_not_is_told_apart(application, closed_port):
    assert monitoring.probe("p", url=application.url + "/broken").status is Status.FAILED
    assert monitoring.probe("p", url=f"http://127.0.0.1:{closed_port}/").status is Status.FAILED
    assert monitoring.probe("p", url="http://no-such-host.invalid/").status is Status.UNKNOWN


COMMANDS = [
    ("true", Status.PASSED),
    ("exit 1", Status.FAILED),
    ("no-such-program-here", Status.UNKNOWN),
    ("sleep 9", Status.UNKNOWN),
]


@pytest.mark.parametrize(("command", "status"), COMMANDS)
def test_a_command_is_judged_by_its_status(command, status):
    assert monitoring.probe("p", command=command, timeout_s=0.3).status is status


def test_a_probe_needs_a_question():
    with pytest.raises(ValueError, match="a URL or a command"):
        monitoring.probe("p")


@pytest.mark.parametrize(
    ("command", "value"), [("echo 12.5", 12.5), ("printf '  3\n'", 3.0), ("echo 1e2", 100.0)]
)
def test_the_number_that_a_command_prints_is_read(command, value):
    assert monitoring.number(command) == value


WRONG = [
    ("echo many", "one number"),
    ("echo 1 2", "one number"),
    ("true", "one number"),
    ("echo nan", "one number"),
    ("echo 5; exit 1", "status 1"),
    ("no-such-program-here", "status 127"),
    ("sleep 9", "without a result"),
]


@pytest.mark.parametrize(("command", "said"), WRONG)
def test_a_command_that_prints_none_is_an_error(command, said):
    with pytest.raises(ToolError, match=said):
        monitoring.number(command, timeout_s=0.5)


def test_a_probe_that_answers_with_an_error_page_or_too_late_fails(application):
    page = monitoring.probe("p", url=application.url + "/error-page")
    assert page.status is Status.FAILED and "headline" in page.found
    late = monitoring.probe("p", url=application.url + "/hang", timeout_s=0.2)
    assert late.status is Status.FAILED and "no whole answer" in late.found
    assert (
        monitoring.probe("p", url=application.url + "/health", expect={"status": "down"}).status
        is Status.FAILED
    )
