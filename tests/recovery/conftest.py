"""Fixtures of point-in-time recovery."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from archived_worlds import NAME, World, archiving, identifier, live

from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.server import free_port, give
from runbook_lib.recovery.local import Local


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server, its base backup, and a day; no test changes them."""
    folder = tmp_path_factory.mktemp("archiving")
    (folder / "wal").mkdir()
    give(folder / "wal")
    server = archiving(folder / "server", folder / "wal")
    target = Target.parse(server.url())
    with Database(target, NAME) as db:
        db.execute(
            "ALTER SYSTEM SET archive_timeout = '1h'"
        )  # a setting that a recovered server must not take over is there, too
    local = Local(
        folder / "wal",
        folder / "bases",
        24,
        identifier(target),
        NAME,
        server.binaries,
        deadline_s=240,
    )
    yield World(server, local, local.make_base(target), live(target))
    server.stop("immediate")


@pytest.fixture
def copied(world: World, tmp_path: Path) -> World:
    """The same with base backups and archive of its own, to be damaged: files are replaced, not
    written to, for they are links.
    """
    local = replace(world.local, archive=tmp_path / "wal", base_backups=tmp_path / "bases")
    shutil.copytree(world.local.archive, local.archive, copy_function=os.link)
    shutil.copytree(
        world.base.folder, local.base_backups / world.base.folder.name, copy_function=os.link
    )
    return replace(world, local=local)


@pytest.fixture(scope="session")
def amazon() -> Iterator[str]:
    """moto's server, in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from moto.server import main; main()",
            "-H",
            "127.0.0.1",
            "-p",
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx.get(f"{url}/moto-api/data.json")
            break
        except httpx.TransportError:
            assert process.poll() is None
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(60)


@pytest.fixture
def client(amazon: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An account with one instance, `clinic`, in a network and with groups of its own."""
    httpx.post(f"{amazon}/moto-api/reset")
    for name, value in {
        "AWS_ENDPOINT_URL": amazon,
        "AWS_ACCESS_KEY_ID": "fictitious",
        "AWS_SECRET_ACCESS_KEY": "fictitious",
    }.items():
        monkeypatch.setenv(name, value)
    made, network = (
        boto3.client("rds", region_name="eu-central-1"),
        boto3.client("ec2", region_name="eu-central-1"),
    )
    made.create_db_parameter_group(
        DBParameterGroupName="clinic-15", DBParameterGroupFamily="postgres15", Description="d"
    )
    subnet = network.describe_subnets()["Subnets"][0]["SubnetId"]
    made.create_db_subnet_group(
        DBSubnetGroupName="inside", DBSubnetGroupDescription="d", SubnetIds=[subnet]
    )
    made.create_db_instance(
        DBInstanceIdentifier="clinic",
        DBInstanceClass="db.m5.large",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="fictitious",
        MasterUserPassword="fictitious-word",
        DBParameterGroupName="clinic-15",
        DBSubnetGroupName="inside",
        BackupRetentionPeriod=7,
        VpcSecurityGroupIds=["sg-12345"],
        DeletionProtection=True,
        Tags=[{"Key": "team", "Value": "clinic"}],
    )
    return made
