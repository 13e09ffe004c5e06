"""How this package reads: in a transaction that changes nothing, bounded in time, with everything pinned that would
change how a value is written as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.pq import TransactionStatus

from runbook_lib.postgres.connection import Database

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
def reading(db: Database, *, snapshot_id: str = "", statement_timeout_s: float = 60, lock_timeout_s: float = 5) -> Iterator[Database]:
    """A REPEATABLE READ, READ ONLY transaction with `PINNED` settings; it joins one that is open already.

    Args:
        snapshot_id: of an exported snapshot; the transaction then sees exactly what the exporting one sees.
        statement_timeout_s: seconds that one statement may take.
        lock_timeout_s: seconds that one statement may wait for a lock.

    Raises:
        DatabaseError: a statement was refused or took too long, or the exporting session is gone.
    """
    fresh = db.connection.info.transaction_status == TransactionStatus.IDLE
    with db.transaction():
        if fresh:
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot_id:
            db.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id)))
        limits = {"statement_timeout": f"{statement_timeout_s:g}s", "lock_timeout": f"{lock_timeout_s:g}s"}
        if db.server_version >= 170000:
            limits["transaction_timeout"] = "0"
        pin(db, PINNED | limits)
        yield db


def pin(db: Database, settings: dict[str, str]) -> None:
    """Set `settings` until the end of the transaction, in one statement."""
    calls = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value)) for name, value in settings.items())
    db.execute(sql.SQL("SELECT ") + calls)
