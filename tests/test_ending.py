"""However a command ends, a person reads what happened and what to do, and a machine the exit
status: never a traceback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib import params
from runbook_lib.cli import app
from runbook_lib.commands import ending, which
from runbook_lib.commands.output import out
from runbook_lib.redact import remember
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[1]
RUNBOOK = str(Path(sys.executable).parent / "runbook")
TARGET = {
    "host": "h",
    "port": 1,
    "database": "d",
    "system_identifier": "1",
    "database_oid": 1,
    "server_version": "18",
}
Said = Callable[..., tuple[int, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in this process: its exit status, and all that it said."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["runbook", *map(str, words)])
        monkeypatch.setattr(out, "machines", False)
        monkeypatch.setattr(out, "run", None)
        status = ending.ended(app)
        read = capfd.readouterr()
        assert "Traceback" not in read.out + read.err
        return status, read.out + read.err

    return run


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Parameters whose database is out of reach."""
    found = params.load(ROOT / "params" / "demo.yaml")
    found["environment"]["archive"] = str(tmp_path / "archive")
    (tmp_path / "url").write_text("postgresql://u:pw@127.0.0.1:1/d")
    found["database"]["url"] = f"file:{tmp_path / 'url'}"
    del found["demo"]
    return found


@pytest.fixture
def made(values: dict[str, Any]) -> Run:
    """A run."""
    run = create(values, ["1_x"], TARGET)
    run.write_evidence("plan", {"hash": "h"})
    return run


PARAMETER_FILES = {
    "is not there": None,
    "is empty": b"",
    "is no mapping": b"- a\n",
    "is not YAML": b"a: [\n",
    "is not text": b"\xff\xfe\x00\x81",
    "has a date that is none": b"environment: {name: 2024-13-45}\n",
    "has a tag with a value that is none": b"environment: !!timestamp 'never'\n",
    "has a number without digits": b"environment: !!int ''\n",
    "has keys that are numbers": b"1: x\n",
    "has keys that are mappings": b"? {a: b}\n: c\n",
    "refers to itself": b"environment: &a {name: *a}\n",
    "is nested without end": b"[" * 3000,
    "has a tag of Python": b"environment: !!python/object/apply:os.getcwd []\n",
}


@pytest.mark.parametrize("what", PARAMETER_FILES)
@pytest.mark.parametrize("command", ["run", "prune", "drill", "lab"])
def test_a_parameter_file_that(command: str, what: str, said: Said, tmp_path: Path) -> None:
    content, path = PARAMETER_FILES[what], tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content)
    status, text = said(command, path)
    assert (status, "→ " in text) == (2, True) and "p.yaml" in text, text


def test_a_parameter_file_that_is_a_folder(said: Said, tmp_path: Path) -> None:
    status, text = said("run", tmp_path)
    assert status == 2 and "cannot be read: Is a directory" in text


@pytest.mark.parametrize("command", ["prune", "drill"])
def test_a_server_that_is_out_of_reach(
    command: str, said: Said, values: dict[str, Any], tmp_path: Path
) -> None:
    values["backup"]["directory"] = str(tmp_path / "backups")
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(values))
    status, text = said(command, tmp_path / "p.yaml")
    assert status in (0, 1, 2) and "pw" not in text and (status == 0 or "→ " in text), text


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "no JSON": lambda path: path.write_bytes(b"{"),
    "JSON of another form": lambda path: path.write_bytes(b"[1]\n"),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (file, damage)
        for file in ("run.json", "parameters.json", "journal.jsonl", "evidence/plan.json")
        for damage in DAMAGES
        if (file, damage) != ("evidence/plan.json", "JSON of another form")  # it has many forms
    ],
)
def test_a_record_that_is_damaged(file: str, damage: str, said: Said, made: Run) -> None:
    DAMAGES[damage](made.folder / file)
    for command in (
        ("status", made.folder),
        ("approve", made.folder, "plan"),
        ("report", made.folder),
        ("acknowledge", made.folder),
        ("verify", made.folder),
        ("diff", made.folder, made.folder),
        ("history", "--archive", made.folder.parent),
    ):
        status, text = said(*command)
        assert "the runbook itself failed" not in text, (command, text)
        assert status == 0 or "→ " in text or "not intact" in text, (command, text)


