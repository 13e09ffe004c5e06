"""What follows when an index goes.

Whether another serves the same queries, and whether its columns stay unique.

told(remark, known, use)    what is to be said instead of a remark that an index is dropped
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.prisma.effect import Remark
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.names import short
from runbook_lib.prisma.rules import use_said

_NAME = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_PLAIN = re.compile(
    rf"CREATE (UNIQUE )?INDEX .+ USING btree \(({_NAME}(?:, {_NAME})*)\)", re.DOTALL
)
"""All of a definition: with an expression, a condition, an operator class or an order it is not
plain.
"""


@dataclass(frozen=True)
class Plain:
    """A btree index on columns and nothing else."""

    columns: tuple[str, ...]
    unique: bool


def plain(definition: str) -> Plain | None:
    """Return what a definition says; None where it says more than that."""
    found = _PLAIN.fullmatch(definition)
    return Plain(tuple(re.findall(_NAME, found[2])), bool(found[1])) if found else None


def told(remark: Remark, known: Known, use: Mapping[str, Any] | None) -> Iterator[Remark]:
    """Yield what is to be said of a dropped index once all of its file is known.

    Nothing where its columns go, too.
    """
    values = {**remark.values, "use": use_said(use)}
    gone, table = plain(remark.values["definition"]), remark.relation
    if gone and known.complete and any(known.column(table, one) is None for one in gone.columns):
        return
    others = dict(_others(known, table))
    serving = gone and next((name for name, one in others.items() if _serves(one, gone)), None)
    yield (
        replace(
            remark,
            rule="index-replaced",
            values={
                **values,
                "by": short(serving) if serving != values["index"] else "the new one",
            },
        )
        if serving
        else replace(remark, values=values)
    )
    if gone and gone.unique and not any(_keeps_unique(one, gone) for one in others.values()):
        what = ", ".join(gone.columns)
        yield replace(remark, rule="uniqueness-dropped", safer="", values={"columns": what})


def _others(known: Known, table: str) -> Iterator[tuple[str, Plain]]:
    for name in known.indexes_of(table):
        properties = known.indexes.get(name) or {}
        found = plain(properties.get("definition", ""))
        if found and properties.get("valid") is not False:
            yield name, found


def _serves(one: Plain, gone: Plain) -> bool:
    return one.columns[: len(gone.columns)] == gone.columns


def _keeps_unique(one: Plain, gone: Plain) -> bool:
    return one.unique and set(one.columns) <= set(gone.columns)
