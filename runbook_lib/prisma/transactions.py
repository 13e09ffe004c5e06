"""What one migration file is, transactionally.

Which of its statements share a transaction, and what stays if it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from runbook_lib.prisma.effect import Effect


class TransactionRule(Enum):
    """How Prisma sends one migration file."""

    WHOLE_FILE = "the whole file as one query, and so one transaction"
    EACH_STATEMENT = "statement by statement, each committing alone"
    EACH_IF_PARSED = (
        "statement by statement, each committing alone, where Prisma's own parser understands the "
        "file; else the whole file as one"
    )

    def __str__(self) -> str:
        return self.value


class Level(Enum):
    """What a file undoes by itself when it fails."""

    WHOLE = "whole"
    PARTLY = "partly"
    NONE = "none"

    @property
    def said(self) -> str:
        """In words."""
        return {
            "whole": "rolls back whole",
            "partly": "keeps what was done before",
            "none": "rolls back nothing",
        }[self.value]


@dataclass(frozen=True)
class Atomicity:
    """What is left of one file that fails half-way.

    Args:
        file: the migration's name.
        level: how much it undoes by itself.
        why: one sentence.
        statements: how many it has.
    """

    file: str
    level: Level
    why: str
    statements: int

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"level": self.level.value}


def groups(effects: Sequence[Effect], rule: TransactionRule) -> list[int]:
    """For each statement the number of the transaction that it runs in.

    Statements of one number commit together.
    """
    number, inside, result = 0, False, []
    for effect in effects:
        if effect.transaction == "begin":
            number += 0 if rule is TransactionRule.WHOLE_FILE else 1
            inside = True
        elif rule is not TransactionRule.WHOLE_FILE and not inside:
            number += 1
        result.append(number)
        if effect.transaction in ("commit", "rollback"):
            number, inside = number + 1, False
    return result


def atomicity(file: str, effects: Sequence[Effect], rule: TransactionRule) -> Atomicity:
    """What is left of a file that fails half-way."""
    work = [effect for effect in effects if not effect.transaction]
    level, why = _judge(effects, work, rule)
    return Atomicity(file, level, why, len(work))


def _judge(
    effects: Sequence[Effect], work: Sequence[Effect], rule: TransactionRule
) -> tuple[Level, str]:
    if not work:
        return Level.WHOLE, "it has no statement that does anything"
    if len(work) == 1 and work[0].alone:
        return (
            Level.NONE,
            f"{work[0].alone} commits in steps: where it fails, its first steps stay (an index "
            "stays, invalid)",
        )
    numbers = {
        number
        for number, effect in zip(groups(effects, rule), effects, strict=True)
        if not effect.transaction
    }
    commits = [effect for effect in effects if effect.transaction in ("commit", "rollback")]
    alone = next((effect.alone for effect in work if effect.alone), "")
    if len(work) == 1:
        return Level.WHOLE, "it is one statement"
    if len(numbers) == 1:
        how = (
            "its BEGIN and COMMIT make it one transaction"
            if commits
            else "it is sent as one query, and so is one transaction"
        )
        return Level.WHOLE, how + (f"; {alone} in it is refused, always" if alone else "")
    if rule is TransactionRule.WHOLE_FILE:
        return (
            Level.PARTLY,
            f"the file commits by itself: what stands before the {len(commits)} COMMIT stays",
        )
    unless = (
        ", unless Prisma's own parser does not understand the file: then it rolls back whole"
        if rule is TransactionRule.EACH_IF_PARSED
        else ""
    )
    return (
        Level.PARTLY,
        f"this Prisma sends its {len(work)} statements one by one, and each commits alone: those "
        f"before the failing one stay{unless}",
    )
