"""The parameters of what surrounds the database: application, monitoring, what must hold afterwards, people."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from runbook_lib.section import Address, Command, Location, Name, Percent, Secret, Section, Variables, text_keys


class Write(Section):
    """A request that writes, used to prove that writes are refused in maintenance mode."""

    path: str
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    json_body: dict[str, Any] = Field(default_factory=dict, alias="json")


class Endpoint(Section):
    """One request that must work after the migration."""

    path: str
    status: int = 200
    authenticated: bool = True
    expect: dict[str, Any] = Field(default_factory=dict)
    max_ms: Annotated[float, Field(gt=0)] = 2000.0


class Maintenance(Section):
    """How maintenance mode is switched, and how it is seen from outside."""

    enable: Command
    disable: Command
    health_key: str = "maintenance"
    write: Write | None = None


class Service(Section):
    """The application in front of the database."""

    url: Address
    folder: Location | None = None
    health: str = "/health"
    token: Secret | None = None
    endpoints: list[Endpoint] = Field(default_factory=list)
    maintenance: Maintenance | None = None
    stop: Command | None = None
    start: Command | None = None
    restart: Command | None = None
    previous: Command | None = None
    """Brings back the release that ran before, for a rollback after the new one was deployed."""
    log: Location | None = None
    application_names: list[str] = Field(default_factory=list)
    """What its sessions are called in `pg_stat_activity`."""
    reach_database: Command | None = None
    """A command that tests the way to the database from the application's host."""
    environment: Variables = Field(default_factory=dict)


class Probe(Section):
    """One question to the monitoring: a URL that answers 200, or a command that ends with status 0."""

    name: str
    url: Address | None = None
    command: Command | None = None

    @model_validator(mode="after")
    def _one(self) -> Probe:
        if (self.url is None) == (self.command is None):
            raise ValueError("give either `url` or `command`")
        return self


class Monitoring(Section):
    """Probes and limits."""

    probes: list[Probe] = Field(default_factory=list)
    connections_percent: Percent = 80.0
    cpu_percent: Percent = 95.0
    memory_percent: Percent = 95.0
    error_rate_per_minute: Annotated[float, Field(ge=0)] = 1.0
    show_statements: bool = False
    """Whether 95_troubleshoot shows the statements of other sessions: they may hold data, and the record keeps them."""
    replica_lag_s: Annotated[float, Field(ge=0)] = 30.0
    """How far a standby may be behind, where there is one."""
    replica_lag_mb: Annotated[float, Field(ge=0)] = 1024.0
    """How much write-ahead log a standby may still have to replay, or a replication slot keep back."""


class Invariant(Section):
    """A query that must return no row; each row is one violation."""

    name: str
    sql: str


def _reading(text: str) -> str:
    from runbook_lib.postgres.sqltext import reads_only

    if not reads_only(text):
        raise ValueError("give one SELECT that only reads: no INTO, no FOR UPDATE, no WITH that writes, no $1")
    return text


Query = Annotated[str, AfterValidator(_reading)]
"""One SELECT that only reads."""


class Statement(Section):
    """A query whose plan, time and buffers are compared before and after; its text is kept with the parameters, so it names no person."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    sql: Query
    max_ms: Annotated[float, Field(gt=0)] | None = None
    """Milliseconds that it may take afterwards."""
    max_ratio: Annotated[float, Field(gt=1)] = 2.0
    """How many times the time and the buffers of before it may take."""


class Validate(Section):
    """What must hold afterwards beyond what is always checked."""

    invariants: list[Invariant] = Field(default_factory=list)
    statements: list[Statement] = Field(default_factory=list)
    slow_queries: bool = True
    """Whether the statements of pg_stat_statements are compared; false where the server has none."""
    observe_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Up to how many seconds 70_validate waits until the window after the migration is as long as the one before; that is downtime."""

    @model_validator(mode="after")
    def _told_apart(self) -> Validate:
        if len({one.name for one in self.statements}) < len(self.statements):
            raise ValueError("two of `statements` have the same name")
        return self


class Notify(Section):
    """Who is told: audiences of apprise URLs."""

    audiences: dict[Name, list[Address]] = Field(default_factory=dict)


class Contact(Section):
    """One person or rotation."""

    role: str
    name: str
    contact: str
    escalation: str


class People(Section):
    """Contacts; the escalation matrix's severities name their roles."""

    contacts: list[Contact] = Field(default_factory=list)
    severity_audiences: Annotated[dict[Literal["1", "2", "3"], list[Name]], BeforeValidator(text_keys)] = Field(default_factory=dict)
    """Which audiences of `notify` hear of a failure of severity 1, 2 or 3."""
