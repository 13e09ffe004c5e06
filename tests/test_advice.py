"""Commands that the product prints are commands that there are, and work as they stand, in any
folder.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from runbook_lib import advice, params
from runbook_lib.check import Checks, unknown
from runbook_lib.cli import app
from runbook_lib.errors import ApprovalNeeded
from runbook_lib.gate import require
from runbook_lib.run import Run, create
from tests.terminal import on_a_terminal

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NAMES = "|".join(sorted(COMMANDS))
PRINTED = re.compile(
    rf"(?:`|: |; |^|&& )runbook ({NAMES})\b([^`]*?)(?=`|$|; | leads | &&|: the )", re.M
)
NAMED = {
    "run.reference",
    "self.run.reference",
    "phase.run.reference",
    "self._phase.run.reference",
    "found.reference",
    "out.run.reference",
    "reference",
    "run",  # of a function that is given the reference
    "self.run",  # of Lessons, which is given the reference
    "by.run",  # of the lease in the database: another machine's run is known by its id alone
    "shlex.quote(str(run))",
    "shlex.quote(str(folder))",
    "shlex.quote(str(project))",
    "shlex.quote(str(params.resolve()))",
    "shlex.quote(str(self.run.folder / 'parameters.json'))",
    "given",
}
"""What may stand where a command takes a run, a folder or a file: each is found from any folder, or
is quoted for the shell.
"""


def printed() -> Iterator[tuple[str, str, str]]:
    """Every command in a text of the package: where, which, and the rest of it, with `{…}` for
    what is filled in.
    """
    for path in sorted((ROOT / "runbook_lib").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node
        }
        for node in ast.walk(tree):
            if id(node) in documented | inner or not isinstance(
                node, (ast.Constant, ast.JoinedStr)
            ):
                continue
            for found in PRINTED.finditer(_text(node)):
                yield f"{path.name}:{node.lineno}", found[1], found[2]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else str(part.value)  # type: ignore[attr-defined]
            for part in node.values
        )
    value = node.value  # type: ignore[attr-defined]
    return value if isinstance(value, str) else ""


def options(command: str) -> set[str]:
    """The options of a command."""
    return {name for one in COMMANDS[command].params for name in one.opts} | {"--help"}


FOUND = list(printed())


def test_the_scan_finds_what_is_printed() -> None:
    assert len(FOUND) > 25 and {"approve", "resume", "rollback", "status", "prune"} <= {
        command for _, command, _ in FOUND
    }


@pytest.mark.parametrize(("where", "command", "rest"), FOUND, ids=lambda one: str(one).strip())
def test_a_printed_command_has_only_options_that_there_are_and_nothing_left_to_fill_in(
    where: str, command: str, rest: str
) -> None:
    assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= options(command), where
    assert not re.search(r"…|#|\b(RUN|GATE|TEXT)\b", rest), f"{where}: {rest}"
    assert "PARAMS" not in rest or rest.startswith(" PARAMS"), f"{where}: {rest}"
    for filled in re.findall(r"\{([^{}]+)\}", rest)[:1]:
        assert filled in NAMED, f"{where}: {filled}"


@pytest.mark.parametrize(
    "line",
    re.findall(r"^\| `(runbook [^|]*(?:\\\|[^|]*)*)` \|", (ROOT / "README.md").read_text(), re.M),
)
def test_the_readmes_table_names_commands_and_options_that_there_are(line: str) -> None:
    for one in re.findall(rf"runbook ({NAMES})\b([^`]*)", line):
        assert set(re.findall(r"--[a-z-]+", one[1])) <= options(one[0])


def test_the_readmes_table_has_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert {name for name in COMMANDS if f"`runbook {name}" not in text} == set()


def test_no_notebook_advises_a_command_with_something_left_to_fill_in() -> None:
    wrong = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            for found in re.finditer(rf"`runbook ({NAMES})\b([^`]*)`", "".join(cell["source"])):
                if re.search(r"…|#|\b(RUN|GATE|TEXT|PARAMS)\b", found[2]):
                    wrong.append(f"{path.name}: {found[0]}")
    assert not wrong


def test_the_parameter_file_of_advice_is_that_of_the_command_else_what_the_run_was_started_with(
    made: Run,
) -> None:
    said = "end it; then `runbook prune PARAMS` drops it"
    assert advice.filled(said) == said
    assert f"`runbook prune '{made.folder}/parameters.json'` drops" in advice.filled(said, made)
    assert "`runbook prune '/a b.yaml'`" in advice.filled(said, made, Path("/a b.yaml"))
    again = params.load(made.folder / "parameters.json")
    assert params.parse(again) == made.params


@pytest.fixture
def made(tmp_path: Path) -> Run:
    """A run in an archive of its own whose folder has a blank in its name, with a database that
    is out of reach.
    """
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(tmp_path / "an archive")
    (tmp_path / "url").write_text("postgresql://u:pw@127.0.0.1:1/d")
    values["database"]["url"] = f"file:{tmp_path / 'url'}"
    values["backup"]["directory"] = str(tmp_path / "backups")
    values["approvals"]["required"] = ["plan"]
    del values["demo"]
    target: dict[str, Any] = {"host": "h", "port": 1, "database": "d", "system_identifier": "1"}
    return create(values, ["1_x"], {**target, "database_oid": 1, "server_version": "18"})


def typed(line: str, answer: str) -> tuple[int, str]:
    """What a person types, in another folder, on a terminal."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return on_a_terminal(["bash", "-c", line], answer, {**os.environ, "PATH": path})


def wait_at_the_plan(run: Run) -> None:
    """The run waits at its gate `plan`."""
    run.begin_phase("plan", "10_plan.ipynb")
    with pytest.raises(ApprovalNeeded):
        require(run, "plan", Checks("", [unknown("a", "it is so", "unseen")]), ["plan"])
    run.end_phase("plan", "waiting")
    run.end("waiting")


def fail_at(phase: str) -> Any:
    """What lets a run fail in a phase."""

    def fail(run: Run) -> None:
        run.begin_phase(phase, "x.ipynb")
        if phase == "migrate":
            run.journal("migration begun", files=["1_x"])
        run.end_phase(phase, "failed")
        run.end("failed")

    return fail


@pytest.mark.parametrize(
    ("comes_so_far", "answer", "says"),
    [
        (wait_at_the_plan, "y\n", "approved: plan of"),
        (fail_at("plan"), "", "plan"),
        (fail_at("migrate"), "n\n", "nothing was recorded, and nothing done"),
    ],
    ids=["waiting", "failed before anything was changed", "failed in the migration"],
)
def test_the_next_command_works_as_it_is_printed_in_any_folder(
    comes_so_far: Any, answer: str, says: str, made: Run
) -> None:
    comes_so_far(made)
    code, said = typed(f"runbook status {made.reference}", "")
    assert code == 0 and f"next: {advice.next_command(made)}" in said, said
    code, said = typed(advice.next_command(made), answer)
    assert says in said and "there is no run" not in said and "Usage" not in said, said
