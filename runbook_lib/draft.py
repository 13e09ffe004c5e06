"""Writes a parameter file for an existing project.

What the project and its server say of themselves, each line explained.

A secret is never written: the file refers to the variable that holds it. What could not be asked is
said in the file.
"""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from runbook_lib import process
from runbook_lib.errors import DatabaseError, RunbookError, UsageError
from runbook_lib.params import Params, parse
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.prisma import engine as offline
from runbook_lib.prisma import generators
from runbook_lib.prisma.project import Project
from runbook_lib.redact import redact, remember
from runbook_lib.secret import HOME
from runbook_lib.table import size

Name = Literal["staging", "production"]
DIRECT = ("DIRECT_URL", "DIRECT_DATABASE_URL", "DATABASE_URL_UNPOOLED", "POSTGRES_URL_NON_POOLING")
"""Variables that usually hold the direct URL where the other leads to a pooler."""
SPARE_PERCENT = 5.0
"""Left between what is free now and the limit that is written for it."""
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """What a server says of itself.

    Args:
        free_percent: of its disk; None where it cannot be known from here.
        here: whether it runs on this machine.
        why_not: why it was not asked; empty where it was.
    """

    version: str = ""
    bytes: int = 0
    role: str = ""
    superuser: bool = False
    creates_databases: bool = False
    extensions: tuple[str, ...] = ()
    here: bool = False
    free_percent: float | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Draft:
    """A parameter file before it is written.

    Args:
        text: YAML with comments.
        variable: that holds the URL; `source` is the file that sets it, where the environment does
            not.
    """

    text: str
    variable: str
    source: Path | None
    server: Server
    url: str | None = field(default=None, repr=False)
    install: str = ""
    """The command that installs what is missing; empty where nothing is."""

    def params(self) -> Params:
        """Return what the text means."""
        return parse(yaml.safe_load(self.text), "the drafted parameters")


def draft(folder: Path, environment: Name) -> Draft:
    """Draft the parameters of a project.

    Raises:
        UsageError: there is no Prisma project, or it cannot be used.
    """
    folder = _project_folder(folder.resolve())
    project = _open(folder, environment)
    variable, source, url = _url(project)
    server = _asked(url) if url else Server(why_not=f"the variable {variable} is not set")
    text = "".join(f"{line}\n" for line in _lines(project, environment, variable, source, server))
    made = Draft(text, variable, source, server, url, _install(project))
    made.params()
    return made


def write(made: Draft, path: Path) -> None:
    """Write a draft to a file that is not there yet.

    Raises:
        UsageError: it is there, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError:
        raise UsageError(
            f"{path} is there already; it is not overwritten", "name another: `--output FILE`"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "name another: `--output FILE`"
        ) from None


def file_name(made: Draft) -> str:
    """Return the usual name of a draft's file: the project's and the environment's."""
    params = made.params()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", params.prisma.project.name).strip("-.") or "runbook"
    return f"{name}-{params.environment.name}.yaml"


