"""A configuration that cannot be asked: what is to be done depends on why."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.errors import UsageError
from runbook_lib.prisma import config


@pytest.mark.parametrize(
    ("path", "limit_s", "remedy"),
    [(None, 0.001, "see what holds the configuration up"), ("", 60, "install Node.js")],
)
def test_one_that_takes_too_long_is_no_missing_program(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str | None,
    limit_s: float,
    remedy: str,
) -> None:
    monkeypatch.setattr(config, "LIMIT_S", limit_s)
    if path is not None:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as e:
        config._load(tmp_path, tmp_path / "prisma", "DATABASE_URL", {}, None)
    assert remedy in e.value.remedy
