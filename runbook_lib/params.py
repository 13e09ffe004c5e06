"""One environment, typed and strict.

A parameter file is YAML; each of its top-level keys is a parameter of every notebook, so the same
file serves `runbook run`, plain papermill (`-f`) and JupyterLab. Unknown keys, wrong types and
values out of range are refused with the key, the type that was given and the form that is allowed.
Secrets are references (`runbook_lib.secret`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import Field, ValidationError, model_validator

from runbook_lib.errors import UsageError
from runbook_lib.postgres.urls import anchored
from runbook_lib.secret import HOME, is_reference, resolve
from runbook_lib.section import (
    Command,
    Count,
    LocalTime,
    Location,
    Minutes,
    Name,
    Percent,
    Seconds,
    Secret,
    Section,
    Variables,
)
from runbook_lib.surroundings import Monitoring, Notify, People, Service, Validate


class Environment(Section):
    """Which environment this is, and where its record is kept."""

    name: Name
    production: bool = False
    archive: Location = HOME / "archive"
    mirror: Annotated[str, Field(pattern=r"^[a-z0-9]+://[^\s@]+$")] | None = None
    """Object storage to which a run is copied when it is sealed, e.g. `s3://bucket/runs`;
    credentials from where the client looks for them.
    """
    signing_key: Location | None = None
    """SSH key that signs each seal: a private key without a passphrase, or a public key whose
    private half ssh-agent holds.
    """
    allowed_signers: Location | None = None
    """OpenSSH's file of whose key is whose: `runbook verify` then demands a signature of one of
    them.
    """


class DatabaseSection(Section):
    """The database to migrate, by a *direct* URL.

    A transaction-mode pooler loses advisory locks and settings.
    """

    url: Secret
    tools: Location | None = None
    """Folder of pg_dump and its kin; default: the best fitting on this machine."""


class Prisma(Section):
    """The Prisma project."""

    project: Location
    schema_file: Location | None = Field(default=None, alias="schema")
    deployed_schema: Location | None = None
    """The Prisma schema of the client that runs now, file or folder."""
    migrations: Location | None = None
    url_variable: str | None = None
    """The environment variable that the project reads its URL from; default: found out from the
    project.
    """
    engine: Literal["installed", "offline"] = "installed"
    generate: Literal[False] | Command | None = None
    """How the client is generated: a command, or false where a pipeline does; default: `prisma
    generate`. A command is run in the rehearsal, too.
    """
    validate_command: Command | None = None
    """The project's own check of its data, e.g. `npm run db:validate`."""
    environment: Variables = Field(default_factory=dict)
    """Variables for the CLI and the project's commands; values may be references."""


class Proof(Section):
    """How a backup is proven.

    `restore` brings it up and compares everything, `hashes` only reads its files again.
    """

    level: Literal["restore", "hashes"] = "restore"
    server: Secret | None = None
    """URL of the server to restore on; default: the database's own."""


class Backup(Section):
    """Where backups go, and how good one must be."""

    directory: Location
    jobs: Count | None = None
    compression: Annotated[str, Field(pattern=r"^(none|gzip|zstd|lz4)(:\d{1,2})?$")] | None = None
    max_age_minutes: Annotated[float, Field(gt=0)] = 120.0
    restore_within_minutes: Annotated[float, Field(gt=0)] = 60.0
    keep_days: Annotated[int, Field(ge=1)] = 30
    disk_free_percent: Percent = 30.0
    proof: Proof = Proof()


class Window(Section):
    """When the migration may run."""

    start: LocalTime
    end: LocalTime
    time_zone: str

    @model_validator(mode="after")
    def _ordered(self) -> Window:
        try:
            start, end = self.bounds()
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(
                f"no time zone {self.time_zone!r}, or no such time; use a name such as "
                "Europe/Berlin"
            ) from None
        if (
            end.timestamp() <= start.timestamp()
            # of one zone, they would be compared by the clock on the wall, which is changed at
            # night
        ):
            raise ValueError("`end` must be after `start`")
        return self

    def bounds(self) -> tuple[datetime, datetime]:
        """Start and end, in the window's own zone."""
        zone = ZoneInfo(self.time_zone)
        start, end = (
            datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=zone)
            for text in (self.start, self.end)
        )
        return start, end


class Guard(Section):
    """Cancel the migration for the sake of those who wait for it, and try again so often."""

    victims: Annotated[int, Field(ge=0, le=10_000)] = 3
    """How many sessions of others may wait for the migration for longer than `wait_s`."""
    wait_s: Seconds = 3.0
    """Seconds; below `lock_timeout_s`, which already bounds how long the migration lets others
    queue while it waits itself.
    """
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """How often it is then tried again, where it is proven that nothing of the cancelled file
    landed.
    """
    pause_s: Seconds = 5.0
    """Seconds before the first of these; before each further one twice as long."""


class Migrate(Section):
    """The limits of the migration itself."""

    window: Window | None = None
    lock_timeout_s: Seconds = 5.0
    statement_timeout_s: Seconds = 600.0
    deadline_s: Seconds = 3600.0
    max_stall_s: Seconds = 10.0
    """How long a reader or a writer of an affected table may stall in the rehearsal."""
    max_transaction_s: Seconds = 30.0
    """How old a transaction that holds a lock on an affected table may be when the migration
    begins.
    """
    guard: Guard = Guard()


class Approvals(Section):
    """Which gates wait for a person, and for whom."""

    required: list[Literal["plan", "migrate", "rollback"]] = Field(default_factory=list)
    distinct: bool | None = None
    """Whether whoever approves must be another than who carries the run out; default: in
    production.
    """
    trust_typed_names: bool = False
    """Whether a name that was merely typed counts as another person."""


class Rollback(Section):
    """What happens after a failed migration or validation."""

    automatic: bool = False


