"""Provider `rds`: Amazon restores an instance to a point in time, as a new instance.

Then both are renamed.

Nothing is deleted. Which instance is which stands in tags, which an instance keeps when it is
renamed: so every later look, by a re-run or by a person, knows where a replacement stands, whatever
the names say by then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Status, attempt, check, unknown
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.recovery.point import RestorePoint
from runbook_lib.recovery.recovered import Say
from runbook_lib.redact import redact
from runbook_lib.table import Shown, Table

RECOVERED, ASIDE = "runbook:recovered-to", "runbook:set-aside-for"
"""Tags: on the recovered instance, and on the one that it replaces. Their value is the point's
label.
"""
SETTLE_S = 1.1
"""Seconds that nothing may be written after a point: a restore time has no fractions, and is
rounded up.
"""
_SETTLED = frozenset({"available", "storage-optimization", "configuring-enhanced-monitoring"})
_FAILED = frozenset(
    {
        "failed",
        "incompatible-network",
        "incompatible-option-group",
        "incompatible-parameters",
        "incompatible-restore",
        "restore-error",
        "storage-full",
        "stopped",
        "inaccessible-encryption-credentials",
    }
)


class Stage(StrEnum):
    """Where a replacement stands."""

    NOT_BEGUN = "not begun: the live instance is in its place, none is recovered"
    RECOVERED = "recovered: the live instance is in its place, the recovered one beside it"
    BETWEEN = "half-way: the live instance is renamed aside, nothing is in its place yet"
    DONE = "done: the recovered instance is in the live one's place, the failed one is kept"
    UNCLEAR = "unclear: these instances are not in a state that a replacement leaves behind"


@dataclass(frozen=True)
class Replaced(Shown):
    """A replacement that is done.

    Args:
        live: the name that applications use, now the recovered instance.
        failed: the name under which the former live instance is kept.
        endpoint: host and port of the live name.
    """

    live: str
    failed: str
    endpoint: str
    seconds: float

    def table(self) -> Table:
        """What is now true."""
        rows = [(self.live, f"recovered, in use at {self.endpoint}"), (self.failed, "failed, kept")]
        return Table(f"Replaced in {self.seconds:.0f} s", ("instance", "what it is"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


@dataclass(frozen=True)
class Rds:
    """One instance of Amazon RDS.

    Args:
        instance: its identifier.
        host: where the runbook reaches the database.
        deadline_s: seconds that a restore, or a rename, may take.
        poll_s: seconds between two looks.
    """

    instance: str
    region: str
    host: str
    deadline_s: float = 4 * 3600
    poll_s: float = 15

    def checks(self) -> list[Check]:
        """Whether a recovery can work, before it is needed."""
        return [
            attempt(
                "recovery.backups",
                "automated backups are kept, and reach to the last minutes",
                self._backups,
            ),
            attempt("recovery.instance", "the database's URL leads to this instance", self.leads),
        ]

    def possible(self, to: RestorePoint) -> Check:
        """Whether the point can be restored already."""
        id, title = "recovery.reachable", "the restore point can be reached"

        def look() -> Check:
            last = self._source(to).get("LatestRestorableTime")
            if last is None:
                return check(
                    id, title, False, "nothing can be restored", "", "switch automated backups on"
                )
            return check(
                id,
                title,
                last >= restore_time(to),
                f"restorable up to {last:%Y-%m-%d %H:%M:%S} UTC",
                f"{restore_time(to):%Y-%m-%d %H:%M:%S} UTC",
                "wait: Amazon takes the logs every five minutes",
            )

        return attempt(id, title, look)

    def names(self, to: RestorePoint) -> tuple[str, str]:
        """What the recovered and the failed instance are called beside the live one."""
        head, tail = (
            self.instance[:38].rstrip("-"),
            f"{datetime.fromisoformat(to.time):%Y%m%d%H%M%S}",
        )
        return f"{head}-recovered-{tail}", f"{head}-failed-{tail}"

    def stage(self, to: RestorePoint) -> Stage:
        """Where the replacement stands, once no instance is in the middle of a change."""
        recovered_name, failed_name = self.names(to)
        live, recovered, failed = (
            self._settled(name) for name in (self.instance, recovered_name, failed_name)
        )
        if recovered and not _is(recovered, RECOVERED, to) or failed and not _is(failed, ASIDE, to):
            return Stage.UNCLEAR
        if live and not _is(live, RECOVERED, to):
            return Stage.UNCLEAR if failed else Stage.RECOVERED if recovered else Stage.NOT_BEGUN
        if live:
            return Stage.DONE if failed and not recovered else Stage.UNCLEAR
        return Stage.BETWEEN if failed and recovered else Stage.UNCLEAR

    def recover(self, to: RestorePoint, say: Say = lambda line: None) -> str:
        """Restore to the point into a new instance, and wait until it can be used.

        Called again, it goes on.

        Returns:
            The host of the recovered instance.

        Raises:
            UsageError: it cannot work; nothing was made.
            ToolError: Amazon refused, or it took too long.
        """
        stage, name = self._clear(to), self.names(to)[0]
        if stage in (Stage.BETWEEN, Stage.DONE):
            name = self.instance if stage is Stage.DONE else name
        elif stage is Stage.NOT_BEGUN:
            self._await_restorable(to, say)
            with amazon(f"restoring {self.instance} to {to.time}"):
                self._client.restore_db_instance_to_point_in_time(
                    SourceDBInstanceIdentifier=self.instance,
                    TargetDBInstanceIdentifier=name,
                    RestoreTime=restore_time(to),
                    **_like(self._source(to), to),
                )
            say(
                f"Amazon restores {self.instance} to {restore_time(to):%Y-%m-%d %H:%M:%S} UTC as "
                f"{name}"
            )
        return str(self._await(name, say)["Endpoint"]["Address"])

    def replace(self, to: RestorePoint, say: Say = lambda line: None) -> Replaced:
        """Rename the live instance aside, and the recovered one into its place.

        Called again, it finishes.

        Raises:
            UsageError: there is no recovered instance, or it is unclear where the replacement
                stands; nothing was touched.
            ToolError: Amazon refused, or it took too long; call it again.
        """
        started, (recovered_name, failed_name), stage = (
            time.monotonic(),
            self.names(to),
            self._clear(to),
        )
        if stage is Stage.NOT_BEGUN:
            raise UsageError(f"there is no recovered instance {recovered_name}", "recover first")
        if stage is Stage.RECOVERED:
            self._tag(self.instance, {ASIDE: to.label})
            self._rename(self.instance, failed_name, say)
        if stage in (Stage.RECOVERED, Stage.BETWEEN):
            self._rename(recovered_name, self.instance, say)
        end = self._await(self.instance, say)["Endpoint"]
        return Replaced(
            self.instance,
            failed_name,
            f"{end['Address']}:{end['Port']}",
            time.monotonic() - started,
        )

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
        except ImportError:
            raise UsageError(
                "`recovery: provider: rds` needs the package boto3",
                "pip install 'database-migration-runbook[rds]'",
            ) from None
        with amazon("opening a session"):
            return boto3.client("rds", region_name=self.region)

    def _clear(self, to: RestorePoint) -> Stage:
        stage = self.stage(to)
        if stage is Stage.UNCLEAR:
            raise UsageError(
                f"the replacement of {self.instance} is {stage.value}",
                f"look at {', '.join((self.instance, *self.names(to)))} and their tags, and "
                "rename by hand",
            )
        return stage

    def describe(self, name: str) -> dict[str, Any] | None:
        """An instance; None where there is none of that name."""
        client = self._client
        with amazon(f"asking for {name}"):
            try:
                found: dict[str, Any] = client.describe_db_instances(DBInstanceIdentifier=name)[
                    "DBInstances"
                ][0]
            except client.exceptions.DBInstanceNotFoundFault:
                return None
        return found

    def _source(self, to: RestorePoint) -> dict[str, Any]:
        """The instance that was live at the point, under whichever name it has by now."""
        aside = self.describe(self.names(to)[1])
        found = aside if aside and _is(aside, ASIDE, to) else self.describe(self.instance)
        if found is None:
            raise UsageError(
                f"there is no RDS instance {self.instance} in {self.region}",
                "correct `recovery.instance` and `recovery.region`",
            )
        return found

    def _settled(self, name: str) -> dict[str, Any] | None:
        """An instance once no rename or creation is under way."""
        deadline = time.monotonic() + self.deadline_s
        while (found := self.describe(name)) and found["DBInstanceStatus"] in (
            "renaming",
            "modifying",
        ):
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{name} is still {found['DBInstanceStatus']} after {self.deadline_s:.0f} s",
                    "look at it in Amazon's console, then go on",
                )
            time.sleep(self.poll_s)
        return found

    def _await(self, name: str, say: Say) -> dict[str, Any]:
        """An instance once it can be used."""
        started = time.monotonic()
        while True:
            found = self.describe(name)
            status, waited = (
                found["DBInstanceStatus"] if found else "not there yet",
                time.monotonic() - started,
            )
            if found and status in _SETTLED and found.get("Endpoint"):
                return found
            if status in _FAILED:
                raise ToolError(
                    f"the instance {name} is {status}", "look at its events in Amazon's console"
                )
            if waited > self.deadline_s:
                raise ToolError(
                    f"the instance {name} is {status} after {waited:.0f} s",
                    "go on later: it is taken up where it stands",
                )
            say(f"waiting for {name}: {status} ({waited:.0f} s)")
            time.sleep(self.poll_s)

    def _await_restorable(self, to: RestorePoint, say: Say) -> None:
        deadline = time.monotonic() + min(self.deadline_s, 1800)
        while (found := self.possible(to)).status is not Status.PASSED:
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{self.instance} cannot be restored to {to.time}: {found.found}", found.remedy
                )
            say(f"waiting until {found.expected} can be restored: {found.found}")
            time.sleep(self.poll_s)

    def _rename(self, old: str, new: str, say: Say) -> None:
        with amazon(f"renaming {old} to {new}"):
            self._client.modify_db_instance(
                DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True
            )
        say(f"{old} is renamed to {new}")
        self._await(new, say)

    def _tag(self, name: str, tags: Mapping[str, str]) -> None:
        found = self.describe(name) or {}
        with amazon(f"tagging {name}"):
            self._client.add_tags_to_resource(
                ResourceName=found["DBInstanceArn"],
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )

    def _backups(self) -> Check:
        id, title = "recovery.backups", "automated backups are kept, and reach to the last minutes"
        source = self.describe(self.instance)
        if source is None:
            return check(
                id,
                title,
                False,
                f"there is no instance {self.instance} in {self.region}",
                "one",
                "correct `recovery.instance` and `recovery.region`",
            )
        days, last = source.get("BackupRetentionPeriod", 0), source.get("LatestRestorableTime")
        if not days or last is None:
            return check(
                id,
                title,
                False,
                f"kept for {days} days, none restorable",
                "at least 1 day",
                "switch automated backups on",
            )
        behind = (datetime.now(UTC) - last).total_seconds() / 60
        return check(
            id,
            title,
            behind <= 15,
            f"kept for {days} days, restorable up to {behind:.0f} min ago",
            "at most 15 min ago",
            "see the instance's events",
        )

    def leads(self) -> Check:
        """Whether the database's URL leads to this instance."""
        id, title = "recovery.instance", "the database's URL leads to this instance"
        address = ((self.describe(self.instance) or {}).get("Endpoint") or {}).get("Address")
        if self.host == address:
            return check(id, title, True, self.host, str(address))
        return unknown(
            id,
            title,
            f"the URL names {self.host}, the instance {self.instance} has {address}: an alias "
            "cannot be followed from here",
            str(address),
            "compare them by hand, then approve; or use the instance's own endpoint in "
            "`database.url`",
        )


