"""10 Plan: what is pending, what it will do to which tables, and one hash over all of it that approvals are bound to."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, check, not_configured
from runbook_lib.phases.backup import table_sizes
from runbook_lib.phases.base import Phase
from runbook_lib.phases.start import applied
from runbook_lib.phases.talk import tell
from runbook_lib.postgres import catalog, statistics
from runbook_lib.prisma import cli, history, review
from runbook_lib.run import now
from runbook_lib.table import Table, size


class Plan(Phase):
    """Reviews the pending files against this database."""

    name, heading = "plan", "Plan"
    gates = ("plan",)

    @cached_property
    def history(self) -> history.History:
        """The project's files against the database's history."""
        return history.compare(history.files(self.project), applied(self.db, self.target))

    @cached_property
    def sizes(self) -> dict[str, dict[str, Any]]:
        """Bytes and rows by table, now."""
        return table_sizes(statistics.read(self.db))

    @cached_property
    def review(self) -> review.Review:
        """What each pending file will do."""
        return review.review(self.history.pending_files, catalog=catalog.read(self.db).objects, sizes=self.sizes,
                             rule=self.project.transaction_rule, server_major=self.db.server_version // 10_000)

    def pending(self) -> Checks:
        """Whether files, history and the Prisma CLI agree on what is pending."""
        status = cli.status(self.project, self.prisma_url)
        agree = set(status.pending) == set(self.history.pending)
        return self.must_hold("pending", Checks("Pending migrations", [
            *self.history.checks(),
            cli.same_target(status, self.target.host, self.target.port, self.target.database),
            cli.same_files(status, len(history.files(self.project))),
            check("plan.agreement", "`migrate status` and the history table name the same pending files", agree,
                  ", ".join(status.pending) or "none", ", ".join(self.history.pending) or "none",
                  "another deployment may be at work: look again in a minute"),
        ]))

    def findings(self) -> review.Review:
        """The findings of the review, file by file."""
        return self.keep("review", self.review)

    def tables(self) -> Table:
        """The tables that the pending files touch: live size, rows, what happens to each."""
        return self.keep_table("tables", self.review.tables_affected())

    def indexes(self) -> Table:
        """Indexes added and removed: how they are built, and how often the removed ones were used."""
        return self.keep_table("indexes", self.review.indexes())

    def half_way(self) -> Table:
        """What each file leaves behind if it fails half-way."""
        return self.keep_table("atomicity", self.review.atomicity())

    def window(self) -> Checks:
        """The maintenance window."""
        return self.look("window", Checks("Maintenance window", [window_check(self, opening=False)]))

    def tell_stakeholders(self) -> Any:
        """Announce what is planned."""
        names = ", ".join(self.history.pending)
        return tell(self, ["stakeholders"], "planned", f"Database maintenance planned on {self.params.environment.name}",
                    f"These migrations will be applied: {names}. Largest table affected: {self._largest()}.")

    def seal(self) -> Table:
        """Make the plan one object with one hash; later gates compare with it."""
        content = contents(self, [finding.as_dict() for finding in self.review.findings])
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
        self.run.write_evidence("plan", {"hash": digest, **content, "declared": self.review.declared().as_dict()})
        self.run.journal("plan sealed", hash=digest)
        rows = [("hash", digest), *((name, sha) for name, sha in content["files"].items())]
        return Table("The plan that approvals are bound to", ("", "sha256"), rows)

    def gate(self) -> Checks:
        """Pass the plan's gate: a file that does not parse shuts it, a statement that was not understood needs a person."""
        return self.pass_gate("plan", self.look("review.checks", self.review.checks()))

    def keep_table(self, name: str, table: Table) -> Table:
        """Keep a table as CSV evidence."""
        self.run.write_csv(f"{self.name}.{name}", table.columns, table.rows)
        return table

    def _largest(self) -> str:
        sizes = self.sizes
        touched = [name for name in self.review.declared().tables if name in sizes]
        if not touched:
            return "none that exists today"
        largest = max(touched, key=lambda name: sizes[name]["bytes"])
        rows = sizes[largest]["rows"]
        return f"{largest} ({size(sizes[largest]['bytes'])}, {'rows not estimated yet' if rows is None else f'about {rows:,} rows'})"


def contents(phase: Phase, findings: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What a plan is made of: change any of it, and approvals are void."""
    found = history.compare(history.files(phase.project), applied(phase.db, phase.target))
    files = {file.name: file.sha256 for file in history.files(phase.project) if file.name in found.pending}
    return {"target": phase.run.state["target"], "applied": found.applied[-1] if found.applied else None, "files": files,
            "prisma": phase.project.version, "engine": phase.project.engine, "findings": findings or []}


def window_check(phase: Phase, *, opening: bool) -> Check:
    """Whether a window is set; with `opening`, whether it is open now."""
    window = phase.params.migrate.window
    if window is None:
        return not_configured("window", "a maintenance window is set", "migrate.window")
    start, end = window.bounds()
    found = f"{start:%Y-%m-%d %H:%M}–{end:%H:%M %Z} ({start.astimezone(now().tzinfo):%H:%M}–{end.astimezone(now().tzinfo):%H:%M} UTC)"
    if not opening:
        return check("window", "the maintenance window lies ahead or is open", now() < end, found, "not over", "set another window")
    return check("window", "the maintenance window is open", start <= now() < end, f"{found}; now {now():%Y-%m-%d %H:%M} UTC",
                 "now within it", "wait for the window, or set another one and plan again")


PHASE = Plan
