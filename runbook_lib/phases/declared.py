"""Only the declared change: what the plan says may differ, and everything else identical by content.

What a plan declares comes from its statements (`runbook_lib.prisma.review`): columns that are dropped, retyped or
written by an UPDATE are left out of the comparison, tables whose rows a statement inserts or deletes may differ in
rows. Everything else must be as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.check import Checks, check, unknown
from runbook_lib.postgres import snapshot
from runbook_lib.postgres.comparison import Compared, Outcome
from runbook_lib.postgres.connection import Target
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.table import Shown, Table

HISTORY = "_prisma_migrations"
"""Prisma's table of applied migrations, which every migration writes."""
REWRITES = frozenset({"", "type", "generated", "collation", "name"})
"""Changed properties of a column after which its values may look different; a default or NOT NULL leaves them alone."""
Declared = Mapping[str, Any]
Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Judged:
    """One table (or sequence) and whether its difference is one that the plan declares.

    Args:
        found: before against after.
        allowed: what the plan declares about it; empty where it declares nothing.
        verdict: "identical", "as declared", "undeclared" or "could not check".
    """

    found: Compared
    allowed: str
    verdict: str


@dataclass(frozen=True)
class Content(Shown):
    """Everything that two snapshots hold, judged against the plan."""

    items: tuple[Judged, ...]

    def having(self, verdict: str) -> tuple[Judged, ...]:
        """Those with a verdict."""
        return tuple(item for item in self.items if item.verdict == verdict)

    def finding(self) -> str:
        """The result in one line."""
        wrong, declared = self.having("undeclared"), self.having("as declared")
        if wrong:
            return f"{len(wrong)} undeclared differences: {', '.join(item.found.name for item in wrong[:3])}"
        return f"Only the declared change: {len(self.having('identical'))} identical, {len(declared)} changed as declared"

    def rows(self) -> tuple[list[str], list[int], list[int]]:
        """Names, rows before and rows after of the largest tables, for a chart."""
        tables = [item.found for item in self.items if item.found.kind == "table" and item.found.outcome is not Outcome.EXCLUDED]
        largest = sorted(tables, key=lambda one: -max(one.before or 0, one.after or 0))[:12]
        return [one.name for one in largest], [one.before or 0 for one in largest], [one.after or 0 for one in largest]

    def checks(self) -> Checks:
        """One check for undeclared differences, one for what could not be compared."""
        wrong, blind = self.having("undeclared"), self.having("could not check")
        title = "nothing but the declared change"
        result = [check("content.declared", title, not wrong, "; ".join(_line(item) for item in wrong) or self.finding(),
                        "identical, or as declared", "90_rollback prices the ways back")]
        if blind:
            result.append(unknown("content.compared", "every table could be compared", "; ".join(_line(item) for item in blind),
                                  remedy="compare these by hand; then approve"))
        return Checks("Content", result)

    def table(self) -> Table:
        """All tables, the undeclared first."""
        order = ("undeclared", "could not check", "as declared", "identical")
        shown = sorted((item for item in self.items if item.found.kind == "table" or item.verdict != "identical"),
                       key=lambda item: (order.index(item.verdict), item.found.name))
        rows = [(item.verdict, item.found.name, item.found.before, item.found.after, item.found.outcome.value, item.allowed or item.found.why)
                for item in shown]
        marks = [{"undeclared": "bad", "could not check": "unknown"}.get(item.verdict, "good") for item in shown]
        return Table(self.finding(), ("verdict", "table", "rows before", "rows after", "found", "declared"), rows, marks)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"finding": self.finding(), "items": [
            {"name": item.found.name, "kind": item.found.kind, "before": item.found.before, "after": item.found.after,
             "found": item.found.outcome.value, "declared": item.allowed, "verdict": item.verdict} for item in self.items]}


