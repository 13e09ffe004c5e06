"""Runs the project's own Prisma CLI (`node_modules/.bin/prisma`), and understands what it says.

The URL goes into the environment, never into the arguments. Nothing here decides by an exit status
alone: `migrate status` ends with 1 both for pending and for failed migrations, and with 0 where it
could not connect.
"""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runbook_lib.check import Check, check, unknown
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.prisma import output, schemafile
from runbook_lib.prisma.output import PID, Lines, MigrationFailed, PrismaFailed, Quiet, Status
from runbook_lib.prisma.project import Project
from runbook_lib.prisma.statements import split
from runbook_lib.process import Completed, run
from runbook_lib.redact import remember
from runbook_lib.table import Shown, Table

__all__ = [
    "ADVISORY_LOCK",
    "Deployed",
    "Difference",
    "MigrationFailed",
    "PrismaFailed",
    "Pulled",
    "Side",
    "Status",
    "db_pull",
    "deploy",
    "diff",
    "differing",
    "format",
    "generate",
    "resolve",
    "same_files",
    "same_target",
    "status",
    "validate",
    "version",
]

ADVISORY_LOCK = 72707369
"""The number of the advisory lock that Prisma's schema engine takes while it migrates
(prisma-engines, `advisory_lock`).
"""
_APPLIED = re.compile(r"^\s*└─ (.+)/\s*$", re.MULTILINE)
_UNKNOWN_END = (
    "the server may still be running it, and may commit: look for the holder of advisory lock "
    f"{ADVISORY_LOCK} before you resolve anything (95_troubleshoot tells failed from still "
    "running)"
)


@dataclass(frozen=True)
class Deployed(Shown):
    """A `migrate deploy` that succeeded.

    Which files it applied, in how many seconds, and what it printed.
    """

    applied: tuple[str, ...]
    seconds: float
    output: str

    def table(self) -> Table:
        """The applied files as rows."""
        return Table(
            f"{len(self.applied)} migrations applied in {self.seconds:.1f} s",
            ("migration",),
            [(name,) for name in self.applied],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"applied": list(self.applied), "seconds": self.seconds}


class Side(Enum):
    """Name what `diff` compares; never migrations.

    For those the CLI makes a shadow database that stays where it is killed.
    """

    DATABASE = "config-datasource"
    SCHEMA = "schema"


@dataclass(frozen=True)
class Difference:
    """What leads from one side to the other: as SQL; `empty` where both are the same."""

    empty: bool
    sql: str
    seconds: float


@dataclass(frozen=True)
class Pulled:
    """What `db pull` sees: the schema as text."""

    schema: str
    seconds: float


def call(
    project: Project,
    url: str | None,
    *arguments: str,
    timeout_s: float = 300,
    on_line: Callable[[str], None] | None = None,
    remedy: str = "",
) -> Completed:
    """Run the Prisma CLI, whatever its exit status.

    Raises:
        ToolError: it could not be started, or took longer than `timeout_s` seconds and was ended.
    """
    if url:
        remember(unquote(urlsplit(url).password or ""))
    return run(
        [str(project.program), *arguments],
        cwd=project.folder,
        env=project.variables(url),
        timeout_s=timeout_s,
        on_line=on_line,
        check=False,
        remedy=remedy,
    )


def _succeed(
    project: Project, url: str | None, *arguments: str, timeout_s: float = 300
) -> Completed:
    done = call(project, url, *arguments, timeout_s=timeout_s)
    if done.status != 0:
        raise output.failure(f"prisma {' '.join(arguments[:2])}", done.output, done.status)
    return done


def status(project: Project, url: str) -> Status:
    """What `prisma migrate status` says.

    Raises:
        PrismaFailed: it failed, or its answer is not understood.
    """
    done = call(project, url, "migrate", "status", *_schema(project), timeout_s=120)
    return output.status(done.output, done.status)


def same_target(status: Status, host: str, port: int, database: str) -> Check:
    """Whether the CLI spoke to the database that is meant, as it says itself."""
    id, title, said = (
        "prisma.target",
        "the Prisma CLI speaks to the database that is meant",
        status.datasource,
    )
    expected = f"{database} at {host}:{port}"
    remedy = (
        "the project takes its URL from elsewhere: set `prisma: url_variable:`, and look into "
        "prisma.config.ts and .env"
    )
    if not said.database or not said.host:
        return unknown(
            id, title, "the CLI does not say which database it spoke to", expected, remedy
        )
    same = (said.host.lower(), said.port, said.database) == (host.lower(), port, database)
    return check(id, title, same, f"{said.database} at {said.host}:{said.port}", expected, remedy)


