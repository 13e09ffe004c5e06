"""20 Rehearse: the pending files on a restored copy, by the real CLI, measured; then the way back, measured too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, check
from runbook_lib.gate import plan_hash
from runbook_lib.phases import declared
from runbook_lib.phases.backup import make_backup, newest_proven
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.phases.checks import structure_checks
from runbook_lib.phases.start import applied
from runbook_lib.postgres import catalog, databases, integrity, restore, scratch, snapshot, swap
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.tools import Tools, tools
from runbook_lib.prisma import cli
from runbook_lib.run import now
from runbook_lib.show import charts
from runbook_lib.table import Table


@dataclass(frozen=True)
class Measured:
    """What the rehearsal measured, in seconds."""

    restore_s: float
    migrate_s: float
    files: dict[str, float]
    rollback_s: float
    swap_s: float


class Rehearse(Phase):
    """Applies the pending files to a copy, validates it, rolls it back, and times each."""

    name, heading = "rehearse", "Rehearse"
    gates = ("rehearse",)

    @cached_property
    def tools(self) -> Tools:
        """pg_dump and its kin."""
        return tools(self.target, self.params.database.tools, application_name=self.application_name)

    @cached_property
    def source(self) -> Backup:
        """What is rehearsed on: the newest proven backup of this database and this history, else one made now."""
        found = newest_proven(self)
        if found and found.snapshot.tables.keys() == self._tables() and self._same_history(found):
            self.say(f"rehearsing on the proven backup {found.folder.name}")
            return found
        self.say("there is no proven backup of this state: making one for the rehearsal")
        return make_backup(self, self.params.backup.directory / f"{now():%Y%m%dT%H%M%SZ}_{self.target.database}_rehearsal", self.tools)

    def prepare(self) -> restore.Restored:
        """Restore the copy."""
        source = self.source
        place = self.resources.enter_context(scratch.reserved(self.target, "rehearsal", self.application_name, self.say))
        self._copy = place.target
        self._restored = restore.restore(source, place.target, self.application_name, tools=self.tools, jobs=self.jobs, mark=place.mark, on_line=self.say)
        return self._restored

    def migrate(self) -> Table:
        """Apply the pending files to the copy with the real Prisma CLI."""
        with self._on_copy() as db:
            before = catalog.read(db)
            self._before = snapshot.take(self._copy, self.application_name, columns=declared.kept_columns(before.objects, self._declared))
            done = cli.deploy(self.project, self._copy_url(), timeout_s=self.params.migrate.deadline_s, on_line=self.say)
            self.difference = self.keep("difference", catalog.difference(before, catalog.read(db)))
            self._files = durations(applied(db, self._copy), done.applied)
        self._migrate_s = done.seconds
        return Table(f"{len(done.applied)} files applied to the copy in {done.seconds:.1f} s", ("file", "seconds"), list(self._files.items()))

    def validate(self) -> Checks:
        """The same checks that will run on the night, on the copy; what was seen there becomes the promise."""
        self._pulled = self.keep("pull", list(cli.db_pull(self.project, self._copy_url()).difference))
        after = declared.taken_again(self._before, self._copy, self.application_name)
        content = declared.compare(self._before, after, self._declared)
        with self._on_copy() as db:
            checks = [*integrity.foreign_keys(db, jobs=self.jobs).checks(), *structure_checks(db), *content.checks(), self._drift()]
        found = self.pass_gate("rehearse", self.look("validation", Checks("The migrated copy", checks)))
        self.run.write_evidence("promise", {"plan": plan_hash(self.run), "difference": self.difference.as_dict(), "pulled": self._pulled})
        return found

    def drift(self) -> Table:
        """Where the schema file says something else than the database, though every file is applied."""
        lines = self._pulled
        title = f"Remark: with every file applied, schema file and database differ in {len(lines)} lines" if lines else "Schema file and database say the same"
        return Table(title, ("difference",), [(line,) for line in lines], ["unknown"] * len(lines))

    def roll_back(self) -> Table:
        """Rehearse the way back on the copy: restore beside, swap by name, compare with the backup."""
        with scratch.reserved(self.target, "rollback", self.application_name) as beside, scratch.reserved(self.target, "failed", self.application_name) as aside:
            restored = restore.restore(self.source, beside.target, self.application_name, tools=self.tools, jobs=self.jobs, mark=beside.mark, on_line=self.say)
            swapped = swap.swap(self.target, self._copy.database, beside.target.database, aside.target.database, self.application_name)
            verified = restore.compare_with(self.source, self._copy, self.application_name, jobs=self.jobs)
            self.look("rollback", verified.checks()).require()
            with databases.maintenance(self.target, self.application_name) as admin:
                databases.comment_on(admin, aside.target.database, aside.mark)  # a scratch database again, and dropped as one
        self.measured = Measured(self._restored.total_seconds, self._migrate_s, self._files, restored.total_seconds + swapped.closed_s, swapped.closed_s)
        self.run.write_evidence("rehearsal", asdict(self.measured))
        return Table("The way back was rehearsed: the copy is identical to the backup again", ("step", "seconds"),
                     [("restore beside", restored.total_seconds), ("swap by name", swapped.closed_s)])

    def forecast(self) -> Checks:
        """Go or no-go against the budgets of the parameters."""
        m, p = self.measured, self.params
        checks = [
            _budget("migrate", "the migration fits its deadline", m.migrate_s, p.migrate.deadline_s, "migrate.deadline_s"),
            _budget("restore", "the way back fits the allowed time", m.rollback_s, p.backup.restore_within_minutes * 60,
                    "backup.restore_within_minutes"),
        ]
        if p.migrate.window:
            start, end = p.migrate.window.bounds()
            checks.append(_budget("window", "migration and way back together fit the window", m.migrate_s + m.rollback_s,
                                  (end - start).total_seconds(), "migrate.window"))
        return self.look("forecast", Checks("Go or no-go", checks))

    def chart(self) -> Any:
        """What each step took."""
        m = self.measured
        steps = {**{f"apply {name}": seconds for name, seconds in m.files.items()}, "restore": m.restore_s, "way back": m.rollback_s}
        return charts.durations(f"The migration took {m.migrate_s:.1f} s on the copy, the way back {m.rollback_s:.1f} s", steps)

    def _drift(self) -> Check:
        """Not this migration's failure; the night has to see the same."""
        count = len(self._pulled)
        return check("rehearse.pull", "what `db pull` and `format` see is known before the night", True,
                     f"remark: schema file and database differ in {count} lines, shown below" if count else "no difference", "no difference")

    @property
    def _declared(self) -> dict[str, Any]:
        return (self.run.read_evidence("plan") or {}).get("declared", {})

    def _copy_url(self) -> str:
        limits = self.params.migrate
        return self._copy.url(self.application_name, lock_timeout=milliseconds(limits.lock_timeout_s),
                              statement_timeout=milliseconds(limits.statement_timeout_s))

    def _on_copy(self) -> Database:
        return Database(self._copy, self.application_name, statement_timeout="10min")

    def _tables(self) -> set[str]:
        return set(catalog.read(self.db).objects["table"])

    def _same_history(self, made: Backup) -> bool:
        """Whether the live database has the history that the backup has: the same rows in Prisma's table."""
        name = f"{self.target.schema}._prisma_migrations"
        live = snapshot.take(self.target, self.application_name, tables=[name], method=Method(made.snapshot.method))
        return live.tables[name].fingerprints[0] == made.snapshot.tables[name].fingerprints[0]


def durations(rows: list[dict[str, Any]], names: Any) -> dict[str, float]:
    """Seconds by file, from Prisma's history table."""
    return {row["migration_name"]: (row["finished_at"] - row["started_at"]).total_seconds()
            for row in rows if row["migration_name"] in names and row["finished_at"]}


def _budget(name: str, title: str, seconds: float, limit: float, key: str) -> Check:
    return check(f"forecast.{name}", title, seconds <= limit, f"{seconds:.1f} s", f"at most {limit:.0f} s", f"no-go: raise `{key}` or split the migration")


PHASE = Rehearse
