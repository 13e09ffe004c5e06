"""Maintenance, settings, transaction control and blocks of code."""

from __future__ import annotations

from collections.abc import Callable

from pglast import ast
from pglast.parser import ParseError, parse_sql

from runbook_lib.prisma import plpgsql, safer
from runbook_lib.prisma.effect import Draft, Effect
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.locks import BY_NODE, CONCURRENTLY, LockMode
from runbook_lib.prisma.names import join, relation, short
from runbook_lib.prisma.queries import CATALOGUE, HARMLESS, reads

_CONTROL = {
    "BEGIN": "begin",
    "START": "begin",
    "COMMIT": "commit",
    "ROLLBACK": "rollback",
    "PREPARE": "commit",
    "COMMIT_PREPARED": "commit",
    "ROLLBACK_PREPARED": "rollback",
}
_TIMEOUTS = frozenset(
    {
        "lock_timeout",
        "statement_timeout",
        "transaction_timeout",
        "idle_in_transaction_session_timeout",
    }
)


def transaction(draft: Draft, node: ast.TransactionStmt) -> None:
    """BEGIN, COMMIT and their kin."""
    word = node.kind.name.removeprefix("TRANS_STMT_")
    draft.kind, draft.transaction = word.replace("_", " "), _CONTROL.get(word, "savepoint")
    if draft.transaction != "savepoint":
        draft.remark("transaction-control", what=draft.kind)


def setting(draft: Draft, node: ast.VariableSetStmt) -> None:
    """SET and RESET."""
    draft.kind = "SET"
    if node.name in _TIMEOUTS:
        draft.remark("timeout-overridden", what=safer.deparsed(node), name=node.name)
    if node.name == "search_path" and node.args:
        first = getattr(node.args[0], "val", None)
        draft.known.schema = getattr(first, "sval", "") or draft.known.schema
    if node.name == "session_replication_role":
        draft.unclear = "it switches triggers and foreign keys off or on"


def vacuum(draft: Draft, node: ast.VacuumStmt) -> None:
    """VACUUM and ANALYZE."""
    full = any(option.defname == "full" for option in node.options or ())
    draft.kind = ("VACUUM FULL" if full else "VACUUM") if node.is_vacuumcmd else "ANALYZE"
    draft.alone = draft.kind if node.is_vacuumcmd else ""
    for item in node.rels or ():
        name = relation(item.relation, draft.schema)
        draft.lock_tree(name, LockMode.ACCESS_EXCLUSIVE if full else BY_NODE["VacuumStmt"])
        draft.scan(name)
        if full:
            draft.rewrite(name)
            draft.remark(
                "table-rewrite",
                name,
                "plain VACUUM; pg_repack where the space must come back",
                what="VACUUM FULL",
            )
    if not node.rels:
        draft.lock("*", LockMode.ACCESS_EXCLUSIVE if full else BY_NODE["VacuumStmt"])


def cluster(draft: Draft, node: ast.ClusterStmt) -> None:
    """CLUSTER."""
    draft.kind = "CLUSTER"
    name = relation(node.relation, draft.schema) if node.relation else "*"
    draft.alone = "" if node.relation else "CLUSTER of all tables"
    draft.lock(name, BY_NODE["ClusterStmt"])
    draft.rewrite(name)
    draft.remark("table-rewrite", name, what="CLUSTER")


def reindex(draft: Draft, node: ast.ReindexStmt) -> None:
    """REINDEX."""
    concurrent = any(option.defname == "concurrently" for option in node.params or ())
    kind = node.kind.name.removeprefix("REINDEX_OBJECT_")
    draft.kind = f"REINDEX {kind}" + (" CONCURRENTLY" if concurrent else "")
    draft.alone = draft.kind if concurrent or kind not in ("INDEX", "TABLE") else ""
    mode = CONCURRENTLY["ReindexStmt"] if concurrent else BY_NODE["ReindexStmt"]
    if not node.relation:
        draft.lock("*", mode)
        return
    name = relation(node.relation, draft.schema)
    table = draft.known.table_of(name) or name if kind == "INDEX" else name
    if draft.known.is_partitioned(table):
        draft.alone = draft.kind
    if kind == "INDEX":
        draft.lock(name, mode if concurrent else LockMode.ACCESS_EXCLUSIVE, "index")
        draft.reindex(name)
    else:
        draft.reindex_all(table)
    if kind != "INDEX" or table != name:
        draft.lock(table, mode)
        for below in draft.known.tree(table)[1:]:
            draft.lock(
                below, BY_NODE["ReindexStmt"] if kind == "TABLE" else mode
            )  # to find the partitions, CONCURRENTLY too
        draft.scan(table)
    if not concurrent:
        draft.remark(
            "index-blocks-writes",
            table,
            safer.reindex_concurrently(kind, name),
            name=f"the indexes of {short(table)} anew"
            if kind == "TABLE"
            else f"{short(name)} anew, which also stops most reads,",
        )
    else:
        draft.remark("built-concurrently", table, what=draft.kind)


def refresh(draft: Draft, node: ast.RefreshMatViewStmt) -> None:
    """REFRESH MATERIALIZED VIEW."""
    name = relation(node.relation, draft.schema)
    draft.kind = "REFRESH MATERIALIZED VIEW" + (" CONCURRENTLY" if node.concurrent else "")
    draft.lock(
        name,
        CONCURRENTLY["RefreshMatViewStmt"] if node.concurrent else BY_NODE["RefreshMatViewStmt"],
        "materialized view",
    )
    draft.rows(name, "update")
    for source in _parsed(draft.known.definition(name)) or ():
        reads(draft, source.stmt)
    if not node.concurrent:
        draft.rewrite(name)
        draft.remark("refresh-blocks-reads", name, what="REFRESH")


def publication(draft: Draft, node: ast.CreatePublicationStmt | ast.AlterPublicationStmt) -> None:
    """CREATE PUBLICATION and ALTER PUBLICATION."""
    created = isinstance(node, ast.CreatePublicationStmt)
    draft.kind = "CREATE PUBLICATION" if created else "ALTER PUBLICATION"
    for item in node.pubobjects or ():
        if item.pubtable:
            draft.lock(relation(item.pubtable.relation, draft.schema), BY_NODE[type(node).__name__])
    (draft.added if created else draft.changed)("publication", join(node.pubname))


def block(draft: Draft, sql: str, analyse: Callable[[ast.Node, str, Known], Effect]) -> None:
    """DO: what it may do, as far as its text says so; whether it does is decided when it runs."""
    draft.kind = "DO"
    found = plpgsql.read(sql)
    if found is None:
        draft.unclear = draft.unseen = "a DO block that cannot be read here"
        return
    draft.unseen = found.course(HARMLESS, CATALOGUE)
    said, certain, draft.known.certain = [], draft.known.certain, False
    try:
        for one in (one for one in found.inner if one.runs):
            if one.node is None or not one.exact:
                said.append("SQL put together when it runs")
                continue
            effect = analyse(one.node, one.text, draft.known)
            draft.may(effect)
            draft.unseen = draft.unseen or effect.unseen
            said.append(effect.kind)
    finally:
        draft.known.certain = certain
    if found.catches_data and (draft.touches_rows or any(not one.exact for one in found.inner)):
        draft.unseen = draft.unseen or f"whether rows raise {', '.join(sorted(found.catches_data))}"
    draft.unclear = "a DO block" + (
        f" that may run {', '.join(dict.fromkeys(said))}" if said else ""
    )


def _parsed(text: str) -> tuple[ast.RawStmt, ...] | None:
    try:
        return tuple(parse_sql(text))
    except ParseError:
        return None
