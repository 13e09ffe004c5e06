"""How every command ends.

The one place where what went wrong becomes words, for people or machines, and an exit status.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer

from runbook_lib.advice import filled
from runbook_lib.commands.output import out
from runbook_lib.errors import Aborted, Refused, RunbookError, UsageError, in_full, in_short, traced
from runbook_lib.redact import redact
from runbook_lib.run import stamp

INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt."""
DEBUG = "RUNBOOK_DEBUG"
"""The environment variable with which the trace of an unforeseen error is printed, too."""


def ended(command: Callable[..., Any]) -> int:
    """Run a command line to its end, and return its exit status.

    Whatever it raises is said in a few words.
    """
    _streams()
    try:
        status = command(standalone_mode=False) or 0
        return _stopped() if status == INTERRUPTED else status
    except (typer.Abort, KeyboardInterrupt):
        return _stopped()
    except UsageError as error:
        return _say(error, 2)
    except Refused as error:
        return _say(error, 3)
    except RunbookError as error:
        return _say(error, 1)
    except OSError as error:
        return _say(_of_the_system(error), 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # of the command line's own parser
            return _wrong_use(error)
        return _say(_unforeseen(error), 1)


def _stopped() -> int:
    return _say(Aborted("stopped", _standing()), 1)


def _say(error: RunbookError, status: int) -> int:
    error.remedy = filled(error.remedy, out.run, out.parameters)
    out.print(redact(in_full(error)), style="bold")
    out.tell(
        "error", message=redact(error.message), remedy=redact(error.remedy), exit_status=status
    )
    return status


def _wrong_use(error: Any) -> int:
    """Say what of the command line is not understood."""
    if out.machines or "--json" in sys.argv:  # the parser may not have come that far
        out.machines = True
        return _say(UsageError(error.format_message(), "`--help` lists what there is"), 2)
    error.show()
    return 2


def _of_the_system(error: OSError) -> RunbookError:
    """Name the file, and why the system refused it."""
    what = f"{error.filename}: " if error.filename else ""
    return RunbookError(
        f"{what}{error.strerror or type(error).__name__}",
        "make room there, or correct its permissions; what was recorded before stands",
    )


def _unforeseen(error: Exception) -> RunbookError:
    """Name an error that nobody foresaw, in one line; its trace goes into the record."""
    trace = redact("\n".join(traced(error)))
    if os.environ.get(DEBUG):
        print(trace, file=sys.stderr)
    return RunbookError(
        f"the runbook itself failed: {in_short(error)}",
        f"{_keep(trace)}; please report it with the trace. {_standing()}",
    )


def _keep(trace: str) -> str:
    """Keep a trace as evidence of the run that the command was about.

    Where that cannot be, say how to see it.
    """
    run = out.run
    if run is not None:
        with suppress(RunbookError, OSError):
            path = run.write_evidence("trace", {"at": stamp(), "trace": trace})
            return f"the trace is in {path}"
    return f"`export {DEBUG}=1` and the same command again print the trace"


def _standing() -> str:
    return f"`runbook status {out.run.reference}` says how the run stands" if out.run else ""


def _streams() -> None:
    """Give closed standard streams a place that swallows their output.

    None fails for a character that it does not have.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
