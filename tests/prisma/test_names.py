"""Names are written as the server's catalogue writes them."""

from __future__ import annotations

import pytest

from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import names

STRANGE = (
    "user",
    "User",
    "a b",
    'q"x',
    "select",
    "id",
    "_x1",
    "x$",
    "1st",
    "name",
    "between",
    "ümlaut",
    "table",
    "value",
)


def test_identifiers_are_quoted_as_the_server_quotes_them(database: str) -> None:
    with Database(Target.parse(database)) as db:
        for name in STRANGE:
            assert names.quote(name) == db.value("SELECT quote_ident(%s)", [name])
            assert names.parts(names.join("public", name)) == ("public", name)


@pytest.mark.parametrize(
    "table, columns, suffix",
    [
        ("a", ["b"], "key"),
        ("T" * 40, ["c" * 40, "d"], "idx"),
        ("t" * 63, ["c"], "key"),
        ("t", ["c" * 63], "key"),
        ("T" * 63, [], "pkey"),
        ("ümläut" * 8, ["straße" * 5], "key"),
    ],
)
def test_generated_names_are_those_that_the_server_gives(
    database: str, table: str, columns: list[str], suffix: str
) -> None:
    quoted = ", ".join(f"{names.quote(column)} int" for column in columns or ["id"])
    keys = ", ".join(names.quote(column) for column in columns or ["id"])
    with Database(Target.parse(database)) as db:
        db.execute(f"CREATE TABLE {names.quote(table)} ({quoted})")
        made = {
            "key": f"ALTER TABLE {names.quote(table)} ADD UNIQUE ({keys})",
            "idx": f"CREATE INDEX ON {names.quote(table)} ({keys})",
            "pkey": f"ALTER TABLE {names.quote(table)} ADD PRIMARY KEY ({keys})",
        }
        db.execute(made[suffix])
        given = db.value(
            "SELECT relname FROM pg_class WHERE relkind = 'i' "
            "AND relnamespace = 'public'::regnamespace"
        )
    assert names.generated(names.join("public", table), columns, suffix) == given
