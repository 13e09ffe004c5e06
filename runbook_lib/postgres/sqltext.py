"""Texts of statements: without the values in them, for a constant can be a patient's name.

And whether one only reads.
"""

from __future__ import annotations

import re
from typing import Any

from pglast import ast
from pglast.parser import ParseError, parse_sql, scan
from pglast.visitors import Visitor

from runbook_lib.redact import HIDDEN

_CONSTANTS = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"})
_COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
_NOT_READING = (
    ast.IntoClause,
    ast.LockingClause,
    ast.ParamRef,
    ast.InsertStmt,
    ast.UpdateStmt,
    ast.DeleteStmt,
    ast.MergeStmt,
)
_PERHAPS = re.compile(r"['\\]|--|/\*|(?<!\$)\b\d|\$(?!\d)")
"""What a text with a constant or a comment in it has somewhere; only such a text is taken apart."""


def masked(text: str) -> str:
    """The SQL text on one line, without comments, with `?` for each constant.

    Hidden wholly where its words cannot be told apart.

    pg_stat_statements keeps constants in utility commands, and where it had forgotten a statement
    while it ran (PostgreSQL's documentation, F.32.1); EXPLAIN prints them in its conditions.

    Args:
        text: a statement, or an expression as EXPLAIN prints it.
    """
    if _PERHAPS.search(text):
        try:
            text = _replaced(text)
        except ParseError:
            return HIDDEN
    return " ".join(text.split())


def _replaced(text: str) -> str:
    pieces, place = [], 0
    for token in scan(text):
        if token.name in _CONSTANTS or token.name in _COMMENTS:
            pieces += [text[place : token.start], "?" if token.name in _CONSTANTS else " "]
            place = token.end + 1
    return "".join([*pieces, text[place:]])


class _Kinds(Visitor):
    """Whether a statement holds something that does more than read, or lacks a value."""

    found = False

    def visit(self, ancestors: Any, node: Any) -> None:
        self.found = self.found or isinstance(node, _NOT_READING)


def reads_only(text: str) -> bool:
    """Whether the text is one SELECT without INTO, FOR UPDATE, a WITH that writes, and $1.

    What its functions do is not looked into: that it changes nothing is seen to by a READ ONLY
    transaction.
    """
    try:
        statements = parse_sql(text)
    except ParseError:
        return False
    kinds = _Kinds()
    kinds(statements)
    return (
        len(statements) == 1 and isinstance(statements[0].stmt, ast.SelectStmt) and not kinds.found
    )
