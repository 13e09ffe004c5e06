"""Makes a backup: one instant, dumped in parallel, described by a manifest that is written last."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import DatabaseError, RunbookError, ToolError, UsageError
from runbook_lib.postgres import catalog, databases, snapshot
from runbook_lib.postgres.backup import Backup, File, flush, hashes, seal
from runbook_lib.postgres.connection import NO_DDL, Database, query, translated
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.parallel import Ticker
from runbook_lib.postgres.program import MORE_LOCKS, Progress, carry_out, failures_named, remedy_of
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools, spelled
from runbook_lib.process import run
from runbook_lib.table import size

OnLine = Callable[[str], None] | None
SAMPLE_BYTES = 4 * 1024 * 1024
"""How much of each of the largest tables is compressed to predict the size of a dump."""


@dataclass(frozen=True)
class Prediction:
    """How large a dump will be.

    Args:
        bytes: predicted size of the whole backup.
        basis: what that was predicted from.
    """

    bytes: int
    basis: str

    def __str__(self) -> str:
        return f"{size(self.bytes)} ({self.basis})"


def make(
    target: Target,
    folder: Path | str,
    application_name: str,
    *,
    tools: Tools,
    jobs: int = 2,
    compression: str = "auto",
    columns: Mapping[str, Sequence[Sequence[str]]] | None = None,
    method: Method = Method.HASH,
    lock_timeout_s: float = 30,
    timeout_s: float | None = None,
    expected_bytes: int | None = None,
    on_line: OnLine = None,
) -> Backup:
    """Dump a database, and describe what the dump has to hold.

    Args:
        folder: made here; its name must not be taken.
        jobs: sessions of pg_dump, and sessions that read content.
        compression: "auto", "none", or as `pg_dump -Z` takes it.
        columns, method: of the fingerprints, see `snapshot.take`; `fingerprint.method_for` chooses
        a method.
        lock_timeout_s, timeout_s: seconds that any statement waits for a lock, and that pg_dump may
        take (default no limit).
        expected_bytes: how large it will be (`predicted_size`), to tell how long it still takes.
        on_line: told what is done and how far it is.

    Raises:
        UsageError: the folder exists, or the tools cannot do it; nothing was touched.
        RunbookError: it failed: ToolError, DatabaseError, or a file could not be written. The
            folder is removed again.
    """
    folder, compression = Path(folder), tools.compression(compression)
    ticker = Ticker(on_line)
    seconds: dict[str, float] = {}
    with ExitStack() as instant:
        at = instant.enter_context(
            snapshot.exported(target, application_name, lock_timeout_s=lock_timeout_s)
        )
        _require_fit(at.db, tools)
        _require_locks(at.db, ticker)
        create_folder(folder)
        with _removed_where_it_fails(folder):
            before = _describe(at.db, folder, lock_timeout_s)
            with _timed(seconds, "dump"):
                progress = Progress(
                    ticker, "dumped", len(before), lambda: _written(folder), expected_bytes
                )
                _pg_dump(
                    target,
                    folder,
                    application_name,
                    tools,
                    jobs,
                    compression,
                    at.id,
                    at.db.encoding,
                    lock_timeout_s,
                    timeout_s,
                    progress,
                    databases.sees_subscriptions(at.db),
                )
            with _timed(seconds, "content"):
                shot = snapshot.take(
                    target,
                    application_name,
                    jobs=jobs,
                    columns=columns,
                    at=at,
                    method=method,
                    lock_timeout_s=lock_timeout_s,
                    on_progress=on_line,
                )
            instant.close()
            require_unchanged(target, application_name, before)
            missing, files = _beside(target, folder, application_name, tools, jobs, seconds)
            ticker(f"backup in {folder} finished", last=True)
            now, took = (
                datetime.now(UTC).isoformat(timespec="seconds"),
                {step: round(took, 3) for step, took in seconds.items()},
            )
            return seal(
                Backup(
                    folder,
                    str(target),
                    application_name,
                    now,
                    tools.version,
                    compression,
                    jobs,
                    shot,
                    missing,
                    files,
                    took,
                    "",
                )
            )


def _beside(
    target: Target,
    folder: Path,
    application_name: str,
    tools: Tools,
    jobs: int,
    seconds: dict[str, float],
) -> tuple[str, dict[str, File]]:
    """Write schema and globals beside the dump.

    Why the globals are missing, if they are, and the hash of every file.
    """
    with _timed(seconds, "schema and globals"):
        _schema(folder, tools)
        missing = _globals(target, folder, application_name, tools)
    with _timed(seconds, "hashes"):
        files = hashes(folder, jobs)
        _require_whole(folder, tools, files)
    return missing, files


def predicted_size(db: Database, past: Backup | None = None) -> Prediction:
    """How large a backup of this database will be.

    By the ratio of a past one, else by compressing a sample of the rows.

    Args:
        past: an earlier backup of the same database, made with the same compression.

    Raises:
        DatabaseError: the tables cannot be read.
    """
    with reading(db):
        tables = [row for row in db.rows(query("snapshot_relations")) if row["kind"] == "table"]
        stored = sum(map(_stored, tables))
        if past:
            was = sum(
                state.total_bytes - state.index_bytes for state in past.snapshot.tables.values()
            )
            return Prediction(
                round(past.bytes * max(stored, 1) / max(was, 1)),
                f"by the backup of {past.finished_at}",
            )
        largest = [row for row in sorted(tables, key=_stored)[-8:] if row["heap_bytes"]]
        samples = [_sample(db, row) for row in largest]
    known, read = sum(map(_stored, largest)), sum(sample[0] for sample in samples)
    predicted = sum(sample[1] for sample in samples) * stored / known if known else 0.0
    return Prediction(round(predicted) + 200_000, f"by compressing a sample of {size(read)}")


def _stored(row: Mapping[str, Any]) -> int:
    """What the rows of a table take on disk."""
    return int(row["heap_bytes"] + row["toast_bytes"])


def _sample(db: Database, row: Mapping[str, Any]) -> tuple[int, float]:
    """Bytes of a sample of a table's rows, and what all its rows will take compressed.

    The rows are not kept.
    """
    percent = min(100.0, 100 * SAMPLE_BYTES / _stored(row))
    packer, packed, rows, read = zlib.compressobj(1), 0, 0, 0
    statement = (
        f"COPY (SELECT * FROM ONLY {row['name']} TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE "
        "(1) LIMIT 50000) TO STDOUT"
    )
    with translated(), db.connection.cursor() as cursor, cursor.copy(statement) as copy:
        for data in copy:
            packed, rows, read = (
                packed + len(packer.compress(data)),
                rows + bytes(data).count(b"\n"),
                read + len(data),
            )
    packed += len(packer.flush())
    if not rows:
        return read, float(_stored(row))
    return read, packed / rows * row["estimated_rows"] if row[
        "estimated_rows"
    ] > 0 else packed * 100 / percent


def _require_locks(db: Database, ticker: Ticker) -> None:
    """Refuse where the lock table cannot hold a lock on each table.

    It would run full for the application, too.

    Its nominal size is exceeded by borrowed memory; measured, about twice as much fits.
    """
    row = db.row(query("dump_locks")) or {}
    said = (
        f"the dump locks {row['needed']} tables, the server's lock table is made for "
        f"{row['available']} locks"
    )
    if row["needed"] > 2 * row["available"]:
        raise UsageError(said, MORE_LOCKS)
    if row["needed"] > row["available"]:
        ticker(f"warning: {said}", last=True)


def _require_fit(db: Database, tools: Tools) -> None:
    server = db.server_version // 10000
    if tools.major < server:
        raise UsageError(
            f"pg_dump {tools.version} in {tools.folder} cannot dump a server of version {server}",
            f"name tools of version {server} in `database: tools:`",
        )


def create_folder(folder: Path) -> None:
    """A new folder that only its owner may look into.

    Raises:
        UsageError: its name is taken, or it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(
            f"{folder} exists already; what was saved is never overwritten", "choose another folder"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}", "choose a folder that can be written"
        ) from None


