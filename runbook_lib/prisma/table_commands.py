"""What CREATE TABLE and ALTER TABLE do, subcommand by subcommand."""

from __future__ import annotations

from collections.abc import Callable

from pglast import ast
from pglast.enums import AlterTableType as AT
from pglast.enums import ConstrType as C
from pglast.enums import DropBehavior, ObjectType

from runbook_lib.prisma import constraints, retype, safer, types
from runbook_lib.prisma.effect import Draft
from runbook_lib.prisma.locks import ALTER_TABLE, CONCURRENTLY, REWRITES, STRONG_OPTIONS, LockMode
from runbook_lib.prisma.names import (
    bare,
    generated,
    join,
    listed,
    quote,
    relation,
    schema_of,
    short,
)

_NOT_BELOW = frozenset(
    {
        AT.AT_AttachPartition,
        AT.AT_DetachPartition,
        AT.AT_DetachPartitionFinalize,
        AT.AT_ChangeOwner,
        AT.AT_SetTableSpace,
        AT.AT_SetRelOptions,
        AT.AT_ResetRelOptions,
        AT.AT_EnableRowSecurity,
        AT.AT_DisableRowSecurity,
        AT.AT_ForceRowSecurity,
        AT.AT_NoForceRowSecurity,
        AT.AT_ReplicaIdentity,
        AT.AT_AddInherit,
        AT.AT_DropInherit,
    }
)
"""Subcommands that change the named table alone; the others go down to partitions and inheriting
tables.
"""
_PERSISTENCE = {AT.AT_SetLogged: "permanent", AT.AT_SetUnLogged: "unlogged"}
_RELATIONS = {
    ObjectType.OBJECT_TABLE: "table",
    ObjectType.OBJECT_INDEX: "index",
    ObjectType.OBJECT_VIEW: "view",
    ObjectType.OBJECT_MATVIEW: "materialized view",
    ObjectType.OBJECT_SEQUENCE: "sequence",
    ObjectType.OBJECT_FOREIGN_TABLE: "table",
}


def create_table(draft: Draft, node: ast.CreateStmt) -> None:
    """CREATE TABLE."""
    table = relation(node.relation, draft.schema)
    draft.kind = "CREATE TABLE"
    if node.if_not_exists and draft.known.has(table):
        draft.remark(
            "nothing-to-do",
            what=f"IF NOT EXISTS: there is a {short(table)} already, whatever its columns are",
        )
        return
    draft.added("table", table)
    draft.lock(table, LockMode.ACCESS_EXCLUSIVE)
    partition = node.partbound is not None
    for parent in node.inhRelations or ():
        name = relation(parent, draft.schema)
        draft.lock(
            name, LockMode.ACCESS_EXCLUSIVE if partition else LockMode.SHARE_UPDATE_EXCLUSIVE
        )
        draft.known.add_child(name, table)
        if partition:
            _indexes_of_parent(draft, name, table)
            draft.remark(
                "brief-exclusive-lock",
                name,
                safer.attach_made(name, table, node.partbound),
                what="PARTITION OF",
            )
    for element in node.tableElts or ():
        if isinstance(element, ast.ColumnDef):
            _define(draft, table, element)
        elif isinstance(element, ast.TableLikeClause):
            draft.lock(relation(element.relation, draft.schema), LockMode.ACCESS_SHARE)
            draft.unclear = (
                f"it takes over the columns of {short(relation(element.relation, draft.schema))}"
            )
        elif isinstance(element, ast.Constraint):
            constraints.add(draft, table, element)


def _indexes_of_parent(draft: Draft, parent: str, partition: str) -> None:
    """Give a new partition its part of each index of the parent.

    And the constraint that stands on it.
    """
    for index in draft.known.indexes_of(parent):
        columns, properties = (
            [bare(column) for column in draft.known.columns_of(index)],
            draft.known.indexes.get(index) or {},
        )
        constraint = draft.known.constraints.get(f"{parent}.{quote(bare(index))}")
        suffix = "idx" if not constraint else "pkey" if properties.get("primary") else "key"
        own = draft.add_index_below(index, partition, () if suffix == "pkey" else columns, suffix)
        if constraint:
            draft.added("constraint", f"{partition}.{quote(bare(own))}")


