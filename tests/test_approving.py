"""What is approved is on the screen; who approves is who they are; and a refusal stands until
somebody decides anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import approver, gate, login, params, whereabouts
from runbook_lib.asked import DANGER
from runbook_lib.check import Checks, check, unknown
from runbook_lib.errors import ApprovalNeeded, GateError, Refused
from runbook_lib.phases.base import Phase
from runbook_lib.phases.rehearse import Rehearse
from runbook_lib.run import Run, create
from runbook_lib.show.widgets import Gate
from tests.terminal import on_a_terminal

ROOT = Path(__file__).resolve().parents[1]
RUNBOOK = str(Path(sys.executable).parent / "runbook")
TARGET = {
    "host": "h",
    "port": 1,
    "database": "d",
    "system_identifier": "1",
    "database_oid": 1,
    "server_version": "18",
}
FINDING = {
    "severity": DANGER,
    "id": "column-dropped",
    "what": "public.Patient",
    "where": "20260101_drop/migration.sql:3",
    "why": "its rows lose what stands there",
}
BLIND = Checks("Blind", [unknown("disk", "the disk has room", "nobody can see it")])
GOOD = Checks("Good", [check("c", "it holds", True, "yes")])
OTHERS = {"daemon": 1, "bin": 2}
"""Logins that every Linux has, beside the one that the tests run as."""
At = Callable[[str], None]


@pytest.fixture(autouse=True)
def nobody_behind_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No JupyterHub, and no name that was typed."""
    for name in ("RUNBOOK_PERSON", "JUPYTERHUB_USER", "JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def at_the_login_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> At:
    """From here on, somebody else has logged in."""

    def become(name: str) -> None:
        (tmp_path / "loginuid").write_text(str(OTHERS[name]))
        monkeypatch.setattr(login, "_LOGIN_ID", tmp_path / "loginuid")

    return become


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Run]:
    """Starts a run, at whose gate `plan` a person is asked for."""

    def made(**changes: Any) -> Run:
        values = params.load(ROOT / "params" / "demo.yaml")
        values["environment"] |= {"archive": str(tmp_path / "archive"), "production": True}
        values["approvals"] = {"required": ["plan"], **changes}
        del values["demo"]
        run = create(values, ["1_x"], TARGET)
        run.write_evidence("plan", {"hash": "h" * 64, "severe": [], "dangers": [FINDING]})
        run.begin_phase("plan", "10_plan.ipynb")
        with pytest.raises(ApprovalNeeded):
            gate.require(run, "plan", BLIND, required=["plan"])
        run.end_phase("plan", "waiting", reason="the gate `plan` needs a person")
        run.end("waiting")
        return run

    return made


