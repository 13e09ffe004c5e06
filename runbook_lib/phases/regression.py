"""When a statement counts as regressed.

One of pg_stat_statements over two windows, and one that the parameters name.

Time alone says little on a busy machine; the buffers that a statement touches say more. `RULE`
takes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.check import Check, Status
from runbook_lib.postgres.plans import Measured
from runbook_lib.postgres.windows import Calls
from runbook_lib.show.plans import side_by_side
from runbook_lib.show.style import Html
from runbook_lib.surroundings import Statement
from runbook_lib.table import Table, text

RULE = (
    "a statement has regressed where its time and its buffers both exceed `max_ratio` times what "
    "they were (the buffers by 100 at least), or where its time exceeds `max_ms`"
)
BUFFERS = 100
"""A statement that touches hardly more buffers than before has not regressed, whatever the ratio.
"""
SLOWER = 2.0
"""The ratio for the statements of pg_stat_statements, which have no `max_ratio` of their own."""
ENOUGH_CALLS = 5
"""Calls in each window from which on a mean says something."""
COLUMNS = (
    "",
    "statement",
    "calls",
    "mean ms",
    "95 % took at most ms (bound)",
    "buffers a call",
    "further, of the later window",
)


@dataclass(frozen=True)
class Pair:
    """One statement of pg_stat_statements in the two windows; `None` where it was not called."""

    before: Calls | None
    after: Calls | None

    @property
    def verdict(self) -> str:
        """How the two compare."""
        if self.before is None or self.after is None:
            return "not called since" if self.after is None else "new"
        if min(self.before.calls, self.after.calls) < ENOUGH_CALLS:
            return "too few calls"
        slower = regressed(
            self.before.mean_ms, self.after.mean_ms, self.before.blocks, self.after.blocks, SLOWER
        )
        return "slower" if slower else "as before"

    def row(self) -> tuple[Any, ...]:
        """What the table shows of it, under `COLUMNS`."""
        both = [self.before, self.after]
        last = self.after or self.before
        assert last is not None
        figures: list[list[Any]] = [
            [one.calls if one else None for one in both],
            [one.mean_ms if one else None for one in both],
            [one.p95_at_most_ms if one else None for one in both],
            [round(one.blocks) if one else None for one in both],
        ]
        return (
            self.verdict,
            last.statement[:120],
            *(f"{text(old)} → {text(new)}" for old, new in figures),
            _further(last),
        )


def _further(one: Calls) -> str:
    """What else is known of a statement's calls."""
    cached = "" if one.hit_ratio is None else f", {100 * one.hit_ratio:.1f} % of the buffers cached"
    return (
        f"standard deviation {text(one.stddev_ms)} ms; ever {text(one.min_ms)} to "
        f"{text(one.max_ms)} ms; {text(one.rows / one.calls)} rows a call, "
        f"{text(one.temporary_blocks)} temporary blocks{cached}"
    )


