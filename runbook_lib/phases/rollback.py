"""90 Roll back: when to, what landed, what each way back costs, and the way back itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runbook_lib import gate
from runbook_lib.check import Check, Checks, attempt, check, not_configured, unknown
from runbook_lib.errors import ApprovalNeeded, GateError
from runbook_lib.history import minutes
from runbook_lib.phases import declared
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import backup_checks, load_backup
from runbook_lib.phases.base import Phase, describe, identify
from runbook_lib.phases.checks import project_check
from runbook_lib.phases.close import reopen
from runbook_lib.phases.start import applied
from runbook_lib.phases.talk import tell
from runbook_lib.postgres import catalog, databases, integrity, restore, snapshot, statistics, swap
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma import cli, history
from runbook_lib.table import Table

ENOUGH_CALLS = 5
"""Calls since the migration from which on a statement's mean says something."""
SLOWER = 2.0
"""How many times as long a statement may take."""


def _slowdown(before: Mapping[str, Any], now: Mapping[str, Any]) -> float | None:
    """How many times as long a statement takes since then; None where it was called too seldom."""
    calls = now["calls"] - before["calls"]
    if calls < ENOUGH_CALLS or not before["mean_ms"]:
        return None
    return (now["total_ms"] - before["total_ms"]) / calls / before["mean_ms"]


@dataclass(frozen=True)
class Landed:
    """What of the migration is in the database now.

    Args:
        files: pending files that Prisma recorded as finished.
        failed: files that it recorded as begun and not finished.
        catalogue: changes of the catalogue since before the migration.
        content: tables whose content is not that of before; `None` where that is not known.
    """

    files: tuple[str, ...]
    failed: tuple[str, ...]
    catalogue: int
    content: tuple[str, ...] | None

    @property
    def nothing(self) -> bool:
        """Whether it is proven that nothing landed."""
        return not self.files and self.catalogue == 0 and self.content == ()


