"""Who is told in a run: recorded with its failures; a failure is escalated, each step once,
until a person acknowledges it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_application import Application
from typer.testing import CliRunner

from runbook_lib import archive, cli, params, run
from runbook_lib.check import Status
from runbook_lib.errors import CheckError
from runbook_lib.phases import talk
from runbook_lib.phases.announce import Announce
from runbook_lib.service import notify

ROOT = Path(__file__).resolve().parents[2]
TARGET = {
    "host": "127.0.0.1",
    "port": 5432,
    "database": "clinic",
    "database_oid": 1,
    "system_identifier": "1",
    "server_version": "18",
}
Make = Callable[..., run.Run]


@pytest.fixture
def made(tmp_path: Path, application: Application, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a run whose operations and CTO are told through the application."""
    monkeypatch.setattr(notify, "PAUSES_S", ())

    def make(**sections: Any) -> run.Run:
        values = params.load(ROOT / "params" / "demo.yaml")
        url = application.url.replace("http", "json")
        monkeypatch.setenv("OPERATIONS_ADDRESS", url + "/operations")
        monkeypatch.setenv("CTO_ADDRESS", url + "/cto")
        values["environment"]["archive"] = str(tmp_path / "archive")
        values["notify"] = {"audiences": {"operations": ["env:OPERATIONS_ADDRESS"]}} | sections.pop(
            "notify", {}
        )
        values["people"]["severity_audiences"] = {
            "1": ["operations"],
            "2": ["operations"],
            "3": ["operations"],
        }
        values["people"]["contacts"][2]["addresses"] = ["env:CTO_ADDRESS"]
        values |= sections
        return run.create(values, ["20261102100000_drop"], TARGET)

    return make


def fail(made: run.Run, phase: str = "migrate", *checks: str) -> Any:
    """A phase begins, and fails."""
    made.begin_phase(phase, f"{phase}.ipynb")
    made.journal("maintenance on", phase="announce")
    made.journal("migration begun", files=["20260101000000_first"])
    made.end_phase(phase, "failed", checks)
    made.end("failed")
    return talk.escalate(SimpleNamespace(name=phase, run=made, params=made.params), checks)


