"""20 Rehearse: the pending files on a restored copy, by the real CLI, measured; then the way back, measured too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, check
from runbook_lib.phases import apply
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.phases.start import applied
from runbook_lib.postgres import catalog, dump, health, scratch, snapshot, swap
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import cli
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

    @cached_property
    def tools(self) -> dump.Tools:
        """pg_dump and its kin."""
        return dump.tools(self.target, folder=self.params.database.tools, server_version=self.db.server_version)

    @cached_property
    def source(self) -> dump.Backup:
        """What is rehearsed on: the newest proven backup of this database, else one made now."""
        found = dump.newest_proven(self.params.backup.directory, self.run.state["target"]["system_identifier"], self.target.database)
        if found and apply.same_history(self, found):
            self.say(f"rehearsing on the proven backup {found.folder.name}")
            return found
        self.say("no proven backup of this state: making one for the rehearsal")
        folder = self.params.backup.directory / f"rehearsal_{self.run.key}"
        return dump.make(self.target, folder, self.application_name, tools=self.tools, jobs=self.params.backup.jobs,
                         compression=self.params.backup.compression, on_line=self.say)

    def prepare(self) -> Table:
        """Restore the copy."""
        self._copy = scratch.create(self.admin, "rehearsal", self.application_name, forbidden=self.target.database)
        restored = dump.restore(self.source, self._copy, self.application_name, tools=self.tools, jobs=self.params.backup.jobs, on_line=self.say)
        self._restore_s = restored.seconds
        return Table(f"The copy was restored in {restored.seconds:.1f} s", ("database", "from"), [(self._copy.database, self.source.folder.name)])

    def migrate(self) -> Table:
        """Apply the pending files to the copy with the real Prisma CLI; the catalogue's difference becomes the plan's promise."""
        with self._on_copy() as db:
            before = catalog.read(db)
            url = self._copy.url(self.application_name, lock_timeout=milliseconds(self.params.migrate.lock_timeout_s),
                                 statement_timeout=milliseconds(self.params.migrate.statement_timeout_s))
            try:
                done = cli.deploy(self.project, url, timeout_s=self.params.migrate.deadline_s, on_line=self.say)
            except cli.MigrationFailed:
                self._drop()
                raise
            after = catalog.read(db)
            rows = applied(db, self._copy)
        self._migrate_s = done.seconds
        self._files = {row["migration_name"]: (row["finished_at"] - row["started_at"]).total_seconds()
                       for row in rows if row["migration_name"] in done.applied}
        self.difference = self.keep("difference", catalog.difference(before, after))
        self.run.write_evidence("promise", {"difference": self.difference.as_dict(), "kept_columns": apply.kept_columns(before, after)})
        return Table(f"{len(done.applied)} files applied to the copy in {done.seconds:.1f} s", ("file", "seconds"), list(self._files.items()))

    def validate(self) -> Checks:
        """The same checks that will run on the night, on the copy."""
        with self._on_copy() as db:
            keys = health.foreign_keys(db)
            checks = Checks("The migrated copy", [
                *keys.checks(), *health.invalid_indexes(db), *self._content()])
        return self.look("validation", checks)

    def roll_back(self) -> Table:
        """Rehearse the way back on the copy: restore beside, swap by name, compare with the backup."""
        beside = scratch.create(self.admin, "rollback", self.application_name, forbidden=self.target.database)
        aside = scratch.reserve(self.admin, "failed", self.application_name, forbidden=self.target.database)
        try:
            restored = dump.restore(self.source, beside, self.application_name, tools=self.tools, jobs=self.params.backup.jobs, on_line=self.say)
            swapped = swap.swap(self.admin, self._copy.database, beside.database, aside.database, self.application_name)
            dump.compare_with(self.source, self._copy, self.application_name).require()
        finally:
            for place in (beside, aside):
                scratch.drop(self.admin, place.database, self.application_name, missing_ok=True)
            self._drop()
        self.measured = Measured(self._restore_s, self._migrate_s, self._files, restored.seconds + swapped.seconds, swapped.seconds)
        self.run.write_evidence("rehearsal", asdict(self.measured))
        return Table("The way back was rehearsed: the copy is identical to the backup again", ("step", "seconds"),
                     [("restore beside", restored.seconds), ("swap by name", swapped.seconds)])

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

    def _content(self) -> list[Check]:
        """Content that the plan does not declare, compared between backup and copy."""
        promise = self.run.read_evidence("promise")
        before = self.source.snapshot
        after = snapshot.take(self._copy, self.application_name, columns=apply.columns_to_compare(before, promise))
        return [apply.undeclared(before, after, self.run.read_evidence("plan")["declared"])]

    def _on_copy(self) -> Database:
        return Database(self._copy, self.application_name, statement_timeout="10min")

    def _drop(self) -> None:
        scratch.drop(self.admin, self._copy.database, self.application_name, missing_ok=True)

    @property
    def copy(self) -> Target:
        """The scratch database that is migrated."""
        return self._copy


def _budget(name: str, title: str, seconds: float, limit: float, key: str) -> Check:
    return check(f"forecast.{name}", title, seconds <= limit, f"{seconds:.1f} s", f"at most {limit:.0f} s", f"no-go: raise `{key}` or split the migration")


PHASE = Rehearse