def kept_columns(objects: Objects, declared: Declared) -> dict[str, list[list[str]]]:
    """For each table that exists and of which the plan changes columns: the columns that stay as they are.

    Args:
        objects: of the catalogue before (`Catalog.objects`).
        declared: of the plan.

    Returns:
        what `snapshot.take` wants as `columns`.
    """
    changed = _changed_columns(declared)
    kept: dict[str, list[list[str]]] = {}
    for table in objects.get("table", {}):
        columns = [name.removeprefix(f"{table}.") for name in objects["column"] if name.startswith(f"{table}.")]
        stays = [column for column in columns if column not in changed.get(table, set())]
        if table in changed and stays:
            kept[table] = [stays]
    return kept


def taken_again(before: Snapshot, target: Target, application_name: str, on_progress: Callable[[str], None] | None = None) -> Snapshot:
    """The database now, in a form that can be compared with an earlier snapshot; tables that are gone are left to the comparison."""
    return snapshot.take(target, application_name, columns=before.columns(), method=Method(before.method), on_progress=on_progress)


def compare(before: Snapshot, after: Snapshot, declared: Declared) -> Content:
    """What differs, judged against the plan."""
    allowed = _allowed(declared)
    own = dict.fromkeys((Outcome.ROWS, Outcome.CONTENT, Outcome.ADDED), "Prisma's own record")
    found = before.compare(after, _kept(before))
    return Content(tuple(_judge(item, own if _history(item) else allowed.get(item.name, {})) for item in (*found.content, *found.facts)))


def _kept(before: Snapshot) -> dict[str, tuple[str, ...]]:
    """The columns that the plan leaves alone, where they were fingerprinted by themselves: only they are compared."""
    return {table: lists[1] for table, lists in before.columns().items() if len(lists) > 1}


def differing(before: Snapshot, after: Snapshot) -> tuple[Compared, ...]:
    """Tables and sequences whose content is not the same, or could not be compared.

    A sequence may have moved on, and Prisma's own record tells of attempts: neither counts.
    """
    return tuple(item for item in before.compare(after).differing if not _history(item))


def _history(item: Compared) -> bool:
    return item.name.endswith(f".{HISTORY}")


def _allowed(declared: Declared) -> dict[str, dict[str, str]]:
    """Name → outcome → why the plan allows it."""
    allowed: dict[str, dict[str, str]] = {}
    for change in declared.get("changes", ()):
        if change["kind"] in ("table", "sequence", "extension"):
            outcome = {"added": Outcome.ADDED, "removed": Outcome.MISSING}.get(change["action"], Outcome.CONTENT)
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
        if change["kind"] == "column" and (change["action"] == "removed" or change["property"] in REWRITES):
            table, _, column = _split(change["name"])
            changed.setdefault(table, set()).add(column)
        elif change["kind"] == "column":
            changed.setdefault(_split(change["name"])[0], set())
    for table, rows in declared.get("rows", {}).items():
        if rows["updated"]:
            changed.setdefault(table, set()).update(rows["updated"])
    return changed


def _split(name: str) -> tuple[str, str, str]:
    """`public."Patient"."name"` → (`public."Patient"`, ".", `"name"`): at the last dot outside quotes."""
    inside, cut = False, 0
    for place, letter in enumerate(name):
        if letter == '"':
            inside = not inside
        elif letter == "." and not inside:
            cut = place
    return name[:cut], ".", name[cut + 1:]


def _judge(item: Compared, allowed: Mapping[str, str]) -> Judged:
    if item.outcome in (Outcome.IDENTICAL, Outcome.EXCLUDED, Outcome.AHEAD):
        return Judged(item, "", "identical")
    if item.outcome in allowed:
        return Judged(item, allowed[item.outcome], "as declared")
    if item.outcome is Outcome.NOT_COMPARED:
        return Judged(item, item.why, "could not check")
    return Judged(item, "", "undeclared")


def _line(item: Judged) -> str:
    rows = f" ({item.found.before} → {item.found.after})" if item.found.before != item.found.after else ""
    return f"{item.found.name}: {item.found.outcome.value}{rows}" + (f", {item.found.why}" if item.found.why else "")
