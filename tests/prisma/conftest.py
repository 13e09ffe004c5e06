"""Small Prisma projects, made for one test: their own schema and migrations, the sample's
packages and engine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import history
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.project import Project

SCHEMA = """generator client {
  provider = "prisma-client"
  output   = "../generated"
}

datasource db {
  provider = "postgresql"
}

model Patient {
  id   Int    @id
  name String
}
"""
INIT = {
    "20260101000000_init": (
        'CREATE TABLE "Patient" ("id" INTEGER NOT NULL, "name" TEXT NOT NULL, CONSTRAINT '
        '"Patient_pkey" PRIMARY KEY ("id"));\n'
    )
}
Make = Callable[..., Project]


def write(folder: Path, migrations: dict[str, str | bytes]) -> None:
    """Write migrations below a project's folder."""
    for name, sql in migrations.items():
        path = folder / "prisma" / "migrations" / name / "migration.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sql if isinstance(sql, bytes) else sql.encode())


def lay_out(
    folder: Path,
    sample: Path,
    migrations: dict[str, str | bytes],
    mode: str = "file",
    schema: str = SCHEMA,
    **options: Any,
) -> Project:
    """A project with these migrations; `mode` is what the offline engine does with a file."""
    (folder / "prisma" / "migrations").mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "prisma.config.ts"):
        shutil.copy(sample / name, folder / name)
    (folder / "node_modules").symlink_to(sample / "node_modules")
    (folder / "prisma" / "schema.prisma").write_text(schema)
    (folder / "prisma" / "migrations" / "migration_lock.toml").write_text(
        'provider = "postgresql"\n'
    )
    write(folder, migrations)
    return Project(
        folder,
        engine="offline",
        engine_path=sample / "tooling" / "schema-engine.mjs",
        environment={"OFFLINE_ENGINE_TRANSACTIONS": mode},
        **options,
    )


@pytest.fixture
def make(tmp_path: Path, sample: Path) -> Make:
    """Makes a project: see `lay_out`."""

    def made(
        migrations: dict[str, str | bytes], mode: str = "file", schema: str = SCHEMA, **options: Any
    ) -> Project:
        return lay_out(tmp_path / "project", sample, migrations, mode, schema, **options)

    return made


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., tuple[MigrationFile, ...]]:
    """Makes migration files of these texts, named 1, 2, 3, …"""

    def made(*texts: str | bytes) -> tuple[MigrationFile, ...]:
        write(tmp_path, {str(number): text for number, text in enumerate(texts, 1)})
        return tuple(
            MigrationFile.read(tmp_path / "prisma" / "migrations" / str(number) / "migration.sql")
            for number in range(1, len(texts) + 1)
        )

    return made


def rows(url: str) -> list[dict[str, Any]]:
    """Prisma's history of a database."""
    with Database(Target.parse(url)) as db:
        return db.rows(history.ROWS.format(table=f"public.{history.TABLE}"))


def run(url: str, statement: str) -> None:
    """Run a statement in a database."""
    with Database(Target.parse(url)) as db:
        db.execute(statement)


def values(url: str, query: str) -> list[Any]:
    """The first column of a query."""
    with Database(Target.parse(url)) as db:
        return [next(iter(row.values())) for row in db.rows(query)]
