"""A real product's history, the 220 migrations of litellm-proxy-extras: the last five through
the runbook, without an application.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from worlds import ROOT, outputs

from runbook_lib import archive
from runbook_lib.demo.embedded import Server
from runbook_lib.phases import declared
from runbook_lib.postgres import catalog, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import cli
from runbook_lib.prisma.project import Project
from runbook_lib.run import PHASES, Run, runs

pytestmark = pytest.mark.timeout(600)

PACKAGE = Path(importlib.util.find_spec("litellm_proxy_extras").origin).parent  # type: ignore[union-attr, arg-type]
ALL, PENDING = 220, 5
DATABASE = "real_history"
MARKER = "fictitious-marker-4b1d"
"""In every row that is put in: it may never be seen in the archive."""
ROWS = (
    """INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget, created_by, updated_by)
       SELECT 'fictitious-budget-' || n, n * 1.5, 'MARKER', 'MARKER' FROM generate_series(1,
           50) n""",
    """INSERT INTO "LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id,
           created_by, updated_by)
       SELECT 'fictitious-organization-' || n, 'MARKER', 'fictitious-budget-' || n, 'MARKER',
           'MARKER' FROM generate_series(1, 50) n""",
    """INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, organization_id, members)
       SELECT 'fictitious-team-' || n, 'MARKER', 'fictitious-organization-' || (n % 50 + 1),
           ARRAY['MARKER'] FROM generate_series(1, 200) n""",
    """INSERT INTO "LiteLLM_CredentialsTable" (credential_id, credential_name, credential_values,
           created_by, updated_by)
       SELECT 'fictitious-credential-' || n, 'fictitious ' || n, jsonb_build_object('key',
           'MARKER'), 'MARKER', 'MARKER' FROM generate_series(1, 20) n""",
    """INSERT INTO "LiteLLM_AccessGroupTable" (access_group_id, access_group_name,
           access_model_names)
       SELECT 'fictitious-group-' || n, 'fictitious ' || n, ARRAY['MARKER'] FROM generate_series(1,
           20) n""",
    """INSERT INTO "LiteLLM_ManagedObjectTable" (id, unified_object_id, model_object_id,
           file_object, file_purpose, updated_at)
       SELECT 'fictitious-object-' || n, 'u' || n, 'm' || n, jsonb_build_object('name', 'MARKER'),
           'batch', '2026-01-01' FROM generate_series(1, 500) n""",
)


@dataclass(frozen=True)
class Story:
    """The run that was told, and what the database held before it.

    Args:
        before: every column of that time, by content.
    """

    run: Run
    project: Path
    target: Target
    status: int
    output: str
    before: snapshot.Snapshot

    def evidence(self, name: str) -> Any:
        """What the run kept under that name."""
        return self.run.read_evidence(name)


def lay_out(folder: Path, sample: Path) -> Path:
    """The product as a Prisma 7 project: the URL in prisma.config.ts, a generator that is
    installed. Its migrations are not touched.
    """
    project = folder / "product"
    (project / "prisma").mkdir(parents=True)
    shutil.copytree(PACKAGE / "migrations", project / "prisma" / "migrations")
    schema = re.sub(
        r"^  url +=.*\n", "", (PACKAGE / "schema.prisma").read_text(), flags=re.MULTILINE
    )
    generator = 'generator client {\n  provider = "prisma-client"\n  output   = "../generated"\n}\n'
    (project / "prisma" / "schema.prisma").write_text(
        re.sub(r"^generator client \{.*?^\}\n", generator, schema, flags=re.MULTILINE | re.DOTALL)
    )
    for name in ("package.json", "package-lock.json", "prisma.config.ts"):
        shutil.copy(sample / name, project / name)
    (project / "node_modules").symlink_to(sample / "node_modules")
    return project


def bring_up_to_date(project: Path, url: str, folder: Path) -> None:
    """All migrations but the last, by the real CLI, with only those folders there; then rows,
    and the last ones put back.
    """
    migrations = project / "prisma" / "migrations"
    for path in sorted(path for path in migrations.iterdir() if path.is_dir())[-PENDING:]:
        shutil.move(path, folder / "later" / path.name)
    done = cli.deploy(Project(project, engine="offline"), url)
    assert len(done.applied) == ALL - PENDING
    with Database(Target.parse(url)) as db:
        for statement in ROWS:
            db.execute(statement.replace("MARKER", MARKER))
    for path in (folder / "later").iterdir():
        shutil.move(path, migrations / path.name)


def parameters(folder: Path, project: Path, url: str) -> dict[str, Any]:
    """As few as there can be: no application, nobody to tell, no demo."""
    (folder / "database_url").write_text(url)
    return {
        "environment": {"name": "real", "archive": str(folder / "archive")},
        "engineer": "Test Engineer",
        "database": {"url": f"file:{folder / 'database_url'}"},
        "prisma": {"project": str(project), "engine": "offline"},
        "backup": {"directory": str(folder / "backups"), "disk_free_percent": 1},
        "monitoring": {"cpu_percent": 100, "memory_percent": 100, "disk_io_percent": 100},
        "rollback": {"automatic": True},
        "validate": {"slow_queries": False},
    }


def columns(target: Target) -> dict[str, list[list[str]]]:
    """Every table's columns by name, so that a later snapshot can be compared in these alone."""
    with Database(target) as db:
        objects = catalog.read(db).objects
    return {
        table: [
            [
                name.removeprefix(f"{table}.")
                for name in objects["column"]
                if name.startswith(f"{table}.")
            ]
        ]
        for table in objects["table"]
    }


