"""What the migrate phase requires: the drift of the rehearsal, the plan as it was reviewed, and
a person where it could not look.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from runbook_lib import gate, params
from runbook_lib.check import Checks, Status, check, unknown
from runbook_lib.errors import ApprovalNeeded
from runbook_lib.phases import migrate
from runbook_lib.phases.migrate import Migrate
from runbook_lib.postgres import difference
from runbook_lib.postgres.difference import Difference
from runbook_lib.prisma import history
from runbook_lib.prisma.declared import Declared, Rows
from runbook_lib.prisma.effect import Change
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[2]
STRAY = "model Patient: only in the database: stray Int?"
PARTIAL = (
    'model Visit: only in the database: @@index([id], where: raw("((kind)::text = ANY (({0})))"))'
)


class Example(Migrate):
    """A phase without a database or a project."""

    needs_database = False
    project = SimpleNamespace()
    prisma_url = ""
    history = history.History(())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(tmp_path / "archive")
    return create(
        values, ["1_x"], {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
    )


@pytest.fixture
def phase(run: Run) -> Example:
    run.begin_phase("migrate", "60_migrate.ipynb")
    return Example(run)


@pytest.mark.parametrize(
    ("promised", "seen", "status", "found"),
    [
        ([], [], Status.PASSED, "no difference"),
        ([STRAY], [STRAY], Status.PASSED, "differ in 1 statement, the same as in the rehearsal"),
        (
            [PARTIAL.format("ARRAY['a'::character varying])::text[]")],
            [PARTIAL.format("ARRAY[('a'::character varying)::text]")],
            Status.PASSED,
            "the same",
        ),
        ([], [STRAY], Status.FAILED, f"1 statement is not that of the rehearsal: new: {STRAY}"),
        ([STRAY], [], Status.FAILED, f"gone: {STRAY}"),
    ],
)
def test_the_night_has_to_see_the_drift_of_the_rehearsal(
    phase: Example,
    monkeypatch: pytest.MonkeyPatch,
    promised: list[str],
    seen: list[str],
    status: Status,
    found: str,
) -> None:
    phase.run.write_evidence("promise", {"differing": promised})
    monkeypatch.setattr(migrate.cli, "db_pull", lambda project, url: None)
    monkeypatch.setattr(migrate.cli, "differing", lambda project, url: tuple(seen))
    made = phase._pulled()
    assert made.status is status and found in made.found
    assert phase.run.read_evidence("migrate.differing") == seen


@pytest.mark.parametrize(
    ("column", "unclear", "status"),
    [
        ("a", (), Status.PASSED),
        ("other", (), Status.FAILED),
        ("other", ("1_x:3: a DO block",), Status.UNKNOWN),
    ],
)
def test_without_a_rehearsal_that_a_person_waived_the_catalogue_is_held_against_the_plan(
    phase: Example,
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    unclear: tuple[str, ...],
    status: Status,
) -> None:
    said = Declared(
        (Change("column", 'public."T".a', "added"),),
        {'public."T"': Rows(True, False, ("b",))},
        ('public."T"',),
        unclear,
    )
    assert Declared.from_dict(json.loads(json.dumps(said.as_dict()))) == said
    phase.run.write_evidence("plan", {"hash": "h", "declared": said.as_dict()})
    phase.run.write_evidence("rehearse.waived", {"why": "no room", "plan": "h"})
    phase.__dict__["difference"] = Difference(
        (difference.Change("column", f'public."T".{column}', "added", after={"type": "integer"}),)
    )
    monkeypatch.setattr(migrate.cli, "db_pull", lambda project, url: None)
    monkeypatch.setattr(migrate.cli, "differing", lambda project, url: (STRAY,))
    assert (phase._rehearsed().status, phase._promised().status) == (
        Status.FAILED,
        Status.FAILED,
    )  # nobody has decided that yet
    gate.approve(phase.run, "rehearse", "small change")
    assert phase._promised().status is status and phase._promised().id == "migrate.declared"
    assert phase._rehearsed().found.startswith(
        "no: no room; "
    ) and phase._rehearsed().found.endswith("to go on without: small change")
    assert phase._pulled().status is Status.UNKNOWN
    phase.run.write_evidence("plan", {"hash": "another", "declared": said.as_dict()})
    assert (phase._rehearsed().status, phase._promised().status) == (Status.FAILED, Status.FAILED)


def test_the_schema_is_validated_once_as_long_as_it_stays(
    phase: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked, schema = [], tmp_path / "schema.prisma"
    phase.project.schema = schema
    monkeypatch.setattr(
        migrate.cli,
        "validate",
        lambda project: asked.append(1) or SimpleNamespace(status=0, output=""),
    )
    for text in ("one", "one", "other"):
        schema.write_text(text)
        assert phase._valid("migrate.schema").status is Status.PASSED
    assert len(asked) == 2


@pytest.fixture
def applied(tmp_path: Path) -> history.History:
    """A history in which the one file is applied."""
    path = tmp_path / "1_x" / "migration.sql"
    path.parent.mkdir()
    path.write_text("SELECT 1;")
    file = history.MigrationFile.read(path)
    row = {
        "migration_name": "1_x",
        "checksum": file.sha256,
        "started_at": None,
        "finished_at": "now",
        "rolled_back_at": None,
        "logs": None,
    }
    return history.compare([file], [row])


def test_a_run_that_was_stopped_after_its_files_were_applied_goes_on_with_the_proof(
    phase: Example, applied: history.History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Example, "history", applied)
    facts = {
        "server": "18.6",
        "target": phase.run.state["target"],
        "prisma": "7",
        "engine": "offline",
        "transactions": "whole",
    }
    phase.run.write_evidence(
        "plan",
        {
            "hash": "h" * 64,
            "files": {"1_x": applied.entries[0].file.sha256},
            "applied": [],
            **facts,
        },
    )
    monkeypatch.setattr(
        migrate, "contents", lambda phase: {"files": {}, "applied": ["1_x"], **facts}
    )
    assert (
        phase._plan().status is Status.FAILED
        and phase._plan().found == "migration 1_x was applied by somebody"
    )
    phase.run.journal("migration begun", files=["1_x"])
    assert (
        phase._plan().status is Status.PASSED
        and "already applied by this run" in phase._plan().found
    )


def test_a_run_stopped_between_two_files_goes_on_with_those_that_are_left_as_reviewed(
    phase: Example, applied: history.History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Example, "history", applied)
    facts = {
        "server": "18.6",
        "target": phase.run.state["target"],
        "prisma": "7",
        "engine": "offline",
        "transactions": "whole",
    }
    phase.run.write_evidence(
        "plan",
        {
            "hash": "h" * 64,
            "files": {"1_x": applied.entries[0].file.sha256, "2_y": "b" * 64},
            "applied": [],
            **facts,
        },
    )
    monkeypatch.setattr(
        migrate, "contents", lambda phase: {"files": {"2_y": "b" * 64}, "applied": ["1_x"], **facts}
    )
    phase.run.journal("migration begun", files=["1_x", "2_y"])
    assert (
        phase._plan().status is Status.PASSED
        and "already applied by this run: 1_x" in phase._plan().found
    )
    monkeypatch.setattr(
        migrate, "contents", lambda phase: {"files": {"2_y": "c" * 64}, "applied": ["1_x"], **facts}
    )
    assert phase._plan().status is Status.FAILED and "file 2_y was edited" in phase._plan().found


def test_what_could_not_be_checked_waits_for_a_person_who_then_opens_the_gate(
    phase: Example,
) -> None:
    blind = Checks(
        "The migration, verified",
        [
            check("a", "one thing holds", True, "yes"),
            unknown("migrate.status", "up to date", "P1001"),
        ],
    )
    gate.approve(
        phase.run, "migrate", "go"
    )  # before the migration: it accepts nothing that came to light later
    with pytest.raises(
        ApprovalNeeded, match=r"(?s)up to date.*P1001.*runbook approve .* migrate"
    ) as caught:
        phase.must_hold("verify", blind)
    phase.fail(caught.value)
    assert (phase.run.phase("migrate")["status"], phase.run.outcome) == ("waiting", "waiting")
    gate.approve(phase.run, "migrate", "looked by hand")
    assert phase.must_hold("verify", blind) is blind
