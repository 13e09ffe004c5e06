"""From what each statement does to what there is to know about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast
from pglast.visitors import Visitor

from runbook_lib.prisma import indexes
from runbook_lib.prisma.analysis import effect
from runbook_lib.prisma.effect import Change, Effect, Remark, seen
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.names import listed, short
from runbook_lib.prisma.rules import Finding, Sizes, finding
from runbook_lib.prisma.safer import deparsed
from runbook_lib.prisma.statements import BYTE_ORDER_MARK, Parsed, split
from runbook_lib.prisma.transactions import TransactionRule, groups


@dataclass(frozen=True)
class Statement:
    """One statement of one file, and what it does.

    Args:
        file: the migration's name.
        parsed: its place and text.
        effect: what it does.
    """

    file: str
    parsed: Parsed
    effect: Effect

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.parsed.line}"

    @property
    def harmless(self) -> bool:
        """Whether it locks nothing but what the migration itself makes."""
        return bool(self.effect.locks) and all(lock.new for lock in self.effect.locks)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files; without the SQL, which may hold rows."""
        return {
            "file": self.file,
            "line": self.parsed.line,
            "statement": self.parsed.number,
            **self.effect.as_dict(),
        }


Observed = Mapping[tuple[str, int], tuple[Change, ...]]
"""File and number of a statement that was watched → what it changed in the catalogue; under `WHOLE`
what the file did.
"""
WHOLE = 0


def statements(
    file: MigrationFile, known: Known, observed: Observed | None = None
) -> tuple[Statement, ...]:
    """The statements of a file and what each does; `known` learns it."""
    known.schema = known.default_schema  # a search_path that a file sets ends with it
    found = [Statement(file.name, parsed, _effect(parsed, known)) for parsed in split(file.sql)]
    watched = {
        number: changes for (name, number), changes in (observed or {}).items() if name == file.name
    }
    return tuple(
        replace(one, effect=seen(one.effect, watched[one.parsed.number]))
        if one.parsed.number in watched
        else one
        for one in found
    )


def _effect(parsed: Parsed, known: Known) -> Effect:
    if parsed.node is not None:
        return effect(parsed.node, parsed.sql, known)
    refused = "PostgreSQL's parser refuses it"
    remarks = (
        Remark("syntax-error", "", "", False, {"error": parsed.error}),
        Remark("not-understood", "", "", False, {"because": refused}),
    )
    return Effect("–", remarks=remarks, unclear=refused, unseen=refused)


def findings(
    file: MigrationFile,
    found: Sequence[Statement],
    known: Known,
    sizes: Sizes,
    rule: TransactionRule,
    index_use: Sizes,
) -> tuple[Finding, ...]:
    """What there is to know about a file, in the order of its lines.

    `known` still knows former names.
    """
    said: dict[tuple[int, str, str], Finding | None] = {}
    remarks = [(statement, remark) for statement in found for remark in statement.effect.remarks]
    for statement, remark in (*_whole(file, found), *_together(found, rule), *remarks):
        line, number = (
            (statement.parsed.error_line or statement.parsed.line, statement.parsed.number)
            if statement
            else (1, 0)
        )
        for each in _told(remark, known, index_use):
            key = (
                (0, each.rule, str(each.values["object"]))  # whichever statement comes first
                if "object" in each.values
                else (number, each.rule, each.relation + str(each.values))
            )
            if key not in said:
                said[key] = finding(
                    each, file.name, line, number, sizes, known.original(each.relation)
                )
    return tuple(
        sorted(
            (item for item in _graver(said) if item),
            key=lambda item: (item.line, item.statement, item.severity.rank),
        )
    )


def _told(remark: Remark, known: Known, index_use: Sizes) -> Iterable[Remark]:
    """What is to be said instead of a remark, now that all of its file is known."""
    if remark.rule == "index-dropped":
        return indexes.told(remark, known, index_use.get(remark.values["index"]))
    if "object" in remark.values and known.there(*remark.values["object"]):
        if remark.rule == "object-dropped":
            return ()  # another has its place
        if remark.rule == "client-breaks":
            return (replace(remark, rule="client-sees-another"),)
    return (remark,)


