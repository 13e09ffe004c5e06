"""What is said twice is said alike."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from runbook_lib.params import KEYS
from runbook_lib.run import ASIDE, PHASES

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_environment_yml_names_the_dependencies_of_pyproject_toml() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in conda if isinstance(item, dict))
    assert sorted(pip) == sorted(project["dependencies"] + project["optional-dependencies"]["test"])


def test_the_lock_file_pins_every_dependency_with_hashes_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}(\[\w+\])?==", text, re.MULTILINE), name
    assert "://" not in text and "--hash=sha256:" in text


def test_there_is_one_notebook_a_phase() -> None:
    assert [path.stem.split("_", 1)[1] for path in NOTEBOOKS] == [*PHASES, *ASIDE]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_carry_no_output_and_declare_every_parameter(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    parameters = next(cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    assert parameters.source.splitlines() == [
        "run_folder = None",
        *(f"{key} = None" for key in KEYS),
    ]


def prose(path: Path) -> list[str]:
    """The lines of a notebook's prose."""
    return [
        line
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_link_of_a_notebook_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(prose(path))):
        name, _, heading = target.partition("#")
        file = ROOT / "notebooks" / name if name else path
        assert file.exists(), target
        headings = [
            line.lstrip("#").strip().replace(" ", "-")
            for line in prose(file)
            if line.startswith("#")
        ]  # as JupyterLab names them
        assert not heading or heading in headings, target


def test_every_link_of_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = [
        re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    ]  # as GitHub names them
    for target in re.findall(r"\]\((?!https://)([^)\s]+)\)", text):
        file, _, heading = target.partition("#")
        assert (ROOT / file).exists() and (not heading or heading in headings), target


@pytest.mark.parametrize(
    "command", ["runbook_lib.phases.prechecks", "runbook_lib.phases.base", "runbook_lib.runner"]
)
def test_no_command_or_kernel_waits_for_grammars_that_nobody_needs(command: str) -> None:
    """jsonschema takes them for every format of an address: 1.5 s on a quiet machine."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {command}, sys; print('lark' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "False\n"
