"""30 Backup: dump and content snapshot of one instant, and the proof of a restore."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from runbook_lib.check import Check, Checks, Status, attempt, check, nothing, unknown
from runbook_lib.errors import GateError, RightError, UsageError
from runbook_lib.files import mounted, write_json
from runbook_lib.history import minutes
from runbook_lib.params import Params
from runbook_lib.phases import baseline, declared, recovery
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import catalog, disk, dump, leftout, plans, restore, statistics, writers
from runbook_lib.postgres.backup import Backup, load, verify_hashes
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.fingerprint import Method, method_for
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools, tools
from runbook_lib.prisma.declared import Declared
from runbook_lib.run import Run, moment, now, stamp
from runbook_lib.show import charts
from runbook_lib.table import Table, size

_PROVEN = ("backup.proven", "the backup was proven by restoring it")
LEFT_OUT = "backup.restore.left_out"
"""The check that a person decides: what this role may not bring up. 30_backup goes on, and
40_preflight asks.
"""
PROVEN = ("proven_at", "proven_on", "restore_s", "way_back_s")
"""What a run's evidence and the record beside a backup say of its proof; None where it was not
proven.
"""
_Seen = TypeVar("_Seen")


class BackupPhase(Phase):
    """Makes a backup of the pinned database, and proves it by restoring it."""

    name, heading = "backup", "Backup"

    @cached_property
    def tools(self) -> Tools:
        """pg_dump and its kin, of the server's major where there are several."""
        return tools(
            self.target, self.params.database.tools, application_name=self.application_name
        )

    @cached_property
    def predicted(self) -> dump.Prediction:
        """How large the backup will be."""
        return dump.predicted_size(self.db, self._past())

    def preconditions(self) -> Checks:
        """Whether the backup system works: tools, target folder, room."""
        self.params.backup.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.must_hold("preconditions", Checks("Before the backup", self.prechecks()))

    def prechecks(self) -> list[Check]:
        """Check the same without making the folder.

        Where it is not there yet, the folder in which it will be made counts.
        """
        folder = self.params.backup.directory
        there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        return [
            attempt("backup.tools", "the tools fit the server", self._tools_fit),
            check(
                "backup.writable",
                "the backup directory can be written",
                there.is_dir() and os.access(there, os.W_OK | os.X_OK),
                str(folder) if there == folder else f"{folder}, which is made in {there}",
                "writable",
                "correct its owner or permissions",
            ),
            self._room(there),
        ]

    def _tools_fit(self) -> Check:
        return check(
            "backup.tools",
            "the tools fit the server",
            True,
            f"{self.tools.version} in {self.tools.folder}",
            f"for a server {self.db.server_version // 10_000}",
        )

    def baseline(self) -> Table:
        """What is wrong in the database before the migration, whoever did it.

        It fails nothing later, where it is no worse then.
        """
        plan = self.run.read_evidence("plan", missing=None)
        said = baseline.NOTHING if plan is None else Declared.from_dict(plan["declared"])
        found = baseline.taken(self.db, self.application_name, said, self.project.schema, self.jobs)
        return baseline.table(self.keep("baseline", Checks("The baseline", found)))

    def left_out(self) -> leftout.LeftOut:
        """What is in no copy of this database; what would make the dump fail ends here."""
        found = self.keep("left_out", leftout.left_out(self.db))
        self.must_hold("dumpable", Checks("The dump can be made", [found.dumpable()]))
        return found

    def make(self) -> Backup:
        """Dump the database, with globals, schema, row counts and fingerprints of one instant."""
        folder = self.params.backup.directory / f"{now():%Y%m%dT%H%M%SZ}_{self.target.database}"
        with self.exclusive():
            counters = writers.counters(self.db)
            made = make_backup(self, folder, self.tools, self.predicted.bytes)
            self.run.write_evidence("backup.counters", counters)
        self.run.write_evidence(
            "backup",
            {
                "folder": str(folder),
                "at": made.finished_at,
                "sha256": made.sha256,
                **dict.fromkeys(PROVEN),
            },
        )
        self.run.journal(
            "backup made", folder=str(folder), bytes=made.bytes, seconds=dict(made.seconds)
        )
        return made

    def hashes(self) -> Checks:
        """Every file of the backup, re-read and compared with the manifest."""
        return self.look("hashes", verify_hashes(load_backup(self))).require()

    def prove(self) -> restore.Proof | Checks:
        """Restore the backup into a scratch database and compare every table's content.

        How long it took is recorded.
        """
        made, wanted = load_backup(self), self.params.backup.proof
        if wanted.level == "hashes":
            return Checks("Not restored", [unproven(self)])
        stored = self.run.read_evidence("backup")
        try:
            proof = prove(
                self.params,
                made,
                self.application_name,
                jobs=self.jobs,
                on_line=self.say,
                run=self.run.id,
            )
        except RightError as error:
            not_made = unknown(*_PROVEN, error.message, "proven", error.remedy)
            self.run.write_evidence("backup", stored | {"unproven": not_made.as_dict()})
            return self.look("proof.checks", Checks("Not restored", [not_made]))
        self.keep("proof", proof)
        checks = self.look("proof.checks", proof.checks()).require(accepted=[LEFT_OUT])
        record, left_out = proof_of(made), [one.as_dict() for one in checks.unknown]
        self.run.write_evidence(
            "backup",
            stored
            | {key: record[key] for key in PROVEN}
            | {"left_out": left_out, "without": proof.restored.without()},
        )
        self.run.journal(
            "backup proven", folder=str(made.folder), **{key: record[key] for key in PROVEN}
        )
        return proof

    def base_backup(self) -> Table:
        """Make a base backup for point-in-time recovery, proven by a recovery.

        Only if the provider is `local` and none is young enough.
        """
        return recovery.base_backup(self)

    def schema(self) -> Table:
        """The exported schema, for the comparison after the migration."""
        path = load_backup(self).folder / "schema.sql"
        text = path.read_text(encoding="utf-8")
        return Table(
            "The schema as SQL",
            ("file", "lines", "size"),
            [(str(path), text.count("\n"), size(len(text)))],
        )

    def metrics(self) -> statistics.Statistics:
        """The measured state before the migration, kept for the comparison afterwards.

        The window before begins here.
        """
        return self._before_the_migration("statistics", lambda: self._counters)

    def statements(self) -> Table:
        """The statements that the parameters name, run and measured before the migration."""
        queries = {item.name: item.sql for item in self.params.validate_.statements}
        return plans.table(
            self._before_the_migration("plans", lambda: plans.measure_all(self.db, queries))
        )

    @cached_property
    def _counters(self) -> statistics.Statistics:
        return statistics.read(self.db)

    def _before_the_migration(self, name: str, look: Callable[[], _Seen]) -> _Seen:
        """Look, and keep what was seen as the state before.

        Once the migration has begun, what was kept stands.
        """
        found = look()
        begun = self.run.derived.migrating
        if not begun:
            self.run.write_evidence(
                f"{self.name}.{name}",
                [one.as_dict() for one in found] if isinstance(found, tuple) else found,
            )
        return found

    def chart(self) -> Any:
        """The largest tables."""
        sizes = table_sizes(self._counters)
        largest = sorted(sizes.items(), key=lambda item: -item[1]["bytes"])[:12]
        return charts.sizes(
            f"{largest[0][0]} is the largest table" if largest else "There is no table",
            {name: item["bytes"] for name, item in largest},
        )

    def location(self) -> Table:
        """Where the backup is and what it holds."""
        record, shown = self.run.read_evidence("backup"), load_backup(self).table()
        proof = [
            ("proven at (UTC)", record["proven_at"]),
            ("proven on", record["proven_on"]),
            ("measured restore (s)", record["restore_s"]),
            ("measured way back: hashed, restored, compared (s)", record["way_back_s"]),
        ]
        return Table(shown.title, shown.columns, [*shown.rows, *proof])

    def _room(self, folder: Path) -> Check:
        """Space for the predicted size, and the share that has to stay free after it."""
        needed, place, limit = (
            self.predicted,
            disk.room(folder),
            self.params.backup.disk_free_percent,
        )
        if place.free_bytes is None or not place.total_bytes:
            return unknown("backup.space", "there is room for the backup", place.why)
        left = (place.free_bytes - needed.bytes) / place.total_bytes * 100
        return check(
            "backup.space",
            "there is room for the backup",
            left >= max(limit, 0),
            f"{size(place.free_bytes)} free, about {needed} needed: {left:.0f} % left afterwards",
            f"at least {limit:.0f} % left",
            "make room, name another `backup.directory`, or lower `backup.disk_free_percent`",
        )

    def _past(self) -> Backup | None:
        """Return the newest backup of this database with the next one's compression."""
        compression = self.tools.compression(self.params.backup.compression or "auto")
        return next(
            (
                made
                for made in reversed(backups(self.params)[0])
                if same_database(self, made) and made.compression == compression
            ),
            None,
        )


