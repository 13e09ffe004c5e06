"""Brings a backup up as a new database, never over an existing one, and proves what came up against the backup."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from runbook_lib.check import Checks, check
from runbook_lib.errors import UsageError
from runbook_lib.postgres import catalog, databases, scratch, snapshot
from runbook_lib.postgres.backup import Backup, verify_hashes
from runbook_lib.postgres.comparison import Comparison
from runbook_lib.postgres.connection import Database, Target, query
from runbook_lib.postgres.difference import Difference
from runbook_lib.postgres.dump import failures_named, progress
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.parallel import Ticker, each
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.tools import Tools, fits
from runbook_lib.process import run
from runbook_lib.table import Table

OnLine = Callable[[str], None] | None
_TUNED = {"synchronous_commit": "off", "maintenance_work_mem": "256MB", "jit": "off", "lock_timeout": "60s"}


@dataclass(frozen=True)
class Restored:
    """A backup that came up as a database.

    Args:
        database: its name.
        oid: its number, which a rename does not change.
        backup: sha256 of the backup's manifest.
        seconds: what each step took.
    """

    database: str
    oid: int
    backup: str
    seconds: Mapping[str, float]

    @property
    def total_seconds(self) -> float:
        """From the empty database to fresh statistics."""
        return sum(self.seconds.values())

    def table(self) -> Table:
        """The steps and what they took."""
        return Table(f"Restored as {self.database} in {self.total_seconds:.1f} s", ("step", "seconds"), list(self.seconds.items()))

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"total_seconds": self.total_seconds}

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__


@dataclass(frozen=True)
class Verified:
    """What came up, against what the backup says.

    Args:
        content: rows and content of every table, sequences, large objects, extensions, settings.
        schema: every object and property that differs.
        database: what differs of the database itself: owner, locale, privileges, settings.
    """

    content: Comparison
    schema: Difference
    database: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether nothing differs and everything was compared."""
        return self.content.identical and not self.content.facts and self.schema.empty and not self.database

    def checks(self) -> Checks:
        """The same as checks that can be required."""
        remedy = "this backup does not prove itself: find out why before relying on it"
        count = sum(item.kind == "table" for item in self.content)
        said = [f"{item.name}: {item.outcome.value}" for item in self.content.differing]
        facts = [f"{item.kind} {item.name}: {item.before} → {item.after}" for item in self.content.facts]
        return Checks("Restored copy against its backup", (
            check("backup.restore.content", "every table, sequence and large object came up identical", self.content.identical,
                  _some(said) or f"{count} tables identical", "nothing differs", remedy),
            check("backup.restore.schema", "every object came up identical: indexes, constraints, owners, privileges, …", self.schema.empty,
                  _some(self.schema.in_words()) or "nothing differs", "nothing differs", remedy),
            check("backup.restore.database", "extensions, settings, locale, owner and privileges of the database are the same",
                  not self.database and not facts, _some([*self.database, *facts]) or "nothing differs", "nothing differs", remedy),
        ))

    def table(self) -> Table:
        """The checks as rows; `content` and `schema` show their own tables."""
        return self.checks().table()

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"identical": self.identical, "content": self.content.as_dict(), "schema": self.schema.as_dict(), "database": list(self.database)}

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__


@dataclass(frozen=True)
class Proof:
    """A backup that was restored and compared."""

    restored: Restored
    verified: Verified

    @property
    def identical(self) -> bool:
        """Whether what came up is what the backup says."""
        return self.verified.identical

    def table(self) -> Table:
        """The checks as rows."""
        return self.verified.table()

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"restored": self.restored.as_dict(), "verified": self.verified.as_dict()}

    def _repr_html_(self) -> str:
        return self.restored._repr_html_() + self.verified._repr_html_()

    def __str__(self) -> str:
        return f"{self.restored}\n{self.verified}"

    __repr__ = __str__


def restore(backup: Backup, target: Target, application_name: str, *, tools: Tools, jobs: int = 2, mark: str = "", verify: bool = True,
            timeout_s: float | None = None, on_line: OnLine = None) -> Restored:
    """Bring a backup up as the new database that `target` names. Where it fails, the new database is dropped again.

    Args:
        jobs: sessions of pg_restore and of ANALYZE.
        mark: comment of the finished database; default the comment that the original had.
        verify: hash every file first. `False` only where that was done a moment ago.
        timeout_s: seconds that pg_restore may take; default no limit.

    Raises:
        UsageError: a finished database has that name, or the tools fit neither dump nor server; nothing was touched.
        CheckError: the backup is damaged; nothing was touched.
        ToolError, DatabaseError: it failed; the new database is gone.
    """
    if verify:
        verify_hashes(backup, jobs).require()
    facts = backup.database()
    seconds: dict[str, float] = {}
    with databases.maintenance(target, application_name, lock_timeout="30s", statement_timeout="10min") as admin:
        _require_fit(tools, backup, admin)
        _clear_unfinished(admin, target.database)
        databases.create(admin, target.database, facts, f"{databases.UNFINISHED}of backup {backup.sha256}, {databases.signature(admin)}")
        try:
            with _step(seconds, "pg_restore"):
                _pg_restore(backup, target, application_name, tools, jobs, timeout_s, on_line)
            with _step(seconds, "privileges and settings"):
                databases.apply(admin, target.database, facts)
            with _step(seconds, "analyze"):
                _analyze(target, application_name, jobs)
            databases.comment_on(admin, target.database, mark or facts["comment"])
        except BaseException:
            databases.drop(admin, target.database)
            raise
        made = databases.entry(admin, target.database)
        assert made
        return Restored(target.database, made.oid, backup.sha256, {step: round(took, 3) for step, took in seconds.items()})


