"""What pg_dump, pg_restore and psql say of a failure, without a word of a row, in three
languages.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import ToolError
from runbook_lib.postgres import told
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.program import LOST, Progress, carry_out, remedy_of
from runbook_lib.process import run
from tests.conftest import DEBIAN
from tests.languages import LANGUAGES, WORDS, speak, speaking

COPY = 'pg_restore: error: COPY failed for table "person": '
QUERY = "pg_restore: error: could not execute query: "
HIDDEN = told.WITHHELD
SAID = [
    (
        COPY + 'ERROR:  invalid input syntax for type integer: "Zebediah"\n'
        'CONTEXT:  COPY person, line 3, column age: "Zebediah\n'
        'Markerperson"',
        [COPY + HIDDEN],
    ),
    (
        COPY + "FEHLER:  ungültige Eingabesyntax für Typ integer: »Zebediah«\n"
        "CONTEXT:  COPY person, Zeile 3, Spalte age: »Zebediah«",
        [COPY + HIDDEN],
    ),
    (
        QUERY + 'ERROR:  could not create unique index "bodies"\nDETAIL:  Key (body)=(Zebediah\n'
        "Markerperson) is duplicated.\nCommand was: CREATE …",
        [QUERY + 'could not create unique index "bodies"'],
    ),
    (
        QUERY
        + "ERREUR:  Zebediah n'est pas unique\nDETAIL:  Zebediah\nMarkerperson\nHINT:  Zebediah",
        [QUERY + HIDDEN],
    ),
    (
        QUERY
        + 'ERROR:  role "Zebediah" does not exist\nCONTEXT:  PL/pgSQL function f() line 1 at RAISE',
        [QUERY + HIDDEN],
    ),
    (QUERY + 'ERROR:  role "owner" does not exist', [QUERY + 'role "owner" does not exist']),
    (
        QUERY + "ERROR:  permission denied for table Odd name",
        [QUERY + "permission denied for table Odd name"],
    ),
    ("pg_restore: NOTICE:  error: Zebediah\nNOTICE:  Zebediah", []),
    (
        "pg_dump: error: query failed: ERROR:  Zebediah\npg_dump: detail: Query was: SELECT "
        "'Zebediah'",
        ["pg_dump: error: query failed: " + HIDDEN],
    ),
    (
        'pg_dump: error: Dumping the contents of table "person" failed: PQgetResult() failed.\n'
        "pg_dump: detail: Error message from server: ERROR:  Zebediah\n"
        "pg_dump: detail: Command was: COPY person",
        [
            'pg_dump: error: Dumping the contents of table "person" failed: PQgetResult() failed.',
            "pg_dump: detail: Error message from server: " + HIDDEN,
        ],
    ),
    (
        "psql:reinstate.sql:12: ERROR:  duplicate: Zebediah\nDETAIL:  Zebediah",
        ["psql:reinstate.sql:12: " + HIDDEN],
    ),
    (
        'psql:reinstate.sql:12: ERROR:  "Odd name" exists again; nothing was changed. Move it '
        "away\n"
        "CONTEXT:  PL/pgSQL function pg_temp.must_be_free(text) line 4 at RAISE",
        ['psql:reinstate.sql:12: "Odd name" exists again; nothing was changed. Move it away'],
    ),
    (
        "pg_restore: warning: errors ignored on restore: 1",
        ["pg_restore: warning: errors ignored on restore: 1"],
    ),
    ("Zebediah\nDETAIL:  Zebediah", []),
]


@pytest.mark.parametrize("output, shown", SAID)
def test_of_a_programs_lines_only_its_own_are_told_and_of_the_servers_words_only_known_ones(
    output: str, shown: list[str]
) -> None:
    assert told.lines(output) == shown


def test_what_a_program_says_while_it_works_is_cut_where_it_quotes_the_server() -> None:
    heard: list[str] = []
    progress = Progress(Ticker(heard.append), "restored", 1, lambda: None, None)
    for output, _ in SAID:
        for line in output.splitlines():
            progress(line)
    assert heard and not any(word in line for word in WORDS for line in heard)


def test_a_remedy_is_found_in_the_programs_own_words_whatever_the_server_speaks() -> None:
    german = (
        "pg_dump: error: query failed: FEHLER:  Verbindung wird abgebrochen\n"
        "server closed the connection unexpectedly"
    )
    assert remedy_of(german) == LOST and "Verbindung" not in str(told.lines(german))


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks each language."""
    with speaking(tmp_path_factory.mktemp("polyglot")) as made:
        yield made


RESTORED = {
    "a value in a COPY": (
        "ALTER TABLE person DROP CONSTRAINT grown; ALTER TABLE person ALTER COLUMN age TYPE int "
        "USING 1",
        "--section=data",
    ),
    "a duplicate": (
        "INSERT INTO person (id, name) SELECT 5, name FROM source.person",
        "--section=data",
    ),
    "a trigger that raises": (
        "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'error: "
        "%', NEW.name; "
        "RAISE EXCEPTION E'of %\\npg_dump: detail: ', NEW.name USING ERRCODE = '42501'; END $$; "
        "CREATE TRIGGER loud BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION loud()",
        "--section=data",
    ),
    "an index": ("INSERT INTO letter SELECT name, name FROM source.person", "--section=post-data"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_real_restore_that_fails_tells_no_row_in_any_language(
    polyglot: Server, language: str, tmp_path: Path
) -> None:
    target = speak(polyglot, f"told_{uuid.uuid4().hex[:8]}", language)
    with Database(target) as db:
        db.execute("CREATE UNIQUE INDEX bodies ON letter (body)")
    dump = tmp_path / "all.dump"
    run([str(DEBIAN / "pg_dump"), "-Fc", "-f", str(dump)], env=target.environment("tests"))
    for number, (kind, (change, section)) in enumerate(RESTORED.items()):
        other = replace(target, database=f"{target.database}_{number}")
        with Database(target) as db:
            db.execute(f"CREATE DATABASE {other.database} TEMPLATE template0")
            db.execute(f"ALTER DATABASE {other.database} SET lc_messages = '{language}'")
        command = [str(DEBIAN / "pg_restore"), "-v", "-e", "-d", other.database, str(dump)]
        run([*command, "--section=pre-data"], env=other.environment("tests"))
        with Database(other) as db:
            db.execute(
                "CREATE SCHEMA source; CREATE TABLE source.person AS SELECT "
                "E'Zebediah\\nMarkerperson'::text AS name "
                "FROM generate_series(1, 2); ALTER TABLE person ADD UNIQUE (name)"
            )
            db.execute(
                change.replace(
                    "SELECT 5, name FROM source.person", "SELECT 5, name FROM source.person LIMIT 1"
                )
            )
        heard: list[str] = []
        progress = Progress(Ticker(heard.append), "restored", 3, lambda: None, None)
        with pytest.raises(ToolError) as caught:
            carry_out(
                [*command, section],
                other.environment("tests"),
                "nothing is kept",
                timeout_s=60,
                progress=progress,
                remedy="look",
            )
        said = f"{caught.value}{caught.value.output}{heard}"
        assert not any(word in said for word in WORDS), (kind, said)
        assert "pg_restore: error: " in said and (
            "person" in said or "could not execute query" in said
        ), (kind, said)
