"""50 Announce: people are told, the application stops writing, and that is proven.

Then the state before is fixed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from runbook_lib.check import Check, Checks, attempt, not_configured
from runbook_lib.errors import ToolError
from runbook_lib.phases import baseline, declared, lease
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.talk import Message, message, standing, told
from runbook_lib.postgres import catalog, quiet, snapshot, statistics, wal, writers
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.prisma.declared import Declared
from runbook_lib.run import stamp
from runbook_lib.table import Table

OBSERVED_S = 5.0
"""Seconds for which no write may be seen where the parameters describe no application."""


class Announce(Phase):
    """Brings the application into maintenance mode and proves that nothing writes any more."""

    name, heading = "announce", "Announce"
    holds_database = True
    gates = ("announce",)
    steps = ("fix_the_state_before",)

    def fail(self, error: BaseException) -> None:
        """End the phase by an error.

        As long as nothing was switched, the database is free for another run.
        """
        super().fail(error)
        entry = self.run.phase(self.name) or {}
        switched = any(line["what"] == "maintenance on" for line in self.run.read_journal())
        if entry.get("status") in ("failed", "aborted") and not switched:
            lease.release(self)

    def start_message(self) -> Message:
        """What users and stakeholders would be told."""
        happens = (
            "the application reads only, and takes no write until further notice"
            if Application(self).has_maintenance
            else "the database is migrated"
        )
        return message(self.run, "start", happens, standing(self.run))

    def tell_start(self) -> Any:
        """Announce the start to users and stakeholders."""
        return self.send(self.start_message())

    def maintenance_on(self) -> Table:
        """Switch maintenance mode on; from here the downtime counts.

        Not before those were told who have to be.
        """
        Checks("Before anything is switched", [told(self.run, self.name)]).require()
        application = Application(self)
        application.before()
        if not application.has_maintenance:
            return Table(
                "There is no maintenance mode: `service.maintenance` is not set",
                ("what follows",),
                [
                    (
                        "this run stops nobody: stop yourself what writes, and leave it stopped "
                        "until 80_close",
                    ),
                    ("that nothing writes is seen from the database alone",),
                    ("no downtime is measured",),
                ],
            )
        self.run.journal("maintenance on", phase=self.name)
        try:
            seconds = application.switch(True)
        except ToolError:
            self.run.journal("maintenance not switched", phase=self.name)
            raise
        return Table(
            f"Maintenance mode was switched on in {seconds:.1f} s", ("at (UTC)",), [(stamp(),)]
        )

    def proof(self) -> Checks:
        """Maintenance mode as seen through the application, and in the database.

        No session at work, no write.
        """
        application = Application(self)
        seen = (
            application.maintenance_checks(True)
            if application.has_maintenance
            else [
                not_configured(
                    "maintenance", "the application is in maintenance mode", "service.maintenance"
                )
            ]
        )
        title = "Maintenance mode, proven" if application.has_maintenance else "Nothing writes"
        return self.look("proof", Checks(title, [*seen, *self._at_rest()]))

    def gate(self, proof: Checks) -> None:
        """Go on only where writes have stopped, and those were told who have to be."""
        self.pass_gate("announce", Checks(proof.title, [*proof, told(self.run, self.name)]))

    def fix_the_state_before(self) -> snapshot.Snapshot:
        """Content, catalogue and statistics of the moment before the migration.

        What "only the declared change" is held against.
        """
        self.require_gate("announce")
        plan = self.run.read_evidence("plan")
        objects = catalog.read(self.db)
        kept = declared.kept_columns(objects.objects, plan["declared"])
        counted, counters = statistics.read(self.db), writers.counters(self.db)
        files = wal.files(self.db)
        before = snapshot.take(
            self.target,
            self.application_name,
            columns=kept,
            method=self._method(),
            on_progress=self.say,
        )
        self.run.write_evidence("before.catalog", objects)
        self.run.write_evidence("before.snapshot", before)
        self.run.write_evidence("before.counters", counters)
        self.run.write_evidence("before.files", files)
        self.run.write_evidence("before.statistics", counted)
        self._baseline(Declared.from_dict(plan["declared"]))
        self._passed.add("fix_the_state_before")
        return before

    def _baseline(self, said: Declared) -> None:
        """Take the baseline of this minute; what takes long to read stands as 30_backup took it."""
        if self.run.has_evidence("backup.baseline"):
            found = baseline.at_once(self.db)
        else:
            found = baseline.taken(
                self.db, self.application_name, said, self.project.schema, self.jobs
            )
        self.run.write_evidence("before.baseline", [one.as_dict() for one in found])

    def _method(self) -> Method:
        """That of the run's backup: what was written between the two is told by comparing them."""
        return (
            Method(load_backup(self).snapshot.method)
            if self.run.has_evidence("backup")
            else Method.HASH
        )

    def operations_message(self) -> Message:
        """What operations would be told."""
        return message(
            self.run,
            "progress",
            "the migration is applied next",
            f"nothing writes to the database, and that is proven; {standing(self.run)}",
        )

    def tell_operations(self) -> Any:
        """Send the status to operations."""
        self.require_gate("announce")
        return self.send(self.operations_message())

    def _at_rest(self) -> list[Check]:
        """Show the application's sessions, and whether anybody writes, or can without a session."""
        service = self.params.service
        names, seconds = (
            (service.application_names, service.observed_s) if service else ([], OBSERVED_S)
        )
        observed = cache(lambda: quiet.observe(self.db, names, f"runbook/{self.run.key}", seconds))
        return [
            attempt(
                "sessions.cleared",
                "the application's sessions are gone or idle",
                lambda: observed().cleared(),
            ),
            attempt(
                "writes.stopped",
                f"nothing was written for {seconds:g} s",
                lambda: observed().written(),
            ),
            attempt(
                "writes.prepared",
                "no prepared transaction waits in this database",
                lambda: quiet.prepared(self.db),
            ),
            attempt(
                "writes.subscriptions",
                "no subscription brings changes in",
                lambda: quiet.subscriptions(self.db),
            ),
        ]


PHASE = Announce
