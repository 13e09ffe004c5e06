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


def same_database(pinned: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether two identities are of one database; the address says it where the role may not read the server's identifier."""
    keys = ["system_identifier", "database", "database_oid"] + (
        ["host", "port"] if pinned["system_identifier"] == "unknown" else []
    )
    return all(found[key] == pinned[key] for key in keys)


def describe(identity: Mapping[str, Any]) -> str:
    """An identity in one line."""
    return (
        f"{identity['database']} (oid {identity['database_oid']}) on {identity['host']}:{identity.get('port', '')}, "
        f"system {identity['system_identifier']}"
    )
