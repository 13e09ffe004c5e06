"""Which database this is: what tells it from every other, wherever its address leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.postgres.connection import Database


def identify(db: Database) -> dict[str, Any]:
    """What identifies the database that a session is connected to."""
    from runbook_lib.postgres.health import server_facts

    facts = server_facts(db)
    return {
        "host": db.target.host,
        "port": db.target.port,
        "database": db.target.database,
        "database_oid": facts.database_oid,
        "system_identifier": facts.system_identifier,
        "server_version": facts.server_version,
    }


def same_place(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two identities are of one name on one server.

    A restored database that was swapped in counts, another database does not.
    """
    keys = ["system_identifier", "database"] + (
        ["host", "port"] if first["system_identifier"] == "unknown" else []
    )
    return all(first.get(key) == second.get(key) for key in keys)


def pinned(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an identity tells the database from every other.

    The address does if the role may not read the server's identifier.
    """
    keys = ["system_identifier", "database", "database_oid"] + (
        ["host", "port"] if identity["system_identifier"] == "unknown" else []
    )
    return {key: identity[key] for key in keys}


def same_database(before: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether two identities are of one database."""
    return all(found[key] == value for key, value in pinned(before).items())


def same_server(before: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether two identities are of databases of one server."""
    of_server = pinned(before).keys() - {"database", "database_oid"}
    return all(found[key] == before[key] for key in of_server)


def describe(identity: Mapping[str, Any]) -> str:
    """An identity in one line."""
    return (
        f"{identity['database']} (oid {identity['database_oid']}) on "
        f"{identity['host']}:{identity.get('port', '')}, system {identity['system_identifier']}"
    )
