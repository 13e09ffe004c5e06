"""What the files declare, against the difference that a real server's catalogues show."""

from __future__ import annotations

import pytest
from pglast.parser import parse_sql

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, sql
from runbook_lib.prisma.analysis import effect
from runbook_lib.prisma.declared import declared
from runbook_lib.prisma.known import Known
from tests.prisma.test_locks import STATEMENTS, admin, db, objects  # noqa: F401  fixtures

CHANGES = [
    statement
    for statement in STATEMENTS
    if statement.startswith(("ALTER", "CREATE", "DROP", "COMMENT", "GRANT", "REVOKE"))
]


@pytest.fixture(scope="module")
def any_server(server: Server) -> Server:
    """The newest is enough here."""
    return server


@pytest.mark.parametrize("statement", CHANGES)
def test_every_change_of_the_catalogue_is_declared(
    db: Database,  # noqa: F811 - a fixture
    objects: dict,  # noqa: F811 - a fixture
    statement: str,
) -> None:
    said = declared([("file:1", effect(parse_sql(statement)[0].stmt, statement, Known(objects)))])
    with db.connection.transaction(force_rollback=True):
        before = catalog.read(db)
        db.execute(sql.SQL(statement))  # type: ignore[arg-type]
        changes = catalog.difference(before, catalog.read(db)).changes
    undeclared = [
        str(change)
        for change in changes
        if not said.covers(change.kind, change.name, change.action, change.before, change.after)
    ]
    assert said.unclear or undeclared == []


def test_a_column_that_is_dropped_and_added_again_may_stand_elsewhere_and_no_other_may() -> None:
    statement = 'ALTER TABLE "Patient" DROP COLUMN name, ADD COLUMN name text'
    said = declared([("file:1", effect(parse_sql(statement)[0].stmt, statement, Known(None)))])
    assert said.covers(
        "table", 'public."Patient"', "changed", ["id", "name", "born"], ["id", "born", "name"]
    )
    assert not said.covers(
        "table", 'public."Patient"', "changed", ["id", "name", "born"], ["born", "id", "name"]
    )
