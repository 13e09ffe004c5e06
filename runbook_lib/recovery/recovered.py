"""A server that was brought up beside the live one, and the proof that it stopped at the point."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runbook_lib.check import Check, Checks, check, unknown
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.target import Target
from runbook_lib.recovery.point import RestorePoint, position
from runbook_lib.table import Shown, Table

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recovered(Shown):
    """A recovered server, beside the live one.

    Args:
        target: the database on it.
        basis: what it was recovered from.
        seconds: what that took; `None` where an earlier attempt had brought it up.
        proof: that it is the right server and stopped at the point.
    """

    point: RestorePoint
    target: Target
    basis: str
    seconds: float | None
    proof: Checks

    def table(self) -> Table:
        """Where it is and how it was proven."""
        rows = [
            ("database", str(self.target)),
            ("recovered from", self.basis),
            ("seconds", self.seconds),
            *((c.title, c.found) for c in self.proof),
        ]
        return Table(f"Recovered to {self.point.label}", ("what", "value"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "point": self.point.as_dict(),
            "target": str(self.target),
            "basis": self.basis,
            "seconds": self.seconds,
            "proof": [one.as_dict() for one in self.proof],
        }


def prove(
    target: Target,
    live: Target | None,
    point: RestorePoint,
    system_identifier: str,
    application_name: str,
) -> Checks:
    """Check that the server of `target` is a copy of the pinned one that stopped at the point.

    It must not be the live one.

    Args:
        live: `None` where the server of `target` is known to be a process of our own.

    Raises:
        DatabaseError: it does not answer.
        CheckError: it is not what it should be, or that could not be proven.
    """
    with Database(target, application_name, statement_timeout="60s") as db:
        found = db.row(query("recovery_server")) or {}
    return Checks(
        "The recovered server",
        [
            check(
                "recovered.cluster",
                "it is a copy of the pinned server",
                found["system_identifier"] == system_identifier,
                f"system identifier {found['system_identifier']}",
                system_identifier,
                "recover the server that the run pinned",
            ),
            *([_another(live, found["started_at"], application_name)] if live else []),
            check(
                "recovered.promoted",
                "its recovery has ended",
                not found["in_recovery"],
                "in recovery" if found["in_recovery"] else "promoted",
                "promoted",
                "let it promote at the target: recovery_target_action = promote",
            ),
            _stopped(point, found["replayed"]),
        ],
    ).require()


def await_promotion(
    target: Target, application_name: str, deadline_s: float, say: Say | None = None
) -> None:
    """Wait until a server answers and has ended its recovery.

    Raises:
        DatabaseError: it does neither in time.
    """
    deadline, told = time.monotonic() + deadline_s, 0.0
    while True:
        try:
            with Database(target, application_name, statement_timeout="60s") as db:
                if not db.value("SELECT pg_is_in_recovery()"):
                    return
                state = f"in recovery, at {db.value('SELECT pg_last_wal_replay_lsn()')}"
        except DatabaseError as error:
            state = error.message
        now = time.monotonic()
        if now > deadline:
            raise DatabaseError(
                f"the recovered server at {target} has not ended its recovery after "
                f"{deadline_s:.0f} s: {state}",
                "read its log",
            )
        if say and now - told > 5:
            say(f"waiting for the recovered server: {state}")
            told = now
        time.sleep(0.2)


def _another(live: Target, started_at: Any, application_name: str) -> Check:
    """The live server has the same identifier, and may be down.

    It is told by when it was started.
    """
    id, title = "recovered.another", "it is not the live server"
    try:
        with Database(live, application_name, statement_timeout="60s") as db:
            same = db.value("SELECT pg_postmaster_start_time()") == started_at
    except DatabaseError as error:
        down = not error.sqlstate and "FATAL" not in error.message
        return (
            check(id, title, True, "another server: the live one does not answer", "another server")
            if down
            else unknown(id, title, error.message)
        )
    return check(
        id,
        title,
        not same,
        "the live server" if same else "another server",
        "another server",
        "correct `recovery.url`",
    )


def _stopped(point: RestorePoint, replayed: str | None) -> Check:
    """A named point is the last record that was replayed.

    Up to a mere LSN, the last record that ends before it is.
    """
    id, title, expected = (
        "recovered.point",
        "it stopped at the restore point",
        f"LSN {point.lsn}" if point.name else f"at or before LSN {point.lsn}",
    )
    if replayed is None:
        return unknown(
            id,
            title,
            "the server does not say where its recovery ended",
            expected,
            "do not restart it between recovery and proof",
        )
    reached = (
        position(replayed) == point.position if point.name else position(replayed) <= point.position
    )
    return check(
        id,
        title,
        reached,
        f"LSN {replayed}",
        expected,
        "recover to this point: name, LSN and time are in evidence/restore_point.json",
    )
