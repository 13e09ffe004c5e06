"""Takes a run through its phases, headless: one notebook after another, to the first that does not succeed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from runbook_lib import archive, execute, history
from runbook_lib.errors import Aborted, UsageError
from runbook_lib.phases.base import notebook_name
from runbook_lib.run import FINAL, LOOKING, PHASES, Run, between, runs

EXIT_STATUS = {"succeeded": 0, "failed": 1, "unknown": 1, "aborted": 1, "running": 0, "waiting": 3, "rolled_back": 4}
"""The exit status that an outcome ends with."""
LED_BACK = ("migrate", "validate")
"""Phases whose failure is rolled back where that is automatic: before them nothing has happened, after them the application writes again."""
HARMLESS = PHASES[:PHASES.index("announce")]
"""Phases that change neither the database nor the application."""


def carry(run: Run, first: str, last: str, say: Callable[[str], None], stop: execute.Stop) -> str:
    """Execute the phases from `first` to `last`; where migration or validation fails, roll back if that is automatic.

    Args:
        say: called with each line for the terminal.
        stop: of `execute.stoppable`.

    Returns:
        the run's outcome.
    """
    try:
        _carry(run, between(first, last), say, stop)
    except Aborted as error:
        say(str(error))
    finish(run)
    return run.outcome


def back(run: Run, say: Callable[[str], None], stop: execute.Stop) -> str:
    """Execute the way back; the run's outcome."""
    try:
        step(run, "rollback", say, stop)
    except Aborted as error:
        say(str(error))
    finish(run)
    return run.outcome


def _carry(run: Run, phases: tuple[str, ...], say: Callable[[str], None], stop: execute.Stop) -> None:
    for phase in phases:
        if _done(run, phase):
            say(f"{phase:<10} already done at {run.phase(phase)['ended_at']}")  # type: ignore[index]
            continue
        done = step(run, phase, say, stop)
        if done.status == "succeeded":
            continue
        if done.status == "failed" and phase in LED_BACK and run.params.rollback.automatic:
            step(run, "rollback", say, stop)
        return


def settle(run: Run) -> None:
    """End the phases whose process was killed, before the run is gone on with.

    Raises:
        UsageError: a phase is at work in another process.
    """
    for entry in run.at_work:
        process = entry.get("process") or {"pid": "unknown", "host": "a machine that is not known"}
        raise UsageError(f"{entry['phase']} of {run.id} is at work: process {process['pid']} on {process['host']} has begun and not ended it",
                         "wait until it has ended, or stop it there: Ctrl-C, or shut the notebook's kernel down")
    for entry in run.lost:
        run.end_phase(entry["phase"], "aborted", reason=f"its process {entry['process']['pid']} was killed: what it began may have landed in part")
        run.end("aborted")


def outcome(run: Run) -> str:
    """The run's outcome as far as it is known: a phase whose process was killed could not record how it ended."""
    return "unknown" if run.lost else run.outcome


def step(run: Run, phase: str, say: Callable[[str], None], stop: execute.Stop) -> execute.Executed:
    """Execute one phase's notebook, and say how it ended."""
    say(f"{phase:<10} …")
    done = execute.execute(run, phase, lambda line: say(f"           {line}"), stop)
    entry = run.phase(phase) or {}
    why = f": {entry.get('reason') or done.error}".splitlines()[0] if done.status != "succeeded" else ""
    say(f"{phase:<10} {done.status}{why}")
    return done


def finish(run: Run) -> None:
    """Write the report and seal the folder; notebooks that were laid out and never run are no record."""
    for path in run.folder.glob("[0-9][0-9]_*.ipynb"):
        if run.outcome in FINAL and not any(entry["notebook"] == path.name for entry in run.state["phases"]):
            path.unlink()
    report(run)
    archive.seal(run)
    index(run.folder.parent)


