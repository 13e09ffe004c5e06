"""Executes notebooks into a run's folder, judges how they ended, and seals the folder.

Papermill does the executing. It runs in a thread so that this process's main thread can turn Ctrl-C and SIGTERM into
an interrupt of the kernel: the cell then ends its own database work, the notebook is saved as far as it came, and
nothing is left behind. Papermill's own record calls an interrupted notebook "completed"; so the judgement here rests
on the phase's status, on error outputs and on cells that never ran.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # optional in jsonschema, 1.5 s to import, not needed here

import nbformat
import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from runbook_lib.errors import Aborted, UsageError
from runbook_lib.phases.base import notebook_name
from runbook_lib.run import Run, newest, runs, stamp, write_json
from runbook_lib.secret import HOME

ABORT_GRACE_S = 1.5
"""Seconds that a kernel has to end its cell after an interrupt, before it is ended from outside."""


@dataclass(frozen=True)
class Executed:
    """How a phase's notebook ended.

    Args:
        status: "succeeded", "failed", "waiting" or "aborted".
        notebook: the executed notebook's file.
        error: the first error, one line; empty where there is none.
    """

    phase: str
    status: str
    notebook: Path
    error: str = ""


def execute(run: Run, phase: str, on_line: Callable[[str], None]) -> Executed:
    """Execute a phase's notebook into the run folder.

    Args:
        on_line: called with each line that the notebook prints.

    Raises:
        Aborted: the run was told to stop; the notebook and run.json stand.
    """
    output = _free_name(run.folder / notebook_name(phase))
    stop = _Stop()
    parameters = {**run.parameters, "run_folder": str(run.folder)}
    worker = threading.Thread(target=_papermill, args=(HOME / "notebooks" / notebook_name(phase), output, parameters, stop, on_line))
    with _signals(stop):
        worker.start()
        while worker.is_alive():
            worker.join(0.1)
            if stop.requested:
                _interrupt(run, worker, stop)
    if stop.error and not isinstance(stop.error, (PapermillExecutionError, Aborted)):
        raise stop.error
    return _judge(run, phase, output, stop)


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
    if path.exists():
        number = len(list(run.folder.glob("manifest.*.json"))) + 1
        path.rename(run.folder / f"manifest.{number}.json")
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
        raise UsageError(f"{run.id} was never sealed: it has no manifest.json", "a run is sealed when it ends")
    import json

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


class _Stop:
    """Shared by the main thread and papermill's: whether to stop, and which kernel to interrupt."""

    def __init__(self) -> None:
        self.requested = False
        self.kernel: int | None = None
        self.error: BaseException | None = None


class _Client(PapermillNotebookClient):
    """Papermill's client, which stops before a cell once the run was told to stop."""

    stop: _Stop

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        self.stop.kernel = self.km.provisioner.pid
        if self.stop.requested:
            raise Aborted("stopped before the next cell")
        return super().execute_cell(cell, cell_index, **options)


class _Engine(NBClientEngine):
    """Papermill's engine with that client."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, stop: _Stop, stdout_file: Any, start_timeout: int = 60,
                                 **_: Any) -> Any:
        client = _Client(nb_man, kernel_name=kernel_name, startup_timeout=start_timeout, stdout_file=stdout_file,
                         timeout=None, shutdown_kernel="immediate", log=logging.getLogger("papermill"))
        client.stop = stop
        return client.execute()


papermill_engines.register("runbook", _Engine)


class _Lines:
    """A file that hands on whole lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line, self._rest = on_line, ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line)

    def flush(self) -> None:
        """Nothing is held back but an unfinished line."""


def _papermill(source: Path, output: Path, parameters: dict[str, Any], stop: _Stop, on_line: Callable[[str], None]) -> None:
    os.environ["RUNBOOK_NOTEBOOK"] = output.name
    try:
        papermill.execute_notebook(source, output, parameters, engine_name="runbook", kernel_name="python3", progress_bar=False,
                                   cwd=HOME, stop=stop, stdout_file=_Lines(on_line))
    except BaseException as error:  # handed to the main thread, which raises or judges it
        stop.error = error


@contextmanager
def _signals(stop: _Stop) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a request to stop, as long as a notebook is executed."""
    def request(number: int, frame: Any) -> None:
        stop.requested = True
    old = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _interrupt(run: Run, worker: threading.Thread, stop: _Stop) -> None:
    """Interrupt the kernel until its cell ends; after the grace, end its sessions and the kernel itself."""
    deadline = time.monotonic() + ABORT_GRACE_S
    while worker.is_alive() and time.monotonic() < deadline:
        if stop.kernel:
            _send(stop.kernel, signal.SIGINT)
        worker.join(0.5)
    if not worker.is_alive():
        return
    from runbook_lib.phases.base import Target
    from runbook_lib.postgres import activity
    from runbook_lib.postgres.connection import Database

    with Database(Target.parse(run.params.database_url()), f"runbook/{run.key}/abort") as db:
        activity.cancel(db, f"runbook/{run.key}/")
    if stop.kernel:
        _send(stop.kernel, signal.SIGKILL)
    worker.join(10)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended, which is what the signal was to bring about


def _judge(run: Run, phase: str, output: Path, stop: _Stop) -> Executed:
    entry = run.phase(phase) or {}
    whole, error = judge(output) if output.exists() else (False, "no notebook was written")
    status = entry.get("status", "failed")
    if stop.requested:
        status = "aborted"
    elif status == "running" or (status == "succeeded" and not whole):
        status, error = "failed", error or "the notebook did not finish its phase"
    run.end_phase(phase, status, reason=error)
    if stop.requested:
        run.end("aborted")
        raise Aborted(f"{phase} was stopped; database work of this run was cancelled", f"`runbook resume {run.id}` goes on")
    if status == "failed" and run.outcome == "running":
        run.end("failed")
    return Executed(phase, status, output, error)


def _free_name(path: Path) -> Path:
    """The path, or one with a number where it holds a notebook that ran: an executed notebook is never overwritten."""
    if not path.exists() or _unexecuted(path):
        return path
    return next(name for n in range(2, 1000) if not (name := path.with_name(f"{path.stem}-{n}.ipynb")).exists())


def _unexecuted(path: Path) -> bool:
    return all(cell.get("execution_count") is None for cell in nbformat.read(path, as_version=4).cells)


def _files(folder: Path) -> list[Path]:
    """The files that a seal covers: all but the manifest itself and JupyterLab's checkpoints."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / "manifest.json"
                  and ".ipynb_checkpoints" not in file.parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["Executed", "execute", "judge", "seal", "verify", "newest"]
