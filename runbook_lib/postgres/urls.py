"""Read a database URL as Prisma and libpq would.

And tell what each has to be given to mean the same.

One URL serves psycopg, PostgreSQL's programs and the Prisma CLI. Their grammars differ: Prisma
discards libpq's parameters, libpq refuses Prisma's, and `sslcert` is the server's root certificate
to one and the client's own to the other. So no URL is passed on as it stands: it is read here once.
"""

from __future__ import annotations

import difflib
import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import unquote, unquote_plus

import psycopg

from runbook_lib.errors import UsageError
from runbook_lib.postgres import tls
from runbook_lib.redact import remember

FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_CORRECT = "correct what the reference in `database: url:` leads to"
_ENCODE = f"write it as {FORM}, each part percent-encoded"
_SHARED = {"application_name", "channel_binding", "connect_timeout", "host", "options", "sslmode"}
_PRISMA = {
    "connection_limit",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "single_use_connections",
    "socket_timeout",
    "sslaccept",
    "sslidentity",
    "statement_cache_size",
}
"""Parameters that Prisma's engine alone reads (prisma-engines, quaint, `PostgresNativeUrl`)."""
_TLS = {"ssl", "sslaccept", "sslcert", "sslidentity", "sslkey", "sslmode", "sslpassword"}
_PLACE = {"dbname", "host", "hostaddr", "options", "password", "port", "schema", "user"}
_OURS = {"application_name", "client_encoding", "fallback_application_name"}
"""What our sessions set themselves, whatever the URL says."""
_REFUSED = {
    "passfile": "Prisma reads no password file: put the password into the URL",
    "replication": "a replication session cannot migrate",
    "service": "Prisma knows no service file: write what the service says into the URL",
    "servicefile": "Prisma knows no service file: write what the service says into the URL",
}


@dataclass(frozen=True)
class Parts:
    """What a URL says.

    Args:
        libpq: connection parameters of libpq beyond the place and the login.
        prisma: parameters of Prisma's URL beyond those.
        flags: the `options` of the URL: settings that each session begins with.
    """

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False)
    libpq: Mapping[str, str]
    prisma: Mapping[str, str] = field(repr=False)
    flags: str


def read(text: str) -> Parts:
    """What a `postgresql://` URL says.

    Raises:
        UsageError: it is none, names no database or several hosts, or has a parameter that nobody
            reads.
    """
    login, place, path, query = _split(text.strip())
    user, _, password = login.partition(":")
    asked = _parameters(query)
    host, port = _host_and_port(place)
    password = asked.get("password", _decoded(password))
    remember(password)
    libpq, prisma = _divided(asked)
    return Parts(
        _one_host(asked.get("host") or host or "localhost"),
        _port(asked.get("port") or port),
        asked.get("user") or _decoded(user) or getpass.getuser(),
        _database(path, asked),
        password,
        libpq,
        prisma,
        asked.get("options", ""),
    )


def anchored(url: str, *folders: Path) -> str:
    """The URL with relative paths of certificates and keys made absolute.

    Prisma looks for them beside its project.
    """
    head, mark, query = url.partition("?")
    return head + mark + "&".join(_anchored(pair, folders) for pair in query.split("&"))


def _anchored(pair: str, folders: tuple[Path, ...]) -> str:
    name, _, value = pair.partition("=")
    if name not in tls.FILES:
        return pair
    there = (folder / unquote_plus(value) for folder in folders)
    return next((f"{name}={_encoded(path)}" for path in there if path.exists()), pair)


def _encoded(path: Path) -> str:
    return re.sub(r"[%&+#?]", lambda found: f"%{ord(found[0]):02X}", str(path.resolve()))


