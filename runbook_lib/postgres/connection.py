"""Where a database is, and how it is spoken to.

A `Target` is what Prisma's URL says, in libpq's terms: libpq refuses Prisma's own parameters, and its messages can
repeat part of a password, so no URL ever reaches libpq. A `Database` is one session of ours: named, with timeouts,
and with errors that carry no row of data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from runbook_lib.errors import DatabaseError, UsageError
from runbook_lib.redact import redact, remember

# Parameters of Prisma's PostgreSQL URLs (its documentation, "PostgreSQL connector: Arguments") and what libpq calls them.
_TO_LIBPQ = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslrootcert",
    "connect_timeout": "connect_timeout",
}
_SESSION = {"client_connection_check_interval": "1s", "client_min_messages": "warning"}
LOST = "find out in the server's log who ended the session or stopped the server, and repeat"
"""What to do where a session, or the one that holds the instant, is gone."""
NO_DDL = "keep DDL, TRUNCATE and VACUUM FULL away and repeat"
"""What to do where a table changed while an earlier instant of it was read."""


@dataclass(frozen=True)
class Target:
    """One database on one server.

    Args:
        host, port, user, database: as libpq takes them.
        password: never shown.
        schema: the schema that Prisma works in.
        options: libpq connection parameters beyond those (sslmode, …).
    """

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False, default="")
    schema: str = "public"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> Target:
        """The target that a `postgresql://` URL names, Prisma's own parameters understood.

        Raises:
            UsageError: it is no PostgreSQL URL, or lacks host or database.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port or 5432
        except ValueError:
            raise UsageError(
                "the database URL cannot be read: its port is no number",
                "write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, the password URL-encoded",
            ) from None
        name = unquote(parts.path.lstrip("/"))
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not name:
            raise UsageError(
                "the database URL is not of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                "correct what the reference in `database: url:` leads to",
            )
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        password = unquote(parts.password or "")
        remember(password)
        options = {_TO_LIBPQ[key]: value for key, value in query.items() if key in _TO_LIBPQ}
        host = query.get("host", parts.hostname)
        return cls(
            host,
            port,
            unquote(parts.username or "postgres"),
            name,
            password,
            query.get("schema", "public"),
            options,
        )

    def __str__(self) -> str:
        return f"{self.database} on {self.host}:{self.port}"

    def named(self, database: str) -> Target:
        """The same server and user, another database."""
        return replace(self, database=database)

    def environment(self, application_name: str, **settings: str) -> dict[str, str]:
        """Variables with which libpq's programs (pg_dump, psql, …) reach this database; the password stays off argv, and they
        speak English, whatever the operator's language is: their failures are read.

        Args:
            application_name: what `pg_stat_activity` shows for their sessions.
            settings: server settings for their sessions, e.g. `lock_timeout="5s"`.
        """
        options = " ".join(f"-c {name}={value}" for name, value in {**_SESSION, **settings}.items())
        variables = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
            "PGPASSWORD": self.password,
            "PGAPPNAME": application_name,
            "PGOPTIONS": options,
            "LC_ALL": "C",
        }
        return variables | {f"PG{name.upper()}": value for name, value in self.options.items()}

    def url(self, application_name: str = "", **settings: str) -> str:
        """The URL for Prisma, with server settings in its `options`: its engine reads them from nowhere else.

        Args:
            application_name: what `pg_stat_activity` shows for the engine's sessions.
            settings: server settings for its sessions, e.g. `lock_timeout="5s"`.
        """
        named = {"application_name": application_name} if application_name else {}
        flags = " ".join(
            f"-c {name}={value}" for name, value in {**_SESSION, **named, **settings}.items()
        )
        query = {"schema": self.schema, **self.options, "options": flags}
        login = quote(self.user, safe="") + (
            f":{quote(self.password, safe='')}" if self.password else ""
        )
        arguments = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(self.database, safe='')}?{arguments}"


class Database:
    """One session with a database, in autocommit; a context manager that closes it.

    Args:
        target: which database.
        application_name: what `pg_stat_activity` shows, `runbook/<run>/<phase>`.
        settings: server settings for this session; `statement_timeout` and `lock_timeout` are given here.

    Raises:
        DatabaseError: the server cannot be reached, refuses the login, or has no such database.
    """

    def __init__(self, target: Target, application_name: str = "runbook", **settings: str) -> None:
        self.target = target
        self.application_name = application_name
        options = " ".join(f"-c {name}={value}" for name, value in {**_SESSION, **settings}.items())
        try:
            self._connection = psycopg.connect(
                host=target.host,
                port=target.port,
                user=target.user,
                password=target.password,
                dbname=target.database,
                application_name=application_name,
                options=options,
                autocommit=True,
                row_factory=dict_row,
                **{"connect_timeout": "10", "keepalives_idle": "30", **target.options},
            )
        except psycopg.Error as error:
            raise _unreachable(target, error) from None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def cancel(self) -> None:
        """Cancel what this session is doing; called from another thread. Nothing happens where it does nothing."""
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
    def connection(self) -> psycopg.Connection[dict[str, Any]]:
        """The psycopg connection, for what this class does not offer (COPY, notices); wrap its use in `translated`."""
        return self._connection

    def rows(
        self,
        statement: str | sql.Composable,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> list[dict[str, Any]]:
        """All rows of a query, each as a dict; an empty list for a statement that returns none."""
        with translated():
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
    def transaction(self) -> Iterator[Database]:
        """One transaction: committed at the end, rolled back where an error leaves it."""
        with translated(), self._connection.transaction():
            yield self


def reach(
    target: Target, application_name: str, within_s: float = 10.0, **settings: str
) -> Database:
    """A session with a server that may be recovering from a crash: tried for again until it is there.

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


def _refused(error: psycopg.Error) -> DatabaseError:
    primary = (
        error.diag.message_primary or str(error).splitlines()[0]
        if str(error)
        else type(error).__name__
    )
    state = error.sqlstate or ""
    lost = isinstance(error, psycopg.OperationalError) and (not state or state.startswith("57P"))
    remedy = LOST if lost else _REMEDIES.get(state, "")
    return DatabaseError(
        redact(f"PostgreSQL: {primary}" + (f" ({state})" if state else "")), remedy, sqlstate=state
    )


_REMEDIES = {
    "53100": "the server's disk is full: free space there, and repeat",
    "53200": "the server is out of memory, or its lock table is full: raise max_locks_per_transaction (it needs a restart)",
}


def _unreachable(target: Target, error: psycopg.Error) -> DatabaseError:
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip()
    ]  # the last is often a hint, several hosts give several
    said = redact(
        next(
            (line for line in reversed(lines) if "failed: " in line or "FATAL" in line),
            lines[-1] if lines else "no answer",
        )
    )
    remedies = {
        "password authentication failed": "check the password that the reference in `database: url:` leads to",
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
