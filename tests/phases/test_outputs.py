"""What a cell showed stays in the record when the cell is run again in the same kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from runbook_lib import archive, params, runner
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[2]
TARGET = {
    "host": "h",
    "port": 1,
    "database": "d",
    "system_identifier": "1",
    "database_oid": 1,
    "server_version": "18.6",
}
OPEN = """
from runbook_lib.phases.base import open_phase
phase = open_phase("history", {"run_folder": FOLDER})
times = 0
print("opened")
"""
AGAIN = """
times += 1
print(f"looked {times} times")
if times == 2:
    raise ValueError("a value: " + " ".join(["Ann", "Smith"]))
{"answer": times}
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(tmp_path / "archive")
    return create(values, ["20260101000000_x"], TARGET)


@pytest.fixture
def client(run: Run) -> Iterator[Any]:
    """A kernel as JupyterLab starts it for a notebook of the run."""
    notebook = run.folder / "99_history.ipynb"
    environment = {**os.environ, "JPY_SESSION_NAME": str(notebook), "RUNBOOK_RUN": str(run.folder)}
    environment.pop("RUNBOOK_NOTEBOOK", None)
    manager, found = start_new_kernel(kernel_name="python3", cwd=str(ROOT), env=environment)
    yield found
    found.stop_channels()
    manager.shutdown_kernel(now=True)


def execute(client: Any, cell: str, source: str) -> None:
    """Run a cell as a front end does, which tells its id."""
    content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}}
    content |= {"allow_stdin": False, "stop_on_error": True}
    message = client.session.msg("execute_request", content, metadata={"cellId": cell})
    client.shell_channel.send(message)
    while client.get_shell_msg(timeout=120)["parent_header"].get("msg_id") != message["msg_id"]:
        pass


def test_every_run_of_a_cell_is_kept_in_order_with_what_it_showed(run: Run, client: Any) -> None:
    execute(client, "open", OPEN.replace("FOLDER", repr(str(run.folder))))
    for _ in range(3):
        execute(client, "look", AGAIN)
    lines = run.read_cells()
    assert [line["cell"] for line in lines] == ["open", "look", "look", "look"]
    shown = [
        "".join(one.get("text", "") or one.get("ename", "") for one in line["outputs"])
        for line in lines[1:]
    ]
    assert [text.splitlines()[0] for text in shown] == [f"looked {n} times" for n in (1, 2, 3)]
    assert "ValueError" in shown[1]
    assert "Ann Smith" not in str([line["outputs"] for line in lines])
    page = runner.report(run).read_text()
    assert "99_history: earlier runs of cells" in page
    assert "looked 1 times" in page and "looked 2 times" in page
    archive.seal(run)
    assert archive.verify(run) == []
    (run.folder / "cells.jsonl").chmod(0o644)
    (run.folder / "cells.jsonl").write_text("")
    assert archive.verify(run) == ["cells.jsonl: changed after sealing"]
