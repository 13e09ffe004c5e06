"""Saves columns and tables before they are dropped, with the SQL that reinstates them.

    reinstate.sql   psql -X -v ON_ERROR_STOP=1 -f reinstate.sql, in this folder: one transaction,
                    all or nothing
    functions.sql   the words that it uses
    tables.sql      tables and sequences as pg_dump writes them, without foreign keys and
                    attachments of partitions
    view_N.sql      each view that stood on them
    N_<table>.copy  key and values of a table's columns, as COPY writes them
    manifest.json   what was saved and when, and the sha256 of every file above and of itself;
                    written last

It holds rows of data: the folder is its owner's alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.postgres import disk, reinstate
from runbook_lib.postgres.backup import File, flush, hashes, read_manifest, write_manifest
from runbook_lib.postgres.connection import Database, query, translated
from runbook_lib.postgres.dump import create_folder, require_unchanged, row_files
from runbook_lib.postgres.fingerprint import Column, Method, ordered, row_hash
from runbook_lib.postgres.health import server_facts
from runbook_lib.postgres.program import failures_named
from runbook_lib.postgres.reading import pin, reading
from runbook_lib.postgres.snapshot import ExportedSnapshot
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools, spelled
from runbook_lib.process import run
from runbook_lib.table import Shown, Table, size, text

FORMAT = 1
_NOT_YET = re.compile(rb"\d+; \d+ \d+ (FK CONSTRAINT|TABLE ATTACH|INDEX ATTACH) ")
"""Entries of a dump that reinstate.sql makes itself, at the end: rows and tables that they need may
be gone.
"""


@dataclass(frozen=True)
class Part:
    """Rows that were saved: of a table, or of columns of one.

    Args:
        table: qualified and quoted.
        columns: whose values were saved; of a whole table all but the generated ones.
        key: the columns by which the rows are found again; empty for a whole table, and where there
            is none.
        kind: "table", "columns", or "whole rows" where the table has no key.
        file: where they are.
        rows, fingerprint, bytes: how many, what they hold, and how long they are as text.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    kind: str
    file: str
    rows: int = 0
    fingerprint: str = ""
    bytes: int = 0

    @property
    def read(self) -> tuple[str, ...]:
        """The columns in the file, in their order."""
        return self.key + self.columns

    @property
    def hash(self) -> str:
        """The SQL of one row's hash; of text, so that it is the same on every server."""
        return row_hash(ordered([Column(name, "") for name in self.read]), Method.MD5)


@dataclass(frozen=True)
class Found:
    """What of the names that will be dropped is there, as the queries tell it.

    Args:
        columns, tables, things, enums: rows of `queries/salvage_*.sql`.
        views: that stand on them, in the order in which they can be made.
        absent: names that are not there.
        unsaved: what cannot be saved this way, and why.
    """

    columns: tuple[Mapping[str, Any], ...]
    tables: tuple[Mapping[str, Any], ...]
    things: tuple[Mapping[str, Any], ...]
    enums: tuple[Mapping[str, Any], ...]
    views: tuple[str, ...]
    absent: tuple[str, ...]
    unsaved: tuple[tuple[str, str], ...]

    @property
    def by_table(self) -> dict[str, list[Mapping[str, Any]]]:
        """The columns of each table."""
        grouped: dict[str, list[Mapping[str, Any]]] = {}
        for column in self.columns:
            grouped.setdefault(column["table"], []).append(column)
        return grouped

    def parts(self) -> list[Part]:
        """What is to be read."""
        made = [
            Part(row["name"], tuple(row["columns"]), (), "table", "tables.sql")
            for row in self.tables
            if not row["partitioned"] and not row["foreign"]
        ]
        for number, (table, columns) in enumerate(self.by_table.items(), 1):
            values = tuple(column["name"] for column in columns if not column["generated"])
            key, every = columns[0]["key"], columns[0]["every"]
            file = f"{number}_{re.sub('[^A-Za-z0-9_]', '_', table)}.copy"
            if values and key:
                made.append(Part(table, values, tuple(key), "columns", file))
            elif values:
                made.append(Part(table, tuple(every), (), "whole rows", file))
        return made


