"""The command line: each command does what a button does.

Exit status: 0 succeeded; 1 failed; 2 wrong use or parameters; 3 waiting for a person, or for
another run or process; 4 rolled back.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from runbook_lib import gate as gates
from runbook_lib import params as parameters
from runbook_lib import process
from runbook_lib.advice import next_command, otherwise
from runbook_lib.commands import before, decide, engine, people, record
from runbook_lib.commands.decide import Yes
from runbook_lib.commands.ending import ended
from runbook_lib.commands.output import Json, out
from runbook_lib.commands.people import show_escalations
from runbook_lib.commands.which import RunName
from runbook_lib.commands.which import find as _find
from runbook_lib.commands.which import phases as _phases
from runbook_lib.errors import UsageError
from runbook_lib.run import FINAL, Run, between, create
from runbook_lib.secret import HOME
from runbook_lib.state import PHASES
from runbook_lib.whereabouts import carrying

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Takes a Prisma migration of a PostgreSQL database through every phase and keeps the "
    "record.",
)
console, _say, _show = out.console, out.say, out.show
for _command in (
    *before.COMMANDS,
    *decide.COMMANDS,
    *record.COMMANDS,
    *people.COMMANDS,
    *engine.COMMANDS,
):
    app.command()(_command)


def _given(path: Path) -> Path:
    out.parameters = path.resolve()
    return path


Parameters = Annotated[
    Path,
    typer.Argument(
        help="Parameter file of one environment, e.g. params/demo.yaml", callback=_given
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for the record")]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Take the run over from another machine, and its database from another run: those are "
        "gone, you have looked",
    ),
]


def main() -> None:
    """Run the command line; end with a message and an exit status.

    Whatever happens, it never ends with a traceback.
    """
    process.hear_signals()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(
                number, signal.default_int_handler
            )  # ended as by Ctrl-C: with what was started
    sys.exit(ended(app))


def _version(asked: bool) -> None:
    if asked:
        print(f"runbook {version('database-migration-runbook')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Hold the options of the command line itself."""


@app.command()
def run(
    params: Parameters,
    first: Annotated[str, typer.Option("--from", help="First phase")] = PHASES[0],
    last: Annotated[str, typer.Option("--to", help="Last phase")] = PHASES[-1],
    take_over: TakeOver = False,
    machines: Json = False,
) -> None:
    """Start a run and execute phase after phase, to the first that does not succeed."""
    values = parameters.load(params)
    chosen = parameters.parse(values, str(params))
    between(first, last)
    with _demo(values, fresh=True):
        from runbook_lib.phases.start import examine

        found = examine(chosen)
        if not found.pending:
            out.say(
                "nothing is pending: every migration of the project is applied",
                event="end",
                run=None,
                outcome="nothing pending",
                exit_status=0,
            )
            return
        _carry(lambda: create(values, list(found.pending), found.target), first, last, take_over)


@app.command()
def resume(
    run: RunName = "",
    last: Annotated[str, typer.Option("--to", help="Last phase")] = PHASES[-1],
    again: Annotated[
        str, typer.Option(help="Do this phase again, though it succeeded", show_default=False)
    ] = "",
    take_over: TakeOver = False,
    machines: Json = False,
) -> None:
    """Go on with a run; phases that succeeded are looked at again.

    They are not repeated if their results still hold.
    """
    found = _find(run)
    found.require_told()
    if found.outcome in FINAL:
        raise UsageError(f"{found.id} has ended: {found.outcome}", "start a new run")
    between(again or PHASES[0], last)
    if again:
        os.environ["RUNBOOK_AGAIN"] = again
    with _alone(found, take_over), _demo(found.parameters):
        _settle(found, take_over)
        found.journal("resumed")
        _carry(lambda: found, PHASES[0], last, take_over)


