"""90 Roll back: when to, what landed, what each way back costs, and the way back itself."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook_lib import approver, gate, verdict
from runbook_lib.check import Check, Checks, attempt, check, not_configured, nothing, unknown
from runbook_lib.errors import ApprovalNeeded, GateError, Refused
from runbook_lib.phases import baseline, declared, last_look, price, recovery, writes
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import backup_checks, brings_back, load_backup, without
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.phases.checks import project_check
from runbook_lib.phases.close import reopen
from runbook_lib.phases.identity import identify
from runbook_lib.phases.landed import Landed, landed
from runbook_lib.phases.lease import release as give_back
from runbook_lib.phases.replay import Replayed
from runbook_lib.phases.start import applied
from runbook_lib.phases.talk import Message, message, standing
from runbook_lib.postgres import (
    databases,
    integrity,
    lease,
    leftout,
    restore,
    rights,
    snapshot,
    statistics,
    swap,
    writers,
)
from runbook_lib.postgres.backup import Backup, load
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma import cli, history
from runbook_lib.prisma.names import quote
from runbook_lib.run import FINAL
from runbook_lib.table import Table

RESTORED = "runbook: restored for "
"""How the comment of a database begins that was restored beside the live one, and not swapped in
yet; the run follows.
"""
ENOUGH_CALLS = 5
"""Calls since the migration from which on a statement's mean says something."""
SLOWER = 2.0
"""How many times as long a statement may take."""


def _slowdown(before: Mapping[str, Any], now: Mapping[str, Any]) -> float | None:
    """How many times as long a statement takes since then; None where it was called too seldom."""
    calls = now["calls"] - before["calls"]
    if calls < ENOUGH_CALLS or not before["mean_ms"]:
        return None
    return float((now["total_ms"] - before["total_ms"]) / calls / before["mean_ms"])


