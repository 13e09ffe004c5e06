"""Performance before and after.

The counters over two windows, the statements of pg_stat_statements by query id, and the plans of
the statements that the parameters name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, Status, check, not_configured, unknown
from runbook_lib.phases import visible
from runbook_lib.phases.backup import table_sizes
from runbook_lib.phases.base import Phase
from runbook_lib.phases.regression import COLUMNS, ENOUGH_CALLS, Compared, Pair, Plans, pairs
from runbook_lib.postgres import plans, statistics, windows
from runbook_lib.postgres.plans import Measured
from runbook_lib.postgres.statistics import Statistics
from runbook_lib.postgres.windows import Window
from runbook_lib.show import charts
from runbook_lib.table import Table, size

MOST_ROWS = 50
"""Rows of one table in the notebook; the evidence holds all."""


class Performance(Phase):
    """The part of 70_validate that asks whether the database is as fast as before."""

    @cached_property
    def statistics(self) -> tuple[Statistics, statistics.Statistics]:
        """Right before the migration, and now; where the parameters want it, now is later."""
        before = statistics.Statistics.from_dict(self.run.read_evidence("before.statistics"))
        if self.params.validate_.observe_s:
            self._wait(before)
        now = statistics.read(self.db)
        self.run.write_evidence("validate.statistics", now)
        return before, now

    @cached_property
    def windows(self) -> tuple[Window | None, Window | None]:
        """From 30_backup to right before the migration, and from its end to now.

        `None` where the first reading is missing.
        """
        return self._window("backup.statistics", self.statistics[0]), self._window(
            "migrated.statistics", self.statistics[1]
        )

    def counters(self) -> Table:
        """The database over both windows: cache hits, temporary files, commits."""
        rows: list[tuple[str, Callable[[Window], Any]]] = [
            ("from (UTC)", lambda one: one.began),
            ("to (UTC)", lambda one: one.ended),
            ("seconds", lambda one: one.seconds),
            (
                "cache hit ratio",
                lambda one: None if one.hit_ratio is None else f"{100 * one.hit_ratio:.2f} %",
            ),
            *(
                (key.replace("_", " "), lambda one, key=key: one.database.get(key))
                for key in windows.DATABASE
            ),
            ("index scans", lambda one: None if one.anew else sum(one.indexes.values())),
            ("remark", _remark),
        ]
        return Table(
            self._lengths(),
            ("what", "before", "after"),
            [
                (name, *(value(one) if one else None for one in self.windows))
                for name, value in rows
            ],
        )

    def indexes(self) -> Table:
        """Indexes before and after: size, scans in each window, validity.

        New ones first, with what is to be said of them.
        """
        before, after = (one.indexes for one in self.statistics)
        names = sorted(
            set(before) | set(after),
            key=lambda name: (
                name in before and name in after,
                name not in self._covered,
                -max((w.indexes.get(name, 0) for w in self.windows if w), default=0),
                name,
            ),
        )
        rows = [
            (
                name,
                "kept"
                if name in before and name in after
                else "added"
                if name in after
                else "removed",
                *(size(one[name]["bytes"]) if name in one else None for one in (before, after)),
                *(w and w.indexes.get(name) for w in self.windows),
                after.get(name, {}).get("valid"),
                self._about(name),
            )
            for name in names[:MOST_ROWS]
        ]
        part = f" ({MOST_ROWS} shown)" if len(names) > MOST_ROWS else ""
        return Table(
            f"{len(after)} indexes, {len(before)} before{part}",
            (
                "index",
                "",
                "size before",
                "size after",
                "scans before",
                "scans after",
                "valid",
                "remark",
            ),
            rows,
        )

    def missing_indexes(self) -> Table:
        """Large tables of which sequential scans have read the most rows.

        Or why that is not known.
        """
        found = self._missing()
        if found.status is Status.UNKNOWN and not self._new_missing:
            return Table(
                "Tables that want an index: could not check",
                ("why", "what to do"),
                [(found.found, found.remedy)],
                ["unknown"],
            )
        return self.statistics[1].missing()

    def queries(self) -> Table:
        """What pg_stat_statements saw in the two windows, per call, the slower ones first."""
        if isinstance(self._pairs, str):
            return Table("Statements: could not check", ("why",), [(self._pairs,)], ["unknown"])
        order = ("slower", "new", "as before", "too few calls", "not called since")
        shown = sorted(
            self._pairs,
            key=lambda one: (order.index(one.verdict), -_total_ms(one)),
        )[:MOST_ROWS]
        gone, new = (
            [one for one in self._pairs if one.verdict == word]
            for word in ("not called since", "new")
        )
        title = (
            f"{len(self._pairs)} statements, {len(new)} new, {len(gone)} not called since; per "
            f"call, before → after. {self._lengths()}"
        )
        return Table(
            title,
            COLUMNS,
            [one.row() for one in shown],
            ["bad" if one.verdict == "slower" else "" for one in shown],
        )

    @cached_property
    def plans(self) -> Plans:
        """The statements that the parameters name, measured again."""
        items = self.params.validate_.statements
        after = plans.measure_all(self.db, {item.name: item.sql for item in items})
        before = {
            one["name"]: Measured.from_dict(one)
            for one in self.run.read_evidence("backup.plans", missing=())
        }
        self.run.write_evidence("validate.plans", [one.as_dict() for one in after])
        return Plans(
            tuple(
                Compared(
                    item,
                    before.get(
                        item.name, Measured(item.name, why="it was not measured in 30_backup")
                    ),
                    now,
                )
                for item, now in zip(items, after, strict=True)
            )
        )

    def statement_times(self) -> Any:
        """The named statements' times, before and after."""
        worse = [
            one.item.name
            for one, c in zip(self.plans.items, self.plans.checks(), strict=True)
            if c.status is Status.FAILED
        ]
        title = (
            f"Regressed: {', '.join(worse)}"
            if worse
            else "No named statement has regressed"
            if self.plans.items
            else "No statement is named in `validate.statements`"
        )
        return charts.before_after(
            title,
            [one.item.name for one in self.plans.items],
            [one.before.median_ms for one in self.plans.items],
            [one.after.median_ms for one in self.plans.items],
            unit="ms",
        )

    def sizes_chart(self) -> Any:
        """Sizes by table, before and after."""
        before, after = map(table_sizes, self.statistics)
        names = sorted(
            set(before) | set(after),
            key=lambda name: -max(s.get(name, {}).get("bytes", 0) for s in (before, after)),
        )[:10]
        sizes = [
            [one.get(name, {}).get("bytes", 0) / 2**20 for name in names] for one in (before, after)
        ]
        grown = sum(sizes[1]) - sum(sizes[0])
        return charts.before_after(
            f"The database {'grew' if grown >= 0 else 'shrank'} by {abs(grown):.1f} MiB",
            names,
            sizes[0],
            sizes[1],
            unit="MiB",
        )

    def performance(self) -> Checks:
        """The named statements must not have regressed.

        What only the counters say is for a person to judge.
        """
        named = self.plans.checks() or [
            not_configured(
                "performance.plans",
                "the named statements are as fast as before",
                "validate.statements",
            )
        ]
        return self.look(
            "performance",
            Checks("Performance", [self._counted(), self._missing(), self._queries(), *named]),
        )

    def _wait(self, before_migration: Statistics) -> None:
        """Wait until the window after is as long as the one before.

        As far as the parameters allow.
        """
        before, after = (
            self._window("backup.statistics", before_migration),
            self._window("migrated.statistics", statistics.read(self.db)),
        )
        left = (
            min(before.seconds, self.params.validate_.observe_s) - after.seconds
            if before and after
            else 0
        )
        if left > 0:
            self.say(f"observing for {left:.0f} s more: `validate.observe_s`")
            time.sleep(left)

    def _window(self, first: str, last: Statistics) -> Window | None:
        stored = self.run.read_evidence(first, missing=None)
        if stored is None:
            return None
        return windows.window(statistics.Statistics.from_dict(stored), last)

    def _lengths(self) -> str:
        words = [
            f"{one.seconds:.0f} s {word}" if one else f"{word}: not seen"
            for one, word in zip(self.windows, ("before", "after"), strict=True)
        ]
        return f"Windows: {words[0]}, {words[1]}"

    @cached_property
    def _covered(self) -> Mapping[str, str]:
        return {row["name"]: row["covered_by"] for row in self.statistics[1].covered_indexes}

    def _about(self, name: str) -> str:
        """What is to be said of an index."""
        before, after = (one.indexes for one in self.statistics)
        unused = name in after and name not in before and not after[name]["scans"]
        return "; ".join(
            filter(
                None,
                (
                    "new, not used yet" if unused else "",
                    f"covered by {self._covered[name]}" if name in self._covered else "",
                ),
            )
        )

    def _counted(self) -> Check:
        id, title = "performance.counters", "the counters can be compared"
        if (counting := visible.counting_check(self.statistics[1])).status is Status.UNKNOWN:
            return counting
        why = [
            f"{word}: {one.anew if one else 'the reading that it begins with is missing'}"
            for one, word in zip(self.windows, ("before", "after"), strict=True)
            if not one or one.anew
        ]
        if why:
            return unknown(
                id,
                title,
                "; ".join(why),
                "counted through",
                "compare with your monitoring; then approve",
            )
        remarks = [
            f"{name}: {said}" for name in self.statistics[1].indexes if (said := self._about(name))
        ]
        ratios = " → ".join(
            "–" if one is None or one.hit_ratio is None else f"{100 * one.hit_ratio:.1f} %"
            for one in self.windows
        )
        return check(
            id,
            title,
            True,
            f"{self._lengths()}; cache hits {ratios}"
            + (f"; remark: {'; '.join(remarks[:5])}" if remarks else ""),
            "counted through",
        )

    @cached_property
    def _new_missing(self) -> list[str]:
        before, now = ({row["name"] for row in one.missing_indexes} for one in self.statistics)
        return sorted(now - before)

    def _missing(self) -> Check:
        id, title, (before, now) = (
            "performance.missing",
            "no further table wants an index",
            self.statistics,
        )
        remedy = visible.COUNTING
        if anew := windows.window(before, now).anew:
            return unknown(id, title, anew, "counted", remedy)
        if (scanned := visible.scans_check(now)).status is Status.UNKNOWN:
            return scanned
        if self._new_missing:
            return unknown(
                id,
                title,
                f"beyond its limit: {', '.join(self._new_missing)}",
                "none",
                "see the table above: which statement reads it from end to end?",
            )
        old = ", ".join(row["name"] for row in now.missing_indexes)
        return check(
            id,
            title,
            True,
            f"remark: as before, {old}" if old else f"none, {now.since}",
            "none that did not before",
        )

    @cached_property
    def _pairs(self) -> Sequence[Pair] | str:
        """The statements of both windows; or why they cannot be compared."""
        if not all(self.windows):
            return "one of the two windows was not seen"
        before, after = (one.calls for one in self.windows if one)
        if before is None or after is None:
            return next((one.calls_why for one in self.windows if one and one.calls is None), "")
        return pairs(before, after)

    def _queries(self) -> Check:
        id, title = "performance.queries", "no statement has become slower (by pg_stat_statements)"
        if not self.params.validate_.slow_queries:
            return Check(id, title, Status.NOT_CONFIGURED, "`validate.slow_queries` is false")
        if isinstance(self._pairs, str):
            readable = visible.statements_check(self.statistics[1])
            if readable.status is Status.UNKNOWN:
                return readable
            return unknown(id, title, self._pairs, "compared", visible.STATEMENTS)
        compared = [one for one in self._pairs if one.verdict in ("slower", "as before")]
        slower = [
            f"{one.after.statement[:80]} ({one.before.mean_ms:.1f} → {one.after.mean_ms:.1f} ms)"
            for one in compared
            if one.verdict == "slower" and one.before and one.after
        ]
        if not compared:
            return Check(
                id,
                title,
                Status.NOT_CONFIGURED,
                f"no statement was called {ENOUGH_CALLS} times in both windows; those of "
                "`validate.statements` are always compared",
            )
        if slower:
            return unknown(
                id,
                title,
                f"beyond its limit: {'; '.join(slower[:3])}",
                "none slower",
                "their values may differ: compare their plans, and approve or roll back",
            )
        lost, new = (
            sum(one.evicted for one in self.windows if one),
            sum(one.verdict == "new" for one in self._pairs),
        )
        remark = f"; remark: pg_stat_statements forgot some, {lost} times" if lost else ""
        return check(id, title, True, f"{len(compared)} compared, {new} new{remark}", "none slower")


def _remark(one: Window) -> str:
    return one.anew or ("" if one.calls is not None else one.calls_why)


def _total_ms(one: Any) -> float:
    return float((one.after or one.before).total_ms)
