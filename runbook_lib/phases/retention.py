"""What happens to backups later: old ones are removed, and the newest is restored as a drill; scratch databases left behind go, too."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from runbook_lib.errors import DatabaseError, UsageError
from runbook_lib.params import Params
from runbook_lib.phases.backup import proof_file
from runbook_lib.postgres import databases, restore, scratch
from runbook_lib.postgres.backup import Backup, load
from runbook_lib.postgres.connection import Target
from runbook_lib.postgres.tools import tools
from runbook_lib.run import FINAL, moment, now, runs, stamp, write_json
from runbook_lib.table import Table


@dataclass(frozen=True)
class Kept:
    """One backup, and why it is kept; `why` is empty for one that may go."""

    backup: Backup
    days: float
    why: str


def examine(params: Params, keep_days: float) -> tuple[Kept, ...]:
    """Every finished backup of the directory, oldest first, and whether it may go.

    Kept are: those younger than `keep_days`, the newest proven one of each database, and those that a run needs which
    has not ended well. A folder without a manifest is no backup and is not touched.
    """
    found = [load(path.parent) for path in sorted(params.backup.directory.glob("*/manifest.json"))]
    proven = {(one.snapshot.system_identifier, one.snapshot.database_oid): one.folder for one in found if _proven(one)}
    needed = {(run.read_evidence("backup") or {}).get("folder"): run.id for run in runs(params.environment.archive) if run.outcome not in FINAL}
    return tuple(_judge(one, keep_days, set(proven.values()), needed) for one in found)


def prune(params: Params, keep_days: float, *, dry_run: bool) -> Table:
    """Remove backups that may go, and scratch databases that a killed run has left behind.

    Args:
        dry_run: only say what would be removed.
    """
    rows: list[tuple[str, float | None, str]] = []
    for one in examine(params, keep_days):
        if not one.why and not dry_run:
            shutil.rmtree(one.backup.folder)
            proof_file(one.backup.folder).unlink(missing_ok=True)
        rows.append((one.backup.folder.name, one.days, one.why or ("would be removed" if dry_run else "removed")))
    rows += _scratch(params, dry_run)
    return Table(f"Backups in {params.backup.directory}", ("what", "age (days)", "what becomes of it"), rows)


def drill(params: Params) -> restore.Proof:
    """Restore the newest backup into a scratch database of the server, compare it, and record that it was proven.

    Raises:
        UsageError: there is no backup.
        CheckError: what came up is not what the backup says.
    """
    found = [load(path.parent) for path in sorted(params.backup.directory.glob("*/manifest.json"))]
    if not found:
        raise UsageError(f"there is no backup in {params.backup.directory}", "`runbook run PARAMS --to backup` makes one")
    newest, target = found[-1], Target.parse(params.database_url())
    proof = restore.prove(newest, target, "runbook/drill", tools=tools(target, params.database.tools))
    proof.verified.checks().require()
    write_json(proof_file(newest.folder), {"sha256": newest.sha256, "run": "drill", "proven_at": stamp(), "restore_s": proof.restored.total_seconds})
    return proof


def _scratch(params: Params, dry_run: bool) -> list[tuple[str, float | None, str]]:
    """Scratch databases whose makers are gone; where the server does not answer, that is said."""
    try:
        with databases.maintenance(Target.parse(params.database_url()), "runbook/prune", lock_timeout="30s", statement_timeout="5min") as db:
            left = scratch.leftovers(db)
            for one in () if dry_run else left:
                scratch.drop(db, one.name)
    except DatabaseError as error:
        return [("scratch databases", None, f"could not look: {error.message}")]
    return [(f"database {one.name}", None, f"left behind by a run that was killed: {'would be dropped' if dry_run else 'dropped'}") for one in left]


def _proven(one: Backup) -> bool:
    path: Path = proof_file(one.folder)
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["sha256"] == one.sha256


def _judge(one: Backup, keep_days: float, proven: set[Path], needed: dict[str | None, str]) -> Kept:
    age = now() - moment(one.finished_at)
    why = ""
    if age < timedelta(days=keep_days):
        why = f"kept: younger than {keep_days:g} days"
    elif one.folder in proven:
        why = "kept: the newest proven backup of its database"
    elif str(one.folder) in needed:
        why = f"kept: the run {needed[str(one.folder)]} has not ended well"
    return Kept(one, age.total_seconds() / 86400, why)