def table_sizes(found: statistics.Statistics) -> dict[str, dict[str, Any]]:
    """Table → bytes with its indexes, and rows as estimated."""
    return {
        name: {
            "bytes": table["table_bytes"] + table["index_bytes"],
            "rows": table["estimated_rows"],
        }
        for name, table in found.tables.items()
    }


def make_backup(
    phase: Phase, folder: Path, programs: Tools, expected_bytes: int | None = None
) -> Backup:
    """Make a backup of the pinned database in `folder`.

    The columns that the plan leaves alone are fingerprinted by themselves.
    """
    options, plan = phase.params.backup, phase.run.read_evidence("plan", missing={})
    kept = declared.kept_columns(catalog.read(phase.db).objects, plan.get("declared", {}))
    return dump.make(
        phase.target,
        folder,
        phase.application_name,
        tools=programs,
        jobs=phase.jobs,
        compression=options.compression or "auto",
        columns=kept,
        method=_method(phase),
        expected_bytes=expected_bytes,
        on_line=phase.say,
    )


def _method(phase: Phase) -> Method:
    """How content is fingerprinted: so that source and proof can be compared."""
    if not phase.params.backup.proof.server:
        return Method.HASH
    with Database(
        Target.parse(phase.params.proof_url()), phase.application_name, statement_timeout="60s"
    ) as proof:
        return method_for(phase.db, proof)


