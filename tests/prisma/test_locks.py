"""The table of lock modes against what a real server does: each statement is run in a transaction, looked at, and rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pglast.parser import parse_sql

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, Target, sql
from runbook_lib.prisma.analysis import effect
from runbook_lib.prisma.effect import Effect
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.locks import LockMode

SCHEMA = """
    CREATE TYPE color AS ENUM ('red', 'blue');
    CREATE DOMAIN positive AS int;
    CREATE DOMAIN short AS text CHECK (length(value) < 9);
    CREATE TABLE p (id int PRIMARY KEY, name varchar(10), n numeric(6,2), c color, ts timestamp(3), q text, d positive, r int NOT NULL DEFAULT 0);
    CREATE TABLE ch (id int PRIMARY KEY, pid int CONSTRAINT chfk REFERENCES p(id) ON DELETE CASCADE, v int, w int);
    ALTER TABLE ch ADD CONSTRAINT chv CHECK (v > 0) NOT VALID;
    ALTER TABLE ch ADD CONSTRAINT chw FOREIGN KEY (w) REFERENCES p(id) NOT VALID;
    CREATE TABLE alone (id int PRIMARY KEY, a int, b text);
    CREATE INDEX pn ON p (name);
    CREATE UNIQUE INDEX pq ON p (q);
    CREATE TABLE part (id int, k int) PARTITION BY LIST (k);
    CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
    CREATE TABLE part2 (id int, k int);
    CREATE VIEW v AS SELECT a FROM alone;
    CREATE MATERIALIZED VIEW m AS SELECT id FROM alone;
    CREATE UNIQUE INDEX mi ON m (id);
    CREATE SEQUENCE s;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER tr BEFORE INSERT ON alone FOR EACH ROW EXECUTE FUNCTION f();
    CREATE STATISTICS st ON id, name FROM p;
    CREATE POLICY po ON p USING (true);
    CREATE RULE ru AS ON INSERT TO part2 DO ALSO NOTHING;
    CREATE SCHEMA other;
    INSERT INTO p VALUES (1, 'a', 1, 'red', now(), 'x', 1, 1);
    INSERT INTO ch VALUES (1, 1, 1, 1);
    INSERT INTO alone VALUES (7, 7, 'x');
