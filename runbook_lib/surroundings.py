"""The parameters of what surrounds the database.

Application, monitoring, what must hold afterwards, people.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from runbook_lib import literals
from runbook_lib.section import (
    Address,
    Body,
    Command,
    Location,
    Name,
    Percent,
    Recipient,
    Seconds,
    Secret,
    Section,
    Variables,
    text_keys,
)
from runbook_lib.service import messages
from runbook_lib.service.messages import Occasion
from runbook_lib.service.people import MATRIX, Failure


class Write(Section):
    """A request that writes, used to prove that writes are refused in maintenance mode."""

    path: Address
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    json_body: Annotated[dict[str, Any], AfterValidator(literals.refuse_secret_body)] = Field(
        default_factory=dict, alias="json"
    )


class Endpoint(Section):
    """One request that must work after the migration."""

    path: Address
    status: int = 200
    authenticated: bool = True
    expect: dict[str, Any] = Field(default_factory=dict)
    max_ms: Annotated[float, Field(gt=0)] = 2000.0
    requests: Annotated[int, Field(ge=1, le=100)] = 5
    """How often it is asked, one after another: the slowest answer counts."""


class Switch(Section):
    """A request that switches maintenance mode.

    A `path` on the application, asked with `service.token`, or a whole `url`.
    """

    path: Annotated[str, Field(pattern="^/")] | None = None
    url: Address | None = None
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET"] = "POST"
    headers: dict[str, Secret] = Field(default_factory=dict)
    """Values by reference: most of what is sent in a header here lets somebody in."""
    json_body: Body = Field(default=None, alias="json")
    status: Annotated[int, Field(ge=200, le=299)] | None = None
    """The status that says that it was done; default: any from 200 to 299."""

    @model_validator(mode="after")
    def _one(self) -> Switch:
        if (self.url is None) == (self.path is None):
            raise ValueError("give either `path` or `url`")
        return self


def _how(value: Any) -> str:
    return "by request" if isinstance(value, (dict, Switch)) else "by command"


Switched = Annotated[
    Annotated[Command, Tag("by command")] | Annotated[Switch, Tag("by request")],
    Discriminator(_how),
]
"""A command, or a request."""


class Maintenance(Section):
    """How maintenance mode is switched, and how it is seen from outside."""

    enable: Switched
    disable: Switched
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
    observed_s: Seconds = 5.0
    """Seconds for which no write may be seen before the migration."""
    reach_database: Command | None = None
    """A command that tests the way to the database from the application's host."""
    environment: Variables = Field(default_factory=dict)


class Probe(Section):
    """One question to the monitoring.

    A URL that answers 200, or a command that ends with status 0.
    """

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
    """A server with Prometheus's HTTP API.

    Prometheus itself, Thanos, Mimir, VictoriaMetrics, a managed one.
    """

    url: Address
    """Its base, before `/api/v1`; with a user and a password in it by reference only."""
    token: Secret | None = None
    """A bearer token."""


class Source(Section):
    """Say where one measure of the monitoring list comes from.

    Instead of this machine, PostgreSQL or the application.

    Units are fixed: percent of 100, milliseconds, errors a minute, bytes. `disk_io_percent` is the
    part of the time in which the busiest disk was at work; of `disk_free_percent`,
    `disk_free_bytes` and `disk_total_bytes` any two tell the disk, the tightest.
    """

    measure: Literal[
        "cpu_percent",
        "memory_percent",
        "disk_io_percent",
        "connections_percent",
        "response_ms",
        "errors_per_minute",
        "disk_free_percent",
        "disk_free_bytes",
        "disk_total_bytes",
    ]
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
    """Whether 95_troubleshoot shows the statements of other sessions: they may hold data, and the
    record keeps them.
    """
    replica_lag_s: Annotated[float, Field(ge=0)] = 30.0
    """How far a standby may be behind, where there is one."""
    replica_lag_mb: Annotated[float, Field(ge=0)] = 1024.0
    """How much write-ahead log a standby may still have to replay, or a replication slot keep back.
    """

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


def _reading(text: str) -> str:
    from runbook_lib.postgres.sqltext import reads_only

    if not reads_only(text):
        raise ValueError(
            "give one SELECT that only reads: no INTO, no FOR UPDATE, no WITH that writes, no $1"
        )
    return text


Query = Annotated[str, AfterValidator(_reading)]
"""One SELECT that only reads."""


