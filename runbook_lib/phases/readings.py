"""Readings for the monitoring list, taken through the run.

At the preflight, all through the migration, at the validation.

Each measure comes from the source that the parameters name; else from this machine, where the
server proves to run here, from PostgreSQL, and from the application. They are kept as evidence,
`<phase>.readings`. What Prometheus knows is asked afterwards, for the whole time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path

import psutil
from psycopg.rows import tuple_row

from runbook_lib.errors import DatabaseError, RunbookError, ToolError, UsageError, in_short
from runbook_lib.params import RdsRecovery, dereference
from runbook_lib.phases import recovery
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.postgres import disk, locks
from runbook_lib.postgres.connection import Database, query, translated
from runbook_lib.postgres.reading import pin
from runbook_lib.recovery import rds_disk
from runbook_lib.run import moment, now, stamp
from runbook_lib.service import host, log, monitoring
from runbook_lib.service.http import Reach, Request, ask, client
from runbook_lib.service.measures import Reading, Trends, trends
from runbook_lib.service.prometheus import Prometheus
from runbook_lib.surroundings import Source

EVERY_S = 1.0
"""Seconds between two looks while the migration is at work, at first."""
SLOW_EVERY_S = 5.0
"""The same for commands, SQL and the application, which may take a while."""
BLOCKED_S = 1.0
"""Seconds from which on a session that waits for a lock counts as blocked."""
HERE, SERVER, APPLICATION = "this machine", "PostgreSQL", "the application"
DISK = ("disk_free_percent", "disk_free_bytes", "disk_total_bytes")
_HOST = ("cpu_percent", "memory_percent", "disk_io_percent")


def limits(phase: Phase) -> dict[str, float]:
    """The limit of each measure."""
    section, before = (
        phase.params.monitoring,
        phase.run.read_evidence("log.position", missing={}).get("errors_per_minute"),
    )
    return {
        "cpu_percent": section.cpu_percent,
        "memory_percent": section.memory_percent,
        "disk_io_percent": section.disk_io_percent,
        "connections_percent": section.connections_percent,
        "response_ms": section.response_ms,
        "errors_per_minute": max(section.error_rate_per_minute, before or 0.0),
        "deadlocks": 0.0,
        "blocked_sessions": 0.0,
        "disk_free_percent": phase.params.backup.disk_free_percent,
    }


class Reader:
    """Reads the measures of one phase.

    Args:
        phase: whose parameters, application and record they are.
    """

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.section = phase.params.monitoring
        self.sources: dict[str, Source] = {
            source.measure: source for source in self.section.sources
        }
        self._elsewhere: str | None = None
        self._measured: host.Gauge | None = None

    @cached_property
    def prometheus(self) -> Prometheus | None:
        """The server that the parameters name."""
        section = self.section.prometheus
        return (
            Prometheus(
                dereference(section.url, "monitoring.prometheus.url"),
                dereference(section.token, "monitoring.prometheus.token")
                if section.token
                else None,
                self.section.timeout_s,
            )
            if section
            else None
        )

    def all(self, db: Database) -> list[Reading]:
        """Every measure, once; this machine's longer where it is above a limit."""
        return [
            *self.server(db),
            *self.here(db, lambda gauge: gauge.settled(limits(self.phase))),
            *self.slow(db),
            *self.errors(),
            *(self.sourced(db, name) for name, source in self.sources.items() if source.query),
        ]

    def server(self, db: Database) -> list[Reading]:
        """What PostgreSQL counts: connections, deadlocks, blocked sessions."""
        try:
            row, waits = db.row(query("monitoring_server")) or {}, locks.blockers(db).waits
        except DatabaseError as error:
            return self.unread(error.message)
        values = {
            "connections_percent": 100 * row["connections"] / row["most"],
            "deadlocks": float(row["deadlocks"]),
            "blocked_sessions": float(sum((wait.waiting_s or 0) >= BLOCKED_S for wait in waits)),
        }
        return [
            self._made(
                name, SERVER, values[name], epoch=row["epoch"] if name == "deadlocks" else ""
            )
            for name in self._wanted(*values)
        ]

    def unread(self, why: str) -> list[Reading]:
        """What PostgreSQL counts, where it did not answer."""
        return [
            self._made(name, SERVER, why=why)
            for name in self._wanted("connections_percent", "deadlocks", "blocked_sessions")
        ]

    def here(self, db: Database, look: Callable[[host.Gauge], host.Load]) -> list[Reading]:
        """Processor, memory and disk of the server's machine, where it is this one.

        Its free disk where that is known.
        """
        names, why = self._wanted(*_HOST), ""
        try:
            if not (why := self._away(db)):
                load, free = look(self._gauge(db)), self._free(db)
                return [
                    self._look(name, HERE, partial(host.value, load, name)) for name in names
                ] + free
        except (DatabaseError, OSError, psutil.Error) as error:
            why = error.message if isinstance(error, RunbookError) else type(error).__name__
        return [self._made(name, HERE, why=why) for name in names]

    def slow(self, db: Database) -> list[Reading]:
        """What may take a while: commands, SQL, the application's answer."""
        found = [
            self.sourced(db, name) for name, source in self.sources.items() if not source.query
        ]
        return found + (
            [self._look("response_ms", APPLICATION, self._response)]
            if self.phase.params.service and self._wanted("response_ms")
            else []
        )

    def sourced(self, db: Database, name: str) -> Reading:
        """A measure from the source that the parameters name."""
        source, seconds = self.sources[name], self.section.timeout_s
        if source.command:
            return self._look(
                name,
                "a command",
                lambda: _possible(name, monitoring.number(source.command or "", seconds)),
            )
        if source.sql:
            return self._look(name, "SQL", lambda: _possible(name, self._sql(db, source.sql or "")))
        return self._look(
            name,
            "Prometheus",
            lambda: _possible(name, self._prometheus().value(source.query or "")),
        )

    def over(self, start: datetime, end: datetime) -> list[Reading]:
        """What Prometheus says of a time; one reading without a value where it does not say."""
        found: list[Reading] = []
        for name, source in self.sources.items():
            if source.query:
                try:
                    found += [
                        Reading(name, stamp(at), value, "Prometheus")
                        for at, value in self._prometheus().series(source.query, start, end)
                    ]
                except (ToolError, UsageError) as error:
                    found.append(
                        Reading(
                            name,
                            stamp(start),
                            None,
                            "Prometheus",
                            why=f"over the run: {error.message}",
                        )
                    )
        return found

    def errors(self) -> list[Reading]:
        """Errors a minute in the application's log.

        Since maintenance mode began, before that in its last part.
        """
        path = self.phase.params.service.log if self.phase.params.service else None
        return (
            [self._look("errors_per_minute", "the log", partial(self._errors, path))]
            if path and self._wanted("errors_per_minute")
            else []
        )

    def _errors(self, path: Path) -> float:
        position = self.phase.run.read_evidence("log.position", missing=None)
        if position is None:
            found = log.position(path).errors_per_minute
            if found is None:
                raise ToolError(
                    "the log does not say when its lines were written, or cannot be read",
                    "correct `service.log`",
                )
            return found
        window = log.since(path, position)
        if window.gaps:
            raise ToolError("; ".join(window.gaps), "count the errors in the rotated log by hand")
        return window.errors_per_minute

    def _response(self) -> float:
        section, url = self.phase.params.service, self.phase.params.service_url()
        assert section is not None
        with client(url) as session:
            answer = ask(session, Request(url + section.health), self.section.timeout_s)
        if answer.reach is not Reach.ANSWERED or answer.status >= 400:
            raise ToolError(str(answer), "70_validate asks every endpoint")
        return answer.ms

    def _sql(self, db: Database, statement: str) -> float:
        """As the operator wrote it.

        Names are looked up where the role looks them up, and nothing is written.
        """
        with (
            translated(),
            db.connection.transaction(force_rollback=True),
            db.connection.cursor(row_factory=tuple_row) as cursor,
        ):
            db.execute("SET TRANSACTION READ ONLY")
            pin(
                db,
                {"statement_timeout": milliseconds(self.section.timeout_s), "lock_timeout": "1s"},
            )
            cursor.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
        try:
            ((value,),) = rows
            return float(value)
        except (ValueError, TypeError):
            raise ToolError(
                "the query did not give one row with one number",
                "correct its `sql` in `monitoring.sources`",
            ) from None

    def _prometheus(self) -> Prometheus:
        assert self.prometheus is not None  # the parameters are refused where a query has no server
        return self.prometheus

    def _away(self, db: Database) -> str:
        """Why the server's machine cannot be measured from here; asked once."""
        if self._elsewhere is None:
            self._elsewhere = disk.elsewhere(db)
        return self._elsewhere

    def _gauge(self, db: Database) -> host.Gauge:
        if self._measured is None:
            data = next((one.path for one in disk.disk(db) if one.free_bytes is not None), None)
            self._measured = host.Gauge(Path(data) if data else None)
        return self._measured

    def _free(self, db: Database) -> list[Reading]:
        tightest = None if self._disk_named else disk.disk(db).tightest
        return [self._made("disk_free_percent", HERE, tightest.free_percent)] if tightest else []

    @property
    def _disk_named(self) -> bool:
        return any(name in self.sources for name in DISK)

    def _wanted(self, *names: str) -> list[str]:
        """Those for which the parameters name no source."""
        return [name for name in names if name not in self.sources]

    def _look(self, name: str, source: str, look: Callable[[], float]) -> Reading:
        """A reading, or why there is none."""
        try:
            return self._made(name, source, look())
        except (DatabaseError, ToolError, UsageError, OSError, ValueError, psutil.Error) as error:
            return self._made(
                name,
                source,
                why=in_short(error).splitlines()[0],
            )

    def _made(
        self, name: str, source: str, value: float | None = None, why: str = "", epoch: str = ""
    ) -> Reading:
        return Reading(name, stamp(), value, source, self.phase.name, why, epoch)