def _split(text: str) -> tuple[str, str, str, str]:
    """Login, host and port, path, query, still encoded."""
    scheme, mark, rest = text.partition("://")
    if scheme not in ("postgresql", "postgres") or not mark:
        raise UsageError(f"the database URL is not of the form {FORM}", _CORRECT)
    authority = re.match(r"[^/?#]*", rest)[0]  # type: ignore[index]
    before = rest.partition("/")[0]
    if "@" in before and "@" not in authority:  # libpq lets a password have ? and # as they are
        authority = before
    path, _, query = rest[len(authority) :].partition("?")
    if "#" in path + query:
        raise UsageError("the database URL has a # behind its host", "write it as %23")
    login, _, place = authority.rpartition("@")
    return login, place, path, query


def _decoded(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UsageError("the database URL is not encoded in UTF-8", _ENCODE) from None
    if "\0" in plain:
        raise UsageError("the database URL has a zero byte", _ENCODE)
    return plain


def _parameters(query: str) -> dict[str, str]:
    """The parameters, each decoded as who reads it does.

    A plus is a space for Prisma, and a plus for libpq.
    """
    found = {}
    for name, _, value in (pair.partition("=") for pair in query.split("&") if pair):
        name = _decoded(name)
        plus = name in _SHARED | _PRISMA | _TLS and name not in tls.FILES
        found[name] = _decoded(value.replace("+", " ") if plus else value)
        _require_known(name)
    return found


def _require_known(name: str) -> None:
    """Refuse what cannot be done for both sides, and what looks like a slip.

    What nobody knows is left out, as Prisma does.
    """
    if name in _REFUSED or name.startswith(("oauth_", "scram_", "sslkeylog")):
        raise UsageError(
            f"the database URL has `{name}`, which cannot be kept",
            _REFUSED.get(name, "use a password"),
        )
    known = _SHARED | _PRISMA | _TLS | set(variables())
    meant = difflib.get_close_matches(name, sorted(known), 1, 0.75)
    if name not in known and (meant or name.lower().startswith(("ssl", "tls"))):
        raise UsageError(
            f"neither Prisma nor libpq reads `{name}` in the database URL",
            f"did you mean `{meant[0]}`?" if meant else "leave it out",
        )


@cache
def variables() -> dict[str, str]:
    """Return libpq's connection parameters, and the variable that says the same.

    "" if none does.
    """
    known = psycopg.pq.Conninfo.get_defaults()
    return {one.keyword.decode(): (one.envvar or b"").decode() for one in known}


def _divided(asked: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What libpq and what Prisma is given beyond place and login."""
    libpq, prisma = tls.both({name: asked[name] for name in asked if name in _TLS | tls.FILES})
    rest = {name: asked[name] for name in asked if name not in _TLS | tls.FILES | _OURS}
    prisma |= {name: rest[name] for name in rest if name in _PRISMA | _SHARED - _PLACE}
    if "schema" in rest:
        prisma["schema"] = rest["schema"]
    if "hostaddr" in rest:
        libpq["hostaddr"] = rest["hostaddr"]
    known = set(variables()) - _PLACE
    return libpq | {name: rest[name] for name in rest if name in known}, prisma


def _host_and_port(place: str) -> tuple[str, str]:
    if "," in place:
        _one_host(place)
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", place)
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
    return (
        (_decoded(bracketed[1]), bracketed[2] or "")
        if bracketed
        else (_decoded(host), _decoded(port))
    )


def _one_host(host: str) -> str:
    if "," in host:
        raise UsageError(
            "the database URL names several hosts: which of them is migrated could change between "
            "two steps",
            "name the primary alone",
        )
    return host


def _port(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise UsageError("the database URL cannot be read: its port is no number", _ENCODE)
    return int(text or 5432)


def _database(path: str, asked: Mapping[str, str]) -> str:
    name, _, more = path.removeprefix("/").partition("/")
    if more:
        raise UsageError(
            "the path of the database URL has several parts, of which Prisma takes the first and "
            "libpq all",
            "write a slash in the database's name as %2F",
        )
    database = asked.get("dbname") or _decoded(name)
    if not database:
        raise UsageError(f"the database URL names no database: {FORM}", _CORRECT)
    return database
