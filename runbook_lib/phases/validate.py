"""70 Validate: integrity, performance, application and data after the migration, each against the state before."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, Status, attempt, check, not_configured
from runbook_lib.phases import declared, undeclared
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import table_sizes
from runbook_lib.phases.base import Phase
from runbook_lib.phases.checks import project_check, same_changes, structure_checks, up_to_date
from runbook_lib.postgres import catalog, integrity, locks, snapshot, statistics
from runbook_lib.service import log, monitoring
from runbook_lib.show import charts
from runbook_lib.table import Table, size


class Validate(Phase):
    """Compares everything with the state before; what the plan does not declare must be identical."""

    name, heading = "validate", "Validate"
    gates = ("validate",)

    def integrity(self) -> Checks:
        """Prisma's status, the schema, the project's own check."""
        status, data = self.together(lambda: up_to_date(self, "validate.status"), lambda: project_check(self, "validate.data"))
        return self.look("integrity", Checks("Integrity", [status, *data, *structure_checks(self.db)]))

    @cached_property
    def keys(self) -> integrity.ForeignKeys:
        """Every foreign key, valid or not, scanned for orphans."""
        return integrity.foreign_keys(self.db, jobs=self.jobs)

    def foreign_keys(self) -> integrity.ForeignKeys:
        """Orphans by foreign key."""
        self.keep("foreign_keys", self.keys)
        self.look("orphans", self.keys.checks())
        return self.keys

    def catalogue(self) -> Checks:
        """Nothing of the schema has changed but what the migration changed: owners, rights, defaults, triggers, policies, functions, comments, …"""
        before = catalog.Catalog.from_dict(self.run.read_evidence("before.catalog"))
        now = catalog.difference(before, catalog.read(self.db))
        return self.look("catalogue", Checks("Schema", [
            same_changes("validate.catalogue", "the catalogue has changed as the migration changed it, and not since", self.run.read_evidence("migrate.difference"), now,
                         "find out who changed it; 90_rollback prices the ways back")]))

    @cached_property
    def content(self) -> declared.Content:
        """Every table's content, before against now; which differences the plan declares, and where the others lie."""
        before = snapshot.Snapshot.from_dict(self.run.read_evidence("before.snapshot"))
        plan = self.run.read_evidence("plan")
        now = declared.taken_again(before, self.target, self.application_name, self.say)
        self.run.write_evidence("after.snapshot", now)
        return undeclared.looked_into(self, declared.compare(before, now, plan["declared"]), before)

    def only_the_declared_change(self) -> declared.Content:
        """The comparison, table by table."""
        self.look("content", self.content.checks())
        return self.keep("content.tables", self.content)

    def rows_chart(self) -> Any:
        """Rows before and after of the tables that differ, told apart by verdict, and of the largest others."""
        drawn = self.content.drawn()
        return charts.judged(self.content.finding(), [(item.found.name, item.found.before, item.found.after, item.verdict.value, item.verdict.mark) for item in drawn],
                             of=sum(item.found.kind == "table" for item in self.content.items), unit="rows")

    def analyze(self) -> str:
        """Refresh the planner's statistics: after a rewrite or a backfill they describe the table that was."""
        self.db.execute("ANALYZE")
        return "ANALYZE: the planner's statistics were refreshed"

    @cached_property
    def statistics(self) -> tuple[statistics.Statistics, statistics.Statistics]:
        """Before the migration, and now."""
        now = statistics.read(self.db)
        self.run.write_evidence("validate.statistics", now)
        return statistics.Statistics.from_dict(self.run.read_evidence("before.statistics")), now

    def indexes(self) -> Table:
        """Indexes before and after: size, use, validity."""
        before, after = (one.indexes for one in self.statistics)
        rows = [(name, ("added" if name not in before else "removed" if name not in after else "kept"),
                 *(size(one[name]["bytes"]) if name in one else None for one in (before, after)), after.get(name, {}).get("valid"))
                for name in sorted(before | after)]
        return Table(f"{len(after)} indexes, {len(before)} before", ("index", "", "size before", "size after", "valid"), rows)

    def missing_indexes(self) -> Table:
        """Large tables that are mostly read from end to end."""
        return self.statistics[1].tables_shown()[-1]

    def queries(self) -> Table:
        """The slowest statements now, with their mean before."""
        before = {one["id"]: one["mean_ms"] for one in self.statistics[0].statements or ()}
        rows = [(one["statement"][:80], one["calls"], before.get(one["id"]), one["mean_ms"]) for one in (self.statistics[1].statements or ())[:10]]
        known = self.statistics[1].statements is not None
        return Table("Slowest statements" if known else "Slow statements: could not check, pg_stat_statements is not available",
                     ("statement", "calls", "mean ms before", "mean ms now"), rows)

    def sizes_chart(self) -> Any:
        """Sizes by table, before and after."""
        before, after = map(table_sizes, self.statistics)
        names = sorted(set(before) | set(after), key=lambda name: -max(s.get(name, {}).get("bytes", 0) for s in (before, after)))[:10]
        sizes = [[table.get(name, {}).get("bytes", 0) / 2**20 for name in names] for table in (before, after)]
        grown = sum(sizes[1]) - sum(sizes[0])
        return charts.before_after(f"The database {'grew' if grown >= 0 else 'shrank'} by {abs(grown):.1f} MiB", names, *sizes, unit="MiB")

    def application(self) -> Checks:
        """Health and critical endpoints; errors in the log since before the migration."""
        application = Application(self)
        if not application.configured:
            return self.look("application", Checks("Application", [not_configured("application", "the application works", "service")]))
        return self.look("application", Checks("Application", [*application.endpoints(), *self._log()]))

    def invariants(self) -> Checks:
        """The queries of the parameters that must return no row."""
        checks = [attempt(f"invariant.{n}", item.name, lambda item=item, n=n: self._invariant(item, n))
                  for n, item in enumerate(self.params.validate_.invariants, 1)]
        none = [not_configured("invariants", "the project's own invariants hold", "validate.invariants")]
        return self.look("invariants", Checks("Invariants", checks or none))

    def monitoring(self) -> Checks:
        """The seed's monitoring list, each a measured value beside its limit."""
        limits = self.params.monitoring
        local = self.target.host in ("127.0.0.1", "localhost", "::1")
        return self.look("monitoring", Checks("Monitoring", [
            *monitoring.host(local=local, cpu_percent=limits.cpu_percent, memory_percent=limits.memory_percent),
            attempt("monitoring.blockers", "nobody blocks anybody", self._blockers),
            attempt("monitoring.deadlocks", "no deadlock since before", self._deadlocks),
        ]))

    def require(self) -> Checks:
        """Pass only where every check of this phase passed; a measured value beyond its limit asks for a person, not for a rollback."""
        everything: list[Check] = []
        for name in ("integrity", "orphans", "catalogue", "content", "application", "invariants", "monitoring"):
            kept = self.run.read_evidence(f"validate.{name}")
            if not kept:
                everything.append(check(f"validate.{name}", f"the check `{name}` was made", False, "not made", "made", "run its cell"))
            found = [Check(**{**item, "status": Status(item["status"])}) for item in kept or []]
            everything += [_to_a_person(item) if name == "monitoring" else item for item in found]
        return self.pass_gate("validate", Checks("Validation", everything))

    def _invariant(self, item: Any, number: int) -> Check:
        from psycopg import sql

        count = self.db.value(sql.SQL("SELECT count(*) FROM ({}) AS violation").format(sql.SQL(item.sql.rstrip().rstrip(";"))))
        return check(f"invariant.{number}", item.name, count == 0, f"{count} violations", "none", "run the invariant's query to see them")

    def _log(self) -> list[Check]:
        path = self.params.service.log if self.params.service else None
        position = self.run.read_evidence("log.position")
        if not path or not position:
            return [not_configured("application.log", "the log's error rate did not rise", "service.log")]
        limit = self.params.monitoring.error_rate_per_minute
        return [attempt("application.log", "the log's error rate did not rise", lambda: log.check(path, position, limit))]

    def _blockers(self) -> Check:
        found = locks.blockers(self.db)
        return check("monitoring.blockers", "nobody blocks anybody", not found.waits, f"{len(found.waits)} sessions blocked", "none",
                     "95_troubleshoot shows them as a tree")

    def _deadlocks(self) -> Check:
        before, now = (one.database["deadlocks"] for one in self.statistics)
        return check("monitoring.deadlocks", "no deadlock since before", now <= before, str(now - before), "0", "the server's log names both statements")


def _to_a_person(item: Check) -> Check:
    return replace(item, status=Status.UNKNOWN, found=f"beyond its limit: {item.found}") if item.status is Status.FAILED else item


PHASE = Validate
