"""What the files declare to change: everything else must be the same afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.prisma.effect import Change, Effect
from runbook_lib.prisma.names import bare, join, parts, quote
from runbook_lib.table import Shown, Table

_PARTS = ("column", "constraint", "trigger", "policy", "rule")


@dataclass(frozen=True)
class Rows:
    """What happens to the rows of one table.

    Args:
        inserted, deleted: whether rows come or go.
        updated: the columns that are written.
    """

    inserted: bool = False
    deleted: bool = False
    updated: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = (["inserted"] if self.inserted else []) + (["deleted"] if self.deleted else [])
        return ", ".join(words + ([f"updated: {', '.join(self.updated)}"] if self.updated else []))


@dataclass(frozen=True)
class Declared(Shown):
    """What the files declare to change.

    Args:
        changes: of the catalogue.
        rows: by table, those that change; a table that is not named keeps every row.
        tables: all tables and views whose definition or rows change.
        unclear: statements of which it cannot be told what they change: then nothing can be proven
            unchanged by the files alone.
    """

    changes: tuple[Change, ...]
    rows: Mapping[str, Rows]
    tables: tuple[str, ...]
    unclear: tuple[str, ...] = ()

    def names(self, kind: str, action: str) -> tuple[str, ...]:
        """The names of all objects of a kind that are "added", "removed" or "changed"."""
        return tuple(
            change.name
            for change in self.changes
            if change.kind == kind and change.action == action
        )

    def covers(
        self, kind: str, name: str, action: str, before: Any = None, after: Any = None
    ) -> bool:
        """Whether a change that the catalogues show is declared.

        By itself, as a part of what comes or goes, or as the trace of a rename.

        Args:
            kind, name, action: as `runbook_lib.postgres.catalog` has them: "added", "removed" or
            "changed".
            before, after: the property's value, where one is changed.
        """
        whole = {
            (change.kind, change.name.partition("(")[0], change.action) for change in self.changes
        }
        if (
            (kind, name.partition("(")[0], action) in whole
            or action == "changed"
            and (kind, name, "added") in whole
        ):
            return True
        if kind == "comment":
            return any(
                change.name == name
                if change.kind == "comment"
                else change.action != "changed" and change.name in name
                for change in self.changes
            )
        table = join(*parts(name)[:2]) if kind in _PARTS else ""
        if table and (
            (kind, f"{table}.*", action) in whole
            or action != "changed"
            and ("table", table, action) in whole
        ):
            return True
        if (
            kind == "table" and isinstance(before, list)
            # the order of its columns: one that the files add stands at the end, whatever its place
            # was
        ):
            before, after = (
                [
                    column
                    for column in side or ()
                    if ("column", f"{name}.{column}", "added") not in whole
                ]
                for side in (before, after)
            )
        return (
            action == "changed"
            and before is not None
            and self._renamed(str(before)) == self._renamed(str(after))
        )

    def _renamed(self, text: str) -> str:
        """The text with the new names for the old."""
        for change in self.changes:
            if change.renamed:
                old, new = (
                    (change.name, change.renamed)
                    if change.kind != "column"
                    else (quote(bare(change.name)), quote(bare(change.renamed)))
                )
                text = re.sub(
                    rf'(?<![\w"]){re.escape(old)}(?![\w"])', new.replace("\\", r"\\"), text
                )
        return text

    def table(self) -> Table:
        """The changes as rows."""
        changes = [
            (change.kind, change.name, change.action, change.property) for change in self.changes
        ]
        rows = [("rows", table, str(what), "") for table, what in self.rows.items()]
        unclear = [("?", where, "cannot be told", "") for where in self.unclear]
        marks = [""] * (len(changes) + len(rows)) + ["unknown"] * len(unclear)
        return Table(
            f"{len(changes)} changes of the schema, rows of {len(rows)} tables",
            ("kind", "name", "change", "property"),
            changes + rows + unclear,
            marks,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "changes": [change.as_dict() for change in self.changes],
            "rows": {name: asdict(rows) for name, rows in self.rows.items()},
            "tables": list(self.tables),
            "unclear": list(self.unclear),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Declared:
        """What `as_dict` gave."""
        rows = {
            name: Rows(one["inserted"], one["deleted"], tuple(one["updated"]))
            for name, one in data["rows"].items()
        }
        return cls(
            tuple(Change(**change) for change in data["changes"]),
            rows,
            tuple(data["tables"]),
            tuple(data["unclear"]),
        )


def declared(effects: Iterable[tuple[str, Effect]], watched: Iterable[Change] = ()) -> Declared:
    """What statements declare, each with the place that names it.

    Args:
        watched: what all of them were seen to change together.
    """
    changes: dict[Change, None] = {}
    rows: dict[str, Rows] = {}
    unclear: list[str] = []
    for place, effect in effects:
        changes |= dict.fromkeys(effect.changes)
        for change in effect.rows:
            before = rows.get(change.table, Rows())
            rows[change.table] = Rows(
                before.inserted or change.action == "insert",
                before.deleted or change.action == "delete",
                tuple(dict.fromkeys((*before.updated, *change.columns))),
            )
        if effect.unclear:
            unclear.append(f"{place}: {effect.unclear}")
    changes |= dict.fromkeys(watched)
    return Declared(
        tuple(changes),
        rows,
        tuple(dict.fromkeys([*filter(None, map(_table, changes)), *rows])),
        tuple(unclear),
    )


def _table(change: Change) -> str:
    """The table or view that a change is about; empty where there is none."""
    if change.kind in ("table", "view", "materialized view"):
        return change.name
    return join(*parts(change.name)[:2]) if change.kind in _PARTS else ""