@contextmanager
def _removed_where_it_fails(folder: Path) -> Iterator[None]:
    """Remove the folder that was begun: it is no backup, and may be what fills the disk."""
    try:
        yield
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = error.strerror or type(error).__name__
        raise RunbookError(
            f"the backup failed, {folder} is no backup: {said}, while writing "
            f"{Path(error.filename or folder).name}",
            remedy_of(said) or "correct it and repeat",
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _written(folder: Path) -> int:
    """Bytes that pg_dump has written so far; it makes its folder first."""
    return sum(path.stat().st_size for path in (folder / "dump").glob("*"))


def _describe(db: Database, folder: Path, lock_timeout_s: float) -> dict[str, int]:
    """Write the schema and the database's own facts as of the instant.

    Which file holds the rows of each table.
    """
    _write(folder / "catalog.json", catalog.read(db, lock_timeout_s=lock_timeout_s).as_dict())
    _write(folder / "database.json", db.row(query("dump_database")) or {})
    return row_files(db)


def row_files(db: Database) -> dict[str, int]:
    """Which file holds the rows of each table, for `require_unchanged`."""
    return {row["name"]: row["file"] for row in db.rows(query("dump_files"))}


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.touch(0o600)
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _pg_dump(
    target: Target,
    folder: Path,
    application_name: str,
    tools: Tools,
    jobs: int,
    compression: str,
    snapshot_id: str,
    encoding: str,
    lock_timeout_s: float,
    timeout_s: float | None,
    progress: Progress,
    subscriptions: bool,
) -> None:
    command = [
        tools.path("pg_dump"),
        "-Fd",
        "-j",
        str(jobs),
        "-Z",
        spelled(compression, tools.major),
        "--verbose",
        "--no-password",
        "--no-subscriptions",  # a copy must not subscribe: see queries/dump_leaves_out.sql
        f"--snapshot={snapshot_id}",
        f"--encoding={encoding}",
        f"--lock-wait-timeout={round(lock_timeout_s * 1000)}",
        *([] if subscriptions else ["--no-subscriptions"]),
        "-f",
        str(folder / "dump"),
    ]
    carry_out(
        command,
        target.environment(application_name),
        f"{folder} is no backup",
        timeout_s=timeout_s,
        progress=progress,
        remedy="correct it and repeat",
    )
    if not (folder / "dump" / "toc.dat").is_file():
        raise ToolError(
            f"pg_dump ended well and wrote no table of contents, {folder} is no backup",
            f"is {tools.path('pg_dump')} PostgreSQL's own?",
        )
    flush(folder)


def _require_whole(folder: Path, tools: Tools, files: Mapping[str, File]) -> None:
    """Every table of the dump's own table of contents has its file.

    An empty one would restore as an empty table.
    """
    done = run(
        [tools.path("pg_restore"), "--list", str(folder / "dump")],
        timeout_s=600,
        keep_lines=1_000_000,
    )
    there = {name.removeprefix("dump/").split(".")[0] for name, file in files.items() if file.bytes}
    lacking = [
        line
        for line in done.output.splitlines()
        if " TABLE DATA " in line and line.split(";")[0] not in there
    ]
    if lacking:
        raise ToolError(
            f"pg_dump ended well and wrote no rows of {len(lacking)} tables, {folder} is no "
            f"backup: {lacking[0]}",
            "look at the disk, and repeat",
        )


def require_unchanged(target: Target, application_name: str, before: Mapping[str, int]) -> None:
    """Refuse what was read, where a table's rows moved to another file meanwhile.

    Then it may have looked empty.

    Raises:
        DatabaseError: tables were dropped, truncated or rewritten.
    """
    with Database(target, application_name, statement_timeout="60s") as db:
        after = row_files(db)
    changed = sorted(name for name, file in before.items() if after.get(name) != file)
    if changed:
        raise DatabaseError(
            "tables were dropped, truncated or rewritten while they were dumped, so the dump may "
            "lack their rows: "
            f"{', '.join(changed[:10])}{' and more' if len(changed) > 10 else ''}; this is no "
            "backup",
            NO_DDL,
        )


def _schema(folder: Path, tools: Tools) -> None:
    """The schema as SQL, out of the dump itself.

    The same instant, and no further load on the server.
    """
    fixed = ["--restrict-key=runbook"] if tools.accepts("pg_restore", "--restrict-key") else []
    (folder / "schema.sql").touch(0o600)
    with failures_named("pg_restore", f"{folder} is no backup"):
        run(
            [
                tools.path("pg_restore"),
                "--schema-only",
                *fixed,
                "-f",
                str(folder / "schema.sql"),
                str(folder / "dump"),
            ]
        )


def _globals(target: Target, folder: Path, application_name: str, tools: Tools) -> str:
    """Write roles and tablespaces.

    Why not, where the role may not read them: a managed server often forbids it.
    """
    path = folder / "globals.sql"
    path.touch(0o600)
    command = [
        tools.path("pg_dumpall"),
        "--globals-only",
        "--no-role-passwords",
        "--encoding=UTF8",
        "--no-password",
        f"--database={target.database}",
        "-f",
        str(path),
    ]
    try:
        with failures_named("pg_dumpall", f"{folder} is no backup"):
            run(
                command,
                env=target.environment(application_name, statement_timeout="60s"),
                timeout_s=120,
            )
    except ToolError as error:
        if error.remedy or error.status is None:  # its cause is known, and is no missing right
            raise
        path.unlink()
        return error.message.partition(" is no backup: ")[2]
    return ""


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = time.monotonic() - started
