"""What an older server does not have.

The first major version of PostgreSQL that knows a part of a statement.
"""

from __future__ import annotations

from pglast import ast
from pglast.enums import AlterTableType as AT
from pglast.enums import ConstrType as C
from pglast.enums import MergeMatchKind, PublicationObjSpecType
from pglast.visitors import Visitor


class _Newer(Visitor):
    """Collects what came after PostgreSQL 14, the oldest major version that is supported."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, int] = {}

    def visit_MergeStmt(self, _ancestors: object, node: ast.MergeStmt) -> None:
        self.found["MERGE"] = 15
        if any(
            clause.matchKind == MergeMatchKind.MERGE_WHEN_NOT_MATCHED_BY_SOURCE
            for clause in node.mergeWhenClauses
        ):
            self.found["NOT MATCHED BY SOURCE"] = 17

    def visit_IndexStmt(self, _ancestors: object, node: ast.IndexStmt) -> None:
        self._if(node.nulls_not_distinct, "NULLS NOT DISTINCT", 15)

    def visit_Constraint(self, _ancestors: object, node: ast.Constraint) -> None:
        self._if(node.nulls_not_distinct, "NULLS NOT DISTINCT", 15)
        self._if(node.fk_del_set_cols, "ON DELETE SET of some columns", 15)
        self._if(
            node.contype == C.CONSTR_NOTNULL and node.keys,
            "a NOT NULL constraint with a name or NOT VALID",
            18,
        )
        self._if(
            node.contype in (C.CONSTR_CHECK, C.CONSTR_FOREIGN) and not node.is_enforced,
            "NOT ENFORCED",
            18,
        )
        self._if(
            node.contype == C.CONSTR_GENERATED and node.generated_kind == "v",
            "a VIRTUAL column",
            18,
        )
        self._if(node.without_overlaps or node.fk_with_period, "a constraint on periods", 18)

    def visit_AlterTableCmd(self, _ancestors: object, node: ast.AlterTableCmd) -> None:
        self._if(node.subtype == AT.AT_SetAccessMethod, "SET ACCESS METHOD", 15)
        self._if(node.subtype == AT.AT_SetExpression, "SET EXPRESSION", 17)
        self._if(
            node.subtype == AT.AT_AlterConstraint and node.def_.alterEnforceability,
            "NOT ENFORCED",
            18,
        )

    def visit_ColumnDef(self, _ancestors: object, node: ast.ColumnDef) -> None:
        self._if(node.storage_name, "STORAGE of a new column", 16)

    def visit_ViewStmt(self, _ancestors: object, node: ast.ViewStmt) -> None:
        self._if(
            any(option.defname == "security_invoker" for option in node.options or ()),
            "security_invoker",
            15,
        )

    def visit_PublicationObjSpec(self, _ancestors: object, node: ast.PublicationObjSpec) -> None:
        table = node.pubtable
        self._if(
            node.pubobjtype != PublicationObjSpecType.PUBLICATIONOBJ_TABLE
            or table
            and (table.columns or table.whereClause),
            "a publication of a schema, of columns or of rows",
            15,
        )

    def _if(self, there: object, what: str, major: int) -> None:
        if there:
            self.found[what] = major


def newer(node: ast.Node, server_major: int) -> dict[str, int]:
    """What in a statement the server does not know, with the first major version that does."""
    visitor = _Newer()
    visitor(node)
    return {what: major for what, major in visitor.found.items() if major > server_major}
