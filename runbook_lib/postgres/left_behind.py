"""Save the rows that a rollback leaves behind.

With the SQL that brings them into the restored database.

    bring_back.sql  psql -X -v ON_ERROR_STOP=1 -f bring_back.sql, in this folder: one transaction,
                    all or nothing
    N_<table>.copy  rows that came or changed since the backup, as COPY writes them
    N_<table>.gone  keys of rows that were deleted since
    manifest.json   what was saved, what was not and why, and the sha256 of every file; written last

It holds rows of data: the folder is its owner's alone. What others wrote is told by the transaction
that each row carries, and what they deleted by the keys that only the restored database has. Rows
of the migration's own transactions are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.postgres import disk
from runbook_lib.postgres.backup import File, hashes, read_manifest, write_manifest
from runbook_lib.postgres.connection import Database, query, translated
from runbook_lib.postgres.dump import create_folder
from runbook_lib.postgres.reading import PINNED, reading
from runbook_lib.postgres.salvage import write_file
from runbook_lib.table import size

FORMAT = 1
SCRIPT = "bring_back.sql"
_NEWER = """CASE WHEN top - mod(top, 4294967296) + x > top
THEN top - mod(top, 4294967296) + x - 4294967296
ELSE top - mod(top, 4294967296) + x END"""


@dataclass(frozen=True)
class Part:
    """What one table leaves behind.

    Args:
        table: qualified and quoted.
        key, columns: by which rows are found again, and that are brought back.
        always: whether one of the columns is an identity that is always generated.
        rows, gone: how many rows came or changed, and were deleted.
        file: of the rows; that of the keys ends in `.gone`.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    always: bool
    file: str
    rows: int = 0
    gone: int = 0

    @property
    def keys_file(self) -> str:
        """Where the keys of the deleted rows are."""
        return self.file.removesuffix(".copy") + ".gone"


@dataclass(frozen=True)
class LeftBehind:
    """A folder of rows that a way back left behind.

    Args:
        unsaved: name → why nothing of it is saved.
        saved_at: ISO 8601, UTC.
        files: path in the folder → size and hash.
        sha256: of the manifest without this entry; names this folder.
    """

    folder: Path
    parts: tuple[Part, ...]
    unsaved: Mapping[str, str]
    saved_at: str
    files: Mapping[str, File]
    sha256: str

    @property
    def bytes(self) -> int:
        """What all its files take."""
        return sum(file.bytes for file in self.files.values())

    @property
    def rows(self) -> int:
        """All rows, the deleted ones among them."""
        return sum(part.rows + part.gone for part in self.parts)


def save(
    live: Database,
    restored: Database,
    folder: Path,
    *,
    then: str,
    names: Collection[str] | None,
    own: Iterable[int] = (),
    head: str,
) -> LeftBehind:
    """Save what others wrote since an instant, while nobody can write any more.

    Args:
        live, restored: sessions on the database that is put aside, and on the one that takes its
        place.
        folder: made here.
        then: which transactions were finished at the instant, as `pg_current_snapshot()` writes it.
        names: of which tables; what is not a table is named as unsaved. `None` for every table.
        own: the transactions of the migration: their rows are left out.
        head: where it comes from, in one line.

    Raises:
        UsageError: there is no room for it.
        DatabaseError: it was refused; the folder then has no manifest.
    """
    there = {row["name"]: row for row in restored.rows(query("left_behind_tables"))}
    with reading(live, statement_timeout_s=4 * 3600, lock_timeout_s=10):
        now = {row["name"]: row for row in live.rows(query("left_behind_tables"))}
        wanted = [name for name in _in_order(there) if name in now]
        chosen = [name for name in wanted if names is None or name in names]
        condition = _condition(then, own)
        _require_room(live, folder, chosen)
        create_folder(folder)
        parts = [
            _saved(live, restored, folder, condition, _part(number, there[name], now[name]))
            for number, name in enumerate(chosen, 1)
        ]
    unsaved = {
        name: "not a table of the restored database: it is kept in the failed database"
        for name in sorted(set(names or ()) - {*chosen})
    }
    unsaved |= {
        part.table: "it has no primary key: its rows are in the file, to be brought back by hand"
        for part in parts
        if part.rows and not part.key
    }
    kept = [part for part in parts if part.rows or part.gone]
    write_file(folder / SCRIPT, [_script(kept, unsaved, head).encode()])
    write_manifest(
        folder,
        {
            "format": FORMAT,
            "saved_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z",
            "head": head,
            "since": then,
            "parts": [asdict(part) for part in kept],
            "unsaved": unsaved,
            "files": {name: asdict(one) for name, one in hashes(folder).items()},
        },
    )
    return load(folder)


