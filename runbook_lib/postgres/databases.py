"""Make, drop and describe databases as a whole.

They are told apart by the comments that this package leaves.

Every function takes a session on another database of the same server: the maintenance database.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError, RightError, UsageError, beside
from runbook_lib.postgres.connection import Database, identifier, query
from runbook_lib.postgres.target import Target

_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")
"""Settings whose stored value is a list of quoted names, not one string."""
SCRATCH = "runbook scratch: "
UNFINISHED = "runbook: unfinished restore "
"""How the comments of databases begin that are ours to drop."""
_DROPPED_MEANWHILE = ("42704", "3D000")
"""What the question for all databases fails with where one of them is dropped before its size was
asked for.
"""
SCRATCH_PREFIX = "runbook_scratch_"
_SCRATCH_NAME = re.compile(SCRATCH_PREFIX + r"[a-z]+_(\d{8}_\d{6}_\d{6})_[0-9a-f]{8}")


@dataclass(frozen=True)
class Entry:
    """One database of a server.

    Args:
        oid: stays the same when the database is renamed.
        open: whether new connections are allowed.
        comment: "" where there is none.
        maker_alive: whether the session that a comment of ours names is still there.
        connection_limit: −1 where there is none.
        bytes: size on disk; `None` where the role may not know.
    """

    name: str
    oid: int
    owner: str
    open: bool
    comment: str
    maker_alive: bool
    connection_limit: int
    bytes: int | None


_NOT_THE_DATABASE = (
    "timeout expired",
    "could not translate host name",
    "refused",
    "password authentication failed",
)
"""What a connection fails with that would fail with every other database, too."""
_let_in: dict[tuple[str, int, str], tuple[str, ...]] = {}
"""Server and role → the database that let it in last: a target may be a database yet to be made."""


def maintenance(
    target: Target, application_name: str, avoid: Collection[str] = (), **settings: str
) -> Database:
    """A session on another database of the same server: `postgres`, or else `template1`.

    Where it lets us into neither, and the target is not to be renamed, on the target itself.

    Args:
        avoid: databases that must not be used, because they are to be renamed or dropped.

    Raises:
        DatabaseError: neither lets us in.
    """
    server = (target.host, target.port, target.user)
    first = [name for name in ("postgres", "template1") if name != target.database]
    names = dict.fromkeys([*first, target.database, *_let_in.get(server, ())])
    refused: DatabaseError | None = None
    for name in [name for name in names if name not in avoid]:
        try:
            db = Database(target.named(name), application_name, **settings)
            _let_in[server] = (name,)
            return db
        except DatabaseError as error:
            if any(said in error.message for said in _NOT_THE_DATABASE):
                raise
            refused = refused or error
    assert refused
    raise RightError(
        refused.message,
        f"let the role {target.user} into another database of the server: GRANT CONNECT ON "
        "DATABASE postgres TO it",
        sqlstate=refused.sqlstate,
    )


def entry(db: Database, name: str) -> Entry | None:
    """The database of that name."""
    return entries(db).get(name)


def entries(db: Database) -> dict[str, Entry]:
    """All databases of the server but the templates, by name."""
    while True:
        try:
            return {row["name"]: Entry(**row) for row in db.rows(query("databases"))}
        except DatabaseError as error:
            if error.sqlstate not in _DROPPED_MEANWHILE:
                raise


def sees_subscriptions(db: Database) -> bool:
    """Whether this role may read the catalogue of subscriptions.

    Some managed services let only themselves.
    """
    return bool(db.value("SELECT has_any_column_privilege('pg_subscription', 'SELECT')"))


def subscriptions(db: Database) -> list[dict[str, Any]]:
    """The subscriptions of all databases, as far as this role sees them.

    Where it does not, DROP DATABASE still refuses.
    """
    return db.rows(query("subscriptions")) if sees_subscriptions(db) else []


def signature(db: Database) -> str:
    """The end of a comment that names this session as the maker.

    With its start, because numbers are used again.
    """
    return str(db.value(query("databases_signature")))


def comment_on(db: Database, name: str, comment: str | None) -> None:
    """Set a database's comment; `None` removes it."""
    db.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier(name), sql.Literal(comment))
    )


