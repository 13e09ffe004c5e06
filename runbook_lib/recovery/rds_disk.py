"""The disk of an instance of Amazon RDS, as CloudWatch last measured it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runbook_lib.check import Status
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.postgres.disk import DATA, Disk
from runbook_lib.recovery.rds import Rds, amazon

LATEST = timedelta(minutes=15)
"""How old a measurement may be; CloudWatch makes one a minute."""


def room(of: Rds) -> Disk:
    """Return the free part of the allocated storage.

    The metric `FreeStorageSpace`, in bytes: Amazon's "CloudWatch metrics for RDS".

    It is unknown where the database's URL does not lead to the instance, where CloudWatch has no
    new measurement, and for Aurora, whose storage is not the instance's.
    """
    place = f"as CloudWatch tells of {of.instance}"
    try:
        leads = of.leads()
        if leads.status is not Status.PASSED:
            return Disk(DATA, place, why=leads.found)
        found = of.describe(of.instance) or {}
        free = _free(of)
    except (ToolError, UsageError) as error:
        return Disk(DATA, place, why=error.message)
    if str(found.get("Engine", "")).startswith("aurora"):
        return Disk(DATA, place, why="Aurora's storage grows by itself, and is not the instance's")
    if free is None:
        return Disk(
            DATA,
            place,
            why=f"CloudWatch has measured nothing in the last {LATEST.seconds // 60} minutes",
        )
    return Disk(DATA, place, free, int(found["AllocatedStorage"]) * 2**30)


def _free(of: Rds) -> int | None:
    import boto3

    now = datetime.now(UTC)
    with amazon(f"asking CloudWatch for {of.instance}"):
        points = boto3.client("cloudwatch", region_name=of.region).get_metric_statistics(
            Namespace="AWS/RDS",
            MetricName="FreeStorageSpace",
            Dimensions=[{"Name": "DBInstanceIdentifier", "Value": of.instance}],
            StartTime=now - LATEST,
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["Minimum"],
        )["Datapoints"]
    return int(max(points, key=lambda one: one["Timestamp"])["Minimum"]) if points else None
