"""Ending a session that is in the way of the migration: only that one, only where it may be, and
with a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runbook_lib.errors import DatabaseError, GateError, UsageError
from runbook_lib.phases.troubleshoot import Troubleshoot
from runbook_lib.postgres import locks
from runbook_lib.postgres.connection import Database, Target
from tests.phases.conftest import MIGRATION_WAITS, Night, Statement, When

NEXT = {"20260201000000_next": 'ALTER TABLE "Patient" ADD COLUMN "seen" INTEGER;\n'}
Make = Callable[..., Night]


@pytest.fixture
def story(night: Make) -> Iterator[Night]:
    """A night in which a clerk, who is no superuser, may read."""
    made = night(NEXT)
    db = made.db()
    db.execute(
        "CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT SELECT "
        "ON ALL TABLES IN SCHEMA public TO clerk"
    )
    yield made
    made.others.close()
    with Database(Target.parse(made.url)) as db:
        db.execute("DROP OWNED BY clerk; DROP ROLE clerk")


def clerk(story: Night) -> Database:
    """The clerk's session, whose transaction stays open."""
    target = Target.parse(story.url)
    db = story.others.enter_context(
        Database(Target(target.host, target.port, "clerk", target.database, "clerk"), "report")
    )
    db.execute("BEGIN")
    db.execute('SELECT count(*) FROM "Patient"')
    return db


def test_a_forgotten_transaction_is_ended_by_name_and_the_migration_goes_on(story: Night) -> None:
    forgotten, bystander = clerk(story), clerk(story)
    bystander.execute("COMMIT")
    helper = Troubleshoot(story.phase.run)
    story.others.callback(helper._give_back)
    ended = When(
        story, MIGRATION_WAITS, lambda: helper.end_blocker(forgotten.pid, "its owner was asked")
    )
    assert "1 files applied" in story.phase.deploy().title
    assert (
        ended.get().title == f"Session {forgotten.pid} was ended"
        and bystander.value("SELECT 1") == 1
    )
    with pytest.raises(DatabaseError):
        forgotten.value("SELECT 1")
    said = [line for line in story.phase.run.read_journal() if line["what"].startswith("blocker")]
    assert [line["what"] for line in said] == ["blocker is ended", "blocker ended"] and said[1][
        "how"
    ] == "ended"
    assert (
        said[0]["reason"] == "its owner was asked"
        and said[0]["who"]
        and "application “report”" in said[0]["session"]
    )


def test_nobody_is_ended_who_is_not_in_the_way_or_is_ours_or_a_superusers(story: Night) -> None:
    helper, reader = Troubleshoot(story.phase.run), clerk(story)
    story.others.callback(helper._give_back)
    with pytest.raises(UsageError, match="needs a reason"):
        helper.end_blocker(reader.pid, " ")
    with pytest.raises(GateError, match="not in the way"):
        helper.end_blocker(reader.pid, "x")
    reader.execute("COMMIT")
    ours, root = (
        story.holding('SELECT count(*) FROM "Patient"', "runbook/other/backup"),
        story.holding('SELECT count(*) FROM "Patient"', "psql"),
    )
    migration = Statement(
        story, 'ALTER TABLE "Patient" ADD COLUMN "seen" INTEGER', story.phase.prisma_name
    )
    victim = Statement(story, 'SELECT count(*) FROM "Patient"')
    When(story, "SELECT 1 FROM pg_locks WHERE NOT granted HAVING count(*) = 2", lambda: True).get()
    assert {one.pid for one in locks.blockers(helper.db).roots} == {ours.pid, root.pid}
    for pid, why in (
        (ours.pid, "one of the runbook's"),
        (root.pid, "a superuser's"),
        (victim.db.pid, "not in the way"),
        (migration.db.pid, "not in the way"),
    ):
        with pytest.raises(GateError, match=why):
            helper.end_blocker(pid, "x")
    assert not [
        line for line in story.phase.run.read_journal() if line["what"].startswith("blocker")
    ]
    for one in (ours, root):
        one.execute("COMMIT")
    assert migration.ended_well() and victim.ended_well()
