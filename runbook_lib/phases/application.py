"""The application as the parameters describe it, asked and switched by a phase."""

from __future__ import annotations

import re
from dataclasses import asdict

from runbook_lib.check import Check, attempt, check, not_configured, unknown
from runbook_lib.errors import UsageError
from runbook_lib.params import dereference
from runbook_lib.phases import lease
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity
from runbook_lib.prisma import schemafile
from runbook_lib.service import deploy, health, log, maintenance
from runbook_lib.service.http import Request
from runbook_lib.surroundings import Service, Switch

IDLE_S = 5.0
"""Seconds after which a transaction in which nothing happens counts as forgotten."""


class Application:
    """The application in front of the database; every method records what it did.

    Args:
        phase: the phase at work, whose parameters describe the application.
    """

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.configured: Service | None = phase.params.service

    @property
    def service(self) -> Service:
        """The section `service` of the parameters.

        Raises:
            UsageError: there is none.
        """
        if self.configured is None:
            raise UsageError("the parameters describe no application", "set `service`")
        return self.configured

    @property
    def has_maintenance(self) -> bool:
        """Whether the parameters say how maintenance mode is switched."""
        return self.configured is not None and self.configured.maintenance is not None

    @property
    def token(self) -> str | None:
        """The bearer token, resolved."""
        return dereference(self.service.token, "service.token") if self.service.token else None

    def switch(self, on: bool) -> float:
        """Switch maintenance mode; how many seconds that took."""
        assert self.service.maintenance is not None
        lease.claim(self.phase)
        key = "enable" if on else "disable"
        how = getattr(self.service.maintenance, key)
        if isinstance(how, str):
            return maintenance.switch(how, cwd=self.service.folder, env=self._environment()).seconds
        return maintenance.switch(
            self._request(how, f"service.maintenance.{key}"), status=how.status
        ).seconds

    def _request(self, how: Switch, key: str) -> Request:
        """A request of the parameters, its references resolved.

        One to the application itself carries its token.
        """
        url = (
            self.phase.params.service_url() + how.path
            if how.path
            else dereference(how.url or "", f"{key}.url")
        )
        headers = {
            name: dereference(value, f"{key}.headers.{name}") for name, value in how.headers.items()
        }
        named = any(name.lower() == "authorization" for name in headers)
        return Request(
            url, how.method, self.token if how.path and not named else None, how.json_body, headers
        )

    def maintenance_checks(self, expected: bool) -> list[Check]:
        """Maintenance mode as seen from outside: what health says, and how a write is answered."""
        section = self.service.maintenance
        assert section is not None
        write = section.write.model_dump(by_alias=True) if section.write else None
        return list(
            maintenance.seen(
                self.phase.params.service_url(),
                self.service.health,
                expected,
                key=section.health_key,
                write=write,
                token=self.token,
            )
        )

    def run(self, action: str) -> float | None:
        """Run one of the commands `stop`, `start`, `restart`.

        Seconds, or None where it is not configured.
        """
        command = getattr(self.configured, action, None)
        if not command:
            return None
        lease.claim(self.phase)
        done = deploy.run(
            command, cwd=self.service.folder, env=self._environment(), on_line=self.phase.say
        )
        self.phase.run.journal(f"application {action}", seconds=round(done.seconds, 1))
        return done.seconds

    def wait(self) -> Check:
        """Wait until the application answers."""
        return health.wait(self.phase.params.service_url() + self.service.health, timeout_s=60)

    def endpoints(self) -> health.Responses:
        """The health endpoint and every critical endpoint."""
        asked = [health.Endpoint(path=self.service.health)]
        asked += [
            health.Endpoint(
                path=e.path,
                status=e.status,
                token=self.token if e.authenticated else None,
                expect=e.expect,
                max_ms=e.max_ms,
                requests=e.requests,
            )
            for e in self.service.endpoints
        ]
        return health.endpoints(self.phase.params.service_url(), asked)

    def before(self) -> None:
        """Remember how fast it answers, who is connected, and where its log stands.

        For the comparison after the migration.
        """
        if self.configured is None:
            return
        latencies = self.endpoints().latencies
        self.phase.run.write_evidence(
            "application.before",
            {
                "latencies": latencies,
                "sessions": [asdict(one) for one in activity.connected(self.phase.db)],
            },
        )
        if self.service.log:
            self.phase.run.write_evidence(
                "log.position", log.position(self.service.log, self._known())
            )

    def log_since(self) -> tuple[log.LogWindow | str, list[Check]]:
        """Return what was written to the log since `before`, and what is to be said of it.

        Or why that cannot be told.
        """
        position = self.phase.run.read_evidence("log.position", missing=None)
        if not self.service.log or position is None:
            why = (
                "`service.log` is not set"
                if not self.service.log
                else "50_announce did not remember where the log stood"
            )
            return why, [
                not_configured(
                    "application.log", "the log's error rate did not rise", "service.log"
                )
            ]
        window = log.read(self.service.log, position, self._known())
        return window, log.checks(
            window, position, self.phase.params.monitoring.error_rate_per_minute
        )

    def sessions_check(self) -> Check:
        """Check that each application of `service.application_names` is connected.

        And that none forgot a transaction.
        """
        title, names = (
            "the application is connected, and forgets no transaction",
            self.service.application_names,
        )
        if not names:
            return not_configured("application.sessions", title, "service.application_names")
        return attempt("application.sessions", title, lambda: self._sessions(title, names))

    def _sessions(self, title: str, names: list[str]) -> Check:
        found = {one.application: one for one in activity.connected(self.phase.db)}
        absent = [name for name in names if name not in found]
        forgotten = [
            s for s in activity.idle_in_transaction(self.phase.db, IDLE_S) if s.application in names
        ]
        expected = f"connected, nothing idle in a transaction for {IDLE_S:g} s"
        if forgotten:
            return check(
                "application.sessions",
                title,
                False,
                "; ".join(map(str, forgotten)),
                expected,
                "95_troubleshoot shows what they hold",
            )
        if absent:
            return unknown(
                "application.sessions",
                title,
                f"no session of {', '.join(absent)}",
                expected,
                "correct `service.application_names`, or look why it does not connect",
            )
        return check(
            "application.sessions",
            title,
            True,
            ", ".join(f"{found[name].sessions} of {name}" for name in names),
            expected,
        )

    def _known(self) -> set[str]:
        """The words that may be shown of a log.

        Names of the Prisma schema, and of the endpoints' paths.
        """
        schema = self.phase.project.schema
        lines = schemafile.text(schema).splitlines() if schema else []
        paths = [
            self.service.health,
            *(endpoint.path.split("?")[0] for endpoint in self.service.endpoints),
        ]
        return {
            word
            for line in (*(line.split("//")[0] for line in lines), *paths)
            for word in re.findall(r"[^\W\d]\w*", line)
        }

    def _environment(self) -> dict[str, str]:
        return self.phase.params.variables("service")
