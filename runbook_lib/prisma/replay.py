"""Which statements of applied files must not be run a second time, on the same server.

Those that reach beyond their database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pglast import ast
from pglast.enums import ObjectType

from runbook_lib.prisma import plpgsql, types
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
    ast.ImportForeignSchemaStmt,
)
_CALLS = re.compile(
    r"dblink\w*|pg_(?:terminate_backend|cancel_backend|reload_conf|promote|switch_wal|"
    r"rotate_logfile|file_\w+|create_\w+_slot\w*|"
    r"drop_replication_slot)|lo_(?:import|export)|https?(?:_\w+)?|query_export_to_s3|"
    r"table_import_from_s3"
)
"""Functions that touch other databases, sessions, files or the network."""
_SHARED = frozenset(
    {ObjectType.OBJECT_DATABASE, ObjectType.OBJECT_ROLE, ObjectType.OBJECT_TABLESPACE}
)
_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def beyond(files: Iterable[MigrationFile]) -> tuple[str, ...]:
    """Return the places of statements that reach, or may reach, beyond the database.

    Roles, other databases, files or the server itself.
    """
    reach = _Reach()
    return tuple(
        f"{file.name}:{one.line}" for file in files for one in split(file.sql) if reach.of(one)
    )


class _Reach:
    """Tells of each statement whether it reaches beyond its database.

    Functions are judged by their bodies, where they are called.
    """

    def __init__(self) -> None:
        self._functions: set[str] = set()
        self._triggers = False

    def of(self, one: Parsed) -> bool:
        """Whether a statement reaches beyond; it is learned which functions it makes."""
        if isinstance(one.node, ast.CreateFunctionStmt):
            if self._body(one.node, one.sql):
                self._functions.add(one.node.funcname[-1].sval)
            return False
        if isinstance(one.node, (ast.CreateTrigStmt, ast.CreateEventTrigStmt)):
            reaches = one.node.funcname[-1].sval in self._functions
            self._triggers |= reaches
            return reaches and isinstance(one.node, ast.CreateEventTrigStmt)
        return self._node(one.node, one.sql)

    def _node(self, node: ast.Node | None, sql: str) -> bool:
        if node is None or isinstance(node, _BEYOND):
            return True  # what the parser refuses, nobody knows
        kinds = {getattr(node, name, None) for name in ("objtype", "objectType", "renameType")}
        if kinds & _SHARED or isinstance(node, _WRITES) and self._triggers:
            return True
        if isinstance(node, ast.DoStmt):
            return self._block(sql)
        return any(_CALLS.fullmatch(name) or name in self._functions for name in types.calls(node))

    def _block(self, sql: str) -> bool:
        block = plpgsql.read(sql)
        return block is None or any(self._node(one.node, one.text) for one in block.inner)

    def _body(self, node: ast.CreateFunctionStmt, sql: str) -> bool:
        """Whether a function reaches beyond where it is called.

        One in another language than SQL and PL/pgSQL may.
        """
        options = {option.defname: option.arg for option in node.options or ()}
        language = getattr(options.get("language"), "sval", "sql")
        if language == "plpgsql":
            return self._block(sql)
        if language != "sql":
            return True
        bodies = [item.sval for item in options.get("as") or ()]
        return any(self._node(one.node, one.sql) for body in bodies for one in split(body)) or any(
            _CALLS.fullmatch(name) for name in types.calls(node.sql_body)
        )