def _project_folder(folder: Path) -> Path:
    """Return the folder, or the only one below it with a Prisma schema, as in a monorepo."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "name the folder of the Prisma project")
    if _is_project(folder):
        return folder
    below = sorted(
        path.parent
        for depth in ("*", "*/*", "*/*/*")
        for path in folder.glob(f"{depth}/package.json")
        if "node_modules" not in path.parts and _is_project(path.parent)
    )
    if len(below) == 1:
        return below[0]
    if below:
        listed = "\n".join(f"  {path}" for path in below)
        raise UsageError(
            f"{len(below)} Prisma projects lie in {folder}\n{listed}",
            "name one: `runbook init FOLDER`",
        )
    if (folder / "package.json").exists():
        return folder  # Prisma may find its schema where nobody looks: it is asked
    raise UsageError(
        f"there is no Prisma project in {folder}: no package.json with a Prisma schema beside it",
        "name the folder that has it: `runbook init FOLDER`",
    )


def _is_project(folder: Path) -> bool:
    """Return whether package.json stands beside a Prisma configuration or a schema folder."""
    return (folder / "package.json").is_file() and any(
        next(folder.glob(pattern), None)
        for pattern in ("prisma.config.*", ".config/prisma.*", "prisma/**/*.prisma", "*.prisma")
    )


def _open(folder: Path, environment: Name) -> Project:
    """Return the project with the engine that is there."""
    from runbook_lib.phases.base import open_project

    def opened(engine: str) -> Project:
        values = {
            "environment": {"name": environment},
            "engineer": "nobody",
            "database": {"url": "env:DATABASE_URL"},
            "prisma": {"project": str(folder), "engine": engine},
            "backup": {"directory": "backups"},
        }
        return open_project(parse(values))

    project = opened("installed")
    if not project._engine_found:
        try:
            return opened("offline")
        except RunbookError:
            return project
    return project


def _url(project: Project) -> tuple[str, Path | None, str | None]:
    """Return the variable of the direct URL, the file that sets it, and the URL.

    The file is named if the environment does not set the variable.
    """
    files = [project.folder / ".env", project.folder / "prisma" / ".env"]
    usual = project.url_variable or "DATABASE_URL"
    for names, accept in ((DIRECT, _looks_direct), ((usual,), bool)):
        for name in names:
            if accept(found := os.environ.get(name, "")):
                return _hidden(name, None, found)
            for path in files:
                if accept(found := _assigned(path).get(name, "")):
                    return _hidden(name, path, found)
    return usual, None, None


def _looks_direct(text: str) -> bool:
    return text.startswith(("postgres://", "postgresql://")) and "pgbouncer=true" not in text


def _hidden(name: str, path: Path | None, url: str) -> tuple[str, Path | None, str]:
    remember(url)
    return name, path, url


def _assigned(path: Path) -> dict[str, str]:
    """Return what a `.env` file assigns, with the variables in it replaced as Prisma does."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    raw = {name: _unquoted(value) for name, value in _ASSIGNED.findall(text)}
    return {name: _expanded(value, raw) for name, value in raw.items()}


def _unquoted(value: str) -> str:
    """Return a value without its quotes, or without the comment behind it."""
    if value[:1] in ("'", '"', "`"):
        return value[1:].partition(value[0])[0]
    return re.split(r"\s#", value)[0].strip()


def _expanded(value: str, assigned: Mapping[str, str], depth: int = 5) -> str:
    """Return a value in which `${NAME}` stands for what the environment, else the file, says."""

    def known(found: re.Match[str]) -> str:
        return os.environ.get(found[1]) or assigned.get(found[1], "")

    once = re.sub(r"(?<!\\)\$\{(\w+)\}", known, value)
    return once if once == value or not depth else _expanded(once, assigned, depth - 1)


def _asked(url: str) -> Server:
    """Ask the server that a URL leads to; where it cannot be asked, say why."""
    from runbook_lib.postgres import disk, health

    try:
        with Database(Target.parse(url), "runbook/init", statement_timeout="10s") as db:
            facts = health.server_facts(db)
            role = db.row(
                "SELECT rolcreatedb OR rolsuper AS may FROM pg_roles WHERE rolname = current_user"
            )
            extensions = db.rows(
                "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
            )
            found = disk.disk(db)
            tightest = found.tightest if found.known else None
            return Server(
                facts.server_version,
                facts.database_bytes,
                facts.user,
                facts.superuser,
                bool(role and role["may"]),
                tuple(row["extname"] for row in extensions),
                found.known,
                tightest.free_percent if tightest else None,
            )
    except (DatabaseError, UsageError) as error:
        return Server(why_not=redact(error.message.splitlines()[0]))