def create(
    db: Database,
    name: str,
    facts: Mapping[str, Any],
    comment: str,
    *,
    template: str = "template0",
    copy: bool = False,
) -> None:
    """Make an empty database with the encoding, locale and owner that `facts` tell.

    The facts are those of `queries/dump_database.sql`.

    Args:
        copy: it is thrown away: where this role may not give it to its owner, it is this role's.

    Raises:
        UsageError: the name is taken.
        DatabaseError: it was refused, e.g. because the owner does not exist here.
    """
    if entry(db, name):
        raise UsageError(
            f"the database {name} exists already; nothing is restored over it",
            "choose another name",
        )
    text = {
        "ENCODING": facts["encoding"],
        "LC_COLLATE": facts["lc_collate"],
        "LC_CTYPE": facts["lc_ctype"],
    }
    if facts["locale_provider"] != "libc" and db.server_version >= 150000:
        text |= {
            "LOCALE_PROVIDER": facts["locale_provider"],
            f"{facts['locale_provider'].upper()}_LOCALE": facts["locale"],
        }
        text |= {"ICU_RULES": facts["icu_rules"]} if facts["icu_rules"] else {}
    parts = [sql.SQL(f"{key} {{}}").format(sql.Literal(value)) for key, value in text.items()]
    if not copy or may_act_as(db, facts["owner"]):
        parts += [sql.SQL("OWNER {}").format(identifier(facts["owner"]))]
    place = tablespace(db, facts["tablespace"])
    if not place["inherited"]:  # naming pg_default needs a right that only superusers have
        parts += [sql.SQL("TABLESPACE {}").format(identifier(place["name"]))]
    make(db, name, template, comment, sql.SQL(" ").join(parts))


def may_act_as(db: Database, role: str) -> bool:
    """Whether this role may give something to that one."""
    may = "SET" if db.server_version >= 160000 else "MEMBER"
    return bool(db.value("SELECT pg_has_role(current_user, %s::name, %s)", [role, may]))


def tablespace(db: Database, wanted: str) -> Mapping[str, Any]:
    """Where a new database goes that was in the tablespace `wanted`.

    There, if this role may use it, else where template0 is.

    Returns:
        `name`, and whether it is `inherited` from template0, so that CREATE DATABASE need not name
        it.
    """
    row = db.row(query("databases_tablespace"), {"wanted": wanted})
    assert row
    return row


def scratch_name(db: Database, purpose: str) -> str:
    """A new name that by itself proves a database ours.

    Purpose, the server's time, and a digest of both, which nobody types.

    CREATE DATABASE cannot be part of a transaction, so a comment always comes later; the name is
    there at once.

    Args:
        purpose: one word of small letters.
    """
    at: datetime = db.value("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    stem = f"{SCRATCH_PREFIX}{purpose}_{at:%Y%m%d_%H%M%S_%f}"
    return f"{stem}_{_digest(stem)}"


def made_at(name: str) -> datetime | None:
    """When a scratch name was thought of (UTC, by the server's clock).

    `None` where the name does not prove itself.
    """
    found = _SCRATCH_NAME.fullmatch(name)
    if not found or not name.endswith(_digest(name[:-9])):
        return None
    return datetime.strptime(found[1], "%Y%m%d_%H%M%S_%f")


def _digest(stem: str) -> str:
    return hashlib.sha256(stem.encode()).hexdigest()[:8]


def make(
    db: Database, name: str, template: str, comment: str, options: sql.Composable | None = None
) -> None:
    """A new database with a comment that tells whose it is.

    At no moment is there one that neither name nor comment prove ours: it is born under a scratch
    name, marked, and only then takes its own.

    Raises:
        DatabaseError: it was refused, e.g. because the name is taken; nothing of it is left, or a
            note says what is.
    """
    born = name if made_at(name) else scratch_name(db, "unnamed")
    try:
        db.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ").format(
                identifier(born), identifier(template)
            )
            + (options or sql.SQL(""))
        )
        comment_on(db, born, comment)
        if born != name:
            rename(db, born, name)
    except DatabaseError as error:
        kind = RightError if error.sqlstate == "42501" else DatabaseError
        said = kind(
            f"the database {name} could not be made: {error.message}",
            _REMEDIES.get(error.sqlstate, error.remedy),
            sqlstate=error.sqlstate,
        )
        with beside(said, f"dropping {born} again"):
            drop(db, born)
        raise said from None
    except BaseException as error:
        with beside(error, f"dropping {born} again"):
            drop(db, born)
        raise


