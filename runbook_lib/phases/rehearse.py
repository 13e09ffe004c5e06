"""20 Rehearse: the pending files on copies.

Statement by statement, by the real CLI under load, and made to fail; then the way back.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from runbook_lib import gate
from runbook_lib.check import Check, Checks, Status, attempt, check, nothing, unknown
from runbook_lib.errors import GateError, ToolError
from runbook_lib.phases import atomicity, baseline, declared, measured, rehearsal
from runbook_lib.phases.backup import make_backup, newest_proven
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.phases.checks import structure_checks
from runbook_lib.phases.data import changed_tables, data_checks
from runbook_lib.phases.identity import describe, identify
from runbook_lib.phases.rehearsal import Measured, rehearsed
from runbook_lib.phases.start import applied
from runbook_lib.postgres import (
    catalog,
    databases,
    disk,
    health,
    integrity,
    invalid,
    probes,
    restore,
    scratch,
    snapshot,
    swap,
    timeline,
)
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.costs import Costs
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools, tools
from runbook_lib.prisma import cli, generation, history, review
from runbook_lib.prisma.declared import Declared
from runbook_lib.prisma.transactions import Atomicity
from runbook_lib.run import now
from runbook_lib.table import Table, size

PROOF_BYTES = 5 * 2**30
"""The copies in which files are made to fail are no larger, all together: of further files it could
not be checked what they leave.
"""


class Rehearse(Phase):
    """Apply the pending files to copies, measure and validate them, roll back, time each."""

    name, heading = "rehearse", "Rehearse"
    gates = ("rehearse",)
    waived = ""
    """Why no rehearsal can be made, where a person decided to go on without one."""
    _apart: Checks | None = None
    _not_compared = ""
    """Why schema file and copy could not be compared."""

    @cached_property
    def tools(self) -> Tools:
        """pg_dump and its kin."""
        return tools(
            self.target, self.params.database.tools, application_name=self.application_name
        )

    @cached_property
    def source(self) -> Backup:
        """Return what is rehearsed on: the newest proven backup, else one made now.

        It must be of this database and this history.
        """
        found = newest_proven(self)
        if found and found.snapshot.tables.keys() == self._tables() and self._same_history(found):
            self.say(f"rehearsing on the proven backup {found.folder.name}")
            return found
        self.say("there is no proven backup of this state: making one for the rehearsal")
        return make_backup(
            self,
            self.params.backup.directory
            / f"{now():%Y%m%dT%H%M%SZ}_{self.target.database}_rehearsal",
            self.tools,
        )

    def prepare(self) -> Checks:
        """Restore the copy.

        If none can be made, a person decides whether to go on without a rehearsal.
        """
        self._unclear = dict[str, Check]()
        self._proofs = dict[str, tuple[Target, ExitStack]]()
        found = self._copied() if self.decided is None else gate.checks_of(self.decided)
        if found.unknown:
            self.pass_gate_once("rehearse", "prepare", lambda: found)
            self.waived = "; ".join(item.found for item in found.unknown)
            self.run.write_evidence(
                "rehearse.waived", {"why": self.waived, "plan": gate.plan_hash(self.run)}
            )
            self.run.journal("rehearsal waived", why=self.waived)
        return found

    def _copied(self) -> Checks:
        checks = self._possible()
        if all(item.status is Status.PASSED for item in checks):
            checks.append(attempt("rehearse.copy", "a copy was restored", self._restore))
        return self.look("possible", Checks("A rehearsal can be made", checks))

    @rehearsed
    def measure(self) -> Costs:
        """Run every statement by itself on a copy of the copy, and tell what it cost.

        In the transactions that Prisma makes.
        """
        for _, stack in self._proofs.values():
            stack.close()
        self._review, self._proofs = self._reviewed(), {}
        self._used: set[str] = set()
        self._statements = measured.by_file(self._review.statements)
        self._costs, self._said = measured.measured(
            self,
            self._copy,
            self._statements,
            self._keep_for_proof,
            meanwhile=lambda: cli.status(self.project, self._url(self._copy)),
        )
        table = measured.by_statement(self.keep("statements", self._costs))
        self.run.write_csv("rehearse.statements", table.columns, table.rows)
        return self._costs

    @rehearsed
    def apart(self) -> Checks:
        """The copy is not the target, by every mark that each has.

        And the CLI went to the copy when it was told to.
        """
        with (
            databases.maintenance(self.target, self.application_name) as admin,
            self._on_copy() as db,
        ):
            there, copy, pinned = databases.entries(admin), identify(db), self.run.state["target"]
        mark, live = there[self._copy.database].comment, there[self.target.database]
        two = (
            copy["database_oid"] != pinned["database_oid"] == live.oid
            and self._copy.database.startswith(scratch.PREFIX)
            and mark.startswith(databases.SCRATCH)
            and not live.comment.startswith(databases.SCRATCH)
        )
        self._apart = self.look(
            "apart",
            Checks(
                "The copy is not the target",
                [
                    check(
                        "rehearse.apart",
                        "copy and target are two databases, by number, name and comment",
                        two,
                        f"{describe(copy)}; target {describe(pinned)}",
                        "two",
                        "find out who works on this server, and repeat",
                    ),
                    cli.same_target(
                        self._said, self._copy.shown_host, self._copy.port, self._copy.database
                    ),
                ],
            ),
        ).require()
        return self._apart

    @rehearsed
    def migrate(self) -> Table:
        """Apply the pending files to the copy with the real Prisma CLI.

        Meanwhile readers and writers are at work on its tables.
        """
        self._require_apart()
        touched = {held.table for cost in self._costs for held in cost.locks} | {
            table for one in self._review.statements for table in one.effect.tables
        }
        live = applied(self.db, self.target)
        with self._on_copy() as db:
            if applied(db, self._copy) != live:
                raise GateError(
                    "the copy has another history than the target: an attempt before has migrated "
                    "it",
                    "run the cells from `phase.prepare()` on again: it makes a new copy",
                )
            before = catalog.read(db)
            self._baseline = baseline.taken(
                db,
                self.application_name,
                Declared.from_dict(self._declared),
                self.project.schema,
                self.jobs,
            )
            self._before = snapshot.take(
                self._copy,
                self.application_name,
                columns=declared.kept_columns(before.objects, self._declared),
            )
            with (
                timeline.Sampler(
                    self._copy, f"{self.application_name}/sampler", self.prisma_name
                ) as sampler,
                probes.Load(
                    self._copy,
                    self.application_name,
                    sorted(touched),
                    limit_s=self.params.migrate.deadline_s,
                    live=self.db,
                ) as load,
            ):
                done = cli.deploy(
                    self.project,
                    self._url(self._copy),
                    timeout_s=self.params.migrate.deadline_s,
                    on_line=self.say,
                )
            self._difference = self.keep("difference", catalog.difference(before, catalog.read(db)))
            self._files, self._migrate_s = (
                durations(applied(db, self._copy), done.applied),
                done.seconds,
            )
        self._stalls, self._locks = (
            self.keep("stalls", load.stalls()),
            self.keep("locks", sampler.timeline()),
        )
        self.look(
            "untouched",
            Checks(
                "The target was left alone",
                [
                    check(
                        "rehearse.untouched",
                        "the target's history is as it was",
                        applied(self.db, self.target) == live,
                        "compared",
                        "unchanged",
                    )
                ],
            ),
        ).require()
        return Table(
            f"{len(done.applied)} files applied to the copy in {done.seconds:.1f} s, under load",
            ("file", "seconds"),
            list(self._files.items()),
        )

    @rehearsed
    def stalls(self) -> probes.Stalls:
        """How long readers and writers of each table stalled meanwhile."""
        return self._stalls

    @rehearsed
    def stall_chart(self) -> Any:
        """The same over time."""
        return rehearsal.stall_chart(self._stalls, self.params.migrate.max_stall_s)

    @rehearsed
    def lock_chart(self) -> Any:
        """Which tables were locked from when to when, and who waited behind whom."""
        return rehearsal.lock_chart(self._locks)

    @rehearsed
    def difference(self) -> catalog.Difference:
        """What changed in the copy's catalogue."""
        return self._difference

    @rehearsed
    def validate(self) -> Checks:
        """The same checks that will run on the night, on the copy.

        What was seen there becomes the promise.
        """
        url = self._url(self._copy)
        self._differing = self.keep("differing", self._compared(url))
        self._after = declared.taken_again(self._before, self._copy, self.application_name)
        content = declared.compare(self._before, self._after, self._declared)
        said = Declared.from_dict(self._declared)
        with self._on_copy() as db:
            now = [
                *integrity.foreign_keys(db, jobs=self.jobs).checks(),
                *structure_checks(db),
                *data_checks(db, changed_tables(content), said, self.project.schema),
            ]
        new = baseline.held_against(self._baseline, now, said)
        client = generation.trial(self.project, self.params.prisma.generate, "rehearse.client")
        checks = [*new, *content.checks(), self._drift(), client]
        found = self._must_not_fail("validation", Checks("The migrated copy", checks))
        self.run.write_evidence(
            "promise",
            {
                "plan": gate.plan_hash(self.run),
                "difference": self._difference.as_dict(),
                "differing": self._differing,
            },
        )
        return found

    @rehearsed
    def drift(self) -> Table:
        """Return what `migrate diff` would still change after every file is applied.

        It compares the database with the schema file.
        """
        columns = ("what would make the database as the schema file has it",)
        if (lines := self._differing) is None:
            return Table("Could not check", columns, [(self._not_compared,)], ["unknown"])
        title = (
            "Remark: with every file applied, schema file and database differ in "
            f"{statements(len(lines))}"
            if lines
            else "Schema file and database say the same"
        )
        return Table(title, columns, [(line,) for line in lines], ["unknown"] * len(lines))

    @rehearsed
    def size_chart(self) -> Any:
        """Sizes before and after."""
        return rehearsal.size_chart(self._before, self._after)

    @rehearsed
    def atomicity(self) -> Checks:
        """Make each file fail after its last statement, on a copy of its own.

        And see whether it leaves what the plan says.
        """
        self._require_apart()
        tries = [partial(self._try, predicted) for predicted in self._review.files_atomicity]
        none = nothing("atomicity", "each file leaves what the plan says", "no file is pending")
        return self._must_not_fail(
            "atomicity",
            Checks(
                "What each file leaves when it fails", self.together(*tries) if tries else [none]
            ),
        )

    @rehearsed
    def roll_back(self) -> Table:
        """Rehearse the way back on the copy.

        Restore beside, swap by name, compare with the backup.
        """
        with (
            scratch.reserved(self.target, "rollback", self.application_name) as beside,
            scratch.reserved(self.target, "failed", self.application_name) as aside,
        ):
            restored = restore.restore(
                self.source,
                beside.target,
                self.application_name,
                tools=self.tools,
                jobs=self.jobs,
                mark=beside.mark,
                on_line=self.say,
            )
            swapped = swap.swap(
                self.target,
                self._copy.database,
                beside.target.database,
                aside.target.database,
                self.application_name,
            )
            verified = restore.compare_with(
                self.source, self._copy, self.application_name, jobs=self.jobs
            )
            self.look("rollback", verified.checks()).require()
            with databases.maintenance(self.target, self.application_name) as admin:
                databases.comment_on(
                    admin, aside.target.database, aside.mark
                )  # a scratch database again, and dropped as one
        costs = self._costs.as_dict()
        self.measured = Measured(
            self._restored.total_seconds,
            self._migrate_s,
            self._files,
            restored.total_seconds + swapped.closed_s,
            swapped.closed_s,
            self._stalls.as_dict(),
            **{
                key: costs[key]
                for key in ("statements", "wal_bytes", "size_growth_bytes", "peak_bytes")
            },
        )
        self.run.write_evidence("rehearsal", asdict(self.measured))
        return Table(
            "The way back was rehearsed: the copy is identical to the backup again",
            ("step", "seconds"),
            [("restore beside", restored.total_seconds), ("swap by name", swapped.closed_s)],
        )

    @rehearsed
    def forecast(self) -> Checks:
        """Go or no-go against the budgets of the parameters.

        Whatever this rehearsal could not check needs a person.
        """
        return self.pass_gate_once("rehearse", "forecast", self._go_or_no_go)

    def _go_or_no_go(self) -> Checks:
        whole = (
            unknown("forecast.statements", "every statement was measured", self._costs.failed)
            if self._costs.failed
            else check(
                "forecast.statements",
                "every statement was measured",
                True,
                f"{len(self._costs.items)} statements",
            )
        )
        checks = [
            *rehearsal.budgets(self.measured, self.params),
            *rehearsal.stall_checks(self._stalls, self.params.migrate.max_stall_s),
            rehearsal.room_check(self._costs, disk.disk(self.db)),
            whole,
            *self._unclear.values(),
        ]
        return self.look("forecast", Checks("Go or no-go", checks))

    @rehearsed
    def chart(self) -> Any:
        """What each step took."""
        return rehearsal.duration_chart(self.measured)

    def _require_apart(self) -> None:
        if self._apart is None:
            raise GateError(
                "it is not proven that the Prisma CLI goes to the copy",
                "run the cell that proves it first",
            )

    def _possible(self) -> list[Check]:
        """What copies need, as far as it can be known beforehand.

        The right to make them, and room for those that are there at a time.
        """
        right = bool(
            self.db.value(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            )
        )
        title, remedy = (
            "the role may create databases",
            "ALTER ROLE … CREATEDB; or a person decides to go on without a rehearsal",
        )
        checks = [
            check("rehearse.right", title, True, "yes")
            if right
            else unknown("rehearse.right", title, "it may not create databases", "CREATEDB", remedy)
        ]
        disks, one = disk.disk(self.db), health.server_facts(self.db).database_bytes
        need = 2 * one + min(PROOF_BYTES, one * len(self.run.state["migrations"]))
        free = min(place.free_bytes or 0 for place in disks) if disks.known else None
        if free is not None:
            title, found = "the server has room for the copies", f"{size(free)} free"
            checks.append(
                check("rehearse.room", title, True, found, size(need))
                if free >= need
                else unknown("rehearse.room", title, found, size(need), "make room")
            )
        return checks

    def _restore(self) -> Check:
        source = self.source
        place = self.resources.enter_context(
            scratch.reserved(self.target, "rehearsal", self.application_name, self.say)
        )
        self._copy = place.target
        self._restored = restored = restore.restore(
            source,
            place.target,
            self.application_name,
            tools=self.tools,
            jobs=self.jobs,
            mark=place.mark,
            on_line=self.say,
        )
        lacking = invalid.left_behind(self._copy, source.catalog(), self.application_name)
        said = "".join(
            f"; remark: the copy is without the invalid index {name}: {why}"
            for name, why in lacking.items()
        )
        return check(
            "rehearse.copy",
            "a copy was restored",
            True,
            f"{source.folder.name} in {restored.total_seconds:.1f} s{said}"
            + "".join(f"; left out: {item}" for item in restored.left_out),
        )

    def _reviewed(self) -> review.Review:
        """What each statement does, as 10_plan has it, with the statements."""
        with self._on_copy() as db:
            pending = history.compare(
                history.files(self.project), applied(db, self._copy)
            ).pending_files
            return review.review(
                pending,
                catalog=catalog.read(db).objects,
                rule=self.project.transaction_rule,
                schema=self.target.schema,
            )

    def _keep_for_proof(self, file: str, place: Target) -> None:
        """Keep a copy of the database as it is before a file, unless it is too large.

        It proves what the file leaves.
        """
        predicted = next((one for one in self._review.files_atomicity if one.file == file), None)
        if (
            predicted
            and not atomicity.why_not(predicted)
            and self.source.snapshot.database_bytes * (len(self._proofs) + 1) <= PROOF_BYTES
        ):
            stack = self.resources.enter_context(ExitStack())
            self._proofs[file] = (
                stack.enter_context(
                    scratch.scratch(self.target, "atomicity", self.application_name, place.database)
                ),
                stack,
            )

    def _try(self, predicted: Atomicity) -> Check:
        if atomicity.why_not(predicted):
            return atomicity.settled(predicted)
        if predicted.file in self._used:
            return atomicity.untried(predicted, "its copy was used by an earlier attempt")
        if predicted.file not in self._proofs:
            large = (
                f"the database has {size(self.source.snapshot.database_bytes)}, and copies for "
                f"this are made up to {size(PROOF_BYTES)} in all"
            )
            return atomicity.untried(predicted, self._costs.failed or large)
        copy, stack = self._proofs[predicted.file]
        self._used.add(predicted.file)
        found = [one for one in history.files(self.project) if one.name == predicted.file]
        with stack:
            if not found:
                return atomicity.untried(predicted, "its file is not in the project any more")
            file = found[0]
            return atomicity.tried(
                self, copy, self._url(copy), file, self._statements[file.name], predicted
            )

    def _must_not_fail(self, name: str, checks: Checks) -> Checks:
        """Keep checks, and go on where none failed.

        What could not be checked is asked of a person once, at the end.
        """
        found = self.look(name, checks)
        self._unclear |= {item.id: item for item in found.unknown}
        return found.require(accepted=[item.id for item in found.unknown])

    def _drift(self) -> Check:
        """Not this migration's failure; the night has to see the same."""
        id, lines = "rehearse.pull", self._differing
        title = (
            "`db pull` reads the database, and what `migrate diff` finds is known before the night"
        )
        if lines is None:
            remedy = "run both by hand in the project's folder; then approve"
            return unknown(id, title, self._not_compared, "compared", remedy)
        return check(
            id,
            title,
            True,
            f"remark: schema file and database differ in {statements(len(lines))}, shown below"
            if lines
            else "no difference",
            "no difference",
        )

    def _compared(self, url: str) -> list[str] | None:
        """Return what `migrate diff` would change, once `db pull` has read the copy.

        None where one of them failed.
        """
        try:
            differing, _ = self.together(
                lambda: cli.differing(self.project, url), lambda: cli.db_pull(self.project, url)
            )
        except ToolError as error:
            self._not_compared = error.message.splitlines()[0]
            return None
        return list(differing)

    @property
    def _declared(self) -> dict[str, Any]:
        found: dict[str, Any] = self.run.read_evidence("plan")["declared"]
        return found

    def _url(self, copy: Target) -> str:
        limits = self.params.migrate
        return copy.url(
            self.prisma_name,
            lock_timeout=milliseconds(limits.lock_timeout_s),
            statement_timeout=milliseconds(limits.statement_timeout_s),
        )

    def _on_copy(self) -> Database:
        return Database(self._copy, self.application_name, statement_timeout="10min")

    def _tables(self) -> set[str]:
        return set(catalog.read(self.db).objects["table"])

    def _same_history(self, made: Backup) -> bool:
        """Whether the live database has the history that the backup has.

        The same rows in Prisma's table.
        """
        name = f"{self.target.schema}._prisma_migrations"
        live = snapshot.take(
            self.target, self.application_name, tables=[name], method=Method(made.snapshot.method)
        )
        return live.tables[name].fingerprints[0] == made.snapshot.tables[name].fingerprints[0]


def statements(count: int) -> str:
    """Return a number of statements in words."""
    return "1 statement" if count == 1 else f"{count} statements"


def durations(rows: list[dict[str, Any]], names: Any) -> dict[str, float]:
    """Seconds by file, from Prisma's history table."""
    return {
        row["migration_name"]: (row["finished_at"] - row["started_at"]).total_seconds()
        for row in rows
        if row["migration_name"] in names and row["finished_at"]
    }


PHASE = Rehearse
