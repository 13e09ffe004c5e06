"""Operations are told how a migration goes on; no receiver holds it up."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.phases import progress
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.progress import Progress
from tests.phases.conftest import Opened, enter
from tests.prisma.conftest import INIT, Make

FILES = {"20260201000000_first": "SELECT 1;\n", "20260202000000_second": "SELECT 1;\n"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.1)
    monkeypatch.setattr(progress, "LEAVE_S", 0.5)


@pytest.fixture
def notify(tmp_path: Path) -> dict[str, Any]:
    """Operations are told in a file, whose address stands in another one."""
    (tmp_path / "address").write_text((tmp_path / "told.jsonl").as_uri())
    return {"audiences": {"operations": [f"file:{tmp_path / 'address'}"]}}


def until(told: Path, lines: int) -> list[str]:
    """The messages, once so many have come."""
    deadline = time.monotonic() + 60
    while not told.exists() or len(told.read_text().splitlines()) < lines:
        assert time.monotonic() < deadline, "operations were not told"
        time.sleep(0.05)
    return [json.loads(line)["message"] for line in told.read_text().splitlines()]


def test_operations_are_told_where_a_file_was_applied_and_not_again_for_some_minutes(
    make: Make, opened: Opened, deployed: str, tmp_path: Path, notify: dict[str, Any]
) -> None:
    project, told = make(INIT | FILES), tmp_path / "told.jsonl"
    phase = opened(Migrate, project, deployed, notify=notify)
    with Progress(phase, list(FILES), 1000):
        time.sleep(0.5)
        assert not told.exists()
        enter(deployed, project, "20260201000000_first")
        until(told, 1)
        enter(deployed, project, "20260202000000_second")
        time.sleep(0.5)
    (message,) = until(told, 1)
    assert "1 of 2 files are applied" in message and "forecast of" not in message


def test_operations_are_told_where_it_takes_longer_than_the_forecast(
    make: Make, opened: Opened, deployed: str, tmp_path: Path, notify: dict[str, Any]
) -> None:
    told = tmp_path / "told.jsonl"
    phase = opened(
        Migrate, make(INIT | FILES), deployed, notify={**notify, "progress_minutes": 0.01}
    )
    with Progress(phase, list(FILES), 0.3):
        messages = until(told, 2)
    assert all(
        "longer than the forecast" in message and "0 of 2 files" in message for message in messages
    )


def test_a_receiver_that_hangs_is_left_behind(make: Make, opened: Opened, deployed: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        phase = opened(
            Migrate,
            make(INIT | FILES),
            deployed,
            notify={"audiences": {"operations": [f"json://127.0.0.1:{hanging.getsockname()[1]}/"]}},
        )
        with Progress(phase, list(FILES), 0.1):
            connection, _ = hanging.accept()  # it was reached, and hears nothing
            began = time.monotonic()
        connection.close()
        assert time.monotonic() - began < 4  # apprise alone would wait that long
