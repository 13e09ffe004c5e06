"""A file made to fail after its last statement, in a copy of the project; and what it then
leaves, by the real CLI.
"""

from __future__ import annotations

import pytest
from pglast import parser

from runbook_lib.errors import UsageError
from runbook_lib.prisma import cli, failing, history
from tests.prisma.conftest import INIT, Make, run, values

TWO = {
    "20260201000000_two": (
        'ALTER TABLE "Patient" ADD COLUMN a int;\nALTER TABLE "Patient" ADD COLUMN b int -- the '
        "last\n"
    )
}
ADDED = "SELECT nextval('runbook_failing.reached') / 0"
LATER = {"20260301000000_later": 'DROP TABLE "Patient";\n'}


@pytest.mark.parametrize(
    ("sql", "after", "expected"),
    [
        ("SELECT 1;", 1, ["SELECT 1", ADDED]),
        ("SELECT 1", 1, ["SELECT 1", ADDED]),
        ("SELECT 1 -- no semicolon;", 1, ["SELECT 1 -- no semicolon;", ADDED]),
        ("SELECT ';' ; -- end\n", 1, ["SELECT ';'", ADDED]),
        ("\ufeffSELECT 'ä';\nSELECT 2;", 2, ["SELECT 'ä'", "SELECT 2", ADDED]),
        ("BEGIN; SELECT 1; COMMIT;", 2, ["BEGIN", "SELECT 1", ADDED, "COMMIT"]),
        ("SELECT 1; COMMIT; SELECT 2; -- x", 3, ["SELECT 1", "COMMIT", "SELECT 2", ADDED]),
        ("DO $$ BEGIN PERFORM 1; END $$", 1, ["DO $$ BEGIN PERFORM 1; END $$", ADDED]),
    ],
)
def test_the_failure_stands_behind_the_last_statement_and_before_its_commit(
    sql: str, after: int, expected: list[str]
) -> None:
    assert [text.strip() for text in parser.split(failing.broken(sql, after))] == expected


def test_a_file_that_is_no_sql_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be parsed"):
        failing.broken("ALTER TABL x;", 1)


@pytest.mark.parametrize(("mode", "left"), [("file", []), ("statement", ["a", "b"])])
def test_what_the_failed_file_leaves_follows_the_engine(
    make: Make, database: str, mode: str, left: list[str]
) -> None:
    project = make({**INIT, **TWO, **LATER}, mode)
    run(database, INIT["20260101000000_init"])
    run(database, failing.MARK)
    file = next(one for one in history.files(project) if one.name in TWO)
    before = {
        path: path.read_bytes()
        for path in project.folder.rglob("*")
        if path.is_file() and "node_modules" not in path.parts
    }
    cli.resolve(project, database, applied="20260101000000_init")
    with (
        failing.failing(project, file, 2, list(LATER)) as copy,
        pytest.raises(cli.MigrationFailed),
    ):
        place = copy.schema.parent
        cli.deploy(copy, database)
    assert values(database, f"SELECT is_called FROM {failing.REACHED}") == [True]
    columns = values(
        database,
        "SELECT attname FROM pg_attribute WHERE attrelid = '\"Patient\"'::regclass "
        "AND attname IN ('a', 'b') ORDER BY 1",
    )
    assert columns == left and not place.exists()
    assert before == {
        path: path.read_bytes()
        for path in project.folder.rglob("*")
        if path.is_file() and "node_modules" not in path.parts
    }
