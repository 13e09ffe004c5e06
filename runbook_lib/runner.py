"""Takes a run through its phases, headless.

One notebook after another, to the first that does not succeed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import nbformat

from runbook_lib import archive, execute, files, history, mirror, notebook_files, verdict
from runbook_lib.errors import Aborted, DatabaseError, Refused
from runbook_lib.phases.base import notebook_name
from runbook_lib.postgres import activity
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.run import FINAL, Run, between, lasted, runs
from runbook_lib.state import PHASES
from runbook_lib.whereabouts import person

EXIT_STATUS = {
    "succeeded": 0,
    "failed": 1,
    "unknown": 1,
    "aborted": 1,
    "running": 0,
    "waiting": 3,
    "rolled_back": 4,
}
"""The exit status that an outcome ends with."""


class Say(Protocol):
    """Says one line, with the facts that it tells (see `runbook_lib.commands.output`)."""

    def __call__(self, line: str, /, **facts: Any) -> None: ...


def carry(run: Run, first: str, last: str, say: Say, stop: execute.Stop) -> str:
    """Execute the phases from `first` to `last`.

    Where migration or validation fails, roll back if that is automatic.

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
    finish(run, say)
    return run.outcome


def back(run: Run, say: Say, stop: execute.Stop) -> str:
    """Execute the way back; the run's outcome."""
    try:
        step(run, "rollback", say, stop)
    except Aborted as error:
        say(str(error))
    finish(run, say)
    return run.outcome


def _carry(run: Run, phases: tuple[str, ...], say: Say, stop: execute.Stop) -> None:
    for phase in phases:
        if _holds(run, phase, say):
            continue
        claim(run, phase)
        done = step(run, phase, say, stop)
        if done.status == "succeeded":
            continue
        if run.params.rollback.automatic and verdict.leads_back(run, phase):
            step(run, "rollback", say, stop)
        return


def _holds(run: Run, phase: str, say: Say) -> bool:
    """Whether a phase was done and what it did still holds.

    Else it is to be done, a second time if need be.
    """
    from runbook_lib.phases import again

    entry = again.done(run, phase)
    if entry is None:
        return False
    checks = again.look_at(run, phase)
    lacking = "; ".join(f"{item.title}: {item.found}" for item in (*checks.failed, *checks.unknown))
    found = (
        f"it holds no more, and is done again: {lacking}"
        if lacking
        else f"it still holds ({len(checks)} checks)"
    )
    say(
        f"{phase:<10} {again.words(entry)}; {found}",
        event="phase",
        run=run.id,
        phase=phase,
        status="already done",
        ended_at=entry["ended_at"],
        who=entry.get("who"),
        holds=not lacking,
        reason=lacking,
    )
    if lacking:
        os.environ[again.AGAIN] = phase  # its notebook, too
    return not lacking


def claim(run: Run, phase: str, *, take_over: bool = False) -> None:
    """Make sure, before a phase begins, that no other run has the database.

    Only if the phase has effects on it.

    Raises:
        Refused: another run has it.
    """
    from runbook_lib.phases.base import phase_class

    asked = phase_class(phase)(run)
    try:
        asked.claim(take_over=take_over)
    finally:
        asked._give_back()


def settle(run: Run, *, take_over: bool = False) -> None:
    """End the phases whose process was killed, before the run is gone on with.

    Args:
        take_over: a person has made sure that what began on another machine is gone there.

    Raises:
        Refused: a phase is at work in another process, or it cannot be told whether it is.
    """
    for entry in run.elsewhere if take_over else ():
        _take_over(run, entry)
    for entry in run.at_work:
        process = entry.get("process") or {"pid": "unknown", "host": "a machine that is not known"}
        if entry in run.elsewhere:
            raise Refused(
                f"{entry['phase']} of {run.id} was begun by process {process['pid']} on "
                f"{process['host']}: whether it is still at work cannot be told from here",
                f"look there (`runbook status {run.reference}` on {process['host']}); where it is "
                "gone, the same command with `--take-over`",
            )
        raise Refused(
            f"{entry['phase']} of {run.id} is at work: {entry.get('who') or 'somebody'}, process "
            f"{process['pid']} on {process['host']} has begun and not ended it",
            "wait until it has ended, or stop it there: Ctrl-C, or shut the notebook's kernel down",
        )
    for entry in run.lost:
        run.end_phase(
            entry["phase"],
            "aborted",
            reason=f"its process {entry['process']['pid']} was killed: {_left(entry)}",
            killed=True,
        )
        run.end("aborted")