def load(folder: Path) -> LeftBehind:
    """What was saved in a folder, as its manifest tells; nothing is verified yet.

    Raises:
        UsageError: there is no manifest, or it cannot be read.
    """
    return read_manifest(folder, FORMAT, "folder of rows that were left behind", _loaded)


def _loaded(data: Mapping[str, Any], folder: Path) -> LeftBehind:
    parts = tuple(
        Part(**{**one, "key": tuple(one["key"]), "columns": tuple(one["columns"])})
        for one in data["parts"]
    )
    files = {name: File(**one) for name, one in data["files"].items()}
    return LeftBehind(folder, parts, data["unsaved"], data["saved_at"], files, str(data["sha256"]))


def _in_order(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The tables, each after those that it refers to; in a circle of references by name."""
    done: dict[str, None] = {}
    left = sorted(tables)
    while left:
        ready = [name for name in left if {*tables[name]["parents"]} <= {*done} | {name}]
        done |= dict.fromkeys(ready or left[:1])
        left = [name for name in left if name not in done]
    return [*done]


def _part(number: int, there: Mapping[str, Any], now: Mapping[str, Any]) -> Part:
    """The columns that both databases have; the key where both have it."""
    columns = tuple(name for name in there["columns"] if name in now["columns"])
    key = tuple(there["key"] or ())
    file = f"{number}_{re.sub('[^A-Za-z0-9_]', '_', there['name'])}.copy"
    known = bool(key) and {*key} <= {*columns}
    return Part(there["name"], key if known else (), columns, there["always"], file)


def _condition(then: str, own: Iterable[int]) -> str:
    """Return SQL that holds for a row written after the instant by none of these transactions."""
    numbers = ", ".join(map(str, sorted(own))) or "0"
    return f"""EXISTS (SELECT FROM (SELECT {_NEWER} AS xid FROM (SELECT t.xmin::text::bigint AS x,
 (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint) AS top) AS raw WHERE x >= 3) AS one
WHERE xid >= 3 AND NOT pg_visible_in_snapshot(xid::text::xid8, '{then}'::pg_snapshot)
AND xid NOT IN ({numbers}))"""


def _saved(live: Database, restored: Database, folder: Path, condition: str, part: Part) -> Part:
    rows = _copied(
        live,
        f"SELECT {', '.join(part.columns)} FROM ONLY {part.table} AS t WHERE {condition}",
        folder / part.file,
    )
    gone = _gone(live, restored, part, folder / part.keys_file) if part.key else 0
    return Part(**{**asdict(part), "rows": rows, "gone": gone})


def _gone(live: Database, restored: Database, part: Part, path: Path) -> int:
    """Save the keys that only the restored database has."""
    keys = ", ".join(part.key)
    with restored.transaction():
        restored.execute(
            f"CREATE TEMPORARY TABLE runbook_keys ON COMMIT DROP AS SELECT {keys} "
            f"FROM {part.table} WITH NO DATA"
        )
        _between(live, f"SELECT {keys} FROM ONLY {part.table}", restored, f"runbook_keys ({keys})")
        return _copied(
            restored,
            f"SELECT {keys} FROM ONLY {part.table} EXCEPT SELECT {keys} FROM pg_temp.runbook_keys",
            path,
        )


def _between(source: Database, select: str, place: Database, table: str) -> None:
    with (
        translated(),
        source.connection.cursor() as one,
        place.connection.cursor() as other,
        one.copy(f"COPY ({select}) TO STDOUT") as out,
        other.copy(f"COPY pg_temp.{table} FROM STDIN") as into,
    ):
        for chunk in out:
            into.write(bytes(chunk))


def _copied(db: Database, select: str, path: Path) -> int:
    with translated(), db.connection.cursor() as cursor:
        with cursor.copy(f"COPY ({select}) TO STDOUT") as copy:
            write_file(path, copy)
        count = cursor.rowcount
    if not count:
        path.unlink()
    return count


def _require_room(live: Database, folder: Path, names: Sequence[str]) -> None:
    """Room for the largest that it can be: every row of these tables."""
    needed = sum(live.value("SELECT pg_table_size(to_regclass(%s))", [name]) or 0 for name in names)
    place = disk.room(folder)
    if place.free_bytes is not None and place.free_bytes < min(needed, 2**30):
        raise UsageError(
            f"no room to save the rows that the way back leaves behind: up to {size(needed)}, "
            f"{size(place.free_bytes)} are free in {place.path}",
            "make room; nothing was swapped",
        )


def _script(parts: Sequence[Part], unsaved: Mapping[str, str], head: str) -> str:
    told = [
        f"--     {part.table}: {part.rows} rows that came or changed, {part.gone} that were deleted"
        for part in parts
    ]
    notes = [f"-- NOT brought back: {name} ({why})" for name, why in unsaved.items()]
    keyed = [(number, part) for number, part in enumerate(parts, 1) if part.key]
    return "\n".join(
        [
            "-- Brings back what others wrote, and a way back left behind:",
            *(" ".join(line.splitlines()) for line in told),
            f"-- {head}",
            "-- Run it in this folder, on the restored database, before the application writes: a "
            "row that is there is overwritten.",
            "--     psql -X -v ON_ERROR_STOP=1 -f bring_back.sql 'host=… dbname=…'",
            "-- One transaction: all of it, or nothing. Triggers fire.",
            *(" ".join(line.splitlines()) for line in notes),
            r"\set ON_ERROR_STOP on",
            "BEGIN;",
            *(
                f"SELECT set_config('{name}', '{value}', true);"
                for name, value in PINNED.items()
                if name != "idle_in_transaction_session_timeout"
            ),
            *(line for number, part in reversed(keyed) for line in _delete(number, part)),
            *(line for number, part in keyed for line in _upsert(number, part)),
            "SET CONSTRAINTS ALL IMMEDIATE;",
            "COMMIT;",
            "",
        ]
    )


def _delete(number: int, part: Part) -> Iterator[str]:
    if part.gone:
        keys = ", ".join(part.key)
        same = " AND ".join(f"t.{name} = g.{name}" for name in part.key)
        yield (
            f"CREATE TEMPORARY TABLE gone_{number} ON COMMIT DROP AS SELECT {keys} "
            f"FROM {part.table} WITH NO DATA;"
        )
        yield f"\\copy pg_temp.gone_{number} FROM '{part.keys_file}'"
        yield f"DELETE FROM ONLY {part.table} AS t USING pg_temp.gone_{number} AS g WHERE {same};"


def _upsert(number: int, part: Part) -> Iterator[str]:
    if part.rows:
        columns, rest = ", ".join(part.columns), [c for c in part.columns if c not in part.key]
        sets = ", ".join(f"{name} = excluded.{name}" for name in rest)
        then = f"UPDATE SET {sets}" if rest else "NOTHING"
        always = " OVERRIDING SYSTEM VALUE" if part.always else ""
        yield (
            f"CREATE TEMPORARY TABLE came_{number} ON COMMIT DROP AS SELECT {columns} "
            f"FROM {part.table} WITH NO DATA;"
        )
        yield f"\\copy pg_temp.came_{number} FROM '{part.file}'"
        yield (
            f"INSERT INTO {part.table} ({columns}){always} SELECT {columns} "
            f"FROM pg_temp.came_{number} "
            f"ON CONFLICT ({', '.join(part.key)}) DO {then};"
        )
