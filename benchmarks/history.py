"""What an archive of many runs costs its readers: the history, the index page, the start of one
more run.

    python benchmarks/history.py [--quick] [--json FILE]

Makes 2,000 small run folders (200 with `--quick`), each with a journal, evidence and a seal as a
real run has them, and measures what `runbook history` and the index over the archive take. Beside
each figure stands what reading the same run.json files alone takes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook_lib import archive, ledger, params, runner
from runbook_lib.run import create, runs, stamp
from runbook_lib.secret import HOME
from runbook_lib.state import PHASES

LIMITS = {"history_s": 5.0, "index_s": 5.0, "command_s": 5.0, "start_s": 5.0}
OUTCOMES = ("succeeded", "succeeded", "succeeded", "failed", "rolled_back")
JOURNAL = 90
"""Lines of a run's journal, as the demo's runs have them."""


def fill(folder: Path, count: int) -> None:
    """The runs: one made as all are, and the others like it."""
    values = params.load(HOME / "params" / "demo.yaml")
    values["environment"]["archive"] = str(folder)
    first = create(
        values,
        ["20260101000000_first"],
        {
            "host": "h",
            "database": "d",
            "system_identifier": "1",
            "database_oid": 1,
            "server_version": "18.6",
        },
    )
    first.write_evidence(
        "migration",
        {"applied": ["20260101000000_first"], "seconds": 12.0, "forecast_s": 10.0, "attempts": 1},
    )
    first.write_evidence(
        "migrate.difference",
        {
            "changes": [
                {"kind": kind, "name": f"x{n}", "action": "added", "in_words": f"{kind} x{n} added"}
                for n in range(6)
                for kind in ("column", "index", "constraint")
            ]
        },
    )
    state, journal = first.state, first.folder / "journal.jsonl"
    line = journal.read_text().splitlines()[0]
    journal.write_text("\n".join(line for _ in range(JOURNAL)) + "\n")
    archive.seal(first)
    for number in range(2, count + 1):
        started = datetime.now(UTC) - timedelta(hours=6 * (count - number) + 1)
        made = (
            folder / f"{started:%Y%m%dT%H%M%SZ}_{('demo', 'staging', 'production')[number % 3]}"
            "_20260101000000_first"
        )
        shutil.copytree(first.folder, made)
        ends = [stamp(started + timedelta(minutes=minute)) for minute in range(len(PHASES) + 1)]
        changed = state | {
            "run_id": made.name,
            "number": number,
            "environment": made.name.split("_")[1],
            "outcome": OUTCOMES[number % 5],
            "started_at": ends[0],
            "ended_at": ends[-1],
            "duration_s": 540.0 + number % 70,
            "downtime_s": 60.0 + number % 30,
            "phases": [
                {
                    "phase": phase,
                    "status": "succeeded",
                    "started_at": ends[n],
                    "ended_at": ends[n + 1],
                    "notebook": f"{phase}.ipynb",
                    "failed_checks": [],
                }
                for n, phase in enumerate(PHASES)
            ],
        }
        (made / "run.json").chmod(0o644)
        (made / "run.json").write_text(json.dumps(changed, indent=2))


def measure(folder: Path, repeat: int) -> dict[str, float]:
    """Median seconds of each."""
    command = [sys.executable, "-m", "runbook_lib.cli", "history", "--archive", str(folder)]
    return {
        "plain_s": median(
            repeat, lambda: [json.loads(path.read_bytes()) for path in folder.glob("*/run.json")]
        ),
        "history_s": median(repeat, lambda: str(ledger.table(ledger.entries(folder)))),
        "index_s": median(repeat, lambda: runner.index(folder)),
        "command_s": median(
            1, lambda: subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.DEVNULL)
        ),
        "start_s": median(1, lambda: start_and_seal(folder)),
    }


def start_and_seal(folder: Path) -> None:
    """One more run, sealed at once."""
    last = runs(folder)[-1]
    archive.seal(
        create(
            {**last.parameters, "environment": {"name": "demo", "archive": str(folder)}},
            ["x"],
            last.state["target"],
        )
    )


def median(repeat: int, work: Callable[[], Any]) -> float:
    """Seconds."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> int:
    """Measure, print, write, and say whether every limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = 200 if options.quick else 2000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "archive"
        fill(folder, count)
        figures = measure(folder, 1 if options.quick else 3)
    print(f"{count} runs; seconds, median\n")
    for key, value in figures.items():
        limit = LIMITS.get(key)
        print(
            f"{key:<12} {value:8.3f}"
            + (f"   limit {limit:.1f}{'' if value <= limit else '   MISSED'}" if limit else "")
        )
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=2))
    return int(any(figures[key] > limit for key, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
