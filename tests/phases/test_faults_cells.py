"""Each cell that works with databases loses a session at some statement: no copy stays, and the
error shown is that loss.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import gate
from runbook_lib.errors import ApprovalNeeded, RunbookError, in_full
from runbook_lib.params import Params
from runbook_lib.phases import drift, retention
from runbook_lib.phases.backup import BackupPhase
from runbook_lib.phases.base import Phase
from runbook_lib.phases.plan import Plan
from runbook_lib.phases.preflight import Preflight
from runbook_lib.phases.rehearse import Rehearse
from runbook_lib.phases.rollback import Rollback
from runbook_lib.phases.start import applied
from runbook_lib.phases.validate import Validate
from runbook_lib.postgres import databases
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import history
from tests.phases.conftest import Night

FILES = {
    "20260201000000_kind": 'ALTER TABLE "Visit" DROP COLUMN "kind";\n',
    "20260202000000_note": 'ALTER TABLE "Visit" ADD COLUMN "note" TEXT;\n'
    'UPDATE "Visit" SET "note" = \'x\' WHERE "id" = 1;\n',
}
LOST = ("57P01", "terminating connection", "the connection is lost")
"""What PostgreSQL says to a session that it ends."""


class Loss:
    """Ends, on the server, the session that is about to send a statement, which is counted from the
    first on.

    Args:
        at: which statement; none where it is 0.
    """

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.at, self.count, self._lock = at, 0, threading.Lock()
        for name in ("rows", "execute"):
            patch.setattr(Database, name, self._before(getattr(Database, name)))

    def _before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(db: Database, *arguments: Any) -> Any:
            if db.application_name.startswith("runbook/") and self._is_next():
                with Database(db.target.named("template1"), "killer") as other:
                    real(other, "SELECT pg_terminate_backend(%s, 5000)", [db.pid])
            return real(db, *arguments)

        return counted

    def _is_next(self) -> bool:
        with self._lock:
            self.count += 1
            return self.count == self.at


class Server:
    """Which databases there are."""

    def __init__(self, url: str) -> None:
        self._admin = Database(Target.parse(url).named("template1"), "looking")
        self._before = self.databases()

    def databases(self) -> set[str]:
        return {*databases.entries(self._admin)}

    def open(self, name: str) -> bool:
        """Whether there is a database of that name to which one may connect."""
        found = databases.entry(self._admin, name)
        return found is not None and found.open

    def more(self) -> set[str]:
        """Those that were not there at first."""
        return self.databases() - self._before


def disturbed(
    monkeypatch: pytest.MonkeyPatch, at: int, cell: Callable[[], Any]
) -> tuple[int, BaseException | None]:
    """How many statements a cell sent, and what ended it; the loss has to be what is shown."""
    with monkeypatch.context() as patch:
        loss = Loss(patch, at)
        try:
            cell()
        except RunbookError as error:
            assert 0 < at <= loss.count, in_full(error)
            assert any(said in str(error) for said in LOST), in_full(error)
            return loss.count, error
        return loss.count, None


def run_cell(phase: Phase | Operations, name: str) -> Any:
    found = getattr(phase, name)
    return found() if callable(found) else found


def each_cell(
    monkeypatch: pytest.MonkeyPatch, phase: Phase | Operations, cells: Sequence[str]
) -> dict[str, int]:
    """Run each cell with losses ever later, until it has ended well; returns the number of
    statements that it sent then.
    """
    sent = {}
    for name in cells:
        at, error = 1, None
        while True:
            count, error = disturbed(monkeypatch, at, lambda name=name: run_cell(phase, name))
            if error is None and count < at:
                break
            at = at * 2 + 1
        sent[name] = count
    return sent


def opened(night: Night, cls: type[Phase], backups: Path) -> Any:
    """A phase of the night's run, with backups in a folder of the test's own."""
    made = cls(night.phase.run)
    made.params = made.params.model_copy(
        update={"backup": made.params.backup.model_copy(update={"directory": backups})}
    )
    night.others.callback(made._give_back)
    return made


def test_no_cell_before_the_migration_leaves_a_copy(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = night(FILES)
    server, folder = Server(here.url), tmp_path / "backups"
    plan = opened(here, Plan, folder)
    found = history.compare(history.files(plan.project), applied(plan.db, plan.target))
    plan.__dict__["shadow"] = lambda: drift.find(plan, found)
    each_cell(monkeypatch, plan, ("shadow", "data"))
    assert server.more() == set()
    backup = opened(here, BackupPhase, folder)
    each_cell(monkeypatch, backup, ("baseline", "left_out", "make", "prove", "metrics"))
    assert server.more() == set()
    preflight = opened(here, Preflight, folder)
    each_cell(monkeypatch, preflight, ("credentials", "disk", "server", "backup", "validation"))
    assert server.more() == set()
    each_cell(monkeypatch, Operations(preflight.params), ("drill", "prune"))
    assert server.more() == set()


class Operations:
    """What is done between runs."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def drill(self) -> None:
        retention.drill(self.params)

    def prune(self) -> None:
        retention.prune(self.params, 30, dry_run=False)


