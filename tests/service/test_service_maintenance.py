"""Maintenance mode: switched, and seen."""

import pytest

from runbook_lib.check import Status
from runbook_lib.errors import ToolError
from runbook_lib.service import maintenance
from runbook_lib.service.http import Request

WRITE = {"path": "/write", "json": {}}


def statuses(checks):
    return [item.status for item in checks]


def test_a_command_switches_it(tmp_path):
    done = maintenance.switch("touch $NAME", cwd=tmp_path, env={"NAME": "flag"})
    assert (tmp_path / "flag").exists() and done.status == 0


def test_a_command_that_fails_raises(tmp_path):
    with pytest.raises(ToolError, match="status 3"):
        maintenance.switch("exit 3", cwd=tmp_path)


def test_a_request_switches_it(application):
    maintenance.switch(Request(application.url + "/switch", "POST", body={"on": True}))
    assert application.maintenance is True


def test_a_request_that_is_refused_raises(application, closed_port):
    with pytest.raises(ToolError, match="403"):
        maintenance.switch(Request(application.url + "/reject", "POST", body={}))
    with pytest.raises(ToolError, match="refused"):
        maintenance.switch(Request(f"http://127.0.0.1:{closed_port}/switch", "POST"))


def test_its_headers_are_sent_and_never_shown(application):
    request = Request(
        application.url + "/switch", "POST", body={"on": True}, headers={"X-Key": "secretword"}
    )
    maintenance.switch(request, status=200)
    assert application.headers["X-Key"] == "secretword" and "secretword" not in repr(request) + str(
        request
    )


def test_a_request_that_is_answered_otherwise_than_expected_raises(application):
    with pytest.raises(ToolError, match="expected 204"):
        maintenance.switch(
            Request(application.url + "/switch", "POST", body={"on": True}), status=204
        )


def test_it_is_seen_by_its_flag_and_by_a_refused_write(application):
    application.maintenance = True
    checks = maintenance.seen(application.url, "/health", True, write=WRITE)
    assert statuses(checks) == [Status.PASSED, Status.PASSED]
    assert application.received == [("/write", {})]


def test_a_write_that_gets_through_fails(application):
    application.maintenance, application.refuses_writes = True, False
    checks = maintenance.seen(application.url, "/health", True, write=WRITE)
    assert statuses(checks) == [Status.PASSED, Status.FAILED]
    assert "may have written" in checks.failed[0].found


def test_no_write_is_tried_where_health_does_not_say_maintenance(application):
    checks = maintenance.seen(application.url, "/health", True, write=WRITE, within_s=0)
    assert statuses(checks) == [Status.FAILED, Status.UNKNOWN]
    assert not application.received


def test_off_is_seen_without_a_write(application):
    checks = maintenance.seen(application.url, "/health", False, write=WRITE)
    assert statuses(checks) == [Status.PASSED]
    assert not application.received


def test_a_write_that_does_not_come_as_far_is_unknown(application):
    application.maintenance = True
    checks = maintenance.seen(application.url, "/health", True, write={"path": "/reject"})
    assert statuses(checks) == [Status.PASSED, Status.UNKNOWN]


def test_without_a_configured_write_it_says_so(application):
    application.maintenance = True
    assert statuses(maintenance.seen(application.url, "/health", True)) == [
        Status.PASSED,
        Status.NOT_CONFIGURED,
    ]


@pytest.mark.parametrize(
    ("flag", "key"), [("yes", "maintenance"), (None, "maintenance"), (True, "mode.maintenance")]
)
def test_a_flag_that_is_no_flag_is_unknown(application, flag, key):
    application.maintenance = flag
    checks = maintenance.seen(application.url, "/health", True, key=key, write=WRITE, within_s=0)
    assert statuses(checks) == [Status.UNKNOWN, Status.UNKNOWN]


def test_an_application_that_is_down_has_failed(closed_port):
    checks = maintenance.seen(f"http://127.0.0.1:{closed_port}", "/health", False, within_s=0)
    assert statuses(checks) == [Status.FAILED]
