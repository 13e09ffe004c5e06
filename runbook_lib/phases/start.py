"""00 Start: what is about to be migrated, whether the runbook can work, how the run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import DatabaseError, ToolError, UsageError
from runbook_lib.params import Params, parse
from runbook_lib.phases import kernel, seat
from runbook_lib.phases.base import Phase, open_project
from runbook_lib.phases.identity import identify
from runbook_lib.postgres import disk, dump, health
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma import cli, client, history, schemafile
from runbook_lib.prisma.project import Project
from runbook_lib.run import Run, create
from runbook_lib.service import messages
from runbook_lib.table import Table, size


@dataclass(frozen=True)
class Examined:
    """What was found before a run was started.

    Args:
        target: what identifies the database (see run.json).
        pending: names of the pending migrations, in the order in which they will be applied.
    """

    target: Mapping[str, Any]
    pending: tuple[str, ...]


def examine(params: Params) -> Examined:
    """Refuse what cannot work, before anything is touched.

    Project, database, versions, history, disk.

    Raises:
        UsageError: naming what is wrong and the remedy.
    """
    messages.check_folder(params.notify)
    project = open_project(params)
    files = history.files(project)
    target = Target.parse(params.database_url())
    running_client(params, target.schema)
    try:
        with _session(target) as db:
            _old_server(db)
            identity = identify(db)
            found = history.compare(files, applied(db, target))
            programs = tools(target, params.database.tools)
            _room(params, dump.predicted_size(db).bytes)
    except DatabaseError as error:
        raise UsageError(error.message, error.remedy) from None
    settled(found)
    prisma_answers(project, target)
    return Examined({**identity, "tools_version": programs.version}, found.pending)


def settled(found: history.History) -> None:
    """Refuse a history on which nothing can be applied.

    Raises:
        UsageError: nothing is pending, and something is unfinished.
    """
    if found.failed and not found.pending:
        raise UsageError(
            "nothing is pending, but migrations were begun and not finished: "
            f"{', '.join(found.failed)}",
            "find out whether they failed or still run, and settle them: `prisma migrate status`, "
            "`prisma migrate resolve`",
        )


def prisma_answers(project: Project, target: Target) -> cli.Status:
    """Return what `prisma migrate status` says.

    That the project's Prisma and its engine work, and reach this database.

    Raises:
        UsageError: they do not, in Prisma's own words.
    """
    try:
        return cli.status(project, target.url("runbook/examine/prisma"))
    except ToolError as error:
        lines = [line.strip() for line in error.output.splitlines() if line.strip()]
        said = "".join(f"\n  {line}" for line in lines[-6:] if line not in error.message)
        told = getattr(error, "code", "") or project.engine == "offline"
        remedies = [error.remedy, "" if told else project.engine_remedy]
        remedy = "; ".join(filter(None, remedies))
        raise UsageError(f"Prisma does not work here: {error.message}{said}", remedy) from None


def start_run(values: Mapping[str, Any]) -> Run:
    """Examine, and start a run.

    Args:
        values: the parameters, as a mapping of top-level keys.
    """
    found = examine(parse(values))
    return create(values, list(found.pending), found.target)


def running_client(params: Params, schema: str) -> client.Client | None:
    """The client that runs now, as `prisma.deployed_schema` has it; None where that is not set.

    Raises:
        UsageError: there is no such file, or it names no model.
    """
    path = params.prisma.deployed_schema
    if path is None:
        return None
    if not path.exists():
        raise UsageError(
            f"there is no Prisma schema at {path}",
            "correct `prisma: deployed_schema:`, or leave it out",
        )
    found = client.of_schema(schemafile.text(path), schema)
    if not found.models:
        raise UsageError(
            f"{path} names no model",
            "set `prisma: deployed_schema:` to the schema of the release that runs now",
        )
    return found


def applied(db: Database, target: Target) -> list[dict[str, Any]]:
    """The rows of Prisma's history table, oldest first; none where there is no such table."""
    from psycopg import sql

    if db.value("SELECT to_regclass(%s)", [f'"{target.schema}"._prisma_migrations']) is None:
        return []
    table = sql.Identifier(target.schema, "_prisma_migrations")
    return db.rows(sql.SQL(history.ROWS).format(table=table))


class Start(Phase):
    """Shows what the run is about, examined before it was made, and how it stands.

    Once it has succeeded, it only looks.
    """

    name, heading = "start", "Start"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._looks = (run.phase(self.name) or {}).get("status") == "succeeded"

    @property
    def only_looks(self) -> bool:
        """Whether nothing is recorded.

        The run was started before, and somebody comes back to it.
        """
        return self._looks

    def begin(self, notebook: str) -> None:
        """Who comes back only looks, and reads the run's folder alone.

        That a database is out of reach ends no run.
        """
        if self.only_looks:
            kernel.watch(self)
        else:
            super().begin(notebook)

    def about(self) -> Table:
        """Which database, which project, which migrations."""
        target, project = self.run.state["target"], self.project
        rows = [
            (
                "environment",
                self.params.environment.name
                + (" — PRODUCTION" if self.params.environment.production else ""),
            ),
            ("database", f"{target['database']} on {target['host']}:{target['port']}"),
            (
                "server",
                f"PostgreSQL {target['server_version']}, system identifier "
                f"{target['system_identifier']}",
            ),
            ("Prisma", f"{project.version}, engine {project.engine}: {project.transaction_rule}"),
            ("", project.support),
            ("project", project.folder.name),
            ("pending", ", ".join(self.run.state["migrations"]) or "nothing"),
            ("engineer", self.params.engineer),
            ("run", self.run.id),
        ]
        return Table("What this run is about", ("", ""), rows)

    def next(self) -> Table:
        """What comes next, and where."""
        return seat.next_step(self.run)

    def phases(self) -> Table:
        """The phases: how each of them stands, who carried it out and when."""
        return seat.phases(self.run)

    def decisions(self) -> Table:
        """Who approved or refused which gate, and the gates that wait."""
        return seat.decisions(self.run)

    def journal(self) -> Table:
        """Who did what when: the last lines of the journal."""
        return seat.journal(self.run)


def _session(target: Target) -> Database:
    try:
        return Database(target, "runbook/examine", statement_timeout="60s")
    except DatabaseError as error:
        raise UsageError(f"`database.url`: {error.message}", error.remedy) from None


def _old_server(db: Database) -> None:
    if db.server_version // 10_000 < health.OLDEST:
        raise UsageError(
            f"the server is PostgreSQL {db.server_version // 10_000}; {health.OLDEST} or later is "
            "needed",
            "upgrade the server first, as a change of its own",
        )


def _room(params: Params, needed: int) -> None:
    """Refuse where the backup would not fit, as predicted; the backup phase measures again."""
    folder = params.backup.directory
    free = disk.room(folder).free_bytes
    if free is not None and free < needed:
        raise UsageError(
            f"the disk of `backup.directory` ({folder}) has {size(free)} free; the backup needs "
            f"about {size(needed)}",
            "make room, or name another directory",
        )


PHASE = Start
