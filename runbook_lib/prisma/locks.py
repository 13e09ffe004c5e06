"""Which lock each command takes, as data.

PostgreSQL's documentation ("Explicit Locking" and the page of each command) and
`AlterTableGetLockLevel` in its source; compared with `pg_locks` of a real server in
tests/prisma/test_locks.py.
"""

from __future__ import annotations

from enum import IntEnum

from pglast.enums import AlterTableType as AT
from pglast.enums import ConstrType, ObjectType


class LockMode(IntEnum):
    """PostgreSQL's table-level locks, weakest first."""

    NONE = 0
    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    def __str__(self) -> str:
        return self.name.replace("_", " ") if self else "–"

    @property
    def blocks_reads(self) -> bool:
        """Whether a plain SELECT waits for it."""
        return self is LockMode.ACCESS_EXCLUSIVE

    @property
    def blocks_writes(self) -> bool:
        """Whether INSERT, UPDATE and DELETE wait for it."""
        return self >= LockMode.SHARE


_AEL = LockMode.ACCESS_EXCLUSIVE
_SRE = LockMode.SHARE_ROW_EXCLUSIVE
_SUE = LockMode.SHARE_UPDATE_EXCLUSIVE

ALTER_TABLE: dict[AT, LockMode] = {
    **{
        kind: _AEL
        for kind in (
            AT.AT_AddColumn,
            AT.AT_DropColumn,
            AT.AT_AlterColumnType,
            AT.AT_ColumnDefault,
            AT.AT_SetNotNull,
            AT.AT_DropNotNull,
            AT.AT_SetExpression,
            AT.AT_DropExpression,
            AT.AT_AddIdentity,
            AT.AT_SetIdentity,
            AT.AT_DropIdentity,
            AT.AT_SetStorage,
            AT.AT_SetCompression,
            AT.AT_DropConstraint,
            AT.AT_AlterConstraint,
            AT.AT_AddIndexConstraint,
            AT.AT_ChangeOwner,
            AT.AT_SetLogged,
            AT.AT_SetUnLogged,
            AT.AT_SetAccessMethod,
            AT.AT_SetTableSpace,
            AT.AT_EnableRule,
            AT.AT_EnableAlwaysRule,
            AT.AT_EnableReplicaRule,
            AT.AT_DisableRule,
            AT.AT_AddInherit,
            AT.AT_DropInherit,
            AT.AT_AddOf,
            AT.AT_DropOf,
            AT.AT_ReplicaIdentity,
            AT.AT_EnableRowSecurity,
            AT.AT_DisableRowSecurity,
            AT.AT_ForceRowSecurity,
            AT.AT_NoForceRowSecurity,
            AT.AT_GenericOptions,
            AT.AT_AlterColumnGenericOptions,
            AT.AT_DetachPartition,
            AT.AT_DropOids,
            AT.AT_AddConstraint,
        )
    },
    **{
        kind: _SRE
        for kind in (
            AT.AT_EnableTrig,
            AT.AT_EnableAlwaysTrig,
            AT.AT_EnableReplicaTrig,
            AT.AT_EnableTrigAll,
            AT.AT_EnableTrigUser,
            AT.AT_DisableTrig,
            AT.AT_DisableTrigAll,
            AT.AT_DisableTrigUser,
        )
    },
    **{
        kind: _SUE
        for kind in (
            AT.AT_SetStatistics,
            AT.AT_SetOptions,
            AT.AT_ResetOptions,
            AT.AT_ClusterOn,
            AT.AT_DropCluster,
            AT.AT_ValidateConstraint,
            AT.AT_AttachPartition,
            AT.AT_DetachPartitionFinalize,
            AT.AT_SetRelOptions,
            AT.AT_ResetRelOptions,
        )
    },
}
"""The lock that each subcommand of ALTER TABLE takes on its table; the statement takes the
strongest of its subcommands.
"""

CONSTRAINT: dict[ConstrType, LockMode] = {ConstrType.CONSTR_FOREIGN: _SRE}
"""ADD CONSTRAINT by kind, where it is weaker than the ACCESS EXCLUSIVE of the others; the
referenced table gets the same.
"""

STRONG_OPTIONS = frozenset(
    {
        "user_catalog_table",
        "security_barrier",
        "security_invoker",
        "check_option",
        "buffering",
        "fastupdate",
        "gin_pending_list_limit",
        "pages_per_range",
        "autosummarize",
    }
)
"""Storage parameters whose change takes ACCESS EXCLUSIVE; the others take SHARE UPDATE EXCLUSIVE.
"""

REWRITES = frozenset(
    {
        AT.AT_SetLogged,
        AT.AT_SetUnLogged,
        AT.AT_SetAccessMethod,
        AT.AT_SetTableSpace,
        AT.AT_SetExpression,
    }
)
"""Subcommands that write the whole table anew; adding a column and changing a type do so in some
cases only.
"""

COMMENT: dict[ObjectType, LockMode] = {
    **{
        kind: _SUE
        for kind in (
            ObjectType.OBJECT_TABLE,
            ObjectType.OBJECT_COLUMN,
            ObjectType.OBJECT_INDEX,
            ObjectType.OBJECT_VIEW,
            ObjectType.OBJECT_MATVIEW,
            ObjectType.OBJECT_SEQUENCE,
            ObjectType.OBJECT_FOREIGN_TABLE,
        )
    },
    **{
        kind: LockMode.ACCESS_SHARE
        for kind in (
            ObjectType.OBJECT_TABCONSTRAINT,
            ObjectType.OBJECT_TRIGGER,
            ObjectType.OBJECT_POLICY,
            ObjectType.OBJECT_RULE,
        )
    },
}
"""COMMENT ON by the kind of object; the last four lock the table that the object stands on."""

BY_NODE: dict[str, LockMode] = {
    "IndexStmt": LockMode.SHARE,
    "CreateTrigStmt": _SRE,
    "RuleStmt": _AEL,
    "CreatePolicyStmt": _AEL,
    "AlterPolicyStmt": _AEL,
    "CreateStatsStmt": _SUE,
    "TruncateStmt": _AEL,
    "ClusterStmt": _AEL,
    "RefreshMatViewStmt": _AEL,
    "ReindexStmt": LockMode.SHARE,
    "VacuumStmt": _SUE,
    "InsertStmt": LockMode.ROW_EXCLUSIVE,
    "UpdateStmt": LockMode.ROW_EXCLUSIVE,
    "DeleteStmt": LockMode.ROW_EXCLUSIVE,
    "MergeStmt": LockMode.ROW_EXCLUSIVE,
    "RenameStmt": _AEL,
    "AlterObjectSchemaStmt": _AEL,
    "DropStmt": _AEL,
    "AlterSeqStmt": _SRE,
    "GrantStmt": LockMode.ACCESS_SHARE,
    "CreatePublicationStmt": _SUE,
    "AlterPublicationStmt": _SUE,
}
"""What a command takes on the relation it names, without CONCURRENTLY."""

CONCURRENTLY: dict[str, LockMode] = {
    "IndexStmt": _SUE,
    "DropStmt": _SUE,
    "ReindexStmt": _SUE,
    "RefreshMatViewStmt": LockMode.EXCLUSIVE,
    "DetachPartition": _SUE,
}
"""The same with CONCURRENTLY."""