@dataclass(frozen=True)
class Saved(Shown):
    """A folder of what was saved.

    Args:
        source: the database and server, without the user.
        system_identifier, database_oid: of the database that it belongs to.
        taken_at, lsn: the instant that it shows, ISO 8601, UTC.
        tools: version of pg_dump.
        columns, tables, views: what was saved, by name; generated columns by their expression
        alone.
        parts: the rows.
        unsaved: what goes with them and is not brought back, and why.
        files: path in the folder → size and hash.
        sha256: of the manifest without this entry; names this folder.
    """

    folder: Path
    source: str
    system_identifier: str
    database_oid: int
    application_name: str
    taken_at: str
    lsn: str
    tools: str
    columns: tuple[str, ...]
    tables: tuple[str, ...]
    views: tuple[str, ...]
    parts: tuple[Part, ...]
    unsaved: tuple[tuple[str, str], ...]
    files: Mapping[str, File]
    sha256: str

    @property
    def bytes(self) -> int:
        """What all its files take."""
        return sum(file.bytes for file in self.files.values())

    @property
    def rows(self) -> int:
        """All rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def script(self) -> Path:
        """The SQL that brings it back."""
        return self.folder / "reinstate.sql"

    def table(self) -> Table:
        """What was saved."""
        rows: list[Sequence[Any]] = [
            (
                part.table,
                "all" if part.kind == "table" else part.columns,
                part.key or _KEYLESS[part.kind],
                part.rows,
                part.file,
            )
            for part in self.parts
        ]
        rows += [
            (name, "–", "a view: its definition", None, f"view_{number}.sql")
            for number, name in enumerate(self.views, 1)
        ]
        rows += [(name, "–", f"not saved: {why}", None, "") for name, why in self.unsaved]
        marks = [""] * (len(rows) - len(self.unsaved)) + ["unknown"] * len(self.unsaved)
        title = (
            f"Saved as of {self.taken_at}: {text(self.rows)} rows, {size(self.bytes)}, in "
            f"{self.folder}"
        )
        return Table(title, ("table", "columns", "found again by", "rows", "file"), rows, marks)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and for evidence; no rows."""
        return {"format": FORMAT, **asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: Path) -> Saved:
        """What `as_dict` gave, of the folder."""
        names = {key: tuple(data[key]) for key in ("columns", "tables", "views")}
        parts = tuple(
            Part(**{**part, "columns": tuple(part["columns"]), "key": tuple(part["key"])})
            for part in data["parts"]
        )
        rest = {key: value for key, value in data.items() if key != "format"}
        return cls(
            **{
                **rest,
                **names,
                "folder": folder,
                "parts": parts,
                "unsaved": tuple((name, why) for name, why in data["unsaved"]),
                "files": {name: File(**file) for name, file in data["files"].items()},
            }
        )


_KEYLESS = {"table": "–", "columns": "–", "whole rows": "no key: whole rows, for a table beside it"}


