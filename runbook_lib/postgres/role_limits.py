"""What of a backup a role without superuser may not bring up, and who can give what.

The server is asked, by trying it.

Every managed service gives such a role: it owns the database; extensions, event triggers and some
objects are others'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError, RightError
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.comparison import Compared, Comparison
from runbook_lib.postgres.connection import Database, query, translated
from runbook_lib.postgres.difference import Change
from runbook_lib.postgres.target import Target

INSTRUMENTS = frozenset(
    (
        "amcheck",
        "hypopg",
        "pageinspect",
        "pg_buffercache",
        "pg_freespacemap",
        "pg_logicalinspect",
        "pg_prewarm",
    )
    + (
        "pg_qualstats",
        "pg_repack",
        "pg_stat_kcache",
        "pg_stat_monitor",
        "pg_stat_statements",
        "pg_surgery",
    )
    + ("pg_visibility", "pg_wait_sampling", "pg_walinspect", "pgrowlocks", "pgstattuple")
)
"""Extensions that look at the server: an application's statements do without them."""
_ONLY_ROLES_ABOVE = ("extension", "event trigger", "publication", "subscription")
"""Kinds of objects that a role without superuser may be refused."""


@dataclass(frozen=True)
class LeftOut:
    """One thing that a copy lacks.

    Args:
        kind, name: as in the catalogue.
        why: what the server said.
        remedy: what gives the right, or brings it up afterwards.
        matters: whether an application may need it, so that a person has to know.
        blocks: whether other objects cannot be brought up without it.
    """

    kind: str
    name: str
    why: str
    remedy: str
    matters: bool = True
    blocks: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.why})"