def _lines(
    project: Project, environment: Name, variable: str, source: Path | None, server: Server
) -> Iterator[str]:
    production = environment == "production"
    yield (
        f"# Written by `runbook init` for {_flat(project.folder.name)}. Every line may be "
        "changed; README.md explains each key."
    )
    yield "environment:"
    yield _line("name", environment)
    if production:
        yield _line("production", True, "every notebook then looks like production")
    yield _line("archive", str(HOME / "archive"), "where the run folders are kept")
    yield (
        f"engineer: {json.dumps(_engineer(), ensure_ascii=False)}  # who is responsible for this "
        "migration"
    )
    yield ""
    yield from _database(variable, source, server)
    yield ""
    yield from _prisma(project, variable)
    yield ""
    yield from _backup(environment, server)
    yield ""
    yield from _migrate(production)
    yield ""
    yield from _monitoring(server)
    yield ""
    yield from _people(production)


def _database(variable: str, source: Path | None, server: Server) -> Iterator[str]:
    if server.why_not:
        yield f"# The server was not asked: {_flat(server.why_not)}."
    else:
        role = "superuser" if server.superuser else "no superuser"
        yield (
            f"# PostgreSQL {_flat(server.version)}, {size(server.bytes)}; role "
            f"{_flat(server.role)} ({role});"
        )
        yield f"# extensions: {_flat(', '.join(server.extensions)) or 'none'}."
    yield "database:"
    where = f", which {source.name} of the project sets" if source else ""
    yield _line("url", f"env:{variable}", f"the direct URL, by the variable that holds it{where}")
    yield (
        "  # tools: /usr/lib/postgresql/17/bin  # of pg_dump; default: the best fitting on this "
        "machine"
    )


def _prisma(project: Project, variable: str) -> Iterator[str]:
    yield f"# Prisma {_flat(project.version)}; schema and migrations lie where Prisma finds them."
    yield "prisma:"
    yield _line(
        "project", str(project.folder), "the folder with package.json and the installed Prisma"
    )
    if project.url_variable and project.url_variable != variable:
        yield _line("url_variable", project.url_variable, "what the project reads its URL from")
    yield from _engine(project)
    yield (
        "  # deployed_schema: ../deployed/schema.prisma  # of the client that runs now; else it "
        "is taken to use everything"
    )
    if _runnable(project, "db:validate"):
        yield _line(
            "validate_command", "npm run db:validate", "the project's own check of its data"
        )
    else:
        yield "  # validate_command: npm run db:validate  # the project's own check of its data"


def _engine(project: Project) -> Iterator[str]:
    """Yield which engine is used, and where the client is built that cannot be built here."""
    if project._engine_found:
        own = project.engine == "installed"
        why = "Prisma's own schema engine" if own else "no schema engine is installed"
        yield _line("engine", project.engine, why)
    elif install := _install(project):
        yield _line("engine", "offline", f"no schema engine is installed; first: `{install}`")
    else:
        yield _line("engine", "installed", f"none is there: {project.engine_remedy}")
        return
    if needing := generators.without_query_engine(project):
        why = (
            f"{', '.join(needing)} needs Prisma's query engine, which is not installed here: a "
            "pipeline builds the client"
        )
        yield _line("generate", False, why)


def _install(project: Project) -> str:
    """Return the command that installs the offline engine, if npm has one and none is there."""
    if project._engine_found or not offline.published(project.version):
        return ""
    return offline.command(project.folder).strip("`")


def _runnable(project: Project, script: str) -> bool:
    """Return whether package.json has a script, and the files that it names are there."""
    try:
        found = json.loads((project.folder / "package.json").read_text(encoding="utf-8"))
        words = str(found["scripts"][script]).split()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    files = [word for word in words if re.search(r"\.(?:[cm]?[jt]s|sh|sql|py)$", word)]
    return all((project.folder / word).exists() for word in files)


