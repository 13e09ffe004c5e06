"""A run that is not one: phases ask what they ask with it, and nothing is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook_lib.params import Params
from runbook_lib.run import Run


class Unrecorded(Run):
    """Stands for a run before there is one.

    What is written to it goes nowhere, and it holds no evidence.

    Args:
        params: what the run would be started with.
        target: what identifies the database.
    """

    key = "check"
    sealed = False
    outcome = "running"

    def __init__(self, params: Params, target: Mapping[str, Any]) -> None:
        self.folder, self._params, self._target = Path(os.devnull), params, dict(target)

    @property
    def params(self) -> Params:
        """What the run would be started with."""
        return self._params

    @property
    def state(self) -> dict[str, Any]:
        """What run.json would say."""
        return {
            "environment": self._params.environment.name,
            "production": self._params.environment.production,
            "target": self._target,
            "migrations": [],
            "phases": [],
            "outcome": self.outcome,
        }

    def journal(self, what: str, **facts: Any) -> None:
        """Keep nothing."""

    def read_journal(self, having: Any = None) -> list[dict[str, Any]]:
        """Nothing has happened."""
        return []

    def read_approvals(self) -> list[dict[str, Any]]:
        """Nobody has decided."""
        return []

    def write_evidence(self, name: str, content: Any) -> Path:
        """Keep nothing."""
        return self.folder

    def write_csv(self, name: str, columns: Any, rows: Any) -> Path:
        """Keep nothing."""
        return self.folder

    def has_evidence(self, name: str) -> bool:
        """Nothing was kept."""
        return False

    def read_evidence(self, name: str, *, missing: Any = None) -> Any:
        """Nothing was kept."""
        return missing
