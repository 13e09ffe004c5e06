"""What CREATE, ALTER and DROP of anything but tables do.

Indexes, types, views, functions, triggers, rights, comments.
"""

from __future__ import annotations

from pglast import ast
from pglast.enums import DropBehavior, ObjectType
from pglast.enums import ObjectType as O

from runbook_lib.prisma import safer
from runbook_lib.prisma.effect import Draft
from runbook_lib.prisma.locks import BY_NODE, COMMENT, CONCURRENTLY, LockMode
from runbook_lib.prisma.names import (
    bare,
    generated,
    join,
    listed,
    parts,
    quote,
    relation,
    schema_of,
    short,
)
from runbook_lib.prisma.queries import reads

WORD: dict[ObjectType, str] = {
    O.OBJECT_TABLE: "table",
    O.OBJECT_INDEX: "index",
    O.OBJECT_VIEW: "view",
    O.OBJECT_MATVIEW: "materialized view",
    O.OBJECT_SEQUENCE: "sequence",
    O.OBJECT_TYPE: "type",
    O.OBJECT_DOMAIN: "domain",
    O.OBJECT_FUNCTION: "function",
    O.OBJECT_PROCEDURE: "function",
    O.OBJECT_ROUTINE: "function",
    O.OBJECT_AGGREGATE: "function",
    O.OBJECT_SCHEMA: "schema",
    O.OBJECT_EXTENSION: "extension",
    O.OBJECT_TRIGGER: "trigger",
    O.OBJECT_POLICY: "policy",
    O.OBJECT_RULE: "rule",
    O.OBJECT_STATISTIC_EXT: "statistics",
    O.OBJECT_COLUMN: "column",
    O.OBJECT_TABCONSTRAINT: "constraint",
    O.OBJECT_FOREIGN_TABLE: "table",
    O.OBJECT_EVENT_TRIGGER: "event trigger",
    O.OBJECT_PUBLICATION: "publication",
    O.OBJECT_COLLATION: "other",
    O.OBJECT_OPERATOR: "other",
    O.OBJECT_CAST: "other",
}
ON_TABLE = frozenset({O.OBJECT_TRIGGER, O.OBJECT_POLICY, O.OBJECT_RULE, O.OBJECT_TABCONSTRAINT})
_COMMENTED = {O.OBJECT_COLUMN: "table column", O.OBJECT_TABCONSTRAINT: "table constraint"}
"""What `pg_identify_object` calls a kind, where it says more than `WORD`."""
_GLOBAL = frozenset(
    {O.OBJECT_SCHEMA, O.OBJECT_EXTENSION, O.OBJECT_EVENT_TRIGGER, O.OBJECT_PUBLICATION}
)
_RELATIONS = frozenset(
    {
        O.OBJECT_TABLE,
        O.OBJECT_INDEX,
        O.OBJECT_VIEW,
        O.OBJECT_MATVIEW,
        O.OBJECT_SEQUENCE,
        O.OBJECT_FOREIGN_TABLE,
    }
)