class Rollback(Phase):
    """Leads back, where a trigger fired and the decision stands.

    Otherwise looks and leaves everything as it is.
    """

    name, heading = "rollback", "Roll back"
    holds_database = True
    steps = ("decide", "go_back", "afterwards", "record")
    _fired: Checks | None = None
    """The triggers, once they were measured."""

    def begin(self, notebook: str) -> None:
        """Finish a way back of this run that was interrupted, before anything else is asked.

        The live name may be missing.
        """
        self._resumed = self._interrupted()
        if self._resumed:
            self.claim()
            if not self._finished(self._resumed):
                self._resumed = None
        super().begin(notebook)

    def triggers(self) -> Checks:
        """The five triggers, measured.

        Failed migration, corrupted data, failing application, slow queries, failed validation.
        """
        self._fired = self.look(
            "triggers",
            Checks(
                "When to roll back",
                [
                    verdict.migration(self.run),
                    attempt(
                        "trigger.data", "data is as it was but for the declared change", self._data
                    ),
                    attempt(
                        "trigger.application",
                        "the application answers without errors",
                        self._application,
                    ),
                    attempt(
                        "trigger.performance", "queries are as fast as before", self._performance
                    ),
                    verdict.validation(self.run),
                ],
            ),
        )
        return self._fired

    @cached_property
    def landed(self) -> Landed:
        """What landed, from Prisma's history, the catalogue and the content."""
        return self.keep("landed", landed(self, self._comparison))

    def what_landed(self) -> Landed:
        """The same, to be shown."""
        return self.landed

    @cached_property
    def losses(self) -> price.Losses:
        """Writes since the backup, by table: what a way back may lose."""
        return self.keep("losses", price.losses(self, self._now, self.landed))

    @cached_property
    def options(self) -> tuple[price.Option, ...]:
        """Every way, cheapest first."""
        return price.options(self, self.landed, self.losses)

    @cached_property
    def left_out(self) -> leftout.LeftOut:
        """What a swap by name would leave with the old database, or wait for."""
        return self.keep("left_out", leftout.left_out(self.db))

    def price(self) -> Table:
        """Show each rollback option: possible or not, how long it takes, what it would lose.

        And what it leaves with the old database.
        """
        columns = ("way", "possible", "takes", "by", "would lose", "stays with the old database")
        stays = ", ".join(map(str, self.left_out.staying)) or "nothing"
        rows = [
            (*option.row(), stays if option.swaps and not option.impossible else "–")
            for option in self.options
        ]
        self.run.write_csv("rollback.price", columns, rows)
        return Table(
            "What each way back costs",
            columns,
            rows,
            [
                "" if option.impossible else "unknown" if option.loses else "good"
                for option in self.options
            ],
        )

    @cached_property
    def way(self) -> str:
        """Return the way to take, or "none".

        That of an interrupted attempt, else what a person named, else the cheapest that leads back.
        """
        if self._resumed:
            return self._resumed["way"]
        decision = gate.standing(self.run, "rollback")
        if decision and decision.get("way"):
            return str(decision["way"])
        if self._fired is None:
            raise Refused("the triggers were not measured in this notebook", "run their cell first")
        fired = {item.id for item in self._fired.failed} - {"trigger.performance"}
        if not fired and not decision:
            return "none"
        back = [
            option for option in self.options if not option.impossible and option.way != "forward"
        ]
        return min(back, key=lambda option: bool(option.loses)).way if back else "restore"

    def decide(self) -> Table:
        """Pass the gate of the rollback: automatic by the parameters, or approved by a person.

        Lost writes need a person always, who has been told of them. What is written goes on
        meanwhile: each time this is asked, it is priced anew.
        """
        self._look_again()
        if self.way == "none":
            self._passed.add("decide")
            return self._nothing_fired()
        automatic = (
            self.params.rollback.automatic and "rollback" not in self.params.approvals.required
        )
        decided = nothing("rollback.decided", "the way back was decided", "it is taken up again")
        checks = Checks("The way back", [decided] if self._resumed else self._price_checks())
        self._ask("rollback", self.look("decision", checks), () if automatic else ("rollback",))
        self._passed |= {"rollback", "decide"}
        decision = gate.standing(self.run, "rollback")
        if not self._resumed:
            last_look.keep(self, self._now, self.losses, self.way)
        by = decision["person"] if decision else "rollback.automatic"
        self.run.journal("rollback decided", way=self.way, by=by)
        return Table(f"Decided: {self.way}", ("way", "by"), [(self.way, by)])

    def _nothing_fired(self) -> Table:
        """Say that nothing is rolled back, and how an application out of service comes back."""
        rows = [(item.title, item.found) for item in self._fired.unknown] if self._fired else []
        more = f"; {len(rows)} could not be checked" if rows else ""
        switched = self.run.derived.application
        if switched and switched["what"] != "maintenance off" and self.run.outcome not in FINAL:
            rows.append(
                (
                    standing(self.run),
                    f"`runbook resume {self.run.reference}` goes on; "
                    f"`runbook rollback {self.run.reference}` gives the migration up, "
                    "and puts the application back in service",
                )
            )
        return Table(f"No trigger fired{more}: nothing is rolled back", ("", ""), rows)

    def _price_checks(self) -> list[Check]:
        """That the way can be taken, and that nothing is lost on it."""
        chosen = next((option for option in self.options if option.way == self.way), None)
        if chosen is None:
            known = ", ".join(option.way for option in self.options)
            raise GateError(
                f"the way {self.way!r} is none that this run has: {known}",
                f"decide anew: {approver.command(self.run, 'rollback')}",
            )
        lossless = "no write would be lost"
        checks = [
            check(
                "rollback.possible",
                f"the way `{self.way}` can be taken",
                not chosen.impossible,
                chosen.impossible or "yes",
                "yes",
                f"take another way, e.g. `runbook rollback {self.run.reference} --way restore`, "
                "or without `--way` the cheapest; 95_troubleshoot shows the state",
            ),
            unknown(
                f"rollback.loss.{self.way}: {', '.join(self.losses.names(self.way))}",
                lossless,
                f"would be lost: {chosen.loses}",
                remedy="take a way that loses nothing, or accept it: rows that others wrote are "
                "saved beside the backup first, with the SQL that brings them back",
            )
            if chosen.loses
            else check("rollback.loss", lossless, True, "none", "none"),
        ]
        if self.way in ("restore", "point-in-time"):
            checks += self._swap_checks()
        if self.way == "restore":
            checks += [item for item in backup_checks(self) if item.id == "backup.intact"]
        if self.way == "point-in-time":
            checks += recovery.checks(self)
        return checks

    def _swap_checks(self) -> list[Check]:
        """What a swap by name would wait for, and what it would leave with the old database.

        Told before the decision.
        """
        held, staying = self.left_out.held, self.left_out.staying
        nothing_cut = "nobody who follows this database is cut off"
        return [
            check(
                "rollback.held",
                "nothing holds the swap up",
                not held,
                "; ".join(map(str, held)) or "nothing",
                "nothing",
                "COMMIT PREPARED or ROLLBACK PREPARED them, stop the subscribers of the slots, "
                "and repeat",
            ),
            rights.none_unended(
                self.db, "rollback.sessions", "this role ends every session in the database"
            ),
            unknown(
                f"rollback.stays: {', '.join(one.name for one in staying)}",
                nothing_cut,
                leftout.words(staying),
                "nobody",
                "; ".join(dict.fromkeys(leftout.MEANS[one.kind][1] for one in staying)),
            )
            if staying
            else check("rollback.stays", nothing_cut, True, "nobody follows it", "nobody"),
            without(self.run),
        ]

    def go_back(self) -> Table:
        """Take the way back that was decided."""
        self.require_steps("decide")
        if self.way == "none":
            self._passed.add("go_back")
            return Table("Nothing to do", ("", ""), [])
        self.require_gate("rollback")
        with self.exclusive():
            done = {"resolve": self._resolve, "forward": self._forward}.get(
                self.way, self._restore
            )()
        self._passed.add("go_back")
        return done

    def afterwards(self) -> Checks:
        """Integrity and content after the way back.

        Then the application back in service, and its health.
        """
        self.require_steps("go_back")
        if self.way == "none":
            self._passed.add("afterwards")
            return Checks("Nothing was rolled back", [])
        found = history.compare(history.files(self.project), applied(self.db, self.target))
        checks = [
            check(
                "after.history",
                "Prisma's history holds no failed migration",
                not found.failed,
                ", ".join(found.failed) or "none failed",
                "none failed",
            ),
            *project_check(self, "after.data"),
            *baseline.held_against(baseline.of(self.run), integrity.foreign_keys(self.db).checks()),
            *self._content_checks(),
        ]
        self.look("afterwards", Checks("After the way back", checks)).require()
        if self.way == "forward":
            self._passed.add("afterwards")
            return Checks("The history is right again", checks)
        Application(self).run("start")
        reopened = self.look("reopened", reopen(self)).require()
        self._passed.add("afterwards")
        return Checks("After the way back", [*checks, *reopened])

    def record(self) -> Any:
        """The outcome with its reasons, and the people told."""
        self.require_steps("afterwards")
        self._passed.add("record")
        if self.way == "none":
            return Table("The outcome stays as it is", ("", ""), [])
        fired = self._fired.failed if self._fired else ()
        reasons = [f"{item.title}: {item.found}" for item in fired]
        self.run.journal("rolled back", way=self.way, reasons=reasons)
        return self.send(self.message())

    def message(self) -> Message:
        """What would be told of the way that was taken."""
        if self.way == "forward":
            return message(
                self.run,
                "progress",
                "the file that failed was settled, its record is right again; the run goes on",
                standing(self.run),
            )
        led_to = "when it was backed up" if self.way == "restore" else "right before the migration"
        return message(
            self.run,
            "rolled_back",
            "the migration was rolled back; it will be planned again",
            f"the database is as it was {led_to}; {standing(self.run)}",
        )

    def retry_plan(self) -> Table:
        """What to do before the next attempt, by what failed in this one."""
        if self.way == "forward":
            return Table(
                "What comes next",
                ("step",),
                [
                    (
                        f"runbook resume {self.run.reference}: the files that are left are "
                        "applied, and everything is verified and validated",
                    )
                ],
            )
        failed = [line for line in self.run.read_journal() if line["what"] == "migration failed"]
        why = (
            [
                f"settle what stopped it: {failed[-1]['file'] or 'the migration'} "
                f"({failed[-1]['code'] or failed[-1]['sqlstate'] or 'no code'})"
            ]
            if failed
            else []
        )
        held = (
            [
                f"find out why this was open, and keep it closed: {blocker}"
                for blocker in failed[-1]["blockers"]
            ]
            if failed
            else []
        )
        led_back = self.way in ("restore", "point-in-time")
        steps = [
            *(brings_back(self.run) if led_back else ()),
            *why,
            *held,
            "correct the migration file (a new file where it was ever applied elsewhere)",
            "rehearse it on today's data: runbook run "
            f"{shlex.quote(str(self.run.folder / 'parameters.json'))} --to rehearse",
            f"say what was learned: the cell below, or `runbook lesson {self.run.reference}`; the "
            "history keeps it",
        ]
        return Table("Before the next attempt", ("step",), [(step,) for step in steps])

    def lessons(self, text: str) -> None:
        """Record what was learned, for the history."""
        self.run.journal("lessons learned", text=text)

    def finish(self, status: str = "succeeded") -> None:
        """End the phase; the run is rolled back where something was rolled back."""
        super().finish(status)
        self.run.end(
            {"none": self._outcome_before, "forward": "aborted"}.get(self.way, "rolled_back")
        )
        if self.run.outcome in FINAL or not self.run.phase("announce"):
            give_back(self)

    def _data(self) -> Check:
        title = "data is as it was but for the declared change"
        if self._comparison is None:
            return check(
                "trigger.data",
                title,
                True,
                "the state before was not fixed yet: no migration has begun",
                "identical",
            )
        plan = self.run.read_evidence("plan")
        wrong = [
            item.found
            for item in declared.compare(*self._comparison, plan["declared"]).checks().failed
        ]
        return check(
            "trigger.data",
            title,
            not wrong,
            "; ".join(wrong) or "identical",
            "identical",
            "roll back",
        )

    def _performance(self) -> Check:
        """Return means of the statements called often enough since, by pg_stat_statements."""
        title, stored = (
            "queries are as fast as before",
            self.run.read_evidence("before.statistics", missing={}),
        )
        before, now = stored.get("statements"), statistics.read(self.db).statements
        if before is None or now is None:
            return unknown(
                "trigger.performance",
                title,
                "pg_stat_statements is not available, or there is no state from before",
            )
        old = {one["id"]: one for one in before}
        slower = [
            ratio for one in now if one["id"] in old and (ratio := _slowdown(old[one["id"]], one))
        ]
        if not slower:
            return unknown(
                "trigger.performance", title, f"no statement was called {ENOUGH_CALLS} times since"
            )
        return check(
            "trigger.performance",
            title,
            max(slower) <= SLOWER,
            f"the slowest takes {max(slower):.1f} times as long",
            f"at most {SLOWER:g} times",
            "roll back",
        )

    def _application(self) -> Check:
        application = Application(self)
        if not application.configured:
            return not_configured(
                "trigger.application", "the application answers without errors", "service"
            )
        failed = application.endpoints().failed
        return check(
            "trigger.application",
            "the application answers without errors",
            not failed,
            "; ".join(f"{c.title}: {c.found}" for c in failed) or "all answer",
            "all answer",
            "roll back",
        )

    @cached_property
    def _now(self) -> writes.Moment | None:
        """The live database as it is, held against the state before or else the backup.

        `None` where there is neither.
        """
        stored = self.run.read_evidence("before.snapshot", missing=None)
        if stored is not None:
            return writes.moment(self, snapshot.Snapshot.from_dict(stored))
        if self.run.has_evidence("backup"):
            return writes.moment(self, load_backup(self).snapshot)
        return None

    def _look_again(self) -> None:
        """Price anew; content is read again where anything was counted since it was read."""
        for stale in ("losses", "options", "way", "left_out"):
            self.__dict__.pop(stale, None)
        now = self.__dict__.get("_now")
        if now and now.counters.until(writers.counters(self.db)) != {}:
            del self.__dict__["_now"]

    @property
    def _comparison(self) -> tuple[snapshot.Snapshot, snapshot.Snapshot] | None:
        stored = self.run.read_evidence("before.snapshot", missing=None)
        return (
            (snapshot.Snapshot.from_dict(stored), self._now.content)
            if stored is not None and self._now
            else None
        )

    def _content_checks(self) -> list[Check]:
        """Content and catalogue against what the way leads to: the backup, or the state before."""
        if self.way == "forward":
            return []
        if self.way == "restore" or self.way == "point-in-time" and self._source:
            assert self._source is not None, "a restore has a backup that it was made from"
            return list(
                restore.compare_with(
                    self._source, self.target, self.application_name, jobs=self.jobs
                ).checks()
            )
        now = self._landed_now()
        return [
            check(
                "after.content",
                "catalogue and content are those of before",
                now.nothing,
                "identical" if now.nothing else str(now),
                "identical",
            )
        ]

    def _landed_now(self) -> Landed:
        """What landed, looked at again."""
        self.__dict__.pop("_now", None)
        return landed(self, self._comparison)

    def _resolve(self) -> Table:
        """Close Prisma's record of the failed file.

        It was proven that nothing of the migration is in the database.
        """
        return self._mark("rolled_back")

    def _forward(self) -> Table:
        """Settle the failed file by what is proven of it.

        What did not land is run, then Prisma's record put right.
        """
        found = self.landed.replayed
        assert found
        if found.untouched:
            return self._mark("rolled_back")
        if found.landed != found.statements:
            self._repair(found)
        return self._mark("applied")

    def _repair(self, found: Replayed) -> None:
        """Run the repair, each statement by itself.

        One that fails leaves a position that is told anew.

        Raises:
            DatabaseError: a statement was refused.
            GateError: the catalogue is not that of the whole file afterwards.
        """
        limits = self.params.migrate
        with Database(
            self.target,
            f"{self.application_name}/repair",
            lock_timeout=milliseconds(limits.lock_timeout_s),
            statement_timeout=milliseconds(limits.statement_timeout_s),
            search_path=quote(self.target.schema),
        ) as db:
            for number, step in enumerate(found.repair, 1):
                self.say(f"repair {number} of {len(found.repair)}: {step.shown}")
                db.execute(step.sql)
                self.run.journal("repaired", step=step.shown)
        after = self._landed_now().replayed
        if not after or not after.complete:
            raise GateError(
                f"after the repair {found.file} is not whole: "
                f"{after.answer if after else 'not known'}",
                "run this notebook again: it tells where it stands",
            )

    def _mark(self, word: str) -> Table:
        for name in self.landed.failed:
            cli.resolve(self.project, self.prisma_url, **{word: name})
        self.run.journal("resolved", files=list(self.landed.failed), marked=word)
        return Table(
            "Prisma's history was put right",
            ("file", "marked as"),
            [(name, word.replace("_", " ")) for name in self.landed.failed],
        )

    @cached_property
    def _source(self) -> Backup | None:
        """The backup that the way leads to: the run's own, or one of the point in time.

        `None` where an instance has taken the live one's place.
        """
        if self._resumed:
            return load(Path(self._resumed["backup"]))
        if self.way == "point-in-time":
            return recovery.recover(self, last_look.LastLook(self).refuse).backup
        return load_backup(self)

    def _restore(self) -> Table:
        """Stop the application, restore beside, swap.

        An attempt that was interrupted in the swap has ended it already.
        """
        Application(self).run("stop")
        began = time.monotonic()
        source = self._source
        steps = [
            (
                "an interrupted way back was taken up again"
                if self._resumed
                else f"led back to {source.snapshot.taken_at if source else 'the point in time'}",
                time.monotonic() - began,
            )
        ]
        if source is None:
            self._pin()
        elif not self._resumed:
            names = self._names(source)
            steps += [
                (
                    "restored beside and compared with the manifest",
                    self._restore_beside(source, names),
                ),
                ("swapped by name", self._swap(names)),
            ]
        if any(line["what"] == "client generated" for line in self.run.read_journal()):
            Application(self).run("previous")
        return Table(
            "The backup is live again; the failed database is kept", ("step", "seconds"), steps
        )

    def _names(self, source: Backup) -> dict[str, str]:
        """The databases of the swap, by what they are.

        The journal keeps them, for whoever takes an interrupted swap up.
        """
        key, live, word = (
            self.run.key.lower(),
            self.target.database,
            "restored" if self.way == "restore" else "recovered",
        )
        short = live.encode()[: 63 - len(f"_recovered_{key}")].decode(
            errors="ignore"
        )  # a name has 63 bytes
        return {
            "way": self.way,
            "backup": str(source.folder),
            "live": live,
            "restored": f"{short}_{word}_{key}",
            "failed": f"{short}_failed_{key}",
        }

    def _swap(self, names: dict[str, str]) -> float:
        """Swap by name, however far an earlier attempt came.

        Seconds for which the live name was closed.
        """
        if self._session:
            self._session.close()
        look = last_look.LastLook(self)
        try:
            done = swap.swap(
                self.target,
                names["live"],
                names["restored"],
                names["failed"],
                self.application_name,
                last_look=look,
            )
        except ApprovalNeeded as error:
            self.run.journal("swap refused", **names, reason=error.message)
            raise
        with databases.maintenance(self.target, self.application_name) as admin:
            databases.comment_on(
                admin, names["live"], load(Path(names["backup"])).database()["comment"] or None
            )
            lease.release(admin, done.failed_oid, self.run.id)
        self.run.journal(
            "swap ended",
            **names,
            seconds=round(done.closed_s, 3),
            sequences_moved_on=list(look.carried),
        )
        if look.left:
            self.say(f"{look.left.rows} rows that others wrote are saved in {look.left.folder}")
            self.run.journal(
                "rows left behind saved",
                folder=str(look.left.folder),
                rows=look.left.rows,
                tables=[part.table for part in look.left.parts],
                unsaved=dict(look.left.unsaved),
            )
        self._pin()
        return done.closed_s

    def _finished(self, names: dict[str, str]) -> bool:
        """Finish an interrupted swap.

        Not where somebody has written meanwhile: then the way back is priced anew.
        """
        try:
            self._swap(names)
        except ApprovalNeeded as error:
            self.say(error.message)
            return False
        return True

    def _pin(self) -> None:
        """The database behind the live name is another one from now on; the run has it, too."""
        found = identify(self.db)
        self.run.journal("database pinned again", target=found)
        self.claim()

    def _restore_beside(self, made: Backup, names: dict[str, str]) -> float:
        """Restore next to the live database, prove it, and record that the swap begins."""
        place = self.target.named(names["restored"])
        programs = tools(
            self.target, self.params.database.tools, application_name=self.application_name
        )
        with databases.maintenance(self.target, self.application_name) as admin:
            already = databases.entry(admin, names["restored"])
        mark = f"{RESTORED}{self.run.id}"
        began = time.monotonic()
        if not (already and already.comment == mark):
            restore.restore(
                made,
                place,
                self.application_name,
                tools=programs,
                jobs=self.jobs,
                mark=mark,
                on_line=self.say,
            )
        self.look(
            "restored",
            restore.compare_with(made, place, self.application_name, jobs=self.jobs).checks(),
        ).require()
        self.run.journal("swap begun", **names)
        return time.monotonic() - began

    def _interrupted(self) -> dict[str, str] | None:
        """The names of a swap that was begun, of a way back that was not seen to its end."""
        steps = [
            line
            for line in self.run.read_journal()
            if line["what"] in ("swap begun", "swap refused", "rolled back")
        ]
        if not steps or steps[-1]["what"] != "swap begun":
            return None
        return {key: steps[-1][key] for key in ("way", "backup", "live", "restored", "failed")}


PHASE = Rollback