def restore_time(to: RestorePoint) -> datetime:
    """The point's time for Amazon, which takes whole seconds: rounded up, see `SETTLE_S`."""
    return datetime.fromtimestamp(math.ceil(datetime.fromisoformat(to.time).timestamp()), UTC)


def _is(instance: Mapping[str, Any], tag: str, to: RestorePoint) -> bool:
    return {"Key": tag, "Value": to.label} in instance.get("TagList", [])


def _like(source: Mapping[str, Any], to: RestorePoint) -> dict[str, Any]:
    """What a restored instance does not have from its source by itself.

    Network, groups, protection, tags.
    """
    tags = [
        tag for tag in source.get("TagList", []) if not tag["Key"].startswith(("aws:", "runbook:"))
    ]
    options = [group["OptionGroupName"] for group in source.get("OptionGroupMemberships", [])]
    wanted = {
        "DBInstanceClass": source.get("DBInstanceClass"),
        "MultiAZ": source.get("MultiAZ"),
        "PubliclyAccessible": source.get("PubliclyAccessible"),
        "DBSubnetGroupName": (source.get("DBSubnetGroup") or {}).get("DBSubnetGroupName"),
        "VpcSecurityGroupIds": [
            group["VpcSecurityGroupId"] for group in source.get("VpcSecurityGroups", [])
        ],
        "DBParameterGroupName": next(
            (group["DBParameterGroupName"] for group in source.get("DBParameterGroups", [])), None
        ),
        "OptionGroupName": next(
            (name for name in options if not name.startswith("default:")), None
        ),
        "DeletionProtection": source.get("DeletionProtection"),
        "CopyTagsToSnapshot": source.get("CopyTagsToSnapshot"),
        "EnableIAMDatabaseAuthentication": source.get("IAMDatabaseAuthenticationEnabled"),
        "EnableCloudwatchLogsExports": source.get("EnabledCloudwatchLogsExports"),
    }
    return {key: value for key, value in wanted.items() if value not in (None, [])} | {
        "Tags": [*tags, {"Key": RECOVERED, "Value": to.label}]
    }


@contextmanager
def amazon(doing: str) -> Iterator[None]:
    """Turn boto3's errors into `ToolError`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ToolError(
            redact(f"{doing} failed: {error}"),
            "see Amazon's answer; credentials come from where boto3 looks for them",
        ) from None