@app.command()
def rollback(
    run: RunName = "",
    reason: Reason = "asked for on the command line",
    way: Annotated[
        str,
        typer.Option(
            help="resolve, forward, restore or point-in-time; default: the cheapest that leads "
            "back",
            show_default=False,
        ),
    ] = "",
    take_over: TakeOver = False,
    yes: Yes = False,
    machines: Json = False,
) -> None:
    """Approve and execute the way back of a run.

    Where it would lose writes it stops, says which, and asks again.
    """
    from runbook_lib import execute, runner

    decide.known_way(way)
    found = _find(run)
    found.require_told()
    another = decide.another_decides(found)
    shown = decide.way_back(found, way, yes)
    if shown is None and not another:
        raise UsageError(
            "nothing was recorded, and nothing done",
            f"`runbook status {found.reference}` shows how the run stands",
        )
    with _alone(found, take_over), _demo(found.parameters):
        _settle(found, take_over)
        runner.claim(found, "rollback", take_over=take_over)
        while shown or another:
            if shown:
                decide.told(gates.approve(found, "rollback", reason, way=way, shown=shown))
            with execute.stoppable() as stop:
                runner.back(found, _say, stop)
            if yes or another or not decide.asks_again(found):
                break
            shown = decide.way_back(found, way, yes)
        _end(found)


@app.command()
def reinstate(
    run: RunName,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would come back, and by which SQL")
    ] = False,
) -> None:
    """Bring back the columns and tables that a run dropped, out of what it saved before."""
    from runbook_lib import runner
    from runbook_lib.phases.salvage import Reinstate

    found = _find(run)
    found.require_told()
    phase = Reinstate(found)
    saved = phase.saved
    _show(saved.table())
    console.print(
        "\n".join(
            [
                f"sql: {saved.script}",
                *(f"an earlier attempt saved {folder}" for folder in phase.earlier),
            ]
        ),
        markup=False,
    )
    with _alone(found), _demo(found.parameters):
        if dry_run:
            _show(phase.checks().table())
            return
        done = phase.reinstate()
        _show(done.table())
        runner.finish(found, _say)
    console.print("the Prisma schema does not know them: `prisma db pull` shows how it would")
    if done.open:
        raise typer.Exit(1)


@app.command()
def prune(
    params: Parameters,
    keep_days: Annotated[
        float, typer.Option(help="Days; default: `backup.keep_days`", show_default=False)
    ] = -1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed")
    ] = False,
) -> None:
    """Remove old backups: never the newest proven one, never one that an open run needs."""
    from runbook_lib.phases import retention

    found = parameters.parse(parameters.load(params), str(params))
    done = retention.prune(
        found, found.backup.keep_days if keep_days < 0 else keep_days, dry_run=dry_run
    )
    _show(done)
    if any(str(row[-1]).startswith(retention.NOT_REMOVED) for row in done.rows):
        raise typer.Exit(1)


@app.command()
def drill(params: Parameters) -> None:
    """Restore the newest backup into a scratch database and compare it.

    Meant for cron, or any scheduler.
    """
    from runbook_lib.phases import retention

    proof = retention.drill(parameters.parse(parameters.load(params), str(params)))
    console.print(str(proof), markup=False)


@app.command()
def lab(
    params: Parameters,
    browser: Annotated[bool, typer.Option(help="Open a browser")] = True,
    new: Annotated[
        bool, typer.Option("--new", help="Start a new run even where one is open")
    ] = False,
    take_over: TakeOver = False,
) -> None:
    """Start a run, or go on with the open one, in JupyterLab."""
    from runbook_lib import runner
    from runbook_lib.phases.base import newest_of
    from runbook_lib.phases.start import start_run

    values = parameters.load(params)
    parameters.parse(values, str(params))
    with _demo(values, fresh=new):
        open_run = newest_of(values)
        found = (
            open_run
            if open_run and open_run.outcome not in FINAL and not new
            else start_run(values)
        )
        console.print(f"run: {found.folder}")
        if take_over:
            runner.claim(found, "start", take_over=True)
        opens = runner.seat(found, _say)
        command = [
            sys.executable,
            "-m",
            "jupyterlab",
            f"--notebook-dir={found.folder}",
            "--ServerApp.ip=127.0.0.1",
            f"--LabApp.default_url=/lab/tree/{opens.name}",
        ]
        command += (["--allow-root"] if os.geteuid() == 0 else []) + (
            [] if browser else ["--no-browser"]
        )
        settings = os.pathsep.join(
            [
                str(Path(__file__).parent / "show" / "lab"),
                *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")]),
            ]
        )
        os.environ.pop(
            "RUNBOOK_NOTEBOOK", None
        )  # of 00_start, which was executed here: from now on a person sits before the notebooks
        _serve(
            command,
            {**os.environ, "RUNBOOK_RUN": str(found.folder), "JUPYTER_CONFIG_PATH": settings},
        )
        if found.state["ended_at"]:  # what was done in JupyterLab is closed like any run
            runner.finish(found)
            _end(found)
        else:
            console.print(
                f"not ended: {found.id}\n"
                f"next:     runbook lab {shlex.quote(str(params.resolve()))}",
                markup=False,
            )


