"""What a file leaves when it fails half-way, under each way in which Prisma sends files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import review
from runbook_lib.prisma.transactions import Level, TransactionRule

WHOLE, EACH, IF_PARSED = (
    TransactionRule.WHOLE_FILE,
    TransactionRule.EACH_STATEMENT,
    TransactionRule.EACH_IF_PARSED,
)
TWO = "ALTER TABLE a ADD b int; ALTER TABLE a ADD c int;"
INDEX = "CREATE INDEX CONCURRENTLY i ON a (b);"
Files = Callable[..., tuple[MigrationFile, ...]]


@pytest.mark.parametrize(
    "sql, whole, each",
    [
        ("", Level.WHOLE, Level.WHOLE),
        ("SELECT 1;", Level.WHOLE, Level.WHOLE),
        (TWO, Level.WHOLE, Level.PARTLY),
        (f"BEGIN; {TWO} COMMIT;", Level.WHOLE, Level.WHOLE),
        (f"BEGIN; {TWO}", Level.WHOLE, Level.WHOLE),
        (f"BEGIN; {TWO} COMMIT; SELECT 1;", Level.PARTLY, Level.PARTLY),
        (f"SELECT 1; BEGIN; {TWO} COMMIT;", Level.WHOLE, Level.PARTLY),
        ("SELECT 1; COMMIT; SELECT 2;", Level.PARTLY, Level.PARTLY),
        (f"BEGIN; {TWO} COMMIT; BEGIN; {TWO} COMMIT;", Level.PARTLY, Level.PARTLY),
        (INDEX, Level.NONE, Level.NONE),
        (INDEX + "SELECT 1;", Level.WHOLE, Level.PARTLY),
        ("VACUUM a;", Level.NONE, Level.NONE),
    ],
)
def test_atomicity_follows_the_rule_and_the_files_own_transactions(
    files: Files, sql: str, whole: Level, each: Level
) -> None:
    for rule, level in ((WHOLE, whole), (EACH, each), (IF_PARSED, each)):
        found = review(files(sql), rule=rule).files_atomicity[0]
        assert found.level is level and found.why, rule


@pytest.mark.parametrize(
    "sql, rule, expected",
    [
        (INDEX, WHOLE, set()),
        (INDEX + "SELECT 1;", WHOLE, {"cannot-run-in-transaction"}),
        (INDEX + "SELECT 1;", EACH, set()),
        (INDEX + "SELECT 1;", IF_PARSED, {"may-run-in-transaction"}),
        (f"BEGIN; {INDEX} COMMIT;", EACH, {"cannot-run-in-transaction"}),
        ("DROP INDEX CONCURRENTLY i; SELECT 1;", WHOLE, {"cannot-run-in-transaction"}),
        ("VACUUM a; SELECT 1;", WHOLE, {"cannot-run-in-transaction"}),
        ("REINDEX TABLE CONCURRENTLY a; SELECT 1;", WHOLE, {"cannot-run-in-transaction"}),
        (
            "ALTER TYPE e ADD VALUE 'x'; INSERT INTO a VALUES ('x');",
            WHOLE,
            {"enum-value-used-too-early"},
        ),
        ("ALTER TYPE e ADD VALUE 'x'; INSERT INTO a VALUES ('x');", EACH, set()),
        (
            "CREATE TYPE e AS ENUM ('a'); ALTER TYPE e ADD VALUE 'x'; INSERT INTO a VALUES ('x');",
            WHOLE,
            set(),
        ),
        ("SET LOCAL lock_timeout = '1s'; SELECT 1;", EACH, {"set-local-without-transaction"}),
        ("SET LOCAL lock_timeout = '1s'; SELECT 1;", WHOLE, set()),
    ],
)
def test_what_fails_in_a_transaction_is_known_beforehand(
    files: Files, sql: str, rule: TransactionRule, expected: set[str]
) -> None:
    rules = {
        "cannot-run-in-transaction",
        "may-run-in-transaction",
        "enum-value-used-too-early",
        "set-local-without-transaction",
    }
    assert {item.rule for item in review(files(sql), rule=rule).findings} & rules == expected


def test_an_enum_made_by_an_earlier_file_is_no_excuse_for_using_a_new_value_at_once(
    files: Files,
) -> None:
    found = review(
        files("CREATE TYPE e AS ENUM ('a');", "ALTER TYPE e ADD VALUE 'x'; SELECT 'x'::e;")
    )
    assert "enum-value-used-too-early" in {item.rule for item in found.findings}
