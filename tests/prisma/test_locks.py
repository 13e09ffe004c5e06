"""The table of lock modes against what real servers of every supported major version do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from pglast.parser import parse_sql

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, Target, sql
from runbook_lib.prisma.analysis import effect
from runbook_lib.prisma.effect import Effect
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.locks import LockMode
from tests.prisma.ddl import HELD_UP, SCHEMA, STATEMENTS

SAID = re.compile(
    r'^(?:verifying|rewriting) table "(?P<table>\w+)"|^building index "(?!pg_toast)\w+" on table '
    r'"(?P<on>\w+)"|^validating foreign key constraint "(?P<key>\w+)"'
)
"""What a server tells at DEBUG1 of the tables that it reads from end to end."""
SILENT = ("UPDATE", "DO", "EXPLAIN", "ANALYZE", "ALTER DOMAIN")
"""Statements that read a table without telling."""


@pytest.fixture(scope="module")
def admin(any_server: Server) -> Iterator[Database]:
    with Database(Target.parse(any_server.url()), allow_in_place_tablespaces="on") as admin:
        admin.execute("CREATE TABLESPACE place LOCATION ''")
        for name in ("locks", "held"):
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
            )
        yield admin
        for name in ("locks", "held"):
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute("DROP TABLESPACE place")


@pytest.fixture(scope="module")
def db(admin: Database) -> Iterator[Database]:
    with Database(
        admin.target.named("locks"),
        lock_timeout="5s",
        client_min_messages="debug1",
        timezone="Europe/Berlin",
    ) as db:
        db.connection.execute(SCHEMA)
        yield db


@pytest.fixture(scope="module")
def major(db: Database) -> int:
    return db.connection.info.server_version // 10_000


@pytest.fixture(scope="module")
def objects(db: Database) -> dict:
    return dict(catalog.read(db).objects)


@pytest.fixture(scope="module")
def relations(db: Database) -> dict[int, str]:
    return named(db)


def named(db: Database) -> dict[int, str]:
    """The names of tables, views and indexes, by the numbers that pg_locks has."""
    rows = db.rows(
        "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p', 'm', 'v', 'i', 'I')"
    )
    return {row["oid"]: f"public.{row['relname']}" for row in rows}


def predicted(statement: str, objects: dict, major: int) -> Effect:
    return effect(parse_sql(statement)[0].stmt, statement, Known(objects, server_major=major))


class Observed:
    """What a server does for one statement, which is rolled back: the strongest lock on each
    relation, which of them have another file afterwards, which tables it read from end to end.
    """

    def __init__(self, db: Database, statement: str, relations: Mapping[int, str]) -> None:
        told: list[str] = []
        tell = lambda diagnostic: told.append(diagnostic.message_primary or "")  # noqa: E731
        before = files(db, relations)
        with db.connection.transaction(force_rollback=True):
            db.connection.add_notice_handler(tell)
            db.execute(sql.SQL(statement))  # type: ignore[arg-type]
            db.connection.remove_notice_handler(tell)
            self.locks = held(db, db.connection.info.backend_pid, relations)
            after = files(db, relations)
            keys = {
                row["name"]: row["on"]
                for row in db.rows(
                    'SELECT conname AS name, conrelid::regclass::text AS "on" FROM pg_constraint'
                )
            }
        self.new_files = {name for name in before if name in after and before[name] != after[name]}
        found = [match for match in map(SAID.match, told) if match]
        self.read = {
            f"public.{match['table'] or match['on'] or keys[match['key']]}" for match in found
        } & set(relations.values())


def held(db: Database, pid: int, relations: Mapping[int, str]) -> dict[str, LockMode]:
    """The strongest lock that a session has or waits for, on each relation."""
    found: dict[str, LockMode] = {}
    for row in db.rows(
        "SELECT relation, mode FROM pg_locks WHERE pid = %s AND relation = ANY (%s)",
        [pid, list(relations)],
    ):
        name, mode = relations[row["relation"]], mode_of(row["mode"])
        found[name] = max(mode, found.get(name, LockMode.NONE))
    return found


def files(db: Database, relations: Mapping[int, str]) -> dict[str, int]:
    """The file of each relation, by name: an index that is made anew for a column's new type is
    another relation of the same name.
    """
    rows = db.rows(
        "SELECT 'public.' || relname AS name, pg_relation_filenode(oid) AS file FROM pg_class"
        " WHERE relkind IN ('r', 'm', 'i') AND relnamespace = 'public'::regnamespace"
    )
    return {row["name"]: row["file"] for row in rows if row["name"] in relations.values()}


def mode_of(name: str) -> LockMode:
    return LockMode[re.sub("(?<!^)([A-Z])", r"_\1", name.removesuffix("Lock")).upper()]


def assert_locks(
    said: Effect,
    seen: Mapping[str, LockMode],
    relations: Mapping[int, str],
    objects: Mapping[str, Mapping],
) -> None:
    """Locks on tables and views are foretold, all and only those; on an index, the one that is
    foretold is no other.
    """
    expected = {
        lock.relation: str(lock.mode) for lock in said.locks if lock.relation in relations.values()
    }
    indexes = objects["index"].keys() - (expected.keys() & seen.keys())
    assert {name: mode for name, mode in expected.items() if name not in indexes} == {
        name: str(mode) for name, mode in seen.items() if name not in indexes
    }


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_locks_reads_and_rewrites_what_is_foretold(
    db: Database, objects: dict, relations: dict, major: int, statement: str
) -> None:
    said = predicted(statement, objects, major)
    refused = "refused-by-server" in {remark.rule for remark in said.remarks}
    assert refused == (major < STATEMENTS[statement])
    if refused:
        with pytest.raises(psycopg.Error), db.connection.transaction():
            db.connection.execute(statement)  # type: ignore[arg-type]
        return
    seen = Observed(db, statement, relations)
    assert "not known here" not in said.unclear
    assert_locks(said, seen.locks, relations, objects)
    if not statement.startswith("TRUNCATE"):  # it gives the table another file, and writes nothing
        assert {*said.rewrites, *said.reindexes} == seen.new_files
    if not statement.startswith(SILENT):
        assert {
            name for name in said.scans if name in relations.values()
        } - seen.new_files == seen.read - seen.new_files


REFUSED = {
    "CREATE INDEX CONCURRENTLY x ON part (k)": 99,
    "DROP INDEX CONCURRENTLY partk": 99,
    "ALTER TABLE part ADD UNIQUE USING INDEX partu": 99,
    "ALTER TABLE part ADD FOREIGN KEY (id) REFERENCES p (id) NOT VALID": 18,
}
"""What is refused on a partitioned table, with the first major version that allows it."""


@pytest.mark.parametrize("statement", REFUSED)
def test_what_the_server_refuses_on_a_partitioned_table_is_foretold(
    db: Database, objects: dict, major: int, statement: str
) -> None:
    said = {remark.rule for remark in predicted(statement, objects, major).remarks}
    assert ("refused-by-server" in said) == (major < REFUSED[statement])
    if major < REFUSED[statement]:
        with pytest.raises(psycopg.Error, match="partitioned"):
            db.connection.execute(statement)  # type: ignore[arg-type]


@pytest.mark.parametrize("statement", HELD_UP)
def test_what_works_in_several_transactions_takes_in_all_of_them_what_is_foretold(
    admin: Database, statement: str
) -> None:
    seen: dict[str, LockMode] = {}
    for holder in HELD_UP[statement]:
        with Database(admin.target.named("held"), client_min_messages="warning") as db:
            db.connection.execute(
                "DROP SCHEMA IF EXISTS public, other CASCADE; CREATE SCHEMA public;" + SCHEMA
            )
            relations, objects = named(db), dict(catalog.read(db).objects)
            for name, mode in held_up(db, statement, holder, relations).items():
                seen[name] = max(mode, seen.get(name, LockMode.NONE))
            said = predicted(statement, objects, db.connection.info.server_version // 10_000)
    assert_locks(said, seen, relations, objects)


def held_up(
    db: Database, statement: str, holder: str, relations: Mapping[int, str]
) -> dict[str, LockMode]:
    """The locks that a statement has and waits for while another session's transaction holds it
    up; then it goes on.
    """
    with (
        Database(db.target) as other,
        Database(db.target) as working,
        ThreadPoolExecutor(1) as pool,
    ):
        pid = working.connection.info.backend_pid
        with other.transaction():
            other.execute(sql.SQL(holder))  # type: ignore[arg-type]
            running = pool.submit(working.execute, sql.SQL(statement))  # type: ignore[arg-type]
            while not db.rows(
                "SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                [pid],
            ):
                assert not running.done(), running.exception() or "nothing held it up"
                time.sleep(0.005)
            seen = held(db, pid, relations)
        running.result()
    return seen
