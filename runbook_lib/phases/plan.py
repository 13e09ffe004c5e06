"""10 Plan: what is pending, what it will do to which tables, and one hash over it.

Approvals are bound to that hash.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

from runbook_lib import gate, reviewed
from runbook_lib.asked import DANGER, Item
from runbook_lib.check import Check, Checks, check, not_configured, unknown
from runbook_lib.errors import Refused
from runbook_lib.phases import livedata
from runbook_lib.phases.backup import table_sizes
from runbook_lib.phases.base import Phase
from runbook_lib.phases.drift import Drift, find
from runbook_lib.phases.identity import identify, pinned
from runbook_lib.phases.livedata import LiveData
from runbook_lib.phases.start import applied, running_client
from runbook_lib.phases.talk import Message, message
from runbook_lib.postgres import catalog, statistics
from runbook_lib.postgres.catalog import Catalog
from runbook_lib.prisma import cli, client, history, questions, review
from runbook_lib.prisma.names import schema_of
from runbook_lib.prisma.review import Review
from runbook_lib.run import now
from runbook_lib.service.messages import span
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
    def statistics(self) -> statistics.Statistics:
        """Sizes and use of tables and indexes, now."""
        return statistics.read(self.db)

    @cached_property
    def sizes(self) -> dict[str, dict[str, Any]]:
        """Bytes and rows by table."""
        return table_sizes(self.statistics)

    @cached_property
    def found_drift(self) -> Drift:
        """Where the live catalogue is not what the applied files make."""
        return find(self, self.history)

    @cached_property
    def catalog(self) -> Catalog:
        """The live catalogue."""
        return catalog.read(self.db)

    @property
    def objects(self) -> Any:
        """The live catalogue's objects."""
        return self.catalog.objects

    @cached_property
    def review(self) -> Review:
        """What each pending file will do."""
        return review.review(
            self.history.pending_files,
            catalog=self.objects,
            sizes=self.sizes,
            rule=self.project.transaction_rule,
            schema=self.target.schema,
            index_use=self.statistics.indexes,
            server_major=self.db.server_version // 10_000,
            observed=self.found_drift.observed,
        )

    @cached_property
    def live_data(self) -> LiveData:
        """What the pending files demand of the rows that are there, asked of them."""
        demands = questions.questions(
            self.review.statements, self.objects, self.target.schema, self.db.server_version
        )
        return livedata.ask(self, demands)

    @cached_property
    def breaks(self) -> client.Breaks:
        """What of the running client's the pending files take away."""
        running = running_client(self.params, self.target.schema) or client.of_catalog(self.objects)
        return client.breaks(running, self.review.statements, self.objects, self.target.schema)

    def pending(self) -> Checks:
        """Whether files, history and the Prisma CLI agree on what is pending.

        Drift is looked for while the CLI answers.
        """
        status, _ = self.together(
            lambda: cli.status(self.project, self.prisma_url), lambda: self.found_drift
        )
        agree = set(status.pending) == set(self.history.pending)
        checks = self.look(
            "pending",
            Checks(
                "Pending migrations",
                [
                    *self.history.checks(),
                    cli.same_target(
                        status, self.target.shown_host, self.target.port, self.target.database
                    ),
                    cli.same_files(status, len(history.files(self.project))),
                    check(
                        "plan.agreement",
                        "`migrate status` and the history table name the same pending files",
                        agree,
                        ", ".join(status.pending) or "none",
                        ", ".join(self.history.pending) or "none",
                        "another deployment may be at work: look again in a minute",
                    ),
                    self._baseline(status),
                ],
            ),
        )
        return checks.require(accepted=[item.id for item in self.history.checks().unknown])

    def _baseline(self, status: cli.Status) -> Check:
        """Prisma refuses a database that has tables and no history (P3005)."""
        schema, there = self.target.schema, sorted(self.objects["table"])
        tables = [name for name in there if schema_of(name) == schema and not status.managed]
        return check(
            "plan.baseline",
            "the database has a history, or nothing that is older than one",
            not tables,
            f"no history, and {len(tables)} tables, e.g. {tables[0]}" if tables else "yes",
            "a history",
            "baseline it: `npx prisma migrate resolve --applied NAME` for each file whose changes "
            "are there already",
        )

    def drift(self) -> Drift:
        """Where the live catalogue is not what the applied files make."""
        return self.keep("drift", self.found_drift)

    def findings(self) -> Review:
        """The findings of the review, file by file."""
        return self.keep("review", self.review)

    def data(self) -> LiveData:
        """What the files demand of the rows that are there, and how many rows violate it now."""
        return self.keep("data", self.live_data)

    def running_client(self) -> client.Breaks:
        """What the files break for the client that runs now, and the way in steps that does not."""
        return self.keep("client", self.breaks)

    def tables(self) -> Table:
        """The tables that the pending files touch: live size, rows, what happens to each."""
        return self.keep_table("tables", self.review.tables_affected())

    def indexes(self) -> Table:
        """Indexes added and removed.

        How they are built, and how often the removed ones were used.
        """
        return self.keep_table("indexes", self.review.indexes())

    def half_way(self) -> Table:
        """What each file leaves behind if it fails half-way."""
        return self.keep_table("atomicity", self.review.atomicity())

    def window(self) -> Checks:
        """The maintenance window."""
        return self.look(
            "window", Checks("Maintenance window", [window_check(self, opening=False)])
        )

    def stakeholders_message(self) -> Message:
        """What would be announced as planned."""
        return message(
            self.run,
            "planned",
            "migrations are applied to the database; the largest table that they affect: "
            f"{self._largest()}",
            "nothing has been changed; the plan is rehearsed and approved first",
        )

    def tell_stakeholders(self) -> Any:
        """Announce what is planned."""
        try:
            return self.send(self.stakeholders_message())
        except Refused as error:  # what is planned can be read on, and told later
            self.refused(error)
            return Table(f"Nobody was told: {error.message}", ("", ""), [])

    def seal(self) -> Table:
        """Make the plan one object with one hash; later gates compare with it."""
        facts = contents(self) | {
            "findings": [finding.named() for finding in self.review.findings],
            "data": [f"{a.question.place}: {a.question.demand}" for a in self.live_data.answers],
            "client": [f"{item.place}: {item.names}" for item in self.breaks.items],
            "drift": [": ".join(line) for line in self.found_drift.lines],
            "compared": not self.found_drift.why,
        }
        digest = reviewed.digest(facts)
        self.run.write_evidence(gate.facts_name(digest), facts)
        self.run.write_evidence(
            "plan",
            {
                "hash": digest,
                **facts,
                "severe": [*(one.line for one in self._dangers()), *self.live_data.matters()],
                "dangers": [asdict(one) for one in self._dangers()],
                "declared": self.review.declared().as_dict(),
            },
        )
        self.run.journal("plan sealed", hash=digest)
        rows = [
            ("hash", digest),
            *facts["files"].items(),
            ("last applied", (facts["applied"] or ["none"])[-1]),
            *((key, str(facts[key])) for key in ("server", "prisma", "engine", "transactions")),
        ]
        return Table("The plan that approvals are bound to", ("", "sha256, or what it is"), rows)

    def gate(self) -> Checks:
        """Pass the plan's gate.

        A file that does not parse or that must fail shuts it; what is not known for certain needs a
        person.
        """
        return self.pass_gate_once("plan", "gate", self._reviewed)

    def _reviewed(self) -> Checks:
        checks = [
            *self.history.checks().unknown,
            *self.review.checks(),
            self.found_drift.check(),
            options_check(self.catalog),
            *self.live_data.checks(),
        ]
        return self.look("review.checks", Checks("The plan", checks))

    def accepted(self) -> Table:
        """The severe findings of the plan, and who accepted them by opening its gate."""
        approval = gate.standing(self.run, "plan")
        if approval and approval["decision"] != "approved":
            raise Refused(
                f"nobody has accepted this plan: {approval['person']} refused it at "
                f"{approval['at']}: {approval['reason']}",
                "settle it with them, and run the gate's cell again",
            )
        who = (
            (approval["person"], approval["at"], approval["reason"])
            if approval
            else ("nobody was asked for", None, None)
        )
        severe = self.run.read_evidence("plan").get("severe", [])
        rows = [(finding, *who) for finding in severe]
        columns = ("finding", "accepted by", "at (UTC)", "reason")
        return self.keep_table(
            "accepted",
            Table(
                f"{len(rows)} severe findings go with this plan", columns, rows, ["bad"] * len(rows)
            ),
        )

    def _dangers(self) -> list[Item]:
        """What whoever approves has to know of."""
        grave = [
            Item(DANGER, item.rule, item.relation, f"{item.file}:{item.line}", item.why)
            for item in self.review.having(review.Severity.DANGER)
        ]
        broken = [
            Item(DANGER, f"the running client's {item.names}", item.database, item.place, item.why)
            for item in self.breaks.items
        ]
        return [*grave, *broken]

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
        return (
            f"{largest} ({size(sizes[largest]['bytes'])}, "
            f"{'rows not estimated yet' if rows is None else f'about {rows:,} rows'})"
        )


