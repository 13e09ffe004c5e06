"""What queries and statements on rows do, and what maintenance, settings and blocks of code do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pglast import ast
from pglast.visitors import Visitor

from runbook_lib.prisma import safer, types
from runbook_lib.prisma.effect import Draft
from runbook_lib.prisma.locks import BY_NODE, LockMode
from runbook_lib.prisma.names import quote, relation, short

HARMLESS = types.STABLE | frozenset(
    (
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "nextval",
        "setval",
        "currval",
        "lastval",
        "pg_get_serial_sequence",
        "array_agg",
        "string_agg",
        "json_agg",
        "jsonb_agg",
        "unnest",
        "generate_series",
        "set_config",
        "gen_random_uuid",
        "random",
        "row_number",
        "rank",
        "dense_rank",
        "lag",
        "lead",
        "first_value",
        "last_value",
        "version",
        "pg_sleep",
        "to_regclass",
        "jsonb_set",
        "jsonb_array_elements",
        "jsonb_array_elements_text",
        "jsonb_each",
        "jsonb_object_agg",
        "jsonb_strip_nulls",
        "jsonb_typeof",
        "regexp_replace",
        "regexp_matches",
        "split_part",
        "array_length",
        "cardinality",
        "array_append",
        "array_remove",
        "array_cat",
        "extract",
        "date_part",
        "format",
        "exists",
        "pg_table_size",
        "bool_or",
        "bool_and",
        "every",
        "uuid_generate_v4",
        "encode",
        "decode",
        "digest",
        "quote_ident",
        "quote_literal",
    )
)
"""Functions that a query may call without doing anything to tables; of others that cannot be told.
"""


_VARY = {
    "now",
    "transaction_timestamp",
    "statement_timestamp",
    "age",
    "random",
    "gen_random_uuid",
    "uuid_generate_v4",
    "nextval",
    "currval",
    "lastval",
    "setval",
    "set_config",
    "current_setting",
    "pg_table_size",
}
CATALOGUE = (HARMLESS - _VARY) | {
    "current_database",
    "current_schema",
    "current_schemas",
    "to_regtype",
    "to_regproc",
    "to_regprocedure",
    "to_regnamespace",
    "to_regrole",
    "col_description",
    "obj_description",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_viewdef",
    "pg_get_userbyid",
    "pg_table_is_visible",
    "pg_type_is_visible",
    "has_schema_privilege",
    "has_table_privilege",
    "format_type",
    "quote_nullable",
    "array_position",
    "array_to_string",
    "regexp_split_to_array",
}
"""Functions whose results follow from the catalogue and their arguments, for the course of a block
of code.
"""


class _Query(Visitor):
    """Collects what a statement reads and writes, common table expressions included."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[ast.RangeVar] = []
        self.written: list[ast.Node] = []
        self.named: set[str] = set()
        self.locks = False

    def visit_CommonTableExpr(self, _ancestors: object, node: ast.CommonTableExpr) -> None:
        self.named.add(node.ctename)

    def visit_RangeVar(self, _ancestors: object, node: ast.RangeVar) -> None:
        self.read.append(node)

    def visit_LockingClause(self, _ancestors: object, _node: ast.LockingClause) -> None:
        self.locks = True

    def visit(self, _ancestors: object, node: ast.Node) -> None:
        if isinstance(node, (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)):
            self.written.append(node)


def reads(draft: Draft, node: ast.Node | None) -> _Query:
    """Lock what a query reads; what it says about writing is returned."""
    query = _Query()
    if node is not None:
        query(node)
    for item in query.read:
        if item.schemaname or item.relname not in query.named:
            mode = LockMode.ROW_SHARE if query.locks else LockMode.ACCESS_SHARE
            (draft.lock_tree if item.inh else draft.lock)(relation(item, draft.schema), mode)
    return query


def statement(draft: Draft, node: ast.Node) -> None:
    """SELECT, INSERT, UPDATE, DELETE, MERGE, with all their parts."""
    draft.kind = type(node).__name__.removesuffix("Stmt").upper()
    query = reads(draft, node)
    for written in query.written:
        _WRITES[type(written)](draft, written)
    strange = sorted(types.calls(node) - HARMLESS)
    if isinstance(node, ast.SelectStmt) and strange:
        draft.unclear = f"it calls {', '.join(strange)}(), which may do anything"
    if isinstance(node, ast.SelectStmt) and node.intoClause:
        draft.kind = "SELECT INTO"
        draft.added("table", relation(node.intoClause.rel, draft.schema))


def _insert(draft: Draft, node: ast.InsertStmt) -> None:
    table = relation(node.relation, draft.schema)
    _writes(draft, table, "insert")
    for other in draft.known.referred_by(table):
        draft.lock(other, LockMode.ROW_SHARE)
    conflict = node.onConflictClause
    if conflict and conflict.targetList:
        _writes(draft, table, "update", _targets(conflict.targetList))


