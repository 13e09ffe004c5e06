"""The sample's history: four applied migrations, three pending ones, and what its scenarios make
of them.
"""

from __future__ import annotations

import shutil

import pytest
from sample_project import DEPLOYED, Project

from runbook_lib.postgres.connection import Database, Target


@pytest.fixture
def with_scenario(platform, tmp_path):
    """A copy of the platform in which a scenario's files lie over its own."""

    def lay_over(name: str) -> Project:
        folder = tmp_path / name
        shutil.copytree(
            platform.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("node_modules")
        )
        shutil.copytree(
            folder / "scenarios" / name / "migrations",
            folder / "prisma/migrations",
            dirs_exist_ok=True,
        )
        return Project(folder, platform.sample)

    return lay_over


def write(project, name: str, url: str) -> None:
    """What somebody writes between rehearsal and night in a scenario."""
    with Database(Target.parse(url)) as db:
        db.execute((project.folder / "scenarios" / name / "writes.sql").read_text())


def migrations(project):
    return sorted(path.name for path in project.migrations.iterdir() if path.is_dir())


def test_the_deployed_schema_is_what_the_first_four_migrations_make(platform, deployed_database):
    diff = platform.prisma(
        "migrate",
        "diff",
        "--from-config-datasource",
        "--to-schema",
        "prisma/deployed.prisma",
        "--exit-code",
        url=deployed_database,
    )
    assert diff.returncode == 0, diff.stdout


def test_exactly_the_last_three_migrations_are_pending(platform, deployed_database):
    with platform.engine(deployed_database) as engine:
        history = engine.ask(
            "diagnoseMigrationHistory", optInToShadowDatabase=False, **engine.migrations()
        )["result"]["history"]
    assert (
        history["diagnostic"] == "databaseIsBehind" and len(history["unappliedMigrationNames"]) == 3
    )
    assert history["unappliedMigrationNames"] == migrations(platform)[DEPLOYED:]


def test_the_new_schema_is_what_all_migrations_make_and_all_rules_still_hold(
    platform, deployed_database
):
    deployed = platform.prisma("migrate", "deploy", url=deployed_database)
    assert "All migrations have been successfully applied." in deployed.stdout
    diff = platform.prisma(
        "migrate",
        "diff",
        "--from-config-datasource",
        "--to-schema",
        "prisma/schema.prisma",
        "--exit-code",
        url=deployed_database,
    )
    assert diff.returncode == 0, diff.stdout
    assert (
        "InsurancePolicy.patientId names a Patient: 0"
        in platform.npm("db:validate", url=deployed_database).stdout
    )


@pytest.mark.parametrize(
    ("mode", "columns"), [("file", ["insuranceNumber", "insurerName"]), ("statement", [])]
)
def test_failing_migration_fails_half_way(with_scenario, deployed_database, query, mode, columns):
    project = with_scenario("failing-migration")
    write(project, "failing-migration", deployed_database)
    with project.engine(deployed_database, OFFLINE_ENGINE_TRANSACTIONS=mode) as engine:
        failure = engine.deploy()["error"]["data"]
    assert failure["error_code"] == "P3018" and failure["meta"]["database_error_code"] == "23505"
    left = (
        "SELECT attname FROM pg_attribute WHERE attrelid = '\"Patient\"'::regclass "
        "AND attname ~ '^insur' AND NOT attisdropped"
    )
    assert sorted(query(deployed_database, left)) == columns


def test_bad_data_succeeds_and_leaves_orphans(with_scenario, deployed_database):
    project = with_scenario("bad-data")
    write(project, "bad-data", deployed_database)
    with project.engine(deployed_database) as engine:
        assert "result" in engine.deploy()
    checked = project.npm("db:validate", url=deployed_database)
    assert (
        checked.returncode == 1
        and "FAIL InsurancePolicy.patientId names a Patient: 1" in checked.stdout
    )


@pytest.mark.parametrize("name", ["failing-migration", "bad-data"])
def test_scenarios_go_well_on_the_data_of_the_rehearsal(with_scenario, deployed_database, name):
    project = with_scenario(name)
    with project.engine(deployed_database) as engine:
        assert "result" in engine.deploy()
    assert project.npm("db:validate", url=deployed_database).returncode == 0


def test_scenarios_replace_pending_migrations_only(platform):
    replaced = {path.name for path in platform.folder.glob("scenarios/*/migrations/*")}
    assert replaced and replaced <= set(migrations(platform)[DEPLOYED:])
