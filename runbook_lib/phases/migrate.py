"""60 Migrate: the gate, `prisma migrate deploy` under watch, and the proof of the change.

Exactly the planned change must have been made.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from runbook_lib import gate
from runbook_lib.check import Check, Checks, attempt, check, unknown
from runbook_lib.errors import (
    Aborted,
    DatabaseError,
    GateError,
    NotRecorded,
    beside,
    under_way,
)
from runbook_lib.phases import cause, kernel, livedata, recovery, salvage
from runbook_lib.phases.application import Application
from runbook_lib.phases.attempts import Attempts
from runbook_lib.phases.backup import backup_checks
from runbook_lib.phases.base import Phase
from runbook_lib.phases.checks import project_check, same_changes, up_to_date
from runbook_lib.phases.plan import contents, window_check
from runbook_lib.phases.progress import Progress
from runbook_lib.phases.readings import recording
from runbook_lib.phases.rehearse import durations, statements
from runbook_lib.phases.server import minute_checks
from runbook_lib.phases.start import applied
from runbook_lib.phases.watch import Watch
from runbook_lib.postgres import catalog, statistics
from runbook_lib.postgres.difference import same_after_restore
from runbook_lib.prisma import cli, generation, history, schemafile
from runbook_lib.prisma.declared import Declared
from runbook_lib.reviewed import differences
from runbook_lib.show import charts
from runbook_lib.state import PHASES
from runbook_lib.table import Table


class Migrate(Phase):
    """Applies the pending files to the pinned database."""

    name, heading = "migrate", "Migrate"
    holds_database = True
    gates = ("migrate",)
    steps = ("deploy", "verify", "client")
    _found_valid: str | None = None
    """The schema that `prisma validate` found valid."""

    def health(self) -> Checks:
        """The project's own data check, the schema's validity, and what Prisma says is pending."""
        data, schema, status = self.together(
            lambda: project_check(self, "health.data"),
            lambda: self._valid("health.schema"),
            self._status,
        )
        return self.must_hold(
            "health", Checks("Health before the migration", [*data, schema, status])
        )

    def gate(self) -> Checks:
        """Everything that must hold at this minute.

        Plan, backup, window, maintenance mode, nobody else migrating, nothing in the way, and rows
        that are as the files demand.
        """
        application = Application(self)
        maintenance = application.maintenance_checks(True) if application.has_maintenance else []
        return self.pass_gate(
            "migrate",
            self.look(
                "gate",
                Checks(
                    "The gate before the migration",
                    [
                        self.identity(),
                        self._earlier(),
                        self._plan(),
                        window_check(self, opening=True),
                        *(
                            one
                            for one in backup_checks(self)
                            if one.id not in gate.accepted(self.run, "preflight")
                        ),
                        self._rehearsed(),
                        *maintenance,
                        *minute_checks(self),
                        *livedata.asked_again(self, self.history.pending_files),
                    ],
                ),
            ),
        )

    def save(self) -> Any:
        """Save the columns and tables that the files will drop, and the SQL to reinstate them."""
        self.require_gate("migrate")
        found, planned = self.history, self.run.read_evidence("plan", missing={}).get("files", {})
        saved = salvage.save(
            self,
            pending=bool(found.pending),
            landed=bool(found.failed) or not set(planned) <= set(found.pending),
        )
        self._passed.add("save")
        return saved

    def restore_point(self) -> Any:
        """Name the point to which a recovery in time would lead.

        Once the migration has begun, the point from before stands.
        """
        self.require_gate("migrate")
        self._passed.add("restore_point")
        return recovery.mark(self) or Table(
            "No restore point: the migration had begun before one was made", ("", ""), []
        )

    def deploy(self) -> Table:
        """Run `prisma migrate deploy`, watched and guarded.

        A line a second says how far it is, who blocks it, and who waits for it.

        Raises:
            GateError: another run is at work, or a file is pending that the plan does not know.
            MigrationFailed: naming the file, the cause and who blocked it.
        """
        self.require_gate("migrate")
        with self.exclusive():
            pending = self._reviewed()
            if not pending:
                self._recorded_late()
                self._passed.add("deploy")
                return Table("Already applied: nothing is pending", ("file", "seconds"), [])
            self.require_steps("restore_point", "save")
            forecast = self.run.read_evidence("forecast", missing={}).get("migrate_s")
            self.run.journal("migration begun", files=list(pending), forecast_s=forecast)
            attempts, began = Attempts(self, forecast), time.monotonic()
            try:
                with Progress(self, pending, forecast), recording(self):
                    attempts.deploy()
            except cli.MigrationFailed as error:
                raise self._failure(error, attempts.watch) from None
            except KeyboardInterrupt:
                raise self._interrupted(attempts) from None
            except NotRecorded as error:
                raise self._not_recorded(error, attempts.watch) from None
            finally:
                self._count()
        seconds, files = (
            time.monotonic() - began,
            [name for name in pending if name in self.history.applied],
        )
        self.run.journal(
            "migration ended", files=files, seconds=round(seconds, 1), attempts=attempts.number
        )
        self.run.write_evidence(
            "migration",
            {
                "applied": files,
                "seconds": seconds,
                "forecast_s": forecast,
                "attempts": attempts.number,
            },
        )
        self._passed.add("deploy")
        tries = f", at attempt {attempts.number}" if attempts.number > 1 else ""
        return Table(
            f"{len(files)} files applied in {seconds:.1f} s{tries}",
            ("file", "seconds"),
            list(durations(applied(self.db, self.target), files).items()),
        )

    def _recorded_late(self) -> None:
        """Record a migration of this run that ended without being recorded.

        It was killed, or the archive was full; Prisma's own history tells.
        """
        planned = self.run.read_evidence("plan", missing={}).get("files", {})
        files = self._already(planned)
        if self.run.has_evidence("migration") or not files:
            return
        seconds = sum(durations(applied(self.db, self.target), files).values())
        begun = [line for line in self.run.read_journal() if line["what"] == "migration begun"]
        self.run.journal(
            "migration ended",
            files=files,
            seconds=round(seconds, 1),
            attempts=len(begun),
            told_by="Prisma's history",
        )
        forecast = self.run.read_evidence("forecast", missing={}).get("migrate_s")
        self.run.write_evidence(
            "migration",
            {"applied": files, "seconds": seconds, "forecast_s": forecast, "attempts": len(begun)},
        )

    def forecast(self) -> Any:
        """What the rehearsal and the forecast had said, beside what happened.

        The next forecast learns from it.
        """
        actual, said = (
            self.run.read_evidence("migration", missing={}),
            self.run.read_evidence("forecast", missing={}),
        )
        rows = {
            "rehearsed": said.get("rehearsed_migrate_s", 0.0),
            "forecast": actual.get("forecast_s") or 0.0,
            "actual": actual.get("seconds", 0.0),
        }
        if "migrate_s" not in said:
            took = rows["actual"]
            return charts.durations(
                f"The migration took {took:.1f} s; nothing was forecast", {"actual": took}
            )
        why = said.get("correction", "not corrected")
        return charts.durations(
            f"The migration took {rows['actual']:.1f} s; forecast were {rows['forecast']:.1f} s "
            f"({why})",
            rows,
        )

    def verify(self) -> Checks:
        """Check status, introspection, format, validity and the catalogue's change.

        The change is compared with what the rehearsal predicted.
        """
        self.require_steps("deploy")
        status, pulled, schema = self.together(
            self._up_to_date, self._pulled, lambda: self._valid("migrate.schema")
        )
        checks = self.must_hold(
            "verify", Checks("The migration, verified", [status, pulled, schema, self._promised()])
        )
        self._passed.add("verify")
        return checks

    @cached_property
    def difference(self) -> catalog.Difference:
        """The catalogue before against the catalogue now."""
        before = catalog.Catalog.from_dict(self.run.read_evidence("before.catalog"))
        return self.keep("difference", catalog.difference(before, catalog.read(self.db)))

    def client(self) -> Checks:
        """Generate the client, restart the application, and wait until it answers."""
        self.require_steps("deploy", "verify")
        application = Application(self)
        checks = [self._generated()]
        if application.configured:
            seconds = application.run("restart")
            checks.append(
                check(
                    "client.deployed",
                    "the application was restarted",
                    seconds is not None,
                    f"{seconds:.1f} s" if seconds is not None else "no command",
                    "restarted",
                    "set `service.restart`",
                )
            )
            checks.append(application.wait())
        checked = self.must_hold("client", Checks("Client and application", checks))
        self._passed.add("client")
        return checked

    def _generated(self) -> Check:
        title, how = "the Prisma client was generated", self.params.prisma.generate
        done = generation.generate(self.project, how)
        if done is None:
            return generation.elsewhere("client.generated", title)
        self.run.journal("client generated", seconds=round(done.seconds, 1))
        return check("client.generated", title, True, f"{done.seconds:.1f} s")

    @property
    def history(self) -> history.History:
        """The project's files against the database's history, now."""
        return history.compare(history.files(self.project), applied(self.db, self.target))

    def _valid(self, id: str) -> Check:
        """`prisma validate`, asked once of a schema: it takes its seconds of the downtime."""
        title = "the Prisma schema is valid"

        def look() -> Check:
            assert self.project.schema is not None, "the project was located when it was opened"
            schema = schemafile.text(self.project.schema)
            if schema == self._found_valid:
                return check(
                    id, title, True, "valid, and unchanged since the health check", "valid"
                )
            done = cli.validate(self.project)
            self._found_valid = schema if done.status == 0 else None
            said = (done.output.strip().splitlines() or ["no output"])[-1]
            return check(
                id,
                title,
                done.status == 0,
                "valid" if done.status == 0 else said,
                "valid",
                "`prisma validate` says where",
            )

        return attempt(id, title, look)

    def _status(self) -> Check:
        """From both sides: the CLI names no failed migration as long as one is pending."""
        id, title = (
            "health.status",
            "no migration is left failed or unfinished, and `migrate status` answers",
        )

        def look() -> Check:
            failed = sorted(
                {*cli.status(self.project, self.prisma_url).failed, *self.history.failed}
            )
            return check(
                id,
                title,
                not failed,
                ", ".join(failed) or "none failed",
                "none failed",
                "settle the failed migration first: 95_troubleshoot tells failed from still "
                "running",
            )

        return attempt(id, title, look)

    def _up_to_date(self) -> Check:
        return up_to_date(self, "migrate.status")

    @property
    def settled(self) -> frozenset[str]:
        """Return what could be compared neither in the rehearsal nor now.

        A person accepted that in the rehearsal.
        """
        accepted = "rehearse.pull" in gate.accepted(self.run, "rehearse")
        compared = self.run.has_evidence("migrate.differing")
        return frozenset({"migrate.pull"} if accepted and not compared else ())

    def _pulled(self) -> Check:
        """Check whether schema file and database differed on the migrated copy, too.

        If so, that is not this run's doing.
        """
        id, title = (
            "migrate.pull",
            "`db pull` and `migrate diff` see what they saw in the rehearsal",
        )

        def look() -> Check:
            cli.db_pull(self.project, self.prisma_url)
            seen = self.keep("differing", list(cli.differing(self.project, self.prisma_url)))
            promised = (self._promise or {}).get("differing", [])
            if seen and (promised is None or self._waived):
                return unknown(
                    id,
                    title,
                    f"schema file and database differ in {statements(len(seen))}, and the "
                    "rehearsal compared nothing",
                    "no difference",
                    "read evidence/migrate.differing.json: was it so before?",
                )
            return check(
                id,
                title,
                same_after_restore(seen, promised),
                _against(seen, promised),
                f"the {statements(len(promised))} of the rehearsal"
                if promised
                else "no difference",
                "compare evidence/migrate.differing.json with evidence/rehearse.differing.json",
            )

        return attempt(id, title, look)

    def _plan(self) -> Check:
        plan = self.run.read_evidence("plan", missing=None)
        title = "the plan is the one that was reviewed"
        if plan is None:
            return check("migrate.plan", title, False, "there is no plan", "a plan", "run 10_plan")
        done = self._already(plan["files"])
        left = {name: sha for name, sha in plan["files"].items() if name not in done}
        if not left:
            return check(
                "migrate.plan",
                title,
                True,
                f"{plan['hash'][:16]}, already applied by this run: only the proof is left",
                "unchanged",
            )
        changed = differences(
            {**plan, "files": left, "applied": [*plan["applied"], *done]}, contents(self)
        )
        said = plan["hash"][:16] + (
            f"; already applied by this run: {', '.join(done)}" if done else ""
        )
        return check(
            "migrate.plan",
            title,
            not changed,
            "; ".join(changed) or said,
            "unchanged",
            "plan again: run 10_plan, and approve what it then says",
        )

    def _already(self, planned: dict[str, str]) -> list[str]:
        """Return the files of the plan that are applied as they were reviewed.

        Only if this run began them before it was stopped, or led forward.
        """
        if not self.run.derived.migrating:
            return []
        found = self.history
        done = {
            entry.name: entry.file.sha256
            for entry in found.entries
            if entry.name in found.applied and entry.file
        }
        return [name for name, sha in planned.items() if done.get(name) == sha]

    def _earlier(self) -> Check:
        """Whether every phase before this one has succeeded in this run."""
        open_ones = [
            name
            for name in PHASES[: PHASES.index(self.name)]
            if (self.run.phase(name) or {}).get("status") != "succeeded"
        ] + [f"{name}: refused by {one['person']}" for name, one in gate.refused(self.run).items()]
        return check(
            "migrate.phases",
            "every phase before this one has succeeded",
            not open_ones,
            ", ".join(open_ones) or "all of them",
            "all of them",
            "run them first, in their order",
        )

    @property
    def _promise(self) -> dict[str, Any] | None:
        """What the rehearsal of this very plan saw."""
        promise = self.run.read_evidence("promise", missing=None)
        same = promise is not None and promise.get("plan") == gate.plan_hash(self.run)
        return promise if same else None

    @property
    def _waived(self) -> str:
        """Why and by whom this plan goes without a rehearsal.

        Empty where it was rehearsed, or nobody decided that.
        """
        waived, decision = (
            self.run.read_evidence("rehearse.waived", missing=None),
            gate.standing(self.run, "rehearse"),
        )
        if (
            self._promise is not None
            or waived is None
            or waived["plan"] != gate.plan_hash(self.run)
            or not decision
            or decision["decision"] != "approved"
        ):
            return ""
        return (
            f"{waived['why']}; {decision['person']} decided at {decision['at']} to go on without: "
            f"{decision['reason'] or 'no reason given'}"
        )

    def _rehearsed(self) -> Check:
        found = (
            "yes" if self._promise is not None else f"no: {self._waived}" if self._waived else "no"
        )
        return check(
            "migrate.rehearsed",
            "this plan was rehearsed, or a person decided to go on without",
            found != "no",
            found,
            "yes",
            "run 20_rehearse",
        )

    def _reviewed(self) -> tuple[str, ...]:
        """The pending files: none but those that were reviewed, as they were reviewed.

        Somebody may have applied them since.
        """
        planned = self.run.read_evidence("plan", missing={}).get("files", {})
        found = self.history
        strange = [
            file.name for file in found.pending_files if planned.get(file.name) != file.sha256
        ]
        if strange:
            raise GateError(
                f"pending, and not as it was reviewed: {', '.join(strange)}",
                "plan again: run 10_plan",
            )
        if gone := [name for name in planned if name in found.applied]:
            self.run.journal("applied already", files=gone)
        return found.pending

    def _promised(self) -> Check:
        if self._waived:
            return self._declared()
        return same_changes(
            "migrate.promised",
            "the catalogue changed exactly as in the rehearsal",
            (self._promise or {}).get("difference"),
            self.difference,
            "compare evidence/migrate.difference.json with evidence/rehearse.difference.json",
        )

    def _declared(self) -> Check:
        """Without a rehearsal there is only what the plan declares."""
        id, title = (
            "migrate.declared",
            "every change of the catalogue is one that the plan declares (nothing was rehearsed)",
        )
        said = Declared.from_dict(self.run.read_evidence("plan")["declared"])
        strange = [
            str(one)
            for one in self.difference
            if not said.covers(one.kind, one.name, one.action, one.before, one.after)
        ]
        if strange and said.unclear:
            return unknown(
                id,
                title,
                f"{'; '.join(strange[:3])}; what these do cannot be told: "
                f"{', '.join(said.unclear[:3])}",
            )
        return check(
            id,
            title,
            not strange,
            "; ".join(strange[:3]) or f"{len(self.difference.changes)} changes, all declared",
            "nothing else",
            "compare evidence/migrate.difference.json with evidence/plan.json",
        )

    def _count(self) -> None:
        """Keep the counters of this moment.

        Statements from here on are those after the migration.
        """
        try:
            self.run.write_evidence("migrated.statistics", statistics.read(self.db))
        except (DatabaseError, NotRecorded) as error:
            self.say(f"the server's counters could not be kept: {error.message}")

    def _interrupted(self, attempts: Attempts) -> Aborted:
        """What an interrupt met: who was in the way until then, and what is true now."""
        blockers, true_now = attempts.blockers(), self._true_now()
        waited = "".join(f"\nuntil then it waited: {one}" for one in blockers)
        told = kernel.interrupted(
            self, f"in the middle of the migration{waited}\nWhat is true now: {true_now}"
        )
        self.run.journal(
            "migration interrupted", blockers=blockers, told=told.message, now=true_now
        )
        return told

    def _failure(self, error: cli.MigrationFailed, watch: Watch) -> cli.MigrationFailed:
        """The same failure, with its cause, who was in the way, and what is true now."""
        why, blockers, true_now = (
            cause.of(self, error, by_guard=bool(error.cause)),
            watch.blockers(),
            self._true_now(),
        )
        with beside(error, "recording the failure"):
            self.run.journal(
                "migration failed",
                code=error.code,
                sqlstate=error.sqlstate,
                file=error.migration,
                cause=why.value,
                blockers=blockers,
                now=true_now,
            )
        meant = cause.recorded(why, f"failed: {error.migration}" in true_now)
        by_guard = map(str, watch.guard.decisions[-1:] if error.cause else ())
        message = "\n".join(
            [
                *by_guard,
                error.message,
                f"Cause: {why.value}" + (f": {meant}" if meant else ""),
                *(f"it waited for {blocker}" for blocker in blockers),
                f"What is true now: {true_now}",
            ]
        )
        return cli.MigrationFailed(
            message,
            f"{why.link} explains the cause; 90_rollback tells what landed and leads back, or "
            "forward",
            code=error.code,
            migration=error.migration,
            sqlstate=error.sqlstate,
            output=error.output,
            cause=why.value,
        )

    def _not_recorded(self, error: NotRecorded, watch: Watch) -> BaseException:
        """What is to be said where the archive took nothing.

        How the migration itself ended comes first.
        """
        first = under_way(error)
        if isinstance(first, cli.MigrationFailed):
            failure = self._failure(first, watch)
            failure.add_note(error.message)
            return failure
        if isinstance(first, KeyboardInterrupt):
            return first
        error.message += f"\nWhat is true now: {self._true_now()}"
        return error

    def _true_now(self) -> str:
        try:
            found = self.history
        except DatabaseError as error:
            return f"not known, the server does not answer: {error.message}"
        done = [
            name
            for name in self.run.read_evidence("plan", missing={}).get("files", {})
            if name in found.applied
        ]
        return (
            f"applied: {', '.join(done) or 'none'}; failed: {', '.join(found.failed) or 'none'}; "
            f"pending: {', '.join(found.pending) or 'none'}"
        )


def _against(seen: list[str], promised: list[str]) -> str:
    """What would still make the database as the schema file has it, held against the rehearsal."""
    if same_after_restore(seen, promised):
        return (
            f"remark: schema file and database differ in {statements(len(seen))}, the same as in "
            "the rehearsal"
            if seen
            else "no difference"
        )
    new, gone = (
        [line for line in one if line not in other]
        for one, other in ((seen, promised), (promised, seen))
    )
    shown = [f"new: {line}" for line in new] + [f"gone: {line}" for line in gone]
    found = (
        "1 statement is not that" if len(shown) == 1 else f"{len(shown)} statements are not those"
    )
    return f"{found} of the rehearsal: {'; '.join(shown[:3])}"


PHASE = Migrate
