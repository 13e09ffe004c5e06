"""SQL that reaches the same end with less waiting, from the statement itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pglast import ast
from pglast.enums import ConstrType
from pglast.stream import RawStream

from runbook_lib.prisma.names import bare, quote, short

_ALONE = "-- in a migration file of its own:\n"
_LATER = "-- in a later migration file:\n"


def deparsed(node: ast.Node) -> str:
    """A statement as SQL on one line."""
    return RawStream()(node)


def index_concurrently(node: ast.IndexStmt) -> str:
    """CREATE INDEX CONCURRENTLY for CREATE INDEX.

    Without IF NOT EXISTS, which would accept an invalid index.
    """
    before = node.concurrent, node.if_not_exists
    node.concurrent, node.if_not_exists = True, False
    try:
        return f"{_ALONE}{deparsed(node)};"
    finally:
        node.concurrent, node.if_not_exists = before


def index_on_partitions(
    node: ast.IndexStmt, parent: str, index: str, parts: Mapping[str, str]
) -> str:
    """The same for a partitioned table, where CONCURRENTLY is refused.

    An index on each partition, then one over them.

    Args:
        parts: by partition, the name that its index gets.
    """
    before = node.relation, node.idxname, node.concurrent, node.relation.inh
    try:
        built = [_index(node, table, name, concurrent=True) for table, name in parts.items()]
        over = _index(node, parent, bare(index), only=True)
    finally:
        node.relation, node.idxname, node.concurrent, node.relation.inh = before
    attached = [
        f"ALTER INDEX {short(index)} ATTACH PARTITION {quote(name)};" for name in parts.values()
    ]
    return "\n".join([*(f"{_ALONE}{sql};" for sql in built), f"{_LATER}{over};", *attached])


def _index(
    node: ast.IndexStmt, table: str, name: str, *, concurrent: bool = False, only: bool = False
) -> str:
    node.relation = ast.RangeVar(relname=bare(table), inh=not only, relpersistence="p")
    node.idxname, node.concurrent = name, concurrent
    return deparsed(node)


def detach_concurrently(parent: str, partition: str) -> str:
    """DETACH PARTITION CONCURRENTLY for DETACH PARTITION."""
    return (
        f"{_ALONE}ALTER TABLE {short(parent)} DETACH PARTITION {short(partition)} CONCURRENTLY;"
        "  -- leaves a CHECK like its bounds behind: drop that, if it is in the way"
    )


def attach_made(parent: str, partition: str, bound: ast.PartitionBoundSpec) -> str:
    """CREATE TABLE and ATTACH PARTITION for CREATE TABLE … PARTITION OF."""
    return (
        f"CREATE TABLE {short(partition)} (LIKE {short(parent)} INCLUDING ALL);\n"
        f"ALTER TABLE {short(parent)} ATTACH PARTITION {short(partition)} {deparsed(bound)};"
    )


def drop_index_concurrently(name: str) -> str:
    """DROP INDEX CONCURRENTLY for DROP INDEX."""
    return f"{_ALONE}DROP INDEX CONCURRENTLY IF EXISTS {short(name)};"


def reindex_concurrently(kind: str, name: str) -> str:
    """REINDEX CONCURRENTLY for REINDEX."""
    return f"{_ALONE}REINDEX {kind} CONCURRENTLY {short(name)};"


def not_valid(table: str, constraint: ast.Constraint, name: str) -> str:
    """A foreign key or check that is added unchecked, and checked without blocking."""
    before = constraint.conname, constraint.skip_validation, constraint.initially_valid
    constraint.conname, constraint.skip_validation, constraint.initially_valid = name, True, False
    try:
        definition = deparsed(constraint)
    finally:
        constraint.conname, constraint.skip_validation, constraint.initially_valid = before
    if not definition.endswith("NOT VALID"):
        definition += " NOT VALID"
    return (
        f"ALTER TABLE {short(table)} ADD {definition};\n"
        f"{_LATER}ALTER TABLE {short(table)} VALIDATE CONSTRAINT {quote(name)};"
    )


def on_partitions(tables: Sequence[str], constraint: ast.Constraint, name: str) -> str:
    """A foreign key of a partitioned table, where NOT VALID is refused.

    First on each partition, then on the table, which takes those.
    """
    parent, *partitions = tables
    steps = [not_valid(table, constraint, name) for table in partitions]
    before, constraint.conname = constraint.conname, name
    try:
        return "\n".join(
            [
                *steps,
                f"{_LATER}ALTER TABLE {short(parent)} ADD {deparsed(constraint)};  -- reads "
                "nothing: the partitions have it",
            ]
        )
    finally:
        constraint.conname = before


def by_index(table: str, constraint: ast.Constraint, name: str, columns: tuple[str, ...]) -> str:
    """A unique or primary key constraint on an index that was built without blocking."""
    kind = "PRIMARY KEY" if constraint.contype == ConstrType.CONSTR_PRIMARY else "UNIQUE"
    listed = ", ".join(quote(column) for column in columns)
    return (
        f"{_ALONE}CREATE UNIQUE INDEX CONCURRENTLY {quote(name)} ON {short(table)} ({listed});\n"
        f"{_LATER}ALTER TABLE {short(table)} ADD CONSTRAINT {quote(name)} {kind} USING INDEX "
        f"{quote(name)};"
    )


def not_null(table: str, column: str) -> str:
    """NOT NULL proven by a check that was validated without blocking."""
    name, table, column = quote(f"{column}_not_null"), short(table), quote(column)
    return (
        f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL) NOT VALID;\n"
        f"{_LATER}ALTER TABLE {table} VALIDATE CONSTRAINT {name};\n"
        f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;  -- reads nothing: the check "
        "proves it\n"
        f"ALTER TABLE {table} DROP CONSTRAINT {name};"
    )


def required_column(table: str, column: str, type: str) -> str:
    """A required column in steps that neither fail on rows nor break the running client."""
    table, column = short(table), quote(column)
    return (
        f"ALTER TABLE {table} ADD COLUMN {column} {type};  -- deploy a client that writes it, "
        "then fill the old rows in batches\n"
        f"{_LATER}{not_null(table, column.strip(chr(34)))}"
    )


def volatile_column(table: str, column: str, type: str, default: str) -> str:
    """A column whose default is computed for each row, without writing the table anew."""
    table, column = short(table), quote(column)
    return (
        f"ALTER TABLE {table} ADD COLUMN {column} {type};\n"
        f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default};  -- for new rows\n"
        + _LATER
        + _batch(f"UPDATE {table} SET {column} = {default}", table, f"{column} IS NULL")
    )


def batches(node: ast.UpdateStmt, table: str) -> str:
    """An UPDATE of some thousand rows at a time.

    Rows that have the new value already are left out, where that can be said.
    """
    todo = [_undone(target) for target in node.targetList[:1] if _undone(target)]
    known, done = bool(todo), "  -- add a condition that a row fulfils no more once it is done"
    todo += [f"({deparsed(node.whereClause)})"] if node.whereClause else []
    before, node.whereClause = node.whereClause, None
    try:
        update = deparsed(node)
    finally:
        node.whereClause = before
    return _batch(update, short(table), " AND ".join(todo) or "true", "" if known else done)


def _batch(update: str, table: str, todo: str, remark: str = "") -> str:
    """An update of the next rows that are still to be done."""
    return (
        f"{update} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {todo} "
        f"LIMIT 5000));{remark}\n"
        "-- repeat, each time in a transaction of its own, until no row is touched"
    )


def _undone(target: ast.ResTarget) -> str:
    """The condition that a row has not got its new value yet, where that is a constant."""
    value = target.val.arg if isinstance(target.val, ast.TypeCast) else target.val
    return (
        f"{quote(target.name)} IS DISTINCT FROM {deparsed(target.val)}"
        if isinstance(value, ast.A_Const) and target.name
        else ""
    )
