"""Drift: compare the live catalogue with the one that the applied files make.

They are run in a shadow database.

The files are run statement by statement by ourselves, and not by the CLI: it would have to be told
of a folder without the pending ones, and takes its folder from a program, `prisma.config.ts`. The
SQL that would reconcile both is the CLI's.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import sql

from runbook_lib.check import Check, check, unknown
from runbook_lib.errors import DatabaseError, ToolError
from runbook_lib.phases.base import Phase
from runbook_lib.phases.observed import observe
from runbook_lib.postgres import catalog, scratch
from runbook_lib.postgres.catalog import Change
from runbook_lib.postgres.connection import Database, identifier
from runbook_lib.postgres.target import Target
from runbook_lib.prisma import cli, history, replay
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.judge import Observed
from runbook_lib.prisma.names import join
from runbook_lib.prisma.statements import split
from runbook_lib.table import Shown, Table

WATCHES = ("pg_stat_statements", "extension pg_stat_statements")
"""An extension that only looks on, and its comment: who runs the server installs it, no migration.
"""
_RIGHTS = ("owner", "acl")
_SIDES = {
    "added": "only in the database",
    "removed": "only in the files",
    "changed": "files and database differ",
}
_NOT_INSTALLED = ("42501", "0A000", "3F000")
"""What CREATE SCHEMA and CREATE EXTENSION are refused with for want of a right, of the package, or
for a schema of the server's own.
"""
_EXTENSION = re.compile(r"\s*CREATE\s+EXTENSION\b", re.IGNORECASE)
_ASIDE = "not compared: owners and rights, and Prisma's own table"


class _NotReplayed(Exception):
    """An applied file cannot be run on an empty database."""


@dataclass(frozen=True)
class Drift(Shown):
    """Where the live catalogue is not what the applied files make.

    Args:
        lines: one a difference: on which side, and what.
        aside: differences that say nothing against the database.
        sql: what would make the database as the files have it, where Prisma can express it.
        no_sql: why there is none.
        why: it could not be found out.
        observed: what pending statements changed in the shadow database, whose text does not tell;
            only without drift.
    """

    lines: tuple[tuple[str, str], ...] = ()
    aside: tuple[str, ...] = ()
    sql: str = ""
    no_sql: str = ""
    why: str = ""
    observed: Observed = field(default_factory=dict, compare=False)

    def check(self) -> Check:
        """Drift is no failure of this migration, and the rehearsal runs with it.

        But whoever approves has to see it.
        """
        id, title = "plan.drift", "what the applied files make was compared with what is there"
        if self.why:
            return unknown(
                id,
                title,
                self.why,
                "compared",
                "compare by hand, e.g. `prisma migrate diff`; then approve",
            )
        found = (
            f"remark: {len(self.lines)} differences, shown above" if self.lines else "no difference"
        )
        return check(id, title, True, found, "compared")

    def table(self) -> Table:
        """The differences as rows, and the SQL that would undo them."""
        if self.why:
            return Table("Drift: could not check", ("why",), [(self.why,)], ["unknown"])
        rows = [*self.lines, *(("no matter", line) for line in self.aside)]
        marks = ["unknown"] * len(self.lines) + [""] * len(self.aside)
        if self.lines:
            said = [
                line for line in self.sql.splitlines() if line and not line.startswith("--")
            ] or [f"none: {self.no_sql}"]
            rows += [("SQL that makes the database as the files have it", line) for line in said]
        title = "The applied files make what is there"
        if self.lines:
            title = (
                f"Drift: {len(self.lines)} differences between the applied files and the database"
            )
        return Table(f"{title} ({_ASIDE})", ("", "what"), rows, marks)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "lines": [": ".join(line) for line in self.lines],
            "aside": list(self.aside),
            "sql": self.sql,
            "no_sql": self.no_sql,
            "why": self.why,
        }


def find(phase: Phase, found: history.History) -> Drift:
    """Run the applied files in a shadow database, and compare."""
    files = [entry.file for entry in found.entries if entry.name in found.applied and entry.file]
    changed = [edit.name for edit in found.edits if not edit.same]
    if found.missing or changed:
        return Drift(
            why="files that were applied are gone or edited: "
            f"{', '.join((*found.missing, *changed))}"
        )
    beyond = replay.beyond(files)
    if beyond:
        more = f" and {len(beyond) - 5} more" if len(beyond) > 5 else ""
        return Drift(
            why=f"not run again, for they reach beyond the database: {', '.join(beyond[:5])}{more}"
        )
    try:
        return _in_shadow(phase, files, found.pending_files)
    except DatabaseError as error:
        return Drift(why=error.message)
    except _NotReplayed as error:
        return Drift(why=f"an applied file cannot be run on an empty database: {error}")


def _in_shadow(phase: Phase, files: list[MigrationFile], pending: Sequence[MigrationFile]) -> Drift:
    """Compare in an empty shadow database.

    Where a file fails there, in one that has the extensions that an administrator may have
    installed before the first file.
    """
    try:
        with scratch.scratch(phase.target, "shadow", phase.application_name) as shadow:
            return _compared(phase, shadow, files, pending, {})
    except _NotReplayed as error:
        there = catalog.read(phase.db).objects["extension"]
        extensions = {name: one for name, one in there.items() if name != "plpgsql"}
        if not extensions:
            raise
        try:
            with scratch.scratch(phase.target, "shadow", phase.application_name) as shadow:
                return _compared(phase, shadow, files, pending, extensions)
        except _NotReplayed:
            raise error from None


def _compared(
    phase: Phase,
    shadow: Target,
    files: list[MigrationFile],
    pending: Sequence[MigrationFile],
    extensions: Mapping[str, Mapping[str, Any]],
) -> Drift:
    session = partial(
        Database, shadow, phase.application_name, statement_timeout="2min", lock_timeout="5s"
    )
    with session() as db:
        _install(db, extensions)
        _run(db, files)
        made = catalog.read(db)
    changes = [
        change
        for change in catalog.difference(made, catalog.read(phase.db), restored=True)
        if not _ours(change, phase.target.schema)
    ]
    aside = [
        change
        for change in changes
        if change.kind == "extension"
        and change.action == "changed"
        or change.property in ("columns", "populated")
        or change.name in WATCHES
    ]
    told = [f"extension {name}: installed before the files were run" for name in extensions]
    lines = tuple(
        (_SIDES[change.action], _said(change)) for change in changes if change not in aside
    )
    if lines:
        return Drift(lines, (*map(str, aside), *told), *_reconciling(phase, shadow))
    with session() as db:
        return Drift(aside=(*map(str, aside), *told), observed=observe(db, made, files, pending))


def _said(change: Change) -> str:
    """The change in words, where the side says already on which it is."""
    return str(change).replace(f"{change.name} {change.action}", change.name, 1)


def _install(db: Database, extensions: Mapping[str, Mapping[str, Any]]) -> None:
    """Install what this role may.

    Without one that it may not, the file that needs it fails, and says so.
    """
    for name, one in extensions.items():
        try:
            if not one["schema"].startswith("pg_"):
                db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.SQL(one["schema"])))
            db.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
                    sql.SQL(name), sql.SQL(one["schema"])
                )
            )
        except DatabaseError as error:
            if db.connection.closed or error.sqlstate not in _NOT_INSTALLED:
                raise


def _run(db: Database, files: list[MigrationFile]) -> None:
    schema = identifier(db.target.schema)
    db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    for file in files:
        db.execute(sql.SQL("SET search_path TO {}").format(schema))
        for one in split(file.sql):
            try:
                db.execute(one.sql)
            except DatabaseError as error:
                if error.sqlstate == "42710" and _EXTENSION.match(one.sql):  # installed before
                    continue
                raise _NotReplayed(f"{file.name}:{one.line} ({error.sqlstate})") from None


def _ours(change: Change, schema: str) -> bool:
    """Whether it says nothing of the files: Prisma's table, and who owns or may do what."""
    table = join(schema, history.TABLE)
    rights = change.kind == "default privilege" or change.property in _RIGHTS
    return rights or change.name in (table, f"{table}_pkey") or change.name.startswith(f"{table}.")


def _reconciling(phase: Phase, shadow: Target) -> tuple[str, str]:
    """What Prisma would run to make the database as the files have it.

    Else why there is nothing.
    """
    try:
        made = cli.db_pull(phase.project, shadow.url(phase.prisma_name)).schema
        with tempfile.TemporaryDirectory(prefix="runbook-drift-") as folder:
            schema = Path(folder) / "schema.prisma"
            schema.write_text(made, encoding="utf-8")
            found = cli.diff(
                phase.project, phase.prisma_url, cli.Side.DATABASE, cli.Side.SCHEMA, schema=schema
            )
    except ToolError as error:
        return "", error.message
    return ("", "Prisma does not see these differences") if found.empty else (found.sql.strip(), "")
