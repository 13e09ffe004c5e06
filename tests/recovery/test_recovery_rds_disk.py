"""The disk of an RDS instance, by CloudWatch as moto's server answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from runbook_lib.recovery import rds_disk
from runbook_lib.recovery.rds import Rds


def put(free: float, minutes_ago: float) -> None:
    """What CloudWatch measured, and when."""
    boto3.client("cloudwatch", region_name="eu-central-1").put_metric_data(
        Namespace="AWS/RDS",
        MetricData=[
            {
                "MetricName": "FreeStorageSpace",
                "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": "clinic"}],
                "Timestamp": datetime.now(UTC) - timedelta(minutes=minutes_ago),
                "Value": free,
                "Unit": "Bytes",
            }
        ],
    )


def test_the_newest_measurement_counts_and_none_or_an_old_one_is_unknown(client: Any) -> None:
    host = client.describe_db_instances(DBInstanceIdentifier="clinic")["DBInstances"][0][
        "Endpoint"
    ]["Address"]
    provider = Rds("clinic", "eu-central-1", host)
    put(19 * 2**30, 60)
    assert "measured nothing" in rds_disk.room(provider).why
    put(9 * 2**30, 5)
    put(8 * 2**30, 2)
    found = rds_disk.room(provider)
    assert (found.free_bytes, found.total_bytes, found.why) == (8 * 2**30, 20 * 2**30, "")
    assert (
        "an alias cannot be followed"
        in rds_disk.room(Rds("clinic", "eu-central-1", "db.example.invalid")).why
    )


def test_an_amazon_that_does_not_answer_is_unknown(client: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "asking for clinic failed" in rds_disk.room(Rds("clinic", "eu-central-1", "h")).why
