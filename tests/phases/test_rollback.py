"""The ways back: what landed, what each way would lose, and the person who is told before
anything is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib import gate, params
from runbook_lib.check import Checks, Status, check
from runbook_lib.errors import ApprovalNeeded, CheckError
from runbook_lib.phases import price
from runbook_lib.phases.backup import without
from runbook_lib.phases.rollback import Rollback
from runbook_lib.postgres import catalog, dump, snapshot, writers
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma.transactions import TransactionRule
from runbook_lib.run import create

ROOT = Path(__file__).resolve().parents[2]
FILE = "20260101000000_add"
TABLES = """
    CREATE TABLE _prisma_migrations (id text, checksum text, finished_at timestamptz,
        migration_name text, logs text, rolled_back_at timestamptz,
                                     started_at timestamptz DEFAULT now(),
                                         applied_steps_count int DEFAULT 0);
    CREATE TABLE "Visit" (id int PRIMARY KEY, note text);
    INSERT INTO "Visit" SELECT g, 'fictitious ' || g FROM generate_series(1, 20) AS g;
"""


class Example(Rollback):
    """A rollback of a run that was brought to this point by the test."""

    gone: list[str]

    def go_back(self) -> Any:
        self.require_gate("rollback")
        return self.way


@pytest.fixture
def phase(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """A run whose backup is made and whose state before is fixed, right before its one file is
    applied.
    """
    monkeypatch.setenv("ROLLBACK_URL", database)
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"], values["database"]["url"] = (
        str(tmp_path / "archive"),
        "env:ROLLBACK_URL",
    )
    values["service"] = None
    (tmp_path / "migrations" / FILE).mkdir(parents=True)
    (tmp_path / "migrations" / FILE / "migration.sql").write_text(
        'ALTER TABLE "Visit" ADD COLUMN room text;'
    )
    run = create(
        values, [FILE], {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
    )
    made = Example(run)
    made.__dict__["project"] = SimpleNamespace(
        migrations=tmp_path / "migrations", transaction_rule=TransactionRule.EACH_IF_PARSED
    )
    made._resumed, made._fired = (
        None,
        Checks(
            "fired", [check("trigger.migration", "the migration did not fail", False, "failed")]
        ),
    )
    write(made, TABLES)
    back_up(made, tmp_path / "backup")
    fix(made)
    yield made
    made._give_back()


def back_up(phase: Rollback, folder: Path) -> None:
    made = dump.make(phase.target, folder, "tests", tools=tools(phase.target))
    phase.run.write_evidence(
        "backup",
        {
            "folder": str(folder),
            "sha256": made.sha256,
            "proven_at": "2026-01-01T00:00:00Z",
            "proven_on": "here",
            "restore_s": 70.0,
            "way_back_s": 90.0,
        },
    )


def fix(phase: Rollback) -> None:
    """The state before the migration, and what its rehearsal promised."""
    change = {"kind": "column", "name": 'public."Visit".room', "action": "added", "property": ""}
    phase.run.write_evidence(
        "plan", {"hash": "p", "files": {FILE: "x"}, "declared": {"changes": [change], "rows": {}}}
    )
    before = catalog.read(phase.db)
    phase.run.write_evidence("before.counters", writers.counters(phase.db))
    phase.run.write_evidence("before.catalog", before)
    phase.run.write_evidence(
        "before.snapshot",
        snapshot.take(phase.target, "tests", columns={'public."Visit"': [["id", "note"]]}),
    )
    with phase.db.connection.transaction(force_rollback=True):
        phase.db.execute('ALTER TABLE "Visit" ADD COLUMN room text')
        phase.run.write_evidence(
            "promise", {"difference": catalog.difference(before, catalog.read(phase.db)).as_dict()}
        )


def migrate(phase: Rollback, finished: bool = True) -> None:
    """The file landed; Prisma knows of it, or died before it could say so."""
    phase.run.journal("migration begun", files=[FILE])
    phase.db.execute('ALTER TABLE "Visit" ADD COLUMN room text')
    phase.db.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) "
        "VALUES ('1', 'x', %s, CASE WHEN %s THEN now() END)",
        [FILE, finished],
    )


def write(phase: Rollback, statement: str) -> None:
    """Somebody else's write, whose counters are reported because the session has ended."""
    with Database(Target.parse(phase.params.database_url()), "front desk") as desk:
        pid = desk.pid
        desk.execute(statement)
    while phase.db.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]):
        time.sleep(0.01)