def alter_table(draft: Draft, node: ast.AlterTableStmt) -> None:
    """Read ALTER TABLE; and ALTER INDEX, VIEW, SEQUENCE if PostgreSQL takes them for the same."""
    table = relation(node.relation, draft.schema)
    kind = _RELATIONS.get(node.objtype)
    if kind is None:  # ALTER TYPE … ADD ATTRIBUTE
        draft.kind = "ALTER TYPE"
        draft.changed("type", table, "attributes")
        draft.unclear = "tables may have columns of this composite type"
        return
    draft.kind = f"ALTER {kind.upper()}"
    if node.missing_ok and draft.known.lacks(table):
        draft.remark("nothing-to-do", what=f"IF EXISTS: there is no {short(table)}")
        return
    for command in node.cmds or ():
        if kind == "table" and node.relation.inh and command.subtype not in _NOT_BELOW:
            draft.lock_tree(table, _mode(command))
        draft.lock(table, _mode(command), kind if kind != "table" else "")
        handler = _COMMANDS.get(command.subtype)
        if handler:
            handler(draft, table, command)
        elif command.subtype in ALTER_TABLE:
            draft.changed(kind, table)
            if _mode(command).blocks_reads:
                _brief(draft, table, _said(command))
        else:
            draft.unclear = f"{_said(command)} is not known here"
            draft.lock(table, LockMode.ACCESS_EXCLUSIVE)


def _mode(command: ast.AlterTableCmd) -> LockMode:
    if command.subtype in (AT.AT_SetRelOptions, AT.AT_ResetRelOptions):
        strong = {option.defname for option in command.def_ or ()} & STRONG_OPTIONS
        return LockMode.ACCESS_EXCLUSIVE if strong else LockMode.SHARE_UPDATE_EXCLUSIVE
    if command.subtype == AT.AT_DetachPartition and command.def_.concurrent:
        return CONCURRENTLY["DetachPartition"]
    if command.subtype == AT.AT_AddConstraint:
        return LockMode.NONE  # depends on the constraint: `constraints.add` knows
    return ALTER_TABLE.get(command.subtype, LockMode.ACCESS_EXCLUSIVE)


def _said(command: ast.AlterTableCmd) -> str:
    """A subcommand in words: AT_SetNotNull → SET NOT NULL."""
    words = "".join(
        f" {char}" if char.isupper() else char for char in command.subtype.name.removeprefix("AT_")
    ).strip()
    return words.upper()


def _brief(draft: Draft, table: str, what: str) -> None:
    draft.remark("brief-exclusive-lock", table, what=what)


def _define(
    draft: Draft, table: str, node: ast.ColumnDef, *, added: bool = False
) -> dict[C, ast.Constraint]:
    """A column of CREATE TABLE or ADD COLUMN; its constraints by kind."""
    column, kind = f"{table}.{quote(node.colname)}", types.of(node.typeName, draft.schema)
    found = {constraint.contype: constraint for constraint in node.constraints or ()}
    required = (
        C.CONSTR_NOTNULL in found
        or C.CONSTR_PRIMARY in found
        or C.CONSTR_IDENTITY in found
        or _serial(node)
    )
    draft.added("column", column, type=kind, not_null="yes" if required else None)
    if _serial(node) or C.CONSTR_IDENTITY in found:
        draft.added(
            "sequence", _sequence_of(draft, table, node.colname, found.get(C.CONSTR_IDENTITY))
        )
    filled = C.CONSTR_DEFAULT in found or C.CONSTR_GENERATED in found
    for constraint in node.constraints or ():
        if constraint.contype != C.CONSTR_NOTNULL:
            constraints.add(draft, table, constraint, node.colname, all_null=added and not filled)
    return found


