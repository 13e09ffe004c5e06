"""A run that another version of the runbook began is read, and never gone on with: that is said
in words, and nothing is touched.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import params
from runbook_lib.cli import app
from runbook_lib.commands import ending
from runbook_lib.errors import UsageError
from runbook_lib.phases.base import newest_of
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "runbook_lib"
TARGET = {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
ENDLESS = {"prisma/effect.py"}
"""Modules whose `next` asks a generator that never ends."""


def _first_line_without_target(line: dict[str, Any]) -> dict[str, Any]:
    kept = ("at", "who", "host", "what", "run_id", "environment")
    return {key: line[key] for key in kept} if line["what"] == "run started" else line


def _phases_without_process(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "process"}


@pytest.fixture(params=[_first_line_without_target, _phases_without_process])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """A run with a phase that failed, its journal as another version wrote it."""
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(tmp_path / "archive")
    made = create(values, ["20260101000000_x"], TARGET)
    made.begin_phase("migrate", "60_migrate.ipynb")
    made.journal(
        "escalated",
        phase="migrate",
        severity=sorted(params.parse(values).people.levels())[0],
        failures=[],
    )
    made.end_phase("migrate", "failed", (), "no")
    made.end("failed")
    journal = made.folder / "journal.jsonl"
    lines = [request.param(json.loads(line)) for line in journal.read_text().splitlines()]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return Run(made.folder)


def files(run: Run) -> dict[str, bytes]:
    """Every file of a run, with its content."""
    return {
        str(path.relative_to(run.folder)): path.read_bytes()
        for path in sorted(run.folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "command",
    [
        ["resume"],
        ["rollback", "--yes"],
        ["approve", "migrate", "--yes"],
        ["lesson", "something"],
        ["report"],
    ],
)
def test_a_command_that_would_add_to_it_says_why_not_and_changes_nothing(
    run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    name, *more = command
    monkeypatch.setattr(sys, "argv", ["runbook", name, str(run.folder), *more])
    before = files(run)
    assert ending.ended(app) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert f"{run.id} was begun by another version of the runbook" in said
    assert "go on with the version that began it; or `runbook run" in said
    assert "StopIteration" not in said and files(run) == before


def test_its_status_is_still_shown_and_sends_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["runbook", "status", str(run.folder)])
    before = files(run)
    assert ending.ended(app) == 0
    assert "outcome:" in capsys.readouterr().out and files(run) == before


def test_a_notebook_is_not_opened_in_it(run: Run) -> None:
    before = files(run)
    with pytest.raises(UsageError, match="another version"):
        run.begin_phase("migrate", "60_migrate.ipynb")
    assert newest_of(run.parameters) is None and files(run) == before


def test_no_search_of_the_package_ends_with_stop_iteration() -> None:
    """A search of what was stored finds nothing sooner or later: each says what stands for that."""
    bare = [
        f"{path.relative_to(LIBRARY)}:{node.lineno}"
        for path in sorted(LIBRARY.rglob("*.py"))
        if str(path.relative_to(LIBRARY)) not in ENDLESS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "next"
        and len(node.args) == 1
        and isinstance(node.args[0], (ast.GeneratorExp, ast.Call))
        and ast.unparse(node.args[0]) not in ("iter(row.values())", "iter(axes.lines)")
    ]
    assert bare == []
