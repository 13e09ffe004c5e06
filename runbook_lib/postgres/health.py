"""Whether the server is the right one, can be worked with, and lets this role do what a migration needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from runbook_lib.check import Check, Checks, attempt, check
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, Target, identifier, query, translated
from runbook_lib.postgres.reading import pin
from runbook_lib.table import Shown, Table, size

OLDEST, NEWEST = 14, 18
"""Major versions that this package was tested with, or knows the catalogues of."""


@dataclass(frozen=True)
class ServerFacts(Shown):
    """Which server and database this is.

    Args:
        system_identifier: of the cluster; "unknown" where the role may not read it.
        started_at: ISO 8601, UTC.
    """

    server_version: str
    server_version_num: int
    system_identifier: str
    database: str
    database_oid: int
    database_bytes: int
    standby: bool
    started_at: str
    user: str
    superuser: bool
    tablespace: str
    tablespace_location: str
    encoding: str
    lc_collate: str
    collation_version: str | None
    data_checksums: str

    def table(self) -> Table:
        """One row a fact."""
        rows = [(key.replace("_", " "), size(value) if key == "database_bytes" else str(value)) for key, value in asdict(self).items()]
        return Table(f"{self.database} on PostgreSQL {self.server_version}", ("fact", "value"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


def server_facts(db: Database) -> ServerFacts:
    """Which server and database this session is on."""
    row = db.row(query("health_server")) or {}
    readable = row.pop("identifier_readable")
    number = db.value("SELECT system_identifier::text FROM pg_control_system()") if readable else "unknown"
    return ServerFacts(**row | {"system_identifier": number, "started_at": row["started_at"].isoformat(timespec="seconds")})


def connection(target: Target, application_name: str) -> Checks:
    """Whether the target can be reached, directly and for writing."""
    title = "the credentials connect"
    try:
        started = time.monotonic()
        with Database(target, application_name, statement_timeout="10s") as db:
            took = 1000 * (time.monotonic() - started)
            connected = check("environment.connect", title, True, f"{target} as {target.user} in {took:.0f} ms", "a session")
            return Checks("Connection", (connected, *_session_checks(db)))
    except DatabaseError as error:
        return Checks("Connection", (check("environment.connect", title, False, error.message, "a session", error.remedy),))


def _session_checks(db: Database) -> tuple[Check, ...]:
    started = time.time()
    row = db.row(query("health_connection")) or {}
    ended, major = time.time(), db.server_version // 10000
    skew = row["clock"] - (started + ended) / 2
    return (
        check("environment.version", "the server's version is supported", OLDEST <= major <= NEWEST, str(major), f"{OLDEST} to {NEWEST}",
              "use a version of the runbook that knows this server"),
        check("environment.direct", "sessions reach the server itself, with their settings", row["check_interval"] == "1s",
              f"client_connection_check_interval is {row['check_interval']}", "1s, as it was asked for",
              "a pooler stands between: use the direct URL, locks and timeouts are lost otherwise"),
        check("environment.writable", "the server may be written to", not row["standby"] and not row["read_only"],
              "a standby" if row["standby"] else "read only by default" if row["read_only"] else "primary", "a primary", "use the primary's URL"),
        check("environment.clock", "the server's clock agrees with this machine's", abs(skew) < 5, f"{skew:+.2f} s", "within 5 s",
              "correct the clock: journal and WAL times are compared"),
        check("environment.round_trip", "a question is answered quickly", ended - started < 0.5, f"{1000 * (ended - started):.1f} ms, "
              + (f"encrypted with {row['tls']}" if row["encrypted"] else "not encrypted"), "under 500 ms", "run the runbook nearer to the server"),
    )


def rights(db: Database) -> Checks:
    """Whether this role may do what a migration, a backup and a rollback need; tried out where it can be, and rolled back.

    Each is a check of its own, `environment.rights.<what>`.
    """
    found = db.row(query("health_rights")) or {}
    listed = (
        ("read", "the role reads every table and sequence", found["unreadable"], "grant it pg_read_all_data"),
        ("row_security", "row security hides no rows from the role", () if found["bypass_row_security"] else found["row_security"],
         "give the role BYPASSRLS: a dump fails or lacks rows otherwise"),
        ("own", "the role owns every table", found["not_owned"], "only an owner alters a table: use the owner's login, or grant its role"),
    )
    flags = (
        ("create_database", "the role creates databases", "create_database", "ALTER ROLE … CREATEDB: proofs and rollbacks need a database of their own"),
        ("own_database", "the role owns the database", "owner_of_database", "a rollback renames the database: grant the owner's role"),
        ("signal", "the role ends other sessions", "signal_sessions", "grant it pg_signal_backend"),
        ("statistics", "the role sees what other sessions do", "read_all_statistics", "grant it pg_read_all_stats"),
    )
    return Checks("Rights", (
        *(check(f"environment.rights.{name}", title, not missing, _some(missing) or "all", "all", remedy) for name, title, missing, remedy in listed),
        *_tried(db),
        *(check(f"environment.rights.{name}", title, found[key], "yes" if found[key] else "no", "yes", remedy) for name, title, key, remedy in flags)))


def _tried(db: Database) -> Iterator[Check]:
    schema = db.target.schema
    table, index, kind = (identifier(schema, f"runbook_probe_{word}") for word in ("table", "index", "type"))
    make = sql.SQL("CREATE TABLE {} (id int)").format(table)
    steps: tuple[tuple[str, str, Sequence[sql.Composable]], ...] = (
        ("create_table", "tables", [make]),
        ("create_index", "indexes", [make, sql.SQL("CREATE INDEX runbook_probe_index ON {} (id)").format(table)]),
        ("create_type", "types", [sql.SQL("CREATE TYPE {} AS ENUM ('a')").format(kind)]),
        ("alter_table", "tables' columns", [make, sql.SQL("ALTER TABLE {} ADD COLUMN note text").format(table)]),
    )
    for name, what, statements in steps:
        yield attempt(f"environment.rights.{name}", f"the role creates {what} in schema {schema}", _trial(db, name, what, schema, statements))


def _trial(db: Database, name: str, what: str, schema: str, statements: Sequence[sql.Composable]) -> Callable[[], Check]:
    title = f"the role creates {what} in schema {schema}"

    def look() -> Check:
        try:
            with translated(), db.connection.transaction(force_rollback=True):
                pin(db, {"statement_timeout": "10s", "lock_timeout": "2s"})
                for statement in statements:
                    db.execute(statement)
        except DatabaseError as error:
            if error.sqlstate not in ("42501", "3F000", "25006"):  # refused; anything else says nothing about rights
                raise
            return check(f"environment.rights.{name}", title, False, error.message, "tried and rolled back", "grant CREATE on the schema")
        return check(f"environment.rights.{name}", title, True, "tried and rolled back", "tried and rolled back")

    return look


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
