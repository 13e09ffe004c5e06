"""Who is doing what: sessions, progress, writes, replication.

Statement texts are never read out; they may hold data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from runbook_lib.postgres.connection import Database, query
from runbook_lib.table import Shown, Table, size

Item = TypeVar("Item")


@dataclass(frozen=True)
class Session:
    """One session; times in seconds, `None` where it has none.

    Args:
        command: the word that its latest statement begins with.
        transaction_s: age of its transaction.
        state_s: since when it is in its state.
        waits_for: type and name of the event it waits for.
    """

    pid: int
    user: str | None
    database: str | None
    application: str
    client: str
    state: str
    backend_type: str
    connected_s: float | None
    transaction_s: float | None
    statement_s: float | None
    state_s: float | None
    waits_for: str | None
    command: str | None

    @property
    def working(self) -> bool:
        """Whether it runs a statement or holds a transaction open."""
        return self.state == "active" or self.transaction_s is not None

    def __str__(self) -> str:
        age = (
            f", transaction open for {self.transaction_s:.0f} s"
            if self.transaction_s is not None
            else ""
        )
        return (
            f"session {self.pid} of {self.user} (application “{self.application}” from "
            f"{self.client}), {self.state}{age}"
        )


@dataclass(frozen=True)
class Sessions(Shown):
    """Sessions as one result."""

    title: str
    items: tuple[Session, ...]

    def __iter__(self) -> Iterator[Session]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def table(self) -> Table:
        """One row a session."""
        rows = [
            (
                s.pid,
                s.user,
                s.application,
                s.client,
                s.state,
                s.command,
                s.transaction_s,
                s.state_s,
                s.waits_for,
            )
            for s in self
        ]
        return Table(
            f"{self.title}: {len(self)}",
            (
                "pid",
                "user",
                "application",
                "client",
                "state",
                "command",
                "transaction s",
                "in state s",
                "waits for",
            ),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"title": self.title, "sessions": [asdict(item) for item in self.items]}


def sessions(db: Database) -> Sessions:
    """All other sessions in this database."""
    return Sessions(f"Sessions in {db.target.database}", _sessions(db))


@dataclass(frozen=True)
class Connected:
    """The sessions of one application in this database, by what they do."""

    application: str
    active: int
    idle: int
    in_transaction: int
    longest_transaction_s: float

    @property
    def sessions(self) -> int:
        """How many in all."""
        return self.active + self.idle + self.in_transaction


def connected(db: Database) -> tuple[Connected, ...]:
    """The clients' sessions in this database by application, the most first."""
    by_name: dict[str, list[Session]] = {}
    for one in _sessions(db):
        if one.backend_type == "client backend":
            by_name.setdefault(one.application or "(unnamed)", []).append(one)
    found = (_connected(name, of_it) for name, of_it in by_name.items())
    return tuple(sorted(found, key=lambda one: (-one.sessions, one.application)))


def _connected(name: str, of_it: list[Session]) -> Connected:
    states = [one.state for one in of_it]
    active, idle = states.count("active"), states.count("idle")
    return Connected(
        name,
        active,
        idle,
        len(states) - active - idle,
        max((one.transaction_s or 0.0 for one in of_it), default=0.0),
    )


def of_application(db: Database, application_name_prefix: str) -> Sessions:
    """Return the other sessions here whose application name begins with the prefix.

    The name is the prefix, or goes on with "/" after it.
    """
    found = tuple(one for one in _sessions(db) if named(one.application, application_name_prefix))
    return Sessions(f"Sessions of {application_name_prefix}", found)


def busy(db: Database, application_names: Collection[str] = ()) -> Sessions:
    """The sessions in this database that run a statement or hold a transaction open.

    Args:
        application_names: only those of these applications; default all clients.
    """
    found = tuple(
        one
        for one in _sessions(db)
        if one.working
        and one.backend_type == "client backend"
        and (not application_names or one.application in application_names)
    )
    return Sessions("Sessions at work", found)


def idle_in_transaction(db: Database, older_than_s: float = 0) -> Sessions:
    """Return the sessions here that are idle in a transaction.

    For longer than `older_than_s` seconds.
    """
    found = tuple(
        one
        for one in _sessions(db)
        if one.state.startswith("idle in transaction") and (one.state_s or 0) >= older_than_s
    )
    return Sessions("Sessions idle in a transaction", found)


@dataclass(frozen=True)
class Holder:
    """A session whose transaction holds locks on tables."""

    session: Session
    tables: tuple[str, ...]

    def __str__(self) -> str:
        age = (
            f"{self.session.transaction_s:.0f} s"
            if self.session.transaction_s is not None
            else "an age that this role may not see"
        )
        who = (
            f"pid {self.session.pid} ({self.session.application or 'unnamed'} from "
            f"{self.session.client}, {self.session.state}, {age})"
        )
        return f"{who} on {', '.join(self.tables)}"