def create_index(draft: Draft, node: ast.IndexStmt) -> None:
    """CREATE INDEX [CONCURRENTLY]."""
    table = relation(node.relation, draft.schema)
    columns = [element.name or "expr" for element in node.indexParams or ()]
    name = join(schema_of(table), node.idxname or generated(table, columns, "idx"))
    draft.kind = "CREATE INDEX CONCURRENTLY" if node.concurrent else "CREATE INDEX"
    draft.alone = draft.kind if node.concurrent else ""
    if node.concurrent and draft.known.is_partitioned(table):
        draft.remark(
            "refused-by-server",
            table,
            what=draft.kind,
            because=f"{short(table)} is partitioned: build the index partition by partition",
        )
    there = draft.known.indexes.get(name) if node.if_not_exists else None
    unusable = there is not None and there.get("valid") is False
    if node.if_not_exists and (node.concurrent or unusable):
        draft.remark("invalid-index-accepted", table)
    draft.lock_tree(table, CONCURRENTLY["IndexStmt"] if node.concurrent else BY_NODE["IndexStmt"])
    if unusable:  # nothing is built; declared all the same, so that validation asks for it
        draft.added("index", name, table=table, definition=_definition(node, name, table, columns))
        return
    if node.if_not_exists and draft.known.table_of(name):
        draft.remark(
            "nothing-to-do",
            table,
            what=f"IF NOT EXISTS: there is an index {short(name)} already, whatever its columns "
            "are",
        )
        return
    draft.added("index", name, table=table, definition=_definition(node, name, table, columns))
    below = (
        draft.known.tree(table)[1:]
        if draft.known.is_partitioned(table) and node.relation.inh
        else []
    )
    own = {each: draft.add_index_below(name, each, columns, "idx") for each in below}
    draft.scan(table)
    if node.concurrent:
        draft.remark("built-concurrently", table, what="CREATE INDEX CONCURRENTLY")
    else:
        draft.remark(
            "index-blocks-writes", table, _concurrently(draft, node, name, own), name=short(name)
        )
    if node.unique:
        draft.remark("unique-added", table, name=short(name))


def _definition(node: ast.IndexStmt, name: str, table: str, columns: list[str]) -> str:
    """What the catalogue will say, as far as `indexes.plain` must know it."""
    more = any(item.expr or item.opclass or item.ordering for item in node.indexParams or ())
    return (
        f"CREATE {'UNIQUE ' if node.unique else ''}INDEX {bare(name)} ON {table} "
        f"USING {node.accessMethod or 'btree'} ({', '.join(map(quote, columns))})"
        + (" …" if more or node.whereClause or node.indexIncludingParams else "")
    )


def _concurrently(draft: Draft, node: ast.IndexStmt, name: str, own: dict[str, str]) -> str:
    """Of a partitioned table each partition's index by itself."""
    if not own:
        return safer.index_concurrently(node)
    if any(draft.known.is_partitioned(table) for table in own):
        return (
            "CREATE INDEX ON ONLY the table and its partitioned partitions, CONCURRENTLY on those "
            "with rows, then ALTER INDEX … ATTACH PARTITION"
        )
    return safer.index_on_partitions(
        node,
        relation(node.relation, draft.schema),
        name,
        {table: bare(index) for table, index in own.items()},
    )


def drop(draft: Draft, node: ast.DropStmt) -> None:
    """DROP of anything."""
    word = WORD.get(
        node.removeType, node.removeType.name.removeprefix("OBJECT_").lower().replace("_", " ")
    )
    draft.kind = f"DROP {word.upper()}" + (" CONCURRENTLY" if node.concurrent else "")
    draft.alone = draft.kind if node.concurrent else ""
    for item in node.objects or ():
        name = listed(item, draft.schema) if node.removeType not in _GLOBAL else join(item.sval)
        if node.removeType in ON_TABLE:
            _drop_on_table(draft, word, item)
        elif (
            node.missing_ok
            and node.removeType in _RELATIONS
            and _missing(draft, node.removeType, name)
        ):
            draft.remark("nothing-to-do", what=f"IF EXISTS: there is no {word} {short(name)}")
            continue
        elif node.removeType == O.OBJECT_INDEX:
            _drop_index(draft, name, node.concurrent)
        elif node.removeType == O.OBJECT_TABLE:
            _drop_table(draft, name)
        else:
            _drop_other(draft, node.removeType, word, name)
        if node.behavior == DropBehavior.DROP_CASCADE:
            draft.remark("dropped-with-dependents", name=short(name))
            draft.unclear = "CASCADE drops what the file does not name"


def _missing(draft: Draft, kind: ObjectType, name: str) -> bool:
    """Whether it is known not to be there."""
    return draft.known.complete and not (
        draft.known.table_of(name) if kind == O.OBJECT_INDEX else draft.known.has(name)
    )


