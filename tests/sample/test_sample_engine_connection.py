"""How the engine reaches a server, what it says when it cannot, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
from urllib.parse import quote

import psutil
import psycopg
import pytest

SLEEPS = "CREATE TABLE before ();\nSELECT pg_sleep(300);\n"
CHECKED = "-c client_connection_check_interval=100ms"


def with_options(url, options):
    return f"{url}?options={quote(options)}"


def sleeping(url, query):
    return query(
        url,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE '%pg_sleep(300)%'"
        " AND pid <> pg_backend_pid()",
    )


def group_exists(group):
    """Whether a process of the group is left, a zombie apart."""
    return any(
        process.is_running()
        and process.status() != psutil.STATUS_ZOMBIE
        and os.getpgid(process.pid) == group
        for process in psutil.process_iter()
    )


def test_options_in_the_url_reach_the_server(project, database):
    project.migration(
        "1",
        "DO $$ BEGIN RAISE '% % %', current_setting('lock_timeout'), "
        "current_setting('statement_timeout'), current_setting('application_name'); END $$;",
    )
    url = with_options(
        database,
        "-c lock_timeout=5s -c statement_timeout=10min -c application_name=runbook/run/migrate",
    )
    with project.engine(url) as engine:
        assert "ERROR: 5s 10min runbook/run/migrate" in engine.deploy()["error"]["data"]["message"]


def test_a_lock_timeout_fails_the_deployment_quickly(project, database):
    project.migration("1", "CREATE TABLE t ();")
    with project.engine(database) as engine:
        engine.deploy()
    project.migration("2", "ALTER TABLE t ADD COLUMN i integer;")
    with (
        psycopg.connect(database) as blocker,
        project.engine(with_options(database, "-c lock_timeout=200ms")) as engine,
    ):
        blocker.execute("LOCK TABLE t")
        failure = engine.deploy()["error"]["data"]
    assert failure["error_code"] == "P3018" and failure["meta"]["database_error_code"] == "55P03"
    assert "ERROR: canceling statement due to lock timeout" in failure["message"]


def test_the_schema_in_the_url_is_where_migrations_work(project, database, query):
    project.migration("1", "CREATE TABLE t ();")
    with project.engine(f"{database}?schema=own+schema") as engine:
        assert "result" in engine.deploy()
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'own schema' ORDER BY 1"
    assert query(database, tables) == ["_prisma_migrations", "t"]


def test_encryption_is_demanded_where_the_url_demands_it(project, database):
    with project.engine(f"{database}?sslmode=require") as engine:
        refused = engine.ask("getDatabaseVersion")["error"]["data"]
    assert (
        refused["error_code"] == "P1011"
        and "The server does not support SSL connections" in refused["message"]
    )
    with project.engine(f"{database}?sslmode=prefer") as engine:
        assert engine.ask("getDatabaseVersion")["result"].startswith("PostgreSQL")


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (
            lambda url: re.sub(r"[^/]+$", "missing", url),
            "P1003",
            "Database `missing` does not exist",
        ),
        (
            lambda url: re.sub(r":[^:]+@", ":false-secret@", url),
            "P1000",
            "Authentication failed against database server",
        ),
        (
            lambda url: re.sub(r":[0-9]+/", ":1/", url),
            "P1001",
            "Can't reach database server at `127.0.0.1:1`",
        ),
        (
            lambda url: url.replace("postgresql", "mysql"),
            "P1013",
            "The provided database string is invalid.",
        ),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_by_prismas_code(
    project, database, change, code, says
):
    url = change(database)
    failed = project.can_connect(url)
    report = json.loads(failed.stderr.split("\n")[1])["fields"]  # the CLI skips the first line
    assert failed.returncode == 1 and report["error_code"] == code and says in report["message"]
    assert url.split(":")[2].split("@")[0] not in failed.stderr


def test_a_missing_database_is_created_only_by_the_commands_that_the_cli_creates_it_for(
    project, server, query
):
    url, exists = (
        server.url("sample_created"),
        "SELECT count(*) FROM pg_database WHERE datname = 'sample_created'",
    )
    project.migration("1", "CREATE TABLE t ();")
    assert (
        "P1003: Database `sample_created` does not exist"
        in project.prisma("migrate", "status", url=url).stdout
    )
    assert query(server.url(), exists) == [0]
    created = project.prisma("migrate", "deploy", url=url)
    assert created.returncode == 0, created.stdout
    assert query(server.url(), exists) == [1]


def test_the_engine_ends_with_its_input_and_so_does_its_session(
    project, database, query, eventually
):
    project.migration("1", SLEEPS)
    engine = project.engine(with_options(database, CHECKED))
    engine.send("applyMigrations", **engine.migrations())
    eventually(lambda: sleeping(database, query))
    engine.process.communicate(timeout=60)
    eventually(lambda: not sleeping(database, query))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_engine_ends_promptly_on_a_signal(project, database, query, eventually, number):
    project.migration("1", SLEEPS)
    engine = project.engine(with_options(database, CHECKED))
    engine.send("applyMigrations", **engine.migrations())
    eventually(lambda: sleeping(database, query))
    engine.process.send_signal(number)
    assert engine.process.wait(timeout=60) == 1
    assert f"The schema engine was stopped by {number.name}" in engine.process.communicate()[1]
    eventually(lambda: not sleeping(database, query))


def test_nothing_stays_behind_when_the_cli_is_killed(project, database, query, eventually, started):
    project.migration("1", SLEEPS)
    url = with_options(database, CHECKED)
    cli = started(
        ["node_modules/.bin/prisma", "migrate", "deploy"],
        cwd=project.folder,
        env=project.environment(url),
    )
    eventually(lambda: sleeping(database, query))
    os.kill(cli.pid, signal.SIGKILL)
    eventually(lambda: not sleeping(database, query))
    eventually(lambda: not group_exists(cli.pid))


def test_a_shadow_database_is_dropped_when_the_engine_is_stopped(
    project, database, query, eventually
):
    project.migration("1", SLEEPS)
    shadows = "SELECT datname FROM pg_database WHERE datname LIKE 'prisma_migrate_shadow%'"
    engine = project.engine(database)
    engine.send_comparison()
    eventually(lambda: query(database, shadows))
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(timeout=60) == 1
    engine.process.communicate()
    eventually(lambda: not query(database, shadows))
