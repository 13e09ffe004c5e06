"""Only the declared change.

What the plan says may differ, and everything else identical by content.

What a plan declares comes from its statements (`runbook_lib.prisma.review`): columns that are
dropped, retyped or written by an UPDATE are left out of the comparison, tables whose rows a
statement inserts or deletes may differ in rows. Everything else must be as it was;
`runbook_lib.phases.undeclared` looks into what is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runbook_lib.check import Checks, check, unknown
from runbook_lib.postgres import snapshot
from runbook_lib.postgres.comparison import Compared, Outcome
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.narrow import Narrowed
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table

HISTORY = "_prisma_migrations"
"""Prisma's table of applied migrations, which every migration writes."""
_OF_PRISMA = re.compile(rf"\.{HISTORY}(_pkey)?(\.|$)")
REWRITES = frozenset({"", "type", "generated", "collation", "name"})
"""Changed properties of a column after which its values may look different; a default or NOT NULL
leaves them alone.
"""
Declared = Mapping[str, Any]
Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Verdict(StrEnum):
    """What a difference is held to be, the worst first."""

    UNDECLARED = "undeclared"
    BLIND = "could not check"
    WROTE = "the application wrote"
    """It may have: nothing proves that it could not, and as much was counted. A person must look.
    """
    DECLARED = "as declared"
    EARLIER = "written before"
    """Between the backup and the proof of maintenance mode: no migration had begun."""
    IDENTICAL = "identical"

    @property
    def mark(self) -> str:
        """The row mark of `runbook_lib.table.Table`."""
        return {
            "undeclared": "bad",
            "could not check": "unknown",
            "the application wrote": "unknown",
            "written before": "",
        }.get(self.value, "good")


@dataclass(frozen=True)
class Judged:
    """One table (or sequence, …) and whether its difference is one that the plan declares.

    Args:
        found: before against after.
        allowed: what the plan declares about it, or what else is known of it; empty where that is
            nothing.
        where: where an undeclared difference lies.
    """

    found: Compared
    allowed: str
    verdict: Verdict
    where: Narrowed | None = None

    def row(self) -> tuple[Any, ...]:
        """Return for a table: verdict, kind, name, what is declared or known, rows, outcome.

        Rows are counted before and after.
        """
        no = "no" if self.verdict is Verdict.UNDECLARED else ""
        known = self.allowed or ", compared ".join(filter(None, [no, self.found.why])) or None
        return (
            self.verdict.value,
            self.found.kind,
            self.found.name,
            known,
            self.found.before,
            self.found.after,
            self.found.outcome.value,
        )

    def __str__(self) -> str:
        rows = (
            f" ({self.found.before} → {self.found.after})"
            if self.found.before != self.found.after
            else ""
        )
        known = (
            self.found.why,
            str(self.where or ""),
            self.allowed if self.allowed != self.found.why else "",
        )
        return ", ".join(
            filter(None, [f"{self.found.name}: {self.found.outcome.value}{rows}", *known])
        )


