"""The lease of a phase's run.

Taken before the first effect, asked before every other, given back when the run has ended.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from runbook_lib.errors import DatabaseError, Refused
from runbook_lib.postgres import databases, lease
from runbook_lib.postgres.connection import Database
from runbook_lib.run import FINAL, Run, stamp
from runbook_lib.whereabouts import person

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase


def claim(phase: Phase, *, take_over: bool = False) -> None:
    """Make sure that no other run has the phase's database.

    Take it where the phase belongs to those that have it.

    Args:
        take_over: a person decided that this run has it from now on, whoever has it now.

    Raises:
        Refused: another run has it.
        DatabaseError: the server cannot be asked.
    """
    run, oid = phase.run, phase.run.state["target"]["database_oid"]
    with _server(phase) as admin:
        if not _is_pinned(phase, admin):  # the check of the identity says so
            return
        found = lease.standing(admin, oid)
        if found and found.run == run.id:
            return
        if found and not (take_over or _over(run, found)):
            other = run.folder.parent / found.run
            raise lease.held(found, Run(other).reference if (other / "run.json").is_file() else "")
        if found or phase.holds_database:
            _take(phase, admin, oid, take_over)


def release(phase: Phase) -> None:
    """Give the database back.

    Where that cannot be done the record says so, and another run has to take it over.
    """
    try:
        with _server(phase) as admin:
            given = lease.release(admin, phase.run.state["target"]["database_oid"], phase.run.id)
    except (DatabaseError, Refused) as error:
        phase.run.journal("lease not released", phase=phase.name, why=error.message)
        phase.say(f"the database's record of this run could not be removed: {error.message}")
        return
    if given:
        phase.run.journal("lease released", phase=phase.name)


def _take(phase: Phase, admin: Database, oid: int, take_over: bool) -> None:
    run = phase.run
    mine = lease.Lease(run.id, person(), socket.gethostname(), stamp())
    try:
        before = lease.take(admin, oid, mine, lambda other: take_over or _over(run, other))
    except DatabaseError as error:
        if error.sqlstate != "42501":
            raise
        if not any(line["what"] == "lease not recorded" for line in run.read_journal()):
            run.journal("lease not recorded", phase=phase.name, why=error.message)
        phase.say(f"that this run has the database cannot be recorded there: {error.message}")
        return
    if before and before.run != run.id:
        run.journal("lease taken over", phase=phase.name, before=str(before))
        phase.say(f"taken over from {before}")
    elif before is None:
        run.journal("lease taken", phase=phase.name)


def _over(run: Run, other: lease.Lease) -> bool:
    """Return whether the run that has the database has ended without giving it back.

    It must be a run of this archive.
    """
    folder = run.folder.parent / other.run
    return (folder / "run.json").is_file() and Run(folder).outcome in FINAL


def _server(phase: Phase) -> Database:
    """A session beside the database: its name may be missing in the middle of a swap."""
    return databases.maintenance(
        phase.target, f"{phase.application_name}/lease", lock_timeout="10s", statement_timeout="30s"
    )


def _is_pinned(phase: Phase, admin: Database) -> bool:
    """Whether this is the server that the run pinned."""
    from runbook_lib.phases.identity import identify, same_server

    return same_server(phase.run.state["target"], identify(admin))