def find(
    db: Database, columns: Iterable[str], tables: Iterable[str], views: Iterable[str] = ()
) -> Found:
    """What is there of columns, tables and views that will be dropped, and what goes with them.

    Args:
        columns, tables, views: qualified names as PostgreSQL writes them, e.g.
        `public."Patient"."insurerName"`.
    """
    wanted = {
        "columns": sorted(set(columns)),
        "tables": sorted(set(tables)),
        "views": sorted(set(views)),
    }
    with reading(db):
        _name(db, wanted)
        dropped = db.rows(query("salvage_tables"))
        gone = {row["name"] for row in dropped}
        found = [row for row in db.rows(query("salvage_columns")) if row["table"] not in gone]
        there = gone | {f"{row['table']}.{row['name']}" for row in found}
        saved = [
            row for row in found if not row["inherited"] and row["alone"] and not row["foreign"]
        ]
        _name(
            db,
            {
                **wanted,
                "tables": sorted(gone),
                "columns": [f"{row['table']}.{row['name']}" for row in saved],
            },
        )
        things = db.rows(query("salvage_parts"))
        unsaved = [
            (row["name"], "its rows are on another server") for row in dropped if row["foreign"]
        ]
        unsaved += [
            (
                f"{row['table']}.{row['name']}",
                "its values are on another server"
                if row["foreign"]
                else "other tables inherit from its table",
            )
            for row in found
            if not row["inherited"] and row not in saved
        ]
        unsaved += [
            (row["what"], "stands on what is dropped, and has to be made again by hand")
            for row in things
            if row["statement"] is None
        ]
        for row in saved:
            row["last"] = _last(db, row["sequence"]) if row["identity"] else None
        return Found(
            tuple(saved),
            tuple(dropped),
            tuple(row for row in things if row["statement"]),
            tuple(db.rows(query("salvage_enums"))),
            tuple(row["name"] for row in db.rows(query("salvage_views"))),
            tuple(
                name
                for name in wanted["columns"] + wanted["tables"]
                if name not in there and not _under(name, gone)
            ),
            tuple(unsaved),
        )


def save(
    at: ExportedSnapshot,
    target: Target,
    folder: Path,
    application_name: str,
    *,
    columns: Sequence[str],
    tables: Sequence[str],
    views: Sequence[str] = (),
    tools: Tools,
    timeout_s: float = 4 * 3600,
    on_line: Callable[[str], None] = lambda line: None,
) -> Saved:
    """Save what will be dropped, as of an instant.

    Args:
        at: the instant.
        folder: made here; its name must not be taken.
        columns, tables, views: as `find` takes them. What is not there is passed over.
        timeout_s: seconds that each statement and each program may take.
        on_line: told what is done.

    Raises:
        UsageError: the folder exists, or there is no room for it; nothing was touched.
        ToolError, DatabaseError: it failed. The folder then has no manifest, and nothing is saved.
    """
    with reading(at.db, statement_timeout_s=timeout_s, lock_timeout_s=10):
        before, found, facts = (
            row_files(at.db),
            find(at.db, columns, tables, views),
            server_facts(at.db),
        )
        parts = tuple(_measured(at.db, part) for part in found.parts())
        _require_room(folder, 2 * sum(part.bytes + 100 * part.rows for part in parts) + 100_000)
        create_folder(folder)
        for part in parts:
            on_line(f"saving {part.rows} rows of {part.table}")
            if part.kind != "table":
                _copy(at.db, part, folder / part.file)
        dump = _Dump(target, folder, application_name, tools, at.id, at.db.encoding, timeout_s)
        relations = [row["name"] for row in found.tables] + [
            row["sequence"] for row in found.columns if row["sequence"] and not row["identity"]
        ]
        if relations:
            dump.tables(relations)
        for number, view in enumerate(found.views, 1):
            dump.plain([view], f"view_{number}.sql")
    require_unchanged(target, application_name, before)
    head = (
        f"saved from {target} as of {at.time.isoformat(timespec='seconds')}, LSN {at.lsn}, by "
        f"{application_name}"
    )
    write_file(folder / "functions.sql", [query("salvage_functions").encode()])
    write_file(
        folder / "reinstate.sql",
        [reinstate.script(found, parts, head, facts.server_version_num, bool(relations)).encode()],
    )
    names = tuple(f"{row['table']}.{row['name']}" for row in found.columns)
    write_manifest(
        folder,
        Saved(
            folder,
            str(target),
            facts.system_identifier,
            facts.database_oid,
            application_name,
            at.time.isoformat(timespec="milliseconds"),
            at.lsn,
            tools.version,
            names,
            tuple(row["name"] for row in found.tables),
            found.views,
            parts,
            found.unsaved,
            hashes(folder),
            "",
        ).as_dict(),
    )
    return load(folder)


