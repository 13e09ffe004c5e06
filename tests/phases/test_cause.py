"""Why a migration failed, from SQLSTATE and the server's state; and where each cause is
explained.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbook_lib.phases.cause import Cause, cause
from runbook_lib.prisma.cli import MigrationFailed

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
    )
    assert cause(failed, **server) is expected


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
