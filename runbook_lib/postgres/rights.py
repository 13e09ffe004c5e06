"""Whether a role may do what a night needs.

Tried where a transaction can be rolled back, else told by the catalogues.

What is tried takes locks that keep no reader or writer out (ACCESS SHARE, SHARE UPDATE EXCLUSIVE),
waits a moment for them at most, and leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import sql

from runbook_lib.check import Check, Checks, attempt, check, unknown
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, identifier, query, translated
from runbook_lib.postgres.reading import pin
from runbook_lib.postgres.target import Target

LIMITS = {"statement_timeout": "10s", "lock_timeout": "200ms"}
"""How long one trial may take, and wait: who waits for a lock lets others queue behind."""
BATCH = 100
"""Tables that are tried by one statement."""
_REFUSED = ("42501", "3F000", "25006")
"""SQLSTATEs that say no; any other failure says nothing about rights."""
_TRIED = "tried and rolled back"


def rights(db: Database, affected: Sequence[str] | None = None) -> Checks:
    """Whether the session's role may do what a migration, a backup and a rollback need.

    Args:
        affected: the tables that the plan alters, qualified and quoted; `None` where it cannot
            tell: then all have to be the role's.

    Each is a check of its own, `environment.rights.<what>`.
    """
    found = db.row(query("health_rights")) or {}
    unended = unended_sessions(db)
    return Checks(
        "Rights",
        (
            _attempt(
                "read",
                "the role reads every table, sequence and large object",
                partial(
                    _reads, db, found["tables"], found["unreadable"] + found["unreadable_objects"]
                ),
            ),
            _listed(
                "row_security",
                "row security hides no rows from the role",
                () if found["bypass_row_security"] else found["row_security"],
                "give the role BYPASSRLS: a dump fails or lacks rows otherwise",
            ),
            _listed(
                "own",
                "the role owns every table",
                found["not_owned"],
                "only an owner alters a table: use the owner's login, or grant its role",
            )
            if affected is None
            else _attempt(
                "own", "the role alters the tables of the plan", partial(_alters, db, affected)
            ),
            *_makes(db),
            *(
                _signal(title, found, unended) if name == "signal" else _flag(name, title, found)
                for name, title in _FLAGS.items()
            ),
        ),
    )


_FLAGS = {
    "create_database": "the role creates databases",
    "own_database": "the role owns the database",
    "signal": "the role ends other sessions",
    "statistics": "the role sees what other sessions do",
}
GRANTS = {
    "create_database": "this role may not create databases: as an administrator: "
    "ALTER ROLE {me} CREATEDB;",
    "own_database": "this role may not rename the database: as an administrator: "
    "GRANT {owner} TO {me};",
    "statistics": "sessions of {unseen} are there: as an administrator: "
    "GRANT pg_read_all_stats TO {me};",
}
"""What each right is missing for, and the statement that gives it."""
_WITHOUT = {
    "create_database": "without it no rehearsal, no proof on this server (name another: "
    "`backup.proof.server`) and no way back by restoring",
    "own_database": "without it no way back by restoring beside and swapping by name",
    "statistics": "without it what they do is not seen: who blocks, who writes, since when",
}


def _flag(name: str, title: str, found: Mapping[str, Any]) -> Check:
    """A right that the night can do without, in part.

    Where it is missing, a person decides, who was told what that means.
    """
    id, said = f"environment.rights.{name}", GRANTS[name].format(**found)
    if found[name]:
        return check(id, title, True, "yes, by its attributes and memberships", "yes")
    if name == "statistics" and not found["unseen"]:
        return check(id, title, True, "those of its own roles, and no others are there", "yes")
    why, _, statement = said.partition(": ")
    return unknown(id, title, f"no: {why}", "yes", f"{statement} {_WITHOUT[name]}")


def _signal(title: str, found: Mapping[str, Any], unended: Sequence[Unended]) -> Check:
    """Return whether the role ends other sessions; pg_signal_backend ends no superuser's."""
    id = "environment.rights.signal"
    if not unended:
        yes = "yes, by its attributes and memberships"
        return check(id, title, True, yes if found["signal"] else "all that are there", "yes")
    names = ", ".join(sorted({one.user for one in unended}))
    above = ", ".join(sorted({one.user for one in unended if one.superuser}))
    grant = f"as an administrator: GRANT pg_signal_backend TO {found['me']};"
    steps = [grant] * (not all(one.superuser for one in unended)) + [
        f"a superuser's session only a superuser ends: close those of {above}, or have one at hand"
    ] * bool(above)
    without = (
        "without it their sessions are not ended, neither before the migration nor where one "
        "blocks it, and a way back by swap waits for them"
    )
    only = f"; those of {above} only a superuser ends" if above else ""
    said = f"no: sessions of {names} are there{only}"
    return unknown(id, title, said, "yes", f"{'; '.join(steps)} {without}")


