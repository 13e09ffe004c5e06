"""The point to which a recovery leads.

Named in the WAL where the role may, else known by its LSN and its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.table import Shown, Table

_MAY_NOT = ("42501", "55000")
"""SQLSTATEs of a role that may not name a point, and of a server that cannot: a standby, or
`wal_level = minimal`.
"""


@dataclass(frozen=True)
class RestorePoint(Shown):
    """One instant of a server's WAL.

    Args:
        name: what a recovery can be told to end at; "" where the point could not be named.
        lsn: where in the WAL it is; every record that ends here or before belongs to the time
            before it.
        time: ISO 8601, UTC, by the server's clock.
        segment: the WAL file that holds it; "" where a standby was asked.
        not_named: why it has no name.
    """

    name: str
    lsn: str
    time: str
    segment: str
    not_named: str = ""

    @property
    def label(self) -> str:
        """What names it in file names and tags."""
        return self.name or f"lsn_{self.lsn.replace('/', '_')}"

    @property
    def position(self) -> int:
        """Its LSN as a number."""
        return position(self.lsn)

    @property
    def timeline(self) -> int:
        """The timeline that the server was on."""
        return int(self.segment[:8] or "0", 16)

    def table(self) -> Table:
        """The point as rows."""
        rows = [
            ("name", self.name or f"not named: {self.not_named}"),
            ("LSN", self.lsn),
            ("time (UTC)", self.time),
            ("WAL file", self.segment),
        ]
        return Table(f"Restore point {self.label}", ("what", "value"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RestorePoint:
        """What `as_dict` gave."""
        return cls(**data)


def make(db: Database, name: str) -> RestorePoint:
    """Make a restore point, and close its WAL segment if the role may.

    Then it is archived now.

    Where the point cannot be named, LSN and time are recorded all the same, with the reason.

    Args:
        name: never used before on this server: a recovery ends at the first point of a name.

    Raises:
        DatabaseError: the server does not say where it stands.
    """
    try:
        found, why = db.row(query("recovery_point"), {"name": name}), ""
    except DatabaseError as error:
        if error.sqlstate not in _MAY_NOT:
            raise
        found, why = db.row(query("recovery_instant")), error.message
    assert found
    switch(db)
    time = found["time"].astimezone(UTC).isoformat(timespec="microseconds")
    return RestorePoint("" if why else name, found["lsn"], time, found["segment"], why)


def switch(db: Database) -> bool:
    """Close the current WAL segment, so that it is archived now; whether that was allowed."""
    facts = db.row(query("recovery_facts")) or {}
    allowed = bool(facts["may_switch"] and not facts["standby"])
    if allowed:
        db.value("SELECT pg_switch_wal()")
    return allowed


def position(lsn: str) -> int:
    """An LSN as a number of bytes: "0/3000028" → 50331688."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)