@dataclass(frozen=True)
class Limits:
    """What a role may not bring up of a backup.

    Args:
        superuser: nothing is refused.
        me: the role, quoted.
        not_ours: roles as which it may not act, each with its name quoted.
        of_others: extensions that are there already and belong to others.
        foreign: those of `not_ours` that own objects of the backup.
        unfit: objects with privileges that this role cannot give: others than their owner have
            given them, or the schema `public`
            of a superuser (before PostgreSQL 15).
        items: what is left out.
    """

    superuser: bool
    me: str = ""
    not_ours: Mapping[str, str] = field(default_factory=dict)
    of_others: frozenset[str] = frozenset()
    foreign: tuple[str, ...] = ()
    unfit: frozenset[str] = frozenset()
    items: tuple[LeftOut, ...] = field(default=())

    @property
    def blocking(self) -> tuple[LeftOut, ...]:
        """What keeps the rest from coming up."""
        return tuple(item for item in self.items if item.blocks)

    def options(self) -> list[str]:
        """Of pg_restore. A subscription is never copied.

        It would bring rows into the copy, and keep it from being dropped.
        """
        owners = ["--no-owner", "--no-privileges"] if self.foreign else []
        return ["--no-subscriptions", *owners]

    def require_owners(self) -> None:
        """Refuse a copy for use if others' objects would come up as this role's.

        Raises:
            RightError: naming the grants.
        """
        if self.foreign:
            raise RightError(
                f"objects belong to {', '.join(self.foreign)}, as which this role may not act: "
                "restored, they would be its own",
                self._grants(),
                sqlstate="42501",
            )

    def require_restorable(self) -> None:
        """Refuse what nothing can come up without.

        Raises:
            RightError: naming each, and who can help.
        """
        if self.blocking:
            raise RightError(
                "this role may not bring up what other objects need: "
                f"{'; '.join(map(str, self.blocking))}",
                "\n→ ".join(dict.fromkeys(item.remedy for item in self.blocking)),
                sqlstate="42501",
            )

    def entries(self, listed: Sequence[str], tables: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the lines of the dump's table of contents that this role may bring up.

        The contents are those of `pg_restore --list`.

        Args:
            tables: extension → its tables of which rows are dumped, as "schema name".
        """
        if self.superuser:
            return list(listed)
        wrong = re.compile("|".join(self._patterns(tables)) or r"(?!)")
        return [line for line in listed if line.startswith(";") or not wrong.search(line)]

    def explains(self, change: Change) -> bool:
        """Whether a difference to the backup is one of what such a role may not bring up."""
        kind, lacks = change.kind, change.action == "removed"
        if kind == "subscription" and lacks:
            return True
        if self.superuser:
            return False
        if kind == "comment" and lacks:
            return change.name.startswith(_ONLY_ROLES_ABOVE)
        if kind == "default privilege":
            return change.name.split(" ")[0] in self.not_ours.values()
        if change.property in ("owner", "acl") and self.foreign:
            return True
        return (
            kind in _ONLY_ROLES_ABOVE
            and lacks
            or change.property == "acl"
            and change.name in self.unfit
        )

    def owner_refused(self, facts: Mapping[str, Any]) -> bool:
        """Whether this role may not give the database to its owner."""
        return facts["owner"] in self.not_ours

    def without_facts(self, content: Comparison) -> Comparison:
        """Return the comparison without what this role may not bring up.

        Those are extensions and settings.
        """
        return Comparison(tuple(item for item in content.items if not self._lacks(item)))

    def lacking(self, content: Comparison, changes: Iterable[Change]) -> tuple[str, ...]:
        """What came up without, in words."""
        facts = [f"{item.kind} {item.name}" for item in content.items if self._lacks(item)]
        explained = [change for change in changes if self.explains(change)]
        gone = [f"{one.kind} {one.name}" for one in explained if one.action == "removed"]
        other = sorted(
            {
                f"{one.property or one.kind} of others"
                for one in explained
                if one.action != "removed"
            }
        )
        return tuple(dict.fromkeys([*facts, *gone, *other]))

    def _lacks(self, item: Compared) -> bool:
        """A fact that is missing, or differs from what a superuser has set."""
        return (
            not self.superuser
            and item.kind in ("extension", "setting")
            and (item.after is None and item.before is not None)
        )

    def _patterns(self, tables: Mapping[str, Sequence[str]]) -> Iterator[str]:
        for item in self.items:
            name = re.escape(_plain(item.name))
            if item.kind in ("extension", "event trigger", "publication"):
                kind = item.kind.upper()
                yield (
                    rf"; \d+ \d+ {kind} - {name}( |$)| COMMENT - {kind} (\"?){name}\"?( |$)| "
                    rf"PUBLICATION TABLES? .*{name} "
                )
            for table in tables.get(item.name, ()) if item.kind == "extension" else ():
                yield rf" (TABLE DATA|SEQUENCE SET) {re.escape(table)} "
        for name in self.of_others:
            yield rf" COMMENT - EXTENSION \"?{re.escape(_plain(name))}\"?( |$)"
        for role in self.not_ours:
            yield rf" (DEFAULT )?ACL .* {re.escape(role)}$"
        for name in self.unfit:
            yield rf" ACL .* {re.escape(name.rpartition('.')[2].partition('(')[0])}[ (]"

    def _grants(self) -> str:
        return "as an administrator: " + " ".join(
            f"GRANT {self.not_ours[role]} TO {self.me};" for role in self.foreign
        )


def read(place: Target, application_name: str, backup: Backup) -> Limits:
    """What this role may not bring up in a new, empty database.

    Extensions, event triggers and publications are tried, and rolled back.

    Args:
        place: the new database.
    """
    with Database(place, application_name, lock_timeout="10s", statement_timeout="2min") as db:
        found = known(db, backup)
        if found.superuser:
            return found
        objects, used = backup.catalog().objects, backup.database().get("extensions_used")
        doubtful = {row["name"] for row in db.rows(query("role_limits_extensions"))}
        wanted = [name for name in backup.snapshot.extensions if name in doubtful]
        items = [*_extensions(place, application_name, wanted, used), *_others(db, objects)]
        return replace(found, items=(*found.items, *items))


def known(db: Database, backup: Backup) -> Limits:
    """The same as far as nothing needs to be tried, for the comparison with what came up."""
    row = db.row(query("role_limits"), {"may": "SET" if db.server_version >= 160000 else "MEMBER"})
    assert row
    objects = backup.catalog().objects
    if row["superuser"]:
        return Limits(True, items=tuple(_subscriptions(objects)))
    not_ours = dict(row["not_ours"])
    given = [
        (kind, name, value)
        for kind, named in objects.items()
        if kind not in _ONLY_ROLES_ABOVE
        for name, value in named.items()
    ]
    public = {("schema", "public", row["bootstrap"]), ("schema", "public", "pg_database_owner")}
    owners = {
        value.get("owner")
        for kind, name, value in given
        if (kind, name, value.get("owner")) not in public
    }
    unfit = frozenset(
        name
        for kind, name, value in given
        if _others_granted(value, not_ours)
        or (kind, name) == ("schema", "public")
        and _closed_by_superuser(value, row["bootstrap"], not_ours)
    )
    found = Limits(
        False,
        row["me"],
        not_ours,
        frozenset(row["of_others"]),
        tuple(sorted(owner for owner in owners if owner is not None and owner in not_ours)),
        unfit,
    )
    return replace(found, items=(*_subscriptions(objects), *_grants(found, objects)))


def _others_granted(properties: Mapping[str, Any], not_ours: Mapping[str, str]) -> bool:
    """Return whether a privilege was given by another than the owner.

    This role may not give it in the other's name.
    """
    owner = properties.get("owner")
    grantors = {str(item).rpartition("/")[2] for item in properties.get("acl") or ()}
    return owner is not None and bool(
        (grantors - {owner, not_ours.get(owner, owner)}) & set(not_ours.values())
    )


def _closed_by_superuser(
    public: Mapping[str, Any], bootstrap: str, not_ours: Mapping[str, str]
) -> bool:
    """Return whether the schema `public` is the server's own with changed privileges.

    It is the server's own before PostgreSQL 15.
    """
    name = not_ours.get(bootstrap, bootstrap)
    first = {f"{name}=UC/{name}", f"=UC/{name}"}
    changed = set(public.get("acl") or ()) != first
    return public.get("owner") == bootstrap in not_ours and changed


def _subscriptions(objects: Mapping[str, Mapping[str, Any]]) -> Iterator[LeftOut]:
    for name in objects.get("subscription", ()):
        yield LeftOut(
            "subscription",
            name,
            "never copied: it would bring rows into the copy",
            f"after a way back: create the subscription {name} again",
        )


def _extensions(
    place: Target, application_name: str, names: Sequence[str], used: Sequence[str] | None
) -> Iterator[LeftOut]:
    for name in names:
        with Database(place, application_name, statement_timeout="2min") as db:
            why = _refused(db, f"CREATE EXTENSION {name} CASCADE")
        needed = used is None or name in used
        if why:
            yield LeftOut(
                "extension",
                name,
                why,
                f"as a superuser: \\c template1, then CREATE EXTENSION {name}; (copies are then "
                "made from template1); or name a server "
                "for proofs (`backup.proof.server`) on which the role may create it"
                if needed
                else f"after a restore, as a superuser: CREATE EXTENSION {name};",
                needed or _plain(name) not in INSTRUMENTS,
                needed,
            )


def _others(db: Database, objects: Mapping[str, Mapping[str, Any]]) -> Iterator[LeftOut]:
    """Event triggers, and publications of all tables or whole schemas."""
    function = (
        "CREATE FUNCTION public.runbook_probe() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN "
        "END'"
    )
    trials = (
        (
            "event trigger",
            list(objects.get("event trigger", ())),
            f"{function}; CREATE EVENT TRIGGER runbook_probe "
            "ON sql_drop EXECUTE FUNCTION public.runbook_probe()",
        ),
        (
            "publication",
            [k for k, one in objects.get("publication", {}).items() if one.get("all_tables")],
            "CREATE PUBLICATION runbook_probe FOR ALL TABLES",
        ),
    )
    for kind, names, trial in trials:
        why = _refused(db, trial) if names else ""
        for name in names if why else ():
            yield LeftOut(
                kind,
                name,
                why,
                f"after a restore, as a superuser: create the {kind} {name} again (schema.sql of "
                "the backup has it)",
            )


def _grants(found: Limits, objects: Mapping[str, Mapping[str, Any]]) -> Iterator[LeftOut]:
    if found.foreign:
        yield LeftOut(
            "owners and privileges",
            f"of all objects: some are {', '.join(found.foreign)}'s",
            "this role may not act as those",
            found._grants(),
        )
    for name in sorted(found.unfit):
        yield LeftOut(
            "privileges",
            f"of {name}",
            "only another role than this may give them",
            "after a restore: give them again (schema.sql of the backup has them)",
        )
    for name in objects.get("default privilege", ()):
        if name.split(" ")[0] in found.not_ours.values():
            yield LeftOut(
                "default privileges",
                name,
                "they are another role's",
                f"GRANT {name.split(' ')[0]} TO {found.me};",
            )


def _refused(db: Database, statements: str) -> str:
    """Why the server does not let this role do it; empty where it does."""
    try:
        with translated(), db.connection.transaction(force_rollback=True):
            db.connection.execute(sql.SQL(statements))
    except DatabaseError as error:
        if db.connection.closed:
            raise
        return error.message.removeprefix("PostgreSQL: ")
    return ""


def _plain(name: str) -> str:
    """A name without the quotes that the server put around it."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
