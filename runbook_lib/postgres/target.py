"""Where a database is, in the words of each program that is sent there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from runbook_lib.postgres import urls
from runbook_lib.postgres.settings import EVERY, REPORTED, begun, flags

_AS_THEY_ARE = "!$&'()*+,;=:@"
"""Of a database's name in a URL: Prisma's engine decodes that part only since 7.4."""
_ALONE = {
    "PGSERVICE": "runbook",
    "PGSERVICEFILE": str(Path(__file__).with_name("service.conf")),
    "PGHOSTADDR": "",
    "PGSSLMODE": "prefer",
}
"""Laid over variables of the operator's that would lead PostgreSQL's programs to another server
than the URL.
"""


@dataclass(frozen=True)
class Target:
    """One database on one server.

    Args:
        host, port, user, database: as libpq takes them.
        password: never shown.
        schema: the schema that Prisma works in.
        options: libpq connection parameters beyond those (sslmode, …).
        prisma: parameters of Prisma's URL beyond those.
        flags: what the URL's own `options` say: settings that every session begins with.
    """

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False, default="")
    schema: str = "public"
    options: Mapping[str, str] = field(default_factory=dict)
    prisma: Mapping[str, str] = field(repr=False, default_factory=dict)
    flags: str = ""

    @classmethod
    def parse(cls, url: str) -> Target:
        """The target that a `postgresql://` URL names, Prisma's parameters and libpq's understood.

        Raises:
            UsageError: it is no PostgreSQL URL, or something of it cannot be kept.
        """
        parts = urls.read(url)
        return cls(
            parts.host,
            parts.port,
            parts.user,
            parts.database,
            parts.password,
            parts.prisma.get("schema", "public"),
            parts.libpq,
            parts.prisma,
            parts.flags,
        )

    def __str__(self) -> str:
        return f"{self.database} on {self.host}:{self.port}"

    @property
    def shown_host(self) -> str:
        """The host as the Prisma CLI prints it.

        Of a socket it knows the host part of the URL alone.
        """
        return "localhost" if self.host.startswith("/") else self.options.get("hostaddr", self.host)

    def named(self, database: str) -> Target:
        """The same server and user, another database."""
        return replace(self, database=database)

    def begun(self, settings: Mapping[str, str | None]) -> str:
        """What a session's `options` say: those of the URL, then ours."""
        return " ".join(part for part in (self.flags, flags(settings)) if part)

    def environment(self, application_name: str, **settings: str) -> dict[str, str]:
        """Return variables with which libpq's programs reach this database, and no other.

        The password stays off argv. The programs (pg_dump, psql, …) speak English, whatever the
        operator's language is: their failures are read.

        Args:
            application_name: what `pg_stat_activity` shows for their sessions.
            settings: server settings for their sessions, e.g. `lock_timeout="5s"`.
        """
        named = urls.variables()
        return {
            **_ALONE,
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
            "PGPASSWORD": self.password,
            "PGAPPNAME": application_name,
            "PGOPTIONS": self.begun({**begun(self.host, self.port), **REPORTED, **settings}),
            "LC_ALL": "C",
            **{named[name]: value for name, value in self.options.items() if named.get(name)},
        }

    def url(self, application_name: str = "", **settings: str) -> str:
        """The URL for Prisma, with server settings in its `options`.

        Its engine reads them from nowhere else.

        Args:
            application_name: what `pg_stat_activity` shows for the engine's sessions.
            settings: server settings for its sessions, e.g. `lock_timeout="5s"`.
        """
        named = {"application_name": application_name} if application_name else {}
        query = {**self.prisma, "options": self.begun({**EVERY, **named, **settings})}
        if self.schema != "public" or "schema" in self.prisma:
            query["schema"] = self.schema
        if self.host.startswith("/"):
            query["host"] = self.host
        login = quote(self.user, safe="") + (
            f":{quote(self.password, safe='')}" if self.password else ""
        )
        host = f"[{self.shown_host}]" if ":" in self.shown_host else self.shown_host
        arguments = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        name = quote(self.database, safe=_AS_THEY_ARE)
        return f"postgresql://{login}@{host}:{self.port}/{name}?{arguments}"