@dataclass(frozen=True)
class Unended:
    """A session in this database that this role may not end."""

    pid: int
    user: str
    application: str
    superuser: bool

    def __str__(self) -> str:
        kind = " (superuser)" if self.superuser else ""
        return f"session {self.pid} of {self.user}{kind}, application “{self.application}”"


def unended_sessions(db: Database) -> tuple[Unended, ...]:
    """Return the sessions in this database that the role may not end: a swap waits for them."""
    return tuple(Unended(**row) for row in db.sessions(query("swap_unended")))


def none_unended(db: Database, id: str, title: str, wait_s: float = 5) -> Check:
    """Return whether a swap can end every session in the database.

    Args:
        wait_s: seconds for one that comes and goes to go.
    """
    deadline = time.monotonic() + wait_s
    while (found := unended_sessions(db)) and time.monotonic() < deadline:
        time.sleep(0.5)
    ends = " ".join(f"SELECT pg_terminate_backend({one.pid});" for one in found[:5])
    return check(
        id,
        title,
        not found,
        _some([str(one) for one in found]) or "all that are there",
        "all",
        f"a superuser has to end them, or whoever opened them: {ends} then repeat",
    )


def creates_databases(target: Target, application_name: str, id: str, title: str) -> Check:
    """Whether a login reaches a server and may create databases there.

    For the server on which backups are proven.
    """

    def look() -> Check:
        try:
            with Database(target, application_name, **LIMITS) as db:
                found = db.row(query("health_rights")) or {}
                allowed = found["create_database"]
        except DatabaseError as error:
            return check(id, title, False, error.message, "a session", error.remedy)
        return check(
            id,
            title,
            allowed,
            f"{target} as {target.user}: {'yes' if allowed else 'no'}",
            "yes",
            f"on that server: ALTER ROLE {found['me']} CREATEDB;",
        )

    return attempt(id, title, look)


def _reads(
    db: Database, tables: Sequence[str], unreadable: Sequence[str], id: str, title: str
) -> Check:
    """As pg_dump does: an error where row security would hide rows."""
    refused, busy = list(unreadable), list[str]()
    for batch in (tables[first : first + BATCH] for first in range(0, len(tables), BATCH)):
        if _try(db, _reading(batch)):
            for table in batch:
                if error := _try(db, _reading((table,))):
                    (refused if error.sqlstate in _REFUSED else busy).append(table)
    if busy and not refused:
        return unknown(
            id,
            title,
            f"not answered in time, or not at all: {_some(busy)}",
            "all",
            "see who holds them: 95_troubleshoot; then run this again",
        )
    return check(
        id,
        title,
        not refused,
        _some(refused) or f"{len(tables)} tables, {_TRIED}",
        "all",
        "grant it pg_read_all_data; BYPASSRLS where row security is in force; SELECT "
        "ON LARGE OBJECT for those",
    )


