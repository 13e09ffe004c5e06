"""What reaches beyond its database is never run a second time."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.prisma.replay import beyond

BEYOND = [
    "CREATE ROLE x",
    "ALTER ROLE x PASSWORD 'y'",
    "DROP ROLE x",
    "GRANT a TO b",
    "ALTER DATABASE d SET a.b = 1",
    "CREATE DATABASE d",
    "ALTER SYSTEM SET a = 1",
    "GRANT CONNECT ON DATABASE d TO x",
    "COMMENT ON DATABASE d IS 'x'",
    "ALTER DATABASE d OWNER TO x",
    "ALTER ROLE a RENAME TO b",
    "COMMENT ON ROLE a IS 'x'",
    "DO $$ BEGIN CREATE ROLE x; END $$",
    "DO $$ BEGIN EXECUTE 'x'; END $$",
    "SELECT pg_terminate_backend(1)",
    "SELECT dblink_exec('x')",
    "COPY t TO PROGRAM 'x'",
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
    "NOT SQL AT ALL",
    "DO $$ BEGIN EXECUTE format('CREATE ROLE %I', 'x'); END $$",
    "DO $$ BEGIN EXECUTE 'DROP USER ' || quote_ident('x'); END $$",
    "DO $$ BEGIN EXECUTE format('GRANT %I TO %I', a, b); END $$",
    "DO $$ BEGIN EXECUTE something; END $$",
    "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET a.b = 1'; END $$",
    "DO $$ DECLARE x text := dblink('y'); BEGIN NULL; END $$",
    "DO $$ DECLARE x text; BEGIN x := dblink_exec('y'); END $$",
    "DO $$ BEGIN FOR x IN SELECT pg_terminate_backend(1) LOOP NULL; END LOOP; END $$",
    "DO $$ BEGIN IF dblink('y') IS NULL THEN NULL; END IF; END $$",
    "DO $$ BEGIN BEGIN NULL; EXCEPTION WHEN others THEN CREATE ROLE x; END; END $$",
    "DO LANGUAGE plpython3u $$ import os $$",
    "SELECT net.http_post('x')",
    "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
    "WITH x AS (SELECT dblink('y')) INSERT INTO t SELECT * FROM x",
]
WITHIN = [
    "CREATE TABLE t (role text)",
    "GRANT SELECT ON t TO x",
    "COMMENT ON TABLE t IS 'the ROLE of a DATABASE'",
    "ALTER TABLE t OWNER TO x",
    "CREATE EXTENSION x",
    "DO $$ BEGIN CREATE TYPE a AS ENUM ('x'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    "SELECT setval('s', 1)",
    "INSERT INTO t VALUES ('DROP ROLE x')",
    'DO $$ BEGIN ALTER TABLE "User" ADD COLUMN email text; END $$',
    'DO $$ DECLARE role text; BEGIN UPDATE "Role" SET "user" = role; END $$',
    "DO $$ BEGIN PERFORM 1; -- EXECUTE for every ROLE and DATABASE\n END $$",
    "DO $$ BEGIN RAISE NOTICE 'the USER and the SYSTEM'; END $$",
    """DO $$ BEGIN EXECUTE 'ALTER TABLE "User" ADD COLUMN "database" text'; END $$""",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT tablename AS t FROM pg_tables LOOP "
    "EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', r.t); END LOOP; END $$",
    "DO $$ BEGIN EXECUTE 'DROP INDEX ' || quote_ident('a') || ' CASCADE'; END $$",
    "SELECT current_user, current_database(), session_user",
    "-- dblink(x), pg_terminate_backend(1)\nSELECT 1",
    "COMMENT ON COLUMN t.role IS 'calls dblink(x)'",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM dblink('x'); END $$",
    "CREATE FUNCTION g() RETURNS void LANGUAGE sql AS $$ SELECT pg_reload_conf() $$",
    'CREATE VIEW v AS SELECT * FROM "User"',
    "CREATE POLICY p ON t TO CURRENT_USER USING (true)",
]
CALLED = [
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM dblink('x'); END $$",
        "SELECT f()",
        True,
    ),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE ROLE x; END $$",
        "DO $$ BEGIN PERFORM public.f(); END $$",
        True,
    ),
    (
        "CREATE FUNCTION f() RETURNS bool LANGUAGE sql AS 'SELECT pg_reload_conf()'",
        "SELECT f()",
        True,
    ),
    ("CREATE FUNCTION f() RETURNS bool LANGUAGE sql RETURN pg_reload_conf()", "SELECT f()", True),
    ("CREATE FUNCTION f() RETURNS bool LANGUAGE plperlu AS 'x'", "SELECT f()", True),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT f()", False),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM dblink('x'); "
        "RETURN new; END $$;"
        "CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "INSERT INTO t VALUES (1)",
        True,
    ),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.role := 'user'; "
        "RETURN new; END $$;"
        "CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "INSERT INTO t VALUES (1)",
        False,
    ),
]


@pytest.mark.parametrize("sql", BEYOND)
def test_what_reaches_beyond_the_database_is_named(files: Any, sql: str) -> None:
    assert beyond(files(f"SELECT 1;\n{sql};")) == ("1:2",)


@pytest.mark.parametrize("sql", WITHIN)
def test_what_stays_within_is_not(files: Any, sql: str) -> None:
    assert beyond(files(sql)) == ()


@pytest.mark.parametrize(("made", "called", "reaches"), CALLED)
def test_a_function_is_judged_by_its_body_where_it_is_called(
    files: Any, made: str, called: str, reaches: bool
) -> None:
    assert beyond(files(f"{made};\n{called};")) == (("1:2",) if reaches else ())