@dataclass(frozen=True)
class Content(Shown):
    """Everything that two snapshots hold, judged against the plan.

    Args:
        items: from the state before to now.
        earlier: what differs from the backup to the state before.
    """

    items: tuple[Judged, ...]
    earlier: tuple[Judged, ...] = ()

    def having(self, *verdicts: Verdict) -> tuple[Judged, ...]:
        """Those with one of these verdicts."""
        return tuple(item for item in (*self.items, *self.earlier) if item.verdict in verdicts)

    def finding(self) -> str:
        """The result in one line."""
        wrong, wrote = self.having(Verdict.UNDECLARED), self.having(Verdict.WROTE)
        for items, words in (
            (wrong, "undeclared"),
            (wrote, "that the application may have written"),
        ):
            if items:
                names = ", ".join(dict.fromkeys(item.found.name for item in items[:3]))
                more = " …" if len(items) > 3 else ""
                return f"Differences {words}: {len(items)}, in {names}{more}"
        return (
            f"Only the declared change: {len(self.having(Verdict.IDENTICAL))} identical, "
            f"{len(self.having(Verdict.DECLARED))} changed as declared"
        )

    def drawn(self, most: int = 20, largest: int = 8) -> list[Judged]:
        """The tables of a chart: those that differ, the worst first, and the largest others."""
        order = list(Verdict)
        tables = [
            item
            for item in self.items
            if item.found.kind == "table" and item.found.outcome is not Outcome.EXCLUDED
        ]
        by_rows = sorted(
            tables, key=lambda item: -max(item.found.before or 0, item.found.after or 0)
        )
        differ = sorted(
            (item for item in by_rows if item.verdict is not Verdict.IDENTICAL),
            key=lambda item: order.index(item.verdict),
        )
        return [
            *differ,
            *[item for item in by_rows if item.verdict is Verdict.IDENTICAL][:largest],
        ][:most]

    def checks(self) -> Checks:
        """Return checks for undeclared differences, for what was not comparable, for app writes.

        One check each.
        """
        wrong, blind, wrote, earlier = map(
            self.having, (Verdict.UNDECLARED, Verdict.BLIND, Verdict.WROTE, Verdict.EARLIER)
        )
        result = [
            check(
                "content.declared",
                "nothing but the declared change",
                not wrong,
                _said(wrong) or self.finding(),
                "identical, or as declared",
                "90_rollback prices the ways back",
            )
        ]
        if blind:
            result.append(
                unknown(
                    "content.compared",
                    "every table could be compared",
                    _said(blind),
                    remedy="compare these by hand; then approve",
                )
            )
        if wrote:
            names = ", ".join(sorted({item.found.name for item in wrote}))
            result.append(
                unknown(
                    f"content.application: {names}",
                    "nobody but the migration wrote",
                    _said(wrote),
                    "maintenance mode, proven",
                    "look at these rows with whoever runs the application, and approve where they "
                    "are its own; else 90_rollback",
                )
            )
        if earlier:
            result.append(
                check(
                    "content.earlier",
                    "what was written since the backup was written before maintenance mode was "
                    "proven",
                    True,
                    _said(earlier),
                )
            )
        return Checks("Content", result)

    def table(self) -> Table:
        """All tables, and of the rest what differs; the undeclared first."""
        order = list(Verdict)
        shown = sorted(
            (
                item
                for item in (*self.items, *self.earlier)
                if item.found.kind == "table" or item.verdict is not Verdict.IDENTICAL
            ),
            key=lambda item: (order.index(item.verdict), item.found.name),
        )
        columns = (
            "verdict",
            "kind",
            "name",
            "declared?",
            "rows before",
            "rows now",
            "outcome",
            "where, and how many",
            "listed by (keys only)",
        )
        rows = [
            (
                *item.row(),
                str(item.where or "") or None,
                item.where.listing or None if item.where else None,
            )
            for item in shown
        ]
        used = len(columns) - next(
            (spare for spare in range(2) if any(row[-1 - spare] for row in rows)), 2
        )
        return Table(
            self.finding(),
            columns[:used],
            [row[:used] for row in rows],
            [item.verdict.mark for item in shown],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "finding": self.finding(),
            **{
                name: [
                    {
                        "name": item.found.name,
                        "kind": item.found.kind,
                        "before": item.found.before,
                        "after": item.found.after,
                        "found": item.found.outcome.value,
                        "declared": item.allowed,
                        "verdict": item.verdict.value,
                        "where": item.where and item.where.as_dict(),
                    }
                    for item in items
                ]
                for name, items in (("items", self.items), ("earlier", self.earlier))
            },
        }


def kept_columns(objects: Objects, declared: Declared) -> dict[str, list[list[str]]]:
    """For each table that exists and of which the plan changes columns.

    The columns that stay as they are.

    Args:
        objects: of the catalogue before (`Catalog.objects`).
        declared: of the plan.

    Returns:
        what `snapshot.take` wants as `columns`.
    """
    changed = _changed_columns(declared)
    kept: dict[str, list[list[str]]] = {}
    for table in objects.get("table", {}):
        columns = [
            name.removeprefix(f"{table}.")
            for name in objects["column"]
            if name.startswith(f"{table}.")
        ]
        stays = [column for column in columns if column not in changed.get(table, set())]
        if table in changed and stays:
            kept[table] = [stays]
    return kept


