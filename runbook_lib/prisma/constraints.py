"""What adding a constraint does: ADD CONSTRAINT, and constraints within CREATE TABLE and ADD COLUMN."""

from __future__ import annotations

from pglast import ast
from pglast.enums import ConstrType as C

from runbook_lib.prisma import safer
from runbook_lib.prisma.effect import Draft
from runbook_lib.prisma.known import ForeignKey
from runbook_lib.prisma.locks import CONSTRAINT, LockMode
from runbook_lib.prisma.names import generated, quote, relation, schema_of, join

_SUFFIX = {C.CONSTR_PRIMARY: "pkey", C.CONSTR_UNIQUE: "key", C.CONSTR_FOREIGN: "fkey", C.CONSTR_CHECK: "check", C.CONSTR_EXCLUSION: "excl",
           C.CONSTR_NOTNULL: "not_null"}
_KIND = {C.CONSTR_PRIMARY: "primary key", C.CONSTR_UNIQUE: "unique", C.CONSTR_FOREIGN: "foreign key", C.CONSTR_CHECK: "check",
         C.CONSTR_EXCLUSION: "exclusion", C.CONSTR_NOTNULL: "not null"}
_ON_DELETE = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def add(draft: Draft, table: str, node: ast.Constraint, column: str = "", *, empty: bool = False) -> None:
    """A constraint is added to a table.

    Args:
        column: the column that it stands with, for a column's constraint.
        empty: the table, or the column that it is about, is made by the same statement: no row can violate it.
    """
    if node.contype not in _SUFFIX:
        return
    columns = _columns(node, column)
    stem = () if node.contype == C.CONSTR_PRIMARY else columns
    name = node.conname or node.indexname or generated(table, stem, _SUFFIX[node.contype])
    draft.lock(table, CONSTRAINT.get(node.contype, LockMode.ACCESS_EXCLUSIVE))
    if node.contype != C.CONSTR_NOTNULL:
        draft.added("constraint", f"{table}.{quote(name)}", type=_KIND[node.contype], definition=f"({', '.join(map(quote, columns))})")
    if node.contype == C.CONSTR_FOREIGN:
        _foreign_key(draft, table, node, name, columns, empty)
    elif node.contype in (C.CONSTR_CHECK, C.CONSTR_NOTNULL):
        _check(draft, table, node, name, columns, empty)
    else:
        _index(draft, table, node, name, columns, empty)


def _columns(node: ast.Constraint, column: str) -> tuple[str, ...]:
    listed = node.fk_attrs or node.keys or ()
    return tuple(item.sval for item in listed) or ((column,) if column else ())


def _foreign_key(draft: Draft, table: str, node: ast.Constraint, name: str, columns: tuple[str, ...], empty: bool) -> None:
    other = relation(node.pktable, draft.schema)
    draft.known.add_foreign_key(ForeignKey(f"{table}.{quote(name)}", table, other, tuple(map(quote, columns)),
                                           _ON_DELETE.get(node.fk_del_action, "")))
    if other != table:
        draft.lock(other, CONSTRAINT[C.CONSTR_FOREIGN])
    if node.skip_validation and not empty:
        draft.remark("not-validated", table, f"-- in a later migration file:\nALTER TABLE {table} VALIDATE CONSTRAINT {quote(name)};",
                     name=quote(name))
    elif not empty and not draft.known.is_new(table):
        draft.scan(table)
        draft.remark("constraint-blocks-writes", table, safer.not_valid(table, node, name), name=quote(name), other=_bare(other))
        return
    if other != table:
        draft.remark("brief-write-block", other, what=f"the foreign key {quote(name)}")


def _check(draft: Draft, table: str, node: ast.Constraint, name: str, columns: tuple[str, ...], empty: bool) -> None:
    null = node.contype == C.CONSTR_NOTNULL
    for column in columns if null else ():
        draft.changed("column", f"{table}.{quote(column)}", "not_null")
        if not empty:
            draft.remark("null-refused", table, name=f"{_bare(table)}.{quote(column)}")
    if empty:
        return
    if node.skip_validation:
        draft.remark("not-validated", table, f"-- in a later migration file:\nALTER TABLE {_bare(table)} VALIDATE CONSTRAINT {quote(name)};",
                     name=quote(name))
        draft.remark("brief-exclusive-lock", table, what=f"adding {quote(name)}")
        return
    draft.scan(table)
    better = safer.not_null(table, columns[0]) if null and columns else safer.not_valid(table, node, name)
    draft.remark("scan-under-exclusive-lock", table, better, what=f"checking {quote(name)}")


def _index(draft: Draft, table: str, node: ast.Constraint, name: str, columns: tuple[str, ...], empty: bool) -> None:
    if node.indexname:
        if node.conname and node.conname != node.indexname:
            draft.renamed("index", join(schema_of(table), node.indexname), join(schema_of(table), name))
        draft.remark("brief-exclusive-lock", table, what=f"adding {quote(name)} on the index that is there")
    else:
        draft.added("index", join(schema_of(table), name), table=table, definition=f"({', '.join(map(quote, columns))})")
    for column in columns if node.contype == C.CONSTR_PRIMARY else ():
        draft.changed("column", f"{table}.{quote(column)}", "not_null")
    if node.indexname or empty and not draft.known.column(table, columns[0] if columns else ""):
        return
    if not draft.known.is_new(table):
        draft.scan(table)
    better = safer.by_index(table, node, name, columns) if node.contype != C.CONSTR_EXCLUSION else ""
    draft.remark("scan-under-exclusive-lock", table, better, what=f"building {quote(name)}")
    draft.remark("unique-added", table, name=quote(name))


def _bare(name: str) -> str:
    from runbook_lib.prisma.names import short

    return short(name)