def holders(db: Database, tables: Collection[str] | None = None) -> tuple[Holder, ...]:
    """Whose transactions hold locks on tables of this database, the oldest first.

    Args:
        tables: only those, by qualified quoted name; default all.
    """
    found = {
        row["pid"]: tuple(name for name in row["tables"] if tables is None or name in tables)
        for row in db.sessions(query("activity_holders"))
    }
    return tuple(Holder(one, found[one.pid]) for one in everyone(db) if found.get(one.pid))


def everyone(db: Database) -> tuple[Session, ...]:
    """All other sessions on the server, whatever their database."""
    return tuple(Session(**row) for row in db.sessions(query("activity_sessions")))


def named(application: str, prefix: str) -> bool:
    """Whether an application name is `prefix`, or goes on with "/" after it.

    The server keeps 63 bytes of a name.
    """
    kept = prefix.encode()[:63].decode(errors="ignore")
    return bool(kept.strip("/")) and (
        application == kept or application.startswith(kept.rstrip("/") + "/")
    )


def _sessions(db: Database) -> tuple[Session, ...]:
    return tuple(one for one in everyone(db) if one.database == db.target.database)


@dataclass(frozen=True)
class Step:
    """How far one long command is.

    Args:
        done, total: in the unit of its phase: blocks, rows or bytes; a total of 0 is not known.
    """

    pid: int
    application: str
    what: str
    relation: str | None
    phase: str
    done: int
    total: int
    seconds: float

    @property
    def percent(self) -> float | None:
        """Of the current phase; `None` where the total is not known."""
        return 100 * self.done / self.total if self.total else None

    def __str__(self) -> str:
        part = f", {self.percent:.0f} % of this phase" if self.percent is not None else ""
        return f"{self.what} on {self.relation}: {self.phase}{part} ({self.seconds:.0f} s)"


def progress(
    db: Database, *, pids: Collection[int] = (), application_name_prefix: str = ""
) -> tuple[Step, ...]:
    """How far long commands in this database are: index builds, rewrites, copies, vacuums, ANALYZE.

    Args:
        pids, application_name_prefix: only those; default all.
    """
    rows = (Step(**row) for row in db.sessions(query("activity_progress")))
    return tuple(
        one
        for one in rows
        if (not pids or one.pid in pids)
        and (not application_name_prefix or named(one.application, application_name_prefix))
    )


@dataclass(frozen=True)
class Writes:
    """What was written until now.

    Args:
        tables: table → rows inserted, updated and deleted since its statistics began; up to ten
            seconds late.
        snapshot: which transactions of the whole server are finished; exact.
        writing_pids: sessions in this database whose open transaction has written.
    """

    tables: Mapping[str, tuple[int, int, int]]
    snapshot: str
    lsn: str
    time: datetime
    writing_pids: tuple[int, ...]

    def since(self, earlier: Writes) -> dict[str, int]:
        """Rows written by table since an earlier look, as far as sessions have reported them."""
        counts = {
            name: sum(now) - sum(earlier.tables.get(name, (0, 0, 0)))
            for name, now in self.tables.items()
        }
        return {name: count for name, count in counts.items() if count > 0}

    def quiet_since(self, earlier: Writes) -> bool:
        """Whether it is certain that nothing was written in between.

        No writing transaction ended on the server, none is open in this database.

        `False` proves nothing: it may have been another database, or autovacuum. Then `since`, read
        at least ten seconds after the last write, tells the tables.
        """
        return self.snapshot == earlier.snapshot and not self.writing_pids

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"time": self.time.isoformat()}


def writes(db: Database) -> Writes:
    """The counters that show whether something is written; read twice and compare."""
    db.execute("SELECT pg_stat_clear_snapshot()")
    now = db.row(query("activity_instant")) or {}
    tables = {
        row["name"]: (row["inserted"], row["updated"], row["deleted"])
        for row in db.rows(query("activity_writes"))
    }
    return Writes(
        tables, now["snapshot"], now["lsn"], now["time"], tuple(now["writing_pids"] or ())
    )


@dataclass(frozen=True)
class Prepared:
    """A prepared transaction: it holds its locks without a session."""

    name: str
    owner: str
    age_s: float


def prepared_transactions(db: Database) -> tuple[Prepared, ...]:
    """The prepared transactions of this database."""
    return tuple(Prepared(**row) for row in db.rows(query("activity_prepared")))


@dataclass(frozen=True)
class Follower:
    """A standby or a replication slot, and how far behind it is."""

    kind: str
    name: str
    state: str
    synchronous: bool | None
    behind_bytes: int | None
    behind_s: float | None


@dataclass(frozen=True)
class Replication(Shown):
    """Standbys and slots of this server."""

    items: tuple[Follower, ...]

    def __iter__(self) -> Iterator[Follower]:
        return iter(self.items)

    def table(self) -> Table:
        """One row each."""
        rows = [
            (f.kind, f.name, f.state, f.synchronous, size(f.behind_bytes), f.behind_s) for f in self
        ]
        return Table(
            f"Replication: {len(rows)} standbys and slots",
            ("kind", "name", "state", "synchronous", "behind", "behind s"),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"followers": [asdict(item) for item in self.items]}


def replication(db: Database) -> Replication:
    """Standbys and replication slots."""
    return Replication(tuple(Follower(**row) for row in db.rows(query("activity_replication"))))
