"""Journals as another process, another machine or another hour would have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runbook_lib.run import Run


def begun_by(run: Run, who: str | None = None, process: Mapping[str, Any] | None = None) -> None:
    """Let the newest attempt at a phase have been begun by somebody else, in another process."""
    path = run.folder / "journal.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    newest = [line for line in lines if line["what"] == "phase begun"][-1]
    newest["process"] |= process or {}
    newest["who"] = who or newest["who"]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def elsewhere(run: Run) -> None:
    """Let it have been begun on another machine."""
    begun_by(run, process={"host": "another-machine"})
