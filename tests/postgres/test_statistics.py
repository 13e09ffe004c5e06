"""The counters that charts of before and after are drawn from."""

from __future__ import annotations

import json
import time

from runbook_lib.postgres import statistics
from runbook_lib.postgres.connection import Database


def test_tables_indexes_and_connections_are_told(still: Database) -> None:
    found = statistics.read(still)
    assert found.tables["public.kinds"]["table_bytes"] > 0 and found.indexes["public.kinds_pkey"]["valid"] is True
    assert found.database["connections"] <= found.database["max_connections"] and found.database["deadlocks"] == 0
    assert found.connections[0]["application"] == "runbook/test/postgres"
    assert 0 < found.cache_hit_ratio <= 1


def test_an_estimate_that_does_not_exist_is_nothing_and_not_zero(db: Database) -> None:
    db.execute("CREATE TABLE t (id int)")
    assert statistics.read(db).tables["public.t"]["estimated_rows"] is None


def test_statements_are_told_where_the_extension_is_there(db: Database) -> None:
    assert statistics.read(db).statements is None and "not available" in str(statistics.read(db))
    db.execute("CREATE SCHEMA ext; CREATE EXTENSION pg_stat_statements SCHEMA ext; CREATE TABLE t (name text)")
    db.execute("INSERT INTO t VALUES ('Marker McMarkface')")
    db.execute("SELECT * FROM t WHERE name = 'Marker McMarkface'")
    found = statistics.read(db)
    assert any("WHERE name = $1" in one["statement"] for one in found.statements) and "Marker" not in str(found) + json.dumps(found.as_dict())


def test_a_large_table_read_from_end_to_end_is_missing_an_index_and_a_small_one_is_not(db: Database) -> None:
    db.execute("CREATE TABLE large AS SELECT g AS id, repeat('x', 300) AS a FROM generate_series(1, 40000) AS g; CREATE TABLE small AS SELECT 1 AS id")
    db.execute("DO $$ BEGIN FOR i IN 1..110 LOOP PERFORM FROM large OFFSET 39999; PERFORM FROM small; END LOOP; END $$")
    deadline = time.monotonic() + 60
    while not (found := statistics.read(db).missing_indexes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [row["name"] for row in found] == ["public.large"]


def test_statistics_survive_json_and_show_themselves(still: Database) -> None:
    found = statistics.read(still)
    assert statistics.Statistics.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert found._repr_html_().count("<table") == 6
