"""What stands in a block of PL/pgSQL.

Its statements and expressions, the errors it catches, and what its course depends on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pglast import ast
from pglast.parser import ParseError, parse_plpgsql_json, parse_sql
from pglast.visitors import Visitor

from runbook_lib.prisma import types

_PLACE = re.compile(r"%(?:\d+\$)?-?\d*([IsL%])")
"""Where `format()` fills something in."""
_FILLED = {"I": "x", "s": "x", "L": "'x'", "%": "%"}
_QUOTING = {"quote_ident": "x", "quote_literal": "'x'", "quote_nullable": "'x'"}
_PUT_TOGETHER = ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors")
_ASSIGNED = re.compile(r"[^:=]*:?=")


_ROWS = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
_DEFINES = (ast.CreateFunctionStmt, ast.ViewStmt, ast.CreateTrigStmt, ast.CreatePolicyStmt)
"""Statements that name functions without calling them."""
_OF_CATALOGUE = frozenset(
    (
        "duplicate_object",
        "duplicate_table",
        "duplicate_column",
        "duplicate_schema",
        "duplicate_function",
        "undefined_object",
        "undefined_table",
        "undefined_column",
        "undefined_function",
        "invalid_schema_name",
        "wrong_object_type",
        "dependent_objects_still_exist",
        "invalid_table_definition",
        "invalid_object_definition",
        "insufficient_privilege",
        "feature_not_supported",
    )
)
"""Conditions that the catalogue alone raises."""


class _Query(Visitor):
    """Collects what a query reads."""

    def __init__(self) -> None:
        super().__init__()
        self._read: list[ast.RangeVar] = []
        self._named: set[str] = set()
        self.clock = False

    def visit_CommonTableExpr(self, _ancestors: object, node: ast.CommonTableExpr) -> None:
        self._named.add(node.ctename)

    def visit_RangeVar(self, _ancestors: object, node: ast.RangeVar) -> None:
        self._read.append(node)

    def visit_SQLValueFunction(self, _ancestors: object, node: ast.SQLValueFunction) -> None:
        self.clock |= "TIME" in node.op.name or "DATE" in node.op.name

    def tables(self) -> set[str]:
        """The tables that it reads, but for PostgreSQL's own."""
        return {
            one.relname or ""
            for one in self._read
            if one.schemaname not in ("pg_catalog", "information_schema")
            and (one.schemaname or not self._own(one.relname))
        }

    def _own(self, name: str) -> bool:
        return name in self._named or name.startswith("pg_")


@dataclass(frozen=True)
class Inner:
    """One statement or expression of a block.

    Args:
        text: as SQL; of an expression, the SELECT of it.
        node: parsed; None where it is not known before the block runs.
        exact: whether all of it stands in the block: else names in it are `x`, for they are filled
            in when it runs.
        runs: whether it is a statement, and no expression.
        discarded: whether nothing looks at its result: PERFORM.
    """

    text: str = field(repr=False)
    node: ast.Node | None
    exact: bool = True
    runs: bool = True
    discarded: bool = False


@dataclass(frozen=True)
class Block:
    """A block of PL/pgSQL.

    Args:
        inner: its statements and expressions, in order.
        caught: the conditions that its handlers catch.
        counts: whether it asks how many rows a statement touched.
    """

    inner: tuple[Inner, ...]
    caught: frozenset[str]
    counts: bool

    def course(self, harmless: frozenset[str], catalogue: frozenset[str]) -> str:
        """Return what but the catalogue decides which of its statements run, or what they are.

        Empty if nothing does.

        Args:
            harmless: functions that do nothing to other objects.
            catalogue: those of them whose results follow from the catalogue and their arguments.
        """
        if self.counts:
            return "how many rows a statement touches"
        return next(filter(None, (_decides(one, harmless, catalogue) for one in self.inner)), "")

    @property
    def catches_data(self) -> frozenset[str]:
        """The conditions that it catches and that rows may raise."""
        return self.caught - _OF_CATALOGUE


def _decides(one: Inner, harmless: frozenset[str], catalogue: frozenset[str]) -> str:
    """Return what of a statement or expression makes the block's course, beside the catalogue."""
    if one.node is None or not one.exact and isinstance(one.node, _ROWS):
        return "SQL that is put together when it runs"
    if isinstance(one.node, _DEFINES):
        return ""
    looked_at = isinstance(one.node, ast.SelectStmt) and not one.discarded
    strange = sorted(types.calls(one.node) - (catalogue if looked_at else harmless))
    if strange:
        return f"what {', '.join(strange)}() says"
    query = _Query()
    query(one.node)
    if looked_at and query.clock:
        return "the time"
    tables = sorted(query.tables()) if looked_at else []
    return f"the rows of {', '.join(tables)}" if tables else ""


