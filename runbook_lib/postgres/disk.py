"""How much room the server has left, where that can be known from here; where not, that is said."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table, size

DATA = "data directory"
"""The place of everything that is in no tablespace."""


@dataclass(frozen=True)
class Disk:
    """One place where the server keeps tables.

    Args:
        place: "data directory", a tablespace, or "write-ahead log" where that lies elsewhere.
        free_bytes, total_bytes: of its file system; `None` where it cannot be known from here.
        why: why it cannot be known.
    """

    place: str
    path: str
    free_bytes: int | None = None
    total_bytes: int | None = None
    why: str = ""

    @property
    def free_percent(self) -> float | None:
        """Part of the file system that is free."""
        return (
            100 * self.free_bytes / self.total_bytes
            if self.free_bytes is not None and self.total_bytes
            else None
        )


LOG = "write-ahead log"
"""The place of the write-ahead log, where that lies on another disk than the tables."""


@dataclass(frozen=True)
class Need:
    """What is about to be written on the server, in bytes.

    Args:
        log: write-ahead log, all of it kept.
        growth: by how much the database is larger at most.
        beside: a restored copy of it, until the way back has swapped it in.
    """

    log: int = 0
    growth: int = 0
    beside: int = 0

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.log + self.growth + self.beside

    def at(self, place: str, apart: bool) -> int:
        """What of it may go to one place; which tablespace grows is not told apart, so each may.

        Args:
            apart: whether the write-ahead log has a disk of its own.
        """
        return (
            self.log
            if place == LOG
            else self.growth + self.beside
            if apart or place != DATA
            else self.bytes
        )


@dataclass(frozen=True)
class Disks(Shown):
    """All places where the server keeps this database's tables, and its write-ahead log."""

    items: tuple[Disk, ...]

    def __iter__(self) -> Iterator[Disk]:
        return iter(self.items)

    @property
    def known(self) -> bool:
        """Whether every place could be measured."""
        return all(disk.free_bytes is not None for disk in self.items)

    @property
    def tightest(self) -> Disk | None:
        """The place with the smallest free part, where every place is known."""
        return min(self.items, key=lambda disk: disk.free_percent or 0) if self.known else None

    @property
    def why_unknown(self) -> str:
        """Why the places that are not known are not."""
        return "; ".join(f"{disk.place}: {disk.why}" for disk in self.items if disk.why)

    def after(self, need: Need) -> Disks:
        """The same once what is needed was written."""
        apart = any(disk.place == LOG for disk in self.items)
        return Disks(
            tuple(
                disk
                if disk.free_bytes is None
                else replace(disk, free_bytes=disk.free_bytes - need.at(disk.place, apart))
                for disk in self.items
            )
        )

    def table(self) -> Table:
        """One row a place."""
        rows = [
            (d.place, d.path, size(d.free_bytes), size(d.total_bytes), d.free_percent, d.why)
            for d in self
        ]
        return Table(
            "Room on the server's disks",
            ("place", "path", "free", "of", "free %", "not known because"),
            rows,
            ["unknown" if d.why else "" for d in self],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "disks": [asdict(disk) | {"free_percent": disk.free_percent} for disk in self.items]
        }


def disk(db: Database) -> Disks:
    """The room that is left where the server keeps this database's tables.

    It is known only where the server proves to run on this machine, by the system identifier in the
    data directory that is seen here, or by the process that serves this session: a forwarded port
    or a container would show another disk.
    """
    return Disks(tuple(_places(db, "disk_places", {})))


def tablespace(db: Database, name: str) -> Disk:
    """The room that is left where a new database in that tablespace would go.

    Known under the same conditions.
    """
    gone = Disk(DATA, "", why=f"the server has no tablespace {name}")
    return next(_places(db, "disk_tablespace", {"tablespace": name}), gone)


def _places(db: Database, question: str, parameters: Mapping[str, str]) -> Iterator[Disk]:
    if not _loopback(db.target):
        yield Disk(DATA, "", why=f"the server {db.target.host} is another machine")
        return
    try:
        data = _data_directory(db)
        places = db.rows(query(question), {**parameters, "data": data})
        identifier = db.value(query("disk_server"))
    except DatabaseError as error:
        yield Disk(DATA, "", why=error.message)
        return
    proven = _proven(db, Path(data), identifier)
    if question == "disk_places" and proven and (Path(data) / "pg_wal").is_symlink():
        places.append({"place": LOG, "path": str(Path(data) / "pg_wal")})
    for row in places:
        yield (
            _measured(row["place"], row["path"])
            if proven
            else Disk(
                row["place"],
                row["path"],
                why="that folder is not here, or cannot be proven to be this server's",
            )
        )


def _data_directory(db: Database) -> str:
    """Return the disk as the server tells it.

    If this role may not be told: where the process works that serves this session, if that is seen
    here.

    Raises:
        DatabaseError: neither.
    """
    try:
        return str(db.value("SELECT current_setting('data_directory')"))
    except DatabaseError as error:
        if error.sqlstate != "42501" or elsewhere(db):
            raise
        try:
            return psutil.Process((db.row(query("disk_session")) or {})["pid"]).cwd()
        except psutil.Error:
            raise error from None


def room(folder: Path | str) -> Disk:
    """The room that is left on this machine where `folder` is, or will be made."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return _measured("local", str(path))


def _measured(place: str, path: str) -> Disk:
    try:
        found = os.statvfs(path)
    except OSError as error:
        return Disk(place, path, why=error.strerror or type(error).__name__)
    return Disk(place, path, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def _proven(db: Database, data: Path, identifier: int) -> bool:
    """Whether the data directory seen here is the server's.

    One that this user may not read into is, where the server runs here.
    """
    try:
        return system_identifier(data) == identifier % 2**64
    except PermissionError:
        return not elsewhere(db)
    except (OSError, struct.error):
        return False


def elsewhere(db: Database) -> str:
    """Why the server is not known to run on this machine; empty where it does.

    That is proven by the process that serves this session: here, under that number, begun in the
    same second. Behind a forwarded port, or in a container, it has another number or is not seen at
    all.

    Raises:
        DatabaseError: the server does not answer.
    """
    if not _loopback(db.target):
        return f"the server {db.target.host} is another machine"
    (row,) = db.sessions(query("disk_session"))
    try:
        process = psutil.Process(row["pid"])
        same = "postgres" in process.name() and abs(process.create_time() - row["started"]) < 2
    except psutil.Error:
        same = False
    return (
        ""
        if same
        else f"{db.target.host} leads to a server whose processes are not seen on this machine"
    )


def system_identifier(data: Path) -> int:
    """The system identifier of a data directory: its pg_control begins with it.

    Raises:
        OSError, struct.error: there is no such file, or it is cut.
    """
    with (data / "global" / "pg_control").open("rb") as file:
        return int(struct.unpack("=Q", file.read(8))[0])


def _loopback(target: Target) -> bool:
    if target.host == "localhost" or target.host.startswith("/"):
        return True
    try:
        return ip_address(target.host).is_loopback
    except ValueError:
        return False
