"""Who is told of a failure, when, and what is done.

The runbook's contacts and its escalation matrix as data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runbook_lib.table import Shown, Table

if TYPE_CHECKING:
    from runbook_lib.surroundings import Contact, Level, People


class Failure(StrEnum):
    """Kinds of failure that the matrix knows."""

    DATA_LOSS = "data loss"
    OUTAGE = "complete outage"
    PARTIAL_OUTAGE = "partial outage"
    ERRORS = "significant errors"
    MIGRATION = "failed migration"
    VALIDATION = "failed validation"
    SLOW = "performance degradation"


MATRIX: Mapping[str, Mapping[str, Any]] = {
    "1": {
        "name": "Critical",
        "of": [Failure.DATA_LOSS, Failure.OUTAGE],
        "tell": {"24/7": 0, "Primary": 0, "Secondary": 0, "Escalation": 0},
        "actions": [
            "immediate rollback",
            "contact all team members",
            "initiate the incident response protocol",
        ],
    },
    "2": {
        "name": "High",
        "of": [Failure.PARTIAL_OUTAGE, Failure.ERRORS, Failure.MIGRATION, Failure.VALIDATION],
        "tell": {"24/7": 0, "Primary": 0, "Secondary": 0, "Escalation": 15},
        "actions": [
            "attempt fixes within 15 minutes",
            "rollback if unresolved",
            "contact DBA and DevOps Lead",
        ],
    },
    "3": {
        "name": "Medium",
        "of": [Failure.SLOW],
        "tell": {"24/7": 0, "Primary": 0, "Secondary": 30, "Escalation": 60},
        "actions": [
            "monitor for 30 minutes",
            "implement fixes or rollback",
            "document for the post-mortem",
        ],
    },
}
"""The escalation matrix that is built in; `people.matrix` replaces its levels."""


@dataclass(frozen=True)
class Step:
    """Those who are told at one moment of an escalation.

    Args:
        after: minutes without acknowledgement.
        contacts: who is told then.
        unknown: places of the matrix for which nobody is named.
        said: what became of it: when it was sent, or why it never was; empty while it is ahead.
    """

    after: float
    due: datetime
    contacts: tuple[Contact, ...]
    unknown: tuple[str, ...]
    said: str = ""

    @property
    def who(self) -> str:
        """Its contacts, with how a person reaches them."""
        return "; ".join(
            [f"{one.role} {one.name} ({one.contact})" for one in self.contacts]
            + [f"{place}: nobody is named" for place in self.unknown]
        )


@dataclass(frozen=True)
class Escalation(Shown):
    """A failure's severity, who is told when, and what was sent of it.

    Args:
        phase: the phase that failed.
        began: when it was escalated.
        over: by whom and when it was acknowledged, or how else it ended; empty while it is open.
        runbook: what the runbook itself does.
    """

    phase: str
    failures: tuple[str, ...]
    severity: str
    level: Level
    began: datetime
    steps: tuple[Step, ...]
    over: str = ""
    runbook: str = ""

    def due(self, now: datetime) -> tuple[Step, ...]:
        """The steps that have come and are not sent; none once it is over."""
        return (
            ()
            if self.over
            else tuple(step for step in self.steps if step.due <= now and not step.said)
        )

    @property
    def title(self) -> str:
        """The failure, and how it stands."""
        return (
            f"{self.phase} failed ({', '.join(self.failures)}): severity {self.severity} "
            f"({self.level.name}), {self.over or 'not acknowledged'}"
        )

    def table(self) -> Table:
        """A row a step, then what is done."""
        rows = [
            (
                f"{step.due:%Y-%m-%d %H:%M}",
                _when(step.after),
                step.who,
                step.said
                or (
                    "not sent any more"
                    if self.over
                    else "due"
                    if step.due <= datetime.now(UTC)
                    else "ahead"
                ),
            )
            for step in self.steps
        ]
        marks = ["unknown" if step.unknown else "" for step in self.steps]
        rows += [
            ("–", "the runbook", self.runbook, ""),
            ("–", "people", "; ".join(self.level.actions), ""),
        ]
        return Table(
            self.title,
            ("due (UTC)", "when", "who, or what is done", "sent"),
            rows,
            [*marks, "", ""],
        )

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "phase": self.phase,
            "failures": list(self.failures),
            "severity": self.severity,
            "told": [
                contact.role for step in self.steps if step.after == 0 for contact in step.contacts
            ],
        }


def severity(people: People, failures: Iterable[Failure]) -> str:
    """The worst severity of some failures by the matrix.

    Raises:
        ValueError: there is no failure.
    """
    given = {failure: number for number, level in people.levels().items() for failure in level.of}
    return min(given[failure] for failure in failures)


def steps(people: People, severity: str, began: datetime) -> tuple[Step, ...]:
    """Who is told of a failure of that severity, and when; the earliest first."""
    tell = people.levels()[severity].tell
    return tuple(
        Step(
            after,
            began + timedelta(minutes=after),
            *_told(people.contacts, [place for place in tell if tell[place] == after]),
        )
        for after in sorted(set(tell.values()))
    )


def contacts_table(contacts: Sequence[Contact]) -> Table:
    """The runbook's emergency contacts."""
    return Table(
        "Emergency contacts",
        ("role", "name", "contact", "escalation"),
        [(c.role, c.name, c.contact, c.escalation) for c in contacts],
    )


def _told(
    contacts: Sequence[Contact], places: Sequence[str]
) -> tuple[tuple[Contact, ...], tuple[str, ...]]:
    """The contacts of these places, and the places that have none."""
    found = tuple(contact for contact in contacts if contact.escalation in places)
    return found, tuple(
        place for place in places if place not in {contact.escalation for contact in found}
    )


def _when(minutes: float) -> str:
    return "at once" if minutes == 0 else f"after {minutes:g} minutes without acknowledgement"
