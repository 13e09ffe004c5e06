"""A server that speaks three languages, and failures of many kinds that each quote a row."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres.connection import Database, Target
from tests.conftest import DEBIAN, FAST

MARKER = "Zebediah\nMarkerperson"
"""A value of two lines, so that its second begins a line of its own."""
WORDS = ("Zebediah", "Markerperson")
LANGUAGES = {"C": "ERROR", "de_DE.UTF-8": "FEHLER", "fr_FR.UTF-8": "ERREUR"}
"""Values of `lc_messages` → how an error begins then."""
TABLES = r"""
CREATE TABLE person (id int PRIMARY KEY, name text UNIQUE, age text, born tsrange,
    parent int REFERENCES person,
  CONSTRAINT grown CHECK (age <> 'child'), CONSTRAINT once EXCLUDE USING gist (born WITH &&));
CREATE TABLE letter (body text NOT NULL, writer text);
INSERT INTO person VALUES (1, E'Zebediah\nMarkerperson', E'Zebediah\nMarkerperson',
    '[2001-01-01,2002-01-01)', NULL);
INSERT INTO letter SELECT name, name FROM person;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO person (id, name) SELECT 3, body FROM letter; RETURN NEW; END $$;
CREATE TABLE watched (id int);
CREATE TRIGGER refuse BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE FUNCTION raised(text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE quoted text := (SELECT name FROM person LIMIT 1);
BEGIN
  RAISE EXCEPTION E'orphan: %\nError: P1001: %\nDETAIL:  %', quoted, quoted, quoted
    USING ERRCODE = $1, DETAIL = quoted, HINT = quoted, TABLE = quoted, COLUMN = quoted,
        CONSTRAINT = quoted;
END $$;
"""
FAILURES = {
    "unique": (
        "23505",
        "INSERT INTO person (id, name) SELECT 2, name FROM person",
        "person_name_key",
    ),
    "unique index": (
        "23505",
        "INSERT INTO letter SELECT * FROM letter; CREATE UNIQUE INDEX bodies ON letter (body)",
        "bodies",
    ),
    "check": (
        "23514",
        "INSERT INTO person (id, name, age) SELECT 2, body || '!', 'child' FROM letter",
        "grown",
    ),
    "not null": ("23502", "INSERT INTO letter SELECT NULL, name FROM person", "body"),
    "exclusion": (
        "23P01",
        "INSERT INTO person (id, name, born) SELECT 2, name || '!', born FROM person",
        "once",
    ),
    "foreign key": (
        "23503",
        "ALTER TABLE letter ADD CONSTRAINT written FOREIGN KEY (writer) REFERENCES person (name); "
        "UPDATE letter SET writer = body || '!'",
        "written",
    ),
    "cast": ("22P02", "ALTER TABLE person ALTER COLUMN name TYPE int USING name::int", ""),
    "date": ("22007", "SELECT name::date FROM person", ""),
    "as a relation": ("42P01", "SELECT quote_ident(name)::regclass FROM person", ""),
    "as a role": ("42704", "SELECT quote_ident(name)::regrole FROM person", ""),
    "trigger": ("23505", "INSERT INTO watched VALUES (1)", "person_name_key"),
    "dynamic SQL": (
        "42703",
        "DO $$ BEGIN EXECUTE (SELECT format('SELECT %I', name) FROM person); END $$",
        "",
    ),
    "RAISE": ("P0001", "SELECT raised('P0001')", ""),
    "RAISE as a duplicate": ("23505", "SELECT raised('23505')", ""),
    "RAISE as a missing right": ("42501", "SELECT raised('42501')", ""),
    "RAISE as a cancel": ("57014", "SELECT raised('57014')", ""),
    "RAISE of a made-up code": ("ZZ001", "SELECT raised('ZZ001')", ""),
}
"""Kind → SQLSTATE, SQL in which it fails, and a name that has to be told."""


@contextmanager
def speaking(folder: Path) -> Iterator[Server]:
    """A server that can be told by `lc_messages` to speak each of the `LANGUAGES`; the locales are
    made in the folder.

    Debian's PostgreSQL has translations, the wheels have none. Where it is not here, the texts that
    `test_refusal` holds, written in its wording, stand in.
    """
    if not (DEBIAN / "postgres").exists() or not shutil.which("localedef"):
        pytest.skip("nothing here speaks German and French (Debian: postgresql-15, locales)")
    for name in LANGUAGES:
        source, _, charset = name.partition(".")
        if charset:
            command = ["localedef", "--no-archive", "-i", source, "-f", charset, str(folder / name)]
            subprocess.run(command, check=True, capture_output=True)
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCPATH", str(folder))
        made = Server(folder / "server", {**FAST, "shared_preload_libraries": ""}, DEBIAN).start()
    try:
        yield made
    finally:
        made.stop("immediate")


def speak(server: Server, database: str, language: str, tables: str = TABLES) -> Target:
    """A database whose sessions are told what fails in that language; skipped where the
    translations are not installed.
    """
    target = Target.parse(server.url()).named(database)
    with Database(Target.parse(server.url())) as db:
        db.execute(f"CREATE DATABASE {database} TEMPLATE template0")
        db.execute(f"ALTER DATABASE {database} SET lc_messages = '{language}'")
    with Database(target) as db:
        said: list[str] = []
        db.connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        db.execute("SET client_min_messages = notice; DROP TABLE IF EXISTS nothing")
        if language != "C" and "does not exist" in said[0]:
            pytest.skip(f"the translations of PostgreSQL are not installed: {language}")
        db.execute(tables)
    return target