class Rollback(Phase):
    """Leads back, where a trigger fired and the decision stands; otherwise looks and leaves everything as it is."""

    name, heading = "rollback", "Roll back"

    def begin(self, notebook: str) -> None:
        """Finish a way back of this run that was interrupted, before anything else is asked: the live name may be missing."""
        self._resumed = self._interrupted()
        if self._resumed:
            self._swap(self._resumed)
        super().begin(notebook)

    def triggers(self) -> Checks:
        """The five triggers, measured: failed migration, corrupted data, failing application, slow queries, failed validation."""
        phases = {name: (self.run.phase(name) or {}) for name in ("migrate", "validate")}
        status = {name: entry.get("status", "not run") for name, entry in phases.items()}
        self._fired = self.look("triggers", Checks("When to roll back", [
            check("trigger.migration", "the migration did not fail", status["migrate"] not in ("failed", "aborted"), status["migrate"], "succeeded",
                  "roll back"),
            attempt("trigger.data", "data is as it was but for the declared change", self._data),
            attempt("trigger.application", "the application answers without errors", self._application),
            attempt("trigger.performance", "queries are as fast as before", self._performance),
            check("trigger.validation", "the validation did not fail", status["validate"] not in ("failed",), status["validate"], "succeeded",
                  "roll back"),
        ]))
        return self._fired

    @cached_property
    def landed(self) -> Landed:
        """What landed, from Prisma's history, the catalogue and the content."""
        plan, before = self.run.read_evidence("plan") or {}, self.run.read_evidence("before.catalog")
        found = history.compare(history.files(self.project), applied(self.db, self.target))
        files = tuple(name for name in plan.get("files", {}) if name in found.applied)
        if before is None:
            return Landed(files, found.failed, 0 if not files and not found.failed else -1, None if found.failed else ())
        changes = catalog.difference(catalog.Catalog.from_dict(before), catalog.read(self.db)).changes
        return Landed(files, found.failed, len(changes), self._changed_content())

    def what_landed(self) -> Table:
        """The same, as a table."""
        found = self.landed
        self.run.write_evidence("rollback.landed", {"files": found.files, "failed": found.failed, "catalogue_changes": found.catalogue,
                                                    "changed_tables": found.content})
        return Table("Nothing of the migration landed" if found.nothing else "What landed", ("", ""), [
            ("files finished", found.files), ("files failed", found.failed), ("changes of the catalogue", found.catalogue),
            ("tables whose content changed", found.content if found.content is not None else "not known: there is no snapshot from before")])

    def price(self) -> Table:
        """Each way back: possible or not, minutes, and what it would lose."""
        record = self.run.read_evidence("backup") or {}
        lost = self._lost()
        takes = minutes(record["restore_s"]) if record.get("restore_s") else "not measured"
        rows = [("resolve", "yes" if self.landed.nothing else "no: something landed", "seconds", "nothing"),
                ("restore and swap", "yes" if record.get("proven_at") else "no: no proven backup", takes,
                 "not known" if lost is None else (", ".join(lost) or "nothing")),
                ("point in time", "no: no provider is configured", "–", "–")]
        self.run.write_csv("rollback.price", ("way", "possible", "takes", "loses"), rows)
        return Table("What each way back costs", ("way", "possible", "takes", "would lose writes to"), rows)

    @cached_property
    def way(self) -> str:
        """The cheapest way that is proven to lead back: "none", "resolve" or "restore"."""
        if self._resumed:
            return "restore"
        fired = [item for item in self._fired if item.id in ("trigger.migration", "trigger.validation", "trigger.data", "trigger.application")
                 and item in self._fired.failed]
        if not fired and not gate.standing(self.run, "rollback"):
            return "none"
        return "resolve" if self.landed.nothing else "restore"

    def decide(self) -> Table:
        """Pass the gate of the rollback: automatic by the parameters, or approved by a person; lost writes need a person always."""
        if self.way == "none":
            return Table("No trigger fired: nothing is rolled back", ("", ""), [])
        decision = gate.standing(self.run, "rollback")
        lost = self._lost() if self.way == "restore" else []
        automatic = self.params.rollback.automatic and "rollback" not in self.params.approvals.required and not lost and lost is not None
        if decision is None and not automatic:
            why = "it is not automatic here" if lost == [] else ("what it would lose is not known" if lost is None else f"writes to {', '.join(lost)} would be lost")
            raise ApprovalNeeded(f"the way back `{self.way}` needs a person: {why}", f"`runbook rollback {self.run.id} --reason …`", gate="rollback")
        if decision and decision["decision"] == "refused":
            raise GateError(f"the rollback was refused by {decision['person']}: {decision['reason']}", f"`runbook rollback {self.run.id}`")
        if self.way == "restore" and not self._resumed:
            self.look("backup", Checks("The backup to restore", [c for c in backup_checks(self) if c.id in ("backup.made", "backup.proven", "backup.intact")])).require()
        by = decision["person"] if decision else "rollback.automatic"
        self._passed.add("rollback")
        self.run.journal("rollback decided", way=self.way, by=by)
        return Table(f"Decided: {self.way}", ("way", "by"), [(self.way, by)])

    def go_back(self) -> Table:
        """Take the way back that was decided."""
        if self.way == "none":
            return Table("Nothing to do", ("", ""), [])
        self.require_gate("rollback")
        with self.exclusive():
            return self._resolve() if self.way == "resolve" else self._restore()

    def afterwards(self) -> Checks:
        """Integrity, health and content after the way back; the application back in service."""
        if self.way == "none":
            return Checks("Nothing was rolled back", [])
        found = history.compare(history.files(self.project), applied(self.db, self.target))
        checks = [check("after.history", "Prisma's history holds no failed migration", not found.failed, ", ".join(found.failed) or "none failed", "none failed"),
                  *project_check(self, "after.data"), *integrity.foreign_keys(self.db).checks(), attempt("after.content", "content and catalogue are those of before", self._as_before)]
        self.look("afterwards", Checks("After the way back", checks)).require()
        return Checks("After the way back", [*checks, *self.look("reopened", reopen(self)).require()])

    def record(self) -> Any:
        """The outcome, and the people told."""
        if self.way == "none":
            return Table("The outcome stays as it is", ("", ""), [])
        reasons = [item.title for item in self._fired.failed]
        self.run.journal("rolled back", way=self.way, reasons=reasons)
        return tell(self, ["stakeholders", "operations"], "rolled back", f"{self.params.environment.name}: the migration was rolled back",
                    "The database is as it was before. The migration will be planned again.")

    def retry_plan(self) -> Table:
        """What to do before the next attempt."""
        steps = ["correct the migration file that failed (a new file where it was ever applied elsewhere)",
                 "rehearse it: runbook run PARAMS --to rehearse", "record the lessons in 80_close of the next run"]
        return Table("Before the next attempt", ("step",), [(step,) for step in steps])

    def finish(self, status: str = "succeeded") -> None:
        """End the phase; the run is rolled back where something was rolled back."""
        super().finish(status)
        self.run.end("rolled_back" if self.way != "none" else self._outcome_before)

    def _data(self) -> Check:
        changed = self._undeclared()
        return check("trigger.data", "data is as it was but for the declared change", not changed, ", ".join(changed) or "identical", "identical", "roll back")

    def _performance(self) -> Check:
        """Means of the statements that were called often enough since before, by pg_stat_statements."""
        title, stored = "queries are as fast as before", self.run.read_evidence("before.statistics")
        before, now = (stored or {}).get("statements"), statistics.read(self.db).statements
        if before is None or now is None:
            return unknown("trigger.performance", title, "pg_stat_statements is not available, or there is no state from before")
        old = {one["id"]: one for one in before}
        slower = [ratio for one in now if one["id"] in old and (ratio := _slowdown(old[one["id"]], one))]
        if not slower:
            return unknown("trigger.performance", title, f"no statement was called {ENOUGH_CALLS} times since")
        return check("trigger.performance", title, max(slower) <= SLOWER, f"the slowest takes {max(slower):.1f} times as long", f"at most {SLOWER:g} times", "roll back")

    def _application(self) -> Check:
        application = Application(self)
        if not application.configured:
            return not_configured("trigger.application", "the application answers without errors", "service")
        failed = application.endpoints().failed
        return check("trigger.application", "the application answers without errors", not failed, "; ".join(f"{c.title}: {c.found}" for c in failed) or "all answer",
                     "all answer", "roll back")

    @cached_property
    def _comparison(self) -> tuple[snapshot.Snapshot, snapshot.Snapshot] | None:
        stored = self.run.read_evidence("before.snapshot")
        if stored is None:
            return None
        before = snapshot.Snapshot.from_dict(stored)
        return before, snapshot.take(self.target, self.application_name, columns=declared.columns_of(before))

    def _undeclared(self) -> list[str]:
        if self._comparison is None:
            return []
        plan = self.run.read_evidence("plan") or {}
        return [c.title for c in declared.compare(*self._comparison, plan.get("declared", {})).checks().failed]

    def _changed_content(self) -> tuple[str, ...] | None:
        if self._comparison is None:
            return None
        return declared.changed_tables(*self._comparison)

    def _lost(self) -> list[str] | None:
        """Tables written between the backup and the state before the migration: a restore loses those writes."""
        stored = self.run.read_evidence("before.snapshot")
        if stored is None:
            return None
        return list(declared.changed_tables(load_backup(self).snapshot, snapshot.Snapshot.from_dict(stored)))

    def _as_before(self) -> Check:
        before = self.run.read_evidence("before.catalog")
        self.__dict__.pop("_comparison", None)
        changed = self._changed_content()
        title = "content and catalogue are those of before"
        if before is None or changed is None:
            return check("after.content", title, self.way == "restore", "compared with the backup's manifest before the swap", "identical")
        difference = catalog.difference(catalog.Catalog.from_dict(before), catalog.read(self.db))
        return check("after.content", title, difference.empty and not changed,
                     f"{len(difference.changes)} changes of the catalogue; content differs in {', '.join(changed) or 'no table'}", "identical")

    def _resolve(self) -> Table:
        """Prisma's record of a failed file is closed; nothing of it is in the database, which was proven."""
        for name in self.landed.failed:
            cli.resolve(self.project, self.prisma_url, rolled_back=name)
        self.run.journal("resolved", files=list(self.landed.failed))
        return Table("Nothing had landed: Prisma's history was put right", ("file", "marked as"), [(name, "rolled back") for name in self.landed.failed])

    def _restore(self) -> Table:
        key = self.run.key.lower()
        names = {"live": self.target.database, "restored": f"{self.target.database}_restored_{key}", "failed": f"{self.target.database}_failed_{key}"}
        application = Application(self)
        application.run("stop")
        steps = [("an interrupted way back was taken up again", 0.0)] if self._resumed else [
            ("restored beside and compared with the manifest", self._restore_beside(names)), ("swapped by name", self._swap(names))]
        if any(line["what"] == "client generated" for line in self.run.read_journal()):
            application.run("previous")
        application.run("start")
        return Table(f"The backup is live again; the failed database is kept as {names['failed']}", ("step", "seconds"), steps)

    def _swap(self, names: dict[str, str]) -> float:
        """Swap by name, however far an earlier attempt came; seconds for which the live name was closed."""
        if self._session:
            self._session.close()
        done = swap.swap(self.target, names["live"], names["restored"], names["failed"], self.application_name)
        with databases.maintenance(self.target, self.application_name) as admin:
            databases.comment_on(admin, names["live"], load_backup(self).database()["comment"] or None)
        self.run.journal("swap ended", **names, seconds=round(done.closed_s, 3))
        found = identify(self.db)
        self.run.update(lambda state: state["target"].update(found))
        self.run.journal("database pinned again", target=describe(found))
        return done.closed_s

    def _restore_beside(self, names: dict[str, str]) -> float:
        """Restore next to the live database, prove it there, and write down that the swap begins."""
        made, place = load_backup(self), self.target.named(names["restored"])
        programs = tools(self.target, self.params.database.tools, application_name=self.application_name)
        with databases.maintenance(self.target, self.application_name) as admin:
            already = databases.entry(admin, names["restored"])
        mark = f"runbook: restored for {self.run.id}"
        seconds = 0.0
        if not (already and already.comment == mark):
            seconds = restore.restore(made, place, self.application_name, tools=programs, jobs=self.jobs, mark=mark, on_line=self.say).total_seconds
        self.look("restored", restore.compare_with(made, place, self.application_name, jobs=self.jobs).checks()).require()
        self.run.journal("swap begun", **names)
        return seconds

    def _interrupted(self) -> dict[str, str] | None:
        """The names of a swap that was begun, of a way back that was not seen to its end."""
        steps = [line for line in self.run.read_journal() if line["what"] in ("swap begun", "rolled back")]
        if not steps or steps[-1]["what"] == "rolled back":
            return None
        return {key: steps[-1][key] for key in ("live", "restored", "failed")}


PHASE = Rollback
