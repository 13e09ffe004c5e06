"""Amazon's interface, as moto's server answers: restored beside, renamed into place, taken up
again wherever it was left.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook_lib.check import Status
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.recovery import rds
from runbook_lib.recovery.point import RestorePoint
from runbook_lib.recovery.rds import Rds, Stage


@pytest.fixture
def provider(client: Any) -> Rds:
    host = client.describe_db_instances(DBInstanceIdentifier="clinic")["DBInstances"][0][
        "Endpoint"
    ]["Address"]
    return Rds("clinic", "eu-central-1", host, deadline_s=30, poll_s=0.01)


@pytest.fixture
def point() -> RestorePoint:
    return RestorePoint(
        "",
        "0/3000028",
        (datetime.now(UTC) - timedelta(seconds=2)).isoformat(),
        "0" * 24,
        "permission denied",
    )


def names(client: Any) -> set[str]:
    return {one["DBInstanceIdentifier"] for one in client.describe_db_instances()["DBInstances"]}


def states(client: Any) -> list[dict[str, Any]]:
    return [
        one | {"LatestRestorableTime": None}
        for one in client.describe_db_instances()["DBInstances"]
    ]


def test_the_recovered_instance_takes_the_live_ones_place_and_nothing_is_deleted(
    client: Any, provider: Rds, point: RestorePoint
) -> None:
    lines: list[str] = []
    recovered, failed = provider.names(point)
    assert provider.stage(point) is Stage.NOT_BEGUN
    assert recovered in provider.recover(point, lines.append) and names(client) == {
        "clinic",
        recovered,
    }
    done = provider.replace(point, lines.append)
    assert names(client) == {"clinic", failed} and (done.live, done.failed) == ("clinic", failed)
    assert provider.stage(point) is Stage.DONE and any(
        "is renamed to clinic" in line for line in lines
    )


def test_the_recovered_instance_has_network_groups_protection_and_tags_of_its_source(
    client: Any, provider: Rds, point: RestorePoint
) -> None:
    provider.recover(point)
    found = client.describe_db_instances(DBInstanceIdentifier=provider.names(point)[0])[
        "DBInstances"
    ][0]
    assert (
        found["DBSubnetGroup"]["DBSubnetGroupName"],
        found["DBParameterGroups"][0]["DBParameterGroupName"],
    ) == ("inside", "clinic-15")
    assert [group["VpcSecurityGroupId"] for group in found["VpcSecurityGroups"]] == [
        "sg-12345"
    ] and found["DeletionProtection"]
    assert {tag["Key"] for tag in found["TagList"]} == {"team", rds.RECOVERED}


@pytest.mark.parametrize("left", [Stage.RECOVERED, Stage.BETWEEN, Stage.DONE])
def test_an_interrupted_attempt_is_taken_up_where_it_was_left(
    client: Any, provider: Rds, point: RestorePoint, left: Stage
) -> None:
    recovered, failed = provider.names(point)
    provider.recover(point)
    if left is Stage.BETWEEN:
        provider._tag("clinic", {rds.ASIDE: point.label})
        provider._rename("clinic", failed, print)
    if left is Stage.DONE:
        provider.replace(point)
    assert provider.stage(point) is left
    provider.recover(point)
    provider.replace(point)
    assert names(client) == {"clinic", failed} and provider.stage(point) is Stage.DONE


def test_an_instance_of_that_name_that_is_not_ours_is_left_alone(
    client: Any, provider: Rds, point: RestorePoint
) -> None:
    client.create_db_instance(
        DBInstanceIdentifier=provider.names(point)[0],
        DBInstanceClass="db.m5.large",
        Engine="postgres",
    )
    before = states(client)
    for step in (provider.recover, provider.replace):
        with pytest.raises(UsageError, match="unclear"):
            step(point)
    assert states(client) == before


def test_replacing_before_recovering_is_refused(
    client: Any, provider: Rds, point: RestorePoint
) -> None:
    with pytest.raises(UsageError, match="no recovered instance"):
        provider.replace(point)
    assert names(client) == {"clinic"}


def test_a_point_that_cannot_be_restored_yet_is_waited_for_and_then_said(
    client: Any, provider: Rds, point: RestorePoint
) -> None:
    later = replace(point, time=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert (
        provider.possible(point).status is Status.PASSED
        and provider.possible(later).status is Status.FAILED
    )
    with pytest.raises(ToolError, match="cannot be restored to"):
        replace(provider, deadline_s=0.1).recover(later)
    assert names(client) == {"clinic"}


def test_the_time_for_amazon_is_the_next_whole_second(point: RestorePoint) -> None:
    assert (
        rds.restore_time(replace(point, time="2026-11-24T02:00:00.250000+00:00")).isoformat()
        == "2026-11-24T02:00:01+00:00"
    )


def test_names_beside_a_long_one_are_names_that_amazon_allows(
    provider: Rds, point: RestorePoint
) -> None:
    for name in replace(provider, instance="c" * 37 + "-" + "d" * 25).names(point):
        assert len(name) <= 63 and "--" not in name and not name.endswith("-")


def test_the_checks_of_a_good_instance_pass(provider: Rds) -> None:
    assert [one.status for one in provider.checks()] == [Status.PASSED, Status.PASSED]


def test_no_backups_another_name_and_no_answer_are_told_apart(
    client: Any, provider: Rds, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.modify_db_instance(
        DBInstanceIdentifier="clinic", BackupRetentionPeriod=0, ApplyImmediately=True
    )
    assert provider.checks()[0].status is Status.FAILED
    assert replace(provider, host="db.example.invalid").checks()[1].status is Status.UNKNOWN
    assert replace(provider, instance="clinic-2").checks()[0].status is Status.FAILED
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert {one.status for one in replace(provider, deadline_s=4).checks()} == {Status.UNKNOWN}
