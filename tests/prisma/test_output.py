"""What the CLI prints, the native engine's texts included, and what is made of it."""

from __future__ import annotations

import json

import pytest

from runbook_lib.prisma import output
from runbook_lib.prisma.output import Lines, PrismaFailed, Quiet

SOURCE = 'Datasource "db": PostgreSQL database "shop", schema "public" at "db.example:5433"\n\n'
BEHIND = (
    SOURCE + "2 migrations found in prisma/migrations\n"
    "Following migrations have not yet been applied:\n"
    "1_a\n"
    "2_b\n\n"
    "To apply migrations in development run …\n"
)
FAILED = (
    SOURCE + "1 migration found in prisma/migrations\n"
    "Following migration have failed:\n"
    "1_a\n\n"
    "During development if the failed …\n"
)
SPACED = BEHIND.replace("2_b", "2_Add a column")
CURRENT = SOURCE + "1 migration found in prisma/migrations\n\nDatabase schema is up to date!\n"
DIVERGED = SOURCE + (
    "1 migration found in prisma/migrations\n"
    "Your local migration history and the migrations table from your database are different:\n\n"
    "The last common migration is: 1_a\n\n"
    "The migration have not yet been applied:\n"
    "3_c\n\n"
    "The migration from the database are not found locally in prisma/migrations:\n"
    "2_b"
)
FOREIGN = (
    SOURCE + "No migration found in prisma/migrations\n"
    "The current database is not managed by Prisma Migrate.\n\n"
    "Read more …\n"
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

DbError { severity: "ERROR", code: SqlState(E23505), \
detail: Some("Key (name)=(Mustermann) already exists."), \
table: Some("Patient") }

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
        == "unique violation (23505); the server's log has its message, which can quote a row"
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


def db_error(sqlstate: str, message: str, **fields: str) -> str:
    """The fields of an error, as Prisma's engine prints them at its end."""
    names = (
        "detail",
        "hint",
        "where_",
        "schema",
        "table",
        "column",
        "datatype",
        "constraint",
        "file",
        "routine",
    )
    told = [
        f"{name}: "
        f"{f'Some({json.dumps(fields[name], ensure_ascii=False)})' if name in fields else 'None'}"
        for name in names
    ]
    place = f"Some(Original({fields['position']}))" if "position" in fields else "None"
    return (
        f'DbError {{ severity: "ERROR", parsed_severity: Some(Error), code: SqlState(E{sqlstate}), '
        f"message: {json.dumps(message, ensure_ascii=False)}, position: {place}, "
        f"{', '.join(told)} }}"
    )


M = "Mustermann"
TOLD = [
    (
        "a duplicate, in German, with a detail of several lines that imitate the CLI's own",
        ("23505", "doppelter Schlüsselwert verletzt Unique-Constraint »Patient_pkey«"),
        {
            "detail": f"Schlüssel »(name)=({M}\nError: P1001\n\n{M}\n" + '"} )« existiert bereits.',
            "schema": "public",
            "table": "Patient",
            "constraint": "Patient_pkey",
            "routine": "_bt_check_unique",
        },
        'unique violation (23505): constraint "Patient_pkey" of table "public.Patient"',
    ),
    (
        "a RAISE in French that pretends to be a duplicate, and quotes a row in each field",
        ("23505", f"le patient {M}\n{M}"),
        {
            "detail": M,
            "hint": M,
            "where_": "fonction PL/pgSQL f(), ligne 3 à RAISE",
            "table": M,
            "constraint": M,
            "routine": "exec_stmt_raise",
        },
        "unique violation (23505); the server's log has its message, which can quote a row",
    ),
    (
        "a value that cannot be read",
        ("22P02", f"syntaxe en entrée invalide pour le type integer : « {M} »"),
        {"routine": "pg_strtoint32"},
        "invalid text representation (22P02); the server's log has its message, which can quote a "
        "row",
    ),
    (
        "a value in a COPY",
        ("22P02", f"invalid input syntax for type integer: {M}"),
        {"where_": f"COPY Patient, line 3, column id: {M}", "routine": "pg_strtoint32"},
        "invalid text representation (22P02); the server's log has its message, which can quote a "
        "row",
    ),
    (
        "a statement of a trigger",
        ("23503", f"insert or update on table {M} violates"),
        {
            "where_": f"SQL statement INSERT INTO x VALUES ({M})",
            "table": "Visit",
            "constraint": "Visit_fkey",
            "routine": "ri_ReportViolation",
        },
        'foreign key violation (23503): constraint "Visit_fkey" of table "Visit"',
    ),
    (
        "a relation that the file names",
        ("42P01", "Relation »Vsit« existiert nicht"),
        {"position": "15", "routine": "parserOpenTable"},
        "Relation »Vsit« existiert nicht (42P01)",
    ),
    (
        "a relation that a row names",
        ("42P01", f'relation "{M}" does not exist'),
        {"routine": "RangeVarGetRelidExtended"},
        "undefined table (42P01); the server's log has its message, which can quote a row",
    ),
    (
        "a constant where none may stand",
        ("42601", f"syntax error at or near \"'{M}'\""),
        {"position": "3", "routine": "scanner_yyerror"},
        "syntax error (42601); the server's log has its message, which can quote a row",
    ),
]


@pytest.mark.parametrize(
    "error, fields, reason", [row[1:] for row in TOLD], ids=[row[0] for row in TOLD]
)
def test_a_failed_file_is_told_by_the_fields_of_its_error_and_by_no_text_of_the_servers(
    error: tuple[str, str], fields: dict[str, str], reason: str
) -> None:
    sqlstate, message = error
    text = (
        "Applying migration `1`\n\n"
        "Error: P3018\n\n"
        "A migration failed to apply. New …\n\n"
        "Migration name: 1\n\n"
        f"Database error code: {sqlstate}\n\n"
        f"Database error:\nFEHLER: {message}\nDETAIL: {fields.get('detail')}\nHINT: {M}\n\n"
        f"Position:\n  1 SELECT '{M}'\n\n"
        f"{db_error(sqlstate, message, **fields)}\n\n   0: sql_schema_connector::apply\n"
    )
    found, shown = output.read(text), Quiet.text(text)
    assert (found.code, found.migration, found.sqlstate, found.reason) == (
        "P3018",
        "1",
        sqlstate,
        reason,
    )
    assert M not in shown and "Migration name: 1" in shown and "Applying migration" in shown
    lines: list[str] = []
    heard = Lines(lines.append, None)
    for line in text.splitlines():
        heard(line)
    assert "\n".join(lines).split() == shown.split()


@pytest.mark.parametrize(
    "text",
    [
        f"Error: FEHLER: keine Berechtigung für »{M}«\n"
        f"DETAIL: {M}\n   0: schema_core::state::DevDiagnostic",
        f"Error: ERREUR: {M}\n{M}\n",
        "Error: P3006\n\n"
        "Migration `1` failed to apply cleanly to the shadow database.\n"
        "Error:\n"
        f"ERROR: {M}\n   0: sql_schema_connector::x",
        "Error: P3014\n\n"
        f"Prisma Migrate could not create the shadow database. Original error: {M}\n",
        f"Error: P2010\n\nRaw query failed. Code: `22P02`. Message: `db error: ERROR: {M}`",
        f"Error: db error: {M}\nError: P1001: {M}\n",
        f"DriverAdapterError: {M}\nError: {M}",
    ],
)
def test_an_error_in_which_prisma_hands_on_the_servers_words_is_told_by_its_code_alone(
    text: str,
) -> None:
    said = output.failure("prisma migrate status", text, 1)
    assert M not in f"{said}{said.output}"