def runbook(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`runbook …`, to its end."""
    return subprocess.run(
        [Path(sys.executable).parent / "runbook", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture(scope="module")
def story(
    server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """The run, told once."""
    folder, url = tmp_path_factory.mktemp("real"), server.url(DATABASE)
    (folder / "later").mkdir()
    with Database(Target.parse(server.url())) as db:
        db.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    project, target = lay_out(folder, sample), Target.parse(url)
    bring_up_to_date(project, url, folder)
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(parameters(folder, project, url)))
    before = snapshot.take(target, "tests", columns=columns(target))
    done = runbook("run", file)
    yield Story(
        runs(folder / "archive")[-1],
        project,
        target,
        done.returncode,
        done.stdout + done.stderr,
        before,
    )
    with Database(Target.parse(server.url())) as db:
        db.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def test_the_run_succeeds_and_run_json_says_so(story: Story) -> None:
    state, names = (
        story.run.state,
        sorted(
            path.parent.name for path in story.project.glob("prisma/migrations/*/migration.sql")
        ),
    )
    assert (state["outcome"], story.status) == ("succeeded", 0), story.output[-3000:]
    assert [
        (entry["phase"], entry["status"], entry["failed_checks"]) for entry in state["phases"]
    ] == [(phase, "succeeded", []) for phase in PHASES]
    assert state["migrations"] == names[-PENDING:] and len(names) == ALL
    assert (state["environment"], state["engineer"], state["target"]["database"]) == (
        "real",
        "Test Engineer",
        DATABASE,
    )
    assert (
        state["duration_s"] > 0
        and state["downtime_s"] is None
        and "downtime: not measured" in story.output
    )


def test_the_archive_is_whole_and_sealed(story: Story) -> None:
    for entry in story.run.state["phases"]:
        assert archive.judge(story.run.folder / entry["notebook"]) == (True, "")
    done = runbook("verify", story.run.folder)
    assert (done.returncode, "intact" in done.stdout) == (0, True), done.stdout
    assert story.run.state["migrations"][-1] in (story.run.folder / "report.html").read_text()


def test_neither_a_row_nor_the_password_is_in_the_archive(story: Story) -> None:
    for secret in (MARKER, story.target.password):
        assert secret not in story.output
        assert not [
            path
            for path in story.run.folder.rglob("*")
            if path.is_file() and secret.encode() in path.read_bytes()
        ]


def test_every_migration_is_recorded_as_applied(story: Story) -> None:
    with Database(story.target) as db:
        rows = db.rows(
            'SELECT migration_name FROM "_prisma_migrations" WHERE finished_at IS NOT NULL '
            "AND rolled_back_at IS NULL"
        )
    assert {row["migration_name"] for row in rows} == {
        path.parent.name for path in story.project.glob("prisma/migrations/*/migration.sql")
    }
    assert len(rows) == ALL


def test_what_was_there_is_there_unchanged(story: Story) -> None:
    after = declared.taken_again(story.before, story.target, "tests")
    found = declared.compare(story.before, after, {})
    assert {item.found.name for item in found.items if item.verdict != "identical"} == {
        "public._prisma_migrations",
        'public."LiteLLM_TelemetryReport"',
    }
    with Database(story.target) as db:
        assert (
            db.value('SELECT count(*) FROM "LiteLLM_ManagedObjectTable" WHERE end_user_id IS NULL')
            == 500
        )
        assert (
            db.value(
                'SELECT count(*) FROM "LiteLLM_AccessGroupTable" '
                "WHERE access_skill_names = ARRAY[]::text[]"
            )
            == 20
        )


def test_drift_that_was_there_before_is_shown_and_is_not_this_migrations_failure(
    story: Story,
) -> None:
    """The schema file has two indexes that no migration makes."""
    drift = story.evidence("rehearse.differing")
    assert {line.partition(" ON ")[2] for line in drift if "LiteLLM_SpendLogs" in line} == {
        f'"LiteLLM_SpendLogs"({keys})' for keys in ('"api_key", "startTime"', '"litellm_call_id"')
    }
    assert drift == story.evidence("migrate.differing")
    assert "litellm_call_id" in outputs(story.run.folder / "20_rehearse.ipynb")
    found = next(item for item in story.evidence("migrate.verify") if item["id"] == "migrate.pull")
    assert (
        found["status"] == "passed"
        and f"differ in {len(drift)} statements, the same as in the rehearsal" in found["found"]
    )


def test_without_an_application_nothing_is_said_of_one(story: Story) -> None:
    said = {
        name: outputs(story.run.folder / f"{name}.ipynb")
        for name in ("50_announce", "70_validate", "80_close")
    }
    assert (
        "There is no maintenance mode" in said["50_announce"]
        and "Maintenance mode, proven" not in said["50_announce"]
    )
    assert (
        "Nobody was told" in said["50_announce"] and "`service` is not set" in said["70_validate"]
    )
    assert "✘ not delivered" not in (story.run.folder / "report.html").read_text()
    assert (
        "`service.maintenance` is not set" in said["80_close"]
        and "no maintenance mode configured" in said["80_close"]
    )
