"""A run that was stopped says what the server does for it now, and nothing that was not asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.execute import _left_at_work
from runbook_lib.postgres.connection import Database, Target


@pytest.fixture
def run(database: str) -> Any:
    """What is asked of a run: its key, and the URL that its parameters lead to."""
    return SimpleNamespace(key="stopped", params=SimpleNamespace(database_url=lambda: database))


def test_sessions_that_still_work_are_named(run: Any, database: str) -> None:
    with Database(Target.parse(database), "runbook/stopped/migrate/prisma") as db:
        db.connection.execute("BEGIN")
        db.connection.pgconn.send_query(b"SELECT pg_sleep(30)")
        assert _left_at_work(run).endswith(f"in the sessions {db.pid}")
        db.cancel()


def test_nobody_at_work_is_said_once_the_server_said_so(run: Any) -> None:
    assert _left_at_work(run) == "the server works for this run no more"


def test_a_server_that_does_not_answer_leaves_it_unknown(run: Any) -> None:
    run.params.database_url = lambda: "postgresql://nobody@127.0.0.1:1/none"
    assert "is not known" in _left_at_work(run)
