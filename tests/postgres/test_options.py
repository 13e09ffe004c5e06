"""What a server keeps for itself is not the schema: options that nobody can declare are in no
comparison, and are named.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import catalog, options
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.scratch import scratch

TABLES = """
CREATE TABLE visit (id serial PRIMARY KEY, note text, at date) WITH (fillfactor = 70,
    toast.autovacuum_enabled = off);
ALTER TABLE visit ALTER note SET (n_distinct = 5);
CREATE INDEX by_note ON visit (note) WITH (fillfactor = 60, deduplicate_items = off);
CREATE INDEX by_date ON visit (at);
CREATE INDEX brin_date ON visit USING brin (at) WITH (pages_per_range = 8, autosummarize = on);
CREATE INDEX gin_note ON visit USING gin (to_tsvector('english', note)) WITH (fastupdate = off,
    gin_pending_list_limit = 100);
CREATE VIEW notes WITH (security_barrier) AS SELECT note FROM visit;
CREATE MATERIALIZED VIEW kept WITH (fillfactor = 80) AS SELECT note FROM visit;
"""
KEEPS = {
    "column": "UPDATE pg_attribute SET attoptions = array_append(attoptions, {}) "
    "WHERE attrelid = 'visit'::regclass AND attname = 'note'",
    "table": "UPDATE pg_class SET reloptions = array_append(reloptions, {}) "
    "WHERE oid = 'visit'::regclass",
    "view": "UPDATE pg_class SET reloptions = array_append(reloptions, {}) "
    "WHERE oid = 'notes'::regclass",
    "materialized view": "UPDATE pg_class SET reloptions = array_append(reloptions, {}) "
    "WHERE oid = 'kept'::regclass",
    "index": "UPDATE pg_class SET reloptions = array_prepend({}, reloptions) "
    "WHERE oid IN ('by_note'::regclass, 'by_date'::regclass)",
}


@pytest.fixture(scope="module")
def db(any_server: Server) -> Iterator[Database]:
    with (
        scratch(Target.parse(any_server.url()), "options", "runbook/test") as target,
        Database(target) as db,
    ):
        db.execute(TABLES)
        yield db


def test_every_documented_option_is_known(db: Database) -> None:
    assert catalog.read(db).unknown_options == {}


def test_options_that_a_person_declares_are_compared(db: Database) -> None:
    objects = catalog.read(db).objects
    assert objects["table"]["public.visit"]["options"] == [
        "fillfactor=70",
        "toast.autovacuum_enabled=off",
    ]
    assert objects["column"]["public.visit.note"]["options"] == ["n_distinct=5"]
    assert "options" not in objects["column"]["public.visit.at"]
    assert "fillfactor" in objects["index"]["public.by_note"]["definition"]


@pytest.mark.parametrize("kind", KEEPS)
@pytest.mark.parametrize("option", ["pg_next=26495256", "later='it''s'", 'Odd Name=a"b'])
def test_an_option_that_nobody_knows_is_named_and_in_no_comparison(
    db: Database, kind: str, option: str
) -> None:
    before = catalog.read(db)
    with db.connection.transaction(force_rollback=True):
        db.execute(KEEPS[kind].format("'" + option.replace("'", "''") + "'"))
        after = catalog.read(db)
    assert catalog.difference(before, after).empty
    assert {tuple(found) for found in after.unknown_options.values()} == {
        (option.partition("=")[0],)
    }
    assert all(name.startswith(f"{kind} public.") for name in after.unknown_options)


@pytest.mark.parametrize("kind", KEEPS)
def test_what_servers_are_known_to_keep_is_nothing_to_ask_about(db: Database, kind: str) -> None:
    before = catalog.read(db)
    with db.connection.transaction(force_rollback=True):
        db.execute(KEEPS[kind].format("'pg_attver=7'"))
        after = catalog.read(db)
    assert catalog.difference(before, after).empty
    assert after.unknown_options == {}


def test_a_change_of_type_changes_nothing_but_the_type(db: Database) -> None:
    before = catalog.read(db)
    with db.connection.transaction(force_rollback=True):
        db.execute("ALTER TABLE visit ALTER at TYPE timestamp")
        changes = catalog.difference(before, catalog.read(db))
    assert [change.property for change in changes if change.kind == "column"] == ["type"]


def test_the_options_of_an_extensions_access_method_are_a_persons() -> None:
    assert options.split("index", ["m=16", "pg_next=1"], custom_access_method=True) == (
        ["m=16"],
        ["pg_next"],
    )
    assert options.split("index", ["m=16"]) == ([], ["m"])