def _backup(environment: Name, server: Server) -> Iterator[str]:
    from runbook_lib.postgres import disk

    yield "backup:"
    folder = HOME / "backups" / environment
    yield _line("directory", str(folder), "better on another disk, or another machine")
    yield _line("max_age_minutes", 120, "how old the proof may be when the migration begins")
    yield _line(
        "restore_within_minutes", 60, "the gate refuses where the measured restore takes longer"
    )
    here = disk.room(folder)
    known = [one for one in (server.free_percent, here.free_percent) if one is not None]
    least = min(known, default=100.0)
    if environment == "staging" and least < 30 + SPARE_PERCENT:
        limit = max(1, int(least - SPARE_PERCENT))
        yield _line("disk_free_percent", limit, f"usual is 30; {least:.0f} % are free now")
    else:
        yield _line(
            "disk_free_percent",
            30,
            "of the backup's and the server's disk, after what the plan needs",
        )
    yield _line("keep_days", 30, "`runbook prune` removes older ones, never the newest proven one")
    if server.version and not server.creates_databases:
        yield (
            f"  # The role {_flat(server.role)} may not create databases: backups are proven on "
            "another server."
        )
    yield "  # proof: {server: env:PROOF_DATABASE_URL}  # default: the database's own server"


def _migrate(production: bool) -> Iterator[str]:
    yield "migrate:"
    if production:
        yield (
            "  # window: {start: 2030-01-15 02:00, end: 2030-01-15 04:00, time_zone: "
            "Europe/Berlin}  # outside it nothing is migrated"
        )
    yield _line("lock_timeout_s", 5, "how long a statement may wait for a lock")
    yield _line("statement_timeout_s", 600, "how long one statement may take")
    yield _line("deadline_s", 3600, "how long all of it may take")
    yield _line("max_stall_s", 10, "how long readers and writers may stall in the rehearsal")


def _monitoring(server: Server) -> Iterator[str]:
    if not server.why_not:
        there = "pg_stat_statements" in server.extensions
        why = "pg_stat_statements is installed" if there else "pg_stat_statements is not installed"
        yield "validate:"
        yield _line("slow_queries", there, f"statements before and after; {why}")
        yield ""
    if server.here:
        yield (
            "# The server runs on this machine: the runbook's own work counts, so processor and "
            "disk have no limit."
        )
        yield "monitoring:"
        yield _line("cpu_percent", 100)
        yield _line("disk_io_percent", 100)
    else:
        yield "# monitoring:  # by params/staging.yaml: prometheus, sources, probes"
    yield ""
    yield (
        "# service:     # the application: its health, endpoints and maintenance mode; by "
        "params/staging.yaml"
    )
    yield "#   url: https://staging.example.com"


def _people(production: bool) -> Iterator[str]:
    yield "# notify:      # who is told; addresses by reference"
    yield '#   audiences: {operations: ["env:NOTIFY_OPERATIONS"]}'
    yield ""
    yield "approvals:"
    gates = ["plan", "migrate", "rollback"] if production else []
    yield _line("required", gates, "the gates that wait for a person")
    yield "rollback:"
    yield _line(
        "automatic",
        not production,
        "after a failed migration or validation, where no write would be lost",
    )


def _line(key: str, value: object, comment: str = "") -> str:
    text = f"  {key}: {json.dumps(value, ensure_ascii=False)}"
    return f"{text}  # {_flat(comment)}" if comment else text


def _flat(text: str) -> str:
    """Return text as one line, for a comment."""
    return " ".join(redact(text).split())


def _engineer() -> str:
    """Return the name that git knows, else the login's."""
    looks: tuple[Callable[[], str], ...] = (
        lambda: process.run(["git", "config", "user.name"], check=False, timeout_s=5).output,
        getpass.getuser,
    )
    for look in looks:
        try:
            if name := look().strip():
                return name.splitlines()[0]
        except (RunbookError, KeyError, OSError):
            continue
    return f"uid {os.getuid()}"
