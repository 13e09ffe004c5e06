"""Probes and this machine's own measurements."""

import pytest

from runbook_lib.check import Status
from runbook_lib.service import monitoring


def test_a_url_that_answers_passes(application):
    item = monitoring.probe("the API's health", url=application.url + "/health", expect={"status": "ok"})
    assert (item.id, item.status) == ("probe.the_api_s_health", Status.PASSED)


def test_a_url_that_does_not_is_told_apart(application, closed_port):
    assert monitoring.probe("p", url=application.url + "/broken").status is Status.FAILED
    assert monitoring.probe("p", url=f"http://127.0.0.1:{closed_port}/").status is Status.FAILED
    assert monitoring.probe("p", url="http://no-such-host.invalid/").status is Status.UNKNOWN


COMMANDS = [("true", Status.PASSED), ("exit 1", Status.FAILED), ("no-such-program-here", Status.UNKNOWN), ("sleep 9", Status.UNKNOWN)]


@pytest.mark.parametrize(("command", "status"), COMMANDS)
def test_a_command_is_judged_by_its_status(command, status):
    assert monitoring.probe("p", command=command, timeout_s=0.3).status is status


def test_a_probe_needs_a_question():
    with pytest.raises(ValueError, match="a URL or a command"):
        monitoring.probe("p")


def test_this_machine_is_measured_beside_its_limits(tmp_path):
    checks = monitoring.host(local=True, cpu_percent=100, memory_percent=100, io_wait_percent=100, disk=tmp_path, disk_free_percent=0)
    assert [item.id for item in checks] == ["monitoring.cpu", "monitoring.io", "monitoring.memory", "monitoring.disk"]
    assert all(item.status is Status.PASSED and "%" in item.found for item in checks)


def test_a_limit_that_is_passed_fails(tmp_path):
    checks = {item.id: item for item in monitoring.host(local=True, cpu_percent=100, memory_percent=0, disk=tmp_path, disk_free_percent=100)}
    assert checks["monitoring.memory"].status is Status.FAILED
    assert checks["monitoring.disk"].status is Status.FAILED


def test_a_processor_that_is_busy_only_for_a_moment_passes(monkeypatch):
    samples = iter([(99.0, 0.0), (20.0, 0.0)])
    monkeypatch.setattr(monitoring, "_sample", lambda seconds: next(samples))
    assert monitoring.host(local=True, cpu_percent=95)[0].status is Status.PASSED


def test_a_processor_that_stays_busy_fails(monkeypatch):
    monkeypatch.setattr(monitoring, "_sample", lambda seconds: (99.0, None))
    cpu, io, *_ = monitoring.host(local=True, cpu_percent=95)
    assert (cpu.status, io.status) == (Status.FAILED, Status.UNKNOWN)


def test_another_machine_could_not_be_checked():
    assert {item.status for item in monitoring.host(local=False)} == {Status.UNKNOWN}