def _drop_on_table(draft: Draft, word: str, item: tuple[ast.String, ...]) -> None:
    *table, name = (part.sval for part in item)
    qualified = join(*(table if len(table) > 1 else [draft.schema, *table]))
    draft.lock(qualified, LockMode.ACCESS_EXCLUSIVE)
    draft.removed(word, f"{qualified}.{quote(name)}")
    draft.remark("object-dropped", qualified, kind=word, name=quote(name))
    draft.remark("brief-exclusive-lock", qualified, what=f"DROP {word.upper()}")


def _drop_index(draft: Draft, name: str, concurrent: bool) -> None:
    mode = CONCURRENTLY["DropStmt"] if concurrent else BY_NODE["DropStmt"]
    table = draft.known.table_of(name)
    if concurrent and draft.known.is_partitioned(table or ""):
        draft.remark(
            "refused-by-server",
            name,
            "DROP INDEX without CONCURRENTLY, at a quiet time",
            what="DROP INDEX CONCURRENTLY",
            because=f"{short(name)} is the index of a partitioned table",
        )
    draft.lock(name, mode, "index")
    if table:
        draft.lock_tree(table, mode)
    draft.remark(
        "index-dropped",
        table or name,
        name=short(name),
        index=name,
        definition=(draft.known.indexes.get(name) or {}).get("definition", ""),
    )
    for each in (name, *draft.known.parts_of(name)):
        draft.removed("index", each)
    if not concurrent:
        better = (
            "" if draft.known.is_partitioned(table or "") else safer.drop_index_concurrently(name)
        )
        draft.remark(
            "brief-exclusive-lock", table or name, better, what=f"DROP INDEX {short(name)}"
        )


def _drop_table(draft: Draft, name: str) -> None:
    draft.lock_tree(name, BY_NODE["DropStmt"])
    draft.remark("table-dropped", name)
    draft.missed("client-breaks", "table", name, name)
    for other in draft.known.referred_by(name) + tuple(
        key.table for key in draft.known.referring_to(name)
    ):
        draft.lock(other, LockMode.ACCESS_EXCLUSIVE)
        draft.remark(
            "brief-exclusive-lock", other, what=f"dropping {short(name)} and its foreign keys"
        )
    for each in reversed(draft.known.tree(name)):
        draft.rows(each, "delete")
        for kind, part in draft.known.belonging_to(each):
            draft.removed(kind, part)
        draft.removed("table", each)


def _drop_other(draft: Draft, kind: ObjectType, word: str, name: str) -> None:
    if kind in _RELATIONS:
        draft.lock(name, BY_NODE["DropStmt"])
        if kind in (O.OBJECT_VIEW, O.OBJECT_MATVIEW):
            draft.missed("client-breaks", word, name, name)
        for part, belongs in draft.known.belonging_to(name):
            draft.removed(part, belongs)
    if kind == O.OBJECT_STATISTIC_EXT and (table := draft.known.table_of_statistics(name)):
        draft.lock(table, BY_NODE["CreateStatsStmt"])
    if kind == O.OBJECT_TYPE and draft.known.enums.get(name) is not None:
        word = "enum"
    if kind in (O.OBJECT_TYPE, O.OBJECT_DOMAIN):
        draft.missed("client-breaks", word, name, said="type {}")
    draft.missed("object-dropped", word, name, name if kind in _RELATIONS else "")
    draft.removed(word, name)
    if kind == O.OBJECT_SCHEMA:
        draft.unclear = "it drops a whole schema"


def rename(draft: Draft, node: ast.RenameStmt) -> None:
    """ALTER … RENAME."""
    word = WORD.get(node.renameType, "other")
    draft.kind = f"RENAME {word.upper()}"
    if node.renameType in _RELATIONS:
        old = relation(node.relation, draft.schema)
        new = join(schema_of(old), node.newname)
        index = node.renameType == O.OBJECT_INDEX
        draft.lock(old, LockMode.SHARE_UPDATE_EXCLUSIVE if index else BY_NODE["RenameStmt"], word)
        if not index:
            draft.missed("client-breaks", word, old, old)
        draft.renamed(word, old, new)
    elif node.relation is not None:
        table = relation(node.relation, draft.schema)
        draft.lock_tree(table, BY_NODE["RenameStmt"])
        old = f"{table}.{quote(node.subname)}"
        if node.renameType == O.OBJECT_COLUMN:
            draft.missed("client-breaks", word, old, table)
        draft.renamed(word, old, f"{table}.{quote(node.newname)}")
        draft.remark("brief-exclusive-lock", table, what=f"RENAME {word.upper()}")
    else:
        old = listed(node.object, draft.schema)
        word = "enum" if draft.known.enums.get(old) is not None else word
        if node.renameType == O.OBJECT_TYPE:
            draft.missed("client-breaks", word, old, said="type {}")
        draft.renamed(word, old, join(schema_of(old), node.newname))


