"""Whether a backup can come up on a server: tools, roles, extensions, room.

Everything is refused before anything is made.

Every function takes a session on another database of that server: the maintenance database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.postgres import databases, disk
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.tools import Tools, fits
from runbook_lib.table import size


def require_fit(admin: Database, backup: Backup, tools: Tools) -> None:
    """Refuse tools that are older than the dump, or do not fit the server."""
    written, server = int(backup.tools.split(".")[0]), admin.server_version // 10000
    if tools.major < written or not fits(tools.major, server):
        raise UsageError(
            f"pg_restore {tools.version} cannot bring a dump of pg_dump {backup.tools} up on a "
            f"server of version {server}",
            f"name tools of version {written} in `database: tools:`",
        )


def require_there(admin: Database, backup: Backup, facts: Mapping[str, Any]) -> None:
    """Refuse where the server lacks a role or an extension that the backup names."""
    wanted = {"roles": facts.get("roles", []), "extensions": list(backup.snapshot.extensions)}
    lacking = admin.rows(query("restore_lacking"), wanted)
    if lacking:
        named = ", ".join(row["what"] for row in lacking)
        raise UsageError(
            f"the server {admin.target.host}:{admin.target.port} lacks what the backup needs: "
            f"{named}",
            "\n→ ".join(dict.fromkeys(_LACKING[row["kind"]] for row in lacking)),
        )


_LACKING = {
    "role": "create the roles first: globals.sql of the backup has them (without passwords)",
    "extension": "install the packages that bring the extensions on the server (Debian: "
    "postgresql-contrib has PostgreSQL's own)",
}


def require_room(admin: Database, backup: Backup, facts: Mapping[str, Any], ticker: Ticker) -> None:
    """Refuse if the server is known to lack the room that the database took when dumped."""
    needed, where = (
        backup.snapshot.database_bytes,
        databases.tablespace(admin, facts["tablespace"])["name"],
    )
    place = disk.tablespace(admin, where)
    if where != facts["tablespace"]:
        ticker(
            f"the new database goes to the tablespace {where}: {facts['tablespace']} is not "
            "there, or not this role's to use",
            last=True,
        )
    if place.free_bytes is None:
        ticker(
            f"whether the server has the {size(needed)} that the database took is not known: "
            f"{place.why}",
            last=True,
        )
    elif place.free_bytes < needed:
        raise UsageError(
            f"the server has no room for a restore: the database took {size(needed)}, "
            f"{size(place.free_bytes)} are free in {place.path} ({place.place})",
            "free space there, or restore on another server",
        )
