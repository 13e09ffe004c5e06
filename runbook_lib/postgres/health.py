"""Whether the server is the right one, and can be worked with."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.check import Check, Checks, check
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.target import Target
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
        rows = [
            (key.replace("_", " "), size(value) if key == "database_bytes" else str(value))
            for key, value in asdict(self).items()
        ]
        return Table(
            f"{self.database} on PostgreSQL {self.server_version}", ("fact", "value"), rows
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


def server_facts(db: Database) -> ServerFacts:
    """Which server and database this session is on."""
    row = db.row(query("health_server")) or {}
    readable = row.pop("identifier_readable")
    number = (
        db.value("SELECT system_identifier::text FROM pg_control_system()")
        if readable
        else "unknown"
    )
    return ServerFacts(
        **row
        | {
            "system_identifier": number,
            "started_at": row["started_at"].isoformat(timespec="seconds"),
        }
    )


def connection(target: Target, application_name: str) -> Checks:
    """Whether the target can be reached, directly and for writing."""
    title = "the credentials connect"
    try:
        started = time.monotonic()
        with Database(target, application_name, statement_timeout="10s") as db:
            took = 1000 * (time.monotonic() - started)
            connected = check(
                "environment.connect",
                title,
                True,
                f"{target} as {target.user} in {took:.0f} ms",
                "a session",
            )
            return Checks("Connection", (connected, *_session_checks(db)))
    except DatabaseError as error:
        return Checks(
            "Connection",
            (check("environment.connect", title, False, error.message, "a session", error.remedy),),
        )


def _session_checks(db: Database) -> tuple[Check, ...]:
    started = time.time()
    row = db.row(query("health_connection")) or {}
    ended, major = time.time(), db.server_version // 10000
    skew = row["clock"] - (started + ended) / 2
    return (
        check(
            "environment.version",
            "the server's version is supported",
            OLDEST <= major <= NEWEST,
            str(major),
            f"{OLDEST} to {NEWEST}",
            "use a version of the runbook that knows this server",
        ),
        check(
            "environment.direct",
            "sessions reach the server itself, with their settings",
            row["check_interval"] == "1s",
            f"client_connection_check_interval is {row['check_interval']}",
            "1s, as it was asked for",
            "a pooler stands between: use the direct URL, locks and timeouts are lost otherwise",
        ),
        check(
            "environment.writable",
            "the server may be written to",
            not row["standby"] and not row["read_only"],
            "a standby"
            if row["standby"]
            else "read only by default"
            if row["read_only"]
            else "primary",
            "a primary",
            "use the primary's URL",
        ),
        check(
            "environment.clock",
            "the server's clock agrees with this machine's",
            abs(skew) < 5,
            f"{skew:+.2f} s",
            "within 5 s",
            "correct the clock: journal and WAL times are compared",
        ),
        *_schema_check(db, row["schema"]),
        check(
            "environment.round_trip",
            "a question is answered quickly",
            ended - started < 0.5,
            f"{1000 * (ended - started):.1f} ms, " + _encryption(db, row["tls"]),
            "under 500 ms",
            "run the runbook nearer to the server",
        ),
    )


def _encryption(db: Database, version: str | None) -> str:
    """The server tells the version to a member of the session's user alone.

    Acting as another role, it is not known.
    """
    if not db.connection.pgconn.ssl_in_use:
        return "not encrypted"
    return f"encrypted with {version}" if version else "encrypted"


def _schema_check(db: Database, found: str) -> tuple[Check, ...]:
    """Return the check that the URL's schema is where the migrations work.

    Without `schema` in its URL Prisma compares `public`, and its migrations work where
    `search_path` leads first.
    """
    if "schema" in db.target.prisma or found == db.target.schema:
        return ()
    return (
        check(
            "environment.schema",
            "Prisma compares the schema that its migrations work in",
            False,
            f"search_path leads to {found} first, Prisma compares {db.target.schema}",
            db.target.schema,
            f"add schema={found if found != 'none' else db.target.schema} to the database URL",
        ),
    )
