"""Older versions of Prisma with the engine that was made with them: the real CLI, from npm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from runbook_lib.check import Status
from runbook_lib.errors import UsageError
from runbook_lib.prisma import cli, engine, generation
from runbook_lib.prisma.project import Project
from tests.prisma.conftest import INIT, run, write

PACKAGES = engine.CACHE / "tests"
SCHEMA = """generator client {
  provider        = "prisma-client-js"
  previewFeatures = ["prismaSchemaFolder"]
}

datasource db {
  provider  = "postgresql"
  url       = env("POOLED_URL")
  directUrl = env("DIRECT_URL")
}
"""
MODEL = "model Patient {\n  id   Int    @id\n  name String\n}\n"


@pytest.fixture(params=["6.6.0", "6.19.0"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project with a schema of two files on that version; its packages are installed once."""
    packages = PACKAGES / request.param
    if not (packages / "node_modules" / ".bin" / "prisma").exists():
        packages.mkdir(parents=True, exist_ok=True)
        (packages / "package.json").write_text('{"private": true}')
        names = [f"{name}@{request.param}" for name in ("prisma", "@prisma/client")]
        command = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", *names]
        subprocess.run(command, cwd=packages, check=True)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    (tmp_path / "package.json").write_text(json.dumps({"prisma": {"schema": "./prisma"}}))
    write(tmp_path, INIT)  # type: ignore[arg-type]
    (tmp_path / "prisma" / "schema.prisma").write_text(SCHEMA)
    (tmp_path / "prisma" / "patient.prisma").write_text(MODEL)
    (tmp_path / "prisma" / "migrations" / "migration_lock.toml").write_text(
        'provider = "postgresql"\n'
    )
    return tmp_path


def test_status_deploy_diff_and_generate_with_the_engine_of_the_same_version(
    project: Path, database: str
) -> None:
    folder = engine.install(project)
    made = Project(project, engine="offline")
    assert made.engine_modules == folder and made.url_variable == "POOLED_URL"
    assert cli.status(made, database).pending == tuple(INIT)
    assert cli.same_files(cli.status(made, database), 1).status is Status.PASSED
    assert cli.deploy(made, database, timeout_s=120).applied == tuple(INIT)
    assert cli.status(made, database).up_to_date
    assert cli.differing(made, database) == ()
    run(database, 'ALTER TABLE "Patient" ADD COLUMN "stray" INTEGER')
    assert cli.differing(made, database) == ('ALTER TABLE "Patient" DROP COLUMN "stray"',)
    tried = generation.trial(made, None, "rehearse.client")
    assert tried.status is Status.UNKNOWN and "needs Prisma's query engine" in tried.found


def test_without_it_the_command_that_installs_it_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "CACHE", tmp_path / "none")
    with pytest.raises(UsageError, match=f"runbook engine {project}"):
        Project(project, engine="offline")
