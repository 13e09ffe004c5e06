"""Counting what violates a demand: bounded, read-only, and without a word about the rows."""

from __future__ import annotations

from runbook_lib.postgres import violations
from runbook_lib.postgres.connection import Database


def counted(db: Database, sql: str, **options: float) -> violations.Counted:
    return violations.count(db.target, "tests", [sql], **options)[0]  # type: ignore[arg-type]


def test_each_question_gets_its_answer_in_order(rich: Database) -> None:
    rich.execute("CREATE TABLE numbers AS SELECT generate_series(1, 10) AS n")
    found = violations.count(
        rich.target, "tests", [f"SELECT count(*) FROM numbers WHERE n > {n}" for n in range(5)]
    )
    assert [one.rows for one in found] == [10, 9, 8, 7, 6]


def test_what_would_read_too_much_is_not_counted_and_says_how_much(db: Database) -> None:
    db.execute("CREATE TABLE large AS SELECT generate_series(1, 10000) AS n")
    found = counted(db, "SELECT count(*) FROM large WHERE n IS NULL", most_bytes=2**16)
    assert (
        found.rows is None
        and found.why.startswith("not counted: would read ")
        and found.why.endswith("KiB")
    )
    db.execute("CREATE INDEX ON large (n); ANALYZE large")
    assert (
        counted(db, "SELECT count(*) FROM large WHERE n IS NULL", most_bytes=2**16).rows == 0
    )  # by the index: it reads hardly anything


def test_what_takes_too_long_is_not_counted(db: Database) -> None:
    found = counted(
        db, "SELECT count(*) FROM generate_series(1, 3) WHERE pg_sleep(5) IS NULL", timeout_s=0.2
    )
    assert found.rows is None and "statement timeout" in found.why


def test_a_value_that_makes_the_question_fail_is_not_quoted(db: Database) -> None:
    db.execute("CREATE TABLE words AS SELECT 'Mustermann' AS word")
    found = counted(db, "SELECT count(*) FROM words WHERE word::int > 1")
    assert found.rows is None and "22P02" in found.why and "Mustermann" not in found.why


def test_nothing_can_be_written(db: Database) -> None:
    db.execute("CREATE SEQUENCE numbers")
    assert "read-only" in counted(db, "SELECT nextval('numbers')").why


def test_a_relation_that_is_not_there_is_no_zero(db: Database) -> None:
    found = counted(db, "SELECT count(*) FROM nowhere")
    assert found.rows is None and "does not exist" in found.why
