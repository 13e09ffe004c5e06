"""What every phase shares: which run, which database, how results are kept, how it ends.

A notebook opens its phase in its first code cell and finishes it in its last:

    phase = open_phase("backup", globals())
    …
    phase.finish()

A cell that fails in between ends the phase as failed (or waiting, or aborted) by itself, in
JupyterLab and headless.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from runbook_lib import approver, archive, gate, login, process
from runbook_lib.check import Check, Checks, check, unknown
from runbook_lib.errors import (
    Aborted,
    ApprovalNeeded,
    CheckError,
    DatabaseError,
    GateError,
    NotRecorded,
    Refused,
    RunbookError,
    UsageError,
    beside,
)
from runbook_lib.params import KEYS, Params, parse
from runbook_lib.phases import checklists, kernel, lease, talk
from runbook_lib.phases.identity import describe, identify, same_database
from runbook_lib.postgres import databases, locks
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.prisma.project import Project
from runbook_lib.redact import redact
from runbook_lib.run import ASIDE, FINAL, Run, newest, now, runs
from runbook_lib.secret import HOME
from runbook_lib.show import widgets
from runbook_lib.state import BAD, LOOKING, PHASES
from runbook_lib.whereabouts import carried_by, carrier

_Kept = TypeVar("_Kept")


class Phase:
    """One phase of a run, at work in this kernel.

    Args:
        run: the run that it belongs to.
    """

    name: ClassVar[str] = ""
    heading: ClassVar[str] = ""
    needs_database: ClassVar[bool] = True
    """Whether the phase begins only with the database that the run pinned."""
    holds_database: ClassVar[bool] = False
    """Whether the run has the database for itself from this phase on (see
    `runbook_lib.phases.lease`).
    """
    gates: ClassVar[tuple[str, ...]] = ()
    """The gates that must have been passed before the phase may be finished."""
    steps: ClassVar[tuple[str, ...]] = ()
    """The steps that must have been done before, too: each is added to `_passed` where it ends
    well.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.params: Params = run.params
        self.resources = ExitStack()
        """What must be given back when the phase ends, however it ends."""
        self._session: Database | None = None
        self._begun = now()
        self._outcome_before = run.outcome
        self._passed: set[str] = set()
        self._failing: set[str | None] = set()
        self.decided: Mapping[str, Any] | None = None
        """What this phase's gate waited with, where a person has decided since: see
        `pass_gate_once`.
        """
        self._was_refused = False

    @cached_property
    def target(self) -> Target:
        """The database that the parameters name."""
        return Target.parse(self.params.database_url())

    @property
    def application_name(self) -> str:
        """What `pg_stat_activity` shows for the sessions of this phase."""
        return f"runbook/{self.run.key}/{self.name}"

    @property
    def db(self) -> Database:
        """The phase's session with the database; opened again where it was lost."""
        if self._session is None or self._session.connection.closed:
            self._session = Database(
                self.target,
                self.application_name,
                statement_timeout="10min",
                lock_timeout="10s",
                idle_in_transaction_session_timeout="10min",
            )
        return self._session

    @property
    def jobs(self) -> int:
        """Sessions that dump, restore and read content side by side."""
        return self.params.backup.jobs or min(4, os.cpu_count() or 1)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Work on this database as no other run may do at the same time.

        And not at all while another run has it.
        """
        self.not_refused()
        lease.claim(self)
        self._goes_on()
        with (
            databases.maintenance(self.target, self.application_name) as admin,
            locks.advisory_lock(admin, self.target.database),
        ):
            yield

    @cached_property
    def project(self) -> Project:
        """The Prisma project."""
        return open_project(self.params)

    @property
    def prisma_name(self) -> str:
        """What `pg_stat_activity` shows for the sessions of the Prisma CLI."""
        return f"{self.application_name}/prisma"

    @property
    def prisma_url(self) -> str:
        """The URL for the Prisma CLI: named sessions, bounded waits."""
        return self.target.url(
            self.prisma_name,
            lock_timeout=milliseconds(self.params.migrate.lock_timeout_s),
            statement_timeout=milliseconds(self.params.migrate.statement_timeout_s),
        )

    def begin(self, notebook: str) -> None:
        """Enter the phase in run.json, watch for failing cells, and check the pinned database."""
        if not self.only_looks:
            self._alone()
            self.claim()
            if kernel.in_front_end():  # headless, each attempt has a notebook of its own
                archive.keep_attempt(self.run.folder / notebook)
            self.run.begin_phase(self.name, notebook)
        kernel.watch(self, notebook)
        if not self.only_looks:
            talk.send_due(self.run)
        if self.needs_database:
            Checks("The pinned database", [self.identity()]).require()

    def claim(self, *, take_over: bool = False) -> None:
        """Make sure that no other run has the database, unless this phase only looks and plans.

        A refusal is recorded.

        Raises:
            Refused: another run has it, or somebody refused a gate before this phase.
        """
        self.not_refused(own=False)
        looks = not self.needs_database or self.name in (*LOOKING, "start", "plan")
        if looks and not take_over:
            return
        try:
            lease.claim(self, take_over=take_over)
        except Refused as error:
            self.refused(error)
            raise
        except DatabaseError:  # what is asked next of the database says so, in the phase
            if take_over:
                raise

    def not_refused(self, *, own: bool = True) -> None:
        """Refuse to go on if somebody has refused a gate before this phase.

        In whatever kernel, or on the command line.

        Args:
            own: its own gate, too; not where it is opened to be asked anew.

        Raises:
            Refused: it stands refused until somebody decides anew.
        """
        gates = {*PHASES[: PHASES.index(self.name)]} if self.name in PHASES else set()
        for name, one in gate.refused(self.run).items():
            if name in gates or (own and name == self.name):
                raise Refused(
                    f"the gate `{name}` was refused by {one['person']} at {one['at']}: "
                    f"{one['reason']}",
                    f"settle it with them; then {approver.command(self.run, name)}",
                )

    def _alone(self) -> None:
        """Refuse to work on a run that another process carries from phase to phase.

        Who only looks, may.
        """
        archive, run = self.run.folder.parent, self.run.id
        if self.name not in LOOKING and (other := carrier(archive, run)):
            raise carried_by(other, self.run.folder)

    def refused(self, error: Refused) -> None:
        """Record what was not begun.

        Nothing else moves: neither state, nor cause, nor escalation.
        """
        self.run.journal("refused", phase=self.name, reason=redact(error.message))

    @property
    def only_looks(self) -> bool:
        """Whether nothing is recorded: somebody looks at a run that is sealed."""
        return self.name in LOOKING and self.run.sealed

    def identity(self) -> Check:
        """Whether the server and database are those that the run pinned when it started."""
        pinned = self.run.state["target"]
        found = identify(self.db)
        return check(
            "identity",
            "the database is the one that this run pinned",
            same_database(pinned, found),
            describe(found),
            describe(pinned),
            "check what `database.url` leads to; a run never changes its database",
        )

    def say(self, text: str) -> None:
        """One timed line: when, how long since the phase began, what."""
        elapsed = (now() - self._begun).total_seconds()
        print(f"{now():%H:%M:%S}Z {elapsed:7.1f} s  {redact(text)}", flush=True)

    def together(self, *looks: Callable[[], Any]) -> list[Any]:
        """The results of several looks that wait for other programs, made side by side.

        An interrupt ends those programs.
        """
        with ThreadPoolExecutor(min(len(looks), os.cpu_count() or 1)) as pool:
            futures = [pool.submit(look) for look in looks]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                while wait(futures, timeout=0.05).not_done:  # a look may go on to its next program
                    process.end_running()
                    if self._session:
                        self._session.cancel()
                raise

    def keep(self, name: str, result: _Kept) -> _Kept:
        """Keep a result as the run's evidence, and hand it on.

        Args:
            name: of the evidence file; the phase's name stands before it.
            result: JSON-able, or with `as_dict()`; `Checks` are kept one by one.
        """
        content = [item.as_dict() for item in result] if isinstance(result, Checks) else result
        if not self.only_looks:
            self.run.write_evidence(f"{self.name}.{name}", content)
        return result

    def look(self, name: str, checks: Checks) -> Checks:
        """Keep checks as evidence and in the journal, shown but not yet required.

        Where there is nothing to check, a check has to say so (`check.nothing`): none at all is not
        known to be right.
        """
        if not len(checks):
            why = "no check was made, and none says that there is nothing to check"
            checks = Checks(checks.title, [unknown(f"{self.name}.{name}", checks.title, why)])
        self.run.journal(
            "checks",
            phase=self.name,
            checks=name,
            passed=len(checks) - len(checks.failed) - len(checks.unknown),
            failed=[item.id for item in checks.failed],
            unknown=[item.id for item in checks.unknown],
        )
        return self.keep(name, checks)

    @property
    def settled(self) -> Collection[str]:
        """What could not be checked, and was accepted by a person at an earlier gate.

        It is not asked again.
        """
        return ()

    def pass_gate(self, name: str, checks: Checks) -> Checks:
        """Pass a gate, or raise: see `runbook_lib.gate.require`.

        Returns the checks, to be shown.
        """
        required = self.params.approvals.required
        checks += checklists.open_checks(self.run, name) if name in required else Checks("", [])
        return self._pass(name, checks)

    def pass_gate_once(self, name: str, step: str, measure: Callable[[], Checks]) -> Checks:
        """Pass a gate of what was measured, which is not measured again once a person has decided.

        Args:
            step: the method that asks. Opened again, the phase goes on there, with the checks that
                the gate waited with.
            measure: the checks; not called where they are taken from the record.
        """
        if self.decided and self.decided["step"] == step:
            return self._pass(name, gate.checks_of(self.decided))
        try:
            return self.pass_gate(name, found := measure())
        except ApprovalNeeded:
            gate.keep_waiting(self.run, self.name, name, step, found)
            raise

    def _pass(self, name: str, checks: Checks) -> Checks:
        decision = self._ask(name, checks, self.params.approvals.required, self.settled)
        self._passed.add(name)
        self.say(
            f"gate `{name}` is open"
            + (
                f": approved by {decision['person']} at {decision['at']}: {decision['reason']}"
                if decision
                else ""
            )
        )
        return checks

    def must_hold(self, name: str, checks: Checks) -> Checks:
        """Keep checks, and go on where none failed.

        For what could not be checked, a person has to open this phase's gate.
        """
        self._ask(self.name, self.look(name, checks), (), self.settled)
        return checks

    def checklist(self) -> widgets.Checklist:
        """Show the runbook's checklist of this phase.

        Each item has its evidence or the person who did it.
        """
        return checklists.shown(self)

    def _ask(
        self,
        name: str,
        checks: Checks,
        required: Iterable[str],
        settled: Collection[str] = (),
    ) -> dict[str, Any] | None:
        try:
            return gate.require(self.run, name, checks, required, settled)
        except GateError as error:
            if kernel.in_front_end():
                self._offer(name, checks)
                error.remedy = (
                    approver.instead(self.run, name)
                    if approver.objection(self.run, name, login.current())
                    else "read the evidence above, decide with the buttons, and run this cell again"
                )
            raise

    def send(self, said: talk.Message) -> Any:
        """Send a message, and record what became of it.

        While another run has the database, nobody is told anything by this one.

        Raises:
            Refused: another run has it.
        """
        self.not_refused()
        lease.claim(self)
        return talk.tell(self.run, said)

    def require_gate(self, name: str) -> None:
        """Refuse to go on before the cell of a gate was run and passed.

        Raises:
            Refused: it was not; nothing was begun.
        """
        self.not_refused()
        if name not in self._passed:
            raise Refused(
                f"the gate `{name}` was not passed in this notebook", "run its cell first"
            )

    def require_steps(self, *names: str) -> None:
        """Refuse to go on before the cells of these steps have run.

        Raises:
            Refused: one has not; nothing was begun.
        """
        if missing := [f"`phase.{name}()`" for name in names if name not in self._passed]:
            raise Refused(
                f"{' and '.join(missing)} must come first: not run in this notebook yet",
                "run the cells in their order",
            )

    def escalation(self) -> Any:
        """Return who is told of this run's newest failure, and when.

        As long as nobody has acknowledged it.
        """
        return talk.current(self.run)

    def acknowledge(self, note: str = "") -> Any:
        """Record that a person has taken the failure up: nobody further is told of it."""
        return talk.acknowledge(self.run, note)

    def _offer(self, name: str, checks: Checks) -> None:
        """The buttons of a gate that waits or was refused, for the person before this notebook.

        Then its cell is run again.
        """
        from IPython.display import display

        shown = gate.asked(self.run, name)

        def decide(approved: bool, person: str, reason: str) -> widgets.Decision:
            by = login.named(person)
            return decision(
                gate.approve(self.run, name, reason, refused=not approved, shown=shown, by=by)
            )

        def decision(record: Mapping[str, Any]) -> widgets.Decision:
            return widgets.Decision(
                record["decision"] == "approved", record["person"], record["at"], record["reason"]
            )

        standing = gate.standing(self.run, name)
        refused = decision(standing) if standing and standing["decision"] == "refused" else None
        display(
            widgets.Gate(
                name,
                checks,
                refused,
                decide=decide,
                person=login.current().name,
                asked=shown,
                command=approver.command(self.run, name),
            )
        )

    def finish(self, status: str = "succeeded") -> None:
        """End the phase.

        Raises:
            Refused: a gate was not passed, or a cell that failed has not passed since. It can be
                repeated once it has.
        """
        self.not_refused()
        for name in self.gates:
            self.require_gate(name)
        self.require_steps(*self.steps)
        if self._failing:
            raise Refused(
                f"{len(self._failing)} cells of this notebook have failed and not passed since",
                "run them again",
            )
        self._give_back()
        if not self.only_looks:
            self.run.end_phase(self.name, status)
        self.say(f"{self.name}: {status}")

    def fail(self, error: BaseException) -> None:
        """End the phase by an error: waiting for a person, aborted, or failed.

        The run's outcome follows.
        """
        if self.only_looks:
            return
        if isinstance(error, Refused):
            self._was_refused = True
            self.refused(error)
            return
        waits, stopped = (
            isinstance(error, ApprovalNeeded),
            isinstance(error, (Aborted, NotRecorded, KeyboardInterrupt)),
        )
        status = "waiting" if waits else "aborted" if stopped else "failed"
        ids = error.failed if isinstance(error, CheckError) else ()
        reason = str(error) if isinstance(error, RunbookError) else type(error).__name__
        with beside(error, "recording that the phase ended"):
            self.run.end_phase(self.name, status, ids, reason)
            if self.run.outcome not in FINAL and self.name not in LOOKING:
                self.run.end(status)
        with beside(error, "giving back what the phase held"):
            self._give_back()

    def cell_ended(self, cell: str | None, success: bool) -> None:
        """Keep in mind which cells have failed.

        Where the last of them has passed, the phase goes on.

        Args:
            cell: its id in the notebook, where the front end tells it.
        """
        refused, self._was_refused = self._was_refused, False
        if refused:
            return
        if not success:
            self._failing.add(cell)
        elif self._failing:
            self._failing.discard(cell)
            if not self._failing:
                self._goes_on()

    def _goes_on(self) -> None:
        """Say that the phase is at work again, where its newest attempt had stopped.

        At a gate, by an error or an interrupt.
        """
        entry = self.run.phase(self.name) if not self.only_looks else None
        if entry and entry["status"] in (*BAD, "waiting") and self.run.outcome not in FINAL:
            self.run.resume_phase(self.name)

    def _give_back(self) -> None:
        """Close the session and everything else that the phase holds."""
        try:
            self.resources.close()
        finally:
            if self._session:
                self._session.close()

    def _repr_html_(self) -> str:
        return str(self.banner()._repr_html_())

    def __repr__(self) -> str:
        return str(self.banner())

    def banner(self) -> Any:
        """Where this is: environment, database, run, phase."""
        state = self.run.state
        target = state["target"]
        server = (
            f"PostgreSQL {target['server_version']}, system {target['system_identifier']}"
            if "server_version" in target
            else ""
        )
        return widgets.banner(
            environment=state["environment"],
            production=state["production"],
            phase=self.heading or self.name,
            database=target["database"],
            host=":".join(str(target[key]) for key in ("host", "port") if key in target),
            run=self.run.id,
            engineer=self.params.engineer,
            server=server,
        )


def open_phase(name: str, parameters: Mapping[str, Any]) -> Any:
    """The phase of that name, begun, in the run that the parameters lead to.

    Where it is done and still holds, what says so.

    Args:
        name: as in `runbook_lib.run.PHASES` and `ASIDE`.
        parameters: the notebook's variables; `run_folder` and the top-level keys of the parameters
            are read.

    Raises:
        UsageError: the parameters are wrong, or lead to no run.
        CheckError: the database is not the one that the run pinned.
    """
    from runbook_lib.phases import again

    cls = phase_class(name)
    values = {key: parameters[key] for key in KEYS if parameters.get(key) is not None}
    run = _attach(cls, parameters.get("run_folder") or os.environ.get("RUNBOOK_RUN"), values)
    phase = cls(run)
    if earlier := again.opened(phase):
        phase._give_back()
        return earlier
    at_gate = again.decided(phase)
    phase.begin(notebook=_notebook(name))
    return at_gate or phase


def phase_class(name: str) -> type[Phase]:
    """The class of a phase.

    Raises:
        UsageError: there is no such phase.
    """
    if name not in PHASES + ASIDE:
        raise UsageError(f"there is no phase {name!r}", "one of " + ", ".join(PHASES + ASIDE))
    found: type[Phase] = importlib.import_module(f"runbook_lib.phases.{name}").PHASE
    return found


def _attach(cls: type[Phase], folder: str | None, values: dict[str, Any]) -> Run:
    """The run named by folder; else the newest that goes on; else a new one."""
    if folder:
        named = Run(Path(folder))
        _same_parameters(named, values)
        return named
    archive = parse(values).environment.archive if values else HOME / "archive"
    run = newest_of(values) if values else newest(archive)
    if run is None and not values:
        raise UsageError(
            "there is no open run, and no parameters are given",
            "`runbook lab PARAMS`, or papermill with `-f PARAMS`",
        )
    if run is None:
        return _begun(values)
    goes_on = cls.name in ASIDE or cls.name == "close" or run.outcome not in FINAL
    if not goes_on or (cls.name == "start" and values and run.phase("start")):
        return _begun(values or run.parameters)
    _same_parameters(run, values)
    return run


def _begun(values: dict[str, Any]) -> Run:
    from runbook_lib.phases.start import start_run

    return start_run(values)


def newest_of(values: Mapping[str, Any]) -> Run | None:
    """Return the newest run of the environment, database and project that the parameters name.

    An environment may have several.
    """
    given = parse(values)
    for run in reversed(runs(given.environment.archive, given.environment.name)):
        with suppress(UsageError):  # of another version: nobody goes on with it
            run.require_told()
            stored = run.params
            if (stored.database.url, stored.prisma.project) == (
                given.database.url,
                given.prisma.project,
            ):
                return run
    return None


def _same_parameters(run: Run, values: dict[str, Any]) -> None:
    """Refuse parameters that mean something else than those the run was started with.

    Another engineer may go on.
    """
    if not values:
        return
    given, stored = parse(values), run.params
    changed = [
        key
        for key, field in zip(KEYS, Params.model_fields, strict=True)
        if field not in ("engineer", "demo") and getattr(given, field) != getattr(stored, field)
    ]
    if changed:
        raise UsageError(
            f"the parameters {', '.join(changed)} differ from those that run {run.id} was started "
            "with",
            f"go on with the stored ones (`runbook resume {run.reference}`), or start a new run "
            "with 00_start",
        )


def open_project(params: Params) -> Project:
    """The Prisma project that the parameters name, looked at and found usable."""
    prisma = params.prisma
    return Project(
        prisma.project,
        schema=prisma.schema_file,
        migrations=prisma.migrations,
        url_variable=prisma.url_variable,
        engine=prisma.engine,
        environment=params.variables("prisma"),
    )


def milliseconds(seconds: float) -> str:
    """Seconds as a PostgreSQL setting without blanks: 1.5 → '1500ms'."""
    return f"{round(seconds * 1000)}ms"


def notebook_name(phase: str) -> str:
    """The file name of a phase's notebook: "backup" → "30_backup.ipynb"."""
    found = sorted((HOME / "notebooks").glob(f"[0-9][0-9]_{phase}.ipynb"))
    return found[0].name if found else f"{phase}.ipynb"


def _notebook(phase: str) -> str:
    """The file that this kernel runs.

    What the runner says, else what Jupyter says, else the source's name.
    """
    said = (
        os.environ.get("RUNBOOK_NOTEBOOK")
        or os.environ.get("JPY_SESSION_NAME")
        or notebook_name(phase)
    )
    return Path(said).name


__all__ = ["Phase", "open_phase", "open_project", "milliseconds", "notebook_name", "GateError"]
