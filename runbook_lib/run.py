"""One migration's folder: its state, its journal, its evidence, its approvals.

`<archive>/<UTC start>_<environment>_<last migration>/` holds the executed notebooks and

    run.json         what other programs read; true at every moment
    parameters.json  what the run was started with: references, never secrets
    journal.jsonl    append-only: who, when, what, outcome
    approvals.jsonl  append-only: who opened which gate, of which plan, and why
    evidence/        JSON and CSV that a person or pandas opens in ten years

It is created exclusively and holds no secret and no row of data.
"""

from __future__ import annotations

import csv
import getpass
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from runbook_lib.errors import UsageError
from runbook_lib.params import KEYS, Params, parse
from runbook_lib.redact import redact

PHASES = ("start", "plan", "rehearse", "backup", "preflight", "announce", "migrate", "validate", "close")
"""The phases of a migration, in their order."""
ASIDE = ("rollback", "troubleshoot", "history")
"""Phases that are run when they are needed."""
LOOKING = frozenset({"troubleshoot", "history"})
"""Phases that only look: the run's outcome stays as it is."""
FINAL = frozenset({"succeeded", "rolled_back"})
"""Outcomes after which a run is not gone on with."""


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """A moment in UTC as ISO 8601 with milliseconds: 2026-11-24T02:00:00.000Z."""
    return (moment or now()).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        if not (self.folder / "run.json").is_file():
            raise UsageError(f"{folder} is no run: it has no run.json", "`runbook status` lists the runs")
        self._lock = FileLock(lock_file(self.folder), timeout=10)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

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
        return json.loads((self.folder / "parameters.json").read_text(encoding="utf-8"))

    @property
    def state(self) -> dict[str, Any]:
        """The content of run.json."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    @property
    def outcome(self) -> str:
        """How the run stands."""
        return self.state["outcome"]

    def update(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Change run.json in one step that no reader sees half done."""
        with self._lock:
            state = self.state
            change(state)
            write_json(self.folder / "run.json", state)
            return state

    def end(self, outcome: str) -> None:
        """Record how the run ended."""
        def change(state: dict[str, Any]) -> None:
            ended = now()
            state.update(outcome=outcome, ended_at=stamp(ended),
                         duration_s=round((ended - moment(state["started_at"])).total_seconds(), 1))
        self.update(change)
        self.journal("run ended", outcome=outcome)

    def phase(self, name: str) -> dict[str, Any] | None:
        """The newest entry of a phase in run.json."""
        return next((entry for entry in reversed(self.state["phases"]) if entry["phase"] == name), None)

    def begin_phase(self, name: str, notebook: str) -> None:
        """Enter a phase as running.

        Raises:
            UsageError: it is at work in another process. Phases that only look may be, as often as there are people who look.
        """
        entry = {"phase": name, "status": "running", "started_at": stamp(), "ended_at": None, "notebook": notebook, "failed_checks": [],
                 "process": _this_process(), "who": person()}

        def change(state: dict[str, Any]) -> None:
            for older in state["phases"]:
                if older["phase"] == name and older["status"] == "running":
                    _take_over(older, entry["process"])
            state["phases"].append(entry)
            if name not in LOOKING:
                state.update(outcome="running", ended_at=None, duration_s=None)
        self.update(change)
        self.journal("phase begun", phase=name)

    @property
    def sealed(self) -> bool:
        """Whether the folder was sealed and not taken up again since."""
        return (self.folder / "manifest.json").exists()

    def open_seal(self) -> None:
        """Before a sealed run goes on: its manifest is kept under a number, and the next seal covers it."""
        if self.sealed:
            number = len(list(self.folder.glob("manifest.*.json"))) + 1
            (self.folder / "manifest.json").rename(self.folder / f"manifest.{number}.json")
            self.journal("seal opened", manifest=f"manifest.{number}.json")

    def resume_phase(self, name: str) -> None:
        """Take the newest entry of a phase up again: what had failed in it has passed since."""
        def change(state: dict[str, Any]) -> None:
            entry = next(entry for entry in reversed(state["phases"]) if entry["phase"] == name)
            entry.update(status="running", ended_at=None, failed_checks=[], reason="")
            if name not in LOOKING:
                state.update(outcome="running", ended_at=None, duration_s=None)
        self.update(change)
        self.journal("phase taken up again", phase=name)

    def end_phase(self, name: str, status: str, failed_checks: Iterable[str] = (), reason: str = "") -> None:
        """Record how the newest entry of a phase ended; a phase that has ended stays as it is."""
        changed = []

        def change(state: dict[str, Any]) -> None:
            for entry in reversed(state["phases"]):
                if entry["phase"] == name and entry["status"] == "running":
                    entry.update(status=status, ended_at=stamp(), failed_checks=list(failed_checks), reason=redact(reason))
                    changed.append(entry)
                    return
        self.update(change)
        if changed:
            self.journal("phase ended", phase=name, outcome=status, reason=redact(reason))

    @property
    def at_work(self) -> list[dict[str, Any]]:
        """Entries of phases that have not ended, and whose process is there, or is another machine's and cannot be seen."""
        return [entry for entry in self.state["phases"] if entry["status"] == "running" and not _gone(entry.get("process"))]

    @property
    def lost(self) -> list[dict[str, Any]]:
        """Entries of phases that have not ended, though their process is gone: it was killed and could not say so."""
        return [entry for entry in self.state["phases"] if entry["status"] == "running" and _gone(entry.get("process"))]

    def journal(self, what: str, **facts: Any) -> None:
        """Append one line to the journal: what happened, by whom, when, from which machine."""
        line = {"at": stamp(), "who": person(), "host": socket.gethostname(), "what": what, **facts}
        self._append("journal.jsonl", line)

    def read_journal(self) -> list[dict[str, Any]]:
        """The journal's lines."""
        return _lines(self.folder / "journal.jsonl")

    def approve(self, approval: Mapping[str, Any]) -> None:
        """Append an approval (see `runbook_lib.gate`)."""
        self._append("approvals.jsonl", dict(approval))

    def read_approvals(self) -> list[dict[str, Any]]:
        """All approvals and refusals, oldest first."""
        return _lines(self.folder / "approvals.jsonl")

    def write_evidence(self, name: str, content: Any) -> Path:
        """Keep a result as `evidence/<name>.json`; the newest of a name stands, an older one is kept beside it.

        Args:
            name: e.g. "backup.checks".
            content: anything JSON has, or an object with `as_dict()`.
        """
        path = self.folder / "evidence" / f"{name}.json"
        _keep(path)
        write_json(path, content.as_dict() if hasattr(content, "as_dict") else content)
        return path

    def write_csv(self, name: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
        """Keep rows as `evidence/<name>.csv`."""
        path = self.folder / "evidence" / f"{name}.csv"
        _keep(path)
        with path.open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
        return path

    def read_evidence(self, name: str) -> Any:
        """What `write_evidence` kept, or None where there is none."""
        path = self.folder / "evidence" / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        self.open_seal()
        text = redact(json.dumps(line, ensure_ascii=False, default=str))
        with self._lock, (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())


def create(values: Mapping[str, Any], migrations: list[str], target: Mapping[str, Any]) -> Run:
    """Start a run: make its folder, exclusively.

    Args:
        values: the parameters, as a mapping of top-level keys.
        migrations: names of the pending migrations; the last one names the folder.
        target: what identifies the database (see run.json).

    Raises:
        UsageError: the folder exists, or the archive cannot be written.
    """
    params = parse(values)
    started = now()
    last = re.sub(r"[^A-Za-z0-9._-]", "-", migrations[-1])[:80] if migrations else "nothing-pending"
    folder = params.environment.archive / f"{started:%Y%m%dT%H%M%SZ}_{params.environment.name}_{last}"
    try:
        folder.mkdir(parents=True)
        (folder / "evidence").mkdir()
        write_json(folder / "parameters.json", {key: values[key] for key in KEYS if values.get(key) is not None})
        write_json(folder / "run.json", {
            "run_id": folder.name, "environment": params.environment.name, "production": params.environment.production,
            "engineer": params.engineer, "target": dict(target), "migrations": migrations, "outcome": "running",
            "started_at": stamp(started), "ended_at": None, "duration_s": None, "downtime_s": None, "phases": [],
        })
    except FileExistsError:
        raise UsageError(f"the run folder {folder.name} is already there; a run is never overwritten", "try again in a second") from None
    except OSError as error:
        raise UsageError(f"the run folder cannot be made in {params.environment.archive}: {error.strerror}",
                         "correct `environment.archive`, or its permissions and free space") from None
    run = Run(folder)
    run.journal("run started", engineer=params.engineer, environment=params.environment.name, migrations=migrations)
    return run


def between(first: str, last: str) -> tuple[str, ...]:
    """The phases from `first` to `last`.

    Raises:
        UsageError: one is no phase, or they are not in their order.
    """
    for name in (first, last):
        if name not in PHASES:
            raise UsageError(f"there is no phase {name!r}", "one of " + ", ".join(PHASES))
    chosen = PHASES[PHASES.index(first):PHASES.index(last) + 1]
    if not chosen:
        raise UsageError(f"the phase {last} comes before {first}", "give --from and --to in their order")
    return chosen


def runs(archive: Path, environment: str | None = None) -> list[Run]:
    """The runs of an archive, oldest first, of one environment where it is named."""
    found = [Run(path.parent) for path in sorted(archive.glob("*/run.json"))]
    return [run for run in found if environment in (None, run.state["environment"])]


def newest(archive: Path, environment: str | None = None) -> Run | None:
    """The run that was started last."""
    return next(iter(reversed(runs(archive, environment))), None)


def person() -> str:
    """Who is at work: `$RUNBOOK_PERSON`, else the login name."""
    return os.environ.get("RUNBOOK_PERSON") or getpass.getuser()


def _this_process() -> dict[str, Any]:
    """What tells this process from all others: its number is used again once it is gone."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": round(psutil.Process().create_time(), 1)}


def at_work(entry: Mapping[str, Any]) -> str:
    """Who carries a phase out, where and since when, in words."""
    process = entry.get("process") or {"pid": "unknown", "host": "a machine that is not known"}
    since = entry["started_at"][:16].replace("T", " ")
    return f"{entry.get('who') or 'somebody'} has been at work on {entry['phase']} since {since} UTC (process {process['pid']} on {process['host']})"


def _take_over(older: dict[str, Any], process: Mapping[str, Any]) -> None:
    """Close an entry that has not ended, where its process is gone, or begins anew."""
    again = older.get("process") == process
    if not again and not _gone(older.get("process")):
        if older["phase"] in LOOKING:
            return
        raise UsageError(f"this phase is at work already: {at_work(older)}",
                         "ask them, or wait until it has ended; 00_start shows how the run stands. Where nobody sits there any more, shut that kernel down")
    older.update(status="unknown", ended_at=stamp(), reason="begun again in the same kernel" if again else "its kernel ended without saying how")


def _gone(process: Mapping[str, Any] | None) -> bool:
    """Whether the process that `_this_process` described is known to be gone."""
    if process is None or process["host"] != socket.gethostname():
        return False
    try:
        found = psutil.Process(process["pid"])
        return found.status() == psutil.STATUS_ZOMBIE or abs(found.create_time() - process["started"]) > 2  # the clock is set now and then
    except psutil.NoSuchProcess:
        return True


def lock_file(folder: Path) -> Path:
    """Where a run's changes are serialised: beside the run, for the run itself is a record."""
    path = folder.parent / ".locks" / f"{folder.name}.lock"
    path.parent.mkdir(exist_ok=True)
    return path


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one."""
    text = redact(json.dumps(content, indent=2, ensure_ascii=False, default=str))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def _keep(path: Path) -> None:
    """Move an older file of that name aside: evidence is added to, not replaced."""
    if path.exists():
        number = next(n for n in range(1, 10_000) if not path.with_name(f"{path.stem}.{n}{path.suffix}").exists())
        path.rename(path.with_name(f"{path.stem}.{number}{path.suffix}"))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
