"""The application as the parameters describe it, asked and switched by a phase."""

from __future__ import annotations

from typing import Any

from runbook_lib.check import Check, Checks
from runbook_lib.errors import UsageError
from runbook_lib.params import Service, dereference
from runbook_lib.phases.base import Phase
from runbook_lib.service import deploy, health, log, maintenance
from runbook_lib.service.http import Request
from runbook_lib.surroundings import Switch


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
        key = "enable" if on else "disable"
        how = getattr(self.service.maintenance, key)
        if isinstance(how, str):
            return maintenance.switch(how, cwd=self.service.folder, env=self._environment()).seconds
        return maintenance.switch(self._request(how, f"service.maintenance.{key}"), status=how.status).seconds

    def _request(self, how: Switch, key: str) -> Request:
        """A request of the parameters, its references resolved; one to the application itself carries its token."""
        url = self.phase.params.service_url() + how.path if how.path else dereference(how.url or "", f"{key}.url")
        headers = {name: dereference(value, f"{key}.headers.{name}") for name, value in how.headers.items()}
        named = any(name.lower() == "authorization" for name in headers)
        return Request(url, how.method, self.token if how.path and not named else None, how.json_body, headers)

    def maintenance_checks(self, expected: bool) -> list[Check]:
        """Maintenance mode as seen from outside: what health says, and how a write is answered."""
        section = self.service.maintenance
        assert section is not None
        write = section.write.model_dump(by_alias=True) if section.write else None
        return list(maintenance.seen(self.phase.params.service_url(), self.service.health, expected, key=section.health_key,
                                     write=write, token=self.token))

    def run(self, action: str) -> float | None:
        """Run one of the commands `stop`, `start`, `restart`; seconds, or None where it is not configured."""
        command = getattr(self.configured, action, None)
        if not command:
            return None
        done = deploy.run(command, cwd=self.service.folder, env=self._environment(), on_line=self.phase.say)
        self.phase.run.journal(f"application {action}", seconds=round(done.seconds, 1))
        return done.seconds

    def wait(self) -> Check:
        """Wait until the application answers."""
        return health.wait(self.phase.params.service_url() + self.service.health, timeout_s=60)

    def endpoints(self) -> Checks:
        """The health endpoint and every critical endpoint."""
        asked = [health.Endpoint(path=self.service.health)]
        asked += [health.Endpoint(path=e.path, status=e.status, token=self.token if e.authenticated else None, expect=e.expect, max_ms=e.max_ms)
                  for e in self.service.endpoints]
        return health.endpoints(self.phase.params.service_url(), asked)

    def log_position(self) -> Any:
        """Remember where the log stands, for the comparison after the migration."""
        if self.service.log:
            position = log.position(self.service.log)
            self.phase.run.write_evidence("log.position", position)

    def _environment(self) -> dict[str, str]:
        return self.phase.params.variables("service")
