"""The project's migration files against the database's `_prisma_migrations`.

What is applied, pending, failed, changed.

`prisma migrate status` does not tell all of this: it never says that an applied file was edited,
and while files are pending it does not say that one has failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.check import Check, Checks, check, unknown
from runbook_lib.errors import UsageError
from runbook_lib.prisma import edited
from runbook_lib.prisma.edited import Edit
from runbook_lib.prisma.output import refused
from runbook_lib.table import Shown, Table

if TYPE_CHECKING:
    from runbook_lib.prisma.project import Project

Bytes = bytes  # where a field of that name hides the type
TABLE = "_prisma_migrations"
"""Where Prisma keeps its history: in the schema that the URL names. A database that was never
migrated has none.
"""

ROWS = (Path(__file__).parent / "queries" / "migrations.sql").read_text(encoding="utf-8")
"""The question for the rows that `compare` takes; `{table}` stands for the qualified name of the
table.
"""


@dataclass(frozen=True)
class MigrationFile:
    """One migration on disk.

    Args:
        name: of its folder; Prisma applies them in the order of names.
        path: of its `migration.sql`.
        sha256: of the file's bytes: Prisma's checksum.
        sql: its text; empty where it is not UTF-8.
        bytes: its length.
        problem: why its text cannot be read; empty where it can.
    """

    name: str
    path: Path
    sha256: str
    sql: str = field(repr=False)
    bytes: int
    problem: str = ""

    @classmethod
    def read(cls, path: Path) -> MigrationFile:
        """The file at `path`, in the folder that names it."""
        return cls.of(path, path.read_bytes())

    @classmethod
    def of(cls, path: Path, raw: Bytes) -> MigrationFile:
        """The file at `path` with these bytes in it."""
        try:
            text, problem = raw.decode("utf-8"), ""
        except UnicodeDecodeError as error:
            text, problem = "", f"byte {error.start + 1} is not UTF-8"
        return cls(path.parent.name, path, hashlib.sha256(raw).hexdigest(), text, len(raw), problem)

    def matches(self, checksum: str) -> bool:
        """Whether it is the file of that checksum.

        As to Prisma, other line ends make no other file.
        """
        if checksum == self.sha256:
            return True
        raw = (
            self.path.read_bytes().decode("utf-8", "replace").encode()
            if self.problem
            else self.sql.encode()
        )  # as Prisma reads it
        digests = [
            hashlib.sha256(data).digest()
            for data in (raw, raw.replace(b"\r\n", b"\n"), raw.replace(b"\n", b"\r\n"))
        ]
        written = "{:02x}" if len(checksum) == 64 else "{:x}"  # an early Prisma left the zeros out
        return any("".join(map(written.format, digest)) == checksum for digest in digests)


class State(Enum):
    """How one migration stands."""

    APPLIED = "applied"
    PENDING = "pending"
    UNFINISHED = "failed or still running"
    ROLLED_BACK = "rolled back, pending again"
    EDITED = "applied, and edited on disk since"
    MISSING = "applied, and missing on disk"

    @property
    def mark(self) -> str:
        """The row mark of `runbook_lib.table.Table`."""
        return {"applied": "good", "pending": "", "rolled back, pending again": ""}.get(
            self.value, "bad"
        )


@dataclass(frozen=True)
class Entry:
    """One migration, on disk, in the database, or both.

    Args:
        name: of its folder.
        state: how it stands.
        file: on disk; None where it is missing there.
        checksum: in the database.
        started_at, finished_at, rolled_back_at: as the database has them, of the row that counts.
        reason: of a failure: the SQLSTATE and the first line that PostgreSQL said, without data.
        out_of_order: pending, though its name stands before one that is applied.
    """

    name: str
    state: State
    file: MigrationFile | None = None
    checksum: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    rolled_back_at: datetime | None = None
    reason: str = ""
    out_of_order: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        times = {
            key: value.isoformat() if (value := getattr(self, key)) else None
            for key in ("started_at", "finished_at", "rolled_back_at")
        }
        return {
            "name": self.name,
            "state": self.state.value,
            "sha256": self.file.sha256 if self.file else None,
            "checksum": self.checksum,
            "reason": self.reason,
            "out_of_order": self.out_of_order,
            **times,
        }


@dataclass(frozen=True)
class History(Shown):
    """All migrations, in the order in which Prisma applies them."""

    entries: tuple[Entry, ...]

    def _names(self, *states: State) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries if entry.state in states)

    @property
    def applied(self) -> tuple[str, ...]:
        """Names of those that the database has, in order, whatever became of their files."""
        return self._names(State.APPLIED, State.EDITED, State.MISSING)

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of those that `migrate deploy` would apply, in order.

        Those that were rolled back are among them.
        """
        return self._names(State.PENDING, State.ROLLED_BACK)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of those that were begun and not finished: failed, or still running."""
        return self._names(State.UNFINISHED)

    @property
    def rolled_back(self) -> tuple[str, ...]:
        """Names of those marked as rolled back and not applied since."""
        return self._names(State.ROLLED_BACK)

    @property
    def edited(self) -> tuple[str, ...]:
        """Names of those whose file is not the one that was applied."""
        return self._names(State.EDITED)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those applied whose file is gone."""
        return self._names(State.MISSING)

    @property
    def out_of_order(self) -> tuple[str, ...]:
        """Names of those pending that stand before one that is applied."""
        return tuple(entry.name for entry in self.entries if entry.out_of_order)

    @property
    def pending_files(self) -> tuple[MigrationFile, ...]:
        """The pending files, in order."""
        return tuple(
            entry.file for entry in self.entries if entry.name in self.pending and entry.file
        )

    @cached_property
    def edits(self) -> tuple[Edit, ...]:
        """What became of the files that are not those that were applied."""
        return tuple(
            edited.look(entry.file, entry.checksum)
            for entry in self.entries
            if entry.state is State.EDITED and entry.file
        )

    def departures(self) -> list[str]:
        """Where applied files and history came apart, in ways that Prisma allows.

        A person decides on exactly these.
        """
        edited = [
            f"{entry.name} is edited (sha256 {entry.file.sha256[:16]})"
            for entry in self.entries
            if entry.state is State.EDITED and entry.file
        ]
        return [*edited, *(f"{name} has no file" for name in self.missing)]

    def checks(self) -> Checks:
        """Whether files and database fit together: what is unfinished stops.

        What Prisma allows, a person decides on.
        """
        unnumbered = [name for name in self.pending if not name[:1].isdigit()]
        return Checks(
            "Migration history",
            [
                _none(
                    "history.failed",
                    "no migration is left unfinished",
                    self._failures(),
                    "find out whether it failed or still runs, and what landed, before you "
                    "resolve it: 95_troubleshoot",
                ),
                _decided(
                    "history.edited",
                    "no applied file was edited",
                    [str(edit) for edit in self.edits],
                    "restore the files as they were applied, and write a new migration for the "
                    "change; or approve: `prisma migrate deploy` does not look at them",
                ),
                _decided(
                    "history.missing",
                    "every applied migration has its file",
                    self.missing,
                    "restore the folders from version control; or approve, where they were "
                    "squashed or removed on purpose: `prisma migrate deploy` applies what is "
                    "pending all the same",
                ),
                _decided(
                    "history.order",
                    "no pending file stands before an applied one",
                    self.out_of_order,
                    "make sure that it does not need what came after it, and approve: `prisma "
                    "migrate deploy` applies it; or number it anew if it was never applied "
                    "anywhere",
                ),
                check(
                    "history.numbered",
                    "the names of pending files say their order",
                    True,
                    f"remark: {', '.join(unnumbered)} begin with no number: Prisma applies in the "
                    "order of names"
                    if unnumbered
                    else "all do",
                ),
            ],
        )

    def _failures(self) -> list[str]:
        return [
            entry.name + (f" ({entry.reason})" if entry.reason else "")
            for entry in self.entries
            if entry.state is State.UNFINISHED
        ]

    def table(self) -> Table:
        """The migrations as rows."""
        rows = [
            (
                entry.name,
                entry.state.value + (", out of order" if entry.out_of_order else ""),
                f"{entry.finished_at:%Y-%m-%d %H:%M:%S} UTC" if entry.finished_at else None,
                entry.reason,
            )
            for entry in self.entries
        ]
        title = f"{len(self.applied)} migrations applied, {len(self.pending)} pending" + (
            f", {len(self.failed)} unfinished" if self.failed else ""
        )
        return Table(
            title,
            ("migration", "state", "applied at", "reason"),
            rows,
            [entry.state.mark for entry in self.entries],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"entries": [entry.as_dict() for entry in self.entries]}


