"""Where tables differ from what the run's own backup holds.

Out of the backup their rows are brought up in a scratch database, one table after the other, proven
against the manifest, and compared with those that are there now. Whatever keeps it from that (no
room, no right, too little time) is said: the difference itself stands either way.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from runbook_lib.errors import DatabaseError, ToolError, UsageError, in_short
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import databases, disk, restore, scratch, snapshot
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.comparison import Compared
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.narrow import Limits, Narrowed, narrow
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools, tools
from runbook_lib.prisma.names import parts
from runbook_lib.table import size

LONGEST_S = 600.0
"""Seconds in which rows are brought up and compared; tables that are left then are only named."""
TOLD = (DatabaseError, ToolError, UsageError, OSError)
"""What keeps a table from being looked into, and is said."""


@dataclass(frozen=True)
class Past:
    """The database as the backup has it.

    A scratch database with the rows of the tables that were brought up.

    Args:
        until: by `time.monotonic`, when to stop.
    """

    phase: Phase
    made: Backup
    target: Target
    tools: Tools
    until: float

    def narrowed(self, item: Compared, limits: Limits) -> Narrowed:
        """Where a table differs.

        Raises:
            One of `TOLD`: it could not be looked into.
        """
        name, state = item.name, self.made.snapshot.tables.get(item.name)
        if state is None:
            raise UsageError("the backup has no such table")
        self._require_room(state.total_bytes - state.index_bytes)
        schema, table = parts(name)
        restore.restore_rows(
            self.made,
            self.target,
            self.phase.application_name,
            schema,
            table,
            tools=self.tools,
            timeout_s=self._left(),
        )
        self._require_proven(name)
        with (
            Database(self.target, self.phase.application_name) as was,
            Database(self.phase.target, self.phase.application_name) as now,
        ):
            return narrow(
                was,
                now,
                name,
                item.columns,
                Method(self.made.snapshot.method),
                replace(limits, seconds=min(limits.seconds, self._left())),
            )

    def _left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise UsageError(f"looking into the others took all of the {LONGEST_S:g} s")
        return left

    def _require_room(self, needed: int) -> None:
        """Refuse where the server is known to lack the room for the rows."""
        with databases.maintenance(self.target, self.phase.application_name) as admin:
            wanted = self.made.database()["tablespace"]
            place = disk.tablespace(admin, databases.tablespace(admin, wanted)["name"])
        if place.free_bytes is not None and place.free_bytes < 2 * needed:
            raise UsageError(
                f"its rows took {size(needed)}, and {size(place.free_bytes)} are free in "
                f"{place.path}"
            )

    def _require_proven(self, name: str) -> None:
        """Refuse where what came up is not what the manifest tells."""
        wanted, app = self.made.snapshot, self.phase.application_name
        shot = snapshot.take(
            self.target,
            app,
            tables=[name],
            columns=wanted.columns(),
            method=Method(wanted.method),
            jobs=self.phase.jobs,
            statement_timeout_s=self._left(),
        )
        came, was = shot.tables[name], wanted.tables[name]
        if (came.rows, came.fingerprints) != (was.rows, was.fingerprints):
            raise UsageError(
                "what the dump has of it is not what was backed up: the backup is damaged"
            )


def narrowed(
    phase: Phase,
    wrong: Sequence[Compared],
    written: Collection[str],
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> dict[str, Narrowed]:
    """Where these tables differ, by name.

    Args:
        wrong: with the columns that are compared.
        written: tables that were written between backup and state before: their range holds these
            rows, too.
    """
    if not wrong:
        return {}
    if not phase.run.has_evidence("backup"):
        return {
            item.name: Narrowed(item.name, why=_not("this run has no backup")) for item in wrong
        }
    found: dict[str, Narrowed] = {}
    why = ""
    try:
        with _past(phase) as past:
            for item in sorted(wrong, key=lambda item: _bytes(past.made, item)):
                phase.say(f"looking for the rows that differ in {item.name}")
                found[item.name] = _one(past, item, item.name in written, limits)
    except TOLD as error:
        why = _said(error)
    return {item.name: found.get(item.name) or Narrowed(item.name, why=_not(why)) for item in wrong}


@contextmanager
def _past(phase: Phase) -> Iterator[Past]:
    """Restore the schema of the run's backup in a scratch database; drop it at the end.

    On the server on which backups are proven.
    """
    made, server = load_backup(phase), Target.parse(phase.params.proof_url())
    programs = tools(server, phase.params.database.tools, application_name=phase.application_name)
    with scratch.reserved(server, "past", phase.application_name, phase.say) as place:
        restore.restore_schema(
            made, place.target, phase.application_name, tools=programs, mark=place.mark, bare=True
        )
        yield Past(phase, made, place.target, programs, time.monotonic() + LONGEST_S)


def _one(past: Past, item: Compared, mixed: bool, limits: Limits) -> Narrowed:
    try:
        found = past.narrowed(item, limits)
    except TOLD as error:
        return Narrowed(item.name, why=_not(_said(error)))
    also = "rows that were written between backup and maintenance mode are among them"
    return replace(found, why="; ".join(filter(None, [found.why, also]))) if mixed else found


def _bytes(made: Backup, item: Compared) -> int:
    state = made.snapshot.tables.get(item.name)
    return state.total_bytes if state else 0


def _not(why: str) -> str:
    return f"could not be narrowed: {why}"


def _said(error: BaseException) -> str:
    return in_short(error).splitlines()[0]