def _serve(command: list[str], environment: dict[str, str]) -> None:
    """Run a server to its end.

    It asks by itself whether a Ctrl-C was meant; SIGTERM lets it shut its kernels down.
    """
    server = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGINT, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: server.terminate())
    server.wait()


@app.command()
def demo(
    action: Annotated[str, typer.Argument(help="run, up or down")] = "run",
    scenario: Annotated[
        str, typer.Option(help="success, failing-migration, lock-conflict or bad-data")
    ] = "success",
    rows: Annotated[int, typer.Option(help="Appointments in the sample database")] = 200_000,
) -> None:
    """Run the whole runbook on the embedded database and the sample platform.

    Or start and stop only these.
    """
    from runbook_lib.demo import platform

    if action not in ("run", "up", "down"):
        raise UsageError(f"there is no action {action!r}", "run, up or down")
    values = parameters.load(HOME / "params" / "demo.yaml")
    chosen = platform.Platform.of(values, scenario=scenario, rows=rows)
    if action == "down":
        chosen.down(_say)
    elif action == "up":
        chosen.up(_say, fresh=True)
    else:
        _run_demo(chosen)


def _run_demo(chosen: Any) -> None:
    from runbook_lib.phases.start import start_run

    try:
        chosen.up(_say, fresh=True)
        with chosen.trouble():
            _carry(lambda: start_run(chosen.values), PHASES[0], PHASES[-1])
    finally:
        chosen.down(_say)


def _carry(made: Callable[[], Run], first: str, last: str, take_over: bool = False) -> None:
    """Carry a run, made where nothing can end this process without the run saying so."""
    from runbook_lib import execute, runner

    with execute.stoppable() as stop:
        found = out.run = made()
        state = found.state
        out.print(f"run: {found.folder}")
        out.tell(
            "run",
            run=found.id,
            folder=str(found.folder),
            **{key: state[key] for key in ("environment", "production", "migrations")},
        )
        with _alone(found, take_over):
            if take_over:
                runner.claim(found, "start", take_over=True)
            runner.carry(found, first, last, _say, stop)
    _end(found)


def _alone(found: Run, take_over: bool = False) -> AbstractContextManager[None]:
    """Be the one process that carries this run.

    The second one is told who does, and changes nothing.
    """
    return carrying(found.folder.parent, found.id, take_over=take_over)


def _settle(found: Run, take_over: bool) -> None:
    """Say which phases were killed, and end them in the record."""
    from runbook_lib import runner

    lost = [entry["phase"] for entry in found.lost]
    runner.settle(found, take_over=take_over)
    for phase in lost:
        _say(
            f"{phase} was killed and could not say how it ended: what is true now is looked at "
            "again"
        )


def _end(found: Run) -> None:
    """The last lines of a run, and its exit status."""
    from runbook_lib import history, runner

    state, code, command = (
        found.state,
        runner.EXIT_STATUS[found.outcome],
        next_command(found),
    )
    _show(_phases(found))
    out.print(
        "\n"
        f"outcome:  {state['outcome']}\n"
        f"downtime: {history.downtime(found)}\n"
        f"report:   {found.folder / 'report.html'}"
    )
    show_escalations(found)
    if command:
        out.print(f"next:     {command}")
    if other := otherwise(found):
        out.print(f"          {other}")
    out.tell(
        "end",
        run=found.id,
        **{key: state[key] for key in ("outcome", "duration_s", "downtime_s")},
        exit_status=code,
        report=str(found.folder / "report.html"),
        next=command,
        otherwise=otherwise(found),
    )
    if code:
        raise typer.Exit(code)


def _demo(values: dict[str, Any], *, fresh: bool = False) -> Any:
    """Yield the embedded platform for parameters that ask for it.

    It is stopped at the end if it was started here; a new run makes it anew.
    """
    from contextlib import nullcontext

    if not values.get("demo"):
        return nullcontext()
    from runbook_lib.demo import platform

    return platform.Platform.of(values).running(_say, fresh)


if __name__ == "__main__":
    main()
