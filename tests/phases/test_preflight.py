"""The preflight: each login, the way from the application's host, probes and sources; what says
nothing is told from what says no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runbook_lib.check import Check, Status
from runbook_lib.phases.preflight import Preflight
from runbook_lib.service.measures import Reading
from tests.prisma.conftest import INIT
from tests.service.small_application import TOKEN, Application, serving

Make = Callable[..., Preflight]


@pytest.fixture
def application() -> Iterator[Application]:
    """A running application."""
    with serving(Application()) as made:
        yield made


@pytest.fixture
def preflight(
    make: Any,
    deployed: str,
    opened: Callable[..., Any],
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Opens the preflight of a run in front of which that application stands."""

    def made(
        token: str = TOKEN,
        path: str = "/me",
        monitoring: dict[str, Any] | None = None,
        **service: Any,
    ) -> Preflight:
        monkeypatch.setenv("PREFLIGHT_TOKEN", token)
        endpoints = [{"path": path}] if path else []
        limits = {"cpu_percent": 100.0, "memory_percent": 100.0, "disk_io_percent": 100.0}
        return opened(
            Preflight,
            make(INIT),
            deployed,
            monitoring=limits | (monitoring or {}),
            service={
                "url": application.url,
                "token": "env:PREFLIGHT_TOKEN",
                "endpoints": endpoints,
                **service,
            },
        )

    return made


def only(checks: Any, id: str) -> Check:
    """The check of that id."""
    return next(one for one in checks if one.id == id)


@pytest.mark.parametrize(
    ("token", "path", "status", "said"),
    [
        (TOKEN, "/me", Status.PASSED, "200 with it, 401 without"),
        ("an-older-token", "/me", Status.FAILED, "401 with it"),
        (TOKEN, "/plain", Status.UNKNOWN, "200 with it, 200 without"),
        (TOKEN, "/broken", Status.UNKNOWN, "500 with it"),
        (TOKEN, "", Status.UNKNOWN, "no endpoint"),
    ],
)
def test_the_token_is_tried_by_a_request(
    preflight: Make, token: str, path: str, status: Status, said: str
) -> None:
    item = only(preflight(token, path).credentials(), "environment.token")
    assert item.status is status and said in item.found and TOKEN not in str(item)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("true", Status.PASSED, "status 0"),
        ("echo refused; exit 2", Status.FAILED, "refused"),
        ("exit 255", Status.UNKNOWN, "ssh did not come through"),
        ("no-such-program-here", Status.UNKNOWN, "was not found"),
    ],
)
def test_a_host_that_could_not_be_asked_is_not_one_that_says_no(
    preflight: Make, command: str, status: Status, said: str
) -> None:
    (item,) = preflight(reach_database=command).connectivity()
    assert item.status is status and said in item.found


def test_probes_are_asked_and_each_measure_is_read_for_the_first_time(
    preflight: Make, application: Application
) -> None:
    phase = preflight(
        monitoring={
            "response_ms": 0.001,
            "timeout_s": 0.5,
            "probes": [
                {
                    "name": "alerting",
                    "url": f"{application.url}/health",
                    "expect": {"status": "ok"},
                },
                {"name": "page", "url": f"{application.url}/error-page"},
                {"name": "late", "url": f"{application.url}/hang"},
                {"name": "agent", "command": "true"},
            ],
        }
    )
    checks = phase.monitoring()
    assert {one.id: one.status for one in checks if one.id.startswith("probe.")} == {
        "probe.alerting": Status.PASSED,
        "probe.page": Status.FAILED,
        "probe.late": Status.FAILED,
        "probe.agent": Status.PASSED,
    }
    slow = only(checks, "monitoring.response_ms")
    assert slow.status is Status.UNKNOWN and slow.found.startswith("beyond its limit")
    kept = [Reading(**row) for row in phase.run.read_evidence("preflight.readings")]
    assert {"cpu_percent", "deadlocks", "response_ms"} <= {one.measure for one in kept} and only(
        checks, "monitoring.connections"
    ).status is Status.PASSED


def test_the_disk_of_a_plan_that_was_not_rehearsed_is_a_persons_to_judge(preflight: Make) -> None:
    phase = preflight()
    (item,) = phase.disk()
    assert (
        item.status in (Status.UNKNOWN, Status.FAILED)
        and "did not measure" in item.found
        and "what the plan needs is not known" in phase.disk_chart().title
    )
