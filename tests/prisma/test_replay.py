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
]


@pytest.mark.parametrize("sql", BEYOND)
def test_what_reaches_beyond_the_database_is_named(files: Any, sql: str) -> None:
    assert beyond(files(f"SELECT 1;\n{sql};")) == ("1:2",)


def test_what_stays_within_is_not(files: Any) -> None:
    assert beyond(files(*WITHIN)) == ()
