"""Databases of our own that are thrown away: known by name *and* by comment, and dropped only where both say so.

One whose maker was killed before it could comment on it is known by its name, which holds the moment it was thought of,
and by the connection limit that it was born with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook_lib.errors import DatabaseError, UsageError
from runbook_lib.postgres import databases
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.table import Shown, Table

PREFIX = "runbook_scratch_"
_THOUGHT_OF = re.compile(PREFIX + r"[a-z]+_(\d{8}_\d{6}_\d{6})")


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
    """A name and a mark for a scratch database that the caller makes; dropped at the end, whatever happened.

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
        now = datetime.now(UTC)
        place = Place(
            server.named(f"{PREFIX}{purpose}_{now:%Y%m%d_%H%M%S_%f}"),
            f"{databases.SCRATCH}made by {application_name} at {now:%Y-%m-%d %H:%M:%S} UTC, {databases.signature(admin)}",
        )
        try:
            yield place
        except BaseException:
            with suppress(
                DatabaseError
            ):  # the error that is under way tells more, and the next one clears it
                _drop(server, place.target.database, application_name)
            raise
        _drop(server, place.target.database, application_name)


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
            f"{name} is not dropped: its name and comment do not prove that it is a scratch database of the runbook",
            "drop it by hand if it is not needed",
        )
    databases.drop(admin, name)


def leftovers(db: Database) -> Leftovers:
    """Scratch databases of which the session that made them is gone, and which can be dropped."""
    return Leftovers(
        tuple(
            Leftover(one.name, one.bytes, one.comment or "never said: it was killed")
            for one in databases.entries(db).values()
            if _ours(one) and not one.maker_alive
        )
    )


def clear(admin: Database, on_line: Callable[[str], None] | None = None) -> None:
    """Drop what killed processes left behind, and say so; one that this role may not drop is named and left."""
    for left in leftovers(admin):
        try:
            drop(admin, left.name)
            said = f"dropped {left.name}, left behind by a process that was killed"
        except DatabaseError as error:
            said = f"warning: {left.name}, left behind by a process that was killed, could not be dropped: {error.message}"
        if on_line:
            on_line(said)


def _ours(one: databases.Entry) -> bool:
    return one.name.startswith(PREFIX) and (
        one.comment.startswith((databases.SCRATCH, databases.UNFINISHED)) or _never_named(one)
    )


def _never_named(one: databases.Entry) -> bool:
    """Whether it was made by us and its maker came no further: between making and naming lie milliseconds, not seconds."""
    found = _THOUGHT_OF.fullmatch(one.name)
    if not found or one.comment or one.connection_limit != databases.BORN_LIMIT:
        return False
    return datetime.now(UTC) - datetime.strptime(found[1], "%Y%m%d_%H%M%S_%f").replace(
        tzinfo=UTC
    ) > timedelta(seconds=5)
