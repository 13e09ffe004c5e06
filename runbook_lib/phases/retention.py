"""What becomes of what the runs leave.

Old backups and failed databases go, the newest proven backup stays and is drilled.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from runbook_lib.errors import RunbookError, UsageError
from runbook_lib.params import Params
from runbook_lib.phases import backup
from runbook_lib.phases.last_look import LEFT
from runbook_lib.phases.rollback import RESTORED
from runbook_lib.phases.salvage import SAVED
from runbook_lib.postgres import databases, discard, left_behind, restore, salvage, scratch, swap
from runbook_lib.postgres.backup import Backup, foreign_files, unfinished
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.run import FINAL, moment, now, runs
from runbook_lib.table import Table

NAME = "runbook/prune"
LOCK = ".prune.lock"
"""In the backup directory: held while backups are removed, or the newest is drilled."""
_SHADOW = re.compile(r"prisma_migrate_shadow_db_[0-9a-f-]{36}")
NOT_REMOVED = "could not be removed"


@dataclass(frozen=True)
class Kept:
    """One thing that a run has left, and why it is kept.

    Args:
        kind: "backup", "saved columns and tables", "rows left behind", "failed database", "restored
            database", "unfinished restore", "scratch database", "shadow database of Prisma",
            "unfinished backup" or "damaged backup".
        since: when it was made; `None` where that is not known.
        why: why it is kept; empty where it may go.
        remove: what removes it.
    """

    kind: str
    name: str
    since: datetime | None
    why: str
    remove: Callable[[], object]


def examine(params: Params, keep_days: float, admin: Database) -> tuple[Kept, ...]:
    """Return everything that runs have left behind, and whether it may go.

    In the backup directory and on the server.

    Kept are: what is younger than `keep_days`; the newest proven backup of each database; backups
    that a run needs which has not ended well, and what it saved before dropping; a failed database
    that nothing has replaced, or that a replication slot, a prepared transaction or a session holds
    on to. What is not known to be ours is never touched.

    Args:
        admin: a session on the maintenance database of the server.
    """
    return (
        *_backups(params, keep_days),
        *_saved(params, keep_days),
        *_left_behind(params, keep_days),
        *_failed_databases(params, keep_days, admin),
        *_restored(params, admin),
        *_scratch(admin),
        *_prisma_shadows(admin),
    )


def prune(params: Params, keep_days: float, *, dry_run: bool) -> Table:
    """Remove what may go.

    Args:
        dry_run: only say what would be removed.

    Raises:
        UsageError: another prune or drill is at work in the backup directory.
    """
    target = Target.parse(params.database_url())
    with (
        _alone(params),
        databases.maintenance(target, NAME, lock_timeout="10s", statement_timeout="10min") as admin,
    ):
        found, rows = examine(params, keep_days, admin), []
        for one in found:
            became = (
                f"kept: {one.why}" if one.why else "would be removed" if dry_run else _gone(one)
            )
            age = None if one.since is None else (now() - one.since).total_seconds() / 86400
            rows.append(
                (
                    one.kind,
                    one.name,
                    age,
                    became,
                )
            )
    return Table(
        f"What runs have left in {params.backup.directory} and on {target.host}",
        ("kind", "name", "age (days)", "what becomes of it"),
        rows,
    )


@contextmanager
def _alone(params: Params) -> Iterator[None]:
    """Hold the backup directory against another prune or drill."""
    path = params.backup.directory / LOCK
    if not path.parent.is_dir():
        raise UsageError(
            f"there is no folder {path.parent}",
            "correct `backup.directory`; a run makes it when it makes its first backup",
        )
    try:
        with FileLock(path, timeout=1):
            yield
    except Timeout:
        raise UsageError(
            f"another prune or drill is at work in {path.parent}", "wait until it has ended"
        ) from None


def _gone(one: Kept) -> str:
    """Remove it; what keeps one from being removed keeps no other."""
    try:
        one.remove()
    except RunbookError as error:
        return f"{NOT_REMOVED}: {error.message}"
    return "removed"


def drill(params: Params) -> restore.Proof:
    """Restore the newest backup into a scratch database, compare it, record the result.

    Beside the backup it is recorded whether it is proven.

    Raises:
        UsageError: there is no backup, or one whose manifest cannot be read; or a prune is at work.
        CheckError: what came up is not what the backup says.
    """
    with _alone(params):
        return _drill(params)


def _drill(params: Params) -> restore.Proof:
    found, damaged = backup.backups(params)
    if damaged:
        raise UsageError(
            "; ".join(damaged.values()), "find out what happened to it, then remove the folder"
        )
    if not found:
        raise UsageError(
            f"there is no backup in {params.backup.directory}",
            "`runbook run PARAMS --to backup` makes one",
        )
    proof = backup.prove(
        params, found[-1], "runbook/drill", jobs=params.backup.jobs or 2, run="drill"
    )
    proof.verified.checks().require()
    return proof


def _backups(params: Params, keep_days: float) -> Iterator[Kept]:
    found, damaged = backup.backups(params)
    proven = {
        (one.snapshot.system_identifier, one.snapshot.database_oid): one.folder
        for one in found
        if backup.proof_of(one)["proven_at"]
    }
    needed = {
        Path(run.read_evidence("backup", missing={}).get("folder", "")).name: run.id
        for run in runs(params.environment.archive)
        if run.outcome not in FINAL
    }
    same = Counter(one.sha256 for one in found)
    for one in found:
        why = (
            _young(moment(one.finished_at), keep_days)
            or _proven_or_needed(one, proven.values(), needed)
            or _changed_by_somebody(one, same)
        )
        yield Kept("backup", one.folder.name, moment(one.finished_at), why, partial(_remove, one))
    for path in sorted(params.backup.directory.glob("*/manifest.json")):
        if path.parent.is_symlink():
            yield Kept("link", path.parent.name, None, "a link that somebody made", _nothing)
    for folder, why in damaged.items():
        yield Kept("damaged backup", folder.name, None, f"look at it yourself: {why}", _nothing)
    for folder in unfinished(params.backup.directory):
        yield Kept(
            "unfinished backup",
            folder.name,
            None,
            "it has no manifest: a dump that was killed, or is at work; remove it by hand",
            _nothing,
        )


def _proven_or_needed(one: Backup, proven: Iterable[Path], needed: dict[str, str]) -> str:
    if one.folder in proven:
        return "the newest proven backup of its database"
    if one.folder.name in needed:  # it may be mounted elsewhere on the machine that made it
        return f"the run {needed[one.folder.name]} has not ended well"
    return ""


def _changed_by_somebody(one: Backup, same: Counter[str]) -> str:
    """Why a folder is not, or not only, what a run made: nothing of somebody else's is removed."""
    if same[one.sha256] > 1:
        return "somebody copied this backup within the folder: remove the copies by hand"
    if foreign := foreign_files(one):
        return f"it holds what is not of the backup: {', '.join(foreign[:3])}"
    return ""