class LocalRecovery(Section):
    """Point in time by base backups and archived WAL that this machine sees."""

    provider: Literal["local"]
    archive: Location
    """The folder into which the server's archive_command copies WAL, unchanged, as this machine
    sees it.
    """
    base_backups: Location
    max_age_hours: Annotated[float, Field(gt=0)] = 24.0
    """How old a base backup may be before 30_backup makes a new one."""
    deadline_minutes: Minutes = 240.0


class RdsRecovery(Section):
    """Point in time by Amazon RDS; credentials come from where boto3 looks for them."""

    provider: Literal["rds"]
    instance: Annotated[str, Field(pattern=r"^[a-z](-?[a-z0-9]){0,62}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    deadline_minutes: Minutes = 240.0


class CommandRecovery(Section):
    """Recover to a point in time by commands of the operator.

    `runbook_lib.recovery.command` says what they are told.
    """

    provider: Literal["command"]
    check: Command
    recover: Command
    discard: Command
    url: Secret
    """Leads to the recovered server; asked once `recover` has ended."""
    folder: Location
    environment: Variables = Field(default_factory=dict)
    deadline_minutes: Minutes = 240.0


Recovery = Annotated[LocalRecovery | RdsRecovery | CommandRecovery, Field(discriminator="provider")]
"""How a restore point is led back to."""


class Demo(Section):
    """Marks the parameters of the embedded demo."""

    folder: Location = HOME / ".demo"
    rows: Annotated[int, Field(ge=100, le=10_000_000)] = 200_000
    scenario: Literal["success", "failing-migration", "lock-conflict", "bad-data"] = "success"


class Params(Section):
    """All parameters of one environment; the fields are the top-level keys of its file."""

    environment: Environment
    engineer: Annotated[str, Field(min_length=1)]
    database: DatabaseSection
    prisma: Prisma
    backup: Backup
    migrate: Migrate = Migrate()
    validate_: Validate = Field(default=Validate(), alias="validate")
    service: Service | None = None
    monitoring: Monitoring = Monitoring()
    notify: Notify = Notify()
    people: People = People()
    approvals: Approvals = Approvals()
    rollback: Rollback = Rollback()
    recovery: Recovery | None = None
    demo: Demo | None = None

    @property
    def distinct_approver(self) -> bool:
        """Whether whoever approves must be another person than who carries the run out."""
        asked = self.approvals.distinct
        return self.environment.production if asked is None else asked

    def database_url(self) -> str:
        """The URL of the database, resolved."""
        return self._anchored(resolve(self.database.url, "database.url"))

    def _anchored(self, url: str) -> str:
        """Certificates that the URL names by a relative path are the Prisma project's."""
        return anchored(url, self.prisma.project / "prisma", self.prisma.project)

    def proof_url(self) -> str:
        """The URL of the server on which backups are proven, resolved."""
        return (
            self._anchored(resolve(self.backup.proof.server, "backup.proof.server"))
            if self.backup.proof.server
            else self.database_url()
        )

    def variables(self, section: Literal["prisma", "service", "recovery"]) -> dict[str, str]:
        """A section's `environment`, references resolved.

        None where the section is not there or has none.
        """
        chosen: dict[str, str] = getattr(getattr(self, section), "environment", {})
        return {
            name: dereference(value, f"{section}.environment.{name}")
            for name, value in chosen.items()
        }

    def service_url(self) -> str:
        """The application's base URL, resolved, without a slash at its end."""
        assert self.service is not None
        return dereference(self.service.url, "service.url").rstrip("/")


KEYS = tuple(field.alias or name for name, field in Params.model_fields.items())
"""The top-level keys, which are the notebooks' parameters."""


def dereference(text: str, key: str) -> str:
    """What a reference leads to; any other text as it is."""
    return resolve(text, key) if is_reference(text) else text


def load(path: Path) -> dict[str, Any]:
    """The top-level keys of a parameter file, not yet validated.

    Raises:
        UsageError: it is missing, unreadable, not YAML or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the parameter file {path} cannot be read: {error.strerror}",
            "give the path of a file like params/demo.yaml",
        ) from None
    except Exception as error:  # each of YAML's constructors fails in a way of its own
        where = getattr(error, "problem_mark", None)
        raise UsageError(
            f"{path} is not YAML" + (f" (line {where.line + 1})" if where else ""),
            "compare it with params/demo.yaml",
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no mapping of keys", "compare it with params/demo.yaml")
    return content


def parse(values: Mapping[str, Any], source: str = "the parameters") -> Params:
    """The validated parameters.

    Args:
        values: top-level keys; those that are `None` count as not given.
        source: what to name in errors.

    Raises:
        UsageError: with every key that is wrong, what it was given and what is allowed.
    """
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return Params.model_validate(given)
    except ValidationError as error:
        lines = [
            _explain(problem, given)
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise UsageError(
            f"{source}: {len(lines)} wrong\n" + "\n".join(f"  {line}" for line in lines),
            "correct these keys; the README explains each",
        ) from None


def _explain(problem: Any, given: Any) -> str:
    kinds = (
        "local",
        "rds",
        "command",
        "by command",
        "by request",
    )  # of which several are allowed; no part of the key
    place = [
        part
        for part in problem["loc"]
        if part not in kinds or problem["loc"][0] not in ("recovery", "service")
    ]
    key = ".".join(str(part) for part in place)
    if problem["type"] == "extra_forbidden":
        return f"`{key}`: unknown key"
    if problem["type"] == "missing":
        return f"`{key}`: is missing"
    for part in place:
        try:
            given = given[part]
        except (KeyError, IndexError, TypeError):
            break
    return f"`{key}` ({type(given).__name__} given): {problem['msg'].removeprefix('Value error, ')}"
