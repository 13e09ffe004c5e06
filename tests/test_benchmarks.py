"""The benchmarks keep working; what they measure is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_each_benchmark_runs_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--quick", "--json", str(file)],
        capture_output=True,
        text=True,
    )
    assert file.exists(), done.stdout + done.stderr
    content = json.loads(file.read_text())
    assert content["limits"].keys() <= content["figures"].keys()
    missed = any(content["figures"][key] > limit for key, limit in content["limits"].items())
    assert done.returncode == int(missed)
