"""99 History: all runs of the archive, from their own records."""

from __future__ import annotations

from typing import Any

from runbook_lib import history
from runbook_lib.phases.base import Phase
from runbook_lib.run import runs
from runbook_lib.show import charts
from runbook_lib.table import Table


class History(Phase):
    """Reads the archive; needs no database."""

    name, heading, needs_database = "history", "History", False

    def table(self) -> Table:
        """All runs, newest first."""
        return history.table(self.params.environment.archive)

    def entry(self) -> history.Entry:
        """This run's entry."""
        return history.entry(self.run)

    def chart(self) -> Any:
        """Duration and downtime of the runs, in the order in which they were made."""
        return charts.history([run.state for run in runs(self.params.environment.archive)])


PHASE = History
