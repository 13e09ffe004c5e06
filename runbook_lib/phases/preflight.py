"""40 Preflight: credentials, rights, disk, versions, connectivity, monitoring, the backup's files once more, and go or no-go."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, attempt, check, not_configured
from runbook_lib.errors import ToolError
from runbook_lib.params import dereference
from runbook_lib.phases import recovery, server
from runbook_lib.phases.backup import backup_checks
from runbook_lib.phases.base import Phase
from runbook_lib.phases.forecast import Forecast, forecast, free_bytes
from runbook_lib.postgres import health
from runbook_lib.process import run as run_command
from runbook_lib.service import monitoring

IDLE_S = 5.0
"""Seconds after which a transaction in which nothing happens counts as forgotten."""


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
        return self.look("disk", Checks("Disk", [server.disk_check(self.db, "environment.disk", limit)]))

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
        """What on the server would get in the way: forgotten and prepared transactions, connections near the limit, standbys that are behind."""
        limit = self.params.monitoring.connections_percent
        return self.look("server", Checks("Server", [
            server.idle_check(self.db, "environment.idle", IDLE_S),
            server.prepared_check(self.db, "environment.prepared"),
            attempt("environment.connections", "connections are below the limit", lambda: self._connections(limit)),
            server.replication_check(self.db, "environment.replication", self),
        ]))

    def backup(self) -> Checks:
        """The backup of this run: proven, fresh, restorable in time, its files re-hashed."""
        return self.look("backup", Checks("The way back", backup_checks(self)))

    @cached_property
    def forecast(self) -> Forecast:
        """What the night will take: the rehearsal's figures, corrected by past runs."""
        found = forecast(self)
        self.run.write_evidence("forecast", found)
        return found

    def go_or_no_go(self) -> Checks:
        """The forecast against the budgets of the parameters."""
        return self.look("forecast", self.forecast.checks(self.params, lambda: free_bytes(self)))

    def chart(self) -> Any:
        """Forecast against window."""
        return self.forecast.chart(self.params)

    def recovery(self) -> Checks:
        """Whether a point in time could be recovered, where a provider is configured."""
        return self.look("recovery", Checks("Point in time", recovery.checks(self)))

    def require(self, *results: Checks) -> None:
        """Let the run go on only where nothing failed; what could not be checked needs a person."""
        everything = Checks("Preflight", [item for result in results for item in result])
        self.pass_gate("preflight", everything)

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

    def _connections(self, limit: float) -> Check:
        row: dict[str, Any] = self.db.row("SELECT count(*) AS used, current_setting('max_connections')::int AS most"
                                          " FROM pg_stat_activity WHERE backend_type = 'client backend'") or {}
        share = row["used"] / row["most"] * 100
        return check("environment.connections", "connections are below the limit", share <= limit,
                     f"{row['used']} of {row['most']}: {share:.0f} %", f"at most {limit:.0f} %", "close what is not needed")


PHASE = Preflight
