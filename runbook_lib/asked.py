"""What a gate asks a person to accept: shown before they decide, and recorded as it was shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.check import Check
from runbook_lib.table import Shown, Table

DANGER, UNKNOWN, OPEN = "danger", "could not check", "open"
"""How grave an item is: a severe finding, a check that could not be made, an item of the checklist
that nobody ticked.
"""
CHECKLIST = "checklist."
"""What the ids of checks begin with that stand for open items of the checklist."""


@dataclass(frozen=True)
class Item:
    """One thing that an approval accepts.

    Args:
        severity: `DANGER`, `UNKNOWN` or `OPEN`.
        id: the rule of a finding, or the id of a check.
        what: which object, or what would hold.
        where: file and line; empty where it is not about a file.
        why: what fails, or what is not known.
    """

    severity: str
    id: str
    what: str
    where: str
    why: str

    def __str__(self) -> str:
        """One line."""
        said = self.line if self.severity == DANGER else f"{self.what}: {self.why}"
        return f"{self.severity}: {said}"

    @property
    def line(self) -> str:
        """A finding without its severity."""
        of = f" ({self.what})" if self.what else ""
        return f"{self.id} at {self.where}{of}: {self.why}"

    def row(self) -> tuple[str, str, str, str]:
        """Severity, name, where, why."""
        name = (
            self.what
            if self.severity != DANGER
            else " of ".join(filter(None, (self.id, self.what)))
        )
        return self.severity, name, self.where, self.why


def of_checks(checks: Iterable[Check]) -> tuple[Item, ...]:
    """Return the items for checks that could not be made."""
    return tuple(
        Item(OPEN if one.id.startswith(CHECKLIST) else UNKNOWN, one.id, one.title, "", one.found)
        for one in checks
    )


@dataclass(frozen=True)
class Asked(Shown):
    """What whoever approves a gate accepts.

    Args:
        plan: the hash of the plan that it is about.
        refused: who refused, when and why, where that stands.
    """

    run: str
    gate: str
    plan: str | None
    items: tuple[Item, ...]
    refused: str = ""

    @property
    def could_not_check(self) -> list[str]:
        """The ids of the checks that could not be made."""
        return [one.id for one in self.items if one.severity != DANGER]

    @property
    def findings(self) -> list[str]:
        """The severe findings, a line each."""
        return [one.line for one in self.items if one.severity == DANGER]

    def as_dicts(self) -> list[dict[str, str]]:
        """Return the items for the record."""
        return [asdict(one) for one in self.items]

    def table(self) -> Table:
        """The items as rows."""
        counted = [
            f"{count} {name if count == 1 else names}"
            for count, name, names in (
                (len(self.findings), "severe finding", "severe findings"),
                (
                    self._count(UNKNOWN),
                    "check that could not be made",
                    "checks that could not be made",
                ),
                (self._count(OPEN), "open item of the checklist", "open items of the checklist"),
            )
            if count
        ]
        said = (
            ", ".join(counted)
            or "nothing that was found wrong, and nothing that could not be checked"
        )
        plan = f" of the plan {self.plan[:16]}" if self.plan else ""
        refused = f" (refused so far, by {self.refused})" if self.refused else ""
        return Table(
            f"Whoever approves `{self.gate}`{plan} accepts: {said}{refused}",
            ("severity", "what", "where", "why"),
            [one.row() for one in self.items],
            ["bad" if one.severity == DANGER else "unknown" for one in self.items],
        )

    def _count(self, severity: str) -> int:
        return sum(one.severity == severity for one in self.items)


def of_record(items: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Return what `as_dicts` gave."""
    return tuple(Item(**one) for one in items)