def _sequence_of(draft: Draft, table: str, column: str, identity: ast.Constraint | None) -> str:
    """Return the name of a column's sequence.

    That of SEQUENCE NAME, else the one PostgreSQL gives it.
    """
    for option in (identity.options if identity else None) or ():
        if option.defname == "sequence_name":
            return listed(option.arg, schema_of(table))
    return join(schema_of(table), generated(table, (column,), "seq"))


def _serial(node: ast.ColumnDef) -> bool:
    return len(node.typeName.names) == 1 and node.typeName.names[0].sval in types.SERIALS


def _add_column(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    node, name = command.def_, f"{short(table)}.{quote(command.def_.colname)}"
    if command.missing_ok and draft.known.column(table, quote(node.colname)):
        draft.remark(
            "nothing-to-do",
            table,
            what=f"IF NOT EXISTS: there is a {name} already, whatever its type is",
        )
        return
    found = _define(draft, table, node, added=True)
    kind, default = types.of(node.typeName, draft.schema), found.get(C.CONSTR_DEFAULT)
    volatile = types.volatile(default.raw_expr) if default else frozenset()
    stored = C.CONSTR_GENERATED in found and found[C.CONSTR_GENERATED].generated_kind != "v"
    if (
        volatile
        or stored
        or _serial(node)
        or C.CONSTR_IDENTITY in found
        or draft.known.restricts(kind)
    ):
        draft.rewrite(table)
        better = (
            safer.volatile_column(table, node.colname, kind, safer.deparsed(default.raw_expr))
            if default
            else ""
        )
        draft.remark(
            "table-rewrite",
            table,
            better,
            what=f"ADD COLUMN {quote(node.colname)}, whose value is made row by row,",
        )
    else:
        _brief(draft, table, f"ADD COLUMN {quote(node.colname)}")
    filled = (
        default
        and not _null(default)
        or C.CONSTR_GENERATED in found
        or C.CONSTR_IDENTITY in found
        or _serial(node)
    )
    if not filled and (C.CONSTR_NOTNULL in found or C.CONSTR_PRIMARY in found):
        draft.remark(
            "required-column-added",
            table,
            safer.required_column(table, node.colname, kind),
            name=name,
        )


def _null(default: ast.Constraint) -> bool:
    return isinstance(default.raw_expr, ast.A_Const) and bool(default.raw_expr.isnull)


def _drop_column(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    column, name = f"{table}.{quote(command.name)}", f"{short(table)}.{quote(command.name)}"
    if (
        command.missing_ok
        and draft.known.complete
        and draft.known.column(table, quote(command.name)) is None
    ):
        draft.remark("nothing-to-do", table, what=f"IF EXISTS: there is no {name}")
        return
    for key in list(draft.known.foreign_keys().values()):
        if key.table == table and quote(command.name) in key.columns:
            draft.lock(key.references, LockMode.ACCESS_EXCLUSIVE)
            _brief(draft, key.references, f"dropping the foreign key {short(key.name)}")
    for kind, gone in draft.known.standing_on(table, quote(command.name)):
        for each in (gone, *(draft.known.parts_of(gone) if kind == "index" else ())):
            draft.removed(kind, each)
    draft.missed("column-dropped", "column", column, table)
    draft.missed("client-breaks", "column", column, table)
    draft.removed("column", column)
    _cascade(draft, table, command, name)
    _brief(draft, table, f"DROP COLUMN {quote(command.name)}")


def _cascade(draft: Draft, table: str, command: ast.AlterTableCmd, name: str) -> None:
    if command.behavior == DropBehavior.DROP_CASCADE:
        draft.remark("dropped-with-dependents", table, name=name)
        draft.unclear = "CASCADE drops what the file does not name"


def _set_not_null(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    known, name = (
        draft.known.column(table, quote(command.name)),
        f"{short(table)}.{quote(command.name)}",
    )
    if known and known.get("not_null") == "yes":
        draft.remark("nothing-to-do", table, what=f"{name} is NOT NULL already")
        return
    draft.changed("column", f"{table}.{quote(command.name)}", "not_null")
    draft.known.alter(
        "column", f"{table}.{quote(command.name)}", {**(known or {}), "not_null": "yes"}
    )
    if draft.known.proves_not_null(table, quote(command.name)):
        _brief(draft, table, f"SET NOT NULL on {name}, which a validated check proves,")
        return
    draft.scan(table)
    draft.remark(
        "scan-under-exclusive-lock",
        table,
        safer.not_null(table, command.name),
        what=f"SET NOT NULL on {name}",
    )
    draft.remark("null-refused", table, name=name)


def _drop_not_null(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    known = draft.known.column(table, quote(command.name))
    draft.changed("column", f"{table}.{quote(command.name)}", "not_null")
    draft.known.alter(
        "column", f"{table}.{quote(command.name)}", {**(known or {}), "not_null": None}
    )
    draft.remark("null-allowed", table, name=f"{short(table)}.{quote(command.name)}")
    _brief(draft, table, f"DROP NOT NULL on {quote(command.name)}")


def _default(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    draft.changed("column", f"{table}.{quote(command.name)}", "default")
    known = draft.known.column(table, quote(command.name)) or {}
    if command.def_ is None and known.get("not_null", "yes"):
        draft.remark("default-dropped", table, name=f"{short(table)}.{quote(command.name)}")
    _brief(
        draft,
        table,
        f"{'DROP' if command.def_ is None else 'SET'} DEFAULT on {quote(command.name)}",
    )


def _column_property(name: str) -> Callable[[Draft, str, ast.AlterTableCmd], None]:
    def changed(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
        draft.changed("column", f"{table}.{quote(command.name)}", name)
        if _mode(command).blocks_reads:
            _brief(draft, table, f"{_said(command)} on {quote(command.name)}")

    return changed


def _identity(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    draft.changed("column", f"{table}.{quote(command.name)}", "identity")
    identity = command.def_ if isinstance(command.def_, ast.Constraint) else None
    sequence = _sequence_of(draft, table, command.name, identity)
    if command.subtype == AT.AT_AddIdentity:
        draft.added("sequence", sequence)
    elif command.subtype == AT.AT_DropIdentity:
        draft.removed("sequence", sequence)
    else:
        draft.changed("sequence", sequence)
    _brief(draft, table, f"{_said(command)} on {quote(command.name)}")


def _add_constraint(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    constraints.add(draft, table, command.def_)


def _drop_constraint(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    name = f"{table}.{quote(command.name)}"
    key = draft.known.foreign_keys().pop(name, None)
    if key and key.references != table:
        draft.lock(key.references, LockMode.ACCESS_EXCLUSIVE)
        _brief(draft, key.references, f"dropping the foreign key {quote(command.name)}")
    index = join(schema_of(table), command.name)
    for each in (index, *draft.known.parts_of(index)) if draft.known.table_of(index) else ():
        draft.removed("index", each)
    draft.removed("constraint", name)
    draft.remark("object-dropped", table, kind="constraint", name=quote(command.name))
    _cascade(draft, table, command, quote(command.name))
    _brief(draft, table, f"DROP CONSTRAINT {quote(command.name)}")


def _validate(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    key = draft.known.foreign_keys().get(f"{table}.{quote(command.name)}")
    if key:
        draft.lock(key.references, LockMode.ROW_SHARE)
    name = f"{table}.{quote(command.name)}"
    draft.known.alter(
        "constraint", name, {**(draft.known.constraints.get(name) or {}), "validated": True}
    )
    draft.changed("constraint", name, "validated")
    draft.scan(table)
    draft.remark("constraint-validated", table, name=quote(command.name))


def _rewriting(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    kind = draft.known.kind(table)
    draft.changed(kind, table)
    if kind == "index":
        draft.reindex(table)
        return
    if command.subtype == AT.AT_SetExpression:
        draft.changed("column", f"{table}.{quote(command.name)}", "generated")
        draft.rows(table, "update", (quote(command.name),))
    if (draft.known.tables.get(table) or {}).get("persistence") == _PERSISTENCE.get(
        command.subtype, "?"
    ):
        draft.remark("nothing-to-do", table, what=f"{_said(command)}: {short(table)} is so already")
        return
    draft.rewrite(table, indexes=command.subtype != AT.AT_SetTableSpace)
    draft.remark("table-rewrite", table, what=_said(command))


def _partition(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    other = relation(command.def_.name, draft.schema)
    concurrent = command.subtype == AT.AT_DetachPartition and command.def_.concurrent
    draft.changed("table", other, "partition_of")
    draft.lock(other, LockMode.ACCESS_EXCLUSIVE)
    for index in draft.known.indexes_of(other) if command.subtype == AT.AT_DetachPartition else ():
        draft.changed("index", index, "part_of")
    if concurrent:
        draft.alone = "DETACH PARTITION CONCURRENTLY"
        draft.remark(
            "brief-exclusive-lock", other, what="the second step of DETACH PARTITION CONCURRENTLY"
        )
    elif command.subtype == AT.AT_AttachPartition:
        _indexes_of_parent(draft, table, other)
        draft.scan(other)
        draft.remark(
            "scan-under-exclusive-lock",
            other,
            "add a CHECK that says the same as the partition's bounds, NOT VALID, and validate it "
            "before: then ATTACH PARTITION reads nothing",
            what="ATTACH PARTITION",
        )
    else:
        draft.remark(
            "brief-exclusive-lock",
            table,
            safer.detach_concurrently(table, other),
            what="DETACH PARTITION",
        )


def _part(kind: str) -> Callable[[Draft, str, ast.AlterTableCmd], None]:
    """A subcommand that changes a trigger, rule or constraint; of all triggers at once, each."""

    def changed(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
        name = command.name or getattr(command.def_, "conname", None)
        draft.changed(kind, f"{table}.{quote(name) if name else '*'}")
        if _mode(command).blocks_reads:
            _brief(draft, table, _said(command))
        elif _mode(command).blocks_writes:
            draft.remark("brief-write-block", table, what=_said(command))

    return changed


def _alter_constraint(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    _part("constraint")(draft, table, command)
    key = draft.known.foreign_keys().get(f"{table}.{quote(command.def_.conname)}")
    if key and command.def_.alterEnforceability:
        draft.lock(key.references, LockMode.ACCESS_EXCLUSIVE)
        _brief(draft, key.references, f"changing the foreign key {quote(command.def_.conname)}")


def _cluster_on(draft: Draft, table: str, command: ast.AlterTableCmd) -> None:
    draft.changed("index", join(schema_of(table), command.name))


_COMMANDS: dict[AT, Callable[[Draft, str, ast.AlterTableCmd], None]] = {
    AT.AT_AddColumn: _add_column,
    AT.AT_DropColumn: _drop_column,
    AT.AT_AlterColumnType: retype.alter_type,
    AT.AT_SetNotNull: _set_not_null,
    AT.AT_DropNotNull: _drop_not_null,
    AT.AT_ColumnDefault: _default,
    AT.AT_AddIdentity: _identity,
    AT.AT_DropIdentity: _identity,
    AT.AT_SetIdentity: _identity,
    AT.AT_AddConstraint: _add_constraint,
    AT.AT_AddIndexConstraint: _add_constraint,
    AT.AT_DropConstraint: _drop_constraint,
    AT.AT_ValidateConstraint: _validate,
    AT.AT_AttachPartition: _partition,
    AT.AT_DetachPartition: _partition,
    AT.AT_SetStatistics: _column_property("statistics_target"),
    AT.AT_SetStorage: _column_property("storage"),
    AT.AT_SetCompression: _column_property("compression"),
    AT.AT_SetOptions: _column_property("options"),
    AT.AT_ResetOptions: _column_property("options"),
    AT.AT_DropExpression: _column_property("generated"),
    AT.AT_AlterConstraint: _alter_constraint,
    AT.AT_ClusterOn: _cluster_on,
    **{
        kind: _part("trigger") for kind in AT if kind.name.endswith(("Trig", "TrigAll", "TrigUser"))
    },
    **{kind: _part("rule") for kind in AT if kind.name.endswith("Rule")},
    **{kind: _rewriting for kind in REWRITES},
}