def possible(phase: Rollback) -> dict[str, str]:
    """Way → what it would lose, of the ways that are possible."""
    return {option.way: option.loses for option in phase.options if not option.impossible}


def test_where_nothing_landed_the_record_is_closed_and_nothing_is_lost(phase: Example) -> None:
    assert phase.landed.nothing and phase.way == "resolve"
    assert possible(phase) == {"resolve": "", "restore": ""}


def test_where_everything_landed_and_prisma_does_not_know_it_a_person_may_lead_forward(
    phase: Example,
) -> None:
    migrate(phase, finished=False)
    assert phase.landed.failed == (FILE,) and phase.landed.replayed.answer == "all"
    assert possible(phase) == {"forward": "", "restore": ""} and phase.way == "restore"
    gate.approve(phase.run, "rollback", "it has all landed", way="forward")
    phase.decide()
    assert phase.go_back() == "forward"


def test_a_migration_that_is_still_at_work_lets_nobody_go_anywhere(phase: Example) -> None:
    migrate(phase, finished=False)
    with Database(phase.target, "some deployment") as other:
        other.execute("SELECT pg_advisory_lock(72707369)")
        assert (
            "(some deployment) holds Prisma's lock" in phase.landed.at_work[0]
            and possible(phase) == {}
        )
        with pytest.raises(CheckError, match="still at work"):
            gate.approve(phase.run, "rollback", "hurry")
            phase.decide()


def test_writes_of_both_spans_are_priced_by_table_and_the_migrations_own_are_not(
    phase: Example,
) -> None:
    write(
        phase, "INSERT INTO \"Visit\" VALUES (21, 'late'), (22, 'late')"
    )  # after the backup, before the migration
    fix(phase)
    migrate(phase)
    write(
        phase, 'UPDATE "Visit" SET note = \'after\' WHERE id < 4; DELETE FROM "Visit" WHERE id = 9'
    )
    earlier, after = (
        'public."Visit": +2 rows',
        'public."Visit": -1 rows; by the counters 3 updated, 1 deleted',
    )
    assert possible(phase)["restore"] == f"{earlier}; {after}"
    assert phase.losses.words("point-in-time") == after and phase.losses.wal_bytes > 0
    assert "+2 rows" in str(phase.losses) and "3 updated, 1 deleted" in phase.losses._repr_html_()


def test_a_restore_takes_what_its_proof_took(phase: Example) -> None:
    restore = next(option for option in phase.options if option.way == "restore")
    assert restore.seconds == 90.0 and "1 min 30 s" in str(phase.price())


def test_a_way_that_loses_writes_stops_until_the_person_was_told_of_them(phase: Example) -> None:
    migrate(phase)
    write(phase, "INSERT INTO \"Visit\" VALUES (30, 'after')")
    gate.approve(phase.run, "rollback", "orphans")
    with pytest.raises(
        ApprovalNeeded,
        match=r'(?s)given before that was known.*would be lost: public."Visit": \+1 rows; by the '
        r"counters 1 inserted",
    ):
        phase.decide()
    with pytest.raises(Exception, match="was not passed"):
        phase.go_back()
    gate.approve(phase.run, "rollback", "the one visit is on paper")
    phase.decide()
    assert phase.go_back() == "restore"


def test_who_was_told_of_one_tables_writes_has_not_accepted_anothers(
    phase: Example, tmp_path: Path
) -> None:
    write(phase, 'CREATE TABLE "Bill" (id int)')
    back_up(phase, tmp_path / "second")
    fix(phase)
    migrate(phase)
    write(phase, "INSERT INTO \"Visit\" VALUES (30, 'after')")
    gate.approve(phase.run, "rollback", "orphans")
    with pytest.raises(ApprovalNeeded):
        phase.decide()
    gate.approve(phase.run, "rollback", "the one visit is on paper")
    write(phase, 'INSERT INTO "Bill" VALUES (1)')
    with pytest.raises(
        ApprovalNeeded, match=r'(?s)given before that was known.*public."Bill": \+1 rows'
    ):
        phase.decide()


