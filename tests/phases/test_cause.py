"""Why a migration failed, from SQLSTATE and the server's state; and where each cause is
explained.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbook_lib.phases.cause import Cause, cause, recorded
from runbook_lib.prisma.cli import MigrationFailed, _deploy_failed
from runbook_lib.prisma.output import applying

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "95_troubleshoot.ipynb"
RUNS = {"by_guard": False, "restarted": False, "in_time": False}

CASES = [
    ("55P03", {}, RUNS, Cause.LOCK_TIMEOUT),
    ("40P01", {}, RUNS, Cause.DEADLOCK),
    ("53100", {}, RUNS, Cause.DISK_FULL),
    ("23503", {}, RUNS, Cause.FOREIGN_KEY),
    ("23505", {}, RUNS, Cause.UNIQUE),
    ("23502", {}, RUNS, Cause.NOT_NULL),
    ("23514", {}, RUNS, Cause.CHECK),
    ("42501", {}, RUNS, Cause.PERMISSION),
    ("42601", {}, RUNS, Cause.SYNTAX),
    ("42P01", {}, RUNS, Cause.SYNTAX),
    ("22012", {}, RUNS, Cause.UNKNOWN),
    ("", {}, RUNS, Cause.UNKNOWN),
    (
        "57014",
        {"message": "canceling statement due to statement timeout"},
        RUNS,
        Cause.STATEMENT_TIMEOUT,
    ),
    (
        "57014",
        {"message": "canceling statement due to statement timeout"},
        RUNS | {"in_time": True},
        Cause.KILLED,
    ),
    ("57014", {"message": "canceling statement due to user request"}, RUNS, Cause.KILLED),
    ("57014", {}, RUNS | {"by_guard": True}, Cause.GUARD),
    ("", {}, RUNS | {"by_guard": True}, Cause.GUARD),
    ("23505", {}, RUNS | {"by_guard": True}, Cause.UNIQUE),
    ("57P01", {}, RUNS, Cause.KILLED),
    ("57P02", {}, RUNS | {"restarted": True}, Cause.SERVER_CRASHED),
    ("08006", {}, RUNS, Cause.CONNECTION_LOST),
    ("", {"status": -9}, RUNS, Cause.KILLED),
    ("", {"status": 137}, RUNS, Cause.KILLED),
    ("", {"message": "was ended after 3 s, its deadline"}, RUNS, Cause.KILLED),
    ("", {"status": 1}, RUNS | {"restarted": True}, Cause.SERVER_CRASHED),
    ("", {"status": 1}, RUNS | {"restarted": None}, Cause.CONNECTION_LOST),
    ("", {"code": "P1017", "status": 1}, RUNS, Cause.CONNECTION_LOST),
    ("", {"code": "P1010", "status": 1}, RUNS, Cause.PERMISSION),
    ("", {"status": 1, "applying": "1_x", "answered": True}, RUNS, Cause.RECORD),
    ("", {"status": 1, "applying": "1_x", "answered": False}, RUNS, Cause.CONNECTION_LOST),
    ("", {"status": -9, "applying": "1_x", "answered": True}, RUNS, Cause.KILLED),
]


@pytest.mark.parametrize(("sqlstate", "error", "server", "expected"), CASES)
def test_the_cause_follows_from_sqlstate_and_state(
    sqlstate: str, error: dict, server: dict, expected: Cause
) -> None:
    failed = MigrationFailed(
        error.get("message", ""),
        code=error.get("code", ""),
        status=error.get("status"),
        sqlstate=sqlstate,
        applying=error.get("applying", ""),
        answered=error.get("answered", False),
    )
    assert cause(failed, **server) is expected


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: canceling statement due to lock timeout",
        "FEHLER: Anweisung wird abgebrochen wegen Zeitüberschreitung einer Sperre",
        "ERREUR: annulation de la requête à cause du délai",
    ],
)
def test_prismas_own_record_that_was_refused_is_told_from_a_statement_of_the_file(
    said: str,
) -> None:
    """The engine gives no code then, and the server's words stay out: its trace says at what it
    was, and our folder the name.
    """
    trace = f"""2 migrations found in prisma/migrations

Error: {said}
   0: schema_commands::commands::apply_migrations::Applying migration
           with migration_name="1_x"
             at schema-engine/commands/src/commands/apply_migrations.rs:95
"""
    failed = _deploy_failed(trace, 1, applying(trace, {"1_x"}))
    assert cause(failed, **RUNS) is Cause.RECORD and failed.migration == "1_x"
    assert said not in failed.message and "Loaded" not in failed.message
    assert "90_rollback proves what landed" in recorded(Cause.RECORD, True)
    assert "none of its statements has run" in recorded(Cause.RECORD, False)
    assert applying(trace.replace("1_x", "Ann Smith"), {"1_x"}) == ""


def test_every_cause_has_a_case_and_a_section_of_the_notebook() -> None:
    headings = {
        line.lstrip("#").strip().replace(" ", "-")
        for cell in json.loads(NOTEBOOK.read_text())["cells"]
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("## ")
    }
    assert {case[3] for case in CASES} == set(Cause)
    assert [one for one in Cause if one.link.partition("#")[2] not in headings] == []
