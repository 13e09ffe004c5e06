"""Base backups: copies of a server's whole data directory, each file of them with a checksum.

    <folder>/base_<UTC time>/    what pg_basebackup wrote, verified before it was given this name

What one is, is read from its own files: pg_control, PG_VERSION and backup_manifest.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import ToolError, UsageError
from runbook_lib.postgres.disk import system_identifier
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.target import Target
from runbook_lib.process import run
from runbook_lib.recovery.point import RestorePoint, position
from runbook_lib.table import Shown, Table, size

PROGRAMS = ("postgres", "pg_basebackup", "pg_verifybackup", "pg_waldump")
_ASIDE = "move it out of that folder: the one before it is then used, or 30_backup makes a new one"
OnLine = Callable[[str], None] | None


@dataclass(frozen=True)
class BaseBackup(Shown):
    """One base backup.

    Args:
        folder: where it is; a data directory.
        made_at: ISO 8601, UTC.
        major: the server's major version.
        timeline: the server's, then.
        end_lsn: from here on a recovery needs the archive; only later points can be reached.
        segment_bytes: how large the server's WAL segments are.
    """

    folder: Path
    made_at: str
    system_identifier: str
    major: int
    timeline: int
    end_lsn: str
    segment_bytes: int
    bytes: int

    @property
    def age_hours(self) -> float:
        """Hours since it was begun."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.made_at)).total_seconds() / 3600

    def table(self) -> Table:
        """What a person wants to know about it."""
        rows = [
            (key.replace("_", " "), size(value) if "bytes" in key else str(value))
            for key, value in asdict(self).items()
        ]
        return Table(f"Base backup {self.folder.name}", ("what", "value"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"folder": str(self.folder)}


def make(
    target: Target, folder: Path, application_name: str, *, programs: Path, on_line: OnLine = None
) -> BaseBackup:
    """Copy the server's data directory with pg_basebackup, and verify the copy.

    Args:
        folder: of all base backups of this server.
        programs: folder of the server's own programs.

    Raises:
        ToolError: it failed, or is damaged; nothing of it is kept. (A killed attempt leaves a
            folder `….part`.)
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"base_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    part = folder / f"{name}.part"
    ticker = Ticker(on_line)
    try:
        run(
            [
                str(programs / "pg_basebackup"),
                "-D",
                str(part),
                "--wal-method=stream",
                "--checkpoint=fast",
                "--manifest-checksums=SHA256",
                "--progress",
                "--no-password",
            ],
            env=target.environment(application_name),
            on_line=lambda line: ticker(f"base backup: {line.strip()}"),
            remedy="the role needs REPLICATION, and pg_hba.conf a line for the database "
            "`replication`",
        )
        verify(part, programs)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(folder / name)
    return read(folder / name)


def verify(folder: Path, programs: Path) -> None:
    """Compare every file with the checksum in the manifest, and parse the WAL that it needs.

    Raises:
        ToolError: the base backup is damaged.
    """
    done = run([str(programs / "pg_verifybackup"), "--quiet", str(folder)], check=False)
    if done.status:
        said = "; ".join(
            line.partition("error: ")[2] or line for line in done.output.splitlines()[:3]
        )
        raise ToolError(
            f"the base backup {folder.name} is damaged: {said}",
            _ASIDE,
            status=done.status,
            output=done.output,
        )


def read(folder: Path) -> BaseBackup:
    """The base backup in a folder, by its own files; nothing is verified yet.

    Raises:
        UsageError: it is none, or damaged.
    """
    try:
        manifest = json.loads((folder / "backup_manifest").read_text(encoding="utf-8"))
        wal, label = (
            manifest["WAL-Ranges"][-1],
            (folder / "backup_label").read_text(encoding="utf-8"),
        )
        started = re.search(r"START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", label)
        return BaseBackup(
            folder,
            datetime.strptime(folder.name, "base_%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat(),
            str(system_identifier(folder)),
            int((folder / "PG_VERSION").read_text()),
            wal["Timeline"],
            wal["End-LSN"],
            (folder / "pg_wal" / started[1]).stat().st_size,  # type: ignore[index]
            sum(path.lstat().st_size for path in folder.rglob("*")),
        )
    except (OSError, struct.error, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{folder} is no whole base backup: {type(error).__name__}: {error}", _ASIDE
        ) from None


def newest(folder: Path, before: RestorePoint | None = None) -> BaseBackup | None:
    """The newest base backup from which a point can be reached, or the newest of all.

    None where there is none.

    Raises:
        UsageError: one that would be looked at cannot be read.
    """
    for path in sorted(
        (path for path in folder.glob("base_*") if path.suffix != ".part"), reverse=True
    ):
        found = read(path)
        if before is None or position(found.end_lsn) <= before.position:
            return found
    return None
