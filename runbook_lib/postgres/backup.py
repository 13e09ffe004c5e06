"""A backup on disk: a folder and a `manifest.json` that is written last.

It describes every file and the instant that the backup shows.

    dump/           pg_dump's directory format
    schema.sql      the schema as SQL, for people and for diffing
    globals.sql     roles without passwords, tablespaces; missing where the role may not read them
                    (the manifest says why)
    database.json   the database's own owner, locale, privileges, settings and comment
    catalog.json    the schema as data
    manifest.json   everything else, and the sha256 of every file above and of itself

A folder without a manifest is no backup. It holds data, and settings that may be secret: the folder
is its owner's alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from runbook_lib.check import Check, Checks, check
from runbook_lib.errors import UsageError
from runbook_lib.postgres.catalog import Catalog
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.table import Shown, Table, size, text

MANIFEST = "manifest.json"
FORMAT = 1
T = TypeVar("T")
_REMEDY = "do not restore from it: use an older backup, or make a new one"


@dataclass(frozen=True)
class File:
    """One file of a backup: its size in bytes and its sha256."""

    bytes: int
    sha256: str


class Sealed(Protocol):
    """A folder whose files a manifest describes."""

    @property
    def folder(self) -> Path:
        """Where it is."""

    @property
    def files(self) -> Mapping[str, File]:
        """Path in the folder → size and hash."""

    @property
    def bytes(self) -> int:
        """What all its files take."""

    @property
    def sha256(self) -> str:
        """Of the manifest without this entry."""


@dataclass(frozen=True)
class Backup(Shown):
    """A finished backup.

    Args:
        folder: where it is.
        source: the database and server that it shows, without the user.
        application_name: who made it.
        finished_at: ISO 8601, UTC.
        tools: version of pg_dump that wrote it; only its own major version or a newer one reads it.
        compression, jobs: how it was written.
        snapshot: what the database held at the instant of the dump.
        globals_missing: why there is no globals.sql; empty where there is one.
        files: path in the folder → size and hash.
        seconds: what each step took.
        sha256: of the manifest without this entry; names this backup.
    """

    folder: Path
    source: str
    application_name: str
    finished_at: str
    tools: str
    compression: str
    jobs: int
    snapshot: Snapshot
    globals_missing: str
    files: Mapping[str, File]
    seconds: Mapping[str, float]
    sha256: str

    @property
    def bytes(self) -> int:
        """What all its files take."""
        return sum(file.bytes for file in self.files.values())

    @property
    def dump(self) -> Path:
        """pg_dump's folder."""
        return self.folder / "dump"

    def catalog(self) -> Catalog:
        """The schema at the instant of the dump."""
        return Catalog.from_dict(_json(self.folder / "catalog.json"))

    def database(self) -> dict[str, Any]:
        """Owner, locale, privileges, settings and comment of the database.

        Settings may be secret.
        """
        return _json(self.folder / "database.json")

    def table(self) -> Table:
        """What a person wants to know about it."""
        shot = self.snapshot
        rows = [
            ("folder", str(self.folder)),
            ("database", self.source),
            ("shows the instant", f"{shot.taken_at} (LSN {shot.lsn})"),
            (
                "size",
                f"{size(self.bytes)} in {len(self.files)} files, of a database of "
                f"{size(shot.database_bytes)}",
            ),
            (
                "holds",
                f"{text(len(shot.tables))} tables, {text(shot.rows)} rows; content by "
                f"{shot.method}",
            ),
            (
                "made with",
                f"pg_dump {self.tools}, {self.compression}, {self.jobs} jobs, server "
                f"{shot.server_version}",
            ),
            ("seconds", ", ".join(f"{step} {took:.1f}" for step, took in self.seconds.items())),
            ("globals", self.globals_missing or "globals.sql"),
            ("sha256 of the manifest", self.sha256),
        ]
        return Table(f"Backup of {shot.database}", ("what", "value"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and for evidence; no settings, no rows."""
        rest = {
            key: value
            for key, value in self.__dict__.items()
            if key not in ("folder", "snapshot", "files")
        }
        files = {name: asdict(file) for name, file in self.files.items()}
        return {"format": FORMAT, **rest, "files": files, "snapshot": self.snapshot.as_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: Path) -> Backup:
        """What `as_dict` gave, of the backup in `folder`."""
        files = {name: File(**file) for name, file in data["files"].items()}
        rest = {key: value for key, value in data.items() if key != "format"}
        return cls(
            **{
                **rest,
                "folder": folder,
                "files": files,
                "snapshot": Snapshot.from_dict(data["snapshot"]),
            }
        )


def load(folder: Path | str) -> Backup:
    """The backup in a folder, as its manifest tells; nothing is verified yet.

    Raises:
        UsageError: there is no manifest, or it cannot be read.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} is no backup: {_what_it_is(folder)}", "use another backup")
    return read_manifest(folder, FORMAT, "backup", Backup.from_dict)


def _what_it_is(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    if not (folder / "catalog.json").exists():
        return f"it has no {MANIFEST}, and none of a backup's other files"
    return (
        f"it has no {MANIFEST}, which is written last: the dump is still at work, or it was "
        "killed; nothing in it is usable, and a killed one can be removed"
    )


def unfinished(directory: Path) -> tuple[Path, ...]:
    """Return the folders in `directory` that dumps have begun and not finished.

    By the files that they write first and last.
    """
    return tuple(
        sorted(
            path.parent
            for path in directory.glob("*/catalog.json")
            if not (path.parent / MANIFEST).exists()
        )
    )


def seal(backup: Backup) -> Backup:
    """Write the manifest, at once and for good; the backup with its name (`sha256`)."""
    write_manifest(backup.folder, backup.as_dict())
    return load(backup.folder)


def read_manifest(
    folder: Path, form: int, what: str, made: Callable[[Mapping[str, Any], Path], T]
) -> T:
    """What a sealed folder's manifest tells.

    Args:
        form: the format that is understood.
        what: what the folder is to hold, for errors.
        made: builds the result from the manifest's content and the folder.

    Raises:
        UsageError: there is no manifest, or it cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} is no {what}: it has no {MANIFEST}, which is written last", "use another one"
        )
    try:
        data = _json(folder / MANIFEST)
        if data["format"] != form:
            raise UsageError(
                f"{folder / MANIFEST} has format {data['format']}, this version reads {form}",
                "use the version that wrote it",
            )
        return made(data, folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder / MANIFEST} is damaged: {type(error).__name__}", _REMEDY
        ) from None


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Seal a folder: its manifest, with its own hash, is there whole or not at all."""
    data = {**content, "sha256": ""}
    data["sha256"] = _own_hash(data)
    part = folder / (MANIFEST + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(_spelled(data))
        file.flush()
        os.fsync(file.fileno())
    part.chmod(0o600)
    part.rename(folder / MANIFEST)
    flush(folder)


def flush(folder: Path) -> None:
    """Bring a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hashes(folder: Path, jobs: int = 2) -> dict[str, File]:
    """Size and sha256 of every file in the folder but the manifest, by path."""
    names = sorted(_files(folder))
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(names, pool.map(lambda name: _file(folder / name), names), strict=True))


def foreign_files(backup: Sealed) -> list[str]:
    """Return the paths in a backup's folder that its manifest does not name."""
    return sorted(set(_files(backup.folder)) - backup.files.keys())


def verify_hashes(backup: Sealed, jobs: int = 2) -> Checks:
    """Read every file again and compare it with the manifest.

    Missing, cut, altered or foreign files are all found.

    Args:
        jobs: files read at the same time.
    """
    with ThreadPoolExecutor(jobs) as pool:
        damages = pool.map(
            lambda name: _damage(backup.folder, name, backup.files[name]), sorted(backup.files)
        )
    wrong = list(filter(None, damages))
    extra = foreign_files(backup)
    found = f"{len(backup.files)} files, {size(backup.bytes)}"
    return Checks(
        f"Files of {backup.folder.name}",
        (
            _manifest_check(backup),
            check(
                "backup.files",
                "every file is as it was written",
                not wrong,
                _some(wrong) or found,
                "the manifest's sizes and sha256",
                _REMEDY,
            ),
            check(
                "backup.extra",
                "no file was added",
                not extra,
                _some(extra) or "none",
                "none",
                "find out who wrote into the backup's folder",
            ),
        ),
    )


def _manifest_check(backup: Sealed) -> Check:
    title = "the manifest is as it was written"
    try:
        spelling = (backup.folder / MANIFEST).read_text(encoding="utf-8")
        data = json.loads(spelling)
        good = data.get("sha256") == _own_hash(data) == backup.sha256 and spelling == _spelled(data)
        return check(
            "backup.manifest",
            title,
            good,
            "intact" if good else "altered",
            "its own sha256",
            _REMEDY,
        )
    except (OSError, ValueError, AttributeError) as error:
        return check(
            "backup.manifest",
            title,
            False,
            f"cannot be read: {type(error).__name__}",
            "its own sha256",
            _REMEDY,
        )


def _spelled(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1)


def _own_hash(data: Mapping[str, Any]) -> str:
    canonical = json.dumps(
        {key: value for key, value in data.items() if key != "sha256"}, sort_keys=True
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _damage(folder: Path, name: str, expected: File) -> str:
    try:
        found = _file(folder / name)
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    if found.bytes != expected.bytes:
        return f"{name} has {found.bytes} instead of {expected.bytes} bytes"
    return f"{name} was altered" if found != expected else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            name = path.relative_to(folder).as_posix()
            if name != MANIFEST:
                yield name


def _file(path: Path) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return File(path.stat().st_size, digest.hexdigest())


def _json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data