class Statement(Section):
    """A query whose plan, time and buffers are compared before and after.

    Its text is kept with the parameters, so it names no person.
    """

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
    """Whether the statements of pg_stat_statements are compared; false where the server has none.
    """
    observe_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Up to how many seconds 70_validate waits until the window after the migration is as long as
    the one before; that is downtime.
    """

    @model_validator(mode="after")
    def _told_apart(self) -> Validate:
        if len({one.name for one in self.statements}) < len(self.statements):
            raise ValueError("two of `statements` have the same name")
        return self


class Template(Section):
    """A message, in Jinja2; `runbook_lib.service.messages` lists the variables."""

    title: Annotated[str, Field(min_length=1)]
    body: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _understood(self) -> Template:
        messages.check(self.title)
        messages.check(self.body)
        return self


def _heard() -> dict[Occasion, list[str]]:
    both = ["stakeholders", "operations"]
    return {
        "planned": ["stakeholders"],
        "start": ["stakeholders"],
        "progress": ["operations"],
        "done": both,
        "failed": ["operations"],
        "rolled_back": both,
    }


class Notify(Section):
    """Who is told, of what, in which words."""

    audiences: dict[Name, list[Recipient]] = Field(default_factory=dict)
    """apprise URLs."""
    occasions: dict[Occasion, list[Name]] = Field(default_factory=dict)
    """Which audiences hear of what; what is not named stays as it is. Of a failure hear those of
    `people.severity_audiences`, too.
    """
    required: list[Name] = Field(default_factory=list)
    """Audiences whose every address must have taken the message `start`: else nothing is switched
    off, and nothing migrated.
    """
    templates: dict[Occasion, Template] = Field(default_factory=dict)
    """Own words; default: those of the package."""
    template_folder: Location | None = None
    """The same as files, `start.txt` and so on: the first line is the title."""
    progress_minutes: Annotated[float, Field(ge=0, le=1440)] = 5.0
    """Between two messages of how the migration goes on lie at least so many minutes."""

    @model_validator(mode="after")
    def _reachable(self) -> Notify:
        for name in self.required:
            if not self.audiences.get(name):
                raise ValueError(f"`required` names {name}, which has no address in `audiences`")
            if name not in self.hears("start"):
                raise ValueError(f"`required` names {name}, which `occasions.start` does not")
        return self

    def hears(self, occasion: Occasion) -> list[str]:
        """The audiences that hear of an occasion."""
        return self.occasions.get(occasion, _heard()[occasion])


class Contact(Section):
    """One person or rotation."""

    role: str
    name: str
    contact: str
    """How a person reaches them: shown, and sent to others."""
    escalation: str
    """Their place in the matrix: Primary, Secondary, Escalation or 24/7, where it is the one that
    is built in.
    """
    addresses: list[Recipient] = Field(default_factory=list)
    """apprise URLs through which the runbook itself tells them of a failure, when the matrix says
    so.
    """


class Level(Section):
    """What the matrix says of one severity."""

    name: str
    of: list[Annotated[Failure, Field(strict=False)]]
    """The kinds of failure that have this severity."""
    tell: dict[str, Annotated[float, Field(ge=0, le=10080)]]
    """By a contact's `escalation`: after how many minutes without acknowledgement they are told; 0
    is at once.
    """
    actions: list[str]
    """What people do, in this order."""


Severity = Literal["1", "2", "3"]


class People(Section):
    """Contacts and the escalation matrix."""

    contacts: list[Contact] = Field(default_factory=list)
    severity_audiences: Annotated[dict[Severity, list[Name]], BeforeValidator(text_keys)] = Field(
        default_factory=dict
    )
    """Which audiences of `notify` hear of a failure of severity 1, 2 or 3."""
    matrix: Annotated[dict[Severity, Level], BeforeValidator(text_keys)] = Field(
        default_factory=dict
    )
    """Levels that are not as they are built in."""

    @model_validator(mode="after")
    def _whole(self) -> People:
        levels = self.levels()
        named = [failure for level in levels.values() for failure in level.of]
        if sorted(named) != sorted(Failure):
            raise ValueError(
                "`matrix` must give each kind of failure one severity: "
                + ", ".join(failure.value for failure in Failure)
            )
        places = {place for level in levels.values() for place in level.tell}
        for contact in self.contacts:
            if contact.escalation not in places:
                raise ValueError(
                    f"the matrix does not know the escalation {contact.escalation!r} of "
                    f"{contact.role}; one of {', '.join(sorted(places))}"
                )
        return self

    def levels(self) -> dict[str, Level]:
        """The matrix, by severity."""
        given: dict[str, Level] = {str(key): level for key, level in self.matrix.items()}
        return {
            severity: given.get(severity) or Level.model_validate(built_in)
            for severity, built_in in MATRIX.items()
        }
