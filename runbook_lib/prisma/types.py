"""Column types: how PostgreSQL writes them, and what changing one into another costs.

The catalogue's `format_type` is the common notation: `character varying(10)`, `timestamp(3) without
time zone`.
"""

from __future__ import annotations

import re
from enum import Enum

from pglast import ast
from pglast.visitors import Visitor

from runbook_lib.prisma.names import join

_LONG = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "varchar": "character varying",
    "bpchar": "character",
    "varbit": "bit varying",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}
SERIALS = {
    "smallserial": "smallint",
    "serial2": "smallint",
    "serial": "integer",
    "serial4": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
}
_FORM = re.compile(
    r"(?P<base>.*?)(?:\((?P<mods>[-\d, ]+)\))?(?P<zone> with(?:out)? time "
    r"zone)?(?P<array>(?:\[\])*)\Z"
)
NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_LENGTHS = ("character varying", "bit varying")
_PRECISIONS = (
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "time with time zone",
    "interval",
)
_SAME_BYTES = {("character varying", "text"), ("text", "character varying"), ("cidr", "inet")}
_WIDER = {
    ("date", "timestamp without time zone"),
    ("date", "timestamp with time zone"),
    ("json", "jsonb"),
    ("character", "text"),
    ("character", "character varying"),
    ("timestamp without time zone", "timestamp with time zone"),
}
STABLE = frozenset(
    (
        "now",
        "transaction_timestamp",
        "statement_timestamp",
        "timezone",
        "date_trunc",
        "to_timestamp",
        "make_interval",
        "age",
        "lower",
        "upper",
        "concat",
        "concat_ws",
        "replace",
        "substr",
        "substring",
        "left",
        "right",
        "length",
        "md5",
        "round",
        "abs",
        "ceil",
        "floor",
        "greatest",
        "least",
        "coalesce",
        "to_json",
        "to_jsonb",
        "json_build_object",
        "jsonb_build_object",
        "json_build_array",
        "jsonb_build_array",
        "current_setting",
        "to_char",
        "trim",
        "btrim",
        "ltrim",
        "rtrim",
        "array_fill",
        "current_schema",
        "make_date",
        "string_to_array",
    )
)
"""Functions that give every row of one statement the same value for the same arguments."""


class Rewrite(Enum):
    """Whether a command writes the whole table anew."""

    NO = "no"
    YES = "yes"
    DEPENDS = "depends"


def of(node: ast.TypeName, schema: str) -> str:
    """A type in a statement, as the catalogue writes it; a serial as the integer it is."""
    names = [item.sval for item in node.names or ()]
    array = "[]" * len(node.arrayBounds or ())
    if len(names) == 1 and names[0] in SERIALS:
        return SERIALS[names[0]]
    if len(names) == 1 and names[0] not in _BUILT_IN:
        return join(schema, names[0]) + array
    if len(names) == 2 and names[0] != "pg_catalog":
        return join(*names) + array
    return (
        _built_in(
            names[-1],
            [
                item.val.ival
                for item in node.typmods or ()
                if isinstance(getattr(item, "val", None), ast.Integer)
            ],
        )
        + array
    )


def _built_in(name: str, mods: list[int]) -> str:
    base = _LONG.get(name, name)
    if name == "interval":  # the first modifier is the set of fields; all of them is 32767
        mods = mods[1:]
    if not mods or (name == "bpchar" and mods == [1]):
        return base + ("(1)" if name == "bpchar" and mods else "")
    head, zone, tail = base.partition(" with")
    return f"{head}({','.join(map(str, mods))}){zone}{tail}"


def split(text: str) -> tuple[str, tuple[int, ...]]:
    """A type without its modifiers, and the modifiers: `numeric(6,2)` → (`numeric`, (6, 2)).

    Arrays keep their brackets.
    """
    found = _FORM.match(text)
    assert found
    mods = tuple(int(part) for part in (found["mods"] or "").split(",") if part.strip())
    return f"{found['base']}{found['zone'] or ''}{found['array']}", mods


def rewrite(old: str | None, new: str) -> Rewrite:
    """Return whether changing a column's type rewrites the whole table.

    From `old` (None: not known) to `new`.
    """
    if old is None:
        return Rewrite.DEPENDS
    (before, had), (after, gets) = split(old), split(new)
    if {before, after} == {"timestamp without time zone", "timestamp with time zone"}:
        return (
            Rewrite.DEPENDS if not gets else Rewrite.YES
        )  # free where the session's TimeZone is UTC
    if before == after:
        return Rewrite.NO if _keeps(after, had, gets) else Rewrite.YES
    if (before, after) in _SAME_BYTES and not gets:
        return Rewrite.NO
    return Rewrite.YES if before in _BUILT_IN_LONG and after in _BUILT_IN_LONG else Rewrite.DEPENDS


def narrows(old: str | None, new: str) -> bool | None:
    """Whether the new type can refuse or cut values that the old one holds.

    None where that is not known.
    """
    if old is None:
        return None
    (before, had), (after, gets) = split(old), split(new)
    if before == after == "numeric" and had and gets:
        (digits, scale), (room, keeps) = (*had, 0)[:2], (*gets, 0)[:2]
        return keeps < scale or room - keeps < digits - scale
    if before == after:
        return not _keeps(after, had, gets) and (
            after not in ("character", "bit") or not had or not gets or gets < had
        )
    if (
        after in ("text", "character varying")
        and not gets
        or (before, after) in _WIDER
        and not gets
    ):
        return False
    if before in NUMBERS and after in NUMBERS:
        return (
            bool(gets)
            or NUMBERS.index(after) < NUMBERS.index(before)
            or before in ("bigint", "numeric")
            and after != "numeric"
        )
    return True


def _keeps(base: str, had: tuple[int, ...], gets: tuple[int, ...]) -> bool:
    """Whether each value of `base` with the old modifiers is the same value with the new ones."""
    if had == gets or not gets and base != "character":
        return True
    if base in _LENGTHS:
        return bool(had) and gets[0] >= had[0]
    if base in _PRECISIONS:
        return gets[0] >= (had[0] if had else 6)
    if base == "numeric" and had:
        return gets[0] >= had[0] and (gets[1:] or (0,)) == (had[1:] or (0,))
    return False


class _Calls(Visitor):
    """Collects the functions that an expression calls."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def visit_FuncCall(self, _ancestors: object, node: ast.FuncCall) -> None:
        self.names.add(node.funcname[-1].sval)


def calls(expression: ast.Node | None) -> frozenset[str]:
    """The names of the functions that an expression calls."""
    if expression is None:
        return frozenset()
    visitor = _Calls()
    visitor(expression)
    return frozenset(visitor.names)


def volatile(expression: ast.Node | None) -> frozenset[str]:
    """The functions in an expression that are not known to give every row the same value."""
    return calls(expression) - STABLE


_BUILT_IN_LONG = frozenset(
    (
        *_LONG.values(),
        "text",
        "numeric",
        "date",
        "interval",
        "json",
        "jsonb",
        "uuid",
        "bytea",
        "inet",
        "cidr",
        "macaddr",
        "money",
        "bit",
        "xml",
        "oid",
        "name",
        "point",
        "tsvector",
        "tsquery",
    )
)
_BUILT_IN = frozenset((*_LONG, *_BUILT_IN_LONG, "char"))
