"""The client is tried before the night: what would fail is found, and nothing of the project
changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbook_lib.check import Status
from runbook_lib.prisma import generation
from tests.prisma.conftest import INIT, SCHEMA, Make

THIRD = (
    "\n"
    'generator other {\n  provider = "node ./other.cjs"\n  output   = "../elsewhere/other.txt"\n'
    "}\n"
)
WRITES = """
const lines = require('node:readline').createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (method === 'getManifest')
    return process.stderr.write(JSON.stringify({
      jsonrpc: '2.0', id, result: { manifest: { prettyName: 'Other', defaultOutput: './x' } }
    }) + '\\n')
  %s
})
"""
FINE = (
    "require('node:fs').writeFileSync(params.generator.output.value, ''); "
    "process.stderr.write(JSON.stringify({ jsonrpc: '2.0', id, result: null }) + '\\n')"
)
BROKEN = (
    "process.stderr.write(JSON.stringify({ jsonrpc: '2.0', id, error: { code: 1, message: 'there "
    "is no tsconfig.json', data: { stack: '' } } }) + '\\n')"
)


def files(folder: Path) -> set[str]:
    """All files of a project but its packages, with when they were changed."""
    return {
        f"{path} {path.stat().st_mtime_ns}"
        for path in folder.rglob("*")
        if "node_modules" not in path.parts
    }


@pytest.mark.parametrize("schema", [SCHEMA, SCHEMA.replace("../generated", "../../out")])
def test_the_client_is_tried_beside_the_project_and_nothing_is_left(
    make: Make, schema: str
) -> None:
    project = make(INIT, schema=schema)
    before = files(project.folder)
    made = generation.trial(project, None, "rehearse.client")
    assert made.status is Status.PASSED, made.found
    assert files(project.folder) == before


@pytest.mark.parametrize(
    ("does", "status", "found"),
    [(FINE, Status.PASSED, " s"), (BROKEN, Status.FAILED, "no tsconfig.json")],
)
def test_a_third_partys_generator_is_tried_too(
    make: Make, does: str, status: Status, found: str
) -> None:
    project = make(INIT, schema=SCHEMA + THIRD)
    (project.folder / "other.cjs").write_text(WRITES % does)
    made = generation.trial(project, None, "rehearse.client")
    assert made.status is status and found in made.found
    assert not (project.folder / "elsewhere").exists()


def test_a_generator_that_is_not_installed_is_found(make: Make) -> None:
    project = make(INIT, schema=SCHEMA + THIRD.replace("node ./other.cjs", "prisma-not-installed"))
    made = generation.trial(project, None, "rehearse.client")
    assert made.status is Status.FAILED and "prisma-not-installed" in made.found


def test_a_folder_that_cannot_be_written_is_not_taken_for_a_good_client(make: Make) -> None:
    project = make(INIT)
    if os.geteuid() == 0:
        project.schema.parent.rename(project.folder / "moved")  # root may write everywhere
    else:
        project.folder.chmod(0o500)
    assert generation.trial(project, None, "rehearse.client").status is Status.UNKNOWN


def test_a_command_of_the_projects_own_is_run_in_its_folder(make: Make) -> None:
    project = make(INIT)
    assert generation.trial(project, "test -f package.json", "c").status is Status.PASSED
    made = generation.trial(project, "echo no generator; exit 3", "c")
    assert made.status is Status.FAILED and made.found == "status 3: no generator"
    assert generation.trial(project, False, "c").status is Status.NOT_CONFIGURED
    assert generation.generate(project, False) is None


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ('provider = "prisma-client-js"', 'output = "/t/client"'),
        ('provider = "prisma-client"\n  output = "../x"', 'output = "/t/client"'),
        (
            'provider = "prisma-erd"\n  output = "../docs/erd.svg" // picture',
            'output = "/t/client/erd.svg"',
        ),
        ('provider = "prisma-client"\n  output = env("OUT")', 'output = "/t/client"'),
    ],
)
def test_outputs_are_led_aside(block: str, expected: str, tmp_path: Path) -> None:
    made = generation.redirected(f"generator client {{\n  {block}\n}}\n", tmp_path)
    assert expected.replace("/t", str(tmp_path)) in made and "../" not in made


TRIAL = """
import sys; from pathlib import Path
from runbook_lib.prisma import generation; from runbook_lib.prisma.project import Project
print("begun", flush=True)
generation.trial(Project(Path(sys.argv[1]), engine="offline"), None, "c")
"""


def test_what_a_killed_trial_leaves_is_removed_by_the_next(make: Make) -> None:
    project = make(INIT)
    slow = project.folder / "prisma.config.ts"
    text = slow.read_text()
    slow.write_text(f"if (process.argv.includes('generate')) while (true) {{}}\n{text}")
    left = lambda: [path for path in project.folder.rglob(".runbook-generate-*")]  # noqa: E731
    with subprocess.Popen([sys.executable, "-c", TRIAL, str(project.folder)], text=True) as killed:
        deadline = time.monotonic() + 120
        while not left() and time.monotonic() < deadline:
            time.sleep(0.05)
        killed.kill()
    assert left()
    slow.write_text(text)
    assert generation.trial(project, None, "rehearse.client").status is Status.PASSED
    assert not left()


def test_a_trial_that_is_at_work_keeps_its_folder(tmp_path: Path) -> None:
    with generation._folder(tmp_path) as first, generation._folder(tmp_path) as second:
        assert first.is_dir() and second.is_dir() and first != second
    assert not list(tmp_path.iterdir())
