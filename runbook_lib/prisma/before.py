"""What the pending statements read so far have done.

To names, which the database does not know yet, and to rows, which may be others by then.
"""

from __future__ import annotations

from pglast import ast
from pglast.visitors import Visitor

from runbook_lib.prisma.effect import Change
from runbook_lib.prisma.judge import Statement
from runbook_lib.prisma.names import bare, join, listed, parts, quote, short

_ALL = "*"
"""Every column: rows came, went, or it cannot be told what was written."""


class Before:
    """The pending statements so far."""

    def __init__(self) -> None:
        self._new: set[str] = set()
        self._was: dict[str, str] = {}
        self._written: dict[str, dict[str, str]] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._unclear = ""

    def learn(self, statement: Statement) -> None:
        """One more statement was read."""
        for change in statement.effect.changes:
            self._change(change)
        for rows in statement.effect.rows:
            columns = (
                [bare(column) for column in rows.columns]
                if rows.action == "update" and rows.columns
                else [_ALL]
            )
            for column in columns:
                self._written.setdefault(self.table(rows.table), {}).setdefault(
                    column, statement.place
                )
        if statement.effect.unclear and not self._unclear:
            self._unclear = statement.place
        node = statement.parsed.node
        if isinstance(node, ast.CreateEnumStmt):
            made = next(
                (change.name for change in statement.effect.changes if change.kind == "enum"),
                listed(node.typeName, "public"),
            )
            self._labels[made] = tuple(value.sval for value in node.vals or ())

    def _change(self, change: Change) -> None:
        if change.renamed:
            self._was[change.renamed] = self._was.pop(change.name, change.name)
            if change.kind == "table":
                self._move(change.name, change.renamed)
            if change.kind == "enum" and change.name in self._labels:
                self._labels[change.renamed] = self._labels.pop(change.name)
            if change.name in self._new:
                self._new.discard(change.name)
                self._new.add(change.renamed)
        elif (
            change.action == "added"
            and change.kind in ("table", "column", "materialized view")
            and change.name not in self._was
        ):
            self._new.add(change.name)

    def _move(self, old: str, new: str) -> None:
        """The columns of a table that is renamed."""
        start = f"{old}."
        self._new = {
            f"{new}.{name.removeprefix(start)}" if name.startswith(start) else name
            for name in self._new
        }
        self._was = {
            f"{new}.{name.removeprefix(start)}" if name.startswith(start) else name: was
            for name, was in self._was.items()
        }

    def table(self, name: str) -> str:
        """The name that a table has in the database now."""
        return self._was.get(name, name)

    def column(self, table: str, column: str) -> str:
        """The bare name that a column has in the database now."""
        return bare(self._was.get(f"{table}.{quote(column)}", quote(column)))

    def is_new(self, table: str) -> bool:
        """Whether these files make the table."""
        return table in self._new

    def is_new_column(self, table: str, column: str) -> bool:
        """Whether these files make the column."""
        return f"{table}.{quote(column)}" in self._new

    def labels(self, type: str) -> tuple[str, ...] | None:
        """The labels of an enum that these files make."""
        return self._labels.get(type)

    def written(self, table: str, columns: set[str]) -> str:
        """Why these columns may hold something else by then.

        Empty where nothing read so far writes them.
        """
        places = self._written.get(self.table(table), {})
        found = next(
            (places[column] for column in (_ALL, *sorted(columns)) if column in places), ""
        )
        if found:
            return f"{found} writes rows of {short(join(*parts(table)[:2]))} before it"
        return f"it cannot be told what {self._unclear} does before it" if self._unclear else ""


class _Columns(Visitor):
    """Collects the columns that an expression names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def visit_ColumnRef(self, _ancestors: object, node: ast.ColumnRef) -> None:
        if isinstance(node.fields[-1], ast.String):
            self.found.add(node.fields[-1].sval)


def columns_in(expression: ast.Node | None) -> set[str]:
    """The bare names of the columns that an expression names."""
    if expression is None:
        return set()
    visitor = _Columns()
    visitor(expression)
    return visitor.found
