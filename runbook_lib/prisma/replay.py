"""Which statements of applied files must not be run a second time, on the same server: those that reach beyond their database."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pglast import ast
from pglast.enums import ObjectType

from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.statements import Parsed, split

_BEYOND: tuple[type[ast.Node], ...] = (
    ast.CreateRoleStmt,
    ast.AlterRoleStmt,
    ast.AlterRoleSetStmt,
    ast.DropRoleStmt,
    ast.GrantRoleStmt,
    ast.DropOwnedStmt,
    ast.ReassignOwnedStmt,
    ast.CreatedbStmt,
    ast.DropdbStmt,
    ast.AlterDatabaseStmt,
    ast.AlterDatabaseSetStmt,
    ast.AlterSystemStmt,
    ast.CreateTableSpaceStmt,
    ast.DropTableSpaceStmt,
    ast.AlterTableSpaceOptionsStmt,
    ast.CreateSubscriptionStmt,
    ast.AlterSubscriptionStmt,
    ast.DropSubscriptionStmt,
    ast.CopyStmt,
    ast.LoadStmt,
    ast.CheckPointStmt,
)
_CALLS = re.compile(
    r"\b(dblink\w*|pg_(?:terminate_backend|cancel_backend|reload_conf|promote|switch_wal|rotate_logfile|file_\w+|create_\w+_slot\w*|"
    r"drop_replication_slot)|lo_(?:import|export))\s*\(",
    re.IGNORECASE,
)
_IN_CODE = re.compile(
    r"\b(ROLE|USER|DATABASE|TABLESPACE|SYSTEM|SUBSCRIPTION|PROGRAM|EXECUTE)\b", re.IGNORECASE
)
_SHARED = frozenset(
    {ObjectType.OBJECT_DATABASE, ObjectType.OBJECT_ROLE, ObjectType.OBJECT_TABLESPACE}
)


def beyond(files: Iterable[MigrationFile]) -> tuple[str, ...]:
    """The places of statements that touch roles, other databases, files or the server itself, or that may."""
    return tuple(
        f"{file.name}:{one.line}" for file in files for one in split(file.sql) if _reaches(one)
    )


def _reaches(one: Parsed) -> bool:
    if one.node is None:
        return True  # the parser refuses it: nobody knows
    if isinstance(one.node, _BEYOND) or _CALLS.search(one.sql):
        return True
    if {
        getattr(one.node, name, None) for name in ("objtype", "objectType", "renameType")
    } & _SHARED:
        return True
    return isinstance(one.node, ast.DoStmt) and bool(_IN_CODE.search(one.sql))
