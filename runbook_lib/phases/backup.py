"""30 Backup: dump and content snapshot of one instant, and the proof that the dump can be restored."""

from __future__ import annotations

import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, Checks, attempt, check, unknown
from runbook_lib.errors import GateError
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity, dump, scratch, statistics
from runbook_lib.run import moment, now, stamp
from runbook_lib.show import charts
from runbook_lib.table import Table, size


class BackupPhase(Phase):
    """Makes a backup of the pinned database, and proves it by restoring it."""

    name, heading = "backup", "Backup"

    @cached_property
    def tools(self) -> dump.Tools:
        """pg_dump and its kin, of the server's major where there are several."""
        return dump.tools(self.target, folder=self.params.database.tools, server_version=self.db.server_version)

    def preconditions(self) -> Checks:
        """Whether the backup system works: tools, target folder, room."""
        folder = self.params.backup.directory
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.look("preconditions", Checks("Before the backup", [
            check("backup.tools", "the tools fit the server", True, f"{self.tools.version} in {self.tools.folder}",
                  f"for a server {self.db.server_version // 10_000}"),
            check("backup.writable", "the backup directory can be written", os.access(folder, os.W_OK), str(folder), "writable",
                  "correct its owner or permissions"),
            self._room(folder),
        ]))

    def make(self) -> dump.Backup:
        """Dump the database, with globals, schema, row counts and fingerprints of the same instant."""
        already = self.run.read_evidence("backup")
        if already and Path(already["folder"]).exists():
            self.say(f"already made at {already['at']}; making another one beside it")
        options = self.params.backup
        with activity.advisory_lock(self.db, activity.RUNBOOK):
            made = dump.make(self.target, options.directory / self._folder_name(), self.application_name, tools=self.tools,
                             jobs=options.jobs, compression=options.compression, on_line=self.say)
        self.run.write_evidence("backup", {"folder": str(made.folder), "at": stamp(), "manifest_sha256": made.manifest_sha256,
                                           "proven_at": None, "restore_s": None})
        self.run.journal("backup made", folder=str(made.folder), bytes=made.bytes, seconds=made.seconds)
        return made

    @property
    def made(self) -> dump.Backup:
        """The run's newest backup."""
        return load_backup(self)

    def hashes(self) -> Checks:
        """Every file of the backup, re-read and compared with the manifest."""
        return self.look("hashes", dump.verify_hashes(self.made)).require()

    def prove(self) -> Any:
        """Restore the backup into a scratch database, compare every table's content, and record how long it took."""
        made = self.made
        with scratch.scratch(self.admin, "proof", self.application_name, forbidden=self.target.database) as place:
            restored = dump.restore(made, place, self.application_name, tools=self.tools, jobs=self.params.backup.jobs,
                                    on_line=self.say)
            self.say(f"restored in {restored.seconds:.1f} s; comparing content")
            proof = dump.compare_with(made, place, self.application_name)
        self.keep("proof", proof)
        proof.require()
        record = self.run.read_evidence("backup") | {"proven_at": stamp(), "restore_s": restored.seconds}
        self.run.write_evidence("backup", record)
        dump.record_proof(made, {"at": record["proven_at"], "restore_s": restored.seconds, "run": self.run.id})
        self.run.journal("backup proven", folder=str(made.folder), restore_s=restored.seconds)
        return proof

    def metrics(self) -> statistics.Statistics:
        """The measured state before the migration, kept for the comparison afterwards."""
        return self.keep("statistics", statistics.read(self.db))

    def chart(self) -> Any:
        """The largest tables."""
        largest = sorted(self.metrics_now.items(), key=lambda item: -item[1]["bytes"])[:12]
        total = sum(item["bytes"] for item in self.metrics_now.values())
        return charts.sizes(f"The largest tables hold {size(total)} in all", {name: item["bytes"] for name, item in largest})

    @cached_property
    def metrics_now(self) -> dict[str, dict[str, Any]]:
        """Bytes and rows by table."""
        return statistics.read(self.db).sizes()

    def location(self) -> Table:
        """Where the backup is and what it holds."""
        made, record = self.made, self.run.read_evidence("backup")
        return Table("The backup", ("", ""), [
            ("folder", str(made.folder)), ("made at (UTC)", made.snapshot.taken_at), ("snapshot at WAL position", made.snapshot.lsn),
            ("size", size(made.bytes)), ("took", f"{made.seconds:.1f} s"), ("proven at (UTC)", record["proven_at"]),
            ("measured restore", f"{record['restore_s']:.1f} s" if record["restore_s"] is not None else None),
            ("sha256 of its manifest", made.manifest_sha256)])

    def _folder_name(self) -> str:
        return f"{now():%Y%m%dT%H%M%SZ}_{self.target.database}"

    def _room(self, folder: Path) -> Check:
        """Space for the predicted size, and the share that has to stay free after it."""
        needed, disk = dump.predicted_size(self.db), shutil.disk_usage(folder)
        left = (disk.free - needed) / disk.total * 100
        limit = self.params.backup.disk_free_percent
        return check("backup.space", "there is room for the backup", disk.free > needed and left >= limit,
                     f"{size(disk.free)} free, about {size(needed)} needed: {left:.0f} % left afterwards", f"at least {limit:.0f} % left",
                     "make room, name another `backup.directory`, or lower `backup.disk_free_percent`")


def load_backup(phase: Phase) -> dump.Backup:
    """The run's newest backup.

    Raises:
        GateError: the run has none.
    """
    record = phase.run.read_evidence("backup")
    if not record:
        raise GateError("this run has no backup", "run 30_backup first")
    return dump.load(Path(record["folder"]))


def backup_checks(phase: Phase) -> list[Check]:
    """Whether the run has a backup that is proven, young enough, restorable in time, and unchanged."""
    record, options = phase.run.read_evidence("backup"), phase.params.backup
    if not record:
        return [check("backup.made", "there is a backup of this run", False, "none", "one", "run 30_backup")]
    proven = record["proven_at"]
    age = (now() - moment(proven)).total_seconds() / 60 if proven else None
    seconds = record["restore_s"]
    return [
        check("backup.proven", "the backup was proven by restoring it", proven is not None, proven or "never", "proven", "run 30_backup"),
        check("backup.fresh", "the proof is fresh", age is not None and age <= options.max_age_minutes,
              f"{age:.0f} min" if age is not None else "–", f"at most {options.max_age_minutes:.0f} min", "run 30_backup again"),
        check("backup.restore_time", "a restore fits the allowed time", seconds is not None and seconds <= options.restore_within_minutes * 60,
              f"{seconds:.1f} s measured" if seconds is not None else "not measured", f"at most {options.restore_within_minutes:g} min",
              "allow more time (`backup.restore_within_minutes`), or make the restore faster"),
        attempt("backup.intact", "every file of the backup is as it was made", lambda: _intact(phase)),
    ]


def _intact(phase: Phase) -> Check:
    made = load_backup(phase)
    record = phase.run.read_evidence("backup")
    if made.manifest_sha256 != record["manifest_sha256"]:
        return check("backup.intact", "every file of the backup is as it was made", False, "its manifest was changed", "unchanged",
                     "make a new backup: run 30_backup")
    checks = dump.verify_hashes(made)
    title = "every file of the backup is as it was made"
    if checks.unknown:
        return unknown("backup.intact", title, checks.unknown[0].found)
    return check("backup.intact", title, checks.passed, "; ".join(c.found for c in checks.failed) or "all hashes agree",
                 "unchanged", "make a new backup: run 30_backup")


PHASE = BackupPhase
