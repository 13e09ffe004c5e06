"""Headless: under cron, for machines, by papermill into object storage; gone on with by another
person; nothing done twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worlds import ROOT, World, make_world, outputs

from runbook_lib import archive, files, runner
from runbook_lib.errors import Refused
from runbook_lib.phases import again
from runbook_lib.postgres.server import free_port
from runbook_lib.run import Run
from tests.journals import elsewhere

pytestmark = pytest.mark.timeout(600)
BUCKET = "s3://runbook-archive"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """moto's S3 in a process of its own, with a bucket; the variables by which papermill's
    handler finds it.
    """
    boto3 = pytest.importorskip("boto3", reason="papermill needs boto3 for s3://")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    found = {
        "BOTO3_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (tmp_path_factory.mktemp("s3") / "log").open("w") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from moto.server import main; main()",
                "-H",
                "127.0.0.1",
                "-p",
                str(port),
            ],
            stdout=log,
            stderr=log,
        )
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            client.create_bucket(Bucket=BUCKET.removeprefix("s3://"))
            break
        except Exception:
            assert server.poll() is None and time.monotonic() < deadline, (
                "moto's server did not answer"
            )
            time.sleep(0.2)
    yield found
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, storage: dict[str, str]) -> Iterator[World]:
    """A platform whose plan waits for a person, and whose archive is mirrored."""

    def change(values: dict[str, Any]) -> None:
        values["approvals"]["required"] = ["plan"]
        values["environment"]["mirror"] = f"{BUCKET}/runs"
        values["backup"]["proof"] = {"level": "hashes"}

    made = make_world(tmp_path_factory.mktemp("headless"), change)
    made.platform.up(lambda line: None, fresh=True)
    yield made
    made.platform.down(lambda line: None)


@pytest.fixture
def cron(world: World, storage: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program as cron does: no terminal, another folder, no HOME, hardly a variable."""

    def command(
        *arguments: str, person: str = "cron", program: str = "runbook_lib.cli"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "RUNBOOK_PERSON": person, **storage, **_here()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
        )

    return command


def _here() -> dict[str, str]:
    """Where this checkout is, for a program that is started in another folder."""
    return {"PYTHONPATH": str(ROOT)} if os.environ.get("PYTHONPATH") else {}


