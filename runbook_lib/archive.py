"""Judges executed notebooks, seals a run's folder, and says whether it is still what was recorded.

Each seal holds the hash of the seal of the run before: a run that is changed, or taken out, breaks the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat

from runbook_lib import seal as seals
from runbook_lib.errors import UsageError
from runbook_lib.files import protect, write_json
from runbook_lib.run import Run, earlier, runs, stamp
from runbook_lib.seal import MANIFEST, read_manifest, sha256
from runbook_lib.table import Shown, Table


@dataclass(frozen=True)
class Verified(Shown):
    """Whether a run is as it was sealed.

    Args:
        files: how many were sealed.
        wrong: what is not, a line each.
        could_not_check: what cannot be said from here, a line each.
    """

    run_id: str
    files: int
    wrong: tuple[str, ...] = ()
    could_not_check: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"run": self.run_id, "intact": self.intact} | {
            key: value for key, value in asdict(self).items() if key != "run_id"
        }

    def table(self) -> Table:
        """What is wrong, and what could not be checked."""
        rows = [
            *(("✘ not as sealed", line) for line in self.wrong),
            *(("? could not check", line) for line in self.could_not_check),
        ]
        title = f"{self.run_id}: {f'intact, {self.files} files' if self.intact else f'{len(self.wrong)} not as sealed'}"
        return Table(
            title,
            ("", "what"),
            rows,
            ["bad"] * len(self.wrong) + ["unknown"] * len(self.could_not_check),
        )


def judge(notebook: Path) -> tuple[bool, str]:
    """Whether a notebook ran to its end without an error, and the first error, one line.

    Papermill's metadata is not asked: it says `completed` after an interrupt or a timeout.
    """
    content = nbformat.read(notebook, as_version=4)
    code = [cell for cell in content.cells if cell.cell_type == "code" and cell.source.strip()]
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                return False, f"{output.ename}: {output.evalue}".splitlines()[0]
    pending = sum(cell.execution_count is None for cell in code)
    return pending == 0, f"{pending} cells did not run" if pending else ""


def seal(run: Run) -> Path:
    """Write manifest.json: the hash of every file and cell of the run, and of the previous run's seal; then all files are read-only."""
    path = run.folder / MANIFEST
    run.open_seal()
    before = [other for other in earlier(run) if other.sealed]
    previous = (
        {"run_id": before[-1].id, "manifest_sha256": sha256(before[-1].folder / MANIFEST)}
        if before
        else None
    )
    write_json(
        path,
        {"run_id": run.id, "sealed_at": stamp(), "previous": previous, **seals.hashes(run.folder)},
    )
    for file in (*seals.files(run.folder).values(), path):
        protect(file)
    return path


def examine(run: Run, *, whole_chain: bool = True) -> Verified:
    """Whether a run is as it was sealed, what was changed behind an earlier seal, and whether the chain before it holds.

    Args:
        whole_chain: back to the first run; else only this run's link.

    Raises:
        UsageError: the run was never sealed.
    """
    path = run.folder / MANIFEST
    if not path.exists():
        raise UsageError(
            f"{run.id} is not sealed: it has not ended, or was taken up again since",
            f"`runbook report {run.id}` seals it",
        )
    manifest = read_manifest(path)
    if manifest is None:
        return Verified(run.id, 0, (f"{MANIFEST}: cannot be read",))
    wrong = seals.differences(run.folder, manifest)
    if manifest["run_id"] != run.id:
        wrong.append(f"the folder's name: it was sealed as {manifest['run_id']}")
    wrong += [
        f"{line} (found when the seal was opened at {opened['at']} by {opened['who']})"
        for opened in run.read_journal()
        for line in opened.get("not_as_sealed", ())
    ]
    alone = len(list(run.folder.parent.glob("*/run.json"))) == 1
    broken = tuple(_chain(run.folder.parent, manifest, run.id, whole_chain))
    if alone and broken:
        broken = (
            f"the chain of seals: the run before it, {manifest['previous']['run_id']}, is not here, nor is any other run",
        )
        return Verified(run.id, len(manifest["files"]), tuple(wrong), broken)
    return Verified(run.id, len(manifest["files"]), (*wrong, *broken))


def verify(run: Run) -> list[str]:
    """What is not as it was sealed, a line each; empty where the run is intact.

    Raises:
        UsageError: the run was never sealed.
    """
    return list(examine(run).wrong)


def examine_all(folder: Path) -> list[Verified]:
    """Every run of an archive, oldest first: those that are not sealed, and numbers that are missing, are named, too."""
    found, last = [], 0
    for run in runs(folder):
        gone = tuple(
            f"run number {number}: missing in this archive"
            for number in range(last + 1, run.number)
        )
        last = max(last, run.number)
        one = (
            examine(run, whole_chain=False)
            if run.sealed
            else Verified(
                run.id,
                0,
                could_not_check=("not sealed: it has not ended, or was taken up again since",),
            )
        )
        found.append(Verified(one.run_id, one.files, (*gone, *one.wrong), one.could_not_check))
    return found


def _chain(archive: Path, manifest: dict[str, Any], run_id: str, whole: bool) -> Iterator[str]:
    """Where the chain of seals before a run is broken: which run, and from where the link leads there."""
    while previous := manifest["previous"]:
        folder, link = (
            archive / previous["run_id"],
            "" if run_id == manifest["run_id"] else f" (the link of {manifest['run_id']})",
        )
        if not (folder / "run.json").exists():
            yield f"the previous run {previous['run_id']}: missing{link}"
            return
        path = next(
            (
                path
                for path in folder.glob("manifest*.json")
                if sha256(path) == previous["manifest_sha256"]
            ),
            None,
        )
        found = read_manifest(path) if path else None
        if found is None:
            yield f"the previous run {previous['run_id']}: its manifest changed{link}"
            return
        if not whole:
            return
        manifest = found
