"""The application's commands.

Stop, start, restart, whatever they are (pm2, docker compose, ssh).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from runbook_lib import process
from runbook_lib.process import Completed

TIMEOUT_S = 300.0
"""Seconds that a command may take."""


def run(
    command: str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run one of the operator's commands to its end.

    Args:
        command: for `/bin/sh -c`.
        env: variables laid over this process's own; secrets go here.
        on_line: called with each redacted line as it comes.

    Raises:
        ToolError: it could not be started, failed or took too long; the error says what became of
            the application.
    """
    remedy = "the application may be down: look at its health, run the command by hand, then resume"
    return process.run(
        command, cwd=cwd, env=env, timeout_s=timeout_s, on_line=on_line, remedy=remedy
    )


__all__ = ["run", "TIMEOUT_S"]
