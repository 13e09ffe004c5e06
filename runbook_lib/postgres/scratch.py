"""Databases of our own that are thrown away.

Known by a name that proves itself, and dropped whatever state they are in.

Each is born under such a name (`databases.scratch_name`), so nothing of ours can be there without
it, and nothing of others has it. Its comment tells who made it, in which session: while that is
alive, nobody else drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook_lib.errors import DatabaseError, UsageError, beside
from runbook_lib.postgres import databases, discard
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table

PREFIX = databases.SCRATCH_PREFIX
_UNMARKED = timedelta(minutes=1)
"""How long a new one may be without its comment: between making and marking lie milliseconds."""


@dataclass(frozen=True)
class Place:
    """A scratch database, there or yet to be made.

    Args:
        target: where it is.
        mark: the comment that proves it ours; tells who made it, and in which session.
    """

    target: Target
    mark: str


@dataclass(frozen=True)
class Leftover:
    """A scratch database whose maker is gone."""

    name: str
    bytes: int | None
    mark: str


@dataclass(frozen=True)
class Leftovers(Shown):
    """Scratch databases whose makers are gone."""

    items: tuple[Leftover, ...]

    def __iter__(self) -> Iterator[Leftover]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def table(self) -> Table:
        """The databases as rows."""
        return Table(
            f"{len(self)} scratch databases left behind",
            ("database", "bytes", "made by"),
            [(i.name, i.bytes, i.mark) for i in self],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"leftovers": [asdict(item) for item in self.items]}


@contextmanager
def reserved(
    server: Target,
    purpose: str,
    application_name: str,
    on_line: Callable[[str], None] | None = None,
) -> Iterator[Place]:
    """A name and a mark for a scratch database that the caller makes.

    Dropped at the end, whatever happened.

    What killed processes left behind is dropped first.

    Args:
        server: any database of the server.
        purpose: one word that becomes part of the name.
        on_line: told what was dropped.
    """
    with databases.maintenance(
        server, application_name, lock_timeout="30s", statement_timeout="5min"
    ) as admin:
        clear(admin, on_line)
        name = databases.scratch_name(admin, purpose)
        place = Place(
            server.named(name),
            f"{databases.SCRATCH}made by {application_name} at "
            f"{databases.made_at(name):%Y-%m-%d %H:%M:%S} UTC, {databases.signature(admin)}",
        )
        try:
            yield place
        except BaseException as error:
            with beside(error, f"dropping the scratch database {name}"):
                _drop(server, name, application_name)
            raise
        _drop(server, name, application_name)


def _drop(server: Target, name: str, application_name: str) -> None:
    """Drop it by a new session: what happened meanwhile may have ended the other."""
    with databases.maintenance(
        server, application_name, lock_timeout="30s", statement_timeout="5min"
    ) as admin:
        drop(admin, name)


@contextmanager
def scratch(
    server: Target, purpose: str, application_name: str, template: str = "template0"
) -> Iterator[Target]:
    """A new scratch database, dropped at the end.

    Args:
        server: any database of the server.
        purpose: one word that becomes part of the name.
        template: the database to copy; one that nobody is connected to.

    Raises:
        DatabaseError: the role may not create databases, or the template is in use.
    """
    with reserved(server, purpose, application_name) as place:
        with databases.maintenance(
            server, application_name, lock_timeout="30s", statement_timeout="30min"
        ) as admin:
            databases.make(admin, place.target.database, template, place.mark)
        yield place.target


def drop(admin: Database, name: str) -> None:
    """Drop a scratch database, and end the sessions in it.

    Args:
        admin: a session on another database of the server.

    Raises:
        UsageError: name or comment do not prove it ours; nothing was touched.
    """
    there = databases.entry(admin, name)
    if there is None:
        return
    if not _ours(there):
        raise UsageError(
            f"{name} is not dropped: its name does not prove that it is a scratch database of the "
            "runbook",
            "drop it by hand if it is not needed",
        )
    discard.discard(admin, name)


def leftovers(db: Database) -> Leftovers:
    """Scratch databases of which the session that made them is gone, and which can be dropped."""
    now: datetime = db.value("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    return Leftovers(
        tuple(
            Leftover(one.name, one.bytes, one.comment or "never said: it was killed")
            for one in databases.entries(db).values()
            if _ours(one) and not one.maker_alive and not _being_made(one, now)
        )
    )


def clear(admin: Database, on_line: Callable[[str], None] | None = None) -> None:
    """Drop what killed processes left behind, and say so.

    One that this role may not drop is named and left.
    """
    for left in leftovers(admin):
        try:
            drop(admin, left.name)
            said = f"dropped {left.name}, left behind by a process that was killed"
        except DatabaseError as error:
            said = (
                f"warning: {left.name}, left behind by a process that was killed, could not be "
                f"dropped: {error.message}"
            )
        if on_line:
            on_line(said)


def _ours(one: databases.Entry) -> bool:
    """Recognise it by its name.

    Or, made by an earlier version, by the beginning of its name and of its comment.
    """
    return databases.made_at(one.name) is not None or (
        one.name.startswith(PREFIX)
        and one.comment.startswith((databases.SCRATCH, databases.UNFINISHED))
    )


def _being_made(one: databases.Entry, now: datetime) -> bool:
    """Whether its maker may be about to mark it: only in the minute in which it was thought of."""
    at = databases.made_at(one.name)
    return not one.comment and at is not None and abs(now - at) < _UNMARKED