def _saved(params: Params, keep_days: float) -> Iterator[Kept]:
    """What was saved before it was dropped.

    Its only copy in this form, while the run may still be led back.
    """
    ended = {run.key for run in runs(params.environment.archive) if run.outcome in FINAL}
    for path in sorted((params.backup.directory / SAVED).glob("*/manifest.json")):
        folder = path.parent
        if folder.is_symlink() or folder.parent.is_symlink():
            yield Kept("link", folder.name, None, "a link that somebody made", _nothing)
            continue
        try:
            since = moment(salvage.load(folder).taken_at)
        except UsageError as error:
            yield Kept(
                "damaged saved columns",
                folder.name,
                None,
                f"look at it yourself: {error.message}",
                _nothing,
            )
            continue
        why = _young(since, keep_days) or (
            "" if folder.name.split("-")[0] in ended else "its run has not ended well"
        )
        yield Kept(
            "saved columns and tables",
            folder.name,
            since,
            why,
            partial(_erase, folder),
        )


def _left_behind(params: Params, keep_days: float) -> Iterator[Kept]:
    """The rows that ways back have left behind.

    The failed database has them, too, as long as it is kept.
    """
    kind = "rows left behind"
    for path in sorted((params.backup.directory / LEFT).glob("*/manifest.json")):
        folder = path.parent
        if folder.is_symlink() or folder.parent.is_symlink():
            yield Kept("link", folder.name, None, "a link that somebody made", _nothing)
            continue
        try:
            left = left_behind.load(folder)
        except UsageError as error:
            why = f"look at it yourself: {error.message}"
            yield Kept(f"damaged {kind}", folder.name, None, why, _nothing)
            continue
        since = moment(left.saved_at)
        foreign = foreign_files(left)
        why = _young(since, keep_days) or (
            f"it holds what was not saved there: {', '.join(foreign[:3])}" if foreign else ""
        )
        yield Kept(kind, folder.name, since, why, partial(_erase, folder))


