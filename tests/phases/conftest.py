"""Phases on a real database and a small Prisma project, without notebooks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.params import parse
from runbook_lib.phases.base import Phase
from runbook_lib.phases.start import examine
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.prisma import cli, history
from runbook_lib.prisma.project import Project
from runbook_lib.run import create
from tests.prisma.conftest import INIT, lay_out, make  # noqa: F401

Opened = Callable[..., Any]


@pytest.fixture(scope="session")
def template(server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database to which the real CLI applied `INIT`; nobody connects to it."""
    with Database(Target.parse(server.url())) as db:
        db.execute("CREATE DATABASE template_init TEMPLATE template0")
    cli.deploy(lay_out(tmp_path_factory.mktemp("init") / "project", sample, INIT), server.url("template_init"))
    return "template_init"


@pytest.fixture
def deployed(server: Server, template: str) -> Iterator[str]:
    """The URL of a copy of it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with Database(Target.parse(server.url())) as db:
        db.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(identifier(name), identifier(template)))
        yield server.url(name)
        db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier(name)))


def enter(url: str, project: Project, name: str) -> None:
    """A file of the project enters Prisma's history as applied; nothing is run."""
    file = history.MigrationFile.read(project.migrations / name / "migration.sql")
    with Database(Target.parse(url)) as db:
        db.execute("INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count) VALUES (%s, %s, %s, now(), 1)",
                   [name, file.sha256, name])


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens a phase of a new run: of this class, this project, the database of this URL."""
    phases: list[Phase] = []

    def made(cls: type[Phase], project: Project, url: str, **sections: Any) -> Phase:
        (tmp_path / "database_url").write_text(url)
        prisma = {"project": str(project.folder), "engine": "offline", "environment": dict(project.environment), **sections.pop("prisma", {})}
        values = {"environment": {"name": "tests", "archive": str(tmp_path / "archive")}, "engineer": "Test Engineer",
                  "database": {"url": f"file:{tmp_path / 'database_url'}"}, "prisma": prisma, "backup": {"directory": str(tmp_path / "backups")}, **sections}
        found = examine(parse(values))
        run = create(values, list(found.pending), found.target)
        run.begin_phase(cls.name, f"{cls.name}.ipynb")
        phases.append(cls(run))
        return phases[-1]

    yield made
    for phase in phases:
        phase._give_back()
