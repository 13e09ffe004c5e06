"""The command line says what it does, and the README says the same."""

from __future__ import annotations

from pathlib import Path

import typer.main
from typer.testing import CliRunner

from runbook_lib.cli import app

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_command_is_in_the_readme_and_explains_itself() -> None:
    for name, command in COMMANDS.items():
        assert f"runbook {name}" in README, name
        assert command.help, name


def test_the_commands_are_those_of_the_design() -> None:
    assert set(COMMANDS) == {"run", "resume", "approve", "rollback", "reinstate", "status", "report", "history", "verify", "diff", "lesson", "prune", "drill", "lab", "demo"}


def test_help_is_help() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0 and "migration" in shown.stdout