def _decided(id: str, title: str, found: Sequence[str], remedy: str) -> Check:
    """Nothing that does harm by itself, and nothing that a program can judge."""
    if not found:
        return check(id, title, True, "none", "none")
    return unknown(id, title, "; ".join(found), "none", remedy)


def _none(id: str, title: str, names: Sequence[str], remedy: str) -> Check:
    return check(id, title, not names, ", ".join(names) or "none", "none", remedy)


def files(project: Project) -> tuple[MigrationFile, ...]:
    """The project's migrations, in the order in which Prisma applies them.

    Raises:
        UsageError: a folder without `migration.sql`: Prisma would refuse all of them (P3015).
    """
    found = []
    assert project.migrations is not None, "the project was located when it was opened"
    for folder in sorted(path for path in project.migrations.iterdir() if path.is_dir()):
        path = folder / "migration.sql"
        if not path.is_file():
            raise UsageError(
                f"the migration folder {folder.name} has no migration.sql",
                f"restore the file, or remove the folder {folder}",
            )
        found.append(MigrationFile.read(path))
    return tuple(found)


def compare(files: Sequence[MigrationFile], rows: Sequence[Mapping[str, Any]]) -> History:
    """How files and rows fit together.

    Args:
        files: on disk.
        rows: of `_prisma_migrations`, see `ROWS`; none where the table is not there.
    """
    on_disk = {file.name: file for file in files}
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["migration_name"], []).append(row)
    entries = [
        _entry(name, on_disk.get(name), by_name.get(name, []))
        for name in sorted({*on_disk, *by_name})
    ]
    last = max(
        (entry.name for entry in entries if entry.finished_at and not entry.rolled_back_at),
        default="",
    )
    kept = [entry for entry in entries if entry.file or entry.state is not State.ROLLED_BACK]
    return History(tuple(_ordered(entry, last) for entry in kept))


