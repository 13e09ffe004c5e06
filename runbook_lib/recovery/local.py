"""Provider `local`: a base backup and the archived WAL of a server whose archive this machine sees.

The recovered server is a copy of the base backup under `<base backups>/recovered_<point>/`, on
loopback and a free port, with a configuration of its own: it archives nothing, preloads nothing,
subscribes to nothing, and so writes nowhere else.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, attempt, check, unknown
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.disk import room
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.server import LocalServer, give
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import programs
from runbook_lib.recovery import archive, base, point
from runbook_lib.recovery.point import RestorePoint
from runbook_lib.recovery.recovered import Recovered, Say, prove
from runbook_lib.table import size

MARK = "restore_point.json"
"""Written into a recovered server's folder before anything else: proves it ours, and for which
point.
"""
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "ssl": "off",
    "archive_mode": "off",
    "hot_standby": "off",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_prepared_transactions": "100",
    "max_locks_per_transaction": "1024",
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "lc_messages": "C",
    "log_min_messages": "warning",
    "recovery_target_action": "promote",
    "recovery_target_timeline": "current",
}
_ARRIVES_S = 60.0


@dataclass(frozen=True)
class Local:
    """One server's base backups and WAL archive, as seen from here.

    Args:
        archive: the folder into which the server's archive_command copies WAL, unchanged.
        base_backups: folder of the base backups, and of recovered servers.
        max_age_hours: how old a base backup may be.
        system_identifier: of the server.
        tools: where to look first for the server's programs.
        deadline_s: seconds that a recovery may take.
    """

    archive: Path
    base_backups: Path
    max_age_hours: float
    system_identifier: str
    application_name: str
    tools: Path | None = None
    deadline_s: float = 4 * 3600

    def checks(self, db: Database) -> list[Check]:
        """Whether a recovery can work, before it is needed."""
        return [
            attempt(
                "recovery.archiving", "the server archives its WAL", lambda: self._archiving(db)
            ),
            attempt(
                "recovery.arrives",
                "the archive seen from here receives this server's WAL",
                lambda: self._arrives(db),
            ),
            attempt(
                "recovery.base",
                "there is a base backup, whole, of this server, young enough",
                lambda: self._base(db),
            ),
            attempt("recovery.room", "there is room for a recovered server", self._room),
        ]

    def young(self) -> base.BaseBackup | None:
        """The newest base backup, where it is of this server and young enough."""
        found = base.newest(self.base_backups)
        return (
            found
            if found
            and found.system_identifier == self.system_identifier
            and found.age_hours <= self.max_age_hours
            else None
        )

    def make_base(self, target: Target, say: Say | None = None) -> base.BaseBackup:
        """A new base backup, verified.

        Raises:
            ToolError: it failed.
            UsageError: there is no room, or the server keeps tablespaces elsewhere, which this
                provider does not copy.
        """
        with Database(target, self.application_name) as db:
            facts, needed = db.row(query("recovery_facts")) or {}, db.value(query("recovery_size"))
        if facts["tablespaces"]:
            raise UsageError(
                f"the server has tablespaces ({', '.join(facts['tablespaces'])}), which the "
                "provider `local` does not copy",
                "use `recovery: provider: command` with pgBackRest or Barman",
            )
        free = room(self.base_backups).free_bytes
        if free is not None and free < needed:
            raise UsageError(
                f"{self.base_backups} has {size(free)} free, the server's databases take "
                f"{size(needed)}",
                "make room, or name another `recovery.base_backups`",
            )
        return base.make(
            target,
            self.base_backups,
            self.application_name,
            programs=self._programs(facts["major"]),
            on_line=say,
        )

    def suitable(self, to: RestorePoint) -> base.BaseBackup:
        """The base backup from which a point can be reached.

        Raises:
            UsageError: there is none, it is of another server, or WAL is missing.
        """
        found = base.newest(self.base_backups, to)
        if found is None:
            raise UsageError(
                f"there is no base backup in {self.base_backups} that is older than the restore "
                f"point {to.label}",
                "restore the dump instead",
            )
        if found.system_identifier != self.system_identifier:
            raise UsageError(
                f"{found.folder} is of another server: system identifier "
                f"{found.system_identifier}, not {self.system_identifier}",
                "keep the base backups of each server in a folder of their own",
            )
        if found.timeline != to.timeline:
            raise UsageError(
                f"{found.folder.name} is of timeline {found.timeline}, the restore point of "
                f"timeline {to.timeline}: the server was promoted in between",
                "recover by hand, across the timelines",
            )
        return found

    def missing(self, source: base.BaseBackup, to: RestorePoint) -> list[str]:
        """WAL segments that the way from a base backup to the point needs and the archive lacks."""
        return archive.missing(
            self.archive, point.position(source.end_lsn), to, source.segment_bytes
        )

    def recover(self, to: RestorePoint, live: Target, say: Say = lambda line: None) -> Recovered:
        """Bring up a server beside the live one, at the point.

        Called again after an interruption, it goes on or begins anew.

        Args:
            live: the database on the live server, which may be down: it is not asked.

        Raises:
            UsageError: it cannot work; nothing was copied.
            ToolError: the recovery ended elsewhere; its log is named.
            CheckError: what came up is not what it should be.
        """
        started, source = time.monotonic(), self.suitable(to)
        folder = self._programs(source.major)
        server = self._server(to, folder)
        left = server.process() is not None
        if not left:
            base.verify(source.folder, folder)
            self._require_wal(source, to, folder, say)
            self.discard(to)
            self._copy(source, server, to, say)
        with _stopped_on_error(server):
            self._replay(server, to, source, say)
            target = replace(live, host="127.0.0.1", port=server.port, options={}, prisma={})
            proof = prove(target, None, to, self.system_identifier, self.application_name)
        say(f"recovered from {source.folder.name} to {to.label}, on port {server.port}")
        return Recovered(
            to,
            target,
            f"base backup {source.folder.name}",
            None if left else time.monotonic() - started,
            proof,
        )

    def discard(self, to: RestorePoint) -> None:
        """Stop the recovered server of a point, and remove its folder.

        Nothing happens where there is none.

        Raises:
            UsageError: the folder is not marked as ours.
        """
        place = self.place(to)
        if not place.exists():
            return
        if (
            not (place / MARK).exists()
            or json.loads((place / MARK).read_text(encoding="utf-8")) != to.as_dict()
        ):
            raise UsageError(
                f"{place} is not removed: it is not marked as the recovered server of this "
                "restore point",
                "look at it, and move it away",
            )
        LocalServer(place, place, {}).stop("immediate")
        shutil.rmtree(place)

    def place(self, to: RestorePoint) -> Path:
        """The folder of the recovered server of a point."""
        return self.base_backups / f"recovered_{to.label}"

    def _programs(self, major: int) -> Path:
        return programs(base.PROGRAMS, major, self.tools)

    def _server(self, to: RestorePoint, folder: Path) -> LocalServer:
        command = f'cp {shlex.quote(str(self.archive).replace("%", "%%"))}/%f "%p"'
        target = (
            {"recovery_target_name": to.name}
            if to.name
            else {"recovery_target_lsn": to.lsn, "recovery_target_inclusive": "off"}
        )
        return LocalServer(
            self.place(to), folder, {**SETTINGS, **target, "restore_command": command}
        )

    def _require_wal(
        self, source: base.BaseBackup, to: RestorePoint, folder: Path, say: Say
    ) -> None:
        """Check that every segment up to the point's is there, whole, and safe to replay here.

        That of the point may still be on its way.
        """
        archive.await_segment(self.archive, to.segment, _ARRIVES_S, say)
        lacking = self.missing(source, to)
        if lacking:
            raise UsageError(
                f"the archive {self.archive} lacks {len(lacking)} WAL segments between "
                f"{source.folder.name} and {to.label}: {', '.join(lacking[:5])}",
                "copy them from the server's pg_wal where they are still there, or restore the "
                "dump instead",
            )
        say("reading the WAL up to the point")
        if made := archive.tablespaces(self.archive, source.end_lsn, to, folder):
            raise UsageError(
                f"a tablespace was made between {source.folder.name} and {to.label} ({made}): "
                "replaying that would write into the live server's files",
                "make a new base backup with another provider, or restore the dump instead",
            )

    def _copy(
        self, source: base.BaseBackup, server: LocalServer, to: RestorePoint, say: Say
    ) -> None:
        server.folder.mkdir(mode=0o700)
        (server.folder / MARK).write_text(json.dumps(to.as_dict()), encoding="utf-8")
        ticker, done = Ticker(say), 0

        def one(path: str, copy: str) -> str:
            nonlocal done
            shutil.copy2(path, copy)
            give(Path(copy))
            done += Path(copy).stat().st_size
            ticker(f"copied {size(done)} of {size(source.bytes)}")
            return copy

        shutil.copytree(source.folder, server.data, copy_function=one)
        for path in (server.data, *(path for path in server.data.rglob("*") if path.is_dir())):
            give(path)
        self._configure(server)

    @staticmethod
    def _configure(server: LocalServer) -> None:
        """Files of our own in the place of the live server's.

        Everything else is given on the command line.
        """
        files = {
            "postgresql.conf": "",
            "postgresql.auto.conf": "",
            "pg_hba.conf": "host all all 127.0.0.1/32 md5\n",
            "pg_ident.conf": "",
            "recovery.signal": "",
        }
        for name, text in files.items():
            (server.data / name).write_text(text, encoding="utf-8")
            give(server.data / name)
        (server.data / "standby.signal").unlink(missing_ok=True)

    def _replay(
        self, server: LocalServer, to: RestorePoint, source: base.BaseBackup, say: Say
    ) -> None:
        """Start the server if it is not running; wait until it has replayed and been promoted."""
        names, ticker, started = (
            archive.span(point.position(source.end_lsn), to, source.segment_bytes),
            Ticker(say),
            time.monotonic(),
        )
        launched = None if server.process() else server.launch()
        while not server.running():
            if launched.poll() is not None if launched else server.process() is None:
                raise ToolError(
                    f"the recovery to {to.label} failed: {_cause(server)}",
                    f"read {server.log}",
                    output=server.last_lines(20),
                )
            if time.monotonic() - started > self.deadline_s:
                raise ToolError(
                    f"the recovery to {to.label} was ended after {self.deadline_s:.0f} s",
                    "allow more (`recovery.deadline_minutes`)",
                )
            at = _replaying(server)
            ticker(
                f"replaying WAL: segment {names.index(at) + 1} of {len(names)}"
                if at in names
                else "recovering"
            )
            time.sleep(0.05)

    def _archiving(self, db: Database) -> Check:
        row: dict[str, Any] = db.row(query("recovery_facts")) or {}
        title, remedy = (
            "the server archives its WAL",
            "set archive_mode and archive_command, restart, and see what the server's log says",
        )
        if row["archive_mode"] == "off":
            return check("recovery.archiving", title, False, "archive_mode is off", "on", remedy)
        last, failed = row["last_archived_time"], row["last_failed_time"]
        good = last is not None and (failed is None or failed < last)
        found = f"last {row['last_archived_wal'] or 'none'}" + (
            f", last failure {row['last_failed_wal']} at {failed:%Y-%m-%d %H:%M:%S} UTC"
            if failed
            else ""
        )
        return check("recovery.archiving", title, good, found, "the last attempt succeeded", remedy)

    def _arrives(self, db: Database) -> Check:
        """Return the end that is seen with a segment of this moment, if the role may close one.

        Else with the last one archived.
        """
        id, title = "recovery.arrives", "the archive seen from here receives this server's WAL"
        facts: dict[str, Any] = db.row(query("recovery_facts")) or {}
        fresh = facts["may_name"] and facts["may_switch"] and not facts["standby"]
        name = point.make(db, "runbook_probe").segment if fresh else facts["last_archived_wal"]
        found = archive.await_segment(self.archive, name or "", _ARRIVES_S if fresh else 0)
        if found is None:
            return check(
                id,
                title,
                False,
                f"{name or 'nothing'} is not in {self.archive}",
                "the segment, whole",
                "`recovery.archive` is the folder into which archive_command copies, as this "
                "machine sees it",
            )
        return check(
            id,
            title,
            found.system_identifier == self.system_identifier,
            f"{name}, of system {found.system_identifier}"
            + ("" if fresh else ", the last that was archived"),
            f"of system {self.system_identifier}",
            "correct `recovery.archive`",
        )

    def _base(self, db: Database) -> Check:
        id, title, remedy = (
            "recovery.base",
            "there is a base backup, whole, of this server, young enough",
            "run 30_backup: it makes one",
        )
        now = db.row(query("recovery_instant")) or {}
        here = RestorePoint("", now["lsn"], "", now["segment"])
        try:
            found = self.suitable(here)
            base.verify(found.folder, self._programs(found.major))
        except UsageError as error:
            return check(id, title, False, error.message, "one", remedy)
        except ToolError as error:
            return check(id, title, False, error.message, "one", error.remedy)
        return check(
            id,
            title,
            found.age_hours <= self.max_age_hours,
            f"{found.folder.name}, verified, {found.age_hours:.1f} h old",
            f"at most {self.max_age_hours:g} h",
            remedy,
        )

    def _room(self) -> Check:
        id, title = "recovery.room", "there is room for a recovered server"
        found = base.newest(self.base_backups)
        free = room(self.base_backups).free_bytes
        if found is None or free is None:
            return unknown(
                id,
                title,
                "there is no base backup to measure"
                if found is None
                else "the disk cannot be measured",
            )
        return check(
            id,
            title,
            free > 1.2 * found.bytes,
            f"{size(free)} free, a copy takes {size(found.bytes)}",
            "a fifth more than the base backup",
            "make room",
        )


@contextmanager
def _stopped_on_error(server: LocalServer) -> Iterator[None]:
    try:
        yield
    except BaseException:
        server.stop("immediate")
        raise


def _replaying(server: LocalServer) -> str:
    """The segment that the startup process names in its title; "" where it names none."""
    return next(
        (title.split()[-1] for title in server.titles() if "startup recovering" in title), ""
    )


def _cause(server: LocalServer) -> str:
    lines = [
        line.partition("FATAL:")[2].strip()
        for line in server.last_lines(50).splitlines()
        if "FATAL:" in line
    ]
    return lines[-1] if lines else "its server ended"
