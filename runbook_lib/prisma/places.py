"""Where a project has its schema and its migrations, and from where its URL comes.

As it says, else as its Prisma looks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import UsageError
from runbook_lib.prisma import config, resolution

if TYPE_CHECKING:
    from runbook_lib.prisma.project import Project

BESIDE_DATASOURCE = (6, 6)
"""Since then a schema of several files has its migrations beside the file with the datasource,
before beside its folder.
"""


def schema(project: Project, said: config.Config) -> Path:
    """Return the schema, file or folder.

    Raises:
        UsageError: there is none, or the parameters contradict the project.
    """
    given = project.schema and project.folder / project.schema
    named = said.schema or _in_package(project)
    usual = [project.folder / place for place in ("schema.prisma", "prisma/schema.prisma")]
    folders = [project.folder / place for place in ("prisma/schema", "prisma")]
    found = (
        given
        or named
        or next((path for path in usual if path.is_file()), None)
        or next((path for path in folders if any(path.glob("**/*.prisma"))), None)
    )
    if found is None or not found.exists():
        said_by = f", which {said.path.name} names" if said.schema and said.path else ""
        raise UsageError(
            f"there is no Prisma schema at {found or usual[1]}{said_by}",
            "set `prisma: schema:` to the file or folder",
        )
    if said.schema and said.schema.resolve() != found.resolve() and said.path:
        raise UsageError(
            f"`prisma: schema:` names {project.shown(found)}, but {said.path.name} names "
            f"{project.shown(said.schema)}",
            "leave one out",
        )
    if not any(path.is_file() for path in config.files(found)):
        raise UsageError(
            f"the folder {found} has no Prisma schema in it",
            "set `prisma: schema:` to the file or folder",
        )
    return found.resolve()


def _in_package(project: Project) -> Path | None:
    """The schema that package.json names."""
    section = resolution.read_package(project.folder).get("prisma")
    named = section.get("schema") if isinstance(section, dict) else None
    return project.folder / named if named else None


def migrations(project: Project, said: config.Config) -> Path:
    """Return the folder of migrations.

    Raises:
        UsageError: there is none, or the Prisma CLI uses another one than the parameters name.
    """
    given = project.migrations and project.folder / project.migrations
    own = said.migrations or _beside(project) / "migrations"
    found = given or own
    if found.resolve() != own.resolve():
        by = f", as {said.path.name} says" if said.migrations and said.path else ""
        raise UsageError(
            f"`prisma: migrations:` names {project.shown(found)}, but the Prisma CLI uses "
            f"{project.shown(own)}{by}",
            "leave `prisma: migrations:` out",
        )
    if not found.is_dir():
        raise UsageError(
            f"there is no folder of migrations at {found}",
            "restore the folder, or take the project's own step that fills it; another place is "
            "named in its prisma.config.ts",
        )
    return found.resolve()


def _beside(project: Project) -> Path:
    assert project.schema
    if project.schema.is_dir() and project.numbers[:2] < BESIDE_DATASOURCE:
        return project.schema.parent
    return config.main_folder(project.schema)


def variable(project: Project, said: config.Config) -> str:
    """Return the environment variable that the URL is read from.

    Raises:
        UsageError: there is none, or the parameters name another one.
    """
    assert project.schema
    named = config.variables(project.schema) if not said.has_url and project.major < 7 else ()
    own = (said.variable,) if said.variable else named
    where = said.path.name if said.variable and said.path else project.shown(project.schema)
    if project.url_variable and own and project.url_variable not in own:
        raise UsageError(
            f"{where} reads the URL from {own[0]}, not from {project.url_variable}",
            f"set `prisma: url_variable: {own[0]}`, or leave it out",
        )
    if not own:
        _refuse_no_url(project, said)
    return project.url_variable or own[0]


def _refuse_no_url(project: Project, said: config.Config) -> None:
    assert project.schema
    where = project.shown(said.path) if said.path else project.shown(project.schema)
    if project.major < 7 and config.has_literal_url(project.schema):
        raise UsageError(
            f"{project.shown(project.schema)} has the database's URL written into it, so Prisma "
            "cannot be told which database is meant",
            'let it be a variable: url = env("DATABASE_URL")',
        )
    raise UsageError(
        f"{where} does not say where Prisma gets the database's URL from",
        "name it there: `datasource: { url: process.env.DATABASE_URL }` in prisma.config.ts"
        + (', or `url = env("DATABASE_URL")` in the schema' if project.major < 7 else ""),
    )


def check_provider(project: Project) -> None:
    """Raise a UsageError if the schema is not of a PostgreSQL database."""
    assert project.schema
    kind = config.provider(project.schema)
    if kind not in ("postgresql", "postgres"):
        raise UsageError(
            f"the schema {project.shown(project.schema)} is of {kind or 'no kind of'} database; "
            "this runbook is for postgresql",
            "set `prisma: schema:` to the schema of a PostgreSQL database",
        )