"""

STATEMENTS = """
ALTER TABLE p ADD COLUMN x int
ALTER TABLE p ADD COLUMN x int DEFAULT 1
ALTER TABLE p ADD COLUMN x int NOT NULL DEFAULT 1
ALTER TABLE p ADD COLUMN x timestamptz DEFAULT now()
ALTER TABLE p ADD COLUMN x uuid DEFAULT gen_random_uuid()
ALTER TABLE p ADD COLUMN x serial
ALTER TABLE p ADD COLUMN x int GENERATED ALWAYS AS IDENTITY
ALTER TABLE p ADD COLUMN x int GENERATED ALWAYS AS (id + 1) STORED
ALTER TABLE p ADD COLUMN x int GENERATED ALWAYS AS (id + 1) VIRTUAL
ALTER TABLE p ADD COLUMN x positive DEFAULT 1
ALTER TABLE p ADD COLUMN x short DEFAULT 'a'
ALTER TABLE p ADD COLUMN x int REFERENCES ch (id)
ALTER TABLE p ADD COLUMN x int UNIQUE
ALTER TABLE p ADD COLUMN x int CHECK (x > 0)
ALTER TABLE p DROP COLUMN n
ALTER TABLE p DROP COLUMN IF EXISTS n, ADD COLUMN z int
ALTER TABLE ch DROP COLUMN pid
ALTER TABLE p ALTER COLUMN name TYPE varchar(20)
ALTER TABLE p ALTER COLUMN name TYPE text
ALTER TABLE p ALTER COLUMN name TYPE varchar(5)
ALTER TABLE p ALTER COLUMN name TYPE char(20)
ALTER TABLE p ALTER COLUMN n TYPE numeric(8,2)
ALTER TABLE p ALTER COLUMN n TYPE numeric(8,3)
ALTER TABLE p ALTER COLUMN n TYPE numeric
ALTER TABLE p ALTER COLUMN ts TYPE timestamp(6)
ALTER TABLE p ALTER COLUMN ts TYPE timestamp(0)
ALTER TABLE p ALTER COLUMN ts TYPE timestamptz(3)
ALTER TABLE p ALTER COLUMN id TYPE bigint
ALTER TABLE ch ALTER COLUMN pid TYPE bigint
ALTER TABLE p ALTER COLUMN q TYPE varchar(50)
ALTER TABLE p ALTER COLUMN q TYPE varchar
ALTER TABLE p ALTER COLUMN q TYPE text USING upper(q)
ALTER TABLE p ALTER COLUMN name TYPE varchar(20) USING name::varchar(20)
ALTER TABLE p ALTER COLUMN c TYPE text USING c::text
ALTER TABLE p ALTER COLUMN name SET NOT NULL
ALTER TABLE p ALTER COLUMN r DROP NOT NULL
ALTER TABLE p ALTER COLUMN q SET DEFAULT 'x'
ALTER TABLE p ALTER COLUMN r DROP DEFAULT
ALTER TABLE p ALTER COLUMN q SET STATISTICS 100
ALTER TABLE p ALTER COLUMN q SET (n_distinct = 5)
ALTER TABLE p ALTER COLUMN q SET STORAGE EXTERNAL
ALTER TABLE p ALTER COLUMN q SET COMPRESSION pglz
ALTER TABLE p ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY
ALTER TABLE p SET (fillfactor = 80)
ALTER TABLE p SET (autovacuum_enabled = false)
ALTER TABLE p SET (user_catalog_table = true)
ALTER TABLE ch SET UNLOGGED
ALTER TABLE p ADD CONSTRAINT k CHECK (id > 0)
ALTER TABLE p ADD CONSTRAINT k CHECK (id > 0) NOT VALID
ALTER TABLE p ADD CONSTRAINT k NOT NULL name
ALTER TABLE p ADD CONSTRAINT k NOT NULL name NOT VALID
ALTER TABLE p ADD CONSTRAINT k UNIQUE USING INDEX pq
ALTER TABLE ch ADD CONSTRAINT k UNIQUE (v)
ALTER TABLE ch ADD CONSTRAINT k FOREIGN KEY (v) REFERENCES p (id)
ALTER TABLE ch ADD CONSTRAINT k FOREIGN KEY (v) REFERENCES p (id) NOT VALID
ALTER TABLE ch ADD CONSTRAINT k EXCLUDE (v WITH =)
ALTER TABLE part2 ADD PRIMARY KEY (id)
ALTER TABLE ch VALIDATE CONSTRAINT chv
ALTER TABLE ch VALIDATE CONSTRAINT chw
ALTER TABLE ch DROP CONSTRAINT chfk
ALTER TABLE ch DROP CONSTRAINT chv
ALTER TABLE ch ALTER CONSTRAINT chfk DEFERRABLE
ALTER TABLE alone DISABLE TRIGGER tr
ALTER TABLE part2 DISABLE RULE ru
ALTER TABLE p ENABLE ROW LEVEL SECURITY
ALTER TABLE p REPLICA IDENTITY FULL
ALTER TABLE p CLUSTER ON pn
ALTER TABLE p OWNER TO postgres
ALTER TABLE p RENAME TO p2
ALTER TABLE p RENAME COLUMN q TO qq
ALTER TABLE IF EXISTS nowhere ADD COLUMN x int
DROP TABLE IF EXISTS nowhere
DROP INDEX IF EXISTS nowhere
CREATE INDEX IF NOT EXISTS pn ON p (n)
CREATE TABLE IF NOT EXISTS p (id int)
ALTER TABLE p ADD COLUMN IF NOT EXISTS name int
ALTER TABLE ch RENAME CONSTRAINT chv TO chvv
ALTER TABLE p SET SCHEMA other
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2)
ALTER TABLE part DETACH PARTITION part1
ALTER TABLE ch ADD COLUMN x int, ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES p (id)
ALTER TABLE part ADD COLUMN x int
ALTER TABLE part ADD COLUMN x uuid DEFAULT gen_random_uuid()
ALTER TABLE part DROP COLUMN id
ALTER TABLE part ALTER COLUMN id TYPE bigint
ALTER TABLE part ALTER COLUMN id SET NOT NULL
ALTER TABLE part ADD CONSTRAINT k CHECK (id > 0)
ALTER TABLE part ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES alone (id)
ALTER TABLE part ADD PRIMARY KEY (id, k)
ALTER TABLE part RENAME TO parted
ALTER TABLE part RENAME COLUMN k TO kk
ALTER TABLE part OWNER TO postgres
ALTER TABLE ONLY part ALTER COLUMN id SET DEFAULT 1
CREATE INDEX x ON part (k)
DROP TABLE part
TRUNCATE part
UPDATE part SET id = 1
DELETE FROM part
SELECT * FROM part
ALTER INDEX pn RENAME TO pnn
ALTER VIEW v RENAME TO vv
CREATE TABLE z (id int)
CREATE TABLE z (id int REFERENCES p (id))
CREATE TABLE z (id int, FOREIGN KEY (id) REFERENCES p (id))
CREATE TABLE z AS SELECT * FROM p
CREATE TABLE z (LIKE p INCLUDING ALL)
CREATE TABLE z PARTITION OF part FOR VALUES IN (3)
CREATE TABLE z () INHERITS (ch)
CREATE INDEX x ON p (n)
CREATE UNIQUE INDEX x ON p (n)
CREATE VIEW z AS SELECT * FROM p
CREATE OR REPLACE VIEW v AS SELECT a FROM alone
CREATE MATERIALIZED VIEW z AS SELECT * FROM p
CREATE TRIGGER t2 AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION f()
CREATE OR REPLACE TRIGGER tr BEFORE INSERT ON alone FOR EACH ROW EXECUTE FUNCTION f()
CREATE POLICY p2 ON p USING (true)
CREATE RULE r2 AS ON UPDATE TO part2 DO ALSO NOTHING
CREATE STATISTICS s2 ON id, n FROM p
CREATE SEQUENCE z OWNED BY p.id
CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE PUBLICATION pub FOR TABLE p
CREATE TYPE mood AS ENUM ('ok')
ALTER POLICY po ON p USING (false)
ALTER TYPE color ADD VALUE 'green'
ALTER TYPE color RENAME VALUE 'red' TO 'rot'
ALTER TYPE color RENAME TO colour
ALTER DOMAIN positive ADD CONSTRAINT k CHECK (value > 0)
ALTER SEQUENCE s RESTART 1
DROP INDEX pn
DROP TABLE ch
DROP TABLE p CASCADE
DROP VIEW v
DROP MATERIALIZED VIEW m
DROP TRIGGER tr ON alone
DROP POLICY po ON p
DROP RULE ru ON part2
DROP STATISTICS st
DROP SEQUENCE s
DROP SCHEMA other
REINDEX TABLE p
REINDEX INDEX pn
CLUSTER p USING pn
REFRESH MATERIALIZED VIEW m
REFRESH MATERIALIZED VIEW CONCURRENTLY m
ANALYZE p
TRUNCATE alone
TRUNCATE p CASCADE
COMMENT ON TABLE p IS 'x'
COMMENT ON COLUMN p.id IS 'x'
COMMENT ON CONSTRAINT chv ON ch IS 'x'
COMMENT ON TRIGGER tr ON alone IS 'x'
COMMENT ON VIEW v IS 'x'
GRANT SELECT ON p TO pg_monitor
REVOKE SELECT ON p FROM pg_monitor
INSERT INTO ch VALUES (2, 1, 1, 1)
INSERT INTO ch SELECT id + 5, id, 1, 1 FROM p
INSERT INTO alone VALUES (1, 1, 'x') ON CONFLICT (id) DO UPDATE SET a = 2
UPDATE p SET name = 'b'
UPDATE ch SET v = p.id FROM p WHERE p.id = ch.pid
DELETE FROM alone
DELETE FROM p
WITH gone AS (DELETE FROM alone RETURNING id) INSERT INTO ch SELECT id, 1 FROM gone
MERGE INTO ch USING p ON ch.id = p.id WHEN MATCHED THEN UPDATE SET v = 2
SELECT * FROM p
SELECT * FROM p FOR UPDATE
SELECT setval('s', 5)
LOCK TABLE p IN SHARE MODE
DO $$ BEGIN UPDATE p SET name = 'z'; END $$
EXPLAIN ANALYZE UPDATE p SET name = 'c'
""".strip().splitlines()

NEW_FILE = ("TRUNCATE", "REINDEX")
"""Statements that give a relation another file without writing its rows anew."""


@pytest.fixture(scope="module")
def db(server: Server) -> Iterator[Database]:
    with Database(Target.parse(server.url())) as admin:
        admin.execute("CREATE DATABASE locks TEMPLATE template0")
        with Database(Target.parse(server.url("locks")), lock_timeout="5s") as db:
            db.connection.execute(SCHEMA)
            yield db
        admin.execute("DROP DATABASE locks WITH (FORCE)")


@pytest.fixture(scope="module")
def objects(db: Database) -> dict:
    return dict(catalog.read(db).objects)


@pytest.fixture(scope="module")
def relations(db: Database) -> dict[int, str]:
    rows = db.rows("SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'm', 'v')")
    return {row["oid"]: f"public.{row['relname']}" for row in rows}


class _Undone(Exception):
    pass


def observed(db: Database, statement: str, relations: dict[int, str]) -> tuple[dict[str, LockMode], set[str]]:
    """The strongest lock on each relation that was there before, and those that have another file afterwards."""
    found: dict[str, LockMode] = {}
    try:
        with db.transaction():
            db.execute("SET LOCAL TimeZone = 'Europe/Berlin'")
            before = files(db, relations)
            with db.connection.transaction(force_rollback=True):
                db.execute(sql.SQL(statement))  # type: ignore[arg-type]
                for row in db.rows("SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL"):
                    if row["relation"] in relations:
                        name, mode = relations[row["relation"]], mode_of(row["mode"])
                        found[name] = max(mode, found.get(name, LockMode.NONE))
                after = files(db, relations)
            raise _Undone
    except _Undone:
        return found, {name for name in before if name in after and before[name] != after[name]}


def files(db: Database, relations: dict[int, str]) -> dict[str, int]:
    rows = db.rows("SELECT oid, relfilenode FROM pg_class WHERE relkind IN ('r', 'm') AND oid = ANY (%s)", [list(relations)])
    return {relations[row["oid"]]: row["relfilenode"] for row in rows}


def mode_of(name: str) -> LockMode:
    words = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name.removesuffix("Lock"))
    return LockMode[words.strip("_")]


def predicted(statement: str, objects: dict) -> Effect:
    return effect(parse_sql(statement)[0].stmt, statement, Known(objects))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_locks_and_rewrites_what_the_table_says(db: Database, objects: dict, relations: dict, statement: str) -> None:
    locks, rewritten = observed(db, statement, relations)
    said = predicted(statement, objects)
    tables = {lock.relation: lock.mode for lock in said.locks if lock.relation in relations.values()}
    assert {name: str(mode) for name, mode in tables.items()} == {name: str(mode) for name, mode in locks.items()}
    if not statement.startswith(NEW_FILE):
        assert set(said.rewrites) == rewritten


def test_the_table_is_compared_for_more_than_a_hundred_statements() -> None:
    assert len(STATEMENTS) > 100


@pytest.mark.parametrize("statement", STATEMENTS)
def test_none_of_these_statements_is_unknown(objects: dict, statement: str) -> None:
    assert "not known here" not in predicted(statement, objects).unclear


@pytest.mark.parametrize("statement, expected", [
    ("CREATE INDEX CONCURRENTLY x ON p (n)", {"public.p": "SHARE UPDATE EXCLUSIVE"}),
    ("DROP INDEX CONCURRENTLY pn", {"public.pn": "SHARE UPDATE EXCLUSIVE", "public.p": "SHARE UPDATE EXCLUSIVE"}),
    ("REINDEX TABLE CONCURRENTLY p", {"public.p": "SHARE UPDATE EXCLUSIVE"}),
    ("REINDEX INDEX CONCURRENTLY pn", {"public.pn": "SHARE UPDATE EXCLUSIVE", "public.p": "SHARE UPDATE EXCLUSIVE"}),
    ("ALTER TABLE part DETACH PARTITION part1 CONCURRENTLY", {"public.part": "SHARE UPDATE EXCLUSIVE", "public.part1": "SHARE UPDATE EXCLUSIVE"}),
    ("VACUUM p", {"public.p": "SHARE UPDATE EXCLUSIVE"}), ("VACUUM FULL p", {"public.p": "ACCESS EXCLUSIVE"}),
])
def test_what_cannot_run_in_a_transaction_locks_as_the_documentation_says(objects: dict, statement: str, expected: dict[str, str]) -> None:
    said = predicted(statement, objects)
    assert {lock.relation: str(lock.mode) for lock in said.locks} == expected and said.alone