def set_schema(draft: Draft, node: ast.AlterObjectSchemaStmt) -> None:
    """ALTER … SET SCHEMA."""
    old = listed(node.relation or node.object, draft.schema)
    word = WORD.get(node.objectType, "other")
    draft.kind = f"ALTER {word.upper()} SET SCHEMA"
    if node.relation is not None:
        draft.lock(old, BY_NODE["AlterObjectSchemaStmt"], word)
        for part, belongs in draft.known.belonging_to(old):
            draft.renamed(part, belongs, join(node.newschema, parts(belongs)[-1]))
    draft.missed("client-breaks", word, old, old)
    draft.renamed(word, old, join(node.newschema, parts(old)[-1]))


def create_enum(draft: Draft, node: ast.CreateEnumStmt) -> None:
    """CREATE TYPE … AS ENUM."""
    draft.kind = "CREATE TYPE"
    draft.added(
        "enum",
        listed(node.typeName, draft.schema),
        labels=[value.sval for value in node.vals or ()],
    )


def alter_enum(draft: Draft, node: ast.AlterEnumStmt) -> None:
    """ALTER TYPE … ADD VALUE and RENAME VALUE."""
    name = listed(node.typeName, draft.schema)
    draft.kind = "ALTER TYPE RENAME VALUE" if node.oldVal else "ALTER TYPE ADD VALUE"
    draft.changed("enum", name, "labels")
    value = f"{node.oldVal or node.newVal!s} of {short(name)}"
    draft.remark("client-breaks" if node.oldVal else "enum-value-added", name, name=value)


def create_view(draft: Draft, node: ast.ViewStmt) -> None:
    """CREATE [OR REPLACE] VIEW."""
    name = relation(node.view, draft.schema)
    draft.kind = "CREATE OR REPLACE VIEW" if node.replace else "CREATE VIEW"
    reads(draft, node.query)
    there = node.replace and draft.known.has(name) is not False and not draft.known.is_new(name)
    if there:
        draft.lock(name, LockMode.ACCESS_EXCLUSIVE, "view")
        draft.changed("view", name, "definition")
        draft.remark("brief-exclusive-lock", name, what="CREATE OR REPLACE VIEW")
    else:
        draft.added("view", name)


def create_trigger(draft: Draft, node: ast.CreateTrigStmt) -> None:
    """CREATE TRIGGER."""
    table = relation(node.relation, draft.schema)
    draft.kind = "CREATE TRIGGER"
    draft.lock(table, BY_NODE["CreateTrigStmt"])
    draft.known.add_trigger(table)
    draft.added("trigger", f"{table}.{quote(node.trigname)}")
    draft.remark("brief-write-block", table, what="CREATE TRIGGER")


def on_table(draft: Draft, node: ast.RuleStmt | ast.CreatePolicyStmt | ast.AlterPolicyStmt) -> None:
    """CREATE RULE, CREATE POLICY, ALTER POLICY."""
    table = relation(node.relation if isinstance(node, ast.RuleStmt) else node.table, draft.schema)
    word, name = (
        ("rule", node.rulename) if isinstance(node, ast.RuleStmt) else ("policy", node.policy_name)
    )
    altered = isinstance(node, ast.AlterPolicyStmt)
    draft.kind = f"{'ALTER' if altered else 'CREATE'} {word.upper()}"
    draft.lock(table, BY_NODE[type(node).__name__])
    (draft.changed if altered else draft.added)(word, f"{table}.{quote(name)}")
    draft.remark("brief-exclusive-lock", table, what=draft.kind)


