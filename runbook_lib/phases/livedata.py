"""Ask the existing rows what the pending files demand of them.

When it is planned, and again at the last gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib import gate
from runbook_lib.check import Check, Checks, Status, check, nothing
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import catalog, violations
from runbook_lib.postgres.violations import Counted
from runbook_lib.prisma import questions, review
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.questions import Question, Worth
from runbook_lib.table import Shown, Table, text


@dataclass(frozen=True)
class Answer:
    """One demand, and how many rows violate it now.

    Args:
        counted: None where it was not asked.
    """

    question: Question
    counted: Counted | None = None

    @property
    def rows(self) -> int | None:
        """How many rows violate it; None where that is not known."""
        return self.counted.rows if self.counted else None

    @property
    def status(self) -> Status | None:
        """What follows; None where there is no data yet: the rehearsal sees it first."""
        if self.question.worth is Worth.NO_DATA:
            return None
        if self.rows == 0:
            return Status.PASSED
        certain = (
            self.rows is not None
            and self.question.worth is Worth.SETTLES
            and not self.question.cuts
        )
        return Status.FAILED if certain else Status.UNKNOWN

    @property
    def said(self) -> str:
        """What that means, in words."""
        if self.counted is None or self.rows is None:
            return self.counted.why if self.counted else f"not asked: {self.question.because}"
        if self.rows and self.question.cuts:
            return f"{text(self.rows)} values are cut"
        then = f"; {self.question.because}" if self.question.worth is Worth.MAY_CHANGE else ""
        return (
            f"{text(self.rows)} violate it now{then or ': the statement fails'}"
            if self.rows
            else f"none violates it now{then}"
        )

    def check(self, number: int) -> Check:
        """As a check; its id names the place."""
        question, status = self.question, self.status
        assert status
        by_hand = (
            f"count it by hand: {question.listing}"
            if question.listing
            else "see what the rehearsal says"
        )
        remedy = (
            f"repair those rows first, or in an earlier statement: {question.listing}"
            if self.rows
            else by_hand
        )
        return Check(
            f"data.{question.place}.{number}",
            question.demand,
            status,
            self.said,
            "no row violates it",
            remedy,
        )


@dataclass(frozen=True)
class LiveData(Shown):
    """All demands of the pending files, with their answers."""

    answers: tuple[Answer, ...]

    def checks(self) -> Checks:
        """One check a demand; those on what the files themselves make are left to the rehearsal."""
        made = [
            answer.check(number) for number, answer in enumerate(self.answers, 1) if answer.status
        ]
        none = nothing(
            "data", "the rows that are there meet every demand", "no statement demands anything"
        )
        return Checks("The data as it is", made or [none])

    def table(self) -> Table:
        """The demands as rows."""
        rows = [
            (
                a.question.kind,
                a.question.table,
                a.question.demand,
                a.question.place,
                a.rows,
                a.said,
                a.question.listing if a.rows else "",
            )
            for a in self.answers
        ]
        marks = [answer.status.mark if answer.status else "" for answer in self.answers]
        failing, open_ones = marks.count("bad"), marks.count("unknown")
        title = (
            f"{len(rows)} demands on the data that is there: {failing} violated, {open_ones} not "
            "settled"
        )
        return Table(
            title,
            (
                "constraint",
                "table",
                "demand",
                "where",
                "violations now",
                "that means",
                "listed by (keys only)",
            ),
            rows,
            marks,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "answers": [
                asdict(a.question)
                | {
                    "worth": a.question.worth.value,
                    "rows": a.rows,
                    "said": a.said,
                    "seconds": a.counted.seconds if a.counted else None,
                }
                for a in self.answers
            ]
        }

    def matters(self) -> list[str]:
        """Every demand that is violated or not settled, with its numbers."""
        return [
            f"{a.question.place}: {a.question.demand}: {a.said}"
            for a in self.answers
            if a.status in (Status.FAILED, Status.UNKNOWN)
        ]

    def outcomes(self) -> list[str]:
        """How each demand came out, for the plan's hash.

        Without the numbers, which change from minute to minute.
        """
        return [
            f"{a.question.place}: {a.question.demand}: "
            f"{a.status.value if a.status else a.question.worth.value}"
            for a in self.answers
        ]


def of_files(phase: Phase, files: Sequence[MigrationFile]) -> LiveData:
    """What these files demand of the rows that are there, asked of them."""
    objects, schema = catalog.read(phase.db).objects, phase.target.schema
    version = phase.db.server_version
    seen = review.review(
        files,
        catalog=objects,
        rule=phase.project.transaction_rule,
        schema=schema,
        server_major=version // 10_000,
    )
    return ask(phase, questions.questions(seen.statements, objects, schema, version))


def asked_again(phase: Phase, files: Sequence[MigrationFile]) -> list[Check]:
    """The demands of the files that are left to apply, held against the rows as they are now.

    What was not settled when it was planned, and was accepted then, needs nobody again; what has
    come since does.
    """
    found = phase.keep("data", of_files(phase, files))
    accepted = _accepted(phase)
    checks, fine = [], 0
    for number, answer in enumerate(found.answers, 1):
        if answer.status in (None, Status.PASSED):
            fine += 1
        elif answer.status is Status.UNKNOWN and _key(asdict(answer.question)) in accepted:
            said = f"{answer.said}; accepted with the plan"
            checks.append(
                check(f"data.{answer.question.place}.{number}", answer.question.demand, True, said)
            )
        else:
            checks.append(answer.check(number))
    title = "the rows that are there are as the files demand, asked again now"
    said = f"{fine} of {len(found.answers)} demands are violated by no row"
    return [check("data.again", title, True, said), *checks]


def _accepted(phase: Phase) -> set[tuple[Any, ...]]:
    """Return the demands that were not settled when a person opened the plan's gate.

    The person saw them.
    """
    decision = gate.standing(phase.run, "plan")
    planned = phase.run.read_evidence("plan.data", missing=None) if decision else None
    if not decision or decision["decision"] != "approved" or planned is None:
        return set()
    known = {*decision.get("could_not_check", ())}
    return {
        _key(one)
        for number, one in enumerate(planned["answers"], 1)
        if f"data.{one['file']}:{one['line']}.{number}" in known
    }


def _key(question: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(question[key] for key in ("file", "line", "statement", "kind", "demand"))


def ask(phase: Phase, questions: tuple[Question, ...]) -> LiveData:
    """Ask the live database, read-only and bounded."""
    asked = [question for question in questions if question.counting]
    counted = dict(
        zip(
            map(id, asked),
            violations.count(
                phase.target, phase.application_name, [q.counting for q in asked], jobs=phase.jobs
            ),
            strict=True,
        )
    )
    return LiveData(tuple(Answer(question, counted.get(id(question))) for question in questions))
