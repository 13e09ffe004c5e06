"""PostgreSQL's programs: found, judged by version, asked what they can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.demo.embedded import BINARIES
from runbook_lib.errors import UsageError
from runbook_lib.postgres import tools as module
from runbook_lib.postgres.connection import Target
from runbook_lib.postgres.tools import Tools, fits, spelled, tools


def fake(folder: Path, version: str) -> Path:
    """A folder with programs that only know their version."""
    folder.mkdir()
    for name in module.NEEDED:
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_servers_own_version_is_preferred(
    source: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [
        fake(tmp_path / "19", "19.1"),
        BINARIES,
        fake(tmp_path / "15", "15.9 (Debian 15.9-1)"),
    ]
    monkeypatch.setattr(module, "_places", lambda: iter(places))
    assert tools(source).folder == BINARIES


def test_tools_older_than_the_server_are_refused_with_what_was_found(
    source: Target, tmp_path: Path
) -> None:
    folder = fake(tmp_path / "13", "13.9 (Debian 13.9-1)")
    with pytest.raises(
        UsageError,
        match=r"no PostgreSQL tools fit the server's version 1\d; found: 13.9 in .*13\n→ install",
    ):
        tools(source, folder)


def test_a_folder_without_tools_is_refused(source: Target, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found: none"):
        tools(source, tmp_path)


@pytest.mark.parametrize(
    "tool, server, good",
    [
        (15, 15, True),
        (16, 15, True),
        (17, 15, False),
        (18, 17, True),
        (17, 18, False),
        (18, 18, True),
    ],
)
def test_which_versions_fit_which_server(tool: int, server: int, good: bool) -> None:
    assert fits(tool, server) is good


def test_compression_is_what_the_build_can_write(programs: Tools) -> None:
    assert "gzip:2" in programs.compressions
    assert programs.compression() == programs.compressions[0]
    with pytest.raises(UsageError, match="cannot compress with brotli:1"):
        programs.compression("brotli:1")


def test_before_16_a_compression_is_only_a_level() -> None:
    assert [spelled(name, 15) for name in ("gzip:1", "none")] == ["1", "0"]
    assert [spelled(name, 16) for name in ("gzip:1", "none")] == ["gzip:1", "none"]