def _update(draft: Draft, node: ast.UpdateStmt) -> None:
    table, columns = relation(node.relation, draft.schema), _targets(node.targetList)
    _writes(draft, table, "update", columns)
    if not node.whereClause and not node.fromClause:
        draft.scan(table)
        draft.remark("all-rows-updated", table, safer.batches(node, table))
    else:
        draft.remark(
            "rows-updated",
            table,
            safer.batches(node, table)
            if not node.fromClause and not node.withClause
            else "update some thousand rows at a time, each batch in a transaction of its own",
        )


def _delete(draft: Draft, node: ast.DeleteStmt) -> None:
    table = relation(node.relation, draft.schema)
    _writes(draft, table, "delete")
    if node.whereClause or node.usingClause:
        draft.remark("rows-deleted", table)
    else:
        draft.remark("rows-removed", table, what="DELETE without WHERE")
    _cascade(draft, table, "DELETE", {table})


def _cascade(draft: Draft, table: str, what: str, seen: set[str]) -> None:
    """Return rows of other tables that a DELETE reaches.

    Through ON DELETE CASCADE, SET NULL, SET DEFAULT.
    """
    for key in draft.known.referring_to(table):
        deletes = key.on_delete == "CASCADE"
        draft.lock(key.table, LockMode.ROW_EXCLUSIVE if key.on_delete else LockMode.ROW_SHARE)
        if not key.on_delete:
            continue
        draft.rows(key.table, "delete" if deletes else "update", () if deletes else key.columns)
        draft.remark(
            "rows-cascade",
            key.table,
            what=what,
            name=short(key.name),
            action="its rows are destroyed, too"
            if deletes
            else f"{', '.join(key.columns)} becomes another value",
        )
        if deletes and key.table not in seen:
            seen.add(key.table)
            _cascade(draft, key.table, what, seen)


def _merge(draft: Draft, node: ast.MergeStmt) -> None:
    table = relation(node.relation, draft.schema)
    for clause in node.mergeWhenClauses or ():
        action = {"CMD_INSERT": "insert", "CMD_UPDATE": "update", "CMD_DELETE": "delete"}.get(
            clause.commandType.name
        )
        if action:
            _writes(draft, table, action, _targets(clause.targetList) if action == "update" else ())
    draft.remark("rows-updated", table)


def _targets(targets: tuple[ast.ResTarget, ...] | None) -> tuple[str, ...]:
    return tuple(quote(target.name) for target in targets or () if target.name)


def _writes(draft: Draft, table: str, action: str, columns: tuple[str, ...] = ()) -> None:
    (draft.lock if action == "insert" else draft.lock_tree)(table, LockMode.ROW_EXCLUSIVE)
    draft.rows(table, action, columns)
    for below in draft.known.tree(table)[1:]:
        draft.rows(below, action, columns)
    if draft.known.has_triggers(table):
        draft.unclear = f"a trigger on {short(table)} may do more"


_WRITES: dict[type[ast.Node], Callable[[Draft, Any], None]] = {
    ast.InsertStmt: _insert,
    ast.UpdateStmt: _update,
    ast.DeleteStmt: _delete,
    ast.MergeStmt: _merge,
}


def truncate(draft: Draft, node: ast.TruncateStmt) -> None:
    """TRUNCATE."""
    draft.kind = "TRUNCATE"
    names = [relation(item, draft.schema) for item in node.relations]
    cascade = node.behavior.name == "DROP_CASCADE"
    for name in names:
        draft.lock_tree(name, BY_NODE["TruncateStmt"])
        for below in draft.known.tree(name):
            draft.rows(below, "delete")
        draft.remark("rows-removed", name, what="TRUNCATE")
        names += [
            key.table
            for key in draft.known.referring_to(name)
            if cascade and key.table not in names
        ]
    if cascade and not draft.known.complete:
        draft.unclear = "CASCADE empties every table that refers to these"


def create_as(draft: Draft, node: ast.CreateTableAsStmt) -> None:
    """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    kind = "materialized view" if node.objtype.name == "OBJECT_MATVIEW" else "table"
    draft.kind = f"CREATE {kind.upper()} AS" if kind == "table" else f"CREATE {kind.upper()}"
    reads(draft, node.query)
    draft.added(kind, relation(node.into.rel, draft.schema))


def copy(draft: Draft, node: ast.CopyStmt) -> None:
    """COPY: a migration has no client to send or receive rows."""
    draft.kind = "COPY"
    if node.relation is None:
        reads(draft, node.query)
    elif node.is_from:
        _writes(draft, relation(node.relation, draft.schema), "insert")
    else:
        draft.lock(relation(node.relation, draft.schema), LockMode.ACCESS_SHARE)


def lock(draft: Draft, node: ast.LockStmt) -> None:
    """LOCK TABLE."""
    draft.kind = "LOCK TABLE"
    for item in node.relations:
        name, mode = relation(item, draft.schema), LockMode(node.mode)
        draft.lock(name, mode)
        draft.remark("explicit-lock", name, mode=mode)