def taken_again(
    before: Snapshot,
    target: Target,
    application_name: str,
    on_progress: Callable[[str], None] | None = None,
) -> Snapshot:
    """The database now, in a form that can be compared with an earlier snapshot.

    Tables that are gone are left to the comparison.
    """
    return snapshot.take(
        target,
        application_name,
        columns=before.columns(),
        method=Method(before.method),
        on_progress=on_progress,
    )


def compare(before: Snapshot, after: Snapshot, declared: Declared) -> Content:
    """What differs, judged against the plan."""
    allowed = _allowed(declared)
    own: dict[str, str] = dict.fromkeys(
        (Outcome.ROWS, Outcome.CONTENT, Outcome.ADDED), "Prisma's own record"
    )
    found = before.compare(after, _kept(before))
    return Content(
        tuple(
            _judge(item, own if _history(item) else allowed.get(item.name, {}))
            for item in (*found.content, *found.facts)
        )
    )


def _kept(before: Snapshot) -> dict[str, tuple[str, ...]]:
    """The columns that the plan leaves alone, where they were fingerprinted by themselves.

    Only they are compared.
    """
    return {table: lists[1] for table, lists in before.columns().items() if len(lists) > 1}


def differing(before: Snapshot, after: Snapshot) -> tuple[Compared, ...]:
    """Tables and sequences whose content is not the same, or could not be compared.

    A sequence may have moved on, and Prisma's own record tells of attempts: neither counts.
    """
    return tuple(item for item in before.compare(after).differing if not _history(item))


def _history(item: Compared) -> bool:
    return of_prisma(item.name)


def of_prisma(name: str) -> bool:
    """Whether it is Prisma's own record of migrations, or a part of it."""
    return _OF_PRISMA.search(name) is not None


def _allowed(declared: Declared) -> dict[str, dict[str, str]]:
    """Name → outcome → why the plan allows it."""
    allowed: dict[str, dict[str, str]] = {}
    for change in declared.get("changes", ()):
        if change["kind"] in ("table", "materialized view", "sequence", "extension"):
            outcome = {"added": Outcome.ADDED, "removed": Outcome.MISSING}.get(
                change["action"], Outcome.CONTENT
            )
            if outcome is not Outcome.CONTENT or change["kind"] == "extension":
                allowed.setdefault(change["name"], {})[outcome] = change["action"]
    for table, rows in declared.get("rows", {}).items():
        if rows["inserted"] or rows["deleted"]:
            why = "rows " + " and ".join(word for word in ("inserted", "deleted") if rows[word])
            allowed.setdefault(table, {}).update({Outcome.ROWS: why, Outcome.CONTENT: why})
    return allowed


def _changed_columns(declared: Declared) -> dict[str, set[str]]:
    """Table → columns that the plan removes, retypes or writes."""
    changed: dict[str, set[str]] = {}
    for change in declared.get("changes", ()):
        if change["kind"] == "column" and (
            change["action"] == "removed" or change["property"] in REWRITES
        ):
            table, _, column = _split(change["name"])
            changed.setdefault(table, set()).add(column)
        elif change["kind"] == "column":
            changed.setdefault(_split(change["name"])[0], set())
    for table, rows in declared.get("rows", {}).items():
        if rows["updated"]:
            changed.setdefault(table, set()).update(rows["updated"])
    return changed


def _split(name: str) -> tuple[str, str, str]:
    """`public."Patient"."name"` → (`public."Patient"`, ".", `"name"`).

    At the last dot outside quotes.
    """
    inside, cut = False, 0
    for place, letter in enumerate(name):
        if letter == '"':
            inside = not inside
        elif letter == "." and not inside:
            cut = place
    return name[:cut], ".", name[cut + 1 :]


def _judge(item: Compared, allowed: Mapping[str, str]) -> Judged:
    if item.outcome in (Outcome.IDENTICAL, Outcome.EXCLUDED, Outcome.AHEAD):
        return Judged(item, "", Verdict.IDENTICAL)
    if item.outcome in allowed:
        return Judged(item, allowed[item.outcome], Verdict.DECLARED)
    if item.outcome is Outcome.NOT_COMPARED:
        return Judged(item, item.why, Verdict.BLIND)
    return Judged(item, "", Verdict.UNDECLARED)


def _said(items: tuple[Judged, ...]) -> str:
    return "; ".join(map(str, items))