def _ordered(entry: Entry, last: str) -> Entry:
    return (
        replace(entry, out_of_order=True)
        if entry.state in (State.PENDING, State.ROLLED_BACK) and entry.name < last
        else entry
    )


def _entry(name: str, file: MigrationFile | None, rows: Sequence[Mapping[str, Any]]) -> Entry:
    """A migration may have several rows: tried, rolled back, tried again.

    One that was applied counts, else one that is unfinished.
    """
    standing = [row for row in rows if not row["rolled_back_at"]]
    row = next(
        (row for row in standing if row["finished_at"]),
        standing[-1] if standing else rows[-1] if rows else None,
    )
    if row is None:
        return Entry(name, State.PENDING, file)
    if row["rolled_back_at"]:
        state = State.ROLLED_BACK
    elif not row["finished_at"]:
        state = State.UNFINISHED
    elif file is None:
        state = State.MISSING
    else:
        state = State.APPLIED if file.matches(row["checksum"]) else State.EDITED
    return Entry(
        name,
        state,
        file,
        row["checksum"],
        row["started_at"],
        row["finished_at"],
        row["rolled_back_at"],
        reason(row["logs"]) if not row["finished_at"] else "",
    )


def reason(logs: str | None) -> str:
    """What the server refused, in what Prisma logged, by its fields.

    Everything else may quote rows.
    """
    return refused(logs or "")
