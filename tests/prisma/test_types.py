"""What changing a column's type costs; the cases that rewrite are run on a real server in
test_locks.
"""

from __future__ import annotations

import pytest
from pglast.parser import parse_sql

from runbook_lib.prisma import types
from runbook_lib.prisma.types import Rewrite


@pytest.mark.parametrize(
    "written, catalogue",
    [
        ("int", "integer"),
        ("varchar(10)", "character varying(10)"),
        ("timestamp(3)", "timestamp(3) without time zone"),
        ("timestamptz", "timestamp with time zone"),
        ("decimal(65,30)", "numeric(65,30)"),
        ("text[]", "text[]"),
        ('"Role"', 'public."Role"'),
        ("char", "character(1)"),
        ("bigserial", "bigint"),
        ("double precision", "double precision"),
        ('x."R"[]', 'x."R"[]'),
        ("interval(3)", "interval(3)"),
    ],
)
def test_types_are_written_as_the_catalogue_writes_them(written: str, catalogue: str) -> None:
    column = parse_sql(f"CREATE TABLE t (c {written})")[0].stmt.tableElts[0]
    assert types.of(column.typeName, "public") == catalogue


@pytest.mark.parametrize(
    "old, new, rewrite, narrows",
    [
        ("character varying(10)", "character varying(20)", Rewrite.NO, False),
        ("character varying(10)", "text", Rewrite.NO, False),
        ("character varying(10)", "character varying(5)", Rewrite.YES, True),
        ("text", "character varying", Rewrite.NO, False),
        ("text", "character varying(50)", Rewrite.YES, True),
        ("integer", "bigint", Rewrite.YES, False),
        ("bigint", "integer", Rewrite.YES, True),
        ("numeric(6,2)", "numeric(8,2)", Rewrite.NO, False),
        ("numeric(6,2)", "numeric(7,3)", Rewrite.YES, False),
        ("numeric(6,2)", "numeric(6,3)", Rewrite.YES, True),
        ("numeric(6,2)", "numeric", Rewrite.NO, False),
        ("numeric", "numeric(6,2)", Rewrite.YES, True),
        ("timestamp(3) without time zone", "timestamp(6) without time zone", Rewrite.NO, False),
        ("timestamp(3) without time zone", "timestamp(0) without time zone", Rewrite.YES, True),
        ("timestamp without time zone", "timestamp with time zone", Rewrite.DEPENDS, False),
        ("text", "integer", Rewrite.YES, True),
        ('public."A"', 'public."B"', Rewrite.DEPENDS, True),
        (None, "text", Rewrite.DEPENDS, None),
        ("double precision", "integer", Rewrite.YES, True),
        ("character(5)", "character(7)", Rewrite.YES, False),
        ("integer", "text", Rewrite.YES, False),
    ],
)
def test_changing_a_type_rewrites_and_narrows_as_postgresql_does(
    old: str | None, new: str, rewrite: Rewrite, narrows: bool | None
) -> None:
    assert types.rewrite(old, new) is rewrite and types.narrows(old, new) is narrows
