"""50 Announce: people are told, the application stops writing, and that is proven; then the state before is fixed."""

from __future__ import annotations

import time
from typing import Any

from runbook_lib.check import Check, Checks, attempt, check, not_configured
from runbook_lib.phases import declared
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.talk import tell
from runbook_lib.postgres import activity, catalog, snapshot, statistics
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.run import stamp
from runbook_lib.table import Table

OBSERVED_S = 2.0
"""Seconds for which no write may be seen before maintenance mode counts as proven."""
LOOKS = 6
"""How often that is tried; together longer than the ten seconds by which a table's counters may lag."""


class Announce(Phase):
    """Brings the application into maintenance mode and proves that nothing writes any more."""

    name, heading = "announce", "Announce"
    gates = ("announce",)

    def tell_start(self) -> Any:
        """Announce the start to users and stakeholders."""
        body = "The application serves reads only until further notice." if Application(self).has_maintenance else "The database is migrated now."
        return tell(self, ["stakeholders"], "started", f"Database maintenance starts on {self.params.environment.name}", body)

    def maintenance_on(self) -> Table:
        """Switch maintenance mode on; from here the downtime counts."""
        application = Application(self)
        application.before()
        if not application.has_maintenance:
            return Table("There is no maintenance mode: `service.maintenance` is not set", ("what follows",), [
                ("this run stops nobody: stop yourself what writes, and leave it stopped until 80_close",),
                ("that nothing writes is seen from the database alone",), ("no downtime is measured",)])
        self.run.journal("maintenance on", phase=self.name)
        seconds = application.switch(True)
        return Table(f"Maintenance mode was switched on in {seconds:.1f} s", ("at (UTC)",), [(stamp(),)])

    def proof(self) -> Checks:
        """Maintenance mode as seen through the application, and in the database: no session at work, no write."""
        application = Application(self)
        seen = application.maintenance_checks(True) if application.has_maintenance else [
            not_configured("maintenance", "the application is in maintenance mode", "service.maintenance")]
        quiet = attempt("sessions.cleared", "no application session is at work", self._sessions)
        still = attempt("writes.stopped", f"nothing was written for {OBSERVED_S:g} s", self._writes)
        title = "Maintenance mode, proven" if application.has_maintenance else "Nothing writes"
        return self.look("proof", Checks(title, [*seen, quiet, still]))

    def gate(self, proof: Checks) -> None:
        """Go on only where writes have stopped."""
        self.pass_gate("announce", proof)

    def fix_the_state_before(self) -> snapshot.Snapshot:
        """Content, catalogue and statistics of the moment before the migration: what "only the declared change" is held against."""
        plan = self.run.read_evidence("plan") or {}
        objects = catalog.read(self.db)
        kept = declared.kept_columns(objects.objects, plan.get("declared", {}))
        before = snapshot.take(self.target, self.application_name, columns=kept, method=self._method(), on_progress=self.say)
        self.run.write_evidence("before.catalog", objects)
        self.run.write_evidence("before.snapshot", before)
        self.run.write_evidence("before.statistics", statistics.read(self.db))
        return before

    def _method(self) -> Method:
        """That of the run's backup: what was written between the two is told by comparing them."""
        return Method(load_backup(self).snapshot.method) if self.run.read_evidence("backup") else Method.HASH

    def tell_operations(self) -> Any:
        """Send the status to operations."""
        now = "maintenance mode is on and proven" if Application(self).has_maintenance else "nothing writes to the database"
        return tell(self, ["operations"], "progress", f"{self.params.environment.name}: {now}", "The migration is applied next.")

    def _sessions(self) -> Check:
        names = self.params.service.application_names if self.params.service else []
        if not names:
            return not_configured("sessions.cleared", "no application session is at work", "service.application_names")
        busy = activity.busy(self.db, names)
        found = ", ".join(f"pid {s.pid} ({s.application}, {s.state})" for s in busy)
        return check("sessions.cleared", "no application session is at work", not busy, found or "all idle or gone", "none at work",
                     "wait for them, or stop the application; 95_troubleshoot shows what they do")

    def _writes(self) -> Check:
        """Certain where no writing transaction ended on the whole server; else by the tables' counters, which lag."""
        title, first = f"nothing was written for {OBSERVED_S:g} s", activity.writes(self.db)
        before = first
        for _ in range(LOOKS):
            time.sleep(OBSERVED_S)
            after = activity.writes(self.db)
            if after.quiet_since(before):
                return check("writes.stopped", title, True, "no transaction that writes ended on this server, and none is open here", "no write")
            before = after
        changed = ", ".join(f"{count} rows of {table}" for table, count in before.since(first).items())
        writing = f"sessions {', '.join(map(str, before.writing_pids))} are writing" if before.writing_pids else ""
        return check("writes.stopped", title, not changed and not writing,
                     writing or changed or f"no table of this database changed in {LOOKS * OBSERVED_S:.0f} s; something else on the server writes",
                     "no write", "find who writes: 95_troubleshoot lists the sessions")


PHASE = Announce
