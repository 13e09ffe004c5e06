"""The archive is full, read-only or gone, at each moment of a phase: what was recorded stands,
nothing is half written, and once it is mended the run goes on, is reported and sealed (T4).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nbformat
import papermill
import pytest

from runbook_lib import archive, execute, history, notebook_files, params, runner
from runbook_lib.errors import NotRecorded
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[2]
FILES = ("run.json", "parameters.json", "evidence/plan.json")
BEGIN = """
from pathlib import Path
from runbook_lib.run import Run
run = Run(Path(run_folder))
run.begin_phase("plan", os.environ["RUNBOOK_NOTEBOOK"])
"""
TALK = "for number in range(20): print(f'line {number}', flush=True); time.sleep(0.05)"
END = "run.write_evidence('result', {'text': 'x' * 9000}); run.end_phase('plan', 'succeeded')"
MOMENTS = {
    "before the first cell": ("pass", "pass"),
    "within a cell, while it is saved": (f"spoil(); {TALK}".replace("; for", "\nfor"), "pass"),
    "between two cells": ("spoil()", "pass"),
    "when the phase records its end": ("pass", "spoil()"),
}


class Disk:
    """An archive that can be spoilt and mended."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away = folder / "archive", folder / "away"
        self.folder.mkdir()

    words = "gone"
    spoilt_by = "archive.rename(archive.with_name('away'))"
    said = "No such file or directory|not there any more"

    def spoil(self) -> None:
        exec(self.spoilt_by, {"archive": self.folder, "subprocess": subprocess, "os": os})

    def mend(self) -> None:
        if self.away.exists():
            self.away.rename(self.folder)

    def close(self) -> None:
        self.mend()


class SmallDisk(Disk):
    """An archive on a disk of its own, which is soon full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(self.folder)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here: that needs root")

    words = "full"
    spoilt_by = """
file = open(archive / "filler", "wb", buffering=0)
try:
    while file.write(b"x" * 4096): pass
except OSError: pass
"""
    said = "No space left on device"

    def mend(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


class ReadOnlyDisk(SmallDisk):
    """An archive on a disk that the system has made read-only, as it does after an error."""

    words = "read-only"
    spoilt_by = 'subprocess.run(["mount", "-o", "remount,ro", str(archive)], check=True)'
    said = "Read-only file system"

    def mend(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)


@pytest.fixture(params=[SmallDisk, ReadOnlyDisk, Disk], ids=["full", "read-only", "gone"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    made = request.param(tmp_path)
    yield made
    made.close()


def start(disk: Disk) -> Run:
    """A run in that archive."""
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"] = {"name": "tests", "archive": str(disk.folder)}
    values["notify"] = {}
    target = {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
    made = create(values, ["20260101000000_first"], target | {"server_version": "18.6"})
    made.write_evidence("plan", {"hash": "one"})
    return made


Lay = Callable[[Disk, str, str], None]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Lays out the notebook of the phase, in small: it begins, does something, and ends; saved
    at every line.
    """
    home = tmp_path / "home"
    (home / "notebooks").mkdir(parents=True)
    monkeypatch.setattr(execute, "HOME", home)
    often = partial(papermill.execute_notebook, autosave_cell_every=0.01)
    monkeypatch.setattr(papermill, "execute_notebook", often)

    def laid(disk: Disk, middle: str, last: str) -> None:
        spoil = f"def spoil():\n    archive = Path({str(disk.folder)!r})\n" + "\n".join(
            f"    {line}" for line in disk.spoilt_by.splitlines()
        )
        cells = [nbformat.v4.new_code_cell("run_folder = None", metadata={"tags": ["parameters"]})]
        for source in (f"import os, subprocess, time{BEGIN}\n{spoil}", middle, f"{last}\n{END}"):
            cells.append(nbformat.v4.new_code_cell(source))
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        notebook_files.write(made, home / "notebooks" / "10_plan.ipynb")

    return laid


def whole(folder: Path) -> None:
    """Every file of a run is there as it was written: JSON is JSON, lines are lines, notebooks
    are notebooks.
    """
    for name in FILES:
        json.loads((folder / name).read_text())
    for path in folder.glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))
    for line in (folder / "journal.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.fault(
    "the archive, {disk}",
    "{moment}",
    "any phase",
    "what was recorded stands; mended, the run goes on, is reported and sealed",
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_was_recorded_stands_and_the_run_goes_on_once_the_archive_is_mended(
    disk: Disk, lay: Lay, moment: str
) -> None:
    run = start(disk)
    lay(disk, *MOMENTS[moment])
    if moment == "before the first cell":
        disk.spoil()
    said: list[str] = []
    with pytest.raises(NotRecorded, match=disk.said) as caught:
        execute.execute(run, "plan", said.append)
    assert "→ " in str(caught.value)
    if "while it is saved" in moment:  # the cell may be the migration: it comes to its end
        assert "line 19" in said and sum("the cell goes on, though" in one for one in said) == 1
    disk.mend()
    whole(run.folder)
    assert not list(run.folder.glob("*.cut-off"))
    runner.settle(run)
    runner.report(run)
    lay(disk, "pass", "pass")
    assert execute.execute(run, "plan", said.append).status == "succeeded"
    run.end("succeeded")
    runner.finish(run, lambda *_, **__: None)
    assert archive.verify(run) == [] and run.phase("plan")["status"] == "succeeded"


@pytest.mark.fault(
    "a notebook, cut off: {left}",
    "between two phases",
    "any phase",
    "named, kept as it is; its phase is done anew",
)
@pytest.mark.parametrize("left", ["", '{"cells": [{"cell_type": "code", "sou', "[]", "\x00"])
def test_a_notebook_that_an_older_version_left_cut_off_is_named_and_its_phase_done_anew(
    tmp_path: Path, left: str, lay: Lay
) -> None:
    made = start(disk := Disk(tmp_path))
    lay(disk, "pass", "pass")
    cut = made.folder / "10_plan.ipynb"
    made.begin_phase("plan", cut.name)
    cut.write_text(left)
    made.end_phase("plan", "failed", [], "it was cut off")
    made.end("failed")
    runner.finish(made, lambda *_, **__: None)
    page = (made.folder / "report.html").read_text()
    assert "10_plan.ipynb was cut off and cannot be read" in page and archive.verify(made) == []
    done = execute.execute(made, "plan", lambda line: None)
    assert (done.status, done.notebook.name) == ("succeeded", "10_plan-2.ipynb")
    assert cut.read_text() == left
    assert any("10_plan.ipynb was cut off" in issue for issue in history.entry(made).issues)
