"""What pending files do that their text does not tell.

Watched in a shadow database that has the schema of the live one.

Only statements whose course follows from the catalogue are watched; the shadow has no rows. What
cannot be run there, and what comes after it, stays "not known".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import catalog
from runbook_lib.postgres.catalog import Catalog
from runbook_lib.postgres.connection import Database, identifier
from runbook_lib.prisma import replay
from runbook_lib.prisma.effect import Change
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.judge import WHOLE, Observed, Statement, statements
from runbook_lib.prisma.known import Known

HISTORY = """CREATE TABLE {}._prisma_migrations (
    id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
    migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(),
    applied_steps_count integer NOT NULL DEFAULT 0)"""
"""Prisma's own table, which no file makes: a statement for every table meets it, too."""


def observe(
    db: Database,
    made: Catalog,
    applied: Sequence[MigrationFile],
    pending: Sequence[MigrationFile],
) -> Observed:
    """Run the pending files in the shadow database and return what each changed.

    The same for each unclear statement.

    Args:
        db: a session with the shadow, which has the schema that the applied files make.
        made: its catalogue.
    """
    db.execute(sql.SQL(HISTORY).format(identifier(db.target.schema)))
    known = Known(made.objects, db.target.schema, db.server_version // 10_000)
    found = [one for file in pending for one in statements(file, known)]
    wanted = {
        (one.file, one.parsed.number)
        for one in found
        if one.effect.unclear and not one.effect.unseen
    }
    beyond = set(replay.beyond([*applied, *pending]))
    seen: dict[tuple[str, int], tuple[Change, ...]] = {}
    try:
        before = catalog.read(db)
        for file, group in groupby(found, key=lambda one: one.file):
            _begin_file(db)
            for one in group:
                if one.place in beyond:
                    return seen
                changes = _run(db, one, look=(file, one.parsed.number) in wanted)
                if changes is not None:
                    seen[file, one.parsed.number] = changes
            after = catalog.read(db)
            seen[file, WHOLE], before = _changes(before, after), after
    except DatabaseError:
        return seen
    return seen


def _begin_file(db: Database) -> None:
    """Take back what a file before has set for its session."""
    db.execute("RESET ALL")
    db.execute(sql.SQL("SET search_path TO {}").format(identifier(db.target.schema)))


def _run(db: Database, one: Statement, *, look: bool) -> tuple[Change, ...] | None:
    """Run a statement, and return what it changed; None if nobody asks."""
    before = catalog.read(db) if look else None
    db.execute(one.parsed.sql)
    return _changes(before, catalog.read(db)) if before is not None else None


def _changes(before: Catalog, after: Catalog) -> tuple[Change, ...]:
    changes = catalog.difference(before, after)
    return tuple(Change(each.kind, each.name, each.action, each.property) for each in changes)