@pytest.fixture
def slot(phase: Example) -> Iterator[str]:
    """A logical replication slot on the run's database."""
    phase.db.execute("SELECT pg_create_logical_replication_slot('cdc_feed', 'pgoutput')")
    yield "cdc_feed"
    phase.db.execute("SELECT pg_drop_replication_slot('cdc_feed')")


def test_who_follows_the_database_is_told_of_before_the_decision(phase: Example, slot: str) -> None:
    migrate(phase)
    assert f"logical replication slot {slot}" in str(phase.price())
    gate.approve(phase.run, "rollback", "orphans")
    with pytest.raises(ApprovalNeeded, match=f"{slot}: it stays with the old database"):
        phase.decide()
    gate.approve(phase.run, "rollback", "the feed begins anew tomorrow")
    phase.decide()
    assert phase.go_back() == "restore"


def test_what_a_swap_would_wait_for_is_told_before_the_restore(phase: Example) -> None:
    migrate(phase)
    gate.approve(phase.run, "rollback", "orphans")
    with Database(phase.target, "booking") as other:
        other.execute("BEGIN; INSERT INTO \"Visit\" VALUES (77, 'x'); PREPARE TRANSACTION 'p1'")
        try:
            with pytest.raises(CheckError, match="prepared transaction 'p1'"):
                phase.decide()
        finally:
            other.execute("ROLLBACK PREPARED 'p1'")


def test_what_is_not_known_is_not_nothing(phase: Example) -> None:
    migrate(phase)
    phase.db.execute("SELECT pg_stat_reset()")
    assert phase.losses.words("restore").startswith(
        'may lose writes of public."Visit": the server\'s counters began anew since then'
    )
    with pytest.raises(ApprovalNeeded, match="began anew"):
        phase.decide()


def test_a_way_that_is_not_possible_is_refused_with_its_reason(phase: Example) -> None:
    migrate(phase)
    gate.approve(phase.run, "rollback", "quick", way="resolve")
    with pytest.raises(CheckError, match="`resolve` can be taken — failed: something landed"):
        phase.decide()


def test_a_damaged_backup_is_not_gone_back_to(phase: Example) -> None:
    migrate(phase)
    gate.approve(phase.run, "rollback", "orphans")
    folder = Path(phase.run.read_evidence("backup")["folder"])
    (folder / "schema.sql").write_text("damaged")
    with pytest.raises(CheckError, match="every file of the backup"):
        phase.decide()


@pytest.mark.parametrize("name", ["healthcare", "h" * 63, "Größe" * 9])
def test_the_databases_of_a_swap_have_names_that_postgresql_keeps_whole(
    phase: Example, name: str
) -> None:
    phase.__dict__.update(target=phase.target.named(name), way="restore")
    names = phase._names(SimpleNamespace(folder="x"))
    assert all(len(names[key].encode()) <= 63 for key in ("restored", "failed"))
    assert (
        names["restored"].endswith(f"_restored_{phase.run.key.lower()}")
        and len({names[key] for key in ("live", "restored", "failed")}) == 3
    )


def test_every_way_is_on_the_command_line() -> None:
    assert price.WAYS == ("resolve", "forward", "restore", "point-in-time")


def test_what_a_way_back_would_lack_is_said_before_the_decision_and_after_it_how_it_comes_back(
    phase: Example,
) -> None:
    stored = phase.run.read_evidence("backup")
    assert "nothing to check" in without(phase.run).found
    do = "after a restore, as a superuser: CREATE EXTENSION pg_stat_statements;"
    lacking = [{"what": "extension pg_stat_statements (permission denied)", "do": do}]
    phase.run.write_evidence("backup", stored | {"without": lacking})
    phase.__dict__["way"] = "restore"
    told = {one.id: one for one in phase._swap_checks()}
    assert told["rollback.without"].status is Status.PASSED and do in told["rollback.without"].found
    assert told["rollback.sessions"].status is Status.PASSED
    assert (do,) in phase.retry_plan().rows