def same_files(status: Status, count: int) -> Check:
    """Whether the CLI found as many migrations as were reviewed.

    Of the folder, it always says `prisma/migrations`.
    """
    return check(
        "prisma.files",
        "the Prisma CLI sees the migrations that are reviewed",
        status.found == count,
        f"{status.found} migrations",
        f"{count} migrations",
        "set `prisma: migrations:` to the folder that the Prisma CLI uses",
    )


def deploy(
    project: Project,
    url: str,
    *,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Deployed:
    """Run `prisma migrate deploy`.

    Args:
        url: with the server settings for the migration's sessions: the engine reads them from
            nowhere else.
        timeout_s: seconds until the CLI is ended; the server is not stopped by that.
        on_line: called with each line as it comes, without secrets, SQL of the file, or data.
        on_start: called with the process id of the CLI, which leads a process group of its own.

    Raises:
        MigrationFailed: nothing, some or all of the pending files were applied: ask the database
            which.
    """
    lines = Lines(on_line, on_start)
    shell = [
        "/bin/sh",
        "-c",
        f'echo "{PID}$$"; exec "$@"',
        "prisma",
        str(project.program),
        "migrate",
        "deploy",
        *_schema(project),
    ]
    remember(unquote(urlsplit(url).password or ""))
    try:
        done = run(
            shell,
            cwd=project.folder,
            env=project.variables(url),
            timeout_s=timeout_s,
            on_line=lines,
            check=False,
            remedy=_UNKNOWN_END,
        )
    except ToolError as error:
        late = timeout_s and "ended after" in error.message
        what = f"was ended after {timeout_s:g} s, its deadline" if late else "could not be started"
        raise MigrationFailed(
            f"`prisma migrate deploy` {what}",
            error.remedy,
            output=Quiet.text(_without_pid(error.output)),
        ) from None
    text = _without_pid(done.output)
    applied = tuple(_APPLIED.findall(text))
    complete = bool(applied) and "All migrations have been successfully applied" in text
    if done.status == 0 and (complete or "No pending migrations to apply" in text):
        return Deployed(applied, done.seconds, Quiet.text(text))
    assert project.migrations is not None, "the project was located when it was opened"
    files = {path.name for path in project.migrations.iterdir()}
    raise _deploy_failed(text, done.status, output.applying(text, files))


def _without_pid(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(PID))


def _deploy_failed(text: str, exit_status: int, applying: str) -> MigrationFailed:
    found = output.read(text)
    migration = found.migration or applying
    where = f" in {migration}" if migration else ""
    killed = (
        f", ended by signal {-exit_status}" if exit_status < 0 else f" with status {exit_status}"
    )
    why = ": ".join(part for part in (found.code, found.reason) if part)
    remedy = output.REMEDIES.get(
        found.code, _UNKNOWN_END if not found.sqlstate else output.REMEDIES["P3018"]
    )
    return MigrationFailed(
        f"`prisma migrate deploy` failed{where}{killed}: {why}",
        remedy,
        code=found.code,
        migration=migration,
        sqlstate=found.sqlstate,
        applying=applying,
        answered=output.answered(text),
        status=exit_status,
        output=Quiet.text(text),
    )


def resolve(project: Project, url: str, *, applied: str = "", rolled_back: str = "") -> Completed:
    """Run `prisma migrate resolve` for one migration, `applied` or `rolled_back`.

    It changes the history and runs no SQL.

    Raises:
        PrismaFailed: Prisma refuses, e.g. P3012 for a migration that has not failed.
    """
    if bool(applied) == bool(rolled_back):
        raise UsageError(
            "`migrate resolve` needs one of `applied` and `rolled_back`", "name one migration"
        )
    arguments = ["--applied", applied] if applied else ["--rolled-back", rolled_back]
    done = _succeed(project, url, "migrate", "resolve", *arguments, *_schema(project))
    if "marked as" not in done.output:
        raise output.failure(
            "prisma migrate resolve",
            done.output,
            done.status,
            "it does not say that it marked the migration",
        )
    return done


def generate(project: Project, url: str | None = None) -> Completed:
    """Run `prisma generate`: the client as the schema file has it.

    Raises:
        PrismaFailed: it failed.
    """
    return _succeed(project, url, "generate", *_schema(project), timeout_s=600)


def validate(project: Project, url: str | None = None) -> Completed:
    """Run `prisma validate`; status 0 if the schema file is valid.

    Else the output says what is wrong.
    """
    return call(project, url, "validate", *_schema(project), timeout_s=120)


def format(project: Project, url: str | None = None) -> str:
    """How `prisma format` would change the schema, line by line; empty where it would not.

    A copy is formatted, not the file.

    Raises:
        PrismaFailed: the schema cannot be parsed.
    """
    with schemafile.copied(project) as schema:
        before = schemafile.text(schema)
        _succeed(project, url, "format", "--schema", str(schema), timeout_s=120)
        after = schemafile.text(schema)
    return "\n".join(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), "schema file", "formatted", lineterm="", n=0
        )
    )