def load(folder: Path) -> Saved:
    """What was saved in a folder, as its manifest tells; nothing is verified yet.

    Raises:
        UsageError: there is no manifest, or it cannot be read.
    """
    return read_manifest(Path(folder), FORMAT, "folder of saved data", Saved.from_dict)


def _name(db: Database, names: Mapping[str, Sequence[str]]) -> None:
    """Tell the queries of what."""
    pin(db, {f"runbook.{kind}": json.dumps(list(value)) for kind, value in names.items()})


def _under(name: str, tables: Iterable[str]) -> bool:
    return any(name.startswith(f"{table}.") for table in tables)


def _last(db: Database, sequence: str) -> str:
    """Where a sequence stands, as the arguments of `setval`."""
    row = db.row(f"SELECT last_value, is_called FROM {sequence}") or {}
    return f"{row['last_value']}, {'true' if row['is_called'] else 'false'}"


def _measured(db: Database, part: Part) -> Part:
    only = "ONLY " if part.kind == "table" else ""
    length = f"octet_length(ROW({', '.join(part.read)})::text)" if part.read else "0"
    row = (
        db.row(
            f"SELECT count(*) AS rows, coalesce(sum({part.hash}), 0)::text AS fingerprint, "
            f"coalesce(sum({length}), 0)::bigint AS bytes "
            f"FROM {only}{part.table}"
        )
        or {}
    )
    return replace(part, **row)


def _require_room(folder: Path, needed: int) -> None:
    place = disk.room(folder)
    if place.free_bytes is None:
        raise UsageError(
            f"the room in {folder.parent} is not known: {place.why}",
            "name another `backup.directory`",
        )
    if place.free_bytes < needed:
        raise UsageError(
            f"no room to save what will be dropped: about {size(needed)} are needed, "
            f"{size(place.free_bytes)} are free in {place.path}",
            "make room, or name another `backup.directory`",
        )


def _copy(db: Database, part: Part, path: Path) -> None:
    statement = f"COPY (SELECT {', '.join(part.read)} FROM {part.table}) TO STDOUT"
    with translated(), db.connection.cursor() as cursor, cursor.copy(statement) as copy:
        write_file(path, copy)


def write_file(path: Path, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write a file that only its owner may read, and have it on the disk."""
    path.touch(0o600)
    try:
        with path.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}; nothing is saved",
            "remove the folder, make room, and repeat",
        ) from None


@dataclass(frozen=True)
class _Dump:
    """pg_dump of single relations as of the instant."""

    target: Target
    folder: Path
    application_name: str
    tools: Tools
    snapshot_id: str
    encoding: str
    timeout_s: float

    def plain(self, names: Sequence[str], file: str, *options: str) -> None:
        """These relations, as SQL or in the form that the options ask for."""
        (self.folder / file).touch(0o600)
        self._run(
            "pg_dump",
            *options,
            f"--snapshot={self.snapshot_id}",
            f"--encoding={self.encoding}",
            "--lock-wait-timeout=10000",
            "--strict-names",
            "--no-password",
            *(f"--table={name}" for name in names),
            "-f",
            file,
        )

    def tables(self, names: Sequence[str]) -> None:
        """These tables and sequences, without what reinstate.sql makes itself."""
        self.plain(names, "tables.dump", "-Fc", "-Z", spelled("none", self.tools.major))
        self._run("pg_restore", "-l", "-f", "contents", "tables.dump")
        contents = self.folder / "contents"
        contents.write_bytes(
            b"".join(
                line for line in contents.read_bytes().splitlines(True) if not _NOT_YET.match(line)
            )
        )
        (self.folder / "tables.sql").touch(0o600)
        self._run("pg_restore", "-L", "contents", "-f", "tables.sql", "tables.dump")
        for name in ("contents", "tables.dump"):
            (self.folder / name).unlink()
        flush(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        with failures_named(program, "nothing is saved"):
            run(
                [self.tools.path(program), *arguments],
                cwd=self.folder,
                env=self.target.environment(self.application_name),
                timeout_s=self.timeout_s,
                remedy="remove the folder and repeat",
            )