def _reading(tables: Sequence[str]) -> sql.Composable:
    """Reads no row, and needs the right to read each table all the same.

    Rights are checked when a statement starts.
    """
    each = [sql.SQL("SELECT 1 FROM {} WHERE false").format(sql.SQL(table)) for table in tables]
    return sql.SQL(" UNION ALL ").join(each)


def _alters(db: Database, affected: Sequence[str], id: str, title: str) -> Check:
    """Try it by a comment, which needs the owner, as ALTER TABLE does.

    Neither readers nor writers wait for its lock.
    """
    refused, busy, gone = list[str](), list[str](), list[str]()
    for name in affected:
        row = db.row(
            "SELECT c.oid::regclass::text AS name, c.relkind = 'm' AS view "
            "FROM pg_class AS c WHERE c.oid = to_regclass(%s)",
            [name],
        )
        if row is None:
            gone.append(name)
            continue
        kind = sql.SQL("MATERIALIZED VIEW" if row["view"] else "TABLE")
        if error := _try(
            db, sql.SQL("COMMENT ON {} {} IS NULL").format(kind, sql.SQL(row["name"]))
        ):
            (refused if error.sqlstate in _REFUSED else busy).append(name)
    if (busy or gone) and not refused:
        return unknown(
            id,
            title,
            "; ".join(
                f"{what}: {_some(names)}"
                for what, names in (("locked, or not answered in time", busy), ("not there", gone))
                if names
            ),
            "all",
            "see who holds them: 95_troubleshoot; then run this again",
        )
    return check(
        id,
        title,
        not refused,
        f"not its own: {_some(refused)}" if refused else f"{len(affected)} tables, {_TRIED}",
        "all",
        "only an owner alters a table: use the owner's login, or grant its role",
    )


def _makes(db: Database) -> Iterator[Check]:
    schema = db.target.schema
    table, index, kind = (
        identifier(schema, f"runbook_probe_{word}") for word in ("table", "index", "type")
    )
    make = sql.SQL("CREATE TABLE {} (id int)").format(table)
    steps: tuple[tuple[str, str, Sequence[sql.Composable]], ...] = (
        ("create_table", "tables", [make]),
        (
            "create_index",
            "indexes",
            [make, sql.SQL("CREATE INDEX runbook_probe_index ON {} (id)").format(table)],
        ),
        ("create_type", "types", [sql.SQL("CREATE TYPE {} AS ENUM ('a')").format(kind)]),
        (
            "alter_table",
            "tables' columns",
            [make, sql.SQL("ALTER TABLE {} ADD COLUMN note text").format(table)],
        ),
    )
    for name, what, statements in steps:
        yield _attempt(
            name, f"the role creates {what} in schema {schema}", partial(_trial, db, statements)
        )


def _trial(db: Database, statements: Sequence[sql.Composable], id: str, title: str) -> Check:
    error = _try(db, *statements)
    if error and error.sqlstate not in _REFUSED:
        raise error
    return check(
        id,
        title,
        error is None,
        error.message if error else _TRIED,
        _TRIED,
        "grant CREATE on the schema",
    )


def _try(db: Database, *statements: sql.Composable) -> DatabaseError | None:
    """Run them in a transaction that is rolled back; what they were refused with."""
    try:
        with translated(), db.connection.transaction(force_rollback=True):
            pin(db, LIMITS | {"row_security": "off"})
            for statement in statements:
                db.execute(statement)
    except DatabaseError as error:
        if db.connection.closed:
            raise
        return error
    return None


def _attempt(name: str, title: str, look: Callable[[str, str], Check]) -> Check:
    id = f"environment.rights.{name}"
    return attempt(id, title, lambda: look(id, title))


def _listed(name: str, title: str, missing: Sequence[str], remedy: str) -> Check:
    return check(
        f"environment.rights.{name}", title, not missing, _some(missing) or "all", "all", remedy
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