def _left(entry: Mapping[str, Any]) -> str:
    """What a process that was killed may have left."""
    if entry.get("idle"):
        return "it had recorded nothing that it did"
    return "what it began may have landed in part"


def _take_over(run: Run, entry: Mapping[str, Any]) -> None:
    """End a phase in the record that began on another machine.

    Not while the database is at work for it.

    Raises:
        Refused: it is at work, or the database cannot be asked.
    """
    process, target = entry.get("process") or {}, Target.parse(run.params.database_url())
    try:
        with Database(target, f"runbook/{run.key}-take-over", statement_timeout="30s") as db:
            working = [
                one for one in activity.of_application(db, f"runbook/{run.key}") if one.working
            ]
    except DatabaseError as error:
        raise Refused(
            f"whether {entry['phase']} of {run.id} is still at work cannot be told: "
            f"{error.message}",
            "make the database reachable",
        ) from None
    if working:
        raise Refused(
            f"{entry['phase']} of {run.id} is still at work in the database: "
            f"{', '.join(str(one) for one in working)}",
            f"wait until it has ended, or stop it on {process.get('host', 'its machine')}",
        )
    run.end_phase(
        entry["phase"],
        "aborted",
        reason=f"it was begun on {process.get('host', 'another machine')}, and taken over by "
        f"{person()}: what it began may have landed in part",
        killed=True,
    )
    run.end("aborted")


def outcome(run: Run) -> str:
    """The run's outcome as far as it is known.

    A phase whose process was killed could not record how it ended.
    """
    return "unknown" if run.lost else run.outcome


def step(run: Run, phase: str, say: Say, stop: execute.Stop) -> execute.Executed:
    """Execute one phase's notebook; say how each of its steps ended, and the whole."""

    def ended(cell: str, verdict: str, seconds: float) -> None:
        name = cell.removeprefix(f"{phase}-")
        say(
            f"{phase:<10}   {name:<24} {verdict:<9} {seconds:6.1f} s",
            event="step",
            run=run.id,
            phase=phase,
            step=name,
            status=verdict,
            seconds=round(seconds, 1),
        )

    say(f"{phase:<10} …", event="phase", run=run.id, phase=phase, status="running")
    done = execute.execute(
        run,
        phase,
        lambda line: say(
            f"             {line}", event="progress", run=run.id, phase=phase, text=line
        ),
        stop,
        ended,
    )
    entry = run.phase(phase) or {}
    said = str(entry.get("reason") or done.error) if done.status != "succeeded" else ""
    reason, *details = said.splitlines() or [""]
    seconds = lasted(entry["started_at"], entry["ended_at"])
    say(
        f"{phase:<10} {done.status}"
        + (f": {reason}" if reason else "" if seconds is None else f" in {seconds:.1f} s"),
        event="phase",
        run=run.id,
        phase=phase,
        status=done.status,
        seconds=seconds,
        reason=said,
        failed_checks=entry.get("failed_checks", []),
    )
    for line in details:
        say(f"             {line}", event="progress", run=run.id, phase=phase, text=line)
    return done


def _print(line: str, /, **_: Any) -> None:
    print(line, flush=True)


def finish(run: Run, say: Say = _print) -> None:
    """Write entry and report, seal the folder, mirror it, and send the seal's hash to operations.

    Notebooks that were laid out and never run are no record.
    """
    archive.record_missing_seal(run)
    run.open_seal()
    for path in run.folder.glob("[0-9][0-9]_*.ipynb"):
        if run.outcome in FINAL and not any(
            entry["notebook"] == archive.attempt_of(path.name) for entry in run.state["phases"]
        ):
            path.unlink()
    files.write_text(run.folder / "history.md", history.entry(run).markdown())
    report(run)
    archive.seal(run)
    index(run.folder.parent)
    _mirror(run, say)
    if run.outcome in FINAL:
        _send_seal(run)


def _mirror(run: Run, say: Say) -> None:
    """Copy the sealed run to where the parameters say.

    Where that fails the record says so, and stays whole here.
    """
    if not (place := run.params.environment.mirror):
        return
    try:
        copied = mirror.mirror(run.folder, place)
        say(
            f"mirrored: {copied.place}, {copied.files} files, read back and compared",
            event="mirrored",
            run=run.id,
            place=copied.place,
            files=copied.files,
        )
    except mirror.NotMirrored as error:
        run.journal("not mirrored", place=place, why=error.message)
        report(run)
        archive.seal(run)
        say(
            f"not mirrored: {error}",
            event="not mirrored",
            run=run.id,
            place=place,
            reason=error.message,
        )