def test_an_archive_that_is_a_file(said: Said, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("")
    assert said("history", "--archive", tmp_path / "archive")[0] in (0, 2)
    assert said("status", tmp_path / "archive")[0] == 2
    assert said("status", tmp_path / "archive" / "x")[0] == 2


@pytest.mark.parametrize("kind, told", [(TypeError, ": of •••"), (ValueError, "\n")])
def test_an_unforeseen_error_is_one_line_without_a_value_and_its_trace_is_in_the_record(
    said: Said, made: Run, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], told: str
) -> None:
    remember("secretword")

    def broken(self: Run) -> dict[str, Any]:
        try:
            raise LookupError("of a row")
        except LookupError as error:
            raise kind("of secretword\nby zero") from error

    monkeypatch.setattr("runbook_lib.runner.outcome", broken)
    status, text = said("status", made.folder)
    assert status == 1 and f"the runbook itself failed: {kind.__name__}{told}" in text
    assert "secretword" not in text and "by zero" not in text
    kept = (made.folder / "evidence" / "trace.json").read_text()
    assert kind.__name__ in kept and "def broken" not in kept and "secretword" not in kept
    assert "LookupError" in kept and not re.search(r'"[^"]*LookupError: ', kept)


def test_an_unforeseen_error_without_a_run_says_how_to_see_its_trace(
    said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runbook_lib.params.load", lambda path: 1 / 0)
    status, text = said("run", tmp_path, "--json")
    event = json.loads(text)
    assert (status, event["event"], event["exit_status"]) == (1, "error", 1)
    assert "RUNBOOK_DEBUG=1" in event["remedy"] and "ZeroDivisionError" in event["message"]


def test_ctrl_c_is_a_word_and_a_status(
    said: Said, made: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runbook_lib.params.load", interrupted)
    assert said("run", tmp_path) == (1, "stopped\n")
    monkeypatch.setattr("runbook_lib.runner.outcome", interrupted)
    status, text = said("status", made.folder)
    assert status == 1 and f"`runbook status {made.folder}` says how the run stands" in text


def test_wrong_use_is_one_object_for_machines(said: Said) -> None:
    status, text = said("run", "--json", "--bad")
    event = json.loads(text)
    assert (status, event["event"]) == (2, "error") and "--bad" in event["message"]


@pytest.mark.parametrize(
    "redirection", [">&-", ">&- 2>&-", "<&-", "> /dev/full", "| true", "2>&1 | head -c 1"]
)
def test_nobody_has_to_read_what_is_said(redirection: str, made: Run) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {RUNBOOK} status {made.folder} {redirection}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Error" not in done.stderr


def test_characters_that_an_encoding_lacks_end_nothing(made: Run) -> None:
    done = subprocess.run(
        [RUNBOOK, "status", str(made.folder)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_a_run_is_named_by_any_part_that_no_other_has(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, said: Said, tmp_path: Path
) -> None:
    monkeypatch.setattr(which, "HOME", tmp_path)
    first, second = create(values, ["1_add"], TARGET), create(values, ["2_drop"], TARGET)
    for name, run in (
        ("1_add", first),
        (second.key, second),
        (first.id, first),
        (str(second.folder), second),
        (str(second.folder.parent / "2_dr"), second),
        ("", second),
    ):
        assert which.find(name).id == run.id
    status, text = said("status", "demo_")
    assert status == 2 and first.id in text and second.id in text and "2 runs have 'demo_'" in text
    shutil.copytree(first.folder, first.folder.with_name(f"{first.id}_more"))
    assert which.find(first.id).id == first.id


def test_what_is_printed_names_a_run_so_that_it_is_found_in_any_folder(made: Run) -> None:
    assert which.find(made.reference).id == made.id
    assert made.reference == str(made.folder)