def db_pull(project: Project, url: str) -> Pulled:
    """Introspect the database into a copy of the schema.

    What is read there, and that it can be read.

    Raises:
        PrismaFailed: it failed.
    """
    with schemafile.copied(project) as schema:
        done = _succeed(project, url, "db", "pull", "--schema", str(schema))
        if "Introspected" not in done.output:
            raise output.failure(
                "prisma db pull",
                done.output,
                done.status,
                "it does not say that it introspected the database",
            )
        after = schemafile.text(schema)
    return Pulled(after, done.seconds)


def diff(
    project: Project, url: str, from_: Side, to: Side, schema: Path | None = None
) -> Difference:
    """The SQL that leads from one side to the other, by `prisma migrate diff`. It changes nothing.

    Args:
        schema: the schema file that is compared, where it is not the project's.

    Raises:
        PrismaFailed: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-diff-") as folder:
        path = Path(folder) / "difference.sql"
        sides = [*_side(project, "from", from_, schema), *_side(project, "to", to, schema)]
        done = call(
            project,
            url,
            "migrate",
            "diff",
            *_config(project),
            *sides,
            "--script",
            "--exit-code",
            "--output",
            str(path),
        )
        if done.status not in (0, 2):
            raise output.failure("prisma migrate diff", done.output, done.status)
        sql = path.read_text(encoding="utf-8") if path.exists() else ""
        if bool(done.status == 2) != bool(
            re.sub(r"^\s*--.*$", "", sql, flags=re.MULTILINE).strip()
        ):
            raise output.failure(
                "prisma migrate diff",
                done.output,
                done.status,
                "its status and its SQL contradict each other",
            )
    return Difference(done.status == 0, sql, done.seconds)


def differing(project: Project, url: str) -> tuple[str, ...]:
    """Return the statements that would make the database what the schema file says.

    None where both mean the same.

    Raises:
        PrismaFailed: it could not be found out.
    """
    found = diff(project, url, Side.DATABASE, Side.SCHEMA)
    if found.empty:
        return ()
    return tuple(" ".join(_without_comments(one.sql).split()) for one in split(found.sql))


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))


def version(project: Project) -> dict[str, str]:
    """What `prisma version` says, e.g. {"prisma": "7.10.1", "Node.js": "v20.20.2", "Schema Engine".

    …}.
    """
    done = _succeed(project, None, "version", timeout_s=120)
    pairs = (line.split(" : ", 1) for line in done.output.splitlines() if " : " in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _schema(project: Project) -> list[str]:
    return [*_config(project), "--schema", str(project.schema)]


def _config(project: Project) -> list[str]:
    return ["--config", str(project.config)] if project.config else []


def _side(project: Project, direction: str, side: Side, schema: Path | None) -> list[str]:
    """The options of `migrate diff`; up to Prisma 6 they had other names."""
    old = {Side.DATABASE: "schema-datasource", Side.SCHEMA: "schema-datamodel"}
    name = old.get(side, side.value) if project.major < 7 else side.value
    takes = {Side.SCHEMA: schema or project.schema}
    takes |= {Side.DATABASE: project.schema} if project.major < 7 else {}
    return [f"--{direction}-{name}", *([str(takes[side])] if side in takes else [])]
