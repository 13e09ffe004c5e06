"""Executes notebooks into a run's folder, by papermill, and can be stopped.

Papermill does the executing. It runs in a thread so that this process's main thread can turn Ctrl-C and SIGTERM into
an interrupt of the kernel: the cell then ends its own database work, the notebook is saved as far as it came, and
nothing is left behind.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # optional in jsonschema, 1.5 s to import, not needed here

import nbformat
import papermill
from nbformat.sign import NotebookNotary
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from runbook_lib.archive import judge
from runbook_lib.errors import Aborted
from runbook_lib.phases.base import notebook_name
from runbook_lib.run import Run
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


class _Stop:
    """Shared by the main thread and papermill's: whether to stop, and which kernel to interrupt."""

    def __init__(self) -> None:
        self.requested = False
        self.kernel: int | None = None
        self.error: BaseException | None = None


class _Client(PapermillNotebookClient):
    """Papermill's client, which stops before a cell once the run was told to stop."""

    stop: _Stop

    def create_kernel_manager(self) -> Any:
        """A kernel that is spoken to through files of this user's, not through ports that everybody on the machine can reach."""
        manager = super().create_kernel_manager()
        manager.transport = "ipc"
        return manager

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
    from runbook_lib.postgres import locks
    from runbook_lib.postgres.connection import Database

    with Database(Target.parse(run.params.database_url()), f"runbook/{run.key}/abort") as db:
        locks.cancel(db, f"runbook/{run.key}")
    if stop.kernel:
        _send(stop.kernel, signal.SIGKILL)
    worker.join(10)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended, which is what the signal was to bring about
        os.kill(pid, number)


def _sign(notebook: Path) -> None:
    """Tell Jupyter that this notebook was executed here: it shows the outputs of others without their styles."""
    NotebookNotary().sign(nbformat.read(notebook, as_version=4))


def _judge(run: Run, phase: str, output: Path, stop: _Stop) -> Executed:
    entry = run.phase(phase) or {}
    whole, error = judge(output) if output.exists() else (False, "no notebook was written")
    status = entry.get("status", "failed")
    if stop.requested:
        status = "aborted"
    elif status == "running" or (status == "succeeded" and not whole):
        status, error = "failed", error or "the notebook did not finish its phase"
    run.end_phase(phase, status, reason=error)
    if output.exists():
        _sign(output)
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
