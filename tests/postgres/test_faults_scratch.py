"""Every use of a scratch database, disturbed at each statement of its maintenance sessions: no
copy is left that is not found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import RunbookError
from runbook_lib.phases.rollback import RESTORED
from runbook_lib.postgres import databases, dump, scratch
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.restore import prove, restore, restore_schema
from runbook_lib.postgres.tools import Tools

NAME = "runbook/test/faults/scratch"


@pytest.fixture(scope="module")
def small(
    server: Server, programs: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backup]:
    """The backup of a database with one table."""
    target = Target.parse(server.url()).named("small")
    with Database(Target.parse(server.url()), "source") as admin:
        admin.execute("CREATE DATABASE small TEMPLATE template0")
        with Database(target, NAME) as db:
            db.execute("CREATE TABLE t AS SELECT 1 AS id")
        yield dump.make(target, tmp_path_factory.mktemp("small") / "b", NAME, tools=programs)
        admin.execute("DROP DATABASE small WITH (FORCE)")


def made(server: Target, backup: Backup, programs: Tools) -> None:
    with scratch.scratch(server, "try", NAME) as place:
        Database(place)


def copied(server: Target, backup: Backup, programs: Tools) -> None:
    with (
        scratch.scratch(server, "first", NAME) as place,
        scratch.scratch(server, "second", NAME, place.database),
    ):
        pass


def proven(server: Target, backup: Backup, programs: Tools) -> None:
    prove(backup, server, NAME, tools=programs, jobs=1)


def schema_only(server: Target, backup: Backup, programs: Tools) -> None:
    with scratch.reserved(server, "replay", NAME) as place:
        restore_schema(backup, place.target, NAME, tools=programs, mark=place.mark)


def beside(server: Target, backup: Backup, programs: Tools) -> None:
    place = server.named("small_restored")
    restore(backup, place, NAME, tools=programs, jobs=1, mark=f"{RESTORED}a run")
    with databases.maintenance(server, NAME) as admin:
        databases.drop(admin, "small_restored")


def terminated(db: Database) -> None:
    """The server ends the session."""
    with Database(db.target, "killer") as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [db.pid])


def interrupted(db: Database) -> None:
    """A person ends the program."""
    raise KeyboardInterrupt


def slow(db: Database) -> None:
    """The statement runs into its timeout."""
    db.connection.execute("SET statement_timeout = '1ms'")


Use = Callable[[Target, Backup, Tools], None]


class Disturbed:
    """Lets something happen before one statement of the sessions on the maintenance database,
    counted from the first.

    Args:
        at: which; none where it is 0.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, at: int, happens: Callable[[Database], None]
    ) -> None:
        self.at, self.happens, self.count = at, happens, 0
        for name in ("rows", "execute"):
            patch.setattr(Database, name, self._before(getattr(Database, name)))

    def _before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def disturbed(db: Database, *arguments: Any) -> Any:
            if db.target.database == "postgres" and db.application_name == NAME:
                self.count += 1
                if self.count == self.at:
                    self.happens(db)
            return real(db, *arguments)

        return disturbed


@pytest.mark.fault(
    "a scratch database's session, {happens}",
    "each step of its use: {use}",
    "the rehearsal's and the proof's copies",
    "no copy is left that is not found",
)
@pytest.mark.parametrize("happens", [terminated, interrupted, slow])
@pytest.mark.parametrize("use", [made, copied, proven, schema_only, beside])
def test_whatever_step_is_disturbed_no_copy_is_left_that_is_not_found(
    server: Server,
    small: Backup,
    programs: Tools,
    monkeypatch: pytest.MonkeyPatch,
    use: Use,
    happens: Callable[[Database], None],
) -> None:
    target = Target.parse(server.url()).named("small")
    monkeypatch.setattr(scratch, "_UNMARKED", timedelta(0))
    with monkeypatch.context() as patch:
        steps = Disturbed(patch, 0, happens)
        use(target, small, programs)
    with Database(target.named("postgres"), "looking") as admin:
        before = databases.entries(admin).keys()
        each = 1 if use is made else 3
        for at in range(1, steps.count + 1, each):
            with monkeypatch.context() as patch:
                Disturbed(patch, at, happens)
                try:
                    use(target, small, programs)
                except (RunbookError, KeyboardInterrupt) as error:
                    assert happens is not interrupted or isinstance(error, KeyboardInterrupt)
            cleared(admin)
            assert databases.entries(admin).keys() == before, f"statement {at} of {steps.count}"


def cleared(admin: Database) -> None:
    """What `runbook prune` and the next run do: drop what no living session has made; those that
    were disturbed have ended.
    """
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, %s)"
    while admin.value(sessions, [NAME]):
        time.sleep(0.01)
    scratch.clear(admin)
    for one in databases.entries(admin).values():
        unfinished = one.comment.startswith(databases.UNFINISHED) and not one.maker_alive
        if unfinished or one.comment.startswith(RESTORED):
            databases.drop(admin, one.name)
