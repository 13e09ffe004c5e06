"""From a parsed statement to what it does: which function knows which command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pglast import ast

from runbook_lib.prisma import commands, object_commands, queries, table_commands
from runbook_lib.prisma.effect import Draft, Effect
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.names import join, listed
from runbook_lib.prisma.versions import newer

# each takes the node of its own key, which the type of a dictionary cannot say
_HANDLERS: dict[type[ast.Node], Callable[[Draft, Any], None]] = {
    ast.CreateStmt: table_commands.create_table,
    ast.AlterTableStmt: table_commands.alter_table,
    ast.IndexStmt: object_commands.create_index,
    ast.DropStmt: object_commands.drop,
    ast.RenameStmt: object_commands.rename,
    ast.AlterObjectSchemaStmt: object_commands.set_schema,
    ast.CreateEnumStmt: object_commands.create_enum,
    ast.AlterEnumStmt: object_commands.alter_enum,
    ast.ViewStmt: object_commands.create_view,
    ast.CreateTrigStmt: object_commands.create_trigger,
    ast.RuleStmt: object_commands.on_table,
    ast.CreatePolicyStmt: object_commands.on_table,
    ast.AlterPolicyStmt: object_commands.on_table,
    ast.CreateStatsStmt: object_commands.create_statistics,
    ast.CommentStmt: object_commands.comment,
    ast.GrantStmt: object_commands.grant,
    ast.CreateSeqStmt: object_commands.sequence,
    ast.AlterSeqStmt: object_commands.sequence,
    ast.AlterDomainStmt: object_commands.alter_domain,
    ast.SelectStmt: queries.statement,
    ast.InsertStmt: queries.statement,
    ast.UpdateStmt: queries.statement,
    ast.DeleteStmt: queries.statement,
    ast.MergeStmt: queries.statement,
    ast.TruncateStmt: queries.truncate,
    ast.CreateTableAsStmt: queries.create_as,
    ast.CopyStmt: queries.copy,
    ast.LockStmt: queries.lock,
    ast.TransactionStmt: commands.transaction,
    ast.VariableSetStmt: commands.setting,
    ast.VacuumStmt: commands.vacuum,
    ast.ClusterStmt: commands.cluster,
    ast.ReindexStmt: commands.reindex,
    ast.RefreshMatViewStmt: commands.refresh,
    ast.CreatePublicationStmt: commands.publication,
    ast.AlterPublicationStmt: commands.publication,
}
_CATALOGUE_ONLY: dict[type[ast.Node], tuple[str, str, str, str]] = {
    ast.CreateFunctionStmt: ("CREATE FUNCTION", "function", "funcname", "added"),
    ast.AlterFunctionStmt: ("ALTER FUNCTION", "function", "func", "changed"),
    ast.CreateDomainStmt: ("CREATE DOMAIN", "domain", "domainname", "added"),
    ast.CompositeTypeStmt: ("CREATE TYPE", "type", "typevar", "added"),
    ast.CreateRangeStmt: ("CREATE TYPE", "type", "typeName", "added"),
    ast.CreateExtensionStmt: ("CREATE EXTENSION", "extension", "extname", "added"),
    ast.AlterExtensionStmt: ("ALTER EXTENSION", "extension", "extname", "changed"),
    ast.CreateEventTrigStmt: ("CREATE EVENT TRIGGER", "event trigger", "trigname", "added"),
    ast.AlterStatsStmt: ("ALTER STATISTICS", "statistics", "defnames", "changed"),
    ast.DefineStmt: ("CREATE", "other", "defnames", "added"),
    ast.CreateRoleStmt: ("CREATE ROLE", "role", "role", "added"),
    ast.AlterRoleStmt: ("ALTER ROLE", "role", "role", "changed"),
    ast.AlterTypeStmt: ("ALTER TYPE", "type", "typeName", "changed"),
    ast.AlterRoleSetStmt: ("ALTER ROLE", "role", "role", "changed"),
    ast.GrantRoleStmt: ("GRANT", "role", "", "changed"),
    ast.AlterDefaultPrivilegesStmt: (
        "ALTER DEFAULT PRIVILEGES",
        "default privilege",
        "",
        "changed",
    ),
    ast.CreateCastStmt: ("CREATE CAST", "other", "", "added"),
    ast.AlterOwnerStmt: ("ALTER OWNER", "other", "object", "changed"),
    ast.AlterDatabaseSetStmt: ("ALTER DATABASE", "other", "dbname", "changed"),
}
_NOTHING: dict[type[ast.Node], str] = {
    ast.VariableShowStmt: "SHOW",
    ast.NotifyStmt: "NOTIFY",
    ast.ListenStmt: "LISTEN",
    ast.UnlistenStmt: "UNLISTEN",
    ast.ConstraintsSetStmt: "SET CONSTRAINTS",
    ast.DeallocateStmt: "DEALLOCATE",
    ast.CheckPointStmt: "CHECKPOINT",
}
_ALONE: dict[type[ast.Node], str] = {
    ast.CreatedbStmt: "CREATE DATABASE",
    ast.DropdbStmt: "DROP DATABASE",
    ast.AlterSystemStmt: "ALTER SYSTEM",
    ast.CreateTableSpaceStmt: "CREATE TABLESPACE",
    ast.DropTableSpaceStmt: "DROP TABLESPACE",
    ast.CreateSubscriptionStmt: "CREATE SUBSCRIPTION",
    ast.DropSubscriptionStmt: "DROP SUBSCRIPTION",
    ast.DiscardStmt: "DISCARD",
}
_UNCLEAR: dict[type[ast.Node], tuple[str, str]] = {
    ast.CallStmt: ("CALL", "it calls a procedure, which may do anything"),
    ast.ExecuteStmt: ("EXECUTE", "it runs a prepared statement"),
    ast.PrepareStmt: ("PREPARE", "it prepares a statement for later"),
    ast.DropOwnedStmt: ("DROP OWNED", "it drops whatever a role owns"),
    ast.ReassignOwnedStmt: ("REASSIGN OWNED", "it changes the owner of whatever a role owns"),
}


_HANDLERS[ast.CreateSchemaStmt] = lambda draft, node: _create_schema(draft, node)
_ROWS = (
    ast.SelectStmt,
    ast.InsertStmt,
    ast.UpdateStmt,
    ast.DeleteStmt,
    ast.MergeStmt,
    ast.TruncateStmt,
    ast.CopyStmt,
    ast.CallStmt,
    ast.ExecuteStmt,
    ast.PrepareStmt,
    ast.VariableSetStmt,
)
"""Commands that may do more than the catalogue shows, and that rows may decide."""


def effect(node: ast.Node, sql: str, known: Known) -> Effect:
    """What one statement does.

    Args:
        node: as pglast parsed it.
        sql: its text.
        known: the catalogue before it; learns what it does.
    """
    draft = Draft(known)
    handler = _HANDLERS.get(type(node))
    if handler:
        handler(draft, node)
    elif isinstance(node, ast.DoStmt):
        commands.block(draft, sql, effect)
    elif isinstance(node, ast.ExplainStmt):
        _explain(draft, node, sql)
    elif type(node) in _CATALOGUE_ONLY:
        _catalogue_only(draft, node)
    else:
        draft.kind = (
            _NOTHING.get(type(node))
            or _ALONE.get(type(node))
            or type(node).__name__.removesuffix("Stmt")
        )
        draft.alone = _ALONE.get(type(node), "")
        if type(node) in _UNCLEAR:
            draft.kind, draft.unclear = _UNCLEAR[type(node)]
        elif type(node) not in _NOTHING:
            draft.unclear = f"{draft.kind} is not known here"
    for what, major in newer(node, known.server_major).items():
        draft.remark(
            "refused-by-server",
            what=what,
            because=f"it came with PostgreSQL {major}, and this is {known.server_major}",
        )
    if draft.unclear:
        draft.remark("not-understood", because=draft.unclear)
        if isinstance(node, _ROWS):
            draft.unseen = draft.unclear
    return draft.done()


def _explain(draft: Draft, node: ast.ExplainStmt, sql: str) -> None:
    """EXPLAIN does nothing; with ANALYZE it runs the statement."""
    if any(option.defname == "analyze" for option in node.options or ()):
        draft.may(effect(node.query, sql, draft.known))
    draft.kind = "EXPLAIN"


def _create_schema(draft: Draft, node: ast.CreateSchemaStmt) -> None:
    """CREATE SCHEMA, and what is made in it by the same statement."""
    owner = node.authrole.rolename if node.authrole else None
    name, schema = node.schemaname or owner or "", draft.known.schema
    draft.added("schema", join(name))
    draft.known.schema = name
    for element in node.schemaElts or ():
        _HANDLERS[type(element)](draft, element)
    draft.kind, draft.known.schema = "CREATE SCHEMA", schema


def _catalogue_only(draft: Draft, node: ast.Node) -> None:
    """A command that locks no table."""
    draft.kind, kind, attribute, action = _CATALOGUE_ONLY[type(node)]
    value = getattr(node, attribute, None) if attribute else None
    if isinstance(value, str):
        name = join(value)
    elif isinstance(value, ast.RoleSpec):
        name = join(value.rolename or "")
    else:
        name = listed(value, draft.schema) if value is not None else ""
    getattr(draft, action)(kind, name)
    if isinstance(node, ast.CreateDomainStmt) and node.constraints:
        draft.known.add_domain(name)
