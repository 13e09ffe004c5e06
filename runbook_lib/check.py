"""Check one thing: what was found, what was expected, and the verdict.

The verdict is right, wrong or unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from runbook_lib.errors import CheckError, DatabaseError, ToolError, in_short
from runbook_lib.redact import redact
from runbook_lib.table import Shown, Table


class Status(StrEnum):
    """How a check ended. `UNKNOWN` (could not check) is never taken for `PASSED`."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "could not check"
    NOT_CONFIGURED = "not configured"

    @property
    def sign(self) -> str:
        """A sign that is told from the others without colour."""
        return {"passed": "✔", "failed": "✘", "could not check": "?", "not configured": "–"}[
            self.value
        ]

    @property
    def mark(self) -> str:
        """The row mark of `runbook_lib.table.Table`."""
        return {
            "passed": "good",
            "failed": "bad",
            "could not check": "unknown",
            "not configured": "",
        }[self.value]


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Args:
        id: stable name of what was looked at, e.g. "backup.space"; evidence and run.json refer to
            it.
        title: the same for people, as a statement that holds when the check passed.
        status: how it ended.
        found: what was seen, with units. Never a secret or a row of data.
        expected: what would have passed.
        remedy: what to do where it did not pass.
        wrong: what was found wrong, by name of the object, and how much of it (rows, steps; 1 where
            it just is so): a later
            check of the same id is held against it (`new_since`).
    """

    id: str
    title: str
    status: Status
    found: str
    expected: str = ""
    remedy: str = ""
    wrong: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", redact(str(self.found)))

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"status": self.status.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Check:
        """Return what `as_dict` gave."""
        return cls(**{**data, "status": Status(data["status"])})


def check(id: str, title: str, ok: bool, found: Any, expected: str = "", remedy: str = "") -> Check:
    """A check that could be made: passed where `ok` holds, else failed."""
    return Check(id, title, Status.PASSED if ok else Status.FAILED, str(found), expected, remedy)


def faults(
    id: str, title: str, wrong: Mapping[str, float], found: str, expected: str, remedy: str
) -> Check:
    """A check that failed where anything is `wrong`.

    What is wrong by object can be held against an earlier look.
    """
    status = Status.FAILED if wrong else Status.PASSED
    return Check(id, title, status, found, expected, remedy if wrong else "", dict(wrong))


def new_since(
    before: Iterable[Check], now: Iterable[Check], ask: Collection[str] = ()
) -> list[Check]:
    """Return the checks of now.

    What was wrong before, and no more of it than then, is a remark and fails nothing.

    Args:
        before: the same checks, made earlier. What they could not tell is not known to be new, nor
            to be old.
        ask: ids of checks of which a person decides also where nothing is new.
    """
    earlier = {item.id: item for item in before}
    return [_held_against(earlier.get(item.id), item, item.id in ask) for item in now]


def _held_against(before: Check | None, now: Check, ask: bool) -> Check:
    if before is None or not now.wrong or now.status not in (Status.FAILED, Status.UNKNOWN):
        return now
    if before.status is Status.UNKNOWN and not before.wrong:
        said = f"{now.found}; whether it was so before is not known: {before.found}"
        return replace(now, status=Status.UNKNOWN, found=said)
    new = [name for name, much in now.wrong.items() if much > before.wrong.get(name, 0)]
    if not new and ask:
        return replace(now, status=Status.UNKNOWN, found=f"as before: {now.found}")
    if not new:
        return replace(now, status=Status.PASSED, found=f"remark: as before: {now.found}")
    old = len(now.wrong) - len(new)
    as_before = f"; {old} others were so before" if old else ""
    return replace(now, found=f"new: {', '.join(new)}; {now.found}{as_before}")


def nothing(id: str, title: str, none: str) -> Check:
    """A check with nothing to look at: passed, and `none` says what there is none of."""
    return Check(id, title, Status.PASSED, f"nothing to check: {none}", "nothing wrong")


def unknown(id: str, title: str, why: str, expected: str = "", remedy: str = "") -> Check:
    """A check that could not be made, and why."""
    return Check(id, title, Status.UNKNOWN, why, expected, remedy)


def not_configured(id: str, title: str, key: str) -> Check:
    """A check that the parameters do not ask for; `key` is what would configure it."""
    return Check(id, title, Status.NOT_CONFIGURED, f"`{key}` is not set", "", "")


def attempt(id: str, title: str, look: Callable[[], Check]) -> Check:
    """Return the check that `look` returns, or UNKNOWN if something kept it from looking.

    That is a database, a program or a file.

    Only those are caught: a mistake in the code is no check that could not be made.
    """
    try:
        return look()
    except (DatabaseError, ToolError, OSError, TimeoutError) as error:
        message = in_short(error).splitlines()[0]
        return unknown(id, title, message, remedy=getattr(error, "remedy", ""))


@dataclass(frozen=True)
class Checks(Shown):
    """Several checks as one result that shows itself and can be required."""

    title: str
    items: tuple[Check, ...]

    def __init__(self, title: str, items: Iterable[Check]) -> None:
        object.__setattr__(self, "title", title)
        object.__setattr__(self, "items", tuple(items))

    def __iter__(self) -> Iterator[Check]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __add__(self, other: Checks) -> Checks:
        return Checks(self.title, (*self.items, *other.items))

    def having(self, *statuses: Status) -> tuple[Check, ...]:
        """Those that ended in one of `statuses`."""
        return tuple(item for item in self.items if item.status in statuses)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Those that were made and found wrong."""
        return self.having(Status.FAILED)

    @property
    def unknown(self) -> tuple[Check, ...]:
        """Those that could not be made."""
        return self.having(Status.UNKNOWN)

    @property
    def passed(self) -> bool:
        """Whether none failed and none is unknown."""
        return not self.failed and not self.unknown

    def require(self, accepted: Iterable[str] = ()) -> Checks:
        """Return this object if no check failed or is unknown.

        Unknown checks that a person `accepted` by id do not count.

        Raises:
            CheckError: naming each check that failed or could not be made, and its remedy.
        """
        unknown = tuple(item for item in self.unknown if item.id not in set(accepted))
        wrong = self.failed + unknown
        if not wrong:
            return self
        lines = [
            f"{item.status.sign} {item.title} — {item.status.value}: {item.found}" for item in wrong
        ]
        remedies = list(dict.fromkeys(item.remedy for item in wrong if item.remedy))
        count = f"{len(self.failed)} failed, {len(unknown)} could not be made"
        raise CheckError(
            "\n".join([f"{self.title}: {count} of {len(self)} checks", *lines]),
            "\n→ ".join(remedies),
            failed=tuple(item.id for item in wrong),
        )

    def table(self) -> Table:
        """The checks as rows."""
        rows = [
            (
                f"{c.status.sign} {c.status.value}",
                c.title,
                c.found,
                c.expected,
                c.remedy if c.status.mark != "good" else "",
            )
            for c in self.items
        ]
        good, asked = (
            len(self.having(Status.PASSED)),
            len(self) - len(self.having(Status.NOT_CONFIGURED)),
        )
        return Table(
            f"{self.title}: {good} of {asked} passed" if asked else f"{self.title}: not configured",
            ("result", "looked at", "found", "expected", "what to do"),
            rows,
            [c.status.mark for c in self.items],
        )
