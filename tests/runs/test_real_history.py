"""A real product's history, the 220 migrations of litellm-proxy-extras: the last five through the runbook, without an application."""

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
from worlds import ROOT

from runbook_lib.demo.embedded import Server
from runbook_lib.phases.base import ENGINE
from runbook_lib.postgres import snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import cli
from runbook_lib.prisma.project import Project
from runbook_lib.run import Run, runs

pytestmark = pytest.mark.timeout(600)

PACKAGE = Path(importlib.util.find_spec("litellm_proxy_extras").origin).parent  # type: ignore[union-attr, arg-type]
PENDING = 5
DATABASE = "real_history"
MARKER = "fictitious-marker-4b1d"
"""In every row that is put in: it may never be seen in the archive."""
ROWS = (
    """INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget, created_by, updated_by)
       SELECT 'fictitious-budget-' || n, n * 1.5, '{marker}', '{marker}' FROM generate_series(1, 50) n""",
    """INSERT INTO "LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id, created_by, updated_by)
       SELECT 'fictitious-organization-' || n, '{marker}', 'fictitious-budget-' || n, '{marker}', '{marker}' FROM generate_series(1, 50) n""",
    """INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, organization_id, members)
       SELECT 'fictitious-team-' || n, '{marker}', 'fictitious-organization-' || (n %% 50 + 1), ARRAY['{marker}'] FROM generate_series(1, 200) n""",
    """INSERT INTO "LiteLLM_CredentialsTable" (credential_id, credential_name, credential_values, created_by, updated_by)
       SELECT 'fictitious-credential-' || n, 'fictitious ' || n, jsonb_build_object('key', '{marker}'), '{marker}', '{marker}' FROM generate_series(1, 20) n""",
    """INSERT INTO "LiteLLM_AccessGroupTable" (access_group_id, access_group_name, access_model_names)
       SELECT 'fictitious-group-' || n, 'fictitious ' || n, ARRAY['{marker}'] FROM generate_series(1, 20) n""",
    """INSERT INTO "LiteLLM_ManagedObjectTable" (id, unified_object_id, model_object_id, file_object, file_purpose, updated_at)
       SELECT 'fictitious-object-' || n, 'u' || n, 'm' || n, jsonb_build_object('name', '{marker}'), 'batch', '2026-01-01' FROM generate_series(1, 500) n""",
)


@dataclass(frozen=True)
class Story:
    """The run, and what the database held before it."""

    run: Run
    url: str
    status: int
    output: str
    before: snapshot.Snapshot

    @property
    def target(self) -> Target:
        """The database."""
        return Target.parse(self.url)


def lay_out(folder: Path, sample: Path) -> Path:
    """The product as a Prisma 7 project: the URL in prisma.config.ts, a generator that is installed. Its migrations are not touched."""
    project = folder / "product"
    (project / "prisma").mkdir(parents=True)
    shutil.copytree(PACKAGE / "migrations", project / "prisma" / "migrations")
    schema = re.sub(r"^  url +=.*\n", "", (PACKAGE / "schema.prisma").read_text(), flags=re.MULTILINE)
    generator = 'generator client {\n  provider = "prisma-client"\n  output   = "../generated"\n}\n'
    (project / "prisma" / "schema.prisma").write_text(re.sub(r"^generator client \{.*?^\}\n", generator, schema, flags=re.MULTILINE | re.DOTALL))
    for name in ("package.json", "package-lock.json", "prisma.config.ts"):
        shutil.copy(sample / name, project / name)
    (project / "node_modules").symlink_to(sample / "node_modules")
    return project


def bring_up_to_date(project: Path, url: str, folder: Path) -> None:
    """All migrations but the last, by the real CLI, with only those folders there; then rows, and the last ones put back."""
    migrations = project / "prisma" / "migrations"
    for path in sorted(path for path in migrations.iterdir() if path.is_dir())[-PENDING:]:
        shutil.move(path, folder / "later" / path.name)
    done = cli.deploy(Project(project, engine="offline", engine_path=ENGINE), url)
    assert len(done.applied) == 220 - PENDING
    with Database(Target.parse(url)) as db:
        for statement in ROWS:
            db.execute(statement.format(marker=MARKER).replace("%%", "%"))
    for path in (folder / "later").iterdir():
        shutil.move(path, migrations / path.name)


def parameters(folder: Path, project: Path, url: str) -> dict[str, Any]:
    """As few as there can be: no application, nobody to tell, no demo."""
    (folder / "database_url").write_text(url)
    return {
        "environment": {"name": "real", "archive": str(folder / "archive")}, "engineer": "Test Engineer",
        "database": {"url": f"file:{folder / 'database_url'}"}, "prisma": {"project": str(project), "engine": "offline"},
        "backup": {"directory": str(folder / "backups"), "disk_free_percent": 1},
        "monitoring": {"cpu_percent": 100, "memory_percent": 100}, "rollback": {"automatic": True},
    }


@pytest.fixture(scope="module")
def story(server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The run, told once."""
    folder, url = tmp_path_factory.mktemp("real"), server.url(DATABASE)
    (folder / "later").mkdir()
    with Database(Target.parse(server.url())) as db:
        db.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    project = lay_out(folder, sample)
    bring_up_to_date(project, url, folder)
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(parameters(folder, project, url)))
    before = snapshot.take(Target.parse(url), "tests")
    done = subprocess.run([Path(sys.executable).parent / "runbook", "run", file], cwd=ROOT, capture_output=True, text=True, timeout=500)
    yield Story(runs(folder / "archive")[-1], url, done.returncode, done.stdout + done.stderr, before)
    with Database(Target.parse(server.url())) as db:
        db.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def test_the_run_succeeds(story: Story) -> None:
    assert (story.run.outcome, story.status) == ("succeeded", 0), story.output[-3000:]
