"""The plan is one object with one hash: what is in it, what voids it, and in which words its
gate says so.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from runbook_lib import gate
from runbook_lib.check import Status
from runbook_lib.errors import ApprovalNeeded, CheckError, UsageError
from runbook_lib.phases.drift import Drift
from runbook_lib.phases.identity import pinned
from runbook_lib.phases.plan import Plan, contents
from runbook_lib.reviewed import differences, digest
from tests.phases.conftest import Opened, enter
from tests.prisma.conftest import INIT, Make, run

NOT_NULL = (
    'ALTER TABLE "Patient" ADD COLUMN "note" TEXT;\nALTER TABLE "Patient" ADD CONSTRAINT "short" '
    'CHECK (length("name") < 5);\n'
)
DROP = 'ALTER TABLE "Patient" DROP COLUMN "name";\n'
FIRST, SECOND = "20990101000000_first", "20990102000000_second"
FACTS: dict[str, Any] = {
    "server": "18.6",
    "target": {"database": "d", "database_oid": 1, "system_identifier": "1"},
    "applied": ["1_a", "2_b"],
    "files": {"3_c": "c" * 64, "4_d": "d" * 64},
    "prisma": "7.10.1",
    "engine": "installed",
    "transactions": "whole",
    "findings": ["3_c:1: table-dropped of public.x"],
    "data": ["3_c:2: every x is unique"],
    "client": ["3_c:1: X"],
    "drift": ["only in the database: table public.y"],
    "compared": True,
}
CHANGED = [
    (
        {"files": {"3_c": "e" * 64, "4_d": "d" * 64}},
        "file 3_c was edited (sha256 cccccccc… → eeeeeeee…)",
    ),
    (
        {"files": {"3_c": "c" * 64}, "applied": ["1_a", "2_b", "4_d"]},
        "migration 4_d was applied by somebody",
    ),
    ({"files": {"3_c": "c" * 64}}, "file 4_d is gone, or its migration is unfinished"),
    (
        {"files": FACTS["files"] | {"5_e": "e" * 64}},
        "5_e is pending, and was not there when the plan was made",
    ),
    ({"applied": ["1_a", "2_b", "2_x"]}, "migration 2_x was applied by somebody"),
    ({"applied": ["1_a"]}, "migration 2_b is not applied any more"),
    ({"server": "18.7"}, "the server's version: 18.6 → 18.7"),
    ({"prisma": "7.11.0"}, "Prisma's version: 7.10.1 → 7.11.0"),
    ({"engine": "offline"}, "Prisma's engine: installed → offline"),
    ({"transactions": "each"}, "how Prisma sends a file: whole → each"),
    (
        {"target": FACTS["target"] | {"database_oid": 2}},
        "the database was replaced: d (oid 1), system 1 → d (oid 2), system 1",
    ),
    (
        {"target": FACTS["target"] | {"system_identifier": "2"}},
        "the database was replaced: d (oid 1), system 1 → d (oid 1), system 2",
    ),
    (
        {"findings": [*FACTS["findings"], "4_d:2: column-dropped of public.x"]},
        "new finding: 4_d:2: column-dropped of public.x",
    ),
    ({"findings": []}, "gone finding: 3_c:1: table-dropped of public.x"),
    ({"data": []}, "gone demand on the data: 3_c:2: every x is unique"),
    ({"client": [*FACTS["client"], "3_c:3: Y"]}, "new break of the running client: 3_c:3: Y"),
    (
        {"drift": []},
        "gone difference between files and database: only in the database: table public.y",
    ),
    (
        {"compared": False},
        "whether files and database could be compared: True → False",
    ),
    ({}, None),
]


MOVES = (
    """INSERT INTO "Patient" SELECT n, 'Too long' FROM generate_series(10, 20000) n""",
    "ANALYZE",
    'VACUUM "Patient"',
    'DELETE FROM "Patient"',
    "SELECT pg_stat_reset()",
    "ALTER SYSTEM SET log_min_duration_statement = 12345",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), "
    "'5MB'); END $$",
)
"""What happens to a database while a person reads the plan, and is no part of it."""


@pytest.fixture
def planned(make: Make, opened: Opened, deployed: str) -> Any:
    """A plan phase with two pending files on a database with two patients, looked at but for the
    CLI.
    """

    def made(
        first: str = NOT_NULL,
        second: str = DROP,
        rows: tuple[str, ...] = ("Ann", "Bob"),
        **sections: Any,
    ) -> Plan:
        for number, name in enumerate(rows):
            run(deployed, f"""INSERT INTO "Patient" VALUES ({number}, '{name}')""")
        phase = opened(Plan, make(INIT | {FIRST: first, SECOND: second}), deployed, **sections)
        phase.found_drift = Drift()
        return phase

    return made


@pytest.mark.parametrize(("change", "said"), CHANGED)
def test_each_reviewed_fact_that_changes_changes_the_hash_and_is_said_in_words(
    change: dict[str, Any], said: str | None
) -> None:
    now = copy.deepcopy(FACTS) | change
    assert differences(FACTS, now) == ([said] if said else [])
    assert (digest(now) == digest(FACTS)) is (said is None)


def test_findings_of_a_file_that_was_edited_go_without_saying() -> None:
    now = copy.deepcopy(FACTS) | {"findings": [], "files": FACTS["files"] | {"3_c": "e" * 64}}
    assert [line.partition(" (")[0] for line in differences(FACTS, now)] == ["file 3_c was edited"]


@pytest.mark.parametrize(("system", "by_address"), [("1", False), ("unknown", True)])
def test_a_database_is_told_by_its_address_only_where_the_server_does_not_say_which_it_is(
    system: str, by_address: bool
) -> None:
    identity = {"host": "h", "port": 1, "server_version": "18.6"}
    identity |= {"database": "d", "database_oid": 1, "system_identifier": system}
    assert (pinned(identity) != pinned(identity | {"port": 2})) is by_address
    assert pinned(identity) == pinned(identity | {"server_version": "18.7"})


def test_the_plan_holds_what_was_found_and_stands_as_long_as_nothing_changes(
    planned: Any, deployed: str
) -> None:
    phase = planned()
    phase.seal()
    kept = phase.run.read_evidence("plan")
    assert {
        "server",
        "target",
        "applied",
        "files",
        "prisma",
        "engine",
        "transactions",
        "findings",
        "data",
        "client",
        "drift",
    } <= kept.keys()
    assert kept["applied"] == list(INIT) and list(kept["files"]) == [FIRST, SECOND]
    assert differences(kept, contents(phase)) == []
    for moves in MOVES:
        run(deployed, moves)
        again = Plan(phase.run)
        again.seal()
        again._give_back()
        assert phase.run.read_evidence("plan")["hash"] == kept["hash"], moves


def test_what_changes_afterwards_voids_the_approval_and_is_named(
    planned: Any, deployed: str
) -> None:
    phase = planned()
    phase.seal()
    gate.approve(phase.run, "plan", "read it")
    path = phase.project.migrations / FIRST / "migration.sql"
    path.write_text(path.read_text() + "-- edited\n")
    enter(deployed, phase.project, SECOND)
    said = differences(phase.run.read_evidence("plan"), contents(phase))
    assert [line.partition(" (")[0] for line in said] == [
        f"file {FIRST} was edited",
        f"migration {SECOND} was applied by somebody",
    ]
    again = Plan(phase.run)
    again.found_drift = Drift()
    again.seal()
    said = f"void, because it has changed since: file {FIRST} was edited .*; migration {SECOND} was"
    with pytest.raises(ApprovalNeeded, match=said):
        gate.require(phase.run, "plan", again.review.checks(), required=["plan"])
    again._give_back()


@pytest.mark.parametrize("rows", [("Ann", "Too long"), ("Ann", "Bob")])
def test_rows_that_violate_a_demand_shut_the_gate_approved_or_not(
    planned: Any, rows: tuple[str, ...]
) -> None:
    phase = planned(rows=rows)
    phase.data()
    phase.seal()
    if rows == ("Ann", "Bob"):
        phase.gate()
        return
    with pytest.raises(CheckError, match=r"1 violate it now: the statement fails") as caught:
        phase.gate()
    assert caught.value.failed == (f"data.{FIRST}:2.1",) and "Too long" not in str(caught.value)
    gate.approve(phase.run, "plan", "let it pass")
    with pytest.raises(CheckError):
        phase.gate()


def test_an_option_that_nobody_knows_needs_a_person_once_and_is_no_part_of_the_hash(
    planned: Any, deployed: str
) -> None:
    phase = planned()
    phase.seal()
    kept = phase.run.read_evidence("plan")["hash"]
    run(
        deployed,
        """UPDATE pg_attribute SET attoptions = '{pg_next=7}' """
        """WHERE attrelid = '"Patient"'::regclass AND attnum > 0""",
    )
    again = Plan(phase.run)
    again.seal()
    assert phase.run.read_evidence("plan")["hash"] == kept
    with pytest.raises(
        ApprovalNeeded, match=r'pg_next \(2 times, first at column public."Patient"'
    ):
        again.gate()
    gate.approve(phase.run, "plan", "the provider writes it")
    again.gate()
    run(
        deployed,
        """UPDATE pg_class SET reloptions = '{later=1}' WHERE oid = '"Patient"'::regclass""",
    )
    another = Plan(phase.run)
    with pytest.raises(ApprovalNeeded, match="(?s)was given before that was known.*later"):
        another.gate()
    for one in (again, another):
        one._give_back()


def test_a_backfill_before_the_demand_is_never_a_false_failure_but_needs_a_person(
    planned: Any,
) -> None:
    phase = planned(
        first='UPDATE "Patient" SET "name" = left("name", 4);\n' + NOT_NULL,
        rows=("Ann", "Too long"),
    )
    phase.seal()
    with pytest.raises(ApprovalNeeded, match="the rehearsal tells"):
        phase.gate()
    gate.approve(phase.run, "plan", "the UPDATE repairs it")
    assert [item.status for item in phase.gate() if item.id.startswith("data.")] == [Status.UNKNOWN]
    assert any("1 violate it now" in row[0] for row in phase.accepted().rows)


def test_an_approval_lists_the_severe_findings_that_it_accepts(
    planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_PERSON", "Somebody Fictitious")
    phase = planned(approvals={"required": ["plan"]})
    phase.seal()
    with pytest.raises(ApprovalNeeded):
        phase.gate()
    record = gate.approve(phase.run, "plan", "the new client is deployed at once")
    phase.gate()
    assert any("Patient.name" in line for line in record["accepts"]) and any(
        line.startswith("column-dropped") for line in record["accepts"]
    )
    rows = phase.accepted().rows
    assert [row[0] for row in rows] == record["accepts"] and {row[1] for row in rows} == {
        "Somebody Fictitious (typed)"
    }


def test_the_deployed_schema_says_what_the_running_client_names(
    planned: Any, make: Make, tmp_path: Any
) -> None:
    (tmp_path / "deployed.prisma").write_text(
        'model Person {\n  id Int @id\n  called String @map("name")\n  @@map("Patient")\n}\n'
    )
    found = planned(prisma={"deployed_schema": str(tmp_path / "deployed.prisma")}).running_client()
    assert [(item.names, item.file) for item in found.items] == [
        ("Person.called", SECOND)
    ] and not found.assumed


@pytest.mark.parametrize("text", [None, "generator client {\n}\n"])
def test_a_deployed_schema_that_is_none_is_refused_before_anything_is_touched(
    planned: Any, tmp_path: Any, text: str | None
) -> None:
    path = tmp_path / "deployed.prisma"
    if text:
        path.write_text(text)
    with pytest.raises(UsageError, match="deployed_schema"):
        planned(prisma={"deployed_schema": str(path)})
    assert not (tmp_path / "archive").exists()
