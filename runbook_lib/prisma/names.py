"""Names as PostgreSQL writes them: qualified and quoted, so that they match the catalogue's.

`public."User"` is a table, `public."User".email` its column or constraint,
`public."User_email_key"` an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pglast import ast
from pglast.keywords import COL_NAME_KEYWORDS, RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')
_KEYWORDS = (
    frozenset(COL_NAME_KEYWORDS) | frozenset(RESERVED_KEYWORDS) | frozenset(TYPE_FUNC_NAME_KEYWORDS)
)
_LONGEST = 63


@lru_cache(maxsize=65536)
def quote(name: str) -> str:
    """An identifier, quoted where PostgreSQL's `quote_ident` would."""
    if _PLAIN.match(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def join(*parts: str) -> str:
    """A qualified name from bare parts."""
    return ".".join(quote(part) for part in parts)


def parts(name: str) -> tuple[str, ...]:
    """The bare parts of a qualified name."""
    return tuple(
        quoted.replace('""', '"') if quoted or not plain else plain
        for quoted, plain in _PART.findall(name)
    )


def bare(name: str) -> str:
    """The last part, unquoted: `public."User"` → `User`."""
    return parts(name)[-1]


def short(name: str) -> str:
    """The name without the schema that goes without saying: `public."User".email` → `"User".email`.

    Another schema stays.
    """
    schema, *rest = parts(name)
    return join(*rest) if rest and schema == "public" else name


def schema_of(name: str) -> str:
    """The schema of a qualified name, unquoted."""
    return parts(name)[0]


def relation(node: ast.RangeVar, schema: str) -> str:
    """The qualified name of a relation in a statement; `schema` is where unqualified ones live."""
    return join(node.schemaname or schema, node.relname)


def listed(names: Any, schema: str) -> str:
    """Return the qualified name from String nodes, a TypeName, RangeVar or ObjectWithArgs."""
    if isinstance(names, ast.RangeVar):
        return relation(names, schema)
    if isinstance(names, ast.TypeName):
        names = names.names
    if isinstance(names, ast.ObjectWithArgs):
        names = names.objname
    if isinstance(names, ast.String):
        return join(names.sval)
    found = [item.sval for item in names or () if isinstance(item, ast.String)]
    return join(*(found if len(found) > 1 else [schema, *found]))


def generated(table: str, columns: Iterable[str], suffix: str) -> str:
    """The name that PostgreSQL gives an unnamed constraint or index.

    Table, columns, suffix, cut to 63 bytes.

    Where that name is taken PostgreSQL adds a number: this is the name it has when it is not.
    """
    first, second = bare(table).encode(), "_".join(columns).encode()
    one, two = len(first), len(second)
    while one + two + bool(second) + len(suffix) + 1 > _LONGEST:
        if one > two:
            one -= 1
        else:
            two -= 1
    kept = [
        first[:one].decode(errors="ignore"),
        second[:two].decode(errors="ignore"),
        suffix,
    ]  # whole characters only
    return "_".join(part for part in kept if part)
