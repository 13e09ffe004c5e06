"""What differs between two runs, say staging and production, in facts.

No cell is compared with a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from runbook_lib import history
from runbook_lib.run import Run, lasted
from runbook_lib.table import Shown, Table, text

_ALWAYS = ("identity", "forecast", "duration")
"""Subjects in which two runs always differ; that is said, and is no warning."""
_WELL = ("passed", "not configured")


@dataclass(frozen=True)
class Fact:
    """One fact of two runs.

    Args:
        subject: what it is about: "versions", "migrations", "checks", …
        what: the fact.
        first, second: what it is in each run; None where the run does not have it.
    """

    subject: str
    what: str
    first: Any
    second: Any

    @property
    def same(self) -> bool:
        """Whether it is the same in both."""
        return bool(self.first == self.second)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True)
class RunDifference(Shown):
    """The facts of two runs.

    Args:
        first, second: names of the runs.
        facts: all of them, those that are the same as well.
    """

    first: str
    second: str
    facts: tuple[Fact, ...]

    @property
    def differing(self) -> tuple[Fact, ...]:
        """Those that are not the same."""
        return tuple(fact for fact in self.facts if not fact.same)

    def table(self) -> Table:
        """The facts that differ; how many are the same stands above."""
        rows = [
            (fact.subject, fact.what, _shown(fact.first), _shown(fact.second))
            for fact in self.differing
        ]
        matters = [fact for fact in self.differing if fact.subject not in _ALWAYS]
        title = (
            f"{len(matters)} differences in fact, {len(rows) - len(matters)} in times and "
            f"identity; {len(self.facts) - len(rows)} facts are the same"
        )
        return Table(
            title,
            (
                "subject",
                "what",
                *(" ".join(reversed(name.split("_", 2)[:2])) for name in (self.first, self.second)),
            ),
            rows,
            ["" if fact.subject in _ALWAYS else "unknown" for fact in self.differing],
        )


def compare(first: Run, second: Run) -> RunDifference:
    """Hold two runs against each other."""
    one, other = list(_Facts(first, second)), list(_Facts(second, first))
    found, there = (
        {(subject, what): value for subject, what, value in one},
        {(subject, what): value for subject, what, value in other},
    )
    order = sorted(dict.fromkeys((*found, *there)), key=lambda key: SUBJECTS.index(key[0]))
    return RunDifference(
        first.id, second.id, tuple(Fact(*key, found.get(key), there.get(key)) for key in order)
    )


class _Facts:
    """What is held against another run: (subject, what, value), from the record alone."""

    def __init__(self, run: Run, other: Run) -> None:
        self.run, self.other, self.state = run, other, run.state

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        for subject, ask in _ASKED.items():
            yield from ((subject, what, value) for what, value in ask(self))

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.run.read_evidence("plan", missing={})
        return found

    def outcome(self) -> Iterator[tuple[str, Any]]:
        yield from (
            (key, self.state[key]) for key in ("environment", "production", "outcome", "engineer")
        )
        yield "rolled back", history.entry(self.run).rollback
        yield from (
            (f"{phase} ended", status)
            for phase, status in {
                entry["phase"]: entry["status"] for entry in self.state["phases"]
            }.items()
        )

    def versions(self) -> Iterator[tuple[str, Any]]:
        target = self.state["target"]
        yield from (
            ("PostgreSQL", target.get("server_version")),
            ("tools", target.get("tools_version")),
            ("Prisma", self.plan.get("prisma")),
            ("Prisma's engine", self.plan.get("engine")),
            ("how Prisma sends a file", self.plan.get("transactions")),
        )

    def migrations(self) -> Iterator[tuple[str, Any]]:
        yield from (
            (f"{name}: sha256", digest[:16]) for name, digest in self.plan.get("files", {}).items()
        )
        yield "applied before", self.plan.get("applied")

    def plans(self) -> Iterator[tuple[str, Any]]:
        for one in self.run.read_evidence("plan.review", missing={}).get("findings", ()):
            yield f"{one['rule']} at {one['file']}:{one['line']}", one["severity"]
        yield from ((f"severe: {line}", True) for line in self.plan.get("severe", ()))

    def changes(self) -> Iterator[tuple[str, Any]]:
        """One by one where both runs made some, else how many."""
        mine, theirs = (history.entry(run).changes_by_kind for run in (self.run, self.other))
        if mine and theirs:
            yield from ((line, "made") for lines in mine.values() for line in lines)
        else:
            yield "changes of catalogue and rows", sum(map(len, mine.values())) or "none recorded"

    def checks(self) -> Iterator[tuple[str, Any]]:
        """Of the phases that both runs came to.

        One by one where both made them, else how many there were.
        """
        common = {entry["phase"] for entry in self.state["phases"]} & {
            entry["phase"] for entry in self.other.state["phases"]
        }
        for name, items in _checks(self.run).items():
            if name.split(".")[0] not in common:
                continue
            if name in _checks(self.other):
                yield from ((f"{name}: {item['title']}", _ended(item)) for item in items)
            else:
                yield (
                    name,
                    f"{len(items)} checks, {sum(item['status'] in _WELL for item in items)} of "
                    "them well",
                )

    def approvals(self) -> Iterator[tuple[str, Any]]:
        yield from (
            (
                f"gate {line['gate']}",
                f"{line['decision']} by {line['person']}: {line['reason'] or 'no reason given'}",
            )
            for line in self.run.read_approvals()
        )

    def identity(self) -> Iterator[tuple[str, Any]]:
        target = self.state["target"]
        yield from (
            ("run", self.run.id),
            ("started (UTC)", self.state["started_at"]),
            ("database", f"{target['database']} on {target['host']}"),
            ("system identifier", target["system_identifier"]),
            ("the plan's hash", self.plan.get("hash", "")[:16] or None),
        )

    def forecasts(self) -> Iterator[tuple[str, Any]]:
        found = self.run.read_evidence("forecast", missing={})
        yield from (
            (what, _seconds(found.get(key)))
            for what, key in (
                ("migration", "migrate_s"),
                ("downtime", "downtime_s"),
                ("way back", "restore_s"),
            )
        )

    def lasted(self) -> Iterator[tuple[str, Any]]:
        yield "the run", _seconds(self.state["duration_s"])
        yield "downtime", history.downtime(self.run)
        yield "migration", _seconds(self.run.read_evidence("migration", missing={}).get("seconds"))
        for phase in dict.fromkeys(entry["phase"] for entry in self.state["phases"]):
            yield (
                phase,
                _seconds(
                    sum(
                        lasted(entry["started_at"], entry["ended_at"]) or 0.0
                        for entry in self.state["phases"]
                        if entry["phase"] == phase
                    )
                ),
            )


_ASKED: Mapping[str, Callable[[_Facts], Iterator[tuple[str, Any]]]] = {
    "outcome": _Facts.outcome,
    "versions": _Facts.versions,
    "migrations": _Facts.migrations,
    "plan": _Facts.plans,
    "changes": _Facts.changes,
    "checks": _Facts.checks,
    "approvals": _Facts.approvals,
    "forecast": _Facts.forecasts,
    "duration": _Facts.lasted,
    "identity": _Facts.identity,
}
SUBJECTS = tuple(_ASKED)
"""What two runs are compared in, in the order in which it is shown."""


def _checks(run: Run) -> dict[str, list[dict[str, str]]]:
    """The newest checks of each name that a run kept."""
    found = {
        path.stem: run.read_evidence(path.stem)
        for path in sorted((run.folder / "evidence").glob("*.json"))
        if not path.stem.rpartition(".")[2].isdigit()
    }
    return {
        name: items
        for name, items in found.items()
        if isinstance(items, list)
        and items
        and all(
            isinstance(item, dict) and {"id", "title", "status", "found"} <= item.keys()
            for item in items
        )
    }


def _ended(item: Mapping[str, str]) -> str:
    """Return how a check ended, and what was found if it did not pass.

    Numbers of checks that passed differ from run to run.
    """
    return item["status"] if item["status"] in _WELL else f"{item['status']}: {item['found']}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else history.minutes(value)


def _shown(value: Any) -> str:
    return "not there" if value is None else text(value)