def _remove(one: Backup) -> None:
    _erase(one.folder)
    backup.proof_file(one.folder).unlink(missing_ok=True)


def _erase(folder: Path) -> None:
    """Remove a folder, its manifest first: what is removed in part must not be taken for whole."""
    if folder.is_symlink():
        raise AssertionError(f"{folder} is a link: what it leads to is not removed through it")
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder)


def _failed_databases(params: Params, keep_days: float, admin: Database) -> Iterator[Kept]:
    live = Target.parse(params.database_url()).database
    for one in swap.put_aside(admin):
        if one.live == live:
            why = _young(one.since, keep_days) or one.obstacle
            yield Kept(
                "failed database",
                one.name,
                one.since,
                why,
                partial(databases.drop, admin, one.name),
            )


def _restored(params: Params, admin: Database) -> Iterator[Kept]:
    """What a way back restored beside the live database, and did not swap in.

    A backup has it, too.
    """
    ended = {run.id for run in runs(params.environment.archive) if run.outcome in FINAL}
    for one in databases.entries(admin).values():
        if one.comment.startswith(RESTORED):
            why = (
                ""
                if one.comment.removeprefix(RESTORED) in ended
                else "its run has not ended well, or is of another archive"
            )
            yield Kept(
                "restored database",
                one.name,
                None,
                why,
                partial(databases.drop, admin, one.name),
            )
        elif (
            one.comment.startswith(databases.UNFINISHED)
            and not one.maker_alive
            and databases.made_at(one.name) is None
        ):
            yield Kept(
                "unfinished restore",
                one.name,
                None,
                "",
                partial(discard.discard, admin, one.name),
            )


def _scratch(admin: Database) -> Iterator[Kept]:
    for one in scratch.leftovers(admin):
        made = databases.made_at(one.name)
        yield Kept(
            "scratch database",
            one.name,
            made.replace(tzinfo=UTC) if made else None,
            "",
            partial(scratch.drop, admin, one.name),
        )


def _prisma_shadows(admin: Database) -> Iterator[Kept]:
    """What a killed `prisma migrate dev` or `diff` leaves.

    No call of a run makes one, so none is known to be ours.
    """
    for name in databases.entries(admin):
        if _SHADOW.fullmatch(name):
            why = (
                "look at it yourself: the Prisma CLI makes and drops it, for any project on this "
                "server; where none is at work, it was killed: drop it by hand"
            )
            yield Kept("shadow database of Prisma", name, None, why, _nothing)


def _young(since: datetime, keep_days: float) -> str:
    return f"younger than {keep_days:g} days" if now() - since < timedelta(days=keep_days) else ""


def _nothing() -> None:
    raise AssertionError("what is always kept is never removed")