REHEARSED = (
    "prepare",
    "measure",
    "apart",
    "migrate",
    "validate",
    "atomicity",
    "roll_back",
)


@pytest.mark.parametrize("at", [1, 40])
def test_no_cell_of_the_rehearsal_leaves_a_copy(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int
) -> None:
    here = night(FILES)
    server, folder = Server(here.url), tmp_path / "backups"
    phase, failed = opened(here, Rehearse, folder), []
    for number, name in enumerate(REHEARSED):
        _, error = disturbed(monkeypatch, at, lambda name=name: run_cell(phase, name))  # noqa: B023
        if error:
            failed.append(name)
            held = {name.split("_")[2] for name in server.more()}
            assert held <= {"rehearsal", "atomicity"}, f"{name}: {held}"
            for again in REHEARSED[:number] if name == "migrate" else ():
                run_cell(phase, again)
            run_cell(phase, name)
    assert {"prepare", "migrate", "roll_back"} <= {*failed}
    try:
        phase.forecast()
    except ApprovalNeeded:  # of what was lost with its only copy, a person decides
        gate.approve(phase.run, "rehearse", "read it")
        phase.forecast()
    phase.finish()
    assert server.more() == set()


class Back(Rollback):
    """The way back from its notebook's first cell on, as often as it is opened; a person accepts
    what it loses.
    """

    def whole(self) -> None:
        self._resumed = self._interrupted()
        if self._resumed and not self._finished(self._resumed):
            self._resumed = None
        self.triggers()
        gate.approve(self.run, "rollback", "we go back", way="restore")
        try:
            self.decide()
        except ApprovalNeeded:
            gate.approve(self.run, "rollback", "told of it", way="restore")
            self.decide()
        self.go_back()


def test_no_cell_from_the_migration_on_leaves_a_copy_and_the_way_back_ends_open(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = night(FILES)
    server, folder = Server(here.url), tmp_path / "backups"
    backup = opened(here, BackupPhase, folder)
    for name in ("make", "prove"):
        run_cell(backup, name)
    here.phase.params = backup.params
    each_cell(monkeypatch, here.phase, ("save",))
    here.phase.deploy()
    here.db().execute('UPDATE "Patient" SET "name" = \'undeclared\' WHERE "id" = 7')
    validate = opened(here, Validate, folder)
    each_cell(monkeypatch, validate, ("keys", "catalogue", "only_the_declared_change", "data"))
    assert server.more() == set()
    live = Target.parse(here.url).database
    at, count = 1, 1
    while at <= count * 2:
        here.others.pop_all().close()
        back = opened(here, Back, folder)
        count, error = disturbed(monkeypatch, at, back.whole)
        back._give_back()
        kept = {name.removeprefix(live) for name in server.more()}
        assert {name.rpartition("_")[0] for name in kept} <= {"_restored", "_failed"}
        assert server.open(live) or "_failed" in str(kept), f"statement {at}: {error}"
        at = at * 2 + 1
    assert [name.rpartition("_")[0] for name in kept] == ["_failed"] and server.open(live)
    before = server.databases()
    each_cell(monkeypatch, Operations(back.params), ("prune",))
    assert server.databases() == before