@dataclass(frozen=True)
class Compared:
    """One named statement before and after."""

    item: Statement
    before: Measured
    after: Measured

    @property
    def replanned(self) -> bool:
        """Whether both came to their end, by different plans."""
        return (
            bool(self.before.nodes and self.after.nodes) and self.before.shape != self.after.shape
        )

    def check(self, id: str) -> Check:
        """Whether it has regressed, by `RULE`."""
        title, (status, why) = f"`{self.item.name}` is as fast as before", self._judged()
        limit = f", at most {self.item.max_ms:g} ms" if self.item.max_ms else ""
        return Check(
            id,
            title,
            status,
            "; ".join(filter(None, (why, self.figures()))),
            f"at most {self.item.max_ratio:g} times the time and buffers of before{limit}",
            "compare its two plans: which index or estimate has changed? 90_rollback prices the "
            f"ways back ({RULE})",
        )

    def figures(self) -> str:
        """Both measurements in one line."""
        ms = " → ".join(
            f"{text(one.median_ms)} ms" if one.ms else "–" for one in (self.before, self.after)
        )
        buffers = " → ".join(text(one.buffers) for one in (self.before, self.after))
        return (
            f"{ms}, {buffers} buffers" + (", another plan" if self.replanned else "")
            if self.before.ms or self.after.ms
            else ""
        )

    def _judged(self) -> tuple[Status, str]:
        before, after, limit = self.before, self.after, self.item.max_ms
        if after.undefined:
            return (
                (Status.FAILED, f"it cannot be run any more: {after.why}")
                if before.ms
                else (Status.UNKNOWN, after.why)
            )
        if after.median_ms is None:
            return Status.UNKNOWN, after.why
        if limit and after.median_ms > limit:
            return Status.FAILED, f"longer than {limit:g} ms"
        if before.median_ms is None:
            return (
                (Status.PASSED, "not there before")
                if limit and before.undefined
                else (Status.UNKNOWN, f"nothing to hold it against: {before.why}")
            )
        if not after.nodes:
            return (Status.FAILED if before.nodes else Status.UNKNOWN), after.why
        worse = before.nodes and regressed(
            before.median_ms,
            after.median_ms,
            before.buffers or 0,
            after.buffers or 0,
            self.item.max_ratio,
        )
        return (Status.FAILED, "it has regressed") if worse else (Status.PASSED, "")

    def side_by_side(self) -> Html:
        """Both plans; constants are masked."""
        return side_by_side(
            f"{self.item.name}: {self.figures()}",
            ("before the migration", self.before.tree()),
            ("now", self.after.tree()),
        )


@dataclass(frozen=True)
class Plans:
    """The named statements, and both plans of each that regressed or is planned otherwise."""

    items: tuple[Compared, ...]

    def table(self) -> Table:
        """One row a statement."""
        checks = self.checks()
        rows = [
            (
                f"{c.status.sign} {c.status.value}",
                one.item.name,
                one.before.median_ms,
                one.after.median_ms,
                one.before.buffers,
                one.after.buffers,
                "another"
                if one.replanned
                else "the same"
                if one.after.nodes and one.before.nodes
                else None,
                c.found,
            )
            for one, c in zip(self.items, checks, strict=True)
        ]
        worse = sum(c.status is Status.FAILED for c in checks)
        return Table(
            f"{len(rows)} named statements, {worse} regressed",
            (
                "result",
                "statement",
                "ms before",
                "ms now",
                "buffers before",
                "buffers now",
                "plan",
                "found",
            ),
            rows,
            [c.status.mark for c in checks],
        )

    def checks(self) -> list[Check]:
        """One a statement."""
        return [one.check(f"performance.plan.{number}") for number, one in enumerate(self.items, 1)]

    def shown(self) -> list[Any]:
        """Table, then plans."""
        return [
            self.table(),
            *(
                one.side_by_side()
                for one, c in zip(self.items, self.checks(), strict=True)
                if one.replanned or c.status is not Status.PASSED
            ),
        ]

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self.shown())

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.shown()))

    __repr__ = __str__


def pairs(before: Mapping[str, Calls], after: Mapping[str, Calls]) -> list[Pair]:
    """The statements of two windows, matched by query id.

    Else by text, where one text stands for one statement on each side.

    A query id depends on the oids of the tables (before PostgreSQL 18): a table that was made anew,
    or a restored database, gives others.
    """
    alone = [
        {one.statement: one for one in side.values() if one.id not in other}
        for side, other in ((before, after), (after, before))
    ]
    by_text = {
        text: (alone[0][text], alone[1][text])
        for text in alone[0].keys() & alone[1].keys()
        if all(sum(one.statement == text for one in side.values()) == 1 for side in (before, after))
    }
    matched = {one.id for two in by_text.values() for one in two}
    found = [Pair(before.get(id), after.get(id)) for id in {**before, **after} if id not in matched]
    return [*found, *(Pair(*two) for two in by_text.values())]


def regressed(
    ms_before: float, ms: float, buffers_before: float, buffers: float, ratio: float
) -> bool:
    """The part of `RULE` that holds before against after."""
    return (
        ms > ratio * ms_before
        and buffers > ratio * buffers_before
        and buffers >= buffers_before + BUFFERS
    )
