"""A real migration that fails on a row, in three languages: the CLI prints the row, and nothing
of it is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.prisma import cli, history
from runbook_lib.prisma.cli import MigrationFailed
from tests.languages import LANGUAGES, TABLES, WORDS, speak, speaking
from tests.prisma.conftest import Make, rows

DUPLICATE = "INSERT INTO person (id, name) SELECT 2, name FROM person;"
FAILING = {
    "C": ("SELECT raised('23505');", "23505"),
    "de_DE.UTF-8": (DUPLICATE, "23505"),
    "fr_FR.UTF-8": ("ALTER TABLE person ALTER COLUMN name TYPE int USING name::int;", "22P02"),
}
"""Language → a migration that fails, and how."""


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks each language."""
    with speaking(tmp_path_factory.mktemp("polyglot")) as made:
        yield made


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_migration_that_fails_on_a_row_tells_none_of_it_in_any_language(
    make: Make, polyglot: Server, language: str
) -> None:
    target = speak(polyglot, language[:2].lower() + "_told", language, tables="SELECT 1")
    statement, sqlstate = FAILING[language]
    project, lines = make({"1_init": TABLES, "2_bad": statement}), []
    with pytest.raises(MigrationFailed) as caught:
        cli.deploy(project, target.url("tests"), on_line=lines.append)
    kept = rows(target.url())
    found = history.compare(history.files(project), kept)
    assert any(word in str(kept) for word in WORDS)  # Prisma itself keeps the row in its history
    said = f"{caught.value}{caught.value.output}{lines}"
    said += f"{json.dumps(found.as_dict(), default=str)}{found.entries}"
    assert caught.value.sqlstate == sqlstate and f"({sqlstate})" in said, said
    assert not any(word in said for word in WORDS), said
    if statement == DUPLICATE:
        assert 'constraint "person_name_key" of table "public.person"' in str(caught.value)
