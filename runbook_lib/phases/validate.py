"""70 Validate: integrity, performance, application and data after the migration.

Each is compared with the state before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from statistics import median
from typing import Any

from runbook_lib.check import Check, Checks, attempt, check, not_configured
from runbook_lib.phases import baseline, declared, readings, undeclared
from runbook_lib.phases.application import Application
from runbook_lib.phases.checks import project_check, same_changes, structure_checks, up_to_date
from runbook_lib.phases.data import changed_tables, data_checks
from runbook_lib.phases.performance import Performance
from runbook_lib.postgres import activity, catalog, integrity, planner, snapshot
from runbook_lib.postgres.integrity import ForeignKeys
from runbook_lib.prisma.declared import Declared
from runbook_lib.service import log
from runbook_lib.service.measures import Trends, to_a_person
from runbook_lib.show import charts
from runbook_lib.show.trends import trend_chart
from runbook_lib.table import Table


class Validate(Performance):
    """Compares everything with the state before.

    What the plan does not declare must be identical.
    """

    name, heading = "validate", "Validate"
    holds_database = True
    gates = ("validate",)
    latencies: Mapping[str, Sequence[float]] = {}
    """Milliseconds of each request by endpoint, once `application` asked."""
    news: log.LogWindow | str = "the application was not asked"
    """What its log says since 50_announce, or why that cannot be told."""
    _trends: Trends | None = None

    def integrity(self) -> Checks:
        """Prisma's status, the schema, the project's own check."""
        status, data = self.together(
            lambda: up_to_date(self, "validate.status"),
            lambda: project_check(self, "validate.data"),
        )
        return self.look(
            "integrity",
            Checks("Integrity", [status, *data, *self._new(structure_checks(self.db))]),
        )

    @cached_property
    def keys(self) -> ForeignKeys:
        """Every foreign key, valid or not, scanned for orphans."""
        return integrity.foreign_keys(self.db, jobs=self.jobs)

    def foreign_keys(self) -> ForeignKeys:
        """Orphans by foreign key."""
        self.keep("foreign_keys", self.keys)
        self.look("orphans", Checks("Foreign keys", self._new(self.keys.checks())))
        return self.keys

    def catalogue(self) -> Checks:
        """Nothing of the schema has changed but what the migration changed.

        Owners, rights, defaults, triggers, policies, functions, comments, …
        """
        before = catalog.Catalog.from_dict(self.run.read_evidence("before.catalog"))
        now = catalog.difference(before, catalog.read(self.db))
        return self.look(
            "catalogue",
            Checks(
                "Schema",
                [
                    same_changes(
                        "validate.catalogue",
                        "the catalogue has changed as the migration changed it, and not since",
                        self.run.read_evidence("migrate.difference", missing=None),
                        now,
                        "find out who changed it; 90_rollback prices the ways back",
                    )
                ],
            ),
        )

    @cached_property
    def content(self) -> declared.Content:
        """Every table's content, before against now.

        Which differences the plan declares, and where the others lie.
        """
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
        """Show rows before and after of the tables that differ, and of the largest others.

        They are told apart by verdict.
        """
        drawn = self.content.drawn()
        return charts.judged(
            self.content.finding(),
            [
                (
                    item.found.name,
                    item.found.before,
                    item.found.after,
                    item.verdict.value,
                    item.verdict.mark,
                )
                for item in drawn
            ],
            of=sum(item.found.kind == "table" for item in self.content.items),
            unit="rows",
        )

    def analyze(self) -> Checks:
        """Renew the planner's statistics if rows have changed since; check every table has some.

        After a backfill they describe the table that was.
        """
        return self.look(
            "analyze",
            Checks(
                "Statistics for the planner",
                self._new(planner.statistics_checks(self.target, self.application_name, self.jobs)),
            ),
        )

    def data(self) -> Checks:
        """Materialized views, enum values, constraints that were never checked, collations."""
        said = Declared.from_dict(self.run.read_evidence("plan")["declared"])
        found = data_checks(self.db, changed_tables(self.content), said, self.project.schema)
        return self.look("data", Checks("Data", self._new(found)))

    def _new(self, found: Iterable[Check]) -> list[Check]:
        """The checks, held against the baseline: what was so before the migration fails nothing."""
        said = Declared.from_dict(self.run.read_evidence("plan")["declared"])
        return baseline.held_against(baseline.of(self.run), found, said)

    def application(self) -> Checks:
        """Health and critical endpoints; errors in the log since before the migration."""
        application = Application(self)
        if not application.configured:
            return self.look(
                "application",
                Checks(
                    "Application",
                    [not_configured("application", "the application works", "service")],
                ),
            )
        endpoints = self.keep("responses", application.endpoints())
        self.latencies = endpoints.latencies
        self.news, of_log = application.log_since()
        return self.look(
            "application",
            Checks("Application", [*endpoints, *of_log, application.sessions_check()]),
        )

    def response_times(self) -> Any:
        """How fast the endpoints answer, before the migration and now."""
        before = self.run.read_evidence("application.before", missing={}).get("latencies", {})
        names = [name for name, ms in self.latencies.items() if ms]
        medians = [
            [median(times[name]) if times.get(name) else None for name in names]
            for times in (before, self.latencies)
        ]
        slowest = max(names, key=lambda name: median(self.latencies[name]), default="")
        title = (
            f"The slowest endpoint, {slowest}, answers in {median(self.latencies[slowest]):.0f} ms"
            if slowest
            else "No endpoint answered"
        )
        return charts.before_after(title, names, medians[0], medians[1], unit="ms, median")

    def errors(self) -> Table:
        """The errors in the log that were not there before, masked."""
        return (
            Table(f"Errors of the log: could not check, {self.news}", ("message, masked",), [])
            if isinstance(self.news, str)
            else self.news.new_messages()
        )

    def sessions(self) -> Table:
        """Who is connected, by application, before the migration and now."""
        before = {
            one["application"]: one
            for one in self.run.read_evidence("application.before", missing={}).get("sessions", [])
        }
        now = {one.application: one for one in activity.connected(self.db)}
        rows = [
            (
                name,
                sum(before[name][key] for key in ("active", "idle", "in_transaction"))
                if name in before
                else None,
                *(
                    (
                        one.sessions,
                        one.active,
                        one.idle,
                        one.in_transaction,
                        one.longest_transaction_s,
                    )
                    if (one := now.get(name))
                    else (None,) * 5
                ),
            )
            for name in sorted({*before, *now})
        ]
        return Table(
            f"{sum(one.sessions for one in now.values())} sessions now",
            (
                "application",
                "sessions before",
                "sessions now",
                "active",
                "idle",
                "idle in a transaction",
                "longest transaction (s)",
            ),
            rows,
        )

    def invariants(self) -> Checks:
        """The queries of the parameters that must return no row."""
        checks = [
            attempt(f"invariant.{n}", item.name, partial(self._invariant, item, n))
            for n, item in enumerate(self.params.validate_.invariants, 1)
        ]
        none = [
            not_configured("invariants", "the project's own invariants hold", "validate.invariants")
        ]
        return self.look("invariants", Checks("Invariants", checks or none))

    def monitoring(self) -> Checks:
        """The seed's monitoring list, read once more.

        Each a measured value beside its limit, judged over the run with its worst.
        """
        readings.take(self)
        self._trends = self.keep("trends", readings.gathered(self))
        self.keep("beyond_limits", self._trends.issues())
        return self.look("monitoring", self._trends.checks())

    def monitoring_chart(self) -> Any:
        """How each of them went since the preflight."""
        return trend_chart(self._trends or readings.gathered(self), self.run.phase("migrate"))

    @property
    def settled(self) -> frozenset[str]:
        """What could not be seen before the migration either, and was accepted then."""
        return baseline.settled(self.run)

    def require(self) -> Checks:
        """Pass only where every check of this phase passed.

        A measured value beyond its limit asks for a person, not for a rollback.

        What 40_preflight could not check either, and a person accepted there, is not asked again.
        """
        return self.pass_gate_once("validate", "require", self._everything)

    def _everything(self) -> Checks:
        everything: list[Check] = []
        for name in (
            "integrity",
            "orphans",
            "catalogue",
            "content",
            "analyze",
            "data",
            "performance",
            "application",
            "invariants",
            "monitoring",
        ):
            kept = self.run.read_evidence(f"validate.{name}", missing=None)
            if kept is None:
                everything.append(
                    check(
                        f"validate.{name}",
                        f"the check `{name}` was made",
                        False,
                        "not made",
                        "made",
                        "run its cell",
                    )
                )
                continue
            found = [Check.from_dict(item) for item in kept]
            everything += [to_a_person(item) if name == "monitoring" else item for item in found]
        return Checks("Validation", everything)

    def _invariant(self, item: Any, number: int) -> Check:
        from psycopg import sql

        count = self.db.value(
            sql.SQL("SELECT count(*) FROM ({}) AS violation").format(
                sql.SQL(item.sql.rstrip().rstrip(";"))
            )
        )
        return check(
            f"invariant.{number}",
            item.name,
            count == 0,
            f"{count} violations",
            "none",
            "run the invariant's query to see them",
        )


PHASE = Validate
