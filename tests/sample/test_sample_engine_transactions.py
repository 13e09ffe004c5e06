"""What a migration file is to the server: one transaction, or one for each statement."""

from __future__ import annotations

import json
import subprocess

import pytest

FAILS_SECOND = 'CREATE TABLE "first" ();\nSELECT 1 / 0;\n'
TABLES = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
    "AND tablename <> '_prisma_migrations'"
)
MODES = ["file", "statement"]


def deploy(project, url, mode):
    with project.engine(url, **({"OFFLINE_ENGINE_TRANSACTIONS": mode} if mode else {})) as engine:
        return engine.deploy()


@pytest.mark.parametrize(
    ("mode", "left"), [("file", []), ("statement", ["first"]), (None, ["first"])]
)
def test_what_a_file_leaves_that_fails_at_its_second_statement(
    project, database, query, mode, left
):
    project.migration("1", FAILS_SECOND)
    answer = deploy(project, database, mode)
    assert answer["error"]["data"]["meta"]["database_error_code"] == "22012"
    assert query(database, TABLES) == left


@pytest.mark.parametrize("mode", MODES)
def test_an_explicit_transaction_is_rolled_back_and_hides_its_error_as_with_the_native_engine(
    project, database, query, mode
):
    project.migration("1", 'BEGIN;\nCREATE TABLE "first" ();\nSELECT 1 / 0;\nCOMMIT;\n')
    answer = deploy(project, database, mode)
    assert "current transaction is aborted" in answer["error"]["data"]["message"]
    assert query(database, TABLES) == []
    assert query(database, "SELECT finished_at FROM _prisma_migrations") == [None]


@pytest.mark.parametrize("mode", MODES)
def test_a_commit_inside_a_file_keeps_what_came_before_it(project, database, query, mode):
    project.migration("1", 'BEGIN;\nCREATE TABLE "first" ();\nCOMMIT;\nSELECT 1 / 0;\n')
    assert "error" in deploy(project, database, mode)
    assert query(database, TABLES) == ["first"]


@pytest.mark.parametrize("mode", MODES)
def test_a_do_block_is_one_statement(project, database, query, mode):
    project.migration(
        "1", "DO $$ BEGIN CREATE TABLE made (); PERFORM 1; END $$;\nCREATE TABLE also_made ();\n"
    )
    assert "result" in deploy(project, database, mode)
    assert query(database, TABLES) == ["made", "also_made"]


@pytest.mark.parametrize("mode", MODES)
def test_an_index_is_built_concurrently_by_a_file_of_its_own(project, database, query, mode):
    project.migration("1", "CREATE TABLE t (i integer);")
    project.migration("2", "-- CreateIndex\nCREATE INDEX CONCURRENTLY t_i ON t (i);\n")
    assert "result" in deploy(project, database, mode)
    assert query(
        database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 't_i'::regclass"
    ) == [True]


def test_an_index_is_built_concurrently_beside_other_statements_only_where_each_commits_alone(
    project, database
):
    project.migration("1", "CREATE TABLE t (i integer);\nCREATE INDEX CONCURRENTLY t_i ON t (i);\n")
    assert (
        deploy(project, database, "file")["error"]["data"]["meta"]["database_error_code"] == "25001"
    )
    with project.engine(database) as engine:
        engine.ask("markMigrationRolledBack", migrationName="1")
    assert "result" in deploy(project, database, "statement")


def test_another_behaviour_is_refused(project, database):
    engine = project.engine(database, OFFLINE_ENGINE_TRANSACTIONS="batch")
    _, errors = engine.process.communicate(timeout=60)
    assert engine.process.returncode == 1
    assert 'OFFLINE_ENGINE_TRANSACTIONS must be statement or file, and not \\"batch\\".' in errors


SCRIPTS = {
    "two statements": ("SELECT 1; SELECT 2", ["SELECT 1;", "SELECT 2"]),
    "nothing": (" ;; -- only a comment\n/* and ; another */ ;", []),
    "a string": ("SELECT 'a;b''c;'; SELECT 2;", ["SELECT 'a;b''c;';", "SELECT 2;"]),
    "a backslash ends a plain string": (r"SELECT '\'; SELECT 2;", [r"SELECT '\';", "SELECT 2;"]),
    "a backslash escapes in an E string": (
        r"SELECT E'\';'; SELECT 2;",
        [r"SELECT E'\';';", "SELECT 2;"],
    ),
    "a quoted name": ('SELECT 1 AS "a;""b"; SELECT 2;', ['SELECT 1 AS "a;""b";', "SELECT 2;"]),
    "dollar quotes": (
        "DO $a$ x; $$ y; $$ $a$; SELECT 2;",
        ["DO $a$ x; $$ y; $$ $a$;", "SELECT 2;"],
    ),
    "a dollar in a name or a parameter": (
        "SELECT a$b$c; SELECT $1;",
        ["SELECT a$b$c;", "SELECT $1;"],
    ),
    "nested comments": (
        "SELECT /* a; /* b; */ c; */ 1; SELECT 2;",
        ["SELECT /* a; /* b; */ c; */ 1;", "SELECT 2;"],
    ),
    "a comment before a statement is left out": ("-- one;\nSELECT 1;", ["SELECT 1;"]),
    "parentheses": (
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3;",
        ["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);", "SELECT 3;"],
    ),
}
WHOLE = {
    "an SQL function body": (
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3;"
    ),
    "a string that never ends": "SELECT 'a; SELECT 2;",
    "a name that never ends": 'SELECT "a; SELECT 2;',
    "a dollar quote that never ends": "DO $x$ a; SELECT 2;",
    "a comment that never ends": "SELECT 1; /* a; SELECT 2;",
    "a parenthesis that never ends": "SELECT (1; SELECT 2;",
}


@pytest.fixture(scope="module")
def split(sample):
    """All scripts, split by one process."""
    scripts = [script for script, _ in SCRIPTS.values()] + list(WHOLE.values())
    program = (
        "import { splitStatements } from './tooling/engine/statements.mjs';const scripts = "
        "JSON.parse(process.argv[1]);console.log(JSON.stringify(scripts.map((script) => "
        "splitStatements(script).map(({ text }) => text))))"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program, json.dumps(scripts)],
        cwd=sample,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(scripts, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("script", "statements"), SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_is_split_where_its_statements_end(split, script, statements):
    assert split[script] == statements


@pytest.mark.parametrize("script", WHOLE.values(), ids=WHOLE.keys())
def test_a_script_that_is_not_understood_is_sent_whole(split, script):
    assert split[script] == [script]
