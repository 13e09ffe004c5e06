"""The counters that charts of before and after are drawn from, and what happened between two
readings of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import statistics, windows
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.postgres.sqltext import masked, reads_only

MARKER = "Marker McMarkface"


def until(look: Callable[[], Any]) -> Any:
    """What `look` finds in the end: sessions report what they did with a delay."""
    deadline = time.monotonic() + 30
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.fixture
def watched(any_server: Server) -> Iterator[Database]:
    """A session on a fresh database with pg_stat_statements and a table, on each major version."""
    with Database(Target.parse(any_server.url()), "tests") as admin:
        admin.execute("DROP DATABASE IF EXISTS watched WITH (FORCE)")
        admin.execute("CREATE DATABASE watched TEMPLATE template0")
        with Database(Target.parse(any_server.url("watched")), "application") as db:
            db.execute(
                "CREATE SCHEMA ext; CREATE EXTENSION pg_stat_statements SCHEMA ext; CREATE TABLE "
                "t AS SELECT g AS id, 'x' AS name FROM generate_series(1, 1000) AS g"
            )
            yield db
        admin.execute("DROP DATABASE watched WITH (FORCE)")


def test_tables_indexes_and_connections_are_told(still: Database) -> None:
    found = statistics.read(still)
    kinds = found.tables["public.kinds"]
    assert kinds["table_bytes"] > 0 and found.indexes["public.kinds_pkey"]["valid"] is True
    assert kinds["index_bytes"] == sum(
        index["bytes"] for index in found.indexes.values() if index["table"] == "public.kinds"
    )
    assert (
        found.database["connections"] <= found.database["max_connections"]
        and found.database["deadlocks"] == 0
    )
    assert found.connections[0]["application"] == "runbook/test/postgres"
    assert 0 < found.cache_hit_ratio <= 1


def test_what_is_toasted_belongs_to_its_table(db: Database) -> None:
    db.execute(
        "CREATE TABLE t (a text STORAGE EXTERNAL); INSERT INTO t SELECT repeat('x', 100000) "
        "FROM generate_series(1, 10)"
    )
    whole = db.value("SELECT pg_table_size('t')")
    assert 0.9 * whole < statistics.read(db).tables["public.t"]["table_bytes"] <= whole


def test_an_estimate_that_does_not_exist_is_nothing_and_not_zero(db: Database) -> None:
    db.execute("CREATE TABLE t (id int)")
    assert statistics.read(db).tables["public.t"]["estimated_rows"] is None


def test_statistics_survive_json_and_show_themselves(still: Database) -> None:
    found = statistics.read(still)
    assert statistics.Statistics.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert found._repr_html_().count("<table") == 6


def test_a_window_holds_the_calls_in_it_by_every_major_version_and_without_their_constants(
    watched: Database,
) -> None:
    watched.rows("SELECT * FROM t WHERE name = 'before the window'")
    watched.rows("SELECT count(*) FROM t")
    before = statistics.read(watched)
    for number in range(6):
        watched.rows(f"SELECT * FROM t WHERE name = '{MARKER} {number}'")
    watched.execute(f"CREATE PROCEDURE p(text) LANGUAGE sql AS 'SELECT 1'; CALL p('{MARKER}')")
    now = statistics.read(watched)
    assert MARKER not in str(now) + json.dumps(now.as_dict())
    seen = [
        one
        for one in (windows.window(before, now).calls or {}).values()
        if "FROM t" in one.statement
    ]
    assert [(one.statement, one.calls, one.rows) for one in seen] == [
        ("SELECT * FROM t WHERE name = $1", 6, 0)
    ]
    assert (
        0 < seen[0].min_ms <= seen[0].mean_ms <= seen[0].p95_at_most_ms <= seen[0].max_ms
        and seen[0].blocks >= 1
    )
    assert any(
        one["statement"] == "CALL p(?)" or one["statement"] == "CALL p($1)"
        for one in now.statements or ()
    )


def test_a_window_in_which_the_statistics_were_reset_tells_nothing_and_says_so(
    watched: Database,
) -> None:
    before = statistics.read(watched)
    watched.execute("SELECT pg_stat_reset()")
    watched.execute("SELECT ext.pg_stat_statements_reset()")
    found = until(lambda: (one := windows.window(before, statistics.read(watched))).anew and one)
    assert (
        "were reset at" in found.anew
        and found.hit_ratio is None
        and not found.tables
        and not found.indexes
    )
    assert found.calls is None and "was reset at" in found.calls_why


def test_a_server_that_was_started_anew_or_does_not_count_makes_no_window(still: Database) -> None:
    now = statistics.read(still)
    assert (
        "started anew"
        in windows.window(
            replace(now, database={**now.database, "started": "2026-01-01"}), now
        ).anew
    )
    assert (
        "track_counts is off"
        in windows.window(now, replace(now, database={**now.database, "counting": False})).anew
    )
    assert (
        windows.window(replace(now, database={**now.database, "commits": 10**12}), now).anew
        == "the counters began anew"
    )


def test_a_statement_that_was_beyond_the_limit_of_the_first_reading_is_not_taken_for_a_new_one(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.execute("CREATE EXTENSION pg_stat_statements; CREATE TABLE t (id int)")
    first = statistics.read(db)
    db.rows("SELECT * FROM t")
    last = statistics.read(db)
    assert any(
        one.statement == "SELECT * FROM t"
        for one in (windows.window(first, last).calls or {}).values()
    )
    monkeypatch.setattr(windows, "MOST", len(first.statements or ()))
    assert not any(
        one.statement == "SELECT * FROM t"
        for one in (windows.window(first, last).calls or {}).values()
    )


def test_why_statements_cannot_be_read_is_said_with_its_remedy(
    db: Database, admin: Database
) -> None:
    assert statistics.read(db).statements is None and "CREATE EXTENSION pg_stat_statements" in str(
        statistics.read(db)
    )
    db.execute("CREATE EXTENSION pg_stat_statements VERSION '1.8'")
    assert (
        "too old: ALTER EXTENSION pg_stat_statements UPDATE" in statistics.read(db).statements_why
    )
    db.execute("ALTER EXTENSION pg_stat_statements UPDATE")
    role = "seesnothing"
    admin.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'x1y2z3'")
    try:
        with Database(replace(db.target, user=role, password="x1y2z3"), "tests") as session:
            assert "grant it pg_read_all_stats" in statistics.read(session).statements_why
            admin.execute(sql.SQL("GRANT pg_read_all_stats TO {}").format(identifier(role)))
            assert statistics.read(session).statements is not None
    finally:
        admin.execute(sql.SQL("DROP ROLE {}").format(identifier(role)))


def test_a_large_table_read_from_end_to_end_wants_an_index_and_a_small_one_does_not(
    db: Database,
) -> None:
    db.execute(
        "CREATE TABLE large AS SELECT g AS id, repeat('x', 300) AS a "
        "FROM generate_series(1, 40000) AS g; CREATE TABLE small AS SELECT 1 AS id"
    )
    db.execute("CREATE INDEX ON large (id); ANALYZE large")
    db.execute("""DO $$ BEGIN FOR i IN 1..110 LOOP PERFORM FROM large OFFSET 39999;
                  PERFORM FROM small; END LOOP; SET LOCAL enable_seqscan = off;
                  FOR i IN 1..2000 LOOP PERFORM FROM large WHERE id = i; END LOOP; END $$""")
    found = until(lambda: statistics.read(db).missing_indexes)
    assert [row["name"] for row in found] == ["public.large"] and found[0]["index_scans"] > found[
        0
    ]["sequential_scans"]


def test_an_index_that_another_one_makes_superfluous_is_named_and_no_other(db: Database) -> None:
    db.execute(
        "CREATE TABLE t (a int, b int, c text, CONSTRAINT t_a UNIQUE (a)); CREATE INDEX covered "
        "ON t (b); CREATE INDEX whole ON t (b, c)"
    )
    db.execute(
        "CREATE INDEX twin ON t (b, c); CREATE INDEX descending "
        "ON t (b DESC); CREATE INDEX partial ON t (b) WHERE a > 1; CREATE INDEX of_hash "
        "ON t USING hash (b)"
    )
    db.execute(
        "CREATE UNIQUE INDEX only_one ON t (b); CREATE INDEX more "
        "ON t (a, b); CREATE INDEX expression ON t (lower(c)); CREATE INDEX includes "
        "ON t (b) INCLUDE (a)"
    )
    found = {row["name"]: row["covered_by"] for row in statistics.read(db).covered_indexes}
    assert found == {
        "public.covered": "public.whole, public.twin, public.only_one, public.includes",
        "public.twin": "public.whole",
    }


def test_constants_and_comments_are_masked_and_what_cannot_be_read_is_hidden() -> None:
    assert masked("SELECT /* c */ 'Jürgen', 5 , $1 FROM t2 -- n") == "SELECT ?, ? , $1 FROM t2"
    assert masked("(a = $$x$$) AND (b ~~ 'y%'::text)") == "(a = ?) AND (b ~~ ?::text)"
    assert masked("SELECT 'unfinished") == "•••"


def test_only_one_select_that_reads_may_be_named() -> None:
    assert all(
        map(reads_only, ("SELECT 1", "WITH a AS (SELECT 1) SELECT * FROM a;", "-- c\nSELECT 2"))
    )
    assert not any(
        map(
            reads_only,
            (
                "",
                "SELECT 1; SELECT 2",
                "SELECT 1; DROP TABLE t",
                "DELETE FROM t",
                "WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d",
                "SELECT * FROM t FOR UPDATE",
                "SELECT 1 INTO x",
                "SELECT $1",
                "SELEC 1",
                "COMMIT",
            ),
        )
    )
