"""Judges executed notebooks, and seals a run's folder: what was recorded can be shown to be what was recorded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nbformat

from runbook_lib.errors import UsageError
from runbook_lib.run import Run, runs, stamp, write_json


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
    """Write manifest.json: the sha256 of every file of the run, and of the previous run's manifest."""
    path = run.folder / "manifest.json"
    run.open_seal()
    before = [other for other in runs(run.folder.parent) if other.id < run.id and (other.folder / "manifest.json").exists()]
    previous = before[-1] if before else None
    write_json(path, {
        "run_id": run.id, "sealed_at": stamp(),
        "previous": {"run_id": previous.id, "manifest_sha256": _sha256(previous.folder / "manifest.json")} if previous else None,
        "files": {str(file.relative_to(run.folder)): _sha256(file) for file in _files(run.folder)},
    })
    return path


def verify(run: Run) -> list[str]:
    """What is not as it was sealed, a line each; empty where the archive is intact.

    Raises:
        UsageError: the run was never sealed.
    """
    path = run.folder / "manifest.json"
    if not path.exists():
        raise UsageError(f"{run.id} is not sealed: it has not ended, or was taken up again since", f"`runbook report {run.id}` seals it")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    sealed, present = manifest["files"], {str(file.relative_to(run.folder)): file for file in _files(run.folder)}
    wrong = [f"{name}: missing" for name in sealed if name not in present]
    wrong += [f"{name}: added after sealing" for name in present if name not in sealed]
    wrong += [f"{name}: changed after sealing" for name, file in present.items() if name in sealed and _sha256(file) != sealed[name]]
    previous = manifest["previous"]
    if previous:
        file = run.folder.parent / previous["run_id"] / "manifest.json"
        if not file.exists():
            wrong.append(f"the previous run {previous['run_id']}: missing")
        elif _sha256(file) != previous["manifest_sha256"]:
            wrong.append(f"the previous run {previous['run_id']}: its manifest changed")
    return wrong


def _files(folder: Path) -> list[Path]:
    """The files that a seal covers: all but the manifest itself and JupyterLab's checkpoints."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / "manifest.json"
                  and ".ipynb_checkpoints" not in file.parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
