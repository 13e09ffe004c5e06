"""The schema of a database as data.

Every object under its qualified name, with the properties that make it what it is.

Read from `pg_catalog` alone (`queries/catalog_<kind>.sql`, one pass each) at one instant. Objects
of PostgreSQL itself and of extensions are left out: an extension is told by its version. Numbers
(OIDs) never enter, so the catalogues of a database and of its restored copy are the same.
Privileges are listed with the defaults spelt out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.postgres import databases, options
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.difference import Change, Difference, difference
from runbook_lib.postgres.reading import reading
from runbook_lib.table import Shown, Table

__all__ = ["KINDS", "Catalog", "Change", "Difference", "difference", "read"]

KINDS = (
    "schema",
    "extension",
    "enum",
    "domain",
    "type",
    "table",
    "column",
    "constraint",
    "index",
    "sequence",
    "view",
    "materialized view",
    "function",
    "trigger",
    "rule",
    "policy",
    "statistics",
    "event trigger",
    "publication",
    "subscription",
    "default privilege",
    "foreign server",
    "other",
    "comment",
)


@dataclass(frozen=True)
class Catalog(Shown):
    """The schema of one database at one instant.

    Args:
        database: its name.
        objects: kind → name → property → value; a property without a value is left out.
        unknown_options: object → the names of its options that nobody knows; they are in no
            comparison.
    """

    database: str
    objects: Mapping[str, Mapping[str, Mapping[str, Any]]]
    unknown_options: Mapping[str, list[str]] = field(default_factory=dict, compare=False)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of all objects of one kind, sorted."""
        return tuple(sorted(self.objects.get(kind, {})))

    def columns_of(self, table: str) -> dict[str, Mapping[str, Any]]:
        """Return the columns of one table by their quoted name, in no promised order.

        The table's `columns` has it.
        """
        start = f"{table}."
        return {
            name.removeprefix(start): value
            for name, value in self.objects["column"].items()
            if name.startswith(start)
        }

    def portable(self) -> Catalog:
        """What servers of all major versions write alike.

        Without versions of extensions, the privilege MAINTAIN (new in 17), and the qualifiers in
        definitions of views and rules.
        """
        return Catalog(
            self.database,
            {
                kind: {name: _portable(kind, properties) for name, properties in objects.items()}
                for kind, objects in self.objects.items()
            },
            self.unknown_options,
        )

    def left_out(self) -> dict[str, frozenset[str]]:
        """Name by kind what a dump of this schema leaves out.

        Subscriptions, and indexes that are not valid, with their comments.

        pg_dump keeps an index that is not valid only on a partitioned table, where a partition
        lacks its part of it.
        """
        tables, indexes = self.objects.get("table", {}), self.objects.get("index", {})
        invalid = frozenset(
            name
            for name, index in indexes.items()
            if not index["valid"]
            and tables.get(index["table"], {}).get("kind") != "partitioned table"
        )
        subscriptions = frozenset(self.objects.get("subscription", {}))
        comments = {f"index {name}" for name in invalid}
        comments |= {f"subscription {name}" for name in subscriptions}
        return {"index": invalid, "subscription": subscriptions, "comment": frozenset(comments)}

    def without(self, names: Mapping[str, Collection[str]]) -> Catalog:
        """Return this schema without these objects, named by kind."""
        objects = {
            kind: {name: one for name, one in found.items() if name not in names.get(kind, ())}
            for kind, found in self.objects.items()
        }
        return Catalog(self.database, objects, self.unknown_options)

    def table(self) -> Table:
        """How many objects of each kind there are."""
        rows = [(kind, len(objects)) for kind, objects in self.objects.items() if objects]
        return Table(f"Schema of {self.database}", ("kind", "objects"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files and backups."""
        return {
            "database": self.database,
            "objects": self.objects,
            "unknown_options": self.unknown_options,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Catalog:
        """What `as_dict` gave."""
        return cls(data["database"], data["objects"], data.get("unknown_options", {}))


def read(
    db: Database,
    *,
    snapshot_id: str = "",
    statement_timeout_s: float = 60,
    lock_timeout_s: float = 5,
) -> Catalog:
    """The schema as it is at one instant.

    Args:
        db: the session to ask; a transaction that is open on it is joined.
        snapshot_id: of an exported snapshot, to read the schema of that instant.
        statement_timeout_s: seconds that each of the two dozen questions may take.
        lock_timeout_s: seconds that each may wait for a table that somebody has locked exclusively.

    Raises:
        DatabaseError: a question was refused or took too long.
    """
    with reading(
        db,
        snapshot_id=snapshot_id,
        statement_timeout_s=statement_timeout_s,
        lock_timeout_s=lock_timeout_s,
    ):
        unknown: dict[str, list[str]] = {}
        objects = {kind: _objects(db, kind, unknown) for kind in KINDS}
        return Catalog(db.target.database, objects, unknown)


def _objects(
    db: Database, kind: str, unknown_options: dict[str, list[str]]
) -> dict[str, dict[str, Any]]:
    if kind == "subscription" and not databases.sees_subscriptions(db):
        return {}  # said by the check that no subscription brings changes in
    rows = db.rows(query(f"catalog_{kind.replace(' ', '_')}"))
    if kind in options.KNOWN:
        for row in rows:
            if unknown := _keep_declared_options(kind, row):
                unknown_options[f"{kind} {row['name']}"] = unknown
    return {
        row.pop("name"): {key: value for key, value in row.items() if value is not None}
        for row in rows
    }


def _keep_declared_options(kind: str, row: dict[str, Any]) -> list[str]:
    """Leave the options that a person declares in a row; return the names of unknown ones.

    The options of an index stand in its definition.
    """
    found = row.pop("options") or []
    declared, unknown = options.split(
        kind, found, custom_access_method=row.pop("custom_access_method", False)
    )
    if kind == "index":
        row["definition"] = options.without(row["definition"], set(found) - set(declared))
    else:
        row["options"] = declared or None
    return unknown


def _portable(kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: value for key, value in properties.items() if (kind, key) != ("extension", "version")
    }
    if "acl" in kept:
        kept["acl"] = sorted(_MAINTAIN.sub("", item) for item in kept["acl"])
    if kind in ("view", "materialized view", "rule"):
        kept["definition"] = _QUALIFIER.sub("", kept["definition"])
    return kept


_MAINTAIN = re.compile(r"(?<=[=a-zA-Z*])m\*?(?=[a-zA-Z*]*/[^/]*$)")
"""The letter of that privilege in `grantee=privileges/grantor`."""
_QUALIFIER = re.compile(r'(?:"(?:[^"]|"")+"|\b\w+)\.')
