"""Drops a scratch database whatever holds on to it.

Sessions, prepared transactions, replication slots, subscriptions.

Only for databases that are proven to be ours (`scratch.drop`): what is in them is a copy, and
nobody needs it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import databases
from runbook_lib.postgres.connection import Database, identifier, query

_HELD = ("55006", "42501")
"""What DROP DATABASE fails with where something holds on to it: it is in use, or a session in it is
not this role's to end.
"""


def discard(admin: Database, name: str, within_s: float = 15) -> None:
    """Free a database of all that holds on to it, and drop it.

    Args:
        admin: a session on another database of the server.
        within_s: seconds to try for, where somebody else's sessions come and go in it.

    Raises:
        DatabaseError: it is still there; names what holds on to it.
    """
    until = time.monotonic() + within_s
    while True:
        try:
            databases.drop(admin, name)
            return
        except DatabaseError as error:
            holders = _holders(admin, name)
            if error.sqlstate not in _HELD or not holders or time.monotonic() > until:
                raise _undroppable(name, error, holders) from None
        _free(admin, name, holders)
        time.sleep(0.1)


def _holders(admin: Database, name: str) -> list[dict[str, Any]]:
    subscribed = [
        {"kind": "subscription", "pid": None, **one}
        for one in databases.subscriptions(admin)
        if one["database"] == name
    ]
    return [*subscribed, *admin.rows(query("discard_holders"), {"name": name})]


def _free(admin: Database, name: str, holders: list[dict[str, Any]]) -> None:
    """Take away what holds on to it; what cannot be taken away is seen at the next try."""
    inside = [one for one in holders if one["kind"] in _INSIDE]
    _admit(admin, name, bool(inside))
    for one in holders:
        try:
            if one["kind"] in _INSIDE:
                _release(admin, name, one)
            elif one["pid"]:
                admin.signal("SELECT pg_terminate_backend(%s)", [one["pid"]])
        except DatabaseError:
            continue


_INSIDE = ("prepared transaction", "subscription")
"""What can be taken away only by a session in the database itself."""


def _admit(admin: Database, name: str, allow: bool) -> None:
    """Let nobody new in, or ourselves.

    An invalid database (left by an interrupted DROP) takes neither, and needs neither.
    """
    try:
        admin.execute(
            sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {} CONNECTION LIMIT -1").format(
                identifier(name), sql.SQL("true" if allow else "false")
            )
        )
    except DatabaseError:
        return


def _release(admin: Database, name: str, one: Mapping[str, Any]) -> None:
    with Database(admin.target.named(name), admin.application_name, lock_timeout="5s") as db:
        if one["kind"] == "prepared transaction":
            db.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(one["name"])))
            return
        subscription = identifier(one["name"])
        for statement in (
            "ALTER SUBSCRIPTION {} DISABLE",
            # the slot is the original's: never dropped with a copy
            "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
            "DROP SUBSCRIPTION {}",
        ):
            db.execute(sql.SQL(statement).format(subscription))


def _undroppable(name: str, error: DatabaseError, holders: list[dict[str, Any]]) -> DatabaseError:
    held = ", ".join(f"{one['kind']} {one['name']} of {one['owner']}" for one in holders)
    return DatabaseError(
        f"the database {name} could not be dropped: {error.message}"
        + (f"; held by {held}" if held else ""),
        "it holds a copy of the data: end what holds on to it; then `runbook prune PARAMS` drops it"
        if held
        else error.remedy or "settle that; then `runbook prune PARAMS` drops it",
        sqlstate=error.sqlstate,
    )
