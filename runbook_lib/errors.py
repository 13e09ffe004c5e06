"""What can go wrong, as a tree.

    RunbookError            anything this package raises on purpose
     ├── UsageError         parameters, files, versions or targets that are refused before anything
                            is touched
     ├── ToolError          a program (pg_dump, prisma, npm, a configured command) that failed
     ├── DatabaseError      PostgreSQL refused or could not be reached; carries the SQLSTATE
     │    └── RightError    … because the role lacks a right; names the statement that gives it
     ├── CheckError         checks that failed, or could not be made
     ├── GateError          a gate that is shut because a condition does not hold
     │    ├── NotMade           … because a result that it stands on was never made
     │    └── ApprovalNeeded    … because a person has to approve
     ├── NotRecorded        the archive takes nothing: it is full, read-only or gone; what was to be
                            recorded may have happened
     ├── Refused            not begun: it is not its turn, or another run or process is at work;
                            nothing has failed
     └── Aborted            the run was told to stop

Messages say what happened, to what, and what to do next. They never carry a secret or a row of
data: whatever comes from a server is told by `runbook_lib.refusal`, and what comes from a program
is masked or cut first.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class RunbookError(Exception):
    """Anything this package raises on purpose.

    Args:
        message: what happened, and to what.
        remedy: what to do next; shown after the message.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n→ {self.remedy}" if self.remedy else self.message


class UsageError(RunbookError):
    """Parameters, files, versions or a target that are refused; nothing was touched."""


class ToolError(RunbookError):
    """A program failed.

    Args:
        status: its exit status; negative is the signal that ended it, `None` when it could not be
            started.
        output: the end of what it printed, as far as it may be shown.
    """

    def __init__(
        self, message: str, remedy: str = "", *, status: int | None = None, output: str = ""
    ) -> None:
        super().__init__(message, remedy)
        self.status = status
        self.output = output


class DatabaseError(RunbookError):
    """PostgreSQL refused a statement, or could not be reached.

    Args:
        sqlstate: the five-character code of PostgreSQL's Appendix A; empty when the server did not
            answer.
    """

    def __init__(self, message: str, remedy: str = "", *, sqlstate: str = "") -> None:
        super().__init__(message, remedy)
        self.sqlstate = sqlstate


class RightError(DatabaseError):
    """The role lacks a right.

    The remedy is the statement that gives it, and who can: until then it could not be checked.
    """


class CheckError(RunbookError):
    """Checks failed or could not be made; `failed` holds their ids."""

    def __init__(self, message: str, remedy: str = "", *, failed: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy)
        self.failed = failed


class GateError(RunbookError):
    """A gate is shut: a condition that has to hold does not."""


class NotMade(GateError):
    """A result that something stands on was never made: another thing than one that is empty."""


class ApprovalNeeded(GateError):
    """A gate waits for a person; `gate` names it."""

    def __init__(self, message: str, remedy: str = "", *, gate: str = "") -> None:
        super().__init__(message, remedy)
        self.gate = gate


class NotRecorded(RunbookError):
    """The archive takes nothing: it is full, read-only or gone.

    That says nothing of what was to be recorded: the migration goes on, or has.
    """


class Refused(RunbookError):
    """Something was not begun: it was not its turn, or another run or process is at work.

    That is no failure of anything.
    """


class Aborted(RunbookError):
    """The run was told to stop."""


def in_full(error: BaseException) -> str:
    """The error as a person reads it.

    Message, remedy, and the notes of what went wrong while cleaning up after it.
    """
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def under_way(error: BaseException) -> BaseException:
    """Return the error during whose handling this one came about, the first of them; or itself."""
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__
    return error


_OF_THE_CODE = (
    NameError,
    ImportError,
    AttributeError,
    TypeError,
    SyntaxError,
    OSError,
    TimeoutError,
)
"""Errors of Python whose messages speak of the code or a file; those of any other kind may quote a
value.
"""


def in_short(error: BaseException) -> str:
    """Name an error in one line, without a value.

    Its own message, or that of an unforeseen one where it cannot quote any.
    """
    if isinstance(error, RunbookError):
        return error.message
    first = next(iter(str(error).splitlines()), "") if isinstance(error, _OF_THE_CODE) else ""
    return f"{type(error).__name__}{': ' if first else ''}{first}"


def traced(error: BaseException) -> list[str]:
    """The way to an error, through it and through those that led to it, each without a value."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    led = [*traced(before), "then:"] if before else []
    way = [line.rstrip() for line in traceback.format_tb(error.__traceback__)]
    return [*led, *way, in_short(error)]


@contextmanager
def beside(first: BaseException, what: str) -> Iterator[None]:
    """Clean up after `first`.

    What goes wrong then is added to it as a note, and never takes its place.

    Args:
        what: what is being done, as the subject of the note: "dropping the database x".
    """
    try:
        yield
    except Exception as second:  # whatever it is: the error under way is the one to be shown
        said = second.message if isinstance(second, RunbookError) else type(second).__name__
        first.add_note(f"{what} failed, too: {said}")
        if isinstance(second, RunbookError) and second.remedy:
            first.add_note(f"→ {second.remedy}")
