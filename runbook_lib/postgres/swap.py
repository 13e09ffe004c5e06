"""Puts a restored database in the place of the live one, by two renames in one transaction.

The live one is kept.

What is to happen is first written as a comment on the live database, which keeps it under its new
name. So every later look, by a re-run or by a person, knows which database is which by number
(oid), whatever the names say by then.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from psycopg import sql

from runbook_lib.errors import DatabaseError, GateError, UsageError, beside
from runbook_lib.postgres import databases
from runbook_lib.postgres.connection import Database, identifier, query
from runbook_lib.postgres.databases import Entry
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table

_NOTE = (
    "runbook: failed database, was {live} until {time} UTC; oid {oid}, replaced by the restored "
    "database with oid {restored}; {by}"
)
_WAS = "; its comment was: "
_PUT_ASIDE = re.compile(
    r"runbook: failed database, was (.*) until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC; oid "
)
_NUMBERS = re.compile(
    r"runbook: failed database, .*; oid (\d+), replaced by the restored database with oid (\d+);"
)


class Stage(StrEnum):
    """Where a swap stands."""

    NOT_BEGUN = "not begun: live and restored database are both in their places"
    CLOSED = "begun: the live database is marked or closed to new connections, nothing is renamed"
    BETWEEN = "half-way: the live database is renamed aside, nothing is in its place yet"
    RENAMED = "renamed: the restored database is in the live one's place, but not open yet"
    DONE = "done: the restored database is in the live one's place, the failed one is kept"
    UNCLEAR = "unclear: these databases are not in a state that a swap leaves behind"


class LastLook(Protocol):
    """A look at the live database once nobody else is in it, or can come in.

    What it finds can change no more.
    """

    def open(self, live: Target, restored: Target) -> Collection[int]:
        """Open the sessions that it needs, while that is possible; their process numbers."""

    def judge(self) -> None:
        """Raise where the swap must not happen.

        Then nothing is renamed, and the live database is open again.
        """

    def close(self) -> None:
        """Close the sessions."""


@dataclass(frozen=True)
class State(Shown):
    """Where a swap stands, by the databases that exist, their numbers and the note on them.

    Args:
        live, restored, failed: the databases of those names now.
        why: what is unclear.
    """

    stage: Stage
    live: Entry | None
    restored: Entry | None
    failed: Entry | None
    why: str = ""

    def table(self) -> Table:
        """The three names and what stands behind each."""
        rows = [
            (role, one and one.name, one and one.oid, one and one.open, one and one.comment)
            for role, one in (
                ("live", self.live),
                ("restored", self.restored),
                ("failed", self.failed),
            )
        ]
        return Table(
            f"Swap {self.stage.value}{': ' + self.why if self.why else ''}",
            ("place", "database", "oid", "open", "comment"),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"stage": self.stage.value}


@dataclass(frozen=True)
class Swapped(Shown):
    """A swap that is done.

    Args:
        live: the name that applications use; `live_oid` is now the restored database.
        failed: the name under which the former live database is kept.
        sessions_ended: how many sessions were in the two databases.
        closed_s: seconds during which the live name could not be connected to, as far as this call
            did it.
    """

    live: str
    live_oid: int
    failed: str
    failed_oid: int
    sessions_ended: int
    closed_s: float

    def table(self) -> Table:
        """What is now true."""
        rows = [
            (self.live, self.live_oid, "restored, in use"),
            (self.failed, self.failed_oid, "failed, kept"),
        ]
        return Table(
            f"Swapped in {self.closed_s:.2f} s, {self.sessions_ended} sessions ended",
            ("database", "oid", "what it is"),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


def state(db: Database, live_name: str, restored_name: str, failed_name: str) -> State:
    """Where a swap of these three names stands; `db` is a session on another database."""
    there = databases.entries(db)
    live, restored, failed = there.get(live_name), there.get(restored_name), there.get(failed_name)
    stage, why = _stage(live, restored, failed)
    return State(stage, live, restored, failed, why)


def _stage(live: Entry | None, restored: Entry | None, failed: Entry | None) -> tuple[Stage, str]:
    if failed is None:
        if live is None or restored is None:
            return (
                Stage.UNCLEAR,
                "the live or the restored database does not exist, and none was renamed aside",
            )
        return (Stage.NOT_BEGUN if live.open and not _numbers(live) else Stage.CLOSED), ""
    numbers = _numbers(failed)
    if numbers is None or numbers[0] != failed.oid:
        return Stage.UNCLEAR, f"{failed.name} exists, and is not what a swap has put aside"
    if live is None and restored is not None and restored.oid == numbers[1]:
        return Stage.BETWEEN, ""
    if live is not None and restored is None and live.oid == numbers[1]:
        return (Stage.DONE if live.open and failed.open else Stage.RENAMED), ""
    return (
        Stage.UNCLEAR,
        "the numbers in the failed database's comment are not those of the other two",
    )


def _numbers(entry: Entry) -> tuple[int, int] | None:
    """What a swap noted: the number of the failed database and of the restored one."""
    found = _NUMBERS.search(entry.comment)
    return (int(found[1]), int(found[2])) if found else None


def swap(
    server: Target,
    live_name: str,
    restored_name: str,
    failed_name: str,
    application_name: str,
    *,
    expected_live_oid: int | None = None,
    wait_s: float = 10,
    last_look: LastLook | None = None,
) -> Swapped:
    """Put the restored database in the live one's place, and keep the live one under another name.

    Can be called again after any interruption: it looks where it stands, and finishes.

    Args:
        server: any database of the server; not connected to unless it is the maintenance database.
        expected_live_oid: the number that the live database must have; refuse another.
        wait_s: seconds to wait for sessions to end.
        last_look: taken right before the renames, with both databases closed; not where they are
            done already.

    Raises:
        What `last_look` raises; the live database is open again.
        UsageError: names or numbers do not fit together, or the restore has not finished; nothing
            was touched.
        GateError: a prepared transaction or an active logical slot holds on to a database; nothing
            was touched.
        DatabaseError: a step was refused. Where nothing was renamed yet, the live database is open
            again.
    """
    names = (live_name, restored_name, failed_name)
    with _session(server, application_name, names) as db:
        found = state(db, *names)
        _require_clear(db, found, names, expected_live_oid)
        started = time.monotonic()
        ended: tuple[int, ...] = ()
        if found.stage in (Stage.NOT_BEGUN, Stage.CLOSED):
            ended = _rename_both(db, found, names, application_name, wait_s, last_look)
        elif found.stage is Stage.BETWEEN:
            ended = databases.terminate(db, [restored_name], wait_s)
            databases.rename(db, restored_name, live_name)
        for name in (live_name, failed_name):
            _open(db, name, True)
        return _result(db, names, len(ended), time.monotonic() - started)


@dataclass(frozen=True)
class PutAside:
    """A failed database that a swap keeps.

    Args:
        live: the name that it had.
        since: when it was replaced, UTC.
        obstacle: why it must not be dropped; empty where nothing speaks against it.
    """

    name: str
    live: str
    since: datetime
    obstacle: str


def put_aside(db: Database) -> tuple[PutAside, ...]:
    """The failed databases that swaps have kept on this server: known by name, number and note."""
    there = databases.entries(db)
    held = {row["database"]: row["what"] for row in db.sessions(query("swap_holders"))}
    for row in databases.subscriptions(db):
        said = [held.get(row["database"], ""), f"subscription {row['name']}"]
        held[row["database"]] = "; ".join(filter(None, said))
    found = []
    for one in there.values():
        numbers, note = _numbers(one), _PUT_ASIDE.match(one.comment)
        if numbers and note and numbers[0] == one.oid and one.name != note[1]:
            live = there.get(note[1])
            obstacle = (
                "" if live and live.open else f"there is no database {note[1]} in use in its place"
            )
            found.append(
                PutAside(
                    one.name,
                    note[1],
                    datetime.fromisoformat(f"{note[2]}+00:00"),
                    obstacle or held.get(one.name, ""),
                )
            )
    return tuple(found)


def reopen(
    server: Target, live_name: str, restored_name: str, failed_name: str, application_name: str
) -> State:
    """Take back a swap that renamed nothing yet.

    The live database is open again, with the comment that it had.

    Raises:
        UsageError: databases are renamed already; only going on with `swap` makes them whole.
    """
    names = (live_name, restored_name, failed_name)
    with _session(server, application_name, names) as db:
        found = state(db, *names)
        if found.stage not in (Stage.NOT_BEGUN, Stage.CLOSED) or not found.live:
            raise UsageError(
                f"the swap of {live_name} is {found.stage.value}",
                "go on with the swap: it finishes from where it stands",
            )
        _undo(db, found, names, _former_comment(found.live))
        return state(db, *names)


def _session(server: Target, application_name: str, names: tuple[str, str, str]) -> Database:
    """A session on a database that is none of the three."""
    return databases.maintenance(
        server, application_name, names, lock_timeout="10s", statement_timeout="60s"
    )


def _require_clear(
    db: Database, found: State, names: tuple[str, str, str], expected_live_oid: int | None
) -> None:
    if found.stage is Stage.UNCLEAR or len(set(names)) < 3:
        raise UsageError(
            f"the swap of {names[0]} is {found.stage.value}: "
            f"{found.why or 'its three names are not three'}",
            "look at the databases' comments (\\l+ in psql) and rename by hand",
        )
    if (
        found.stage in (Stage.NOT_BEGUN, Stage.CLOSED)
        and found.live
        and expected_live_oid not in (None, found.live.oid)
    ):
        raise UsageError(
            f"{names[0]} has oid {found.live.oid}, not {expected_live_oid}: it is another "
            "database than the one that was planned for",
            "plan again",
        )
    if found.restored and found.restored.comment.startswith(databases.UNFINISHED):
        raise UsageError(f"{names[1]} is not restored to its end", "restore it again, then swap")
    held = [
        f"{row['what']} in {row['database']}"
        for row in db.rows(query("swap_obstacles"))
        if row["database"] in names
    ]
    if held and found.stage is not Stage.DONE:
        raise GateError(
            f"the swap of {names[0]} is held up by {'; '.join(held)}",
            "COMMIT PREPARED or ROLLBACK PREPARED them, stop the subscribers of the slots, and "
            "repeat",
        )


def _rename_both(
    db: Database,
    found: State,
    names: tuple[str, str, str],
    application_name: str,
    wait_s: float,
    last_look: LastLook | None,
) -> tuple[int, ...]:
    live_name, restored_name, failed_name = names
    assert found.live and found.restored
    comment = _former_comment(found.live)
    try:
        databases.comment_on(db, live_name, _note(found, application_name, comment))
        keep = _opened(db, names, last_look) if last_look else ()
        _open(db, live_name, False)
        _open(db, restored_name, False)
        ended = databases.terminate(db, [live_name, restored_name], wait_s, keep)
        if last_look:
            last_look.judge()
            last_look.close()
            databases.terminate(db, [live_name, restored_name], wait_s)
        with db.transaction():
            databases.rename(db, live_name, failed_name)
            databases.rename(db, restored_name, live_name)
        return ended
    except BaseException as error:
        if last_look:
            last_look.close()
        with (
            beside(error, f"opening {live_name} again"),
            _session(db.target, application_name, names) as again,  # the other may be what was lost
        ):
            _undo(again, found, names, comment)
        raise


def _opened(db: Database, names: tuple[str, str, str], last_look: LastLook) -> Collection[int]:
    """The sessions of the last look; an interrupted swap may have closed the databases to them."""
    for name in names[:2]:
        _open(db, name, True)
    live, restored = (db.target.named(name) for name in names[:2])
    return last_look.open(live, restored)


def _former_comment(live: Entry) -> str:
    """Return the live database's own comment.

    Also if an interrupted swap has written its note over it.
    """
    return live.comment.partition(_WAS)[2] if _numbers(live) else live.comment


def _note(found: State, application_name: str, comment: str) -> str:
    assert found.live and found.restored
    return _NOTE.format(
        live=found.live.name,
        time=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        oid=found.live.oid,
        restored=found.restored.oid,
        by=application_name,
    ) + (_WAS + comment if comment else "")


def _undo(db: Database, found: State, names: tuple[str, str, str], comment: str) -> None:
    """Open the live database again, where it still has its name."""
    now = databases.entry(db, names[0])
    if now and found.live and now.oid == found.live.oid:
        _open(db, names[0], True)
        _open(db, names[1], True)
        databases.comment_on(db, names[0], comment or None)


def _open(db: Database, name: str, allow: bool) -> None:
    db.execute(
        sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}").format(
            identifier(name), sql.SQL("true" if allow else "false")
        )
    )


def _result(db: Database, names: tuple[str, str, str], ended: int, seconds: float) -> Swapped:
    after = state(db, *names)
    if after.stage is not Stage.DONE:
        raise DatabaseError(
            f"the swap of {names[0]} is {after.stage.value}",
            "run it again: it finishes from where it stands",
        )
    assert after.live and after.failed
    return Swapped(
        after.live.name, after.live.oid, after.failed.name, after.failed.oid, ended, seconds
    )
