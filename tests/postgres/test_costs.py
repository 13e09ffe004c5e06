"""What a statement cost: its locks to the end of its transaction, rewrites, WAL, temporary
files, and where it was refused.
"""

from __future__ import annotations

import pytest

from runbook_lib.postgres import costs
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.costs import Work

SETUP = """CREATE TABLE t (id int PRIMARY KEY, a int);
           INSERT INTO t SELECT g, g FROM generate_series(1, 20000) AS g;
           CREATE TABLE other (id int PRIMARY KEY REFERENCES t)"""


@pytest.fixture
def there(db: Database) -> dict[int, str]:
    db.execute(SETUP)
    return costs.tables(db)


def measured(
    db: Database,
    there: dict[int, str],
    *statements: str,
    numbers: tuple[int, ...] = (),
    **special: str,
) -> costs.Costs:
    """The statements measured, each in a transaction of its own where `numbers` says nothing
    else.
    """
    control = {statement: word for word, statement in special.items()}
    return costs.measure(
        db,
        [
            Work("1_x", line, "…", sql, number, control.get(sql, ""), "CONCURRENTLY" in sql)
            for line, (sql, number) in enumerate(
                zip(statements, numbers or range(len(statements)), strict=True), 1
            )
        ],
        there,
    )


def test_a_statement_tells_its_locks_and_what_it_rewrote(
    db: Database, there: dict[int, str]
) -> None:
    found = measured(
        db,
        there,
        "ALTER TABLE t ALTER a TYPE bigint",
        "CREATE TABLE mine (id int)",
        "ALTER TABLE mine ADD b int DEFAULT random()",
    )
    first, *own = found.items
    assert [(held.table, held.mode) for held in first.strongest] == [
        ("public.t", "AccessExclusiveLock")
    ]
    assert (
        first.rewritten == ("public.t", "public.t_pkey")
        and first.wal_bytes > 0
        and first.bytes_after > first.bytes_before
    )
    assert [cost.locks for cost in own] == [(), ()], (
        "nobody else uses what the migration makes itself"
    )
    assert (
        not found.failed
        and found.peak_bytes >= found.growth_bytes
        and found.wal_bytes >= first.wal_bytes
    )


def test_a_lock_is_held_to_the_end_of_the_transaction_and_told_once(
    db: Database, there: dict[int, str]
) -> None:
    apart = measured(db, there, "ALTER TABLE t ADD b int", "SELECT pg_sleep(0.2)")
    together = measured(
        db,
        there,
        "ALTER TABLE t ADD c int",
        "SELECT pg_sleep(0.2)",
        "ALTER TABLE t ADD d int",
        numbers=(1, 1, 1),
    )
    assert together.items[0].locks[0].seconds >= 0.2 > apart.items[0].locks[0].seconds
    assert [len(cost.locks) for cost in together.items] == [1, 0, 0]


def test_transactions_are_those_of_the_file(db: Database, there: dict[int, str]) -> None:
    words = {"begin": "BEGIN", "rollback": "ROLLBACK", "commit": "COMMIT"}
    assert (
        len(
            measured(
                db,
                there,
                "BEGIN",
                "ALTER TABLE t ADD gone int",
                "ROLLBACK",
                numbers=(1, 1, 1),
                **words,
            ).items
        )
        == 1
    )
    assert (
        len(
            measured(
                db,
                there,
                "BEGIN",
                "ALTER TABLE t ADD stays int",
                "COMMIT",
                numbers=(1, 1, 1),
                **words,
            ).items
        )
        == 1
    )
    assert {
        row["attname"]
        for row in db.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 2"
        )
    } == {"stays"}


def test_what_cannot_run_in_a_transaction_is_measured_too(
    db: Database, there: dict[int, str]
) -> None:
    found = measured(db, there, "CREATE INDEX CONCURRENTLY i ON t (a)")
    assert not found.failed and found.items[0].locks == () and found.items[0].wal_bytes > 0


def test_temporary_files_are_told_with_the_last_statement_of_their_transaction(
    db: Database, there: dict[int, str]
) -> None:
    db.execute("SET work_mem = '64kB'")
    found = measured(
        db,
        there,
        "SELECT count(*) FROM (SELECT * FROM t ORDER BY a) AS x, pg_sleep(0)",
        "SELECT 1",
        "SELECT 2",
        numbers=(1, 1, 2),
    )
    assert [bool(cost.temporary_bytes) for cost in found.items] == [False, True, False]


@pytest.mark.parametrize(
    ("statements", "place", "sqlstate", "measured_before"),
    [
        (("SELECT 1", "SELECT 1/0", "SELECT 2"), 2, "22012", 1),
        (("SET CONSTRAINTS ALL DEFERRED", "INSERT INTO late VALUES (1)"), 2, "23503", 2),
    ],
)
def test_a_refused_statement_is_named_without_its_text(
    db: Database,
    there: dict[int, str],
    statements: tuple[str, ...],
    place: int,
    sqlstate: str,
    measured_before: int,
) -> None:
    db.execute(
        "CREATE TABLE late (id int REFERENCES t (id) DEFERRABLE); DELETE FROM t WHERE id = 1"
    )
    found = measured(db, there, *statements, numbers=(1,) * len(statements))
    assert (
        found.failed == f"1_x:{place} was refused ({sqlstate})"
        and len(found.items) == measured_before
    )
    assert "was refused" in str(found) and "1/0" not in str(found.as_dict())


def test_no_text_of_a_statement_is_in_what_is_kept(db: Database, there: dict[int, str]) -> None:
    found = measured(db, there, "UPDATE t SET a = 4711 WHERE id = 5")
    assert "4711" not in str(found) + str(found.as_dict()) + repr(
        Work("f", 1, "UPDATE", "SELECT 4711", 1)
    )
    assert found.as_dict()["statements"][0]["locks"][0] == {
        "table": "public.t",
        "mode": "RowExclusiveLock",
        "seconds": found.items[0].locks[0].seconds,
    }


@pytest.mark.parametrize(
    "begin",
    [
        ("BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE",),
        (
            "START TRANSACTION /* x */ ISOLATION LEVEL REPEATABLE READ",
            "SET LOCAL lock_timeout = '5s'",
        ),
    ],
)
def test_a_transaction_has_the_isolation_level_that_the_file_gives_it(
    db: Database, there: dict[int, str], begin: tuple[str, ...]
) -> None:
    texts = [
        *begin,
        "CREATE TABLE level AS SELECT current_setting('transaction_isolation') AS level",
        "COMMIT",
    ]
    kinds = {"SET": "SET", "CREATE": "CREATE TABLE AS"}
    controls = {texts[0]: "begin", "COMMIT": "commit"}
    work = [
        Work("1_x", line, kinds.get(sql.split()[0], "…"), sql, 1, controls.get(sql, ""))
        for line, sql in enumerate(texts, 1)
    ]
    found = costs.measure(db, work, there)
    assert not found.failed
    assert db.value("SELECT level FROM level") == "repeatable read"
    assert found.items[-1].wal_bytes > 0 and len(found.items) == len(texts) - 2


def test_a_refused_statement_leaves_the_session_outside_of_the_files_own_transaction(
    db: Database, there: dict[int, str]
) -> None:
    words = {"begin": "BEGIN", "commit": "COMMIT"}
    found = measured(
        db, there, "BEGIN", "ALTER TABLE t ADD id int", "COMMIT", numbers=(1, 1, 1), **words
    )
    assert found.failed == "1_x:2 was refused (42701)"
    assert db.value("SELECT 1") == 1
