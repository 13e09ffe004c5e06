"""What adding a constraint does.

ADD CONSTRAINT, and constraints within CREATE TABLE and ADD COLUMN.
"""

from __future__ import annotations

from pglast import ast
from pglast.enums import ConstrType as C

from runbook_lib.prisma import safer
from runbook_lib.prisma.effect import Draft
from runbook_lib.prisma.known import ForeignKey
from runbook_lib.prisma.locks import CONSTRAINT, LockMode
from runbook_lib.prisma.names import bare, generated, join, quote, relation, schema_of, short

_SUFFIX = {
    C.CONSTR_PRIMARY: "pkey",
    C.CONSTR_UNIQUE: "key",
    C.CONSTR_FOREIGN: "fkey",
    C.CONSTR_CHECK: "check",
    C.CONSTR_EXCLUSION: "excl",
    C.CONSTR_NOTNULL: "not_null",
}
_KIND = {
    C.CONSTR_PRIMARY: "primary key",
    C.CONSTR_UNIQUE: "unique",
    C.CONSTR_FOREIGN: "foreign key",
    C.CONSTR_CHECK: "check",
    C.CONSTR_EXCLUSION: "exclusion",
    C.CONSTR_NOTNULL: "not null",
}
_ON_DELETE = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def add(
    draft: Draft, table: str, node: ast.Constraint, column: str = "", *, all_null: bool = False
) -> None:
    """A constraint is added to a table.

    Args:
        column: the column that it stands with, for a column's constraint.
        all_null: that column is made by the same statement and holds no value yet: no row has to be
            looked up.
    """
    if node.contype not in _SUFFIX:
        return
    columns = tuple(item.sval for item in node.fk_attrs or node.keys or ()) or (
        (column,) if column else ()
    )
    stem = () if node.contype == C.CONSTR_PRIMARY else columns
    name = node.conname or node.indexname or generated(table, stem, _SUFFIX[node.contype])
    draft.lock_tree(table, CONSTRAINT.get(node.contype, LockMode.ACCESS_EXCLUSIVE))
    if node.contype != C.CONSTR_NOTNULL:
        draft.added(
            "constraint",
            f"{table}.{quote(name)}",
            type=_KIND[node.contype],
            definition=_definition(node, columns),
            validated=not node.skip_validation,
        )
    if node.contype == C.CONSTR_FOREIGN:
        _foreign_key(draft, table, node, name, columns, all_null)
    elif node.contype in (C.CONSTR_CHECK, C.CONSTR_NOTNULL):
        _check(draft, table, node, name, columns)
    else:
        _index(draft, table, node, name, columns)


def _definition(node: ast.Constraint, columns: tuple[str, ...]) -> str:
    """As far as it matters here: of a check its condition, of others the columns."""
    return (
        f"CHECK (({safer.deparsed(node.raw_expr)}))"
        if node.contype == C.CONSTR_CHECK
        else _brackets(columns)
    )


def _brackets(columns: tuple[str, ...]) -> str:
    return f"({', '.join(map(quote, columns))})"


def _foreign_key(
    draft: Draft,
    table: str,
    node: ast.Constraint,
    name: str,
    columns: tuple[str, ...],
    all_null: bool,
) -> None:
    other = relation(node.pktable, draft.schema)
    to = tuple(quote(item.sval) for item in node.pk_attrs or ())
    draft.known.add_foreign_key(
        ForeignKey(
            f"{table}.{quote(name)}",
            table,
            other,
            tuple(map(quote, columns)),
            to,
            _ON_DELETE.get(node.fk_del_action, ""),
        )
    )
    draft.lock(other, CONSTRAINT[C.CONSTR_FOREIGN])
    if node.skip_validation:
        if draft.known.is_partitioned(table) and draft.known.server_major < 18:
            draft.remark(
                "refused-by-server",
                table,
                safer.on_partitions(draft.known.tree(table), node, name),
                what="NOT VALID",
                because=f"{short(table)} is partitioned, and this is PostgreSQL "
                f"{draft.known.server_major}",
            )
        _not_validated(draft, table, name)
    elif not all_null and not draft.known.is_new(table):
        draft.scan(table)
        piecewise = draft.known.is_partitioned(table) and draft.known.server_major < 18
        better = (
            safer.on_partitions(draft.known.tree(table), node, name)
            if piecewise
            else safer.not_valid(table, node, name)
        )
        draft.remark(
            "constraint-blocks-writes", table, better, name=quote(name), other=short(other)
        )
        return
    if other != table:
        draft.remark("brief-write-block", other, what=f"the foreign key {quote(name)}")


def _check(
    draft: Draft, table: str, node: ast.Constraint, name: str, columns: tuple[str, ...]
) -> None:
    null = node.contype == C.CONSTR_NOTNULL
    for column in columns if null else ():
        draft.changed("column", f"{table}.{quote(column)}", "not_null")
        draft.remark("null-refused", table, name=f"{short(table)}.{quote(column)}")
    if node.skip_validation:
        _not_validated(draft, table, name)
        draft.remark("brief-exclusive-lock", table, what=f"adding {quote(name)}")
        return
    draft.scan(table)
    better = (
        safer.not_null(table, columns[0])
        if null and columns
        else safer.not_valid(table, node, name)
    )
    draft.remark("scan-under-exclusive-lock", table, better, what=f"checking {quote(name)}")


def _index(
    draft: Draft, table: str, node: ast.Constraint, name: str, columns: tuple[str, ...]
) -> None:
    index = join(schema_of(table), name)
    for column in columns if node.contype == C.CONSTR_PRIMARY else ():
        draft.changed("column", f"{table}.{quote(column)}", "not_null")
    if node.indexname:
        if draft.known.is_partitioned(table):
            draft.remark(
                "refused-by-server",
                table,
                what="USING INDEX",
                because=f"{short(table)} is partitioned",
            )
        if name != node.indexname:
            draft.renamed("index", join(schema_of(table), node.indexname), index)
        draft.remark(
            "brief-exclusive-lock", table, what=f"adding {quote(name)} on the index that is there"
        )
        return
    unique = "" if node.contype == C.CONSTR_EXCLUSION else "CREATE UNIQUE INDEX … USING btree "
    draft.added("index", index, table=table, definition=unique + _brackets(columns))
    for below in (
        draft.known.tree(table)[1:] if draft.known.is_partitioned(table) else ()
    ):  # with names of their own
        own = draft.add_index_below(
            index, below, () if node.contype == C.CONSTR_PRIMARY else columns, _SUFFIX[node.contype]
        )
        draft.added(
            "constraint",
            f"{below}.{quote(bare(own))}",
            type=_KIND[node.contype],
            definition=_brackets(columns),
        )
    draft.scan(table)
    better = (
        safer.by_index(table, node, name, columns) if node.contype != C.CONSTR_EXCLUSION else ""
    )
    draft.remark("scan-under-exclusive-lock", table, better, what=f"building {quote(name)}")
    draft.remark("unique-added", table, name=quote(name))


def _not_validated(draft: Draft, table: str, name: str) -> None:
    validate = (
        f"-- in a later migration file:\nALTER TABLE {short(table)} VALIDATE CONSTRAINT "
        f"{quote(name)};"
    )
    draft.remark("not-validated", table, validate, name=quote(name))
