"""40 Preflight: credentials, rights, disk, versions, connectivity, monitoring, and the backup's files once more."""

from __future__ import annotations

from typing import Any

from runbook_lib.check import Check, Checks, attempt, check, not_configured, unknown
from runbook_lib.errors import ToolError
from runbook_lib.params import dereference
from runbook_lib.phases import recovery
from runbook_lib.phases.backup import backup_checks
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity, disk, health
from runbook_lib.process import run as run_command
from runbook_lib.service import monitoring
from runbook_lib.table import size


class Preflight(Phase):
    """Looks at everything that the night depends on; changes nothing."""

    name, heading = "preflight", "Preflight"
    gates = ("preflight",)

    def credentials(self) -> Checks:
        """Whether the role connects, directly, and has each right that it needs, tried one by one."""
        found = health.connection(self.target, self.application_name) + health.rights(self.db)
        return self.look("credentials", Checks("Credentials and rights", found))

    def disk(self) -> Checks:
        """Free space of the server, where it can be known from here."""
        limit = self.params.backup.disk_free_percent
        return self.look("disk", Checks("Disk", [attempt("environment.disk", "the server's disk has room", lambda: self._disk(limit))]))

    def versions(self) -> Checks:
        """The installed Prisma CLI against the project's lock file, and what follows for transactions."""
        return self.look("versions", self.project.checks())

    def connectivity(self) -> Checks:
        """Whether the application's host reaches the database: asked there, not here."""
        service = self.params.service
        title = "the application's host reaches the database"
        if service is None or service.reach_database is None:
            return self.look("connectivity", Checks("Connectivity", [not_configured("environment.connectivity", title, "service.reach_database")]))
        command = service.reach_database
        return self.look("connectivity", Checks("Connectivity", [attempt("environment.connectivity", title, lambda: self._reach(command))]))

    def monitoring(self) -> Checks:
        """Each configured probe, asked."""
        probes = self.params.monitoring.probes
        checks = [monitoring.probe(probe.name, url=dereference(probe.url, "monitoring.probes.url") if probe.url else None,
                                   command=probe.command) for probe in probes]
        none = [not_configured("environment.monitoring", "monitoring and alerting are active", "monitoring.probes")]
        return self.look("monitoring", Checks("Monitoring", checks or none))

    def server(self) -> Checks:
        """What on the server would get in the way: forgotten and prepared transactions, connections near the limit."""
        limit = self.params.monitoring.connections_percent
        return self.look("server", Checks("Server", [
            attempt("environment.idle", "no transaction is left open", self._idle),
            attempt("environment.prepared", "no prepared transaction is left", self._prepared),
            attempt("environment.connections", "connections are below the limit", lambda: self._connections(limit)),
        ]))

    def backup(self) -> Checks:
        """The backup of this run: proven, fresh, restorable in time, its files re-hashed."""
        return self.look("backup", Checks("The way back", backup_checks(self)))

    def recovery(self) -> Checks:
        """Whether a point in time could be recovered, where a provider is configured."""
        return self.look("recovery", Checks("Point in time", recovery.checks(self)))

    def require(self, *results: Checks) -> None:
        """Let the run go on only where nothing failed; what could not be checked needs a person."""
        everything = Checks("Preflight", [item for result in results for item in result])
        self.pass_gate("preflight", everything)

    def _disk(self, limit: float) -> Check:
        title, places = "the server's disk has room", disk.disk(self.db)
        tightest = places.tightest
        if tightest is None or tightest.free_percent is None:
            return unknown("environment.disk", title, places.why_unknown, f"at least {limit:.0f} % free",
                           "look at it where it can be seen; then approve the gate `preflight`")
        return check("environment.disk", title, tightest.free_percent >= limit,
                     f"{size(tightest.free_bytes)} of {size(tightest.total_bytes)} free: {tightest.free_percent:.0f} %",
                     f"at least {limit:.0f} %", "make room, or lower `backup.disk_free_percent`")

    def _reach(self, command: str) -> Check:
        title = "the application's host reaches the database"
        service = self.params.service
        assert service is not None
        try:
            done = run_command(command, cwd=service.folder, env=self.params.variables("service"), timeout_s=30)
        except ToolError as error:
            if error.status is None:
                raise
            return check("environment.connectivity", title, False, error.message, "status 0", "see what the command says on that host")
        return check("environment.connectivity", title, True, f"status 0 in {done.seconds:.1f} s")

    def _idle(self) -> Check:
        found = activity.idle_in_transaction(self.db, older_than_s=5)
        names = ", ".join(f"pid {s.pid} ({s.application or 'unnamed'}, {s.transaction_s or 0:.0f} s)" for s in found)
        return check("environment.idle", "no transaction is left open", not found, names or "none", "none older than 5 s",
                     "end it where it was opened; 95_troubleshoot shows what it holds")

    def _prepared(self) -> Check:
        found = activity.prepared_transactions(self.db)
        return check("environment.prepared", "no prepared transaction is left", not found, ", ".join(p.name for p in found) or "none",
                     "none", "COMMIT PREPARED or ROLLBACK PREPARED each of them")

    def _connections(self, limit: float) -> Check:
        row: dict[str, Any] = self.db.row("SELECT count(*) AS used, current_setting('max_connections')::int AS most"
                                          " FROM pg_stat_activity WHERE backend_type = 'client backend'") or {}
        share = row["used"] / row["most"] * 100
        return check("environment.connections", "connections are below the limit", share <= limit,
                     f"{row['used']} of {row['most']}: {share:.0f} %", f"at most {limit:.0f} %", "close what is not needed")


PHASE = Preflight
