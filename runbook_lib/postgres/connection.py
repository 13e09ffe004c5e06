"""How a database is spoken to.

A `Database` is one session of ours: named, with timeouts, with settings of its own whatever the
role carries, and with errors that carry no row of data. No URL ever reaches libpq, whose messages
can repeat part of a password.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, cached_property
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import stall
from runbook_lib.postgres.settings import NEWER, REPORTED, SINCE_17, begun
from runbook_lib.postgres.target import Target
from runbook_lib.redact import redact
from runbook_lib.refusal import Refusal, own_words

LOST = "find out in the server's log who ended the session or stopped the server, and repeat"
"""What to do where a session, or the one that holds the instant, is gone."""
UNKNOWN = "what the server still does for this session is not known"
STALLED = (
    "look at what stands between (proxy, tunnel, firewall), then ask the server for sessions "
    "named runbook/…, and repeat"
)
NO_DDL = "keep DDL, TRUNCATE and VACUUM FULL away and repeat"
"""What to do where a table changed while an earlier instant of it was read."""


class Database:
    """One session with a database, in autocommit; a context manager that closes it.

    Args:
        target: which database.
        application_name: what `pg_stat_activity` shows, `runbook/<run>/<phase>`.
        settings: server settings for this session; `statement_timeout` and `lock_timeout` are given
            here. None leaves one
            as role and database carry it.

    Raises:
        DatabaseError: the server cannot be reached, refuses the login, or has no such database.
    """

    def __init__(
        self, target: Target, application_name: str = "runbook", **settings: str | None
    ) -> None:
        self.target = target
        self.application_name = application_name
        try:
            self._connection = _connect(target, application_name, settings)
            for name, value in REPORTED.items():
                if self._connection.info.parameter_status(name) != value and name not in settings:
                    self._connection.execute(
                        "SELECT set_config(%s, %s, false)", (name, value), prepare=False
                    )
        except psycopg.Error as error:
            raise _unreachable(target, error) from None
        self._connection.limit_s = stall.seconds(settings.get("statement_timeout"))

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def cancel(self) -> None:
        """Cancel what this session is doing; called from another thread.

        Nothing happens where it does nothing.
        """
        try:
            self._connection.cancel_safe(timeout=2)
        except psycopg.Error:  # already closed, or the server is gone: nothing left to cancel
            return

    @property
    def pid(self) -> int:
        """The server process of this session."""
        return self._connection.info.backend_pid

    @property
    def server_version(self) -> int:
        """As `server_version_num` has it: 150018 is 15.18."""
        return self._connection.info.server_version

    @property
    def encoding(self) -> str:
        """The database's own encoding.

        A dump in another one, which a role may carry, would lack what that cannot write.
        """
        return self._connection.info.parameter_status("server_encoding") or "UTF8"

    @property
    def connection(self) -> psycopg.Connection[dict[str, Any]]:
        """The psycopg connection, for what this class does not offer (COPY, notices).

        Wrap its use in `translated`.
        """
        return self._connection

    def rows(
        self,
        statement: str | sql.Composable,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> list[dict[str, Any]]:
        """All rows of a query, each as a dict; an empty list for a statement that returns none."""
        with _answer():
            cursor = self._connection.execute(statement, parameters)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def row(
        self,
        statement: str | sql.Composable,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> dict[str, Any] | None:
        """The first row, or None where there is none."""
        return next(iter(self.rows(statement, parameters)), None)

    def value(
        self,
        statement: str | sql.Composable,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> Any:
        """The first column of the first row, or None where there is none."""
        row = self.row(statement, parameters)
        return next(iter(row.values())) if row else None

    def execute(
        self,
        statement: str | sql.Composable,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> int:
        """Run a statement; how many rows it touched (-1 where that has no meaning)."""
        with translated():
            return self._connection.execute(statement, parameters).rowcount  # type: ignore[arg-type]

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Let a statement take that long before the connection counts as stalled.

        A transaction may have a limit of its own.
        """
        usual = self._connection.limit_s
        self._connection.limit_s = max(seconds, usual or 0)
        try:
            yield
        finally:
            self._connection.limit_s = usual

    @cached_property
    def acts(self) -> bool:
        """Whether the role of this session is another than its login.

        By `SET role` of URL, role or database.
        """
        return bool(self.value("SELECT session_user <> current_user"))

    @contextmanager
    def as_login(self) -> Iterator[None]:
        """Act as the login meanwhile; what is changed by a transaction is not kept."""
        with translated(), self._connection.transaction(force_rollback=True):
            self.execute("SET LOCAL ROLE NONE")
            yield

    def sessions(
        self, statement: str | sql.Composable, parameters: Sequence[Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a query about sessions.

        Asked as the login where the role that it acts as is not told what the login's do.
        """
        with self.as_login() if self._seen_by_login else nullcontext():
            return self.rows(statement, parameters)

    @cached_property
    def _seen_by_login(self) -> bool:
        return self.acts and not self.value(
            "SELECT pg_has_role(current_user, session_user, 'USAGE') "
            "OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"
        )

    def signal(self, statement: str, parameters: Sequence[Any]) -> None:
        """Run a statement that signals sessions.

        As the role that this one acts as, else as its login, whose own sessions those of its kind
        are.

        Raises:
            DatabaseError: neither may.
        """
        try:
            if self.execute(statement, parameters) or not self.acts:
                return
        except DatabaseError as error:
            if error.sqlstate != "42501" or not self.acts:
                raise
        with self.as_login():
            self.execute(statement, parameters)

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """One transaction: committed at the end, rolled back where an error leaves it."""
        with translated(), self._connection.transaction():
            yield self


def reach(
    target: Target, application_name: str, within_s: float = 10.0, **settings: str | None
) -> Database:
    """A session with a server that may be recovering from a crash.

    Tried for again until it is there.

    Args:
        within_s: seconds after which it is given up.

    Raises:
        DatabaseError: as for `Database`, of the last try.
    """
    until = time.monotonic() + within_s
    while True:
        try:
            return Database(target, application_name, **settings)
        except DatabaseError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into `DatabaseError`, which carries the SQLSTATE and no row of data."""
    try:
        yield
    except psycopg.Error as error:
        raise _refused(error) from None


@contextmanager
def _answer() -> Iterator[None]:
    """As `translated`, and for what Python cannot represent.

    Psycopg does not say that by an error of its own kind alone.
    """
    try:
        with translated():
            yield
    except (NotImplementedError, ValueError, OverflowError) as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> DatabaseError:
    """Without its message, which quotes the value."""
    return DatabaseError(
        f"the server's answer holds a value that Python cannot represent ({type(error).__name__})",
        "a date before the year 1 or after 9999, an infinite one, or text in another encoding: "
        "ask for it as text",
    )


@cache
def query(name: str) -> str:
    """The text of `queries/<name>.sql`."""
    return (
        resources.files("runbook_lib.postgres.queries")
        .joinpath(f"{name}.sql")
        .read_text(encoding="utf-8")
    )


def identifier(*names: str) -> sql.Identifier:
    """A name, or a qualified name, quoted for SQL."""
    return sql.Identifier(*names)


_AMBIENT = {"hostaddr": "", "sslmode": "prefer", "client_encoding": "UTF8"}
"""Said to libpq, so that variables of the operator's say nothing."""


def _connect(
    target: Target, application_name: str, settings: Mapping[str, str | None]
) -> stall.Connection:
    server = target.host, target.port
    newer = server in NEWER
    try:
        made = _session(target, application_name, target.begun({**begun(*server), **settings}))
    except psycopg.OperationalError as error:
        if not newer or not any(name in str(error) for name in SINCE_17):
            raise
        NEWER.discard(server)  # an older server is there now
        return _connect(target, application_name, settings)
    if newer or made.info.server_version < 170000:
        return made
    made.close()
    NEWER.add(server)
    return _connect(target, application_name, settings)


def _session(target: Target, application_name: str, options: str) -> stall.Connection:
    given: dict[str, Any] = {"connect_timeout": "10", "keepalives_idle": "30", **target.options}
    return stall.Connection.connect(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password,
        dbname=target.database,
        application_name=application_name,
        options=options,
        autocommit=True,
        row_factory=dict_row,
        **{**_AMBIENT, **given},
    )


def _refused(error: psycopg.Error) -> DatabaseError:
    if isinstance(error, psycopg.DataError) and not error.sqlstate:
        return _unreadable(error)
    if isinstance(error, stall.Stalled):
        return DatabaseError(f"PostgreSQL: {error}; {UNKNOWN}", STALLED)
    state = error.sqlstate or ""
    said = str(Refusal.of(error.diag)) if state else own_words(str(error)) or type(error).__name__
    lost = isinstance(error, psycopg.OperationalError) and (not state or state.startswith("57P"))
    remedy = LOST if lost else _REMEDIES.get(state, "")
    return DatabaseError(redact(f"PostgreSQL: {said}"), remedy, sqlstate=state)


_REMEDIES = {
    "53100": "the server's disk is full: free space there, and repeat",
    "53200": "the server is out of memory, or its lock table is full: raise "
    "max_locks_per_transaction (it needs a restart)",
}


def _unreachable(target: Target, error: psycopg.Error) -> DatabaseError:
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip()
    ]  # the last is often a hint, several hosts give several
    said = next(
        (line for line in reversed(lines) if "failed: " in line or "FATAL" in line),
        lines[-1] if lines else "no answer",
    )
    if any(line.startswith("CONTEXT:") for line in lines):  # a login trigger spoke
        said = own_words(str(error))
    said = redact(str(Refusal.of(error.diag)) if error.sqlstate else said)
    remedies = {
        "password authentication failed": "check the password that the reference in `database: "
        "url:` leads to",
        "does not exist": "check the name in the URL; it is never created here",
        "refused": "check host and port, and that the server runs",
        "could not translate host name": "check the host's name",
        "timeout expired": "check host, port and firewall",
    }
    remedy = next(
        (text for part, text in remedies.items() if part in said),
        "check the URL and the server's log",
    )
    return DatabaseError(
        f"cannot connect to {target} as {target.user}: {said}",
        remedy,
        sqlstate=error.sqlstate or "",
    )