def later(monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    """From now on it is so many minutes later."""
    monkeypatch.setattr(talk, "now", lambda: run.now() + timedelta(minutes=minutes))


def paths(application: Application) -> list[str]:
    """Where the messages went that came until now."""
    return [path for path, _ in application.received]


def test_a_failure_is_told_at_once_with_what_people_have_to_know(
    made: Make, application: Application
) -> None:
    found = fail(
        made(
            migrate={
                "window": {
                    "start": "2026-10-25 01:30",
                    "end": "2026-10-25 03:30",
                    "time_zone": "Europe/Berlin",
                }
            }
        )
    )
    ((path, body),) = application.received
    assert path == "/operations" and "severity 2 (High)" in body["title"]
    said = body["message"]
    assert (
        "it takes the way back at once" in said
        and "runbook acknowledge" in said
        and "dba@example.invalid" in said
    )
    assert (
        "01:30 CEST – 03:30 CET (2026-10-24 23:30 UTC – 2026-10-25 02:30 UTC)" in said
        and "the application is in maintenance mode" in said
    )
    assert "delivered" in found.steps[0].said and not found.steps[1].said


def test_after_a_quarter_of_an_hour_the_next_one_is_told_and_only_once(
    made: Make, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = made()
    fail(failed)
    later(monkeypatch, 14)
    assert talk.send_due(failed) == []
    later(monkeypatch, 15.1)
    threads = [
        threading.Thread(target=talk.send_due, args=(run.Run(failed.folder),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert talk.send_due(failed) == [] and sorted(paths(application)) == [
        "/cto",
        "/operations",
        "/operations",
    ]
    assert "15 minutes without acknowledgement" in application.received[-1][1]["title"]


def test_an_acknowledgement_is_recorded_and_stops_what_is_ahead(
    made: Make, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = made()
    fail(failed)
    monkeypatch.setenv("RUNBOOK_PERSON", "Dana Fictitious")
    assert "acknowledged by Dana Fictitious (typed)" in str(
        talk.acknowledge(failed, "the report was left open")
    )
    later(monkeypatch, 60)
    assert talk.send_due(failed) == [] and len(application.received) == 1
    assert len(talk.acknowledge(failed)) == 0
    (line,) = [line for line in failed.read_journal() if line["what"] == "acknowledged"]
    assert (line["who"], line["note"]) == ("Dana Fictitious (typed)", "the report was left open")
    assert "not sent any more" in str(talk.current(failed))


def test_a_new_failure_is_not_acknowledged_by_the_old_acknowledgement(
    made: Make, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = made()
    fail(failed)
    talk.acknowledge(failed)
    found = fail(failed, "rollback")
    assert found.severity == "1" and paths(application)[1:] in (
        ["/operations", "/cto"],
        ["/cto", "/operations"],
    )


def test_a_cell_that_fails_again_alarms_nobody_again_unless_it_is_worse(
    made: Make, application: Application
) -> None:
    failed = made()
    fail(failed, "validate", "invariant.0")
    talk.acknowledge(failed)
    phase = SimpleNamespace(name="validate", run=failed, params=failed.params)
    assert (
        "acknowledged" in talk.escalate(phase, ["invariant.0"]).over
        and len(application.received) == 1
    )
    assert (
        talk.escalate(phase, ["content.public.Visit"]).severity == "1"
        and len(application.received) == 3
    )


def test_a_step_that_nobody_took_is_sent_again_a_few_times(
    made: Make, application: Application
) -> None:
    failed = made()
    application.refusals = 2
    fail(failed)
    for _ in range(4):
        talk.send_due(failed)
    assert (
        len(application.received) == 3 and "1 of 1 delivered" in talk.current(failed).steps[0].said
    )
    application.refusals = 100
    fail(failed)
    for _ in range(talk.TRIES + 2):
        talk.send_due(failed)
    assert (
        len(application.received) == 3 + talk.TRIES
        and "no address took it, tried 5 times" in talk.current(failed).steps[0].said
    )


@pytest.mark.parametrize("outcome", ["succeeded", "rolled_back"])
def test_a_run_that_has_ended_tells_nobody_further(
    made: Make, application: Application, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    failed = made()
    fail(failed)
    failed.end(outcome)
    later(monkeypatch, 60)
    assert talk.send_due(failed) == [] and len(application.received) == 1


def test_where_there_is_nobody_to_tell_that_is_recorded_once(made: Make) -> None:
    failed = made(people={}, notify={"audiences": {}})
    assert "nobody could be told" in fail(failed).steps[0].said
    assert talk.send_due(failed) == []


@pytest.mark.parametrize(
    ("phase", "checks", "expected"),
    [
        ("migrate", (), "2"),
        ("validate", ("content.public.Visit",), "1"),
        ("validate", ("invariant.0",), "2"),
        ("rollback", (), "1"),
        ("validate", ("performance.mean",), "3"),
        ("validate", ("performance.mean", "application.log"), "2"),
        ("close", ("maintenance.health",), "2"),
    ],
)
def test_the_severity_follows_from_what_failed(
    made: Make, phase: str, checks: tuple[str, ...], expected: str
) -> None:
    assert fail(made(), phase, *checks).severity == expected


def test_before_maintenance_mode_a_failure_is_nobodys_emergency(made: Make) -> None:
    quiet = SimpleNamespace(name="announce", run=made())
    assert not talk.is_grave(quiet)
    quiet.run.journal("maintenance on", phase="announce")
    assert talk.is_grave(quiet)


def test_an_address_that_is_not_known_is_recorded_and_stops_nothing(made: Make) -> None:
    told = made(notify={"audiences": {"stakeholders": ["env:NO_SUCH_ADDRESS"]}})
    sent = talk.tell(told, talk.message(told, "done", "it is over", "all is well"))
    assert [item.delivered for item in sent.deliveries] == [
        False
    ] and "NO_SUCH_ADDRESS" in sent.deliveries[0].why
    assert [line["audience"] for line in told.read_journal() if line["what"] == "not notified"] == [
        "operations"
    ]


@pytest.mark.parametrize(
    ("other", "goes_on"),
    [
        ({"database": "billing", "database_oid": 2}, True),
        ({"system_identifier": "2"}, True),
        ({"database_oid": 7}, False),  # of the same name: restored beside, and swapped in
        ({}, False),
    ],
)
def test_an_escalation_ends_only_where_a_run_on_the_same_database_is_begun(
    made: Make, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], goes_on: bool
) -> None:
    failed = made()
    fail(failed)
    following = run.create(failed.parameters, ["20261102100000_drop"], TARGET | other)
    run.create(failed.parameters, ["1_x"], TARGET | {"database": "third", "database_oid": 9})
    later(monkeypatch, 15.1)
    (escalation,) = talk.escalations(failed)
    assert bool(talk.send_due(failed)) is goes_on
    assert (following.id in escalation.over) is not goes_on


def test_a_preview_names_the_addresses_without_their_secrets(
    made: Make, application: Application
) -> None:
    told = made(notify={"audiences": {"stakeholders": ["json://chat.invalid/", "env:CHAT"]}})
    shown = str(talk.message(told, "start", "reads only", "all is well"))
    assert "json://chat.invalid, env:CHAT" in shown and not application.received


def test_the_downtime_is_the_forecasts_until_it_was_measured(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = made()
    assert "not known yet" in talk.message(told, "done", "", "").text.body
    told.write_evidence("forecast", {"downtime_s": 300.0, "migrate_s": 40.0})
    assert "about 5 minutes" in talk.message(told, "done", "", "").text.body
    told.journal("maintenance on", phase="announce")
    monkeypatch.setattr(
        run, "now", lambda: run.moment(told.read_journal()[-1]["at"]) + timedelta(seconds=42.4)
    )
    told.journal("maintenance off", phase="close", verified=True)
    assert "42 s, measured" in talk.message(told, "done", "", "").text.body


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "was not switched on"),
        ([("maintenance on", {})], "it reads, and does not write"),
        (
            [("maintenance on", {}), ("maintenance not switched", {})],
            "is not known: switching it on failed",
        ),
        (
            [("maintenance on", {}), ("maintenance off", {"verified": True})],
            "the application is in service",
        ),
        (
            [("maintenance on", {}), ("maintenance off", {"verified": False})],
            "is not known: look at its health",
        ),
    ],
)
def test_what_is_true_of_the_application_is_said_no_better_than_it_is_known(
    made: Make, lines: list[tuple[str, dict[str, bool]]], expected: str
) -> None:
    told = made()
    for what, facts in lines:
        told.journal(what, phase="announce", **facts)
    assert expected in talk.standing(told)


def test_nothing_is_switched_before_those_were_told_who_have_to_be(
    made: Make, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runbook_lib.phases.application.Application.before", lambda _: None
    )  # it asks a database, and there is none here
    monkeypatch.setattr("runbook_lib.phases.lease.claim", lambda *_, **__: None)  # so does this
    notify_ = {
        "audiences": {"operations": [application.url.replace("http", "json")]},
        "occasions": {"start": ["operations"]},
        "required": ["operations"],
    }
    told = made(
        notify=notify_,
        service={
            "url": application.url,
            "maintenance": {
                "enable": {"path": "/switch", "json": {"on": True}},
                "disable": {"path": "/switch", "json": {"on": False}},
            },
        },
    )
    told.begin_phase("announce", "50_announce.ipynb")
    phase = Announce(told)
    application.refusals = 1
    phase.tell_start()
    with pytest.raises(CheckError, match="who has to be told"):
        phase.maintenance_on()
    assert application.maintenance is False
    phase.tell_start()
    assert talk.told(told, "announce").status is Status.PASSED
    phase.maintenance_on()
    assert application.maintenance is True
    told.begin_phase("announce", "50_announce.ipynb")
    assert (
        talk.told(told, "announce").status is Status.FAILED
    )  # it was another attempt that they were told of


def test_the_commands_acknowledge_escalate_and_show(
    made: Make, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = made(demo=None)
    fail(failed)
    archive.seal(failed)
    monkeypatch.setattr(cli.console, "width", 300)

    def call(*words: str) -> str:
        done = CliRunner().invoke(cli.app, [*words, str(failed.folder)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "not acknowledged" in call("status") and len(application.received) == 1
    later(monkeypatch, 20)
    assert (
        "2 of 2 delivered" in call("escalate")
        and "2 of 2 delivered" in call("escalate")
        and len(application.received) == 3
    )
    assert "1 failures acknowledged" in call("acknowledge", "--note", "on it")
    assert "There is no failure to acknowledge" in call("acknowledge")
    assert archive.verify(failed) == []
