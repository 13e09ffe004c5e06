"""One migration's folder: its state, its journal, its evidence, its approvals.

`<archive>/<UTC start>_<environment>_<last migration>/` holds the executed notebooks and

    run.json         what other programs read; true at every moment
    parameters.json  what the run was started with: references, never secrets
    journal.jsonl    append-only: who, when, what, outcome
    approvals.jsonl  append-only: who opened which gate, of which plan, and why
    cells.jsonl      append-only: what each run of a cell showed before a front end
    evidence/        JSON and CSV that a person or pandas opens in ten years

It is created exclusively and holds no secret and no row of data.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from runbook_lib import seal
from runbook_lib.errors import NotMade, NotRecorded, Refused, RunbookError, UsageError
from runbook_lib.events import event
from runbook_lib.files import (
    append_json,
    explained,
    keep,
    last_at,
    lock,
    read_json,
    read_lines,
    read_state,
    release,
    write_csv,
    write_json,
)
from runbook_lib.login import login
from runbook_lib.params import KEYS, Params, parse
from runbook_lib.redact import redact
from runbook_lib.secret import HOME
from runbook_lib.state import ASIDE as ASIDE
from runbook_lib.state import FINAL as FINAL
from runbook_lib.state import LOOKING, PHASES, SUMMARISED, RunState, derive
from runbook_lib.state import lasted as lasted
from runbook_lib.whereabouts import Presence, at_work, person, presence, this_process

_REQUIRED: Any = object()


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """A moment in UTC as ISO 8601 with milliseconds: 2026-11-24T02:00:00.000Z."""
    return (
        (moment or now()).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def moment(text: str) -> datetime:
    """The moment that `stamp` wrote."""
    return datetime.fromisoformat(text)


class Run:
    """One migration's folder.

    Args:
        folder: an existing run folder.

    Raises:
        UsageError: it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._derived: tuple[tuple[int, int] | None, RunState] = (None, RunState())
        if not (self.folder / "run.json").is_file():
            raise UsageError(
                f"{folder} is no run: it has no run.json", "`runbook history` lists the runs"
            )

    @cached_property
    def _lock(self) -> FileLock:
        """Made when something is changed: a run in an archive that can only be read is read."""
        return lock(self.folder.parent, self.id)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with explained(self.folder / "run.json"):
            if (
                not self.folder.is_dir()
            ):  # no lock is made in the empty place of a disk that is gone
                raise FileNotFoundError(2, "the run's folder is not there any more")
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def reference(self) -> str:
        """What names this run to every command, in any folder.

        Its id where it lies in the default archive, else its folder.
        """
        default = self.folder.parent == (HOME / "archive").resolve()
        return self.id if default else shlex.quote(str(self.folder))

    @property
    def number(self) -> int:
        """Which run of its archive this is, counted from 1.

        0 where it was started before runs were counted.
        """
        return int(self.state.get("number") or 0)

    @property
    def key(self) -> str:
        """The run's UTC start, which names its database sessions and its backup."""
        return self.id.split("_")[0]

    @property
    def params(self) -> Params:
        """What the run was started with."""
        return parse(self.parameters, f"{self.id}/parameters.json")

    @property
    def parameters(self) -> dict[str, Any]:
        """The same, as the mapping of top-level keys that a notebook is given."""
        try:
            return read_state(self.folder / "parameters.json")
        except FileNotFoundError:
            raise UsageError(
                f"{self.id} has no parameters.json",
                f"restore it from a copy, or move the folder {self.id} out of the archive",
            ) from None

    @property
    def derived(self) -> RunState:
        """How the run stands, by its journal (see `runbook_lib.state`)."""
        path = self.folder / "journal.jsonl"
        there = path.stat() if path.exists() else None
        key = (there.st_size, there.st_mtime_ns) if there else None
        if key is None or self._derived[0] != key:
            self._derived = (key, derive(self.read_journal()))
        return self._derived[1]

    @property
    def state(self) -> dict[str, Any]:
        """What run.json holds. The journal tells it.

        Of a run that an earlier version started, the file itself.

        Raises:
            NotRecorded: neither is there any more.
        """
        try:
            return deepcopy(self.derived.summary) or read_state(self.folder / "run.json")
        except FileNotFoundError:
            raise NotRecorded(
                f"{self.folder / 'run.json'} is not there any more: the archive was moved, "
                "removed or unmounted",
                "bring it back to where it was, then go on with the run; nothing in the database "
                "depends on it",
            ) from None

    @property
    def outcome(self) -> str:
        """How the run stands."""
        return str(self.state["outcome"])

    def end(self, outcome: str) -> None:
        """Record how the run ended."""
        self.journal("run ended", outcome=outcome)

    def phase(self, name: str) -> dict[str, Any] | None:
        """The newest entry of a phase in run.json."""
        return next(
            (entry for entry in reversed(self.state["phases"]) if entry["phase"] == name), None
        )

    def begin_phase(self, name: str, notebook: str) -> None:
        """Enter a phase as running.

        Raises:
            Refused: it is at work in another process. Phases that only look may be, as often as
                there are people who look.
        """
        with self._locked():
            running = [
                one
                for one in self.state["phases"]
                if (one["phase"], one["status"]) == (name, "running")
            ]
            closes = [why for one in running if (why := _closed(one))]
            self.journal(
                "phase begun",
                phase=name,
                notebook=notebook,
                process=this_process(),
                **({"closes": closes[-1]} if closes else {}),
            )

    def require_told(self) -> None:
        """Refuse to add to a run of which the journal does not tell how it stands.

        Raises:
            UsageError: it is read, and never gone on with. Nothing was touched.
        """
        if self.folder.is_dir() and not self.derived.told:  # an archive that is gone is said later
            raise UsageError(
                f"{self.id} was begun by another version of the runbook: its journal does not tell "
                "this one how the run stands. It can be read, and not gone on with; "
                "nothing was changed",
                "go on with the version that began it; or `runbook run PARAMS` begins a new run, "
                "which looks first at what was applied",
            )

    @property
    def sealed(self) -> bool:
        """Whether the folder was sealed and not taken up again since."""
        return (self.folder / "manifest.json").exists()

    def open_seal(self) -> None:
        """Before anything is added to a run, open its seal.

        If it is sealed, its manifest is kept under a number, and the next seal covers it.

        What was changed behind the seal is recorded first: a new seal does not make it good.

        Raises:
            UsageError: the run was begun by another version.
        """
        self.require_told()
        if not self.sealed:
            return
        with self._locked(), explained(self.folder / seal.MANIFEST):
            if self.sealed:  # and nobody else has opened it meanwhile
                manifest = seal.read_manifest(self.folder / seal.MANIFEST)
                wrong = (
                    seal.differences(self.folder, manifest)
                    if manifest
                    else [f"{seal.MANIFEST}: cannot be read"]
                )
                for file in seal.files(self.folder).values():
                    release(file)
                older = (
                    self.folder
                    / f"manifest.{len(list(self.folder.glob('manifest.*.json'))) + 1}.json"
                )
                (self.folder / seal.MANIFEST).rename(older)
                release(older)
                signed = self.folder / f"{seal.MANIFEST}.sig"
                if signed.exists():
                    signed.rename(older.with_name(f"{older.name}.sig"))
                self.journal(
                    "seal opened",
                    manifest=older.name,
                    **({"not_as_sealed": wrong} if wrong else {}),
                )

    def resume_phase(self, name: str) -> None:
        """Take the newest attempt at a phase up again: what had failed in it has passed since."""
        self.journal("phase taken up again", phase=name)

    def end_phase(
        self,
        name: str,
        status: str,
        failed_checks: Iterable[str] = (),
        reason: str = "",
        *,
        killed: bool = False,
    ) -> None:
        """Record how the newest attempt at a phase ended; one that has ended stays as it is.

        Args:
            killed: it could not say so itself: its process is gone.
        """
        with self._locked():
            if any(
                (one["phase"], one["status"]) == (name, "running") for one in self.state["phases"]
            ):
                self.journal(
                    "phase ended",
                    phase=name,
                    outcome=status,
                    failed_checks=list(failed_checks),
                    reason=redact(reason),
                    **({"killed": True} if killed else {}),
                )

    @property
    def at_work(self) -> list[dict[str, Any]]:
        """Return entries of phases that have not ended and whose process may be there.

        It is there, or it is another machine's and cannot be seen.
        """
        return [
            entry
            for entry in self.state["phases"]
            if entry["status"] == "running" and presence(entry.get("process")) is not Presence.GONE
        ]

    @property
    def elsewhere(self) -> list[dict[str, Any]]:
        """Those of them that began on another machine.

        Whether they are still at work cannot be told from here.
        """
        return [
            entry for entry in self.at_work if presence(entry.get("process")) is Presence.ELSEWHERE
        ]

    @property
    def lost(self) -> list[dict[str, Any]]:
        """Entries of phases that have not ended, though their process is gone.

        It was killed and could not say so.
        """
        return [
            entry
            for entry in self.state["phases"]
            if entry["status"] == "running" and presence(entry.get("process")) is Presence.GONE
        ]

    def journal(self, what: str, **facts: Any) -> None:
        """Append one event to the journal: what happened, by whom, when, from which machine.

        run.json follows from it.

        The order of the lines is the order in which things happened. Where the clock was set back
        since the line before, the line says by how much.
        """
        who = facts.pop("who", "") or person()
        known = login().login
        line = {
            "at": stamp(),
            "who": who,
            **({"login": known} if known not in ("", who) else {}),
            "host": socket.gethostname(),
            **event(what, facts),
        }
        if what != "run started":
            self.open_seal()
        with self._locked():
            before = last_at(self.folder / "journal.jsonl")
            back = (moment(before) - moment(line["at"])).total_seconds() if before else 0.0
            append_json(
                self.folder / "journal.jsonl",
                line | ({"clock_set_back_s": round(back, 3)} if back > 0.001 else {}),
            )
            if what in SUMMARISED and (summary := self.derived.summary):
                write_json(self.folder / "run.json", summary)

    def read_journal(self, having: re.Pattern[str] | None = None) -> list[dict[str, Any]]:
        """The journal's lines; with `having` those in which it is found, and the last."""
        return read_lines(self.folder / "journal.jsonl", having)

    def approve(self, approval: Mapping[str, Any]) -> None:
        """Append an approval (see `runbook_lib.gate`)."""
        self.open_seal()
        with self._locked():
            append_json(self.folder / "approvals.jsonl", approval)

    def keep_cell(self, line: Mapping[str, Any]) -> None:
        """Append what one run of a cell showed (see `runbook_lib.phases.outputs`)."""
        self.open_seal()
        with self._locked():
            append_json(self.folder / "cells.jsonl", line)

    def read_cells(self) -> list[dict[str, Any]]:
        """What each run of a cell showed before a front end, oldest first."""
        return read_lines(self.folder / "cells.jsonl")

    def read_approvals(self) -> list[dict[str, Any]]:
        """All approvals and refusals, oldest first."""
        return read_lines(self.folder / "approvals.jsonl")

    def write_evidence(self, name: str, content: Any) -> Path:
        """Keep a result as `evidence/<name>.json`.

        The newest of a name stands, an older one is kept beside it.

        Args:
            name: e.g. "backup.checks".
            content: anything JSON has, or an object with `as_dict()`.
        """
        self.open_seal()
        path = self.folder / "evidence" / f"{name}.json"
        keep(path)
        write_json(path, content.as_dict() if hasattr(content, "as_dict") else content)
        return path

    def write_csv(self, name: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
        """Keep rows as `evidence/<name>.csv`."""
        self.open_seal()
        path = self.folder / "evidence" / f"{name}.csv"
        keep(path)
        write_csv(path, columns, rows)
        return path

    def has_evidence(self, name: str) -> bool:
        """Tell whether a result of that name was kept, be it an empty one."""
        return (self.folder / "evidence" / f"{name}.json").exists()

    def read_evidence(self, name: str, *, missing: Any = _REQUIRED) -> Any:
        """Return what `write_evidence` kept: an empty result is a result.

        Args:
            missing: what stands for a result that was never kept. Left out, its absence is an
                error, never an empty answer.

        Raises:
            NotMade: nothing was kept under that name, and nothing stands for it.
        """
        try:
            return read_json(self.folder / "evidence" / f"{name}.json")
        except FileNotFoundError:
            if missing is _REQUIRED:
                raise NotMade(
                    f"{name} was not made in run {self.id}: there is no evidence/{name}.json",
                    "run the phase that makes it first; 00_start shows how the run stands",
                ) from None
            return missing


def create(values: Mapping[str, Any], migrations: list[str], target: Mapping[str, Any]) -> Run:
    """Start a run: make its folder, exclusively.

    It waits for the next second where a run of this one is there.

    Args:
        values: the parameters, as a mapping of top-level keys.
        migrations: names of the pending migrations; the last one names the folder.
        target: what identifies the database (see run.json).

    Raises:
        UsageError: the folder exists, or the archive cannot be written.
    """
    params = parse(values)
    archive = params.environment.archive
    last = re.sub(r"[^A-Za-z0-9._-]", "-", migrations[-1])[:80] if migrations else "nothing-pending"
    try:
        archive.mkdir(parents=True, exist_ok=True)
        with lock(archive, "archive"):
            started, before = _free_second(archive), runs(archive)
            folder = archive / f"{started:{_KEY}}_{params.environment.name}_{last}"
            facts = {
                "run_id": folder.name,
                "number": before[-1].number + 1 if before else 1,
                "environment": params.environment.name,
                "production": params.environment.production,
                "engineer": params.engineer,
                "target": dict(target),
                "migrations": migrations,
                "started_at": stamp(started),
            }
            kept = {key: values[key] for key in KEYS if values.get(key) is not None}
            return _lay_out(folder, kept, facts)
    except OSError as error:
        raise UsageError(
            f"the run folder cannot be made in {archive}: {error.strerror or error}",
            "correct `environment.archive`, or its permissions and free space",
        ) from None


def _lay_out(folder: Path, parameters: Mapping[str, Any], facts: Mapping[str, Any]) -> Run:
    """Make a run's folder whole, or not at all."""
    (folder / "evidence").mkdir(parents=True)
    try:
        write_json(folder / "parameters.json", parameters)
        write_json(folder / "run.json", {})
        run = Run(folder)
        run.journal("run started", **facts)
        return run
    except RunbookError as error:
        shutil.rmtree(folder)
        raise UsageError(
            error.message, "correct `environment.archive`, or its permissions and free space"
        ) from None


def between(first: str, last: str) -> tuple[str, ...]:
    """The phases from `first` to `last`.

    Raises:
        UsageError: one is no phase, or they are not in their order.
    """
    for name in (first, last):
        if name not in PHASES:
            raise UsageError(f"there is no phase {name!r}", "one of " + ", ".join(PHASES))
    chosen = PHASES[PHASES.index(first) : PHASES.index(last) + 1]
    if not chosen:
        raise UsageError(
            f"the phase {last} comes before {first}", "give --from and --to in their order"
        )
    return chosen


def runs(archive: Path, environment: str | None = None) -> list[Run]:
    """Return the runs of an archive in the order in which they were started.

    Of one environment if it is named.

    The order is that of their numbers: the clock may have been set back.
    """
    found = [
        (state.get("number", 0), path.parent)
        for path in archive.glob("*/run.json")
        if (state := read_state(path)) and environment in (None, state["environment"])
    ]
    return [Run(folder) for _, folder in sorted(found)]


def earlier(run: Run) -> list[Run]:
    """The runs of its archive that were started before it, in their order."""
    return [
        other
        for other in runs(run.folder.parent)
        if (other.number, other.id) < (run.number, run.id)
    ]


def later(run: Run) -> list[Run]:
    """The runs of its archive that were started after it, in their order."""
    return [
        other
        for other in runs(run.folder.parent)
        if (other.number, other.id) > (run.number, run.id)
    ]


def newest(archive: Path, environment: str | None = None) -> Run | None:
    """The run that was started last."""
    return next(iter(reversed(runs(archive, environment))), None)


_KEY = "%Y%m%dT%H%M%SZ"


def _free_second(archive: Path) -> datetime:
    """This moment, in a second in which no run of the archive began.

    Its sessions and backups are named by it.

    Raises:
        UsageError: the clock does not go on.
    """
    for _ in range(40):
        if not any(archive.glob(f"{(found := now()):{_KEY}}_*")):
            return found
        time.sleep(0.05)
    raise UsageError(
        f"a run of {found:%H:%M:%S} UTC is already there; a run is never overwritten",
        "try again in a second",
    )


def _closed(older: Mapping[str, Any]) -> str:
    """Why an attempt that has not ended is over, where its process is gone, or begins anew.

    Empty where it goes on beside.

    Raises:
        Refused: it is at work in another process.
    """
    if older.get("process") == this_process():
        return "begun again in the same kernel"
    if presence(older.get("process")) is Presence.GONE:
        return "its kernel ended without saying how: what it began may have landed in part"
    if older["phase"] in LOOKING:
        return ""
    raise Refused(
        f"this phase is at work already: {at_work(older)}",
        "ask them, or wait until it has ended; 00_start shows how the run stands. Where nobody "
        "sits there any more, shut that kernel down",
    )
