"""Whether the database is as fast after the migration as before: windows, statements, plans."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runbook_lib import gate, params
from runbook_lib.check import Check, Checks, Status, unknown
from runbook_lib.errors import ApprovalNeeded, CheckError, UsageError
from runbook_lib.phases import baseline
from runbook_lib.phases.announce import Announce
from runbook_lib.phases.backup import BackupPhase
from runbook_lib.phases.base import Phase
from runbook_lib.phases.preflight import Preflight
from runbook_lib.phases.regression import Compared, pairs
from runbook_lib.phases.validate import Validate
from runbook_lib.postgres import plans, statistics
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.plans import Measured
from runbook_lib.postgres.windows import Calls
from runbook_lib.prisma import cli
from runbook_lib.prisma.project import Project
from runbook_lib.surroundings import Statement
from tests.phases.conftest import enter
from tests.prisma.conftest import INIT, Make

NAME = "Fictitious 7777"
BY_NAME = f"""SELECT "id" FROM "Patient" WHERE "name" = '{NAME}'"""
COUNT = 'SELECT count(*) FROM "Patient"'
STATEMENTS = [
    {"name": "a patient by name", "sql": BY_NAME},
    {"name": "all patients", "sql": COUNT, "max_ms": 60000},
]
DROPS = INIT | {
    "20260201000000_index": 'CREATE INDEX "Patient_name_idx" ON "Patient"("name");\n',
    "20260202000000_no_index": 'DROP INDEX "Patient_name_idx";\n',
}


@dataclass
class Story:
    """A run before and after a migration.

    Args:
        url: of the database.
        backup: the phase that reads the state before.
    """

    url: str = field(repr=False)
    project: Project
    backup: BackupPhase
    db: Database
    phases: list[Phase] = field(default_factory=list)

    def before(self) -> None:
        """From the backup to right before the migration, with the application at work."""
        self.backup.metrics()
        self.backup.statements()
        self.use()
        self.phases.append(announce := Announce(self.backup.run))
        announce._passed.add("announce")
        announce.fix_the_state_before()

    def migrated(self) -> Validate:
        """Right after the migration; then the application is at work again, and the validation
        begins.
        """
        self.backup.run.write_evidence("migrated.statistics", statistics.read(self.db))
        self.use()
        self.phases.append(phase := Validate(self.backup.run))
        return phase

    def use(self) -> None:
        """What the application does."""
        for _ in range(6):
            self.db.rows(BY_NAME)

    def evidence(self) -> str:
        """All that the run keeps."""
        return "".join(path.read_text() for path in (self.backup.run.folder / "evidence").iterdir())


@pytest.fixture
def story(make: Make, deployed: str, opened: Callable[..., Any]) -> Iterator[Callable[..., Story]]:
    """Makes a story: a table of patients with an index on their names, and a pending migration
    that drops it.
    """
    stories: list[Story] = []

    def made(extension: bool = True, **validate: Any) -> Story:
        project = make(DROPS)
        db = Database(Target.parse(deployed), "application")
        db.execute(
            'CREATE INDEX "Patient_name_idx" ON "Patient"("name"); INSERT INTO "Patient" SELECT '
            "g, 'Fictitious ' || g FROM generate_series(1, 30000) AS g"
        )
        db.execute('VACUUM ANALYZE "Patient"')
        if extension:
            db.execute("CREATE EXTENSION pg_stat_statements")
        enter(deployed, project, "20260201000000_index")
        section = {"statements": STATEMENTS} | validate
        backup = opened(BackupPhase, project, deployed, validate=section)
        backup.run.write_evidence("plan", {"declared": baseline.NOTHING.as_dict()})
        stories.append(Story(deployed, project, backup, db))
        return stories[-1]

    yield made
    for one in stories:
        for phase in one.phases:
            phase._give_back()
        one.db.close()


def by_id(checks: Any) -> dict[str, Check]:
    return {item.id: item for item in checks}


def test_a_statement_that_loses_its_index_fails_the_validation_and_both_plans_are_shown(
    story: Callable[..., Story],
) -> None:
    here = story()
    here.before()
    cli.deploy(here.project, here.url)
    validate = here.migrated()
    found = by_id(validate.performance())
    assert (
        found["performance.plan.1"].status is Status.FAILED
        and "it has regressed" in found["performance.plan.1"].found
    )
    assert found["performance.plan.2"].status is Status.PASSED
    for said in (str(validate.plans), validate.plans._repr_html_()):
        assert (
            "Index Scan using Patient_name_idx on Patient" in said.replace("Only ", "")
            or "Bitmap Index Scan using Patient_name_idx" in said
        )
        assert (
            "Seq Scan on Patient" in said
            and "before the migration" in said
            and "all patients: " not in said
        )
    assert "Regressed: a patient by name" in validate.statement_times().title
    with pytest.raises(CheckError) as refused:
        validate.require()
    assert "performance.plan.1" in refused.value.failed
    assert (
        found["performance.queries"].status is Status.UNKNOWN
        and '"name" = $1' in found["performance.queries"].found
    )
    assert "slower" in str(validate.queries())
    assert ("removed" in str(validate.indexes())) and NAME not in here.evidence() + str(
        validate.queries()
    ) + str(validate.plans)


def test_without_a_change_nothing_has_regressed(story: Callable[..., Story]) -> None:
    here = story()
    here.before()
    validate = here.migrated()
    checks = validate.performance()
    found = by_id(checks)["performance.queries"].found
    assert checks.passed and found.startswith("1 compared, 0 new"), str(checks)
    assert len(validate.plans.shown()) == 1 and "as before" in str(validate.queries())
    assert "No named statement has regressed" in validate.statement_times().title
    assert (
        "cache hit ratio" in str(validate.counters())
        and "could not check" not in str(validate.missing_indexes())
        and "The database" in validate.sizes_chart().title
    )


def test_what_was_measured_before_the_migration_is_not_overwritten_after_it(
    story: Callable[..., Story],
) -> None:
    here = story()
    here.before()
    kept = here.evidence()
    here.backup.run.journal("migration begun", files=[])
    here.db.execute('DROP INDEX "Patient_name_idx"')
    assert "Seq Scan" in str(here.backup.statements())
    here.backup.metrics()
    assert here.evidence() == kept


def test_without_pg_stat_statements_slow_queries_could_not_be_checked_unless_nobody_wants_them(
    story: Callable[..., Story],
) -> None:
    here = story(extension=False)
    here.before()
    validate = here.migrated()
    found = by_id(validate.performance())["performance.statements"]
    assert (
        found.status is Status.UNKNOWN
        and "CREATE EXTENSION" in found.found
        and "could not check" in str(validate.queries())
    )
    assert "CREATE EXTENSION" in str(here.backup.metrics())


def test_what_a_person_accepted_at_the_preflight_is_not_asked_after_the_migration(
    story: Callable[..., Story],
) -> None:
    here = story(extension=False)
    here.before()
    run = here.backup.run
    run.write_evidence("backup.baseline", [])
    here.phases += [preflight := Preflight(run), validate := Validate(run)]
    asked = preflight.validation()
    assert [one.id for one in asked.unknown] == ["performance.statements"]
    for phase in (preflight, validate):
        with pytest.raises(ApprovalNeeded, match="CREATE EXTENSION"):
            phase.pass_gate(phase.name, asked)
    gate.approve(run, "preflight", "this server has none")
    preflight.pass_gate("preflight", asked)
    validate.pass_gate("validate", asked)
    slower = unknown("performance.queries", "no statement has become slower", "beyond its limit")
    with pytest.raises(ApprovalNeeded, match="beyond its limit"):
        validate.pass_gate("validate", Checks("all", [*asked, slower]))


def test_who_has_no_pg_stat_statements_says_so_once(story: Callable[..., Story]) -> None:
    here = story(extension=False, slow_queries=False)
    here.before()
    assert (
        by_id(here.migrated().performance())["performance.queries"].status is Status.NOT_CONFIGURED
    )


def test_counters_that_were_reset_between_could_not_be_compared(
    story: Callable[..., Story],
) -> None:
    here = story()
    here.before()
    here.db.execute("SELECT pg_stat_reset(), pg_stat_statements_reset()")
    deadline = time.monotonic() + 30
    while (
        statistics.read(here.db).database["counted_since"] is None and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    validate = here.migrated()
    found = by_id(validate.performance())
    assert (
        found["performance.missing"].status is Status.UNKNOWN
        and "were reset at" in found["performance.missing"].found
    )
    assert "could not check" in str(validate.missing_indexes())


def test_a_table_that_wants_an_index_since_the_migration_asks_for_a_person(
    story: Callable[..., Story],
) -> None:
    here = story()
    here.before()
    here.db.execute(
        "CREATE TABLE large AS SELECT repeat('x', 300) AS a FROM generate_series(1, 40000)"
    )
    here.db.execute(
        "DO $$ BEGIN FOR i IN 1..110 LOOP PERFORM FROM large OFFSET 39999; END LOOP; END $$"
    )
    deadline = time.monotonic() + 30
    while not statistics.read(here.db).missing_indexes and time.monotonic() < deadline:
        time.sleep(0.05)
    validate = here.migrated()
    found = by_id(validate.performance())["performance.missing"]
    assert (
        found.status is Status.UNKNOWN
        and "public.large" in found.found
        and "public.large" in str(validate.missing_indexes())
    )


def test_a_missing_reading_could_not_be_compared(story: Callable[..., Story]) -> None:
    here = story()
    here.phases.append(announce := Announce(here.backup.run))
    announce._passed.add("announce")
    announce.fix_the_state_before()
    found = by_id(here.migrated().performance())
    assert {
        id: one.status for id, one in found.items() if id != "performance.missing"
    } == dict.fromkeys(
        ("performance.counters", "performance.queries", "performance.plan.1", "performance.plan.2"),
        Status.UNKNOWN,
    )


def test_the_window_after_grows_to_that_before_where_the_parameters_let_it(
    story: Callable[..., Story],
) -> None:
    here = story(observe_s=20)
    here.backup.metrics()
    time.sleep(1)
    here.before()
    before, after = here.migrated().windows
    assert before and after and after.seconds >= before.seconds


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM t", "SELECT 1; SELECT 2", "SELECT * FROM t FOR UPDATE", "SELECT $1", "SELEC 1"],
)
def test_a_statement_that_does_more_than_read_is_refused_with_the_parameters(query: str) -> None:
    values = {
        "environment": {"name": "tests"},
        "engineer": "E",
        "database": {"url": "env:U"},
        "prisma": {"project": "p"},
        "backup": {"directory": "b"},
    }
    with pytest.raises(UsageError, match=r"validate.statements.*one SELECT that only reads"):
        params.parse(values | {"validate": {"statements": [{"name": "n", "sql": query}]}})


def judged(before: Measured, after: Measured, **limits: float) -> tuple[Status, str]:
    """How two measurements compare."""
    found = Compared(Statement(name="n", sql="SELECT 1", **limits), before, after).check("id")
    return found.status, found.found


def test_a_statement_is_judged_by_time_and_buffers_or_by_its_limit(deployed: str) -> None:
    with Database(Target.parse(deployed), "tests") as db:
        fast = replace(plans.measure(db, "n", COUNT), ms=(1.0,), hit=10, read=0)
        gone = plans.measure(db, "n", "SELECT nothing FROM nowhere")
        slow = plans.measure(
            db,
            "n",
            "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b",
            longest_s=0.2,
        )
        db.execute("CREATE SEQUENCE s")
        (refused,) = plans.measure_all(db, {"n": "SELECT nextval('s')"})
        assert db.value("SELECT is_called FROM s") is False
    dearer, longer = replace(fast, hit=200), replace(fast, ms=(5.0,))
    assert (
        judged(fast, dearer)[0]
        is judged(fast, longer)[0]
        is judged(fast, replace(longer, hit=30))[0]
        is Status.PASSED
    )
    assert (
        judged(fast, replace(longer, hit=200))[0]
        is judged(fast, longer, max_ms=4)[0]
        is Status.FAILED
    )
    assert judged(fast, slow)[0] is Status.FAILED and "given up" in judged(fast, slow)[1]
    assert judged(slow, fast)[0] is Status.PASSED and judged(slow, slow)[0] is Status.UNKNOWN
    assert (
        judged(fast, gone)[0] is Status.FAILED and "cannot be run any more" in judged(fast, gone)[1]
    )
    assert (
        judged(gone, fast)[0] is Status.UNKNOWN and judged(gone, fast, max_ms=4)[0] is Status.PASSED
    )
    assert (
        judged(fast, refused)[0] is Status.UNKNOWN
        and "read-only transaction" in judged(fast, refused)[1]
    )


def test_a_plan_shows_what_is_done_and_no_constant(deployed: str) -> None:
    with Database(Target.parse(deployed), "tests") as db:
        db.execute(
            "INSERT INTO \"Patient\" SELECT g, 'Fictitious ' || g FROM generate_series(1, 50) AS g"
        )
        found = plans.measure(
            db,
            "n",
            f"""SELECT a."name", count(*) FROM "Patient" a JOIN "Patient" b
                                                ON lower(a."name") = lower(b."name") || '{NAME}'
                                            WHERE a."name" LIKE '{NAME}%'
                                                OR a.id = ANY ('{{7777,8}}') GROUP BY 1
                                                ORDER BY a."name" || '{NAME}' LIMIT 7777""",
        )
    assert (
        "7777" not in found.tree() + json.dumps(found.as_dict())
        and "Filter" in found.tree()
        and "on Patient" in found.tree()
    )
    assert Measured.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_statements_are_matched_by_id_and_by_text_where_the_database_was_restored() -> None:
    one = Calls("1", "SELECT a", 10, 10.0, 10.0, 1, 100, 0, 0, 1.0, 1.0)
    two, twin = (
        replace(one, id="2", statement="SELECT b"),
        replace(one, id="3", statement="SELECT b"),
    )
    same = pairs({"1": one, "2": two}, {"1": one, "9": replace(two, id="9")})
    assert [(pair.before.id, pair.after.id) for pair in same if pair.before and pair.after] == [
        ("1", "1"),
        ("2", "9"),
    ]
    unclear = pairs({"2": two, "3": twin}, {"9": replace(two, id="9")})
    assert sorted(pair.verdict for pair in unclear) == [
        "new",
        "not called since",
        "not called since",
    ]