def contents(phase: Phase) -> dict[str, Any]:
    """What a plan stands on, as it is now: change any of it, and approvals are void."""
    on_disk = history.files(phase.project)
    found = history.compare(on_disk, applied(phase.db, phase.target))
    identity = identify(phase.db)
    return {
        "server": identity["server_version"],
        "target": pinned(identity),
        "applied": list(found.applied),
        "history": found.departures(),
        "files": {file.name: file.sha256 for file in on_disk if file.name in found.pending},
        "prisma": phase.project.version,
        "engine": phase.project.engine,
        "transactions": str(phase.project.transaction_rule),
    }


def options_check(found: Catalog) -> Check:
    """Whether every option of tables, columns, indexes and views is one that PostgreSQL documents.

    No comparison sees another.
    """
    title = "every option of tables, columns, indexes and views is known"
    where: dict[str, list[str]] = {}
    for name, options in found.unknown_options.items():
        for option in options:
            where.setdefault(option, []).append(name)
    if not where:
        return check("plan.options", title, True, "all of them")
    said = [
        f"{option} ({len(names)} times, first at {names[0]})" for option, names in where.items()
    ]
    return unknown(
        f"plan.options: {', '.join(sorted(where))}",
        title,
        f"not known: {'; '.join(said)}",
        "all of them",
        "find out who sets them: the server itself, or a person. They are compared nowhere, and a "
        "change of them will not be seen; approve if that may be so",
    )


def window_check(phase: Phase, *, opening: bool) -> Check:
    """Whether a window is set; with `opening`, whether it is open now."""
    window = phase.params.migrate.window
    if window is None:
        return not_configured("window", "a maintenance window is set", "migrate.window")
    start, end = window.bounds()
    found = span(start, end)
    if not opening:
        return check(
            "window",
            "the maintenance window lies ahead or is open",
            now() < end,
            found,
            "not over",
            "set another window",
        )
    return check(
        "window",
        "the maintenance window is open",
        start <= now() < end,
        f"{found}; now {now():%Y-%m-%d %H:%M} UTC",
        "now within it",
        "wait for the window, or set another one and plan again",
    )


PHASE = Plan
