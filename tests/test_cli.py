"""The command line says what it does, and the README says the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from runbook_lib.cli import app, main
from runbook_lib.commands.output import out

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_command_is_in_the_readme_and_explains_itself() -> None:
    for name, command in COMMANDS.items():
        assert f"runbook {name}" in README, name
        assert command.help, name


def test_the_commands_are_those_of_the_design() -> None:
    assert set(COMMANDS) == {
        "init",
        "check",
        "run",
        "resume",
        "approve",
        "rollback",
        "reinstate",
        "acknowledge",
        "escalate",
        "engine",
        "status",
        "report",
        "history",
        "verify",
        "diff",
        "lesson",
        "prune",
        "drill",
        "lab",
        "demo",
    }


def test_for_machines_an_error_is_one_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["runbook", "run", "nowhere.yaml", "--json"])
    monkeypatch.setattr(out, "machines", False)
    with pytest.raises(SystemExit) as ended:
        main()
    said = json.loads(capsys.readouterr().out)
    assert (
        (ended.value.code, said["event"], said["exit_status"]) == (2, "error", 2)
        and "nowhere.yaml" in said["message"]
        and said["remedy"]
    )


def test_help_is_help() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0 and "migration" in shown.stdout