def _graver(said: dict[tuple[int, str, str], Finding | None]) -> list[Finding]:
    """A statement that holds a table for long needs not be said to need it for a moment."""
    long = {
        (item.statement, item.relation)
        for item in said.values()
        if item
        and item.rule
        in (
            "table-rewrite",
            "table-may-be-rewritten",
            "scan-under-exclusive-lock",
            "constraint-blocks-writes",
            "rows-removed",
            "refresh-blocks-reads",
        )
    }
    brief = ("brief-exclusive-lock", "brief-write-block")
    kept, seen = [], set()
    idle = {
        item.statement
        for item in said.values()
        if item and item.rule == "set-local-without-transaction"
    }
    for item in said.values():
        if item is None or item.rule == "timeout-overridden" and item.statement in idle:
            continue
        if item.rule in brief and (
            (item.statement, item.relation) in long or (item.statement, item.relation) in seen
        ):
            continue  # said in stronger words, or said already
        if item.rule in brief:
            seen.add((item.statement, item.relation))
        kept.append(item)
    return kept


def _whole(
    file: MigrationFile, found: Sequence[Statement]
) -> list[tuple[Statement | None, Remark]]:
    """What is to be said of the file itself."""
    result: list[tuple[Statement | None, Remark]] = []
    if file.problem:
        result.append(
            (None, Remark("syntax-error", "", "save it as UTF-8", False, {"error": file.problem}))
        )
    elif file.sql.startswith(BYTE_ORDER_MARK):
        result.append((None, Remark("byte-order-mark", "", "", False, {})))
    if not found and not file.problem:
        result.append(
            (None, Remark("nothing-to-do", "", "", False, {"what": "the file holds no statement"}))
        )
    return result


def _together(
    found: Sequence[Statement], rule: TransactionRule
) -> list[tuple[Statement | None, Remark]]:
    """What follows from statements sharing a transaction.

    What cannot, and enum values that are used too early.
    """
    result: list[tuple[Statement | None, Remark]] = []
    numbers = groups([statement.effect for statement in found], rule)
    shared = {number for number in numbers if numbers.count(number) > 1}
    for statement, number in zip(found, numbers, strict=True):
        alone = statement.effect.alone
        if alone and number in shared:
            result.append(
                (statement, Remark("cannot-run-in-transaction", "", "", False, {"what": alone}))
            )
        elif alone and len(found) > 1 and rule is TransactionRule.EACH_IF_PARSED:
            result.append(
                (statement, Remark("may-run-in-transaction", "", "", False, {"what": alone}))
            )
        if (
            isinstance(statement.parsed.node, ast.VariableSetStmt)
            and statement.parsed.node.is_local
            and number not in shared
        ):
            result.append(
                (
                    statement,
                    Remark(
                        "set-local-without-transaction",
                        "",
                        "",
                        False,
                        {"what": deparsed(statement.parsed.node)},
                    ),
                )
            )
    return result + _early(found, numbers)


class _Strings(Visitor):
    """Collects the string constants of a statement."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def visit_A_Const(self, _ancestors: object, node: ast.A_Const) -> None:
        if isinstance(node.val, ast.String):
            self.found.add(node.val.sval or "")


def _early(
    found: Sequence[Statement], numbers: Sequence[int]
) -> list[tuple[Statement | None, Remark]]:
    """Enum values used in the transaction that adds them to a type that was there before."""
    result: list[tuple[Statement | None, Remark]] = []
    made: set[tuple[int, str]] = set()
    added: dict[tuple[int, str], str] = {}
    for statement, number in zip(found, numbers, strict=True):
        node = statement.parsed.node
        if isinstance(node, ast.CreateEnumStmt):
            made.add((number, listed(node.typeName, "")))
        elif isinstance(node, ast.AlterEnumStmt) and not node.oldVal:
            name = listed(node.typeName, "")
            if (number, name) not in made:
                added[number, node.newVal or ""] = name
        elif node is not None and added:
            strings = _Strings()
            strings(node)
            result += [
                (
                    statement,
                    Remark(
                        "enum-value-used-too-early",
                        "",
                        "",
                        False,
                        {"name": f"{value} of {short(added[number, value])}"},
                    ),
                )
                for value in sorted(strings.found)
                if (number, value) in added
            ]
    return result
