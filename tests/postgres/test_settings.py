"""Whatever settings a role or a database carries, our sessions answer the same, and a backup is
proven.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import dump, health, snapshot
from runbook_lib.postgres.connection import Database, Target, identifier
from runbook_lib.postgres.restore import prove
from runbook_lib.postgres.tools import tools

NAME = "runbook/test/settings"
AWKWARD = {
    "application_name": "somebody else",
    "array_nulls": "off",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "check_function_bodies": "off",
    "client_connection_check_interval": "0",
    "client_encoding": "LATIN1",
    "client_min_messages": "debug1",
    "createrole_self_grant": "set, inherit",
    "cursor_tuple_fraction": "1",
    "datestyle": "SQL, DMY",
    "deadlock_timeout": "1ms",
    "debug_print_parse": "on",
    "default_statistics_target": "1",
    "default_table_access_method": "heap",
    "default_tablespace": "pg_default",
    "default_text_search_config": "simple",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "enable_hashagg": "off",
    "enable_hashjoin": "off",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "escape_string_warning": "on",
    "event_triggers": "off",
    "extra_float_digits": "-15",
    "from_collapse_limit": "1",
    "geqo": "off",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "intervalstyle": "sql_standard",
    "jit": "on",
    "jit_above_cost": "0",
    "join_collapse_limit": "1",
    "lc_messages": "C.utf8",
    "lc_monetary": "C.utf8",
    "lc_numeric": "C.utf8",
    "lc_time": "C.utf8",
    "lock_timeout": "1ms",
    "log_statement": "all",
    "max_parallel_maintenance_workers": "8",
    "max_parallel_workers_per_gather": "8",
    "password_encryption": "md5",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "restrict_nonsystem_relation_kind": "foreign-table",
    "row_security": "off",
    "search_path": "nowhere, pg_catalog",
    "session_replication_role": "replica",
    "standard_conforming_strings": "off",
    "statement_timeout": "1ms",
    "synchronous_commit": "off",
    "temp_file_limit": "1MB",
    "temp_tablespaces": "pg_default",
    "timezone": "Asia/Kolkata",
    "track_activities": "off",
    "track_counts": "off",
    "transaction_timeout": "1ms",
    "transform_null_equals": "on",
    "vacuum_cost_delay": "100ms",
    "work_mem": "64kB",
    "xmlbinary": "hex",
    "xmloption": "document",
}
"""Settings, and the most awkward value of each."""
ON_18 = pytest.mark.parametrize("any_server", [18], indirect=True, ids=["PostgreSQL 18"])
CONTENT = r"""
    CREATE TABLE own.kinds (id int PRIMARY KEY, at timestamptz DEFAULT '2026-03-04 05:06:07+01',
        day date DEFAULT '2026-03-04',
        span interval DEFAULT '-1 day 02:03:04', sum float8 DEFAULT 0.1::float8 + 0.2,
            bytes bytea DEFAULT '\x00ff5c',
        euro text DEFAULT '€ ß \ "', amount money DEFAULT 12.5,
            items text[] DEFAULT '{NULL,"null"}');
    INSERT INTO own.kinds SELECT n FROM generate_series(1, 2000) AS n;
    CREATE VIEW own.looked_at AS SELECT count(*) FROM own.kinds;
    CREATE FUNCTION own.plus(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'"""
ASKED = r"""SELECT timestamptz '2026-03-04 05:06:07+01' AS at, date '2026-03-04' AS day,
        interval '1 day 02:03:04' AS span,
    0.1::float8 + 0.2 AS sum, bytea '\x00ff' AS bytes, 'a\b€' AS text, '{NULL}'::text[] AS items,
        NULL = 1 AS nothing"""
ANSWER: dict[str, Any] = {
    "at": datetime(2026, 3, 4, 4, 6, 7, tzinfo=UTC),
    "day": date(2026, 3, 4),
    "span": timedelta(days=1, hours=2, minutes=3, seconds=4),
    "sum": 0.1 + 0.2,
    "bytes": b"\x00\xff",
    "text": "a\\b€",
    "items": [None],
    "nothing": None,
}


@pytest.fixture(scope="module")
def carrier(any_server: Server) -> Iterator[Target]:
    """A database and its owner, who may create databases and carries nothing yet."""
    admin = Target.parse(any_server.url())
    with Database(admin, NAME) as db:
        db.execute("CREATE ROLE carrier LOGIN PASSWORD 'carrier' CREATEDB")
        db.execute("CREATE DATABASE carried OWNER carrier")
    with Database(admin.named("carried"), NAME) as db:
        db.execute("CREATE SCHEMA own AUTHORIZATION carrier")
    target = replace(admin, user="carrier", password="carrier", database="carried")
    with Database(target, NAME) as db:
        db.execute(CONTENT)
    yield target
    with Database(admin, NAME) as db:
        db.execute("DROP DATABASE carried WITH (FORCE)")
        db.execute("DROP ROLE carrier")


@pytest.fixture(params=("ROLE carrier", "DATABASE carried"))
def carry(request: pytest.FixtureRequest, any_server: Server, carrier: Target) -> Iterator[Any]:
    """Sets settings that the server knows, for the role or for the database; what was set is
    reset afterwards.
    """
    with Database(Target.parse(any_server.url()), NAME) as db:

        def set_all(settings: dict[str, str]) -> list[str]:
            known = {row["name"].lower() for row in db.rows("SELECT name FROM pg_settings")}
            for name in (there := [name for name in settings if name in known]):
                parts = settings[name].split(", ") if name == "search_path" else [settings[name]]
                values = sql.SQL(", ").join(map(sql.Literal, parts))
                to = sql.SQL(f"ALTER {request.param} SET {{}} = {{}}")
                db.execute(to.format(identifier(name), values))
            return there

        yield set_all
        db.execute(f"ALTER {request.param} RESET ALL")


@ON_18
def test_every_setting_is_harmless_to_a_session_and_to_fingerprints(
    carry: Any, carrier: Target, any_server: Server
) -> None:
    usual = snapshot.take(carrier, NAME, jobs=1).as_dict()["tables"]
    for name, value in AWKWARD.items():
        if carry({name: value}):
            with Database(carrier, NAME) as db:
                assert db.row(ASKED) == ANSWER, name
                with db.transaction():
                    db.execute(
                        "CREATE TEMP TABLE made ON COMMIT DROP AS SELECT pg_sleep(0.005)::text AS "
                        "slept"
                    )
            assert snapshot.take(carrier, NAME, jobs=1).as_dict()["tables"] == usual, name


def test_a_backup_is_proven_with_all_of_them_together(
    carry: Any, carrier: Target, any_server: Server, tmp_path: Path
) -> None:
    assert len(carry(AWKWARD)) > 50
    programs = tools(carrier, any_server.binaries, application_name=NAME)
    made = dump.make(carrier, tmp_path / "backup", NAME, tools=programs)
    assert "€" in (made.folder / "schema.sql").read_text(encoding="utf-8")
    proof = prove(made, carrier, NAME, tools=programs)
    assert proof.identical, str(proof)


@ON_18
def test_a_role_that_is_read_only_by_default_is_said_to_be(carry: Any, carrier: Target) -> None:
    carry({"default_transaction_read_only": "on"})
    (found,) = [one for one in health.connection(carrier, NAME) if one.id == "environment.writable"]
    assert found.found == "read only by default"


@ON_18
def test_a_search_path_that_leads_prisma_elsewhere_is_said_with_what_to_do(
    carry: Any, carrier: Target
) -> None:
    carry({"search_path": "pg_catalog, public"})
    (found,) = [one for one in health.connection(carrier, NAME) if one.id == "environment.schema"]
    assert "add schema=pg_catalog to the database URL" in found.remedy
    named = replace(carrier, prisma={"schema": "public"})
    assert not [one for one in health.connection(named, NAME) if one.id == "environment.schema"]


@ON_18
@pytest.mark.parametrize(
    "value", ("timestamptz 'infinity'", "date '0044-03-15 BC'", "timestamp '12000-01-01'")
)
def test_what_python_cannot_represent_is_an_error_that_does_not_quote_it(
    carrier: Target, value: str
) -> None:
    with Database(carrier, NAME) as db, pytest.raises(DatabaseError) as caught:
        db.rows(f"SELECT {value}")
    assert "holds a value that Python cannot represent" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("0044", "12000", "'infinity'"))


@ON_18
def test_a_session_may_leave_a_setting_as_it_is_carried(carry: Any, carrier: Target) -> None:
    carry({"statement_timeout": "7s", "timezone": "Asia/Kolkata"})
    with Database(carrier, NAME, statement_timeout=None, TimeZone=None) as db:
        assert (db.value("SHOW statement_timeout"), db.value("SHOW TimeZone")) == (
            "7s",
            "Asia/Kolkata",
        )
