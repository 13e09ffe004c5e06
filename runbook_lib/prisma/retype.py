"""What ALTER TABLE … ALTER COLUMN … TYPE does.

Rewrite or not, values lost or not, foreign keys made anew.
"""

from __future__ import annotations

from pglast import ast

from runbook_lib.prisma import types
from runbook_lib.prisma.effect import Draft
from runbook_lib.prisma.locks import LockMode
from runbook_lib.prisma.names import quote, short


def alter_type(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    """The column gets another type."""
    name, new = (
        f"{short(table)}.{quote(command.name)}",
        types.of(command.def_.typeName, draft.schema),
    )
    known = draft.known.column(table, quote(command.name))
    old = known.get("type") if known else None
    draft.changed("column", f"{table}.{quote(command.name)}", "type")
    draft.known.alter("column", f"{table}.{quote(command.name)}", {**(known or {}), "type": new})
    _retype_keys(draft, table, quote(command.name))
    if command.def_.collClause:  # an index sorts by it
        indexes = [
            index
            for kind, index in draft.known.standing_on(table, quote(command.name))
            if kind == "index"
        ]
        if indexes:
            draft.scan(table)
            draft.reindex(*indexes)
            draft.remark(
                "scan-under-exclusive-lock",
                table,
                what=f"building {', '.join(map(short, indexes))} anew for the collation",
            )
    rewrite, what = (
        _rewrite(command, old, new),
        f"changing {name} from {old or 'its type'} to {new}",
    )
    if rewrite is not types.Rewrite.NO:
        draft.rewrite(table)
    if rewrite is types.Rewrite.YES:
        draft.remark("table-rewrite", table, what=what)
    elif rewrite is types.Rewrite.DEPENDS:
        draft.remark(
            "table-may-be-rewritten",
            table,
            what=what,
            because="its type now is not known here"
            if old is None
            else "between these types it depends on the server and its settings",
        )
    else:
        draft.remark("brief-exclusive-lock", table, what=what)
    narrower = _narrows(draft, old, new)
    if narrower:
        draft.remark("type-narrowed", table, name=name, old=old, new=new)
        draft.rows(table, "update", (quote(command.name),))
    elif narrower is None:
        draft.remark("type-changed", table, name=name, new=new)
    if rewrite is not types.Rewrite.NO:
        draft.rows(table, "update", (quote(command.name),))
        draft.remark("client-sees-new-type", table, name=name)


def _narrows(draft: Draft, old: str | None, new: str) -> bool | None:
    """Between two enums: whether a label is lost."""
    before, after = draft.known.enums.get(old or ""), draft.known.enums.get(new)
    if before and after and before.get("labels") and after.get("labels"):
        return not set(before["labels"]) <= set(after["labels"])
    return types.narrows(old, new)


def _retype_keys(draft: Draft, table: str, column: str) -> None:
    """Foreign keys on the column, from either side, are made anew and checked."""
    for key in draft.known.foreign_keys().values():
        here = key.table == table and column in key.columns
        if here or key.references == table and column in key.to:
            other = key.references if here else key.table
            draft.lock(other, LockMode.ACCESS_EXCLUSIVE)
            draft.scan(key.table)
            if other != table:
                draft.remark(
                    "scan-under-exclusive-lock",
                    other,
                    what=f"checking the foreign key {short(key.name)} anew",
                )


def _rewrite(command: ast.AlterTableCmd, old: str | None, new: str) -> types.Rewrite:
    """USING is free only where it is the plain column, cast to a type with the same bytes."""
    using = command.def_.raw_default
    inner = using.arg if isinstance(using, ast.TypeCast) else using
    plain = (
        using is None
        or isinstance(inner, ast.ColumnRef)
        and [getattr(f, "sval", "") for f in inner.fields] == [command.name]
    )
    return types.rewrite(old, new) if plain else types.Rewrite.YES
