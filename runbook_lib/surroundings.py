"""The parameters of what surrounds the database: application, monitoring, what must hold afterwards, people."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

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
    expect: dict[str, Any] = Field(default_factory=dict)
    """Dotted paths into the JSON that the URL answers with, and the values that they must have."""

    @model_validator(mode="after")
    def _one(self) -> Probe:
        if (self.url is None) == (self.command is None):
            raise ValueError("give either `url` or `command`")
        if self.expect and self.url is None:
            raise ValueError("`expect` needs a `url`")
        return self


class Prometheus(Section):
    """A server with Prometheus's HTTP API: Prometheus itself, Thanos, Mimir, VictoriaMetrics, a managed one."""

    url: Address
    """Its base, before `/api/v1`; with a user and a password in it by reference only."""
    token: Secret | None = None
    """A bearer token."""


class Source(Section):
    """Where one measure of the monitoring list comes from, instead of this machine, PostgreSQL or the application.

    Units are fixed: percent of 100, milliseconds, errors a minute, bytes. `disk_io_percent` is the part of the time in which the
    busiest disk was at work; of `disk_free_percent`, `disk_free_bytes` and `disk_total_bytes` any two tell the disk, the tightest.
    """

    measure: Literal["cpu_percent", "memory_percent", "disk_io_percent", "connections_percent", "response_ms", "errors_per_minute",
                     "disk_free_percent", "disk_free_bytes", "disk_total_bytes"]
    query: Annotated[str, Field(min_length=1)] | None = None
    """PromQL whose result is one number: a scalar, or a vector of one series."""
    command: Command | None = None
    """Prints one number."""
    sql: Annotated[str, Field(min_length=1)] | None = None
    """A query of one row and one number, asked of the database in a transaction that only reads."""

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(way is not None for way in (self.query, self.command, self.sql)) != 1:
            raise ValueError("give one of `query`, `command` and `sql`")
        return self


class Monitoring(Section):
    """Probes, sources and limits."""

    probes: list[Probe] = Field(default_factory=list)
    prometheus: Prometheus | None = None
    sources: list[Source] = Field(default_factory=list)
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long a probe or a source may take."""
    connections_percent: Percent = 80.0
    cpu_percent: Percent = 95.0
    memory_percent: Percent = 95.0
    disk_io_percent: Percent = 95.0
    response_ms: Annotated[float, Field(gt=0)] = 2000.0
    error_rate_per_minute: Annotated[float, Field(ge=0)] = 1.0
    show_statements: bool = False
    """Whether 95_troubleshoot shows the statements of other sessions: they may hold data, and the record keeps them."""
    replica_lag_s: Annotated[float, Field(ge=0)] = 30.0
    """How far a standby may be behind, where there is one."""
    replica_lag_mb: Annotated[float, Field(ge=0)] = 1024.0
    """How much write-ahead log a standby may still have to replay, or a replication slot keep back."""

    @model_validator(mode="after")
    def _sources(self) -> Monitoring:
        names = [source.measure for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources for {', '.join(twice)}: name one")
        if self.prometheus is None and any(source.query for source in self.sources):
            raise ValueError("a source with a `query` needs `prometheus`")
        return self


class Invariant(Section):
    """A query that must return no row; each row is one violation."""

    name: str
    sql: str


class Validate(Section):
    """What must hold afterwards beyond what is always checked."""

    invariants: list[Invariant] = Field(default_factory=list)


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