def load_backup(phase: Phase) -> Backup:
    """The run's newest backup.

    Raises:
        GateError: the run has none.
    """
    record = phase.run.read_evidence("backup", missing=None)
    if record is None:
        raise GateError("this run has no backup", "run 30_backup first")
    return load(mounted(record["folder"], phase.params.backup.directory))


def proof_file(folder: Path) -> Path:
    """Where it is recorded that a backup was proven: beside it, for its own files are sealed."""
    return folder.with_name(f"{folder.name}.proof.json")


def prove(
    params: Params,
    made: Backup,
    application_name: str,
    *,
    jobs: int,
    run: str,
    on_line: Callable[[str], None] | None = None,
) -> restore.Proof:
    """Prove a backup on the server that the parameters name, and record beside it how that ended.

    Args:
        run: for the record: which run, or "drill".

    Raises:
        As `restore.prove`. The record then says that the backup is not proven, whatever an earlier
        proof said.
    """
    server = Target.parse(params.proof_url())
    record = {"sha256": made.sha256, "run": run, **dict.fromkeys(PROVEN), "failed_at": stamp()}
    try:
        proof = restore.prove(
            made,
            server,
            application_name,
            tools=tools(server, params.database.tools),
            jobs=jobs,
            on_line=on_line,
        )
        if proof.identical:
            record |= {
                "proven_at": stamp(),
                "proven_on": f"{server.host}:{server.port}",
                "restore_s": proof.restored.total_seconds,
                "way_back_s": proof.seconds,
                "failed_at": None,
            }
        return proof
    finally:
        write_json(proof_file(made.folder), record)


def proof_of(made: Backup) -> dict[str, Any]:
    """What is recorded of the proof of this very backup; nothing but None where there is none."""
    path = proof_file(made.folder)
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return record if record.get("sha256") == made.sha256 else dict.fromkeys(PROVEN)


def backups(params: Params) -> tuple[list[Backup], dict[Path, str]]:
    """Return the finished backups of the directory, oldest first.

    And the folders whose manifest cannot be read, with why.

    A folder without a manifest is not a backup, and a link to a folder is not a second one.
    """
    good, damaged = list[Backup](), dict[Path, str]()
    for path in sorted(params.backup.directory.glob("*/manifest.json")):
        if path.parent.is_symlink():
            continue
        try:
            good.append(load(path.parent))
        except UsageError as error:
            damaged[path.parent] = error.message
    return sorted(good, key=lambda made: made.finished_at), damaged


