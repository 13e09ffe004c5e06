"""The fault matrix of the migration: whatever is struck, whenever, the record, the database and
what the product says of both agree, and nothing is left at work.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from cells import (
    BEHAVIOURS,
    CELLS,
    FIRST,
    HOLDS,
    HOLDS_A_BUILD,
    NEXT,
    PROOF,
    RECORDED,
    REFUSED_RECORD,
    TRACES,
    VICTIMS,
)

from runbook_lib.phases.landed import Landed
from runbook_lib.phases.rollback import Rollback
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma.cli import MigrationFailed
from tests.prisma.conftest import rows

if TYPE_CHECKING:
    from tests.faults.conftest import Cell

RECORD = "after the commit, before Prisma's record"
PRISMA = "application_name LIKE 'runbook/%%/migrate/prisma'"
WAITS = (
    f"SELECT pid FROM pg_stat_activity WHERE {PRISMA} AND datname = %s "
    "AND wait_event_type = 'Lock' AND (%s OR query ILIKE '%%update%%_prisma_migrations%%')"
)
BOUND_S = 120
"""Seconds after which a test gives up waiting."""


class Strike(threading.Thread):
    """Holds the migration up at a moment, and strikes there."""

    def __init__(self, cell: Cell, moment: str, behaviour: str, deed: str) -> None:
        super().__init__(daemon=True)
        self.cell, self._moment, self._deed = cell, moment, deed
        self.at, self.error = 0.0, ""
        self._watch, self._holder = cell.db("observer"), cell.db("monthly-report")
        self._first = cell.db("desk")
        held = HOLDS["before the first statement" if moment == RECORD else moment]
        if (moment, behaviour) == ("within a statement", "concurrently"):
            held = HOLDS_A_BUILD
        self._hold(self._first if moment == RECORD else self._holder, held)
        self.start()

    def run(self) -> None:
        try:
            self._waiting(record=False)
            if self._moment == RECORD:  # its row is there now, and can be held
                self._hold(self._holder, HOLDS[RECORD])
                self._first.execute("ROLLBACK")
                self._waiting(record=True)
            self.at = time.monotonic()
            if self._deed:
                DEEDS[self._deed](self)
        except Exception as error:  # told by the test, in its own thread
            self.error = repr(error)

    def over(self) -> None:
        """Who held the migration up, lets go."""
        self.join(BOUND_S)
        for db in (self._holder, self._first):
            with suppress(Exception):  # its server may have been restarted
                db.execute("ROLLBACK")
        assert self.at and not self.error, self.error or "the moment never came"

    def _hold(self, db: Database, statement: str) -> None:
        db.execute("BEGIN")
        db.execute(statement)

    def _waiting(self, *, record: bool) -> int:
        deadline = time.monotonic() + BOUND_S
        while time.monotonic() < deadline:
            if found := self._watch.rows(WAITS, (self.cell.database, not record)):
                return int(found[0]["pid"])
            time.sleep(0.02)
        raise AssertionError("the migration never came there")

    def backend(self, what: str) -> None:
        pid = self._waiting(record=self._moment == RECORD)
        assert self._watch.value(f"SELECT {what}(%s)", (pid,))

    def processes(self, number: int, *names: str) -> None:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                line = " ".join(child.cmdline())
                if any(name in line for name in names):
                    child.send_signal(number)

    def restart(self, mode: str) -> None:
        self.cell.server.stop(mode)
        self.cell.server.start()


CLI = ("/prisma migrate", "/prisma/build/index.js migrate")
DEEDS: dict[str, Callable[[Strike], None]] = {
    "cli_killed": lambda it: it.processes(signal.SIGKILL, *CLI),
    "cli_terminated": lambda it: it.processes(signal.SIGTERM, *CLI),
    "engine_killed": lambda it: it.processes(signal.SIGKILL, "schema-engine"),
    "interrupted": lambda it: os.kill(os.getpid(), signal.SIGINT),
    "backend_terminated": lambda it: it.backend("pg_terminate_backend"),
    "backend_cancelled": lambda it: it.backend("pg_cancel_backend"),
    "server_fast": lambda it: it.restart("fast"),
    "server_immediate": lambda it: it.restart("immediate"),
    "connection_cut": lambda it: it.cell.phase.way.cut(),
    "connection_stalled": lambda it: it.cell.phase.way.stall(),
}
"""What is done, by its name in the table."""


def traces(cell: Cell) -> str:
    """What of the migration is in the database, as the catalogue and the rows say."""
    with Database(Target.parse(cell.server.url(cell.database)), "tests") as db:
        return " ".join(name for name, query in TRACES.items() if db.rows(query))


def at_work(cell: Cell) -> tuple[int, int]:
    """Sessions of the CLI on the server, and processes of it here."""
    with Database(Target.parse(cell.server.url(cell.database)), "tests") as db:
        sessions = db.value(
            f"SELECT count(*) FROM pg_stat_activity WHERE {PRISMA} AND datname = %s",
            (cell.database,),
        )
    return int(sessions), sum(_works_for(one, cell) for one in psutil.process_iter())


def _works_for(one: psutil.Process, cell: Cell) -> bool:
    try:
        environment = one.environ() if "node" in one.name() else {}
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(cell.database in value for value in environment.values())


def history(cell: Cell) -> dict[str, str]:
    """Prisma's own record of the night's files."""
    return {
        row["migration_name"]: "finished" if row["finished_at"] else "unfinished"
        for row in rows(cell.server.url(cell.database))
        if row["migration_name"] in (FIRST, NEXT)
    }


def told(cell: Cell) -> Landed:
    """What the product says landed, as 90_rollback says it."""
    found = Rollback(cell.phase.run)
    cell.others.callback(found._give_back)
    found.begin("90_rollback.ipynb")
    return found.landed


def agrees(said: Landed, traces: str, whole: str) -> None:
    """What is said is what is there: nothing less, nothing more."""
    replayed = said.replayed
    assert said.at_work == () and said.failed == (NEXT,) and replayed is not None, said
    of_next = traces.removeprefix("first").strip()
    if not of_next:
        assert replayed.untouched and "--rolled-back" in replayed.command, replayed
    elif of_next == "invalid":
        assert replayed.landed == 0 and replayed.invalid and "repair" in replayed.command, replayed
    elif of_next == whole:
        assert replayed.complete and replayed.landed == replayed.statements, replayed
        assert replayed.command == f"prisma migrate resolve --applied {NEXT}"
    else:
        assert replayed.landed == len(of_next.split()) and "repair" in replayed.command, replayed


@pytest.mark.parametrize(
    ("victim", "moment", "behaviour"),
    [
        pytest.param(
            *one,
            marks=pytest.mark.fault(
                VICTIMS[one[0]].words,
                one[1],
                BEHAVIOURS[one[2]].words,
                f"landed: {BEHAVIOURS[one[2]].landed[one[1]] or 'nothing'}; the product says so; "
                "nobody at work",
                long=one not in PROOF,
            ),
            id="-".join(one),
        )
        for one in CELLS
    ],
)
def test_record_database_and_what_is_said_agree_and_nobody_is_left_at_work(
    cell: Callable[..., Cell],
    victim: str,
    moment: str,
    behaviour: str,
    record_property: Callable[[str, object], None],
) -> None:
    what, how = VICTIMS[victim], BEHAVIOURS[behaviour]
    story = cell(behaviour, what.limits)
    strike = Strike(story, moment, behaviour, what.deed)
    with pytest.raises((MigrationFailed, KeyboardInterrupt)) as caught:
        story.phase.deploy()
    noticed = time.monotonic() - strike.at
    strike.over()
    if what.causes is None:
        assert isinstance(caught.value, KeyboardInterrupt)
    else:
        refused = moment == RECORD and victim in REFUSED_RECORD
        causes = (RECORDED,) if refused else what.causes
        assert isinstance(caught.value, MigrationFailed) and caught.value.cause in causes
        assert not refused or "all statements of the file have run" in str(caught.value)
    story.phase.fail(caught.value)
    sessions, processes = at_work(story)
    assert (sessions, processes) == (0, 0)
    found, expected = traces(story), how.landed[moment]
    assert found == expected
    several = {FIRST: "finished"} if FIRST in how.files else {}
    assert history(story) == {**several, NEXT: "unfinished"}
    said = told(story)
    agrees(said, found, how.landed[RECORD].removeprefix("first").strip())
    with Database(Target.parse(story.server.url()), "tests") as admin:
        scratch = admin.value(
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook\\_scratch%%'", ()
        )
    assert scratch == 0
    record_property(
        "figures",
        f"noticed after {noticed:.1f} s; {sessions} sessions, {processes} processes, {scratch} "
        "copies left",
    )
    record_property("said", f"{said.replayed.answer}; {said.replayed.command}")
