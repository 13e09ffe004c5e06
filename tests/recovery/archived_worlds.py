"""A server that archives its WAL, and a point between two writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import health, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.recovery import point
from runbook_lib.recovery.base import BaseBackup
from runbook_lib.recovery.local import Local
from runbook_lib.recovery.point import RestorePoint

NAME = "runbook/test/recovery"
BEFORE = """CREATE TABLE visit (id int PRIMARY KEY, note text);
            INSERT INTO visit SELECT i, 'fictitious ' || i FROM generate_series(1, 100) AS i"""
AFTER = """INSERT INTO visit SELECT i, 'later ' || i FROM generate_series(101, 150) AS i;
           ALTER TABLE visit DROP COLUMN note; CREATE TABLE later ();
           SELECT pg_switch_wal()"""


@dataclass(frozen=True)
class Day:
    """Rows, the point, more rows and a changed table.

    Args:
        before, live: what the database held at the point, and what it holds since.
    """

    target: Target
    point: RestorePoint
    before: snapshot.Snapshot
    live: snapshot.Snapshot

    def untouched(self) -> bool:
        """Whether the live server holds what it held."""
        return self.live.compare(snapshot.take(self.target, NAME)).identical

    def is_before(self, target: Target) -> bool:
        """Whether a database holds what was there at the point, and nothing later."""
        return self.before.compare(snapshot.take(target, NAME)).identical


@dataclass(frozen=True)
class World:
    """A day of a server that archives into a folder seen from here.

    Args:
        base: made before the rows.
    """

    server: Server
    local: Local
    base: BaseBackup
    day: Day


def identifier(target: Target) -> str:
    """The system identifier of a server."""
    with Database(target, NAME) as db:
        return health.server_facts(db).system_identifier


def live(target: Target, name: str = "runbook_test") -> Day:
    """Let a day pass."""
    with Database(target, NAME) as db:
        db.execute(BEFORE)
        before = snapshot.take(target, NAME)
        made = point.make(db, name)
        db.execute(AFTER)
    return Day(target, made, before, snapshot.take(target, NAME))


def archiving(folder: Path, wal: Path) -> Server:
    """A server that copies its WAL into a folder."""
    return Server(
        folder,
        {
            "fsync": "off",
            "archive_mode": "on",
            "archive_command": f'test ! -f {wal}/%f && cp "%p" {wal}/%f',
        },
    ).start()