def _possible(name: str, value: float) -> float:
    """A source's value, where its measure can have it.

    Raises:
        ToolError: it cannot.
    """
    if value < 0 or (
        name.endswith("_percent") and value > 105
    ):  # rates of counters come out a little above 100 now and then
        raise ToolError(
            f"{value:g} is not possible for `{name}`",
            "correct its source in `monitoring.sources`: percent are of 100",
        )
    return value


def take(phase: Phase) -> list[Reading]:
    """Read every measure once, and keep it as evidence."""
    found = Reader(phase).all(phase.db)
    phase.keep("readings", [vars(one) for one in found])
    return found


def gathered(phase: Phase) -> Trends:
    """All readings of the run, with what Prometheus says of its time.

    From the first reading until now.
    """
    kept = [
        Reading(**row)
        for path in sorted((phase.run.folder / "evidence").glob("*.readings*.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]
    first = min((moment(one.at) for one in kept), default=now())
    return trends([*kept, *Reader(phase).over(first, now())], limits(phase))


def disks(phase: Phase, db: Database) -> disk.Disks:
    """Return the server's disks as the parameters' sources tell them.

    Else as they are seen from here, else as Amazon RDS tells them.
    """
    reader = Reader(phase)
    found = {name: reader.sourced(db, name) for name in DISK if name in reader.sources}
    if found:
        return told(found)
    seen = disk.disk(db)
    if not seen.known and isinstance(phase.params.recovery, RdsRecovery):
        return disk.Disks((rds_disk.room(recovery.provider(phase)),))  # type: ignore[arg-type]
    return seen


def told(found: Mapping[str, Reading]) -> disk.Disks:
    """The disk that two of its three numbers tell.

    Unknown where one of them could not be read, or one is all there is.
    """
    percent, free, total = (found[name].value if name in found else None for name in DISK)
    place = f"as {', '.join(sorted({one.source for one in found.values()}))} tells"
    if total is None and free is not None and percent:
        total = free * 100 / percent
    if free is None and total is not None and percent is not None:
        free = total * percent / 100
    why = "; ".join(one.why for one in found.values() if one.why)
    if not why and (free is None or not total):
        why = (
            f"{percent:.0f} % free; how much that is, is not known"
            if percent is not None
            else "one number does not tell it"
        )
        why += ": name sources for two of " + ", ".join(DISK)
    return disk.Disks(
        (
            disk.Disk(disk.DATA, place, why=why)
            if why
            else disk.Disk(disk.DATA, place, int(free or 0), int(total or 0)),
        )
    )


@contextmanager
def recording(phase: Phase) -> Iterator[None]:
    """Read again and again until the block is left, in a session and a thread of its own.

    A source that hangs must not blind the guard.
    """
    recorder = _Recorder(phase)
    recorder.start()
    try:
        yield
    finally:
        recorder.end()
        found = list(recorder.found)
        phase.keep("readings", [vars(one) for one in found])
        phase.keep("beyond_limits", trends(found, limits(phase)).issues())


class _Recorder(threading.Thread):
    """The thread of `recording`."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(daemon=True)
        self.reader, self.found, self.ended = Reader(phase), list[Reading](), threading.Event()
        self._session: Database | None = None

    def end(self) -> None:
        """Stop looking.

        If a source still hangs, its answer is not waited for, and the session is closed: a rollback
        needs the database alone.
        """
        self.ended.set()
        self.join(2)
        if self.is_alive() and self._session:
            self._session.close()

    def run(self) -> None:
        phase = self.reader.phase
        try:
            while not self.ended.is_set():
                try:
                    with Database(
                        phase.target,
                        f"{phase.application_name}-readings",
                        statement_timeout="5s",
                        lock_timeout="1s",
                    ) as self._session:
                        self._look(self._session)
                except DatabaseError as error:
                    self.found += self.reader.unread(error.message)
                    self.ended.wait(EVERY_S)
        finally:
            if not self.ended.is_set():
                phase.say(
                    "the readings for the monitoring list ended by a fault of their own; the "
                    "migration goes on, and so does its guard"
                )

    def _look(self, db: Database) -> None:
        """Look until the end, or until the session is gone.

        Less often the longer it lasts: some 500 times in an hour.
        """
        began, slow_at = time.monotonic(), 0.0
        self.found += self.reader.here(db, host.Gauge.over)
        while not db.connection.closed:
            elapsed = time.monotonic() - began
            if elapsed >= slow_at:
                self.found += self.reader.slow(db)
                slow_at = elapsed + max(SLOW_EVERY_S, elapsed / 60)
            self.found += self.reader.server(db)
            if self.ended.wait(max(EVERY_S, elapsed / 120)):
                return
            self.found += self.reader.here(db, host.Gauge.lap)
