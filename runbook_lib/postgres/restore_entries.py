"""Which entries of a dump are brought up, in which order.

All that this role may, the schemas first where others own what is in them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import databases, discard, role_limits
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, identifier, query
from runbook_lib.postgres.role_limits import Limits
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools
from runbook_lib.process import run

_SCHEMAS = re.compile(r"; \d+ \d+ SCHEMA - | ACL - SCHEMA ")
_SCHEMA_OF = re.compile(r'("(?:[^"]|"")+"|[^."]+)\.')


def make(
    admin: Database,
    backup: Backup,
    target: Target,
    application_name: str,
    comment: str,
    *,
    copy: bool,
) -> Limits:
    """Make the empty database for a backup, and tell what this role may not bring up in it.

    Where an extension is missing that other objects need, it is made from template1, if somebody
    put the extension there.

    Args:
        copy: it is thrown away; else objects of others must come up as theirs.

    Raises:
        RightError: nothing can come up; the database is gone again.
    """
    facts, name = backup.database(), target.database
    databases.create(admin, name, facts, comment, copy=copy)
    try:
        found = role_limits.read(target, application_name, backup)
        if found.blocking and _from_template1(admin, name, facts, comment, copy):
            found = role_limits.read(target, application_name, backup)
        found.require_restorable()
        if not copy:
            found.require_owners()
        return found
    except BaseException:
        discard.discard(admin, name)
        raise


def _from_template1(
    admin: Database, name: str, facts: Mapping[str, Any], comment: str, copy: bool
) -> bool:
    """Make it anew from template1.

    Whether that can be copied: nobody is connected to it, and encoding and locale are the same.
    """
    discard.discard(admin, name)
    try:
        databases.create(admin, name, facts, comment, template="template1", copy=copy)
        return True
    except DatabaseError:
        databases.create(admin, name, facts, comment, copy=copy)
        return False


def bring_up(
    backup: Backup,
    target: Target,
    application_name: str,
    tools: Tools,
    limits: Limits,
    restore: Callable[[Sequence[str]], object],
) -> None:
    """Let `restore` run pg_restore for all entries that this role may bring up.

    Args:
        restore: takes options of pg_restore.
    """
    if limits.superuser:
        restore(limits.options())
        return
    lines = limits.entries(_listed(backup, tools), backup.database().get("extension_tables", {}))
    owners = [] if limits.foreign else _owners(backup, limits)
    first = [line for line in lines if _SCHEMAS.search(line)] if owners else []
    if first:
        with _list(first) as options:
            restore([*limits.options(), *options])
        lines = [line for line in lines if line not in first]
    with _may_create(target, application_name, owners), _list(lines) as options:
        restore([*limits.options(), *options])


def _listed(backup: Backup, tools: Tools) -> list[str]:
    done = run(
        [tools.path("pg_restore"), "--list", str(backup.dump)],
        timeout_s=600,
        keep_lines=1_000_000,
    )
    return done.output.splitlines()


@contextmanager
def _list(lines: Sequence[str]) -> Iterator[list[str]]:
    """The option that names a file with these lines."""
    with tempfile.TemporaryDirectory(prefix="runbook-restore-") as folder:
        path = Path(folder) / "entries"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield ["-L", str(path)]


def _owners(backup: Backup, limits: Limits) -> list[dict[str, str]]:
    """Schema and owner of everything that belongs to another role than this."""
    pairs = {
        (found[1], value["owner"])
        for kind, objects in backup.catalog().objects.items()
        if kind != "schema"
        for name, value in objects.items()
        if value.get("owner") and (found := _SCHEMA_OF.match(name))
    }
    return [
        {"schema": schema, "owner": owner} for schema, owner in sorted(pairs) if owner != limits.me
    ]


@contextmanager
def _may_create(
    target: Target, application_name: str, owners: Sequence[Mapping[str, str]]
) -> Iterator[None]:
    """Let owners create in the schemas of what they own, as ALTER … OWNER TO demands.

    Taken back at the end.
    """
    lacking: list[dict[str, Any]] = []
    if owners:
        with Database(target, application_name, lock_timeout="10s") as db:
            lacking = db.rows(query("role_limits_schemas"), {"owners": json.dumps(list(owners))})
            _each(db, "GRANT CREATE ON SCHEMA {} TO {}", lacking)
    yield
    if lacking:
        with Database(target, application_name, lock_timeout="10s") as db:
            _each(db, "REVOKE CREATE ON SCHEMA {} FROM {}", lacking)


def _each(db: Database, statement: str, pairs: Sequence[Mapping[str, str]]) -> None:
    for pair in pairs:
        db.execute(sql.SQL(statement).format(sql.SQL(pair["schema"]), identifier(pair["owner"])))
