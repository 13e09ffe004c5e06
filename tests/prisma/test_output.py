"""What the CLI prints, the native engine's texts included, and what is made of it."""

from __future__ import annotations

import pytest

from runbook_lib.prisma import output
from runbook_lib.prisma.output import PrismaFailed, Quiet

SOURCE = 'Datasource "db": PostgreSQL database "shop", schema "public" at "db.example:5433"\n\n'
BEHIND = (
    SOURCE
    + "2 migrations found in prisma/migrations\nFollowing migrations have not yet been applied:\n1_a\n2_b\n\nTo apply migrations in development run …\n"
)
FAILED = (
    SOURCE
    + "1 migration found in prisma/migrations\nFollowing migration have failed:\n1_a\n\nDuring development if the failed …\n"
)
SPACED = BEHIND.replace("2_b", "2_Add a column")
CURRENT = SOURCE + "1 migration found in prisma/migrations\n\nDatabase schema is up to date!\n"
DIVERGED = SOURCE + (
    "1 migration found in prisma/migrations\nYour local migration history and the migrations table from your database are different:\n\n"
    "The last common migration is: 1_a\n\nThe migration have not yet been applied:\n3_c\n\n"
    "The migration from the database are not found locally in prisma/migrations:\n2_b"
)
FOREIGN = (
    SOURCE
    + "No migration found in prisma/migrations\nThe current database is not managed by Prisma Migrate.\n\nRead more …\n"
)
NATIVE = """Error: P3018

A migration failed to apply. New migrations cannot be applied before the error is recovered from.

Migration name: 2_b

Database error code: 23505

Database error:
ERROR: duplicate key value violates unique constraint "Patient_pkey"
DETAIL: Key (name)=(Mustermann) already exists.

Position:
\x1b[1m  3\x1b[0m INSERT INTO "Patient" VALUES ('Mustermann');
\x1b[1m  4\x1b[1;31m INSERT INTO "Patient" VALUES ('Mustermann');\x1b[0m

DbError { severity: "ERROR", code: SqlState(E23505), detail: Some("Key (name)=(Mustermann) already exists."), table: Some("Patient") }

   0: sql_schema_connector::apply_migration::apply_script
           with migration_name="2_b"
"""


@pytest.mark.parametrize(
    "text, status, expected",
    [
        (
            BEHIND,
            1,
            dict(
                pending=("1_a", "2_b"),
                failed=(),
                failed_known=False,
                up_to_date=False,
                found=2,
                managed=True,
            ),
        ),
        (SPACED, 1, dict(pending=("1_a", "2_Add a column"), found=2)),
        (
            FAILED,
            1,
            dict(pending=(), failed=("1_a",), failed_known=True, up_to_date=False, found=1),
        ),
        (CURRENT, 0, dict(pending=(), failed=(), failed_known=True, up_to_date=True, missing=())),
        (
            DIVERGED,
            1,
            dict(pending=("3_c",), missing=("2_b",), failed_known=False, up_to_date=False),
        ),
        (FOREIGN, 1, dict(pending=(), managed=False, up_to_date=False, found=0)),
    ],
)
def test_each_answer_of_migrate_status_is_understood(
    text: str, status: int, expected: dict
) -> None:
    said = output.status(text, status)
    assert {name: getattr(said, name) for name in expected} == expected
    assert (said.datasource.database, said.datasource.host, said.datasource.port) == (
        "shop",
        "db.example",
        5433,
    )


@pytest.mark.parametrize(
    "text, status",
    [
        (SOURCE, 0),  # what an engine that could not connect once left: status 0 and no answer
        ("", 0),
        ("", 1),
        (SOURCE + "something new in Prisma 9\n", 1),
        (CURRENT, 1),
        (BEHIND, 0),
        (SOURCE + "Database schema is up to date!", 0),
    ],
)
def test_an_answer_that_is_not_understood_is_never_taken_for_a_good_one(
    text: str, status: int
) -> None:
    with pytest.raises(
        PrismaFailed, match="neither that the database is up to date nor what is pending"
    ):
        output.status(text, status)


@pytest.mark.parametrize(
    "location, expected",
    [("localhost:5432", ("localhost", 5432)), ("[::1]:5433", ("::1", 5433)), ("db", ("db", 5432))],
)
def test_the_datasource_line_is_read(location: str, expected: tuple[str, int]) -> None:
    found = output.datasource(
        f'Datasource "db": PostgreSQL database "a", schemas "x, y" at "{location}"\n'
    )
    assert (found.host, found.port) == expected and found.schema == "x, y"


def test_the_native_engines_failure_is_read_and_quotes_neither_rows_nor_sql() -> None:
    found = output.read(NATIVE)
    assert (found.code, found.migration, found.sqlstate) == ("P3018", "2_b", "23505")
    assert (
        found.reason
        == '23505: ERROR: duplicate key value violates unique constraint "Patient_pkey"'
    )
    shown = Quiet.text(NATIVE)
    assert (
        "Mustermann" not in shown
        and "INSERT" not in shown
        and "apply_script" not in shown
        and "Database error code: 23505" in shown
    )


@pytest.mark.parametrize(
    "text, code, reason",
    [
        (
            "Error: P1001: Can't reach database server at `db:5432`\n\nPlease make sure …",
            "P1001",
            "Can't reach database server at `db:5432`",
        ),
        (
            "Error: P1000\n\nAuthentication failed against database server",
            "P1000",
            "Authentication failed against database server",
        ),
        (
            "Error: Prisma schema validation - (validate wasm)\nError code: P1012\nerror: Type …",
            "P1012",
            "Prisma schema validation - (validate wasm)",
        ),
        ("Error: Error in Schema engine: ", "", "Error in Schema engine:"),
        ("", "", "it printed no reason"),
    ],
)
def test_other_failures_give_code_and_first_line(text: str, code: str, reason: str) -> None:
    found = output.read(text)
    assert (found.code, found.reason) == (code, reason)


@pytest.mark.parametrize(
    "sqlstate, line, hidden",
    [
        ("22P02", 'ERROR: invalid input syntax for type integer: "Mustermann"', True),
        ("P0001", "ERROR: orphan: Mustermann", True),
        ("42601", "ERROR: syntax error at or near \"'Mustermann'\"", True),
        ("42P01", 'ERROR: relation "Mustermann" does not exist', False),
    ],
)
def test_messages_that_can_quote_a_value_are_withheld(
    sqlstate: str, line: str, hidden: bool
) -> None:
    text = f"Error: P3018\n\nMigration name: 1\n\nDatabase error code: {sqlstate}\n\nDatabase error:\n{line}\n"
    assert ("Mustermann" not in output.read(text).reason + Quiet.text(text)) is hidden