def _send_seal(run: Run) -> None:
    """Send the hash of an ended run's seal to operations: a copy that stands outside the archive.

    What became of the message stands in the archive's list of seals: the run itself is sealed.
    """
    from runbook_lib.phases import talk

    if deliveries := talk.send_seal(run, archive.seal_hash(run)):
        archive.note_seal(run, sent=deliveries)


def report(run: Run) -> Path:
    """Write report.html: all executed notebooks as one page."""
    from runbook_lib.show import cells
    from runbook_lib.show import report as page

    ran = {entry["notebook"] for entry in run.state["phases"]}
    found = sorted(
        (
            path
            for path in run.folder.glob("[0-9][0-9]_*.ipynb")
            if archive.attempt_of(path.name) in ran
        ),
        key=lambda path: _order(run, path),
    )
    notebooks = [(path.name, archive.notebook(path) or _cut_off(path)) for path in found]
    notebooks += cells.earlier_runs(run.read_cells())
    text = page.render(
        run.state,
        notebooks,
        run.read_journal(),
        run.read_approvals(),
        evidence=_evidence(run),
        changes=history.entry(run).changes,
        content=run.read_evidence("validate.content.tables", missing=None),
    )
    path = run.folder / "report.html"
    files.write_text(path, text)
    return path


def _cut_off(path: Path) -> nbformat.NotebookNode:
    """What the report shows in the place of a notebook that cannot be read."""
    said = f"{path.name} was cut off and cannot be read; the journal says what happened in it."
    made: nbformat.NotebookNode = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(said)]
    )
    return made


def index(folder: Path) -> Path:
    """Write index.html over an archive: all runs, each leading to its report."""
    from runbook_lib.show import report as page

    path = folder / "index.html"
    files.write_text(path, page.index([run.state for run in runs(folder)]))
    return path


def seat(run: Run, say: Callable[[str], None]) -> Path:
    """Lay the notebooks out for JupyterLab, and execute 00_start.

    Whoever opens it sees how the run stands at this minute.
    """
    path = run.folder / notebook_name("start")
    run.journal("opened in JupyterLab")
    prepare(run)
    # it only looks: what was found when the run was started stands in run.json and the journal
    path.unlink()
    execute.execute(run, "start", say)
    _fold_parameters(path)
    execute.sign(path)
    return path


def _fold_parameters(path: Path) -> None:
    """Hide the cells that hold parameters, in JupyterLab.

    They are a page long, and a click shows them.
    """
    notebook = archive.notebook(path)
    for cell in notebook.cells if notebook else ():
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", ())):
            cell.metadata["jupyter"] = {"source_hidden": True}
    if notebook:
        notebook_files.write(notebook, path)


def prepare(run: Run) -> None:
    """Put the notebooks that have not run into the run folder, parameters filled in.

    For JupyterLab.
    """
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from runbook_lib.run import ASIDE
    from runbook_lib.secret import HOME

    run.open_seal()  # a notebook that is read-only cannot be saved
    values = {**run.parameters, "run_folder": str(run.folder)}
    for phase in PHASES + ASIDE:
        path = run.folder / notebook_name(phase)
        _set_aside(run, path)
        if not path.exists():
            source = load_notebook_node(str(HOME / "notebooks" / path.name))
            notebook_files.write(parameterize_notebook(source, values), path)
            _fold_parameters(path)


def _set_aside(run: Run, path: Path) -> None:
    """Move a notebook that cannot be read out of the way of one that can be opened.

    It stays in the record.
    """
    if path.exists() and archive.notebook(path) is None:
        aside = path.with_name(f"{path.name}.cut-off")
        files.keep(aside)
        path.rename(aside)
        run.journal("notebook damaged", notebook=path.name)


def summary(run: Run) -> list[tuple[str, str, float | None]]:
    """Phase, status and seconds, in the order in which they ran."""
    return [
        (entry["phase"], entry["status"], lasted(entry["started_at"], entry["ended_at"]))
        for entry in run.state["phases"]
    ]


def _order(run: Run, path: Path) -> tuple[str, str]:
    name = archive.attempt_of(path.name)
    started = next(
        (entry["started_at"] for entry in run.state["phases"] if entry["notebook"] == name),
        "9",
    )
    return started, path.name


def _evidence(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "evidence").iterdir())


__all__ = [
    "carry",
    "back",
    "settle",
    "outcome",
    "step",
    "finish",
    "report",
    "seat",
    "prepare",
    "summary",
    "EXIT_STATUS",
    "Any",
]
