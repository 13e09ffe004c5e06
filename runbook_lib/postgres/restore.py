"""Restore a backup as a new database, and prove what came up against the backup.

Never over an existing one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from runbook_lib.errors import DatabaseError, beside
from runbook_lib.postgres import (
    catalog,
    databases,
    discard,
    planner,
    restorable,
    restore_entries,
    role_limits,
    scratch,
    snapshot,
)
from runbook_lib.postgres.backup import Backup, verify_hashes
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.difference import Difference
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.program import Progress, carry_out, failures_named
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.restored import Proof, Restored, Verified
from runbook_lib.postgres.role_limits import LeftOut
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools
from runbook_lib.process import run

__all__ = [
    "Proof",
    "Restored",
    "Verified",
    "compare_with",
    "prove",
    "restore",
    "restore_rows",
    "restore_schema",
]

OnLine = Callable[[str], None] | None
_TUNED = {
    "synchronous_commit": "off",
    "maintenance_work_mem": "256MB",
    "max_parallel_maintenance_workers": "0",
    "jit": "off",
    "lock_timeout": "60s",
}
"""Settings of pg_restore's sessions; they share the work themselves, so that an index needs no
further workers.
"""


def restore(
    backup: Backup,
    target: Target,
    application_name: str,
    *,
    tools: Tools,
    jobs: int = 2,
    mark: str = "",
    verify: bool = True,
    timeout_s: float | None = None,
    on_line: OnLine = None,
) -> Restored:
    """Bring a backup up as the new database that `target` names.

    Where it fails, the new database is dropped again.

    Args:
        jobs: sessions of ANALYZE; pg_restore has one more, which works while another waits for the
            disk.
        mark: comment of the finished database; default the comment that the original had.
        verify: hash every file first. `False` only where that was done a moment ago.
        timeout_s: seconds that pg_restore may take; default no limit.

    Raises:
        UsageError: a finished database has that name, the tools fit neither dump nor server, or the
            server lacks room, a role
            or an extension; nothing was touched.
        CheckError: the backup is damaged; nothing was touched.
        ToolError, DatabaseError: it failed; the new database is gone.
    """
    if verify:
        verify_hashes(backup, jobs).require()
    facts, copy = backup.database(), mark.startswith(databases.SCRATCH)
    seconds: dict[str, float] = {}
    ticker = Ticker(on_line)
    with databases.maintenance(
        target, application_name, lock_timeout="30s", statement_timeout="10min"
    ) as admin:
        restorable.require_fit(admin, backup, tools)
        restorable.require_there(admin, backup, facts)
        _clear_unfinished(admin, target.database)
        restorable.require_room(admin, backup, facts, ticker)
        limits = restore_entries.make(
            admin,
            backup,
            target,
            application_name,
            f"{databases.UNFINISHED}of backup {backup.sha256}, {databases.signature(admin)}",
            copy=copy,
        )
        with _dropped_where_it_fails(target, application_name):
            with _step(seconds, "pg_restore"):
                restore_entries.bring_up(
                    backup,
                    target,
                    application_name,
                    tools,
                    limits,
                    lambda options: _pg_restore(
                        backup,
                        target,
                        application_name,
                        tools,
                        jobs,
                        timeout_s,
                        admin,
                        ticker,
                        options,
                    ),
                )
            with _step(seconds, "privileges and settings"):
                refused = databases.apply(admin, target.database, facts)
            with _step(seconds, "analyze"):
                _analyze(target, application_name, jobs)
            databases.comment_on(admin, target.database, mark or facts["comment"])
        made = databases.entry(admin, target.database)
        assert made
        return Restored(
            target.database,
            made.oid,
            backup.sha256,
            {step: round(took, 3) for step, took in seconds.items()},
            (*limits.items, *map(_setting, refused)),
        )


def _setting(name: str) -> LeftOut:
    """A role's in this database bears on what that role does.

    A superuser's on what the server logs and loads.
    """
    return LeftOut(
        "setting",
        name,
        "only a superuser or that role sets it",
        f"after a restore, as a superuser: set {name} again",
        " of " in name,
    )


def restore_schema(
    backup: Backup,
    target: Target,
    application_name: str,
    *,
    tools: Tools,
    mark: str,
    bare: bool = False,
) -> None:
    """Bring a backup's schema up, without rows, as the new database that `target` names.

    To try statements on.

    Args:
        bare: without indexes, constraints, triggers, owners and privileges: to look at rows
            (`restore_rows`).

    Raises:
        As `restore`.
    """
    options = (
        ("--section=pre-data", "--no-owner", "--no-privileges", "--no-comments")
        if bare
        else ("--schema-only",)
    )
    with databases.maintenance(
        target, application_name, lock_timeout="30s", statement_timeout="10min"
    ) as admin:
        facts = backup.database()
        restorable.require_fit(admin, backup, tools)
        restorable.require_there(admin, backup, facts)
        limits = restore_entries.make(admin, backup, target, application_name, mark, copy=True)
        with (
            _dropped_where_it_fails(target, application_name),
            failures_named(
                "pg_restore", f"only {target.database} was touched, and is dropped again"
            ),
        ):
            restore_entries.bring_up(
                backup,
                target,
                application_name,
                tools,
                limits,
                lambda more: run(
                    _command(backup, target, tools, *options, *more),
                    env=target.environment(application_name, **_TUNED),
                ),
            )


def restore_rows(
    backup: Backup,
    target: Target,
    application_name: str,
    schema: str,
    table: str,
    *,
    tools: Tools,
    timeout_s: float,
) -> None:
    """Bring the rows of one table up, in a database that `restore_schema` made `bare`.

    They are not proven: compare them with the manifest.

    Args:
        schema, table: unquoted.
        timeout_s: seconds that pg_restore may take.

    Raises:
        ToolError: it failed, or took too long.
    """
    with failures_named("pg_restore", f"only {target.database} was touched"):
        run(
            _command(
                backup, target, tools, "--section=data", f"--schema={schema}", f"--table={table}"
            ),
            env=target.environment(application_name, **_TUNED),
            timeout_s=timeout_s,
        )


def compare_with(
    backup: Backup, target: Target, application_name: str, *, jobs: int = 2, on_line: OnLine = None
) -> Verified:
    """Compare a database with what a backup says that it holds.

    Raises:
        UsageError: this server hashes differently than the backup's; make the backup with what
            `fingerprint.method_for` says.
        DatabaseError: a table could not be read.
    """
    with snapshot.exported(target, application_name) as at:
        after = snapshot.take(
            target,
            application_name,
            jobs=jobs,
            columns=backup.snapshot.columns(),
            at=at,
            method=Method(backup.snapshot.method),
            on_progress=on_line,
        )
        made = backup.catalog()
        schemas = made.without(made.left_out()), catalog.read(at.db)
        now = at.db.row(query("dump_database")) or {}
        limits = role_limits.known(at.db, backup)
    before, left_out = backup.snapshot, ""
    majors = [shot.server_version.split(".")[0] for shot in (before, after)]
    if majors[0] != majors[1]:
        left_out = (
            f"between the versions {majors[0]} and {majors[1]}, versions of extensions, the "
            "privilege MAINTAIN, qualifiers in views and rules"
        )
        schemas = schemas[0].portable(), schemas[1].portable()
        before, after = (
            replace(shot, extensions=dict.fromkeys(shot.extensions, "")) for shot in (before, after)
        )
    content, changes = before.compare(after), catalog.difference(*schemas, restored=True)
    return Verified(
        limits.without_facts(content),
        Difference(tuple(one for one in changes if not limits.explains(one))),
        _database_differences(backup.database(), now, limits.owner_refused(backup.database())),
        left_out,
        limits.lacking(content, changes),
    )


def prove(
    backup: Backup,
    server: Target,
    application_name: str,
    *,
    tools: Tools,
    jobs: int = 2,
    timeout_s: float | None = None,
    on_line: OnLine = None,
) -> Proof:
    """Restore a backup in a scratch database, compare it with the manifest, and drop it.

    Args:
        server: any database of the server to restore on; it is not touched.

    Raises:
        As `restore` and `compare_with`; the scratch database is gone either way.
    """
    began = time.monotonic()
    with scratch.reserved(server, "proof", application_name, on_line) as place:
        restored = restore(
            backup,
            place.target,
            application_name,
            tools=tools,
            jobs=jobs,
            mark=place.mark,
            timeout_s=timeout_s,
            on_line=on_line,
        )
        verified = compare_with(backup, place.target, application_name, jobs=jobs, on_line=on_line)
        return Proof(restored, verified, round(time.monotonic() - began, 3))


def _clear_unfinished(admin: Database, name: str) -> None:
    """Drop what a killed restore left behind.

    A database that our own comment calls unfinished, its maker gone.
    """
    there = databases.entry(admin, name)
    if there and there.comment.startswith(databases.UNFINISHED) and not there.maker_alive:
        discard.discard(admin, name)


@contextmanager
def _dropped_where_it_fails(target: Target, application_name: str) -> Iterator[None]:
    """Drop the half-restored database again, by a session of its own.

    What failed may have taken the other one along.
    """
    try:
        yield
    except BaseException as error:
        name = target.database
        left = (
            "it is marked as unfinished: the next restore of that name, and `runbook prune "
            "PARAMS`, drop it"
        )
        with (
            beside(error, f"dropping {name} ({left})"),
            databases.maintenance(
                target, application_name, lock_timeout="30s", statement_timeout="10min"
            ) as admin,
        ):
            discard.discard(admin, name)
        raise


def _pg_restore(
    backup: Backup,
    target: Target,
    application_name: str,
    tools: Tools,
    jobs: int,
    timeout_s: float | None,
    admin: Database,
    ticker: Ticker,
    options: Sequence[str],
) -> None:
    tables = sum(not state.excluded for state in backup.snapshot.tables.values())
    progress = Progress(
        ticker,
        "restored",
        tables,
        lambda: _size(admin, target.database),
        backup.snapshot.database_bytes,
    )
    carry_out(
        _command(backup, target, tools, "-j", str(jobs + 1), "--verbose", *options),
        target.environment(application_name, **_TUNED),
        f"only {target.database} was touched, and is dropped again",
        timeout_s=timeout_s,
        progress=progress,
        remedy="read the error; the backup itself is unharmed",
    )


def _command(backup: Backup, target: Target, tools: Tools, *options: str) -> list[str]:
    quoted = target.database.replace("\\", "\\\\").replace("'", "\\'")
    return [
        tools.path("pg_restore"),
        "--exit-on-error",
        *options,
        "--no-password",
        "-d",
        f"dbname='{quoted}'",
        str(backup.dump),
    ]


def _size(admin: Database, name: str) -> int | None:
    """How large the database is by now.

    `None` where the server does not say: pg_restore will tell why.
    """
    try:
        return int(admin.value("SELECT pg_database_size(%s::name)", [name]))
    except DatabaseError:
        return None


def _analyze(target: Target, application_name: str, jobs: int) -> None:
    with Database(target, application_name) as db, reading(db):
        names = [row["name"] for row in db.rows(query("restore_analyze"))]
    planner.renewed(target, application_name, jobs, names)


def _database_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], owner_refused: bool
) -> tuple[str, ...]:
    """What differs, without the values of settings: they may be secret."""
    ignored = ["comment", "tablespace", "collation_version", "has_acl", "settings", "roles"]
    ignored += [
        "extensions_used",
        "extension_tables",
        *(["owner", "grants"] if owner_refused else []),
    ]
    return tuple(
        f"{key.replace('_', ' ')}: {before[key]} → {after[key]}"
        for key in before
        if key not in ignored and before[key] != after[key]
    )


@contextmanager
def _step(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[name] = time.monotonic() - started
