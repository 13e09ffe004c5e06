"""How this package reads.

In a transaction that changes nothing, bounded in time, with everything pinned that would change how
a value is written as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.pq import TransactionStatus

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import LOST, Database, query, translated

PINNED = {
    "search_path": "",  # every name comes out qualified
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "client_encoding": "UTF8",
    "row_security": "off",  # an error instead of silently fewer rows
    "quote_all_identifiers": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",  # our own sessions share the work
    "idle_in_transaction_session_timeout": "0",
}


@contextmanager
def reading(
    db: Database,
    *,
    snapshot_id: str = "",
    statement_timeout_s: float = 60,
    lock_timeout_s: float = 5,
) -> Iterator[Database]:
    """A REPEATABLE READ, READ ONLY transaction with `PINNED` settings.

    Inside one that is open already it sees what that one sees, and leaves its settings as they
    were.

    Args:
        snapshot_id: of an exported snapshot; the transaction then sees exactly what the exporting
            one sees.
        statement_timeout_s: seconds that one statement may take.
        lock_timeout_s: seconds that one statement may wait for a lock.

    Raises:
        DatabaseError: a statement was refused or took too long, or the exporting session is gone.
    """
    fresh = db.connection.info.transaction_status == TransactionStatus.IDLE
    try:
        with (
            translated(),
            db.patient(statement_timeout_s),
            db.connection.transaction(force_rollback=not fresh),
        ):
            _begin(
                db,
                fresh,
                snapshot_id,
                {
                    "statement_timeout": f"{statement_timeout_s:g}s",
                    "lock_timeout": f"{lock_timeout_s:g}s",
                },
            )
            yield db
    except DatabaseError as error:
        raise _locked(db, error) if fresh and error.sqlstate == "55P03" else error from None


def _begin(db: Database, fresh: bool, snapshot_id: str, limits: dict[str, str]) -> None:
    if fresh:
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    if snapshot_id:
        _join(db, snapshot_id)
    pin(db, PINNED | limits | ({"transaction_timeout": "0"} if db.server_version >= 170000 else {}))


def _join(db: Database, snapshot_id: str) -> None:
    try:
        db.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id)))
    except DatabaseError as error:
        raise DatabaseError(error.message, error.remedy or LOST, sqlstate=error.sqlstate) from None


def _locked(db: Database, error: DatabaseError) -> DatabaseError:
    """The same error, with the tables in it that somebody holds: PostgreSQL does not name them."""
    names = ", ".join(row["name"] for row in db.rows(query("reading_locked")))
    return DatabaseError(
        f"{error.message}; locked exclusively: {names or 'nothing any more'}",
        "find out who holds it with `locks.blockers`, wait for it or end it, and repeat",
        sqlstate=error.sqlstate,
    )


def pin(db: Database, settings: dict[str, str]) -> None:
    """Set `settings` until the end of the transaction, in one statement."""
    calls = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
        for name, value in settings.items()
    )
    db.execute(sql.SQL("SELECT ") + calls)