def create_statistics(draft: Draft, node: ast.CreateStatsStmt) -> None:
    """CREATE STATISTICS."""
    draft.kind = "CREATE STATISTICS"
    for item in node.relations or ():
        if isinstance(item, ast.RangeVar):
            draft.lock(relation(item, draft.schema), BY_NODE["CreateStatsStmt"])
    draft.added("statistics", listed(node.defnames, draft.schema))


def comment(draft: Draft, node: ast.CommentStmt) -> None:
    """COMMENT ON."""
    draft.kind = "COMMENT"
    word = _COMMENTED.get(node.objtype, WORD.get(node.objtype, "other"))
    if node.objtype in ON_TABLE or node.objtype == O.OBJECT_COLUMN:
        *table, name = (part.sval for part in node.object)
        on = join(*(table if len(table) > 1 else [draft.schema, *table]))
        draft.lock(on, COMMENT[node.objtype])
        draft.changed(
            "comment",
            f"{word} {on}.{quote(name)}"
            if node.objtype == O.OBJECT_COLUMN
            else f"{word} {quote(name)} on {on}",
        )
        return
    name = listed(node.object, draft.schema)
    draft.changed("comment", f"{word} {name}")
    if node.objtype in COMMENT:
        draft.lock(
            name,
            COMMENT[node.objtype],
            WORD[node.objtype] if node.objtype != O.OBJECT_TABLE else "",
        )


def grant(draft: Draft, node: ast.GrantStmt) -> None:
    """GRANT and REVOKE."""
    draft.kind = "GRANT" if node.is_grant else "REVOKE"
    for item in node.objects or ():
        if isinstance(item, ast.RangeVar):
            if draft.known.server_major >= 18:  # the majors before lock nothing
                draft.lock(relation(item, draft.schema), BY_NODE["GrantStmt"])
            draft.changed(
                "sequence" if node.objtype == O.OBJECT_SEQUENCE else "table",
                relation(item, draft.schema),
                "acl",
            )
        elif node.targtype.name == "ACL_TARGET_ALL_IN_SCHEMA":
            draft.unclear = f"it changes the rights of everything in {item.sval}"
        else:
            draft.changed(
                WORD.get(node.objtype, "other"),
                listed(item, draft.schema) if not isinstance(item, ast.String) else join(item.sval),
                "acl",
            )


def sequence(draft: Draft, node: ast.CreateSeqStmt | ast.AlterSeqStmt) -> None:
    """CREATE SEQUENCE and ALTER SEQUENCE."""
    name = relation(node.sequence, draft.schema)
    if isinstance(node, ast.CreateSeqStmt):
        draft.kind = "CREATE SEQUENCE"
        draft.added("sequence", name)
        for option in node.options or ():
            if option.defname == "owned_by" and len(option.arg) > 1:
                draft.lock(listed(option.arg[:-1], draft.schema), LockMode.ACCESS_SHARE)
        return
    draft.kind = "ALTER SEQUENCE"
    draft.lock(name, BY_NODE["AlterSeqStmt"], "sequence")
    draft.changed("sequence", name)


def alter_domain(draft: Draft, node: ast.AlterDomainStmt) -> None:
    """ALTER DOMAIN: a new rule is checked in all tables that use the domain."""
    draft.kind = "ALTER DOMAIN"
    name = listed(node.typeName, draft.schema)
    draft.changed("domain", name)
    draft.known.add_domain(name)
    columns = (
        [column for column, value in draft.known.columns.items() if value.get("type") == name]
        if node.subtype in ("C", "O")
        else []
    )
    for column in columns:
        table = join(*parts(column)[:2])
        draft.lock(table, LockMode.SHARE)
        draft.scan(table)
        draft.remark(
            "constraint-blocks-writes",
            table,
            name=f"domain {short(name)}",
            other="the other tables that use it",
        )
