"""Who is told of a failure, when, and what is done: the runbook's contacts and its escalation matrix as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from runbook_lib.table import Shown, Table


class Failure(str, Enum):
    """Kinds of failure that the matrix knows."""

    DATA_LOSS = "data loss"
    OUTAGE = "complete outage"
    PARTIAL_OUTAGE = "partial outage"
    ERRORS = "significant errors"
    MIGRATION = "failed migration"
    VALIDATION = "failed validation"
    SLOW = "performance degradation"


@dataclass(frozen=True)
class Contact:
    """One person or rotation.

    Args:
        escalation: "Primary", "Secondary", "Escalation" or "24/7".
    """

    role: str
    name: str
    contact: str
    escalation: str


@dataclass(frozen=True)
class Level:
    """What the matrix says of one severity.

    Args:
        tell: by a contact's escalation, after how many minutes without acknowledgement it is told; 0 is at once.
        actions: what is done, in this order.
    """

    severity: int
    name: str
    when: str
    tell: Mapping[str, int]
    actions: tuple[str, ...]


MATRIX: Mapping[int, Level] = {
    1: Level(1, "Critical", "data loss, complete outage", {"24/7": 0, "Primary": 0, "Secondary": 0, "Escalation": 0},
             ("immediate rollback", "contact all team members", "initiate the incident response protocol")),
    2: Level(2, "High", "partial outage, significant errors", {"24/7": 0, "Primary": 0, "Secondary": 0, "Escalation": 15},
             ("attempt fixes within 15 minutes", "rollback if unresolved", "contact DBA and DevOps Lead")),
    3: Level(3, "Medium", "performance degradation", {"24/7": 0, "Primary": 0, "Secondary": 30, "Escalation": 60},
             ("monitor for 30 minutes", "implement fixes or rollback", "document for the post-mortem")),
}
"""The runbook's escalation matrix."""
_SEVERITY = {Failure.DATA_LOSS: 1, Failure.OUTAGE: 1, Failure.SLOW: 3}


@dataclass(frozen=True)
class Escalation(Shown):
    """A failure's severity, and who is told when.

    Args:
        told: contacts and the minutes without acknowledgement after which each is told; earliest first.
        unknown: escalations of the matrix for which there is no contact.
    """

    level: Level
    told: tuple[tuple[Contact, int], ...]
    unknown: tuple[str, ...]

    def at(self, minutes: float) -> tuple[Contact, ...]:
        """Who must have been told after so many minutes without acknowledgement."""
        return tuple(contact for contact, after in self.told if after <= minutes)

    def table(self) -> Table:
        """The matrix's row for this failure, a contact a row."""
        rows = [(_when(after), c.role, c.name, c.contact) for c, after in self.told]
        rows += [(_when(self.level.tell[name]), name, "nobody is named", "set `people.contacts`") for name in self.unknown]
        title = f"Severity {self.level.severity} ({self.level.name}): " + "; ".join(self.level.actions)
        return Table(title, ("told", "role", "name", "contact"), rows, ["" for _ in self.told] + ["unknown" for _ in self.unknown])


def severity(failures: Iterable[Failure]) -> int:
    """The worst severity of some failures by the matrix; what it does not name counts as high.

    Raises:
        ValueError: there is no failure.
    """
    return min(_SEVERITY.get(failure, 2) for failure in failures)


def escalation(contacts: Sequence[Contact], severity: int) -> Escalation:
    """Who is told of a failure of that severity, and when."""
    level = MATRIX[severity]
    told = [(contact, level.tell[contact.escalation]) for contact in contacts if contact.escalation in level.tell]
    named = {contact.escalation for contact in contacts}
    return Escalation(level, tuple(sorted(told, key=lambda item: item[1])), tuple(name for name in level.tell if name not in named))


def contacts_table(contacts: Sequence[Contact]) -> Table:
    """The runbook's emergency contacts."""
    return Table("Emergency contacts", ("role", "name", "contact", "escalation"), [(c.role, c.name, c.contact, c.escalation) for c in contacts])


def _when(minutes: int) -> str:
    return "at once" if minutes == 0 else f"after {minutes} minutes without acknowledgement"