def rename(db: Database, old: str, new: str) -> None:
    """Give a database another name; nobody may be connected to it."""
    db.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(identifier(old), identifier(new)))


_REMEDIES = {
    "42704": "create the role that owned the database first: globals.sql of the backup has it",
    "42501": "the role needs CREATEDB, and membership in the role that owns the database",
}


def apply(db: Database, name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Give a database the privileges, settings and connection limit that `facts` tell.

    Returns:
        The names of settings that this role may not give; a superuser's, or another role's.

    Raises:
        DatabaseError: one was refused; e.g. a role does not exist here.
    """
    target = identifier(name)
    if facts["has_acl"]:
        db.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(target))
        db.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(target, identifier(facts["owner"]))
        )
    for grant in facts["grants"] if facts["has_acl"] else ():
        db.execute(
            sql.SQL(
                f"GRANT {grant['privilege']} ON DATABASE {{}} TO "
                f"{grant['role']}{' WITH GRANT OPTION' if grant['grantable'] else ''}"
            ).format(target)
        )
    refused = []
    for setting in facts["settings"]:
        who = sql.SQL(
            f"ALTER ROLE {setting['role']} IN DATABASE {{}}"
            if setting["role"]
            else "ALTER DATABASE {}"
        ).format(target)
        value = sql.SQL(", ").join(map(sql.Literal, _items(setting["name"], setting["value"])))
        try:
            db.execute(
                who
                + sql.SQL(" SET {} TO ").format(
                    sql.SQL(".").join(map(identifier, setting["name"].split(".")))
                )
                + value
            )
        except DatabaseError as error:
            if error.sqlstate != "42501":
                raise
            refused.append(
                f"{setting['name']} of {setting['role']}" if setting["role"] else setting["name"]
            )
    db.execute(
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
            target, sql.Literal(facts["connection_limit"])
        )
    )
    return tuple(refused)


def written_alike(name: str, value: str) -> str:
    """Return a setting's stored value, each name of a list in quotes.

    Whether the server stored them so depends on `quote_all_identifiers` of who set it.
    """
    if name not in _LISTS:
        return value
    return ", ".join('"' + item.replace('"', '""') + '"' for item in _items(name, value))


def _items(name: str, value: str) -> Sequence[str]:
    """The items of a setting's stored value."""
    if name not in _LISTS:
        return [value]
    return [
        quoted.replace('""', '"') if quoted else plain
        for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|([^",\s]+)', value)
    ] or [""]


def terminate(
    db: Database, names: Sequence[str], wait_s: float = 10, keep: Collection[int] = ()
) -> tuple[int, ...]:
    """End every session in the databases `names`, and wait until they are gone.

    Args:
        keep: process numbers of sessions that stay.

    Returns:
        The process numbers that were ended.

    Raises:
        DatabaseError: sessions are still there after `wait_s` seconds; one that this role may not
            end is named.
    """
    ended: dict[int, None] = {}
    deadline = time.monotonic() + wait_s
    while inside := [
        row
        for row in db.sessions(query("databases_sessions"))
        if row["database"] in names and row["pid"] not in keep
    ]:
        refused = [error for row in inside if (error := _end(db, row))]
        ended |= dict.fromkeys(row["pid"] for row in inside)
        if time.monotonic() > deadline:
            if refused:
                raise refused[0]
            raise DatabaseError(
                f"sessions {', '.join(str(row['pid']) for row in inside)} are still in "
                f"{', '.join(names)} after {wait_s:g} s",
                "look at them with `activity.sessions`",
            )
        time.sleep(0.01)
    return tuple(ended)


def _end(db: Database, row: Mapping[str, Any]) -> DatabaseError | None:
    """End a session; return what this role is refused with: it may still leave by itself."""
    try:
        db.signal("SELECT pg_terminate_backend(%s)", [row["pid"]])
    except DatabaseError as error:
        if error.sqlstate != "42501":
            raise
        return DatabaseError(
            f"this role may not end session {row['pid']} of {row['user']} (application "
            f"“{row['application']}”)",
            "grant the runbook's role pg_signal_backend; a superuser's sessions only a superuser "
            "ends",
            sqlstate="42501",
        )
    return None


def drop(db: Database, name: str) -> None:
    """Drop a database and end the sessions in it; nothing happens where it does not exist.

    The caller proves that it may.

    Raises:
        DatabaseError: it was refused, e.g. for a prepared transaction or a replication slot.
    """
    db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier(name)))