def read(sql: str) -> Block | None:
    """Return what stands in a DO block or in the body of a CREATE FUNCTION.

    None if it cannot be read.
    """
    try:
        code = json.loads(parse_plpgsql_json(sql))
        options = {option.defname: option.arg for option in _options(parse_sql(sql)[0].stmt)}
    except (ParseError, ValueError):
        return None
    if getattr(options.get("language"), "sval", "plpgsql") != "plpgsql":
        return None
    inner = tuple(_inner(code))
    caught = frozenset(found["condname"] for found in _all(code, "PLpgSQL_condition"))
    found_used = any(re.search(r"\bfound\b", one.text, re.IGNORECASE) for one in inner)
    return Block(inner, caught, found_used or any(_all(code, "PLpgSQL_stmt_getdiag")))


def _options(node: ast.CreateFunctionStmt | ast.DoStmt) -> tuple[ast.DefElem, ...]:
    return (node.args if isinstance(node, ast.DoStmt) else node.options) or ()


def _all(code: Any, key: str) -> Iterator[Any]:
    """Yield every value of a key, at any depth."""
    if isinstance(code, list):
        for item in code:
            yield from _all(item, key)
    elif isinstance(code, dict):
        for name, value in code.items():
            if name == key:
                yield value
            yield from _all(value, key)


def _inner(code: Any) -> Iterator[Inner]:
    if isinstance(code, list):
        for item in code:
            yield from _inner(item)
    elif isinstance(code, dict):
        for key, value in code.items():
            if key == "PLpgSQL_expr":
                yield from _expression(value["query"], value.get("parseMode", 0))
            elif key in _PUT_TOGETHER or isinstance(value, dict) and "dynquery" in value:
                yield from _put_together(value)
            elif key == "PLpgSQL_stmt_perform":
                yield from (replace(one, discarded=True) for one in _inner(value))
            else:
                yield from _inner(value)


def _expression(text: str, mode: int) -> Iterator[Inner]:
    """A statement (mode 0), an expression (2), or an assignment (3 and more)."""
    if mode:
        text = f"SELECT {_ASSIGNED.sub('', text, count=1) if mode > 2 else text}"
    nodes = _parsed(text)
    if nodes is None:
        yield Inner(text, None, runs=not mode)
    for node in nodes or ():
        yield Inner(text, node, runs=not mode)


def _put_together(value: dict[str, Any]) -> Iterator[Inner]:
    """EXECUTE and its kin: the text that is run, as far as the block says it."""
    rest = dict(value)
    expression = (rest.pop("query", None) or rest.pop("dynquery"))["PLpgSQL_expr"]["query"]
    yield from _expression(expression, 2)
    yield from _inner(rest)
    whole = _parsed(f"SELECT {expression}")
    select: Any = whole[0] if whole else None
    text, exact = _text(select.targetList[0].val) if select else (None, False)
    nodes = _parsed(text) if text is not None else None
    if not nodes:
        yield Inner(f"EXECUTE {expression}", None, exact=False)
    for node in nodes or ():
        yield Inner(text or "", node, exact)


def _text(node: ast.Node) -> tuple[str | None, bool]:
    """Return the text that an expression makes, and whether all of it is constant.

    None if that cannot be told.
    """
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.String):
        return node.val.sval, True
    if isinstance(node, ast.TypeCast):
        return _text(node.arg)
    if isinstance(node, ast.FuncCall) and node.funcname[-1].sval == "format" and node.args:
        text, exact = _text(node.args[0])
        filled = text and _PLACE.sub(lambda found: _FILLED[found[1]], text)
        return filled, exact and len(node.args) == 1
    if isinstance(node, ast.A_Expr) and [name.sval for name in node.name] == ["||"]:
        parts = [_text(side)[0] or _part(side) for side in (node.lexpr, node.rexpr)]
        constant = all(_text(side)[1] for side in (node.lexpr, node.rexpr))
        known = any(_text(side)[0] for side in (node.lexpr, node.rexpr))
        return ("".join(parts), constant) if known else (None, False)
    return None, False


def _part(node: ast.Node) -> str:
    """Return what stands for a part that is filled in when the block runs."""
    name = node.funcname[-1].sval if isinstance(node, ast.FuncCall) else ""
    return _QUOTING.get(name, "x")


def _parsed(text: str) -> list[ast.Node] | None:
    try:
        return [raw.stmt for raw in parse_sql(text) if raw.stmt is not None]
    except ParseError:
        return None
