"""40 Preflight: rights, disk, versions, connectivity, monitoring, and go or no-go.

Credentials and the backup's files are checked once more.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from runbook_lib.check import Check, Checks, Status, attempt, check, not_configured, unknown
from runbook_lib.params import dereference
from runbook_lib.phases import baseline, readings, recovery, server, visible
from runbook_lib.phases.application import IDLE_S, Application
from runbook_lib.phases.backup import backup_checks, without
from runbook_lib.phases.base import Phase
from runbook_lib.phases.forecast import Forecast, NoForecast, forecast
from runbook_lib.postgres import health, leftout, rights, statistics
from runbook_lib.postgres.connection import query
from runbook_lib.postgres.target import Target
from runbook_lib.process import run as run_command
from runbook_lib.service import monitoring
from runbook_lib.service.http import Reach, Request, ask, client, unanswered
from runbook_lib.service.measures import to_a_person, trends
from runbook_lib.surroundings import Probe, Service

NOT_ASKED = {
    126: "the command cannot be executed",
    127: "the command was not found",
    255: "ssh did not come through",
}
"""Statuses by which a command says that it did not get as far as asking (255: see ssh's manual)."""


class Preflight(Phase):
    """Looks at everything that the night depends on; changes nothing."""

    name, heading = "preflight", "Preflight"
    gates = ("preflight",)

    def credentials(self) -> Checks:
        """Check that each login connects directly and has each right that it needs.

        The rights are tried one by one.
        """
        found = health.connection(self.target, self.application_name) + rights.rights(
            self.db, server.affected_tables(self)
        )
        return self.look(
            "credentials", Checks("Credentials and rights", [*found, *self._other_logins()])
        )

    def disk(self) -> Checks:
        """Free space of the server now, and after what the plan needs; where it can be known."""
        return self.look(
            "disk", Checks("Disk", [server.disk_check(self.db, "environment.disk", self)])
        )

    def disk_chart(self) -> Any:
        """Each disk now, and after what the plan needs."""
        return server.disk_chart(self)

    def versions(self) -> Checks:
        """Compare the installed Prisma CLI with the project's lock file.

        And say what follows for transactions.
        """
        return self.look("versions", self.project.checks())

    def connectivity(self) -> Checks:
        """Whether the application's host reaches the database: asked there, not here."""
        service = self.params.service
        title = "the application's host reaches the database"
        if service is None or service.reach_database is None:
            return self.look(
                "connectivity",
                Checks(
                    "Connectivity",
                    [not_configured("environment.connectivity", title, "service.reach_database")],
                ),
            )
        command = service.reach_database
        return self.look(
            "connectivity",
            Checks(
                "Connectivity",
                [attempt("environment.connectivity", title, lambda: self._reach(command))],
            ),
        )

    def monitoring(self) -> Checks:
        """Each configured probe, asked.

        And each measure of the monitoring list, read for the first time.
        """
        section = self.params.monitoring
        probes = (
            self.together(*(partial(self._probe, probe) for probe in section.probes))
            if section.probes
            else [
                not_configured(
                    "environment.monitoring",
                    "monitoring and alerting are active",
                    "monitoring.probes",
                )
            ]
        )
        first = trends(
            [one for one in readings.take(self) if one.measure != "deadlocks"],
            readings.limits(self),
        )
        return self.look(
            "monitoring",
            Checks(
                "Monitoring",
                [
                    *probes,
                    *(
                        to_a_person(item)
                        for item in first.checks()
                        if item.id != "monitoring.deadlocks"
                    ),
                ],
            ),
        )

    def _probe(self, probe: Probe) -> Check:
        url = dereference(probe.url, "monitoring.probes.url") if probe.url else None
        return monitoring.probe(
            probe.name,
            url=url,
            command=probe.command,
            expect=probe.expect,
            timeout_s=self.params.monitoring.timeout_s,
        )

    def server(self) -> Checks:
        """What on the server would get in the way.

        Forgotten and prepared transactions, connections near the limit, standbys that are behind.
        """
        limit = self.params.monitoring.connections_percent
        return self.look(
            "server",
            Checks(
                "Server",
                [
                    server.idle_check(self.db, "environment.idle", IDLE_S),
                    server.prepared_check(self.db, "environment.prepared"),
                    attempt(
                        "environment.connections",
                        "connections are below the limit",
                        lambda: self._connections(limit),
                    ),
                    server.replication_check(self.db, "environment.replication", self),
                ],
            ),
        )

    def backup(self) -> Checks:
        """The backup of this run: proven, fresh, restorable in time, its files re-hashed."""
        found = leftout.left_out(self.db)
        stays = check(
            "rollback.stays",
            "what a way back leaves with the old database is known",
            True,
            f"remark: {leftout.words(found.staying)}" if found.staying else "nothing",
        )
        return self.look(
            "backup", Checks("The way back", [*backup_checks(self), stays, without(self.run)])
        )

    def validation(self) -> Checks:
        """What 70_validate will be able to see, and what the baseline could not tell.

        Asked once, and before the migration.
        """
        found = visible.checks(statistics.read(self.db), self.params.validate_.slow_queries)
        untold = [
            one for one in baseline.of(self.run) if one.status is Status.UNKNOWN and not one.wrong
        ]
        return self.look("validation", Checks("What the validation will see", [*found, *untold]))

    @cached_property
    def forecast(self) -> Forecast | NoForecast:
        """What the night will take: the rehearsal's figures, corrected by past runs."""
        found = forecast(self)
        self.run.write_evidence("forecast", found)
        return found

    def go_or_no_go(self) -> Checks:
        """The forecast against the budgets of the parameters."""
        return self.look("forecast", self.forecast.checks(self.params, self._free))

    def chart(self) -> Any:
        """Forecast against window."""
        return self.forecast.chart(self.params)

    def recovery(self) -> Checks:
        """Whether a point in time could be recovered, where a provider is configured."""
        return self.look("recovery", Checks("Point in time", recovery.checks(self)))

    @property
    def settled(self) -> frozenset[str]:
        """What could not be checked on the rehearsed copy either, and was accepted there."""
        return baseline.settled(self.run)

    def require(self, *results: Checks) -> None:
        """Let the run go on only where nothing failed; what could not be checked needs a person."""
        self.pass_gate_once(
            "preflight",
            "require",
            lambda: Checks("Preflight", [item for result in results for item in result]),
        )

    def _free(self) -> int | None:
        """On the tightest of the server's disks."""
        tightest = readings.disks(self, self.db).tightest
        return tightest.free_bytes if tightest else None

    def _other_logins(self) -> list[Check]:
        """Those beside the database's: the server for proofs, the application's token."""
        found, proof, service = [], self.params.backup.proof, self.params.service
        if proof.server and proof.level == "restore":
            found.append(
                rights.creates_databases(
                    Target.parse(self.params.proof_url()),
                    self.application_name,
                    "environment.proof",
                    "the login on the server for proofs connects and creates databases",
                )
            )
        if service and service.token:
            id, title = "environment.token", "the application accepts the token"
            found.append(attempt(id, title, lambda: self._token(id, title, service)))
        return found

    def _token(self, id: str, title: str, service: Service) -> Check:
        """Asked twice, with and without: an endpoint that answers everybody proves nothing."""
        asked = next((one for one in service.endpoints if one.authenticated), None)
        if asked is None:
            return unknown(
                id,
                title,
                "no endpoint of `service.endpoints` needs it",
                "accepted",
                "name one that does, or leave `service.token` out",
            )
        base, seconds = self.params.service_url(), self.params.monitoring.timeout_s
        with client(base) as session:
            answer, without = (
                ask(session, Request(base + asked.path, token=token), seconds)
                for token in (Application(self).token, None)
            )
        expected = f"{asked.status} with it, 401 or 403 without"
        if answer.reach is not Reach.ANSWERED:
            return unanswered(id, title, answer, expected)
        said = (
            f"{answer.status} with it, "
            f"{without.status if without.reach is Reach.ANSWERED else without.why} without"
        )
        if answer.status not in (asked.status, 401, 403) or (
            answer.status == asked.status and without.status not in (401, 403)
        ):
            return unknown(
                id,
                title,
                said,
                expected,
                "this says nothing about the token: see whether that endpoint asks for one",
            )
        return check(
            id,
            title,
            answer.status == asked.status,
            said,
            expected,
            "renew the token that `service.token` leads to",
        )

    def _reach(self, command: str) -> Check:
        id, title = "environment.connectivity", "the application's host reaches the database"
        service = self.params.service
        assert service is not None
        done = run_command(
            command,
            cwd=service.folder,
            env=self.params.variables("service"),
            timeout_s=30,
            check=False,
        )
        said = f"status {done.status} in {done.seconds:.1f} s"
        if done.status in NOT_ASKED:
            return unknown(
                id,
                title,
                f"{said}: {NOT_ASKED[done.status]}",
                "status 0",
                "correct `service.reach_database`, or the way to that host",
            )
        return check(
            id,
            title,
            done.status == 0,
            said if done.status == 0 else f"{said}: {done.last_words}",
            "status 0",
            "see what the command says on that host",
        )

    def _connections(self, limit: float) -> Check:
        row: dict[str, Any] = self.db.row(query("monitoring_server")) or {}
        share = row["connections"] / row["most"] * 100
        return check(
            "environment.connections",
            "connections are below the limit",
            share <= limit,
            f"{row['connections']} of {row['most']}: {share:.0f} %",
            f"at most {limit:.0f} %",
            "close what is not needed",
        )


PHASE = Preflight
