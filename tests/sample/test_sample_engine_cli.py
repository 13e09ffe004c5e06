"""The real Prisma CLI on the offline engine: every command that the runbook calls."""

from __future__ import annotations

TABLE = (
    'CREATE TABLE "T" (\n    "id" INTEGER NOT NULL,\n\n    CONSTRAINT "T_pkey" PRIMARY KEY '
    '("id")\n);\n'
)
FAILING = 'CREATE TABLE "U" ();\nINSERT INTO "T" VALUES (1), (1);\n'
MODEL = "\nmodel T {\n  id Int @id\n}\n"


def test_a_database_is_taken_from_pending_to_up_to_date(project, database):
    project.migration("1_table", TABLE)
    pending = project.prisma("migrate", "status", url=database)
    assert pending.returncode == 1 and "have not yet been applied:\n1_table" in pending.stdout
    deployed = project.prisma("migrate", "deploy", url=database)
    assert deployed.returncode == 0 and "└─ 1_table/" in deployed.stdout
    current = project.prisma("migrate", "status", url=database)
    assert current.returncode == 0 and "Database schema is up to date!" in current.stdout


def test_a_failed_migration_is_reported_with_its_sqlstate_and_place(project, database, query):
    project.migration("1_table", TABLE)
    project.migration("2_failing", "-- one\nSELECT 1;\nSELECT nothing;")
    failed = project.prisma("migrate", "deploy", url=database)
    assert failed.returncode == 1 and "Error: P3018" in failed.stdout
    assert "Migration name: 2_failing" in failed.stdout
    assert "Database error code: 42703" in failed.stdout
    assert 'ERROR: column "nothing" does not exist' in failed.stdout
    assert "  3\x1b[1;31m SELECT nothing;" in failed.stdout
    assert 'routine: Some("errorMissingColumn")' in failed.stdout
    (logs,) = query(database, "SELECT logs FROM _prisma_migrations WHERE logs IS NOT NULL")
    assert logs.startswith("A migration failed to apply.") and "Database error code: 42703" in logs


def test_a_failed_migration_stops_the_next_deployment_until_it_is_resolved(project, database):
    project.migration("1_table", TABLE)
    project.migration("2_failing", FAILING)
    with project.engine(database, OFFLINE_ENGINE_TRANSACTIONS="file") as engine:
        engine.deploy()
    status = project.prisma("migrate", "status", url=database)
    assert status.returncode == 1 and "Following migration have failed:\n2_failing" in status.stdout
    assert "P3009" in project.prisma("migrate", "deploy", url=database).stdout
    resolved = project.prisma("migrate", "resolve", "--rolled-back", "2_failing", url=database)
    assert (
        resolved.returncode == 0 and "Migration 2_failing marked as rolled back." in resolved.stdout
    )
    applied = project.prisma("migrate", "resolve", "--applied", "2_failing", url=database)
    assert applied.returncode == 0 and "Migration 2_failing marked as applied." in applied.stdout


def test_a_migration_that_succeeded_cannot_be_rolled_back(project, database):
    project.migration("1_table", TABLE)
    with project.engine(database) as engine:
        engine.deploy()
        assert (
            engine.ask("markMigrationRolledBack", migrationName="1_table")["error"]["data"][
                "error_code"
            ]
            == "P3012"
        )


def test_the_migrations_and_the_database_are_compared_in_a_shadow_database(
    project, database, query
):
    project.migration("1_table", TABLE)
    project.schema(MODEL)
    with project.engine(database) as engine:
        engine.deploy()
    diff = ["migrate", "diff", "--from-migrations", "prisma/migrations", "--exit-code"]
    same = project.prisma(*diff, "--to-config-datasource", url=database)
    assert same.returncode == 0 and "No difference detected." in same.stdout
    query(database, 'ALTER TABLE "T" ADD COLUMN "stray" text')
    drifted = project.prisma(*diff, "--to-config-datasource", url=database)
    assert drifted.returncode == 2 and "Added column `stray`" in drifted.stdout
    assert (
        query(
            database, "SELECT datname FROM pg_database WHERE datname LIKE 'prisma_migrate_shadow%'"
        )
        == []
    )


def test_a_migration_that_fails_in_the_shadow_database_leaves_no_shadow_database(
    project, database, query
):
    project.migration("1_failing", FAILING)
    diff = [
        "migrate",
        "diff",
        "--from-migrations",
        "prisma/migrations",
        "--to-schema",
        "prisma/schema.prisma",
    ]
    failed = project.prisma(*diff, url=database)
    assert failed.returncode == 1 and "P3006" in failed.stdout and "1_failing" in failed.stdout
    assert (
        query(
            database, "SELECT datname FROM pg_database WHERE datname LIKE 'prisma_migrate_shadow%'"
        )
        == []
    )


def test_a_configured_shadow_database_is_used_and_never_the_database_itself(
    project, database, server, query
):
    project.migration("1_table", TABLE)
    shadow = server.url("sample_shadow")
    query(server.url(), "CREATE DATABASE sample_shadow")
    query(shadow, "CREATE TABLE left_behind ()")
    with project.engine(database, shadow=shadow) as engine:
        assert (
            engine.compare_migrations_with_nothing()["params"]["content"].strip()
            == '-- DropTable\nDROP TABLE "public"."T";'
        )
    query(database, "CREATE TABLE precious ()")
    with project.engine(database, shadow=database) as engine:
        assert (
            "must not be the database itself"
            in engine.compare_migrations_with_nothing()["error"]["data"]["message"]
        )
    assert query(database, "SELECT relname FROM pg_class WHERE relname = 'precious'") == [
        "precious"
    ]


def test_two_schemas_are_compared_without_any_database(project):
    project.schema(MODEL)
    nowhere = "postgresql://nobody:nothing@127.0.0.1:1/none"
    diff = project.prisma(
        "migrate",
        "diff",
        "--from-empty",
        "--to-schema",
        "prisma/schema.prisma",
        "--script",
        url=nowhere,
    )
    assert diff.returncode == 0 and TABLE in diff.stdout


def test_the_database_is_pulled_into_the_schema(project, database, query):
    query(
        database,
        TABLE
        + "CREATE TYPE mood AS ENUM ('fine'); ALTER TABLE \"T\" ADD COLUMN mood mood NOT NULL",
    )
    pulled = project.prisma("db", "pull", url=database)
    assert pulled.returncode == 0, pulled.stdout
    schema = (project.folder / "prisma/schema.prisma").read_text()
    assert "id   Int  @id" in schema and "mood mood" in schema and "enum mood {" in schema


def test_commands_that_need_no_engine_work_beside_it(project, database):
    project.schema(MODEL)
    for command in (["format"], ["validate"]):
        assert project.prisma(*command, url=database).returncode == 0
    version = project.prisma("--version", url=database).stdout
    assert "schema-engine-cli" in version and "resolved by PRISMA_SCHEMA_ENGINE_BINARY" in version
