"""The notebooks by themselves: with plain papermill, and under nbval as they stand in the
repository.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from worlds import ROOT, World

from runbook_lib import archive
from runbook_lib.params import load
from runbook_lib.phases.start import start_run
from runbook_lib.run import ASIDE, PHASES

pytestmark = pytest.mark.timeout(600)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_each_notebook_works_with_plain_papermill_and_the_parameter_file(world: World) -> None:
    said = ""
    for notebook in NOTEBOOKS:
        output = world.folder / notebook.name
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "papermill",
                str(notebook),
                str(output),
                "-f",
                str(world.file),
                "--no-progress-bar",
            ],
            cwd=world.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{notebook.name}: {done.stderr[-3000:]}"
        assert archive.judge(output) == (True, ""), notebook.name
        said += done.stderr
    assert "unknown parameter" not in said
    assert world.newest.outcome == "succeeded"
    assert [entry["phase"] for entry in world.newest.state["phases"]] == [*PHASES, *ASIDE]


def test_the_notebooks_run_as_they_are_in_the_open_run(world: World) -> None:
    run = start_run(load(world.file))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            str(ROOT / "notebooks"),
            *map(str, NOTEBOOKS),
        ],
        cwd=world.folder,
        env={**os.environ, "RUNBOOK_RUN": str(run.folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert run.outcome == "succeeded"