def stored(storage: dict[str, str], key: str) -> str:
    """An object of the bucket, as papermill reads it."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from papermill.iorw import papermill_io as io; "
            "print(io.get_handler(sys.argv[1]).read(sys.argv[1]))",
            f"{BUCKET}/{key}",
        ],
        env={**os.environ, **storage},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


def test_under_cron_machines_read_each_step_and_that_a_person_is_waited_for(
    world: World, cron: Callable[..., Any], storage: dict[str, str]
) -> None:
    done = cron("run", str(world.file), "--to", "plan", "--json")
    assert done.returncode == 3, done.stdout[-2000:] + done.stderr[-2000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert all({"at", "event"} <= event.keys() for event in events)
    steps = [
        (event["phase"], event["step"], event["status"])
        for event in events
        if event["event"] == "step"
    ]
    assert ("start", "open", "succeeded") in steps and steps[-1] == ("plan", "gate", "waiting")
    assert [(event["phase"], event["status"]) for event in events if event["event"] == "phase"] == [
        ("start", "running"),
        ("start", "succeeded"),
        ("plan", "running"),
        ("plan", "waiting"),
    ]
    end = events[-1]
    assert (end["event"], end["outcome"], end["exit_status"]) == ("end", "waiting", 3) and end[
        "next"
    ].startswith("runbook approve ")
    mirrored = next(event for event in events if event["event"] == "mirrored")
    run = world.newest
    assert (
        archive.verify(run) == []
        and mirrored["files"]
        == len(json.loads((run.folder / "manifest.json").read_text())["files"]) + 1
    )
    assert json.loads(stored(storage, f"runs/{run.id}/manifest.json")) == json.loads(
        (run.folder / "manifest.json").read_text()
    )


def test_another_person_goes_on_where_the_folder_is_mounted_elsewhere(
    world: World, cron: Callable[..., Any]
) -> None:
    (world.folder / "mount").symlink_to(world.folder / "archive")
    there = str(world.folder / "mount" / world.newest.id)
    assert (
        cron("approve", there, "plan", "--reason", "read it", "--yes", person="Berta").returncode
        == 0
    )
    done = cron("resume", there, "--to", "plan", person="Berta")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "already done at" in done.stdout and "by cron (typed); it still holds" in done.stdout
    assert world.newest.phase("plan")["who"] == "Berta (typed)"
    assert (
        files.mounted("/elsewhere/backups/20260101T000000Z_x", world.folder / "backups")
        == world.folder / "backups" / "20260101T000000Z_x"
    )


def test_papermill_writes_straight_to_object_storage_and_does_nothing_twice(
    world: World, cron: Callable[..., Any], storage: dict[str, str]
) -> None:
    for number in (1, 2):
        done = cron(
            str(ROOT / "notebooks" / "30_backup.ipynb"),
            f"{BUCKET}/by-papermill-{number}.ipynb",
            "-f",
            str(world.file),
            "--no-progress-bar",
            program="papermill",
        )
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = (
        json.loads(stored(storage, f"by-papermill-{number}.ipynb")) for number in (1, 2)
    )
    assert "already done" not in json.dumps([cell.get("outputs") for cell in first["cells"]])
    assert "already done at" in json.dumps([cell.get("outputs") for cell in second["cells"]])
    assert [entry["phase"] for entry in world.newest.state["phases"]].count("backup") == 1
    assert cron("report", str(world.newest.folder)).returncode == 0
    assert archive.verify(world.newest) == []


def test_what_holds_no_more_is_done_again(world: World, cron: Callable[..., Any]) -> None:
    backup = Path(world.newest.read_evidence("backup")["folder"])
    damaged = next(path for path in sorted((backup / "dump").rglob("*")) if path.is_file())
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert [item.id for item in again.look_at(world.newest, "backup").failed] == ["backup.intact"]
    migration = sorted(
        (world.folder / "demo" / "platform" / "prisma" / "migrations").glob("2026*/migration.sql")
    )[-1]
    migration.write_text(migration.read_text() + "\n-- another word\n")
    done = cron("resume", str(world.newest.folder), "--to", "plan")
    assert (
        done.returncode == 3
        and "it holds no more, and is done again" in done.stdout
        and "was edited" in done.stdout
    ), done.stdout[-2000:]
    assert [entry["phase"] for entry in world.newest.state["phases"]].count("plan") == 3
    assert "already done" not in outputs(
        world.newest.folder / world.newest.phase("plan")["notebook"]
    )


def test_what_began_elsewhere_is_taken_over_only_once_the_database_is_not_at_work_for_it(
    world: World,
) -> None:
    run = world.newest
    run.begin_phase("migrate", "60_migrate.ipynb")
    elsewhere(run)
    with pytest.raises(
        Refused, match="another-machine: whether it is still at work cannot be told from here"
    ):
        runner.settle(run)
    with world.db() as db:
        db.execute(
            "SELECT set_config('application_name', %s, false)",
            [f"runbook/{run.key}/migrate/prisma"],
        )
        with db.transaction():
            db.execute("SELECT 1")
            with pytest.raises(Refused, match="still at work in the database"):
                runner.settle(run, take_over=True)
    runner.settle(Run(run.folder), take_over=True)
    assert (run.outcome, run.phase("migrate")["status"]) == (
        "aborted",
        "aborted",
    ) and "taken over by" in run.phase("migrate")["reason"]


def test_a_mirror_out_of_reach_is_said_and_the_run_stays_whole(
    world: World, storage: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        storage | {"BOTO3_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    ).items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    runner.finish(world.newest, lambda line, **facts: said.append(line))
    assert said[-1].startswith("not mirrored: ") and "tries again" in said[-1]
    assert (
        archive.verify(world.newest) == []
        and world.newest.read_journal()[-2]["what"] == "not mirrored"
    )