def report(run: Run) -> Path:
    """Write report.html: all executed notebooks as one page."""
    from runbook_lib.show import report as page

    ran = {entry["notebook"] for entry in run.state["phases"]}
    files = sorted((path for path in run.folder.glob("[0-9][0-9]_*.ipynb") if path.name in ran), key=lambda path: _order(run, path))
    notebooks = [(path.name, nbformat.read(path, as_version=4)) for path in files]
    text = page.render(run.state, notebooks, run.read_journal(), run.read_approvals(), evidence=_evidence(run), changes=history.entry(run).changes)
    path = run.folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def index(folder: Path) -> Path:
    """Write index.html over an archive: all runs, each leading to its report."""
    from runbook_lib.show import report as page

    path = folder / "index.html"
    path.write_text(page.index([run.state for run in runs(folder)]), encoding="utf-8")
    return path


def seat(run: Run, say: Callable[[str], None]) -> Path:
    """Lay the notebooks out for JupyterLab, and execute 00_start: whoever opens it sees how the run stands at this minute."""
    path = run.folder / notebook_name("start")
    run.journal("opened in JupyterLab")
    prepare(run)
    path.unlink()  # it only looks: what was found when the run was started stands in run.json and the journal
    execute.execute(run, "start", say)
    _fold_parameters(path)
    execute.sign(path)
    return path


def _fold_parameters(path: Path) -> None:
    """Hide the cells that hold parameters, in JupyterLab: they are a page long, and a click shows them."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", ())):
            cell.metadata["jupyter"] = {"source_hidden": True}
    nbformat.write(notebook, path)


def prepare(run: Run) -> None:
    """Put the notebooks that have not run yet into the run folder, parameters filled in, for JupyterLab."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from runbook_lib.run import ASIDE
    from runbook_lib.secret import HOME

    values = {**run.parameters, "run_folder": str(run.folder)}
    for phase in PHASES + ASIDE:
        name = notebook_name(phase)
        if not (run.folder / name).exists():
            notebook = parameterize_notebook(load_notebook_node(str(HOME / "notebooks" / name)), values)
            nbformat.write(notebook, run.folder / name)
            _fold_parameters(run.folder / name)


def summary(run: Run) -> list[tuple[str, str, float | None]]:
    """Phase, status and seconds, in the order in which they ran."""
    from runbook_lib.run import moment

    return [(entry["phase"], entry["status"],
             round((moment(entry["ended_at"]) - moment(entry["started_at"])).total_seconds(), 1) if entry["ended_at"] else None)
            for entry in run.state["phases"]]


def next_command(run: Run, parameters: str = "") -> str:
    """What a person types next, given how the run ended; empty where nothing is left to do."""
    waiting = next((entry for entry in reversed(run.state["phases"]) if entry["status"] == "waiting"), None)
    harmless = all(entry["phase"] in (*HARMLESS, *LOOKING) for entry in run.state["phases"])
    rollback = f"runbook rollback {run.id} --reason …   (or, once the cause is gone: runbook resume {run.id})"
    commands: Mapping[str, str] = {
        "waiting": f"runbook rollback {run.id} --reason …" if waiting and waiting["phase"] == "rollback" else
                   f"runbook approve {run.id} {waiting['phase'] if waiting else 'GATE'} --reason … && runbook resume {run.id}",
        "failed": f"runbook resume {run.id}   (once the cause is gone; nothing was changed)" if harmless else rollback,
        "aborted": f"runbook resume {run.id}   (or: runbook rollback {run.id} --reason …)",
    }
    return commands.get("aborted" if run.lost else run.outcome, "")


def _done(run: Run, phase: str) -> bool:
    return (run.phase(phase) or {}).get("status") == "succeeded"


def _order(run: Run, path: Path) -> tuple[str, str]:
    started = next((entry["started_at"] for entry in run.state["phases"] if entry["notebook"] == path.name), "9")
    return started, path.name


def _evidence(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "evidence").iterdir())


__all__ = ["carry", "back", "settle", "outcome", "step", "finish", "report", "seat", "prepare", "summary", "next_command", "EXIT_STATUS", "Any"]