def newest_proven(phase: Phase) -> Backup | None:
    """The newest proven backup of this very database (server, oid), or None."""
    return next(
        (
            made
            for made in reversed(backups(phase.params)[0])
            if same_database(phase, made) and proof_of(made)["proven_at"]
        ),
        None,
    )


def same_database(phase: Phase, made: Backup) -> bool:
    """Whether a backup is of the database that the run pinned."""
    pinned, shot = phase.run.state["target"], made.snapshot
    return (shot.system_identifier, shot.database_oid) == (
        pinned["system_identifier"],
        pinned["database_oid"],
    )


def unproven(phase: Phase) -> Check:
    """What is said of a backup that the parameters do not let be restored.

    Whether it can be is not known.
    """
    return unknown(
        *_PROVEN,
        "`backup.proof.level` is `hashes`: its files are whole, whether it can be restored is not "
        "known",
        "proven",
        "set it to `restore`; or restore it yourself, and approve",
    )


def backup_checks(phase: Phase) -> list[Check]:
    """Check that the run has a proven, recent and unchanged backup.

    It must also be restorable in time.
    """
    record, options = phase.run.read_evidence("backup", missing=None), phase.params.backup
    if record is None:
        return [
            check(
                "backup.made",
                "there is a backup of this run",
                False,
                "none",
                "one",
                "run 30_backup",
            )
        ]
    proven, seconds = record["proven_at"], record["way_back_s"]
    left_out = [_again(one) for one in record.get("left_out") or ()]
    intact = attempt(
        "backup.intact", "every file of the backup is as it was made", lambda: _intact(phase)
    )
    if proven is None and options.proof.level == "hashes":
        return [unproven(phase), intact]
    if proven is None and record.get("unproven"):
        return [_again(record["unproven"]), intact]
    age = (now() - moment(proven)).total_seconds() / 60 if proven else None
    return [
        check(
            "backup.proven",
            "the backup was proven by restoring it",
            proven is not None,
            f"{proven} on {record['proven_on']}" if proven else "never",
            "proven",
            "run 30_backup",
        ),
        check(
            "backup.fresh",
            "the proof is fresh",
            age is not None and age <= options.max_age_minutes,
            f"{age:.0f} min" if age is not None else "–",
            f"at most {options.max_age_minutes:.0f} min",
            "run 30_backup again",
        ),
        check(
            "backup.restore_time",
            "the way back fits the allowed time",
            seconds is not None and seconds <= options.restore_within_minutes * 60,
            f"{minutes(seconds)} measured: {minutes(record['restore_s'])} restoring, the rest "
            "hashing and comparing"
            if seconds is not None
            else "not measured",
            f"at most {options.restore_within_minutes:g} min",
            "allow more time (`backup.restore_within_minutes`), or make the restore faster",
        ),
        intact,
        *left_out,
    ]


def without(run: Run) -> Check:
    """Return what the database would be without after a restore, e.g. a superuser's extension.

    An application does without it, so nobody is asked; it is told before anybody decides, with what
    brings it back.
    """
    record = run.read_evidence("backup", missing={})
    id, title = "rollback.without", "what a restore by this role leaves out is known"
    if record.get("without") is None:
        return nothing(id, title, "the backup was not restored by this run yet")
    said = [f"{one['what']}: {one['do']}" for one in record["without"]]
    return check(id, title, True, f"remark: {'; '.join(said)}" if said else "nothing", "known")


def brings_back(run: Run) -> list[str]:
    """Return what to do after a way back by restoring, for what this role may not restore."""
    record = run.read_evidence("backup", missing={})
    asked = [one["remedy"] for one in record.get("left_out") or ()]
    return list(dict.fromkeys([one["do"] for one in record.get("without") or ()] + asked))


def _again(stored: dict[str, Any]) -> Check:
    """A check as it was kept."""
    return Check(**{**stored, "status": Status(stored["status"])})


def _intact(phase: Phase) -> Check:
    title, remedy = "every file of the backup is as it was made", "make a new backup: run 30_backup"
    made = load_backup(phase)
    if made.sha256 != phase.run.read_evidence("backup")["sha256"]:
        return check("backup.intact", title, False, "its manifest was changed", "unchanged", remedy)
    failed = verify_hashes(made, phase.jobs).failed
    return check(
        "backup.intact",
        title,
        not failed,
        "; ".join(c.found for c in failed) or "all hashes agree",
        "unchanged",
        remedy,
    )


PHASE = BackupPhase
