"""Executes notebooks into a run's folder, by papermill, and can be stopped.

Papermill does the executing. It runs in a thread so that this process's main thread can turn Ctrl-C
and SIGTERM into an interrupt of the kernel: the cell then ends its own database work, the notebook
is saved as far as it came, and nothing is left behind.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.sign import NotebookNotary
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from runbook_lib import archive, files, notebook_files
from runbook_lib.advice import next_command
from runbook_lib.archive import judge
from runbook_lib.errors import Aborted, DatabaseError, NotRecorded, RunbookError
from runbook_lib.phases.base import notebook_name
from runbook_lib.postgres import locks
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.run import FINAL, Run
from runbook_lib.secret import HOME

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a run to stop."""
ABORT_GRACE_S = 1.5
"""Seconds that a kernel has to end its cell after an interrupt, before its sessions are cancelled
from outside.
"""
KERNEL_START_S = 120
"""Seconds that a notebook's kernel has for its first answer: a busy machine takes its time."""
CLEAN_UP_S = 4.0
"""Seconds that it then has to put things away, before it is ended."""


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


class Stop:
    """Whether a signal asked for an end: heard while a notebook is executed, and between two."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a request to stop, as long as the block is executed."""
    stop = Stop()

    def request(number: int, frame: Any) -> None:
        stop.requested = True

    heard = [
        number
        for number in SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]  # nohup
    old = {number: signal.signal(number, request) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def execute(
    run: Run,
    phase: str,
    on_line: Callable[[str], None],
    stop: Stop | None = None,
    on_step: Callable[[str, str, float], None] = lambda step, verdict, seconds: None,
) -> Executed:
    """Execute a phase's notebook into the run folder.

    Args:
        on_line: called with each line that the notebook prints.
        stop: of `stoppable`, where several notebooks are executed; default one for this notebook.
        on_step: called after each cell that does something, with its id, how it ended, and how many
            seconds it took.

    Raises:
        Aborted: the run was told to stop; the notebook and run.json stand.
    """
    with nullcontext(stop) if stop else stoppable() as heard:
        if heard.requested:
            run.end("aborted")
            raise Aborted(f"stopped before {phase}", f"`runbook resume {run.reference}` goes on")
        run.open_seal()
        path = run.folder / notebook_name(phase)
        if path.exists() and archive.notebook(path) is None:
            run.journal("notebook damaged", notebook=path.name)
        work = _Work(run, heard, _free_name(path), on_step, on_line)
        worker = threading.Thread(
            target=_papermill, args=(HOME / "notebooks" / notebook_name(phase), work)
        )
        worker.start()
        while worker.is_alive():
            worker.join(0.1)
            if heard.requested:
                _interrupt(work, worker)
        return _judge(phase, work)


class _Work:
    """One notebook's execution, shared by the main thread and papermill's."""

    def __init__(
        self,
        run: Run,
        stop: Stop,
        output: Path,
        on_step: Callable[[str, str, float], None],
        on_line: Callable[[str], None],
    ) -> None:
        self.run, self.stop, self.output = run, stop, output
        self.on_step, self.on_line = on_step, on_line
        self.kernel: int | None = None
        self.error: BaseException | None = None


class KernelSilent(RunbookError):
    """A notebook's kernel was started and never answered: none of its cells was run."""


class _Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill is not typed
    """Papermill's client, which stops before a cell once the run was told to stop."""

    work: _Work
    sockets: str

    def create_kernel_manager(self) -> Any:
        """Run a kernel that is spoken to through files of this user's.

        Not through ports that everybody on the machine can reach.
        """
        manager = super().create_kernel_manager()
        manager.transport, manager.ip = "ipc", f"{self.sockets}/kernel"
        return manager

    async def async_start_new_kernel_client(self) -> Any:
        """Wait for the kernel's first answer.

        Raises:
            KernelSilent: it gave none.
        """
        try:
            return await super().async_start_new_kernel_client()
        except RuntimeError:  # Jupyter's word for a kernel that was silent, or ended before that
            run = self.work.run
            raise KernelSilent(
                f"the notebook's kernel did not answer within {self.startup_timeout} s; "
                "none of its cells was run, and nothing was changed",
                "see whether this machine is short of processor or memory (`uptime`, `free -m`), "
                "and whether `python -m ipykernel --version` answers in the runbook's environment; "
                f"then `runbook resume {run.reference}`",
            ) from None

    start_new_kernel_client = run_sync(async_start_new_kernel_client)

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        self.work.kernel = self.km.provisioner.pid
        if self.work.stop.requested:
            raise Aborted("stopped before the next cell")
        began, verdict = time.monotonic(), "failed"
        try:
            done = super().execute_cell(cell, cell_index, **options)
            verdict = "succeeded"
            return done
        except CellExecutionError as error:
            verdict = {
                "ApprovalNeeded": "waiting",
                "KeyboardInterrupt": "aborted",
                "Aborted": "aborted",
            }.get(error.ename, "failed")
            raise
        finally:
            if cell.cell_type == "code" and not {"parameters", "injected-parameters"} & {
                *cell.metadata.get("tags", [])
            }:
                self.work.on_step(
                    cell.get("id", str(cell_index)), verdict, time.monotonic() - began
                )


class _Engine(NBClientEngine):  # type: ignore[misc]  # papermill is not typed
    """Papermill's engine with that client."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        work: _Work,
        stdout_file: Any,
        start_timeout: int = KERNEL_START_S,
        **_: Any,
    ) -> Any:
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            stdout_file=stdout_file,
            timeout=None,
            shutdown_kernel="immediate",
            log=logging.getLogger("papermill"),
        )
        client.work = work
        nb_man.autosave_cell = _tolerant(nb_man.autosave_cell, work)
        with tempfile.TemporaryDirectory(
            prefix="runbook-"
        ) as client.sockets:  # short: the path of a socket has at most 107 bytes
            return client.execute()


papermill_engines.register("runbook", _Engine)
notebook_files.write_whole()


def _tolerant(save: Callable[[], None], work: _Work) -> Callable[[], None]:
    """Save while a cell is at work, and do not end the cell where that fails.

    It may be the migration. What it cannot keep is said once.
    """
    said: list[str] = []

    def saved() -> None:
        try:
            save()
        except NotRecorded as error:
            if not said:
                said.append(error.message)
                work.on_line(f"the cell goes on, though {error.message}")

    return saved


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


def _papermill(source: Path, work: _Work) -> None:
    os.environ["RUNBOOK_NOTEBOOK"] = work.output.name
    try:
        parameters = {**work.run.parameters, "run_folder": str(work.run.folder)}
        papermill.execute_notebook(
            source,
            work.output,
            parameters,
            engine_name="runbook",
            kernel_name="python3",
            progress_bar=False,
            cwd=HOME,
            work=work,
            stdout_file=_Lines(work.on_line),
            start_timeout=KERNEL_START_S,
        )
    except BaseException as error:  # handed to the main thread, which raises or judges it
        work.error = error


def _interrupt(work: _Work, worker: threading.Thread) -> None:
    """Interrupt the kernel until its cell ends.

    After a grace cancel its sessions, after another end it and its programs.
    """
    if _ends(work, worker, ABORT_GRACE_S):
        return
    run = work.run
    target = Target.parse(run.params.database_url())
    with (
        suppress(DatabaseError),
        Database(target, f"runbook/{run.key}/abort") as db,
    ):  # out of reach: nothing can be cancelled there
        locks.cancel(db, f"runbook/{run.key}")
    if not _ends(work, worker, CLEAN_UP_S) and work.kernel:
        _send(work.kernel, signal.SIGKILL)
        worker.join(10)


def _ends(work: _Work, worker: threading.Thread, seconds: float) -> bool:
    """Whether the cell ends in time, interrupted again and again.

    A kernel that is between two cells does not hear it.
    """
    deadline = time.monotonic() + seconds
    while worker.is_alive() and time.monotonic() < deadline:
        if work.kernel:
            _send(work.kernel, signal.SIGINT)
        worker.join(0.5)
    return not worker.is_alive()


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended, which is what the signal was to bring about
        os.kill(pid, number)


def sign(notebook: Path) -> None:
    """Tell Jupyter that this notebook was executed here.

    It shows the outputs of others without their styles.
    """
    if (found := archive.notebook(notebook)) is not None:
        NotebookNotary().sign(found)


def _judge(phase: str, work: _Work) -> Executed:
    """How the notebook ended, in run.json too.

    A kernel that was killed, or never came that far, could not say it itself.

    Raises:
        Aborted: the run was told to stop.
    """
    run, output = work.run, work.output
    whole, error = judge(output) if output.exists() else (False, "no notebook was written")
    unrecorded = _unrecorded(work.error, error)
    if unrecorded and not _begun(run, output.name):
        raise _unwritten(phase, run, unrecorded)
    entry = _entry(run, phase, output.name)
    status = entry["status"]
    if status == "running" or (status == "succeeded" and not whole):
        status = "aborted" if work.stop.requested or unrecorded else "failed"
        reason = unrecorded or _died(work.error) or error
        run.end_phase(phase, status, reason=reason or "the notebook did not finish its phase")
    if output.exists():
        sign(output)
    if work.stop.requested and run.outcome not in FINAL:
        if run.outcome != "aborted":
            run.end("aborted")
        raise Aborted(
            f"{phase} was stopped; {_left_at_work(run)}",
            f"next: {next_command(run)}",
        )
    if status in ("failed", "aborted") and run.outcome == "running":
        run.end(status)
    if unrecorded:
        raise _unwritten(phase, run, unrecorded)
    if work.error and not isinstance(
        work.error, (PapermillExecutionError, DeadKernelError, KernelSilent, Aborted)
    ):
        raise work.error
    return Executed(phase, status, output, error)


def _unrecorded(error: BaseException | None, said: str) -> str:
    """What the archive did not take, of the notebook itself or of what its phase recorded.

    Empty where it took all.
    """
    if isinstance(error, NotRecorded):
        return error.message
    kind, _, message = said.partition(": ")
    return message if kind == NotRecorded.__name__ else ""


def _unwritten(phase: str, run: Run, why: str) -> NotRecorded:
    """Say that the archive takes nothing, what the server does meanwhile, and what to type.

    That is to be typed once the archive takes something again.
    """
    return NotRecorded(
        f"{phase} was stopped, for the archive takes nothing: {why}; {_left_at_work(run)}",
        "make room there, or correct its permissions; "
        f"then `runbook resume {run.reference}` looks first at what landed, and goes on",
    )


def _left_at_work(run: Run) -> str:
    """What the server still does for a run that was stopped, as it says itself."""
    name = f"runbook/{run.key}"
    try:
        target = Target.parse(run.params.database_url())
        with Database(target, f"{name}/abort", statement_timeout="5s") as db:
            left = locks.at_work(db, name)
    except RunbookError:
        return "whether the server still works for this run is not known: it does not answer"
    if not left:
        return "the server works for this run no more"
    numbers = ", ".join(str(one.pid) for one in left)
    return f"the server still works for this run, in the sessions {numbers}"


def _entry(run: Run, phase: str, notebook: str) -> dict[str, Any]:
    """This notebook's entry in run.json, made here where it did not come as far as to make it."""
    if not _begun(run, notebook):
        run.begin_phase(phase, notebook)
    entry: dict[str, Any]
    *_, entry = (one for one in run.state["phases"] if one["notebook"] == notebook)
    return entry


def _begun(run: Run, notebook: str) -> bool:
    return any(entry["notebook"] == notebook for entry in run.state["phases"])


def _died(error: BaseException | None) -> str:
    if isinstance(error, KernelSilent):
        return str(error)
    return "its kernel died" if isinstance(error, DeadKernelError) else ""


def _free_name(path: Path) -> Path:
    """The path, or one with a number where it holds a notebook that ran.

    An executed notebook is never overwritten.
    """
    if not path.exists() or _unexecuted(path):
        return path
    return files.unused(lambda n: path.with_name(f"{path.stem}-{n}.ipynb"), 2)


def _unexecuted(path: Path) -> bool:
    """Whether nobody ran a notebook yet; one that was cut off is kept as it is."""
    return not archive.executed(path)