def command(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command without a terminal, in another folder."""
    return subprocess.run(
        [RUNBOOK, *map(str, words)],
        cwd="/",
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def typed(answer: str, *words: object) -> tuple[int, str]:
    """The same on a terminal, with a person who answers."""
    return on_a_terminal([RUNBOOK, *map(str, words)], answer, os.environ)


# what is asked


def test_a_gate_that_waits_names_each_finding_and_each_check_that_an_approval_accepts(
    start: Callable[..., Run],
) -> None:
    run = start()
    with pytest.raises(ApprovalNeeded) as error:
        gate.require(run, "plan", BLIND, required=["plan"])
    first, *lines = error.value.message.splitlines()
    assert "could not check: the disk has room" in first
    assert lines == [
        "danger: column-dropped at 20260101_drop/migration.sql:3 (public.Patient): its rows lose "
        "what stands there",
        "could not check: the disk has room: nobody can see it",
    ]


def test_the_record_of_an_approval_holds_exactly_what_was_shown(start: Callable[..., Run]) -> None:
    run = start(distinct=False)
    shown = gate.asked(run, "plan")
    with pytest.raises(ApprovalNeeded):  # something more came to light while it was read
        gate.require(
            run, "plan", BLIND + Checks("", [unknown("more", "more", "came later")]), ["plan"]
        )
    record = gate.approve(run, "plan", "read it", shown=shown)
    assert [one["id"] for one in record["shown"]] == ["column-dropped", "disk"]
    assert record["could_not_check"] == ["disk"]
    with pytest.raises(ApprovalNeeded, match="given before that was known"):
        gate.require(
            run, "plan", BLIND + Checks("", [unknown("more", "more", "came later")]), ["plan"]
        )
    assert gate.require(run, "plan", BLIND, ["plan"]) == record


def test_the_gate_in_jupyterlab_shows_the_findings_above_its_buttons(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, displayed = start(), []
    monkeypatch.setattr("IPython.display.display", lambda what, **_: displayed.append(what))
    shown = gate.asked(run, "plan")
    Gate("plan", BLIND, decide=lambda *_: None, asked=shown)._ipython_display_()  # type: ignore[arg-type, return-value]
    page, buttons = displayed
    for fact in ("danger", "column-dropped of public.Patient", "migration.sql:3", "nobody can see"):
        assert fact in page._repr_html_() and fact in str(page)
    assert type(buttons).__name__ == "VBox"


def test_severe_findings_that_nobody_accepted_at_the_plan_are_asked_at_the_migrations_gate(
    start: Callable[..., Run],
) -> None:
    run = start(distinct=False)
    assert gate.asked(run, "migrate").findings and not gate.asked(run, "preflight").items
    gate.approve(run, "plan", "read it")
    assert not gate.asked(run, "migrate").findings


def test_approve_shows_and_without_a_terminal_records_nothing(start: Callable[..., Run]) -> None:
    run = start(distinct=False)
    before = (run.folder / "journal.jsonl").read_bytes()
    done = command("approve", run.folder, "plan")
    assert done.returncode == 2 and "column-dropped" in done.stdout, done.stdout
    assert f"`runbook approve {run.folder} plan --yes`" in done.stdout
    assert not run.read_approvals() and (run.folder / "journal.jsonl").read_bytes() == before
    done = command("approve", run.folder, "plan", "--yes", "--reason", "read it", "--json")
    assert done.returncode == 0, done.stdout
    asked, told = map(json.loads, done.stdout.splitlines())
    assert (asked["event"], told["event"]) == ("asked", "approval")
    assert asked["items"] == told["shown"] == run.read_approvals()[-1]["shown"]


@pytest.mark.parametrize(
    ("answer", "status", "decisions"), [("n\n", 2, []), ("y\n", 0, ["approved"])]
)
def test_approve_asks_typed(
    answer: str, status: int, decisions: list[str], start: Callable[..., Run]
) -> None:
    run = start(distinct=False)
    code, said = typed(answer, "approve", run.folder, "plan")
    assert code == status, said
    assert said.index("column-dropped") < said.index("Approve, accepting all of this?")
    assert [one["decision"] for one in run.read_approvals()] == decisions


# who approves


def test_a_name_that_was_typed_says_so_and_a_login_does_not(
    monkeypatch: pytest.MonkeyPatch, at_the_login_of: At
) -> None:
    at_the_login_of("daemon")
    assert (whereabouts.person(), str(login.named("Rita")), str(login.named(" daemon "))) == (
        "daemon",
        "Rita (typed)",
        "daemon",
    )
    for typed in ("Rita", "Rita (typed)"):
        monkeypatch.setenv("RUNBOOK_PERSON", typed)
        assert whereabouts.person() == "Rita (typed)"


def test_variables_of_the_shell_are_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    before = login.login()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert login.login() == before


class Hub(BaseHTTPRequestHandler):
    """Answers `GET /hub/api/user` in the form that JupyterHub's REST API documents."""

    OWNERS = {  # noqa: RUF012
        "token of-rita": {"kind": "user", "name": "rita", "admin": False, "groups": []},
        "token of-a-service": {"kind": "service", "name": "cull-idle"},
    }

    def do_GET(self) -> None:
        owner = self.OWNERS.get(self.headers.get("Authorization", ""))
        known = owner and self.path == "/hub/api/user"
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(json.dumps(owner if known else {"status": 403}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub's API."""
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hub/api"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("token", "who", "known"),
    [
        ("of-rita", "rita", "rita"),
        ("of-a-service", "anna (typed)", ""),
        ("forged", "anna (typed)", ""),
    ],
)
def test_behind_jupyterhub_its_answer_counts_and_its_variable_alone_is_a_name_that_was_typed(
    token: str, who: str, known: str, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "anna")
    monkeypatch.setenv("JUPYTERHUB_API_URL", hub)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", token)
    found = login.login()
    assert (str(found), found.login) == (who, known)


def test_a_hub_that_does_not_answer_confirms_nobody(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    monkeypatch.setenv("JUPYTERHUB_USER", "anna")
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:1/hub/api")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "x")
    with pytest.raises(GateError, match=r"JupyterHub does not confirm who anna \(typed\) is"):
        gate.approve(run, "plan", "read it")


def test_who_approves_in_the_operators_kernel_is_named_as_typed_and_the_night_stays_the_operators(
    start: Callable[..., Run], at_the_login_of: At
) -> None:
    at_the_login_of("daemon")
    run = start(distinct=False)
    record = gate.approve(run, "plan", "read it", by=login.named("Rita"))
    assert (record["person"], record["login"], record["known_by"]) == (
        "Rita (typed)",
        "daemon",
        "typed",
    )
    approved = run.read_journal()[-1]
    assert (approved["what"], approved["who"], approved["login"]) == (
        "gate approved",
        "Rita (typed)",
        "daemon",
    )
    run.begin_phase("rehearse", "20_rehearse.ipynb")
    assert run.read_journal()[-1]["who"] == "daemon" == run.phase("rehearse")["who"]  # type: ignore[index]
    assert "RUNBOOK_PERSON" not in os.environ


def test_in_production_another_login_has_to_approve(
    start: Callable[..., Run], at_the_login_of: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_login_of("daemon")
    run = start()
    assert run.params.distinct_approver
    for by in (login.current(), login.named("Rita")):
        with pytest.raises(
            GateError, match="nothing was recorded.*daemon carries this run out|which carries"
        ):
            gate.approve(run, "plan", "read it", by=by)
    monkeypatch.setenv("RUNBOOK_PERSON", "Rita")  # typed, at the same login
    with pytest.raises(GateError, match="nothing was recorded"):
        gate.approve(run, "plan", "read it")
    assert not run.read_approvals()
    gate.approve(run, "plan", "not tonight", refused=True)  # whoever sees a danger may refuse
    at_the_login_of("bin")
    gate.approve(run, "plan", "read it")
    assert gate.require(run, "plan", BLIND, ["plan"])


def test_a_name_typed_by_who_started_the_run_does_not_hide_their_login(
    start: Callable[..., Run], at_the_login_of: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_login_of("daemon")
    monkeypatch.setenv("RUNBOOK_PERSON", "Rita")
    run = start()
    monkeypatch.delenv("RUNBOOK_PERSON")
    assert approver.operators(run, "plan") == ["Rita", "daemon"]
    with pytest.raises(GateError):
        gate.approve(run, "plan", "read it")


def test_who_approved_and_then_carries_the_phase_out_themselves_did_not_approve_as_another(
    start: Callable[..., Run], at_the_login_of: At
) -> None:
    at_the_login_of("daemon")
    run = start()
    at_the_login_of("bin")
    gate.approve(run, "plan", "read it")
    run.begin_phase("plan", "10_plan.ipynb")
    with pytest.raises(ApprovalNeeded, match="the approval of bin does not count: .*bin carries"):
        gate.require(run, "plan", BLIND, ["plan"])


def test_typed_names_count_only_where_the_parameters_trust_them(
    start: Callable[..., Run], at_the_login_of: At
) -> None:
    at_the_login_of("daemon")
    run = start(trust_typed_names=True)
    for own in ("daemon", "DAEMON", run.params.engineer):
        with pytest.raises(GateError):
            gate.approve(run, "plan", "read it", by=login.named(own))
    gate.approve(run, "plan", "read it", by=login.named("Rita"))
    assert gate.require(run, "plan", BLIND, ["plan"])["person"] == "Rita (typed)"  # type: ignore[index]


def test_outside_production_one_person_may_do_both(start: Callable[..., Run]) -> None:
    run = start(distinct=False)
    gate.approve(run, "plan", "read it")
    assert gate.require(run, "plan", BLIND, ["plan"])
    assert approver.steps(run, "plan")[0].endswith(f"&& runbook resume {run.folder}")


def test_the_button_says_why_an_approval_does_not_count(start: Callable[..., Run]) -> None:
    run = start()

    def decide(approved: bool, person: str, reason: str) -> Any:
        return gate.approve(run, "plan", reason, refused=not approved, by=login.named(person))

    name, reason, buttons, said = Gate("plan", BLIND, decide=decide).buttons(print).children
    name.value, reason.value = "Rita", "read it"
    buttons.children[0].click()
    assert "nothing was recorded" in said.value and "approvals.distinct" in said.value
    assert not run.read_approvals() and not name.disabled


# whose run, and whether it stands


@pytest.mark.parametrize("damage", ["copied", "without a run", "without anything"])
def test_an_approval_of_another_run_does_not_count_and_is_named(
    damage: str, start: Callable[..., Run], at_the_login_of: At
) -> None:
    run = start(distinct=False)
    gate.approve(run, "plan", "read it")
    other = start(distinct=False)
    shutil.copy(run.folder / "approvals.jsonl", other.folder / "approvals.jsonl")
    if damage != "copied":
        [record] = run.read_approvals()
        del record["run"]
        left = record if damage == "without a run" else {"gate": "plan"}
        (other.folder / "approvals.jsonl").write_text(json.dumps(left) + "\n")
    with pytest.raises(ApprovalNeeded, match="not counted: .*of the run") as error:
        gate.require(other, "plan", BLIND, ["plan"])
    assert (run.id in error.value.message) == (damage == "copied")
    assert not gate.accepted(other, "plan")
    done = command("approve", other.folder, "plan")
    assert "not counted: " in done.stdout, done.stdout + done.stderr


def test_a_refusal_holds_everywhere_until_somebody_decides_anew(start: Callable[..., Run]) -> None:
    run = start(distinct=False)
    gate.approve(run, "plan", "read it")
    phase, later = Phase(run), Rehearse(run)
    phase.name, phase.gates = "plan", ("plan",)  # type: ignore[misc]
    phase._passed.add("plan")
    phase.not_refused()
    later.not_refused()
    gate.approve(run, "plan", "not tonight", refused=True)  # in another kernel, or by a command
    for step in (
        phase.finish,
        lambda: phase.require_gate("plan"),
        lambda: phase.exclusive().__enter__(),
        lambda: phase.send(None),  # type: ignore[arg-type]
        lambda: later.begin("20_rehearse.ipynb"),
        later.claim,
    ):
        with pytest.raises(Refused, match="the gate `plan` was refused by .*: not tonight"):
            step()
    phase.claim()  # it is opened again, to be asked anew
    assert run.read_approvals()[-1]["accepts"] == []
    gate.approve(run, "plan", "after all")
    phase.require_gate("plan")
    later.not_refused()


def test_resume_after_a_refusal_begins_no_later_phase(start: Callable[..., Run]) -> None:
    run = start(distinct=False)
    gate.approve(run, "plan", "read it")
    gate.approve(run, "plan", "not tonight", refused=True)
    assert "refused so far, by" in gate.asked(run, "plan").table().title
    assert not gate.accepted(run, "plan")


def test_a_way_back_whose_gate_was_refused_can_be_asked_for_anew(start: Callable[..., Run]) -> None:
    run = start(distinct=False)
    gate.approve(run, "rollback", "not now", refused=True)
    phase = Phase(run)
    phase.name, phase.needs_database = "rollback", False  # type: ignore[misc]
    phase.claim()
    with pytest.raises(Refused, match="the gate `rollback` was refused by"):
        phase.not_refused()
