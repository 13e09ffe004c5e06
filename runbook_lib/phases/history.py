"""99 History: all runs of the archive, from their own records."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from runbook_lib import history, ledger, rundiff
from runbook_lib.phases.base import Phase
from runbook_lib.run import Run, runs
from runbook_lib.show import charts
from runbook_lib.table import Table


class History(Phase):
    """Reads the archive in which this run lies; needs no database."""

    name, heading, needs_database = "history", "History", False

    @cached_property
    def entries(self) -> list[history.Entry]:
        """The entries of all runs, newest first."""
        return ledger.entries(self.run.folder.parent)

    def table(self, sort: str = "started", **chosen: str) -> Table:
        """Runs, newest first.

        Args:
            sort: see `ledger.SORTS`.
            chosen: environment, outcome, since (YYYY-MM-DD), migration (a part of a name).
        """
        return ledger.table(ledger.entries(self.run.folder.parent, ledger.Filter(**chosen), sort))

    def chart(self) -> Any:
        """Duration and downtime of the runs, in the order in which they were made."""
        return charts.history([run.state for run in runs(self.run.folder.parent)])

    def forecasts(self) -> Table:
        """What each migration was to take, and took."""
        return ledger.forecasts(self.entries)

    def forecasts_chart(self) -> Any:
        """The same, drawn."""
        table = self.forecasts()
        return charts.forecasts(
            table.title, [(f"{row[0]} {row[1]}", row[3], row[4]) for row in table.rows]
        )

    def rollbacks(self) -> Table:
        """The runs that were led back."""
        return ledger.rollbacks(self.entries)

    def across(self) -> Table:
        """This run's migrations in each environment: its newest run there."""
        return ledger.across(self.entries, self.run.state["migrations"])

    def difference(self, other: str = "") -> rundiff.RunDifference | Table:
        """What differs between this run and another one, in facts.

        Args:
            other: its name; default: the newest run before this one that had one of its migrations,
                in another environment if there is one.
        """
        if other:
            return rundiff.compare(Run(self.run.folder.parent / other), self.run)
        wanted = set(self.run.state["migrations"])
        alike = [
            one
            for one in self.entries
            if one.run_id != self.run.id and wanted & set(one.migrations)
        ]
        chosen = next(
            (one for one in alike if one.environment != self.run.state["environment"]),
            next(iter(alike), None),
        )
        if chosen is None:
            return Table("No other run of this archive had one of these migrations", ("",), [])
        return rundiff.compare(Run(self.run.folder.parent / chosen.run_id), self.run)

    def entry(self) -> history.Entry:
        """This run's entry."""
        return history.entry(self.run)


PHASE = History
