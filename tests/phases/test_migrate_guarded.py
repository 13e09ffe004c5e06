"""The deployment among others who use the database: what the phase says is what the server
holds, nothing of ours is left, nobody is harmed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbook_lib.errors import GateError
from runbook_lib.phases.attempts import BY_GUARD
from runbook_lib.prisma import cli
from runbook_lib.prisma.cli import MigrationFailed
from tests.phases.conftest import MIGRATION_SLEEPS, MIGRATION_WAITS, Night, Statement, When

NAME = "20260201000000_next"
COLUMN = {NAME: 'ALTER TABLE "Patient" ADD COLUMN "seen" INTEGER;\n'}
READ, WRITE = (
    'SELECT count(*) FROM "Patient"',
    'UPDATE "Patient" SET "name" = "name" WHERE "id" = 1',
)
COLUMNS = (
    "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Patient' "
    "AND column_name = 'seen'"
)
Make = Callable[..., Night]


def expect_failed(night: Night, cause: str, sqlstate: str, *said: str) -> MigrationFailed:
    """The deployment fails, says why, and says of the history what the history says; nothing of
    it is left.
    """
    with pytest.raises(MigrationFailed) as caught:
        night.phase.deploy()
    error = caught.value
    assert (error.cause, error.sqlstate) == (cause, sqlstate), error
    for text in said:
        assert text in error.message, error.message
    unfinished = [name for name, state in night.history() if state == "unfinished"]
    assert f"failed: {', '.join(unfinished)}" in error.message and "90_rollback" in error.remedy
    assert night.left() == []
    return error


@pytest.mark.fault(
    "a session of others that waits for the migration",
    "before the first statement",
    "a file in one transaction",
    "the guard ends the migration; nothing landed, nobody harmed",
)
@pytest.mark.parametrize("held", [READ, WRITE])
def test_who_queues_behind_the_migration_is_let_through_by_its_end(night: Make, held: str) -> None:
    story = night(COLUMN, guard={"victims": 0, "wait_s": 0.3, "retries": 0})
    holder = story.holding(held)
    victim = When(story, MIGRATION_WAITS, lambda: Statement(story, READ))
    expect_failed(
        story,
        BY_GUARD,
        "57014",
        "cancelled by guard: 1 sessions of others had waited longer than 0.3 s",
        "monthly-report",
    )
    assert victim.get().ended_well()
    holder.execute("COMMIT")
    assert story.db().value(COLUMNS) == 0 and story.history() == [(NAME, "unfinished")]
    attempt = story.attempts()[0]
    assert (attempt["cause"], attempt["guard"][0]["victims"]) == (BY_GUARD, 1) and attempt["guard"][
        0
    ]["longest_wait_s"] > 0.3


def test_as_many_as_are_allowed_may_wait_and_the_migration_goes_on(night: Make) -> None:
    story = night(COLUMN, guard={"victims": 1, "wait_s": 0.1, "retries": 0})
    holder = story.holding(READ)
    victim = When(story, MIGRATION_WAITS, lambda: Statement(story, READ))
    end = When(
        story,
        "SELECT 1 FROM pg_locks WHERE NOT granted AND waitstart < now() - interval '1 s' "
        "AND mode = 'AccessShareLock'",
        lambda: holder.execute("COMMIT"),
    )
    assert "1 files applied" in story.phase.deploy().title
    assert (
        end.get() is not None
        and victim.get().ended_well()
        and story.history() == [(NAME, "finished")]
    )
    assert story.attempts()[0]["most_victims"] == 1 and story.attempts()[0]["guard"] == []


@pytest.mark.fault(
    "the migration, cancelled by the guard",
    "in the second of two files",
    "files, statement by statement",
    "tried again, and succeeds",
)
def test_a_file_that_rolls_back_whole_is_tried_again_and_succeeds_once_the_way_is_free(
    night: Make,
) -> None:
    story = night(
        {"20260115000000_before": 'CREATE TABLE "Note" ("id" INTEGER);\n'} | COLUMN, "statement"
    )  # of one statement: whole in both modes
    holder = story.holding(READ)
    victim = When(story, MIGRATION_WAITS, lambda: Statement(story, READ))
    released = When(
        story,
        'SELECT 1 FROM "_prisma_migrations" WHERE rolled_back_at IS NOT NULL',
        lambda: holder.execute("COMMIT"),
    )
    done = story.phase.deploy()
    assert "2 files applied" in done.title and "at attempt 2" in done.title
    assert (
        victim.get().ended_well() and released.get() is not None and story.db().value(COLUMNS) == 1
    )
    assert story.history() == [
        ("20260115000000_before", "finished"),
        (NAME, "rolled back"),
        (NAME, "finished"),
    ]
    assert [(one["outcome"], one["number"]) for one in story.attempts()] == [
        ("failed", 1),
        ("succeeded", 2),
    ] and story.left() == []


@pytest.mark.fault(
    "the migration, cancelled by the guard",
    "within a statement",
    "a file in one transaction",
    "rows proven unchanged before it is tried again",
)
def test_what_it_holds_is_let_go_and_its_rows_are_proven_unchanged_before_it_is_tried_again(
    night: Make,
) -> None:
    story = night(
        {
            NAME: 'UPDATE "Patient" SET "name" = \'x\';\nALTER TABLE "Patient" ADD COLUMN "seen" '
            "INTEGER;\nSELECT pg_sleep(15);\n"
        },
        guard={"victims": 0, "wait_s": 0.3, "retries": 1, "pause_s": 0.2},
    )
    victims = When(story, MIGRATION_SLEEPS, lambda: Statement(story, READ))
    again = When(
        story,
        f'{MIGRATION_SLEEPS} AND (SELECT count(*) FROM "_prisma_migrations" '
        f"WHERE migration_name = '{NAME}') = 2",
        lambda: Statement(story, WRITE),
    )
    expect_failed(story, BY_GUARD, "57014")
    assert victims.get().ended_well() and again.get().ended_well()
    assert (
        story.history() == [(NAME, "rolled back"), (NAME, "unfinished")]
        and story.db().value(COLUMNS) == 0
    )
    assert [one["not_again"] for one in story.attempts()] == [
        "",
        "it was tried again 1 times (`migrate.guard.retries`)",
    ]


@pytest.mark.fault(
    "the migration, cancelled by the guard",
    "between two statements",
    "a file, sent by {mode}",
    "not tried again: {why}",
)
@pytest.mark.parametrize(
    ("mode", "file", "why"),
    [
        (
            "statement",
            'ALTER TABLE "Visit" ADD COLUMN "seen" INTEGER;\nALTER TABLE "Patient" ADD COLUMN '
            '"seen" INTEGER;\n',
            "it cannot be told that",
        ),
        (
            "file",
            'UPDATE "Visit" SET "kind" = \'x\';\nALTER TABLE "Patient" ADD COLUMN "seen" '
            "INTEGER;\n",
            'the content of public."Visit" is not that of before',
        ),
    ],
)
def test_what_is_not_proven_to_have_left_nothing_is_not_tried_again(
    night: Make, mode: str, file: str, why: str
) -> None:
    story = night({NAME: file}, mode)
    story.db().execute("""INSERT INTO "Visit" VALUES (1000, 'somebody was late')""")
    story.holding(READ)
    victim = When(story, MIGRATION_WAITS, lambda: Statement(story, READ))
    expect_failed(story, BY_GUARD, "57014")
    assert (
        victim.get().ended_well()
        and len(story.attempts()) == 1
        and why in story.attempts()[0]["not_again"]
    )
    landed = story.db().value(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Visit' "
        "AND column_name = 'seen'"
    )
    assert landed == (1 if mode == "statement" else 0) and story.history() == [(NAME, "unfinished")]


@pytest.mark.fault(
    "a foreign lock, lock timeout",
    "before the first statement",
    "a file in one transaction",
    "named with who held it; nothing landed",
)
def test_a_lock_that_is_not_given_in_time_is_the_migrations_own_failure(night: Make) -> None:
    story = night(COLUMN, lock_timeout_s=0.5)
    holder = story.holding(WRITE)
    expect_failed(story, "lock timeout", "55P03", "held up by", "monthly-report")
    holder.execute("COMMIT")
    assert story.attempts()[0]["not_again"] == "only what the guard cancelled is tried again"


@pytest.mark.fault(
    "a foreign session that waits itself",
    "before the first statement",
    "a file in one transaction",
    "that one is named",
)
def test_it_waits_in_the_queue_behind_somebodys_waiting_statement_and_names_that_one(
    night: Make,
) -> None:
    story = night({NAME: 'CREATE INDEX "by_name" ON "Patient" ("name");\n'}, lock_timeout_s=0.7)
    holder = story.holding(READ)
    queued = Statement(
        story, 'LOCK TABLE "Patient" IN ACCESS EXCLUSIVE MODE; SELECT 1', "vacuum-job"
    )
    expect_failed(story, "lock timeout", "55P03", "vacuum-job")
    holder.execute("COMMIT")
    assert queued.ended_well()


@pytest.mark.fault(
    "a deadlock",
    "between two statements",
    "a file in one transaction",
    "the migration ends, the other goes on",
)
def test_a_deadlock_ends_the_migration_and_the_other_goes_on(night: Make) -> None:
    story = night(
        {
            NAME: (
                'ALTER TABLE "Visit" ADD COLUMN "seen" INTEGER;\nALTER TABLE "Patient" ADD COLUMN '
                '"seen" INTEGER;\n'
            )
        },
        guard={"wait_s": 15.0},
    )
    other = story.db("desk")
    other.execute(
        "SET deadlock_timeout = '15s'"
    )  # else it is a matter of chance who of the two is ended
    other.execute("BEGIN")
    other.execute(READ)
    inserted = When(
        story, MIGRATION_WAITS, lambda: other.execute("""INSERT INTO "Visit" VALUES (1001, 'x')""")
    )
    expect_failed(story, "deadlock", "40P01", "deadlock detected")
    assert inserted.get() == 1
    other.execute("COMMIT")
    assert story.db().value('SELECT count(*) FROM "Visit" WHERE id = 1001') == 1


@pytest.mark.fault(
    "a statement timeout",
    "within a statement",
    "a file, sent by {mode}",
    "named as that; what landed is what the mode says",
)
@pytest.mark.parametrize("mode", ["file", "statement"])
def test_a_statement_that_takes_too_long_is_no_doing_of_the_guard(night: Make, mode: str) -> None:
    story = night(
        {NAME: 'ALTER TABLE "Visit" ADD COLUMN "seen" INTEGER;\nSELECT pg_sleep(15);\n'},
        mode,
        statement_timeout_s=1.0,
    )
    expect_failed(story, "statement timeout", "57014", "statement timeout")
    landed = story.db().value(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Visit' "
        "AND column_name = 'seen'"
    )
    assert landed == (1 if mode == "statement" else 0)


@pytest.mark.fault(
    "the watch's session, terminated",
    "before the first statement",
    "a file in one transaction",
    "it takes another, guards on, and says so",
)
def test_a_watch_that_lost_its_session_takes_another_and_guards_on_and_that_is_said(
    night: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    story = night(COLUMN, guard={"victims": 0, "wait_s": 2.5, "retries": 0})
    story.holding(READ)
    watch = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'runbook/%/migrate-watch'"
    )
    lost = When(story, MIGRATION_WAITS, lambda: (Statement(story, READ), story.db().execute(watch)))
    expect_failed(story, BY_GUARD, "57014")
    assert (
        lost.get()[0].ended_well()
        and "nobody guards the migration until it goes on" in capsys.readouterr().out
    )
    assert [
        len(line["reasons"])
        for line in story.phase.run.read_journal()
        if line["what"] == "watch interrupted"
    ] == [1]


@pytest.mark.fault(
    "a second runner",
    "before the first statement",
    "a file in one transaction",
    "told who is at work; touches nothing",
)
def test_a_second_runner_is_told_who_is_at_work_and_touches_nothing(night: Make) -> None:
    story = night(COLUMN)
    holder, second = story.holding(READ), story.again()

    def try_too() -> str:
        with pytest.raises(GateError) as caught:
            second.deploy()
        holder.execute("COMMIT")
        return caught.value.message

    refused = When(story, MIGRATION_WAITS, try_too)
    assert "1 files applied" in story.phase.deploy().title
    assert (
        f"application “{story.phase.application_name}” from 127.0.0.1, connected since 20"
        in refused.get()
    )
    assert story.history() == [(NAME, "finished")] and story.left() == []


@pytest.mark.fault(
    "another deployer",
    "between the gate and the deployment",
    "a file in one transaction",
    "not applied again, and said",
)
def test_what_somebody_else_has_applied_since_the_gate_is_not_applied_again(night: Make) -> None:
    story = night(COLUMN)
    cli.deploy(story.phase.project, story.url)
    assert story.phase.deploy().title == "Already applied: nothing is pending"
    assert story.history() == [(NAME, "finished")] and [
        one["files"] for one in story.phase.run.read_journal() if one["what"] == "applied already"
    ] == [[NAME]]


@pytest.mark.fault(
    "another deployer's file",
    "between the gate and the deployment",
    "a file in one transaction",
    "not applied",
)
def test_a_file_that_the_plan_does_not_know_is_not_applied(night: Make) -> None:
    story = night(COLUMN)
    added = story.phase.project.migrations / "20260301000000_added"
    added.mkdir()
    (added / "migration.sql").write_text("SELECT 1;\n")
    with pytest.raises(GateError, match="20260301000000_added"):
        story.phase.deploy()
    assert story.history() == []