def compare_with(backup: Backup, target: Target, application_name: str, *, jobs: int = 2, on_line: OnLine = None) -> Verified:
    """Compare a database with what a backup says that it holds.

    Raises:
        UsageError: this server hashes differently than the backup's; make the backup with `Method.MD5`.
        DatabaseError: a table could not be read.
    """
    with snapshot.exported(target, application_name) as at:
        shot = snapshot.take(target, application_name, jobs=jobs, columns=backup.snapshot.columns(), at=at,
                             method=Method(backup.snapshot.method), on_progress=on_line)
        schema = catalog.difference(backup.catalog(), catalog.read(at.db), restored=True)
        now = at.db.row(query("dump_database")) or {}
    return Verified(backup.snapshot.compare(shot), schema, _database_differences(backup.database(), now))


def prove(backup: Backup, server: Target, application_name: str, *, tools: Tools, jobs: int = 2, timeout_s: float | None = None,
          on_line: OnLine = None) -> Proof:
    """Bring a backup up in a scratch database, compare it with the manifest, and drop the scratch database.

    Args:
        server: any database of the server to restore on; it is not touched.

    Raises:
        As `restore` and `compare_with`; the scratch database is gone either way.
    """
    with scratch.reserved(server, "proof", application_name) as place:
        restored = restore(backup, place.target, application_name, tools=tools, jobs=jobs, mark=place.mark, timeout_s=timeout_s, on_line=on_line)
        return Proof(restored, compare_with(backup, place.target, application_name, jobs=jobs, on_line=on_line))


def _require_fit(tools: Tools, backup: Backup, admin: Database) -> None:
    written, server = int(backup.tools.split(".")[0]), admin.server_version // 10000
    if tools.major < written or not fits(tools.major, server):
        raise UsageError(f"pg_restore {tools.version} cannot bring a dump of pg_dump {backup.tools} up on a server of version {server}",
                         f"name tools of version {written} in `database: tools:`")


def _clear_unfinished(admin: Database, name: str) -> None:
    """Drop what a killed restore left behind: a database that our own comment calls unfinished, its maker gone."""
    there = databases.entry(admin, name)
    if there and there.comment.startswith(databases.UNFINISHED) and not there.maker_alive:
        databases.drop(admin, name)


def _pg_restore(backup: Backup, target: Target, application_name: str, tools: Tools, jobs: int, timeout_s: float | None, on_line: OnLine) -> None:
    quoted = target.database.replace("\\", "\\\\").replace("'", "\\'")
    command = [tools.path("pg_restore"), "--exit-on-error", "-j", str(jobs), "--verbose", "--no-password", "-d", f"dbname='{quoted}'", str(backup.dump)]
    tables = sum(not state.excluded for state in backup.snapshot.tables.values())
    with failures_named("pg_restore", f"{target.database} is dropped again and nothing else was touched"):
        run(command, env=target.environment(application_name, **_TUNED), timeout_s=timeout_s,
            on_line=progress(Ticker(on_line), "restored", tables), remedy="read the error; the backup itself is unharmed")


def _analyze(target: Target, application_name: str, jobs: int) -> None:
    with Database(target, application_name) as db, reading(db):
        names = [row["name"] for row in db.rows(query("restore_analyze"))]
    each(target, application_name, jobs, names, lambda db, name: db.execute(sql.SQL(f"ANALYZE {name}")), statement_timeout="1h", lock_timeout="60s")


def _database_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs, without the values of settings: they may be secret."""
    ignored = ("comment", "tablespace", "collation_version", "has_acl", "settings")
    return tuple(f"{key.replace('_', ' ')}: {before[key]} → {after[key]}" for key in before if key not in ignored and before[key] != after[key])


def _some(lines: list[str] | tuple[str, ...]) -> str:
    return "; ".join(lines[:10]) + (f"; and {len(lines) - 10} more" if len(lines) > 10 else "")


@contextmanager
def _step(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[name] = time.monotonic() - started
