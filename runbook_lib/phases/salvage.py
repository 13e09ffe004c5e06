"""Nothing dropped is lost.

What a migration will drop is saved before it, and brought back where somebody asks for it.

What will be dropped is what the plan declares and what the rehearsal saw go, which also knows what
a CASCADE, a dropped schema or a DO block took along. The folder lies beside the backups, never in
the archive: it holds rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, Checks, check, unknown
from runbook_lib.errors import UsageError
from runbook_lib.files import mounted, unused
from runbook_lib.gate import plan_hash
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import reinstate, salvage, snapshot
from runbook_lib.postgres.backup import verify_hashes
from runbook_lib.postgres.difference import Difference
from runbook_lib.postgres.salvage import Found, Saved
from runbook_lib.postgres.tools import tools
from runbook_lib.run import Run

NOT_SAVED = ("domain", "type", "extension", "sequence")
"""Kinds of which a dropped one is not saved, though rows may need it, or be in it."""
SAVED = "saved"
"""The folder in the backup directory that holds what runs have saved, a folder a run."""
_SAVED = "saved what will be dropped"
_BY_HAND = (
    "look at the definitions in schema.sql of the backup, save by hand what is needed; then approve"
)
_TITLE = "everything that will be dropped is saved"


@dataclass(frozen=True)
class Dropped:
    """What a run will drop, under the names of today.

    Args:
        names: kind → names.
        made: names that the plan itself adds: it may drop them again.
    """

    names: Mapping[str, frozenset[str]]
    made: frozenset[str]

    def of(self, *kinds: str) -> tuple[str, ...]:
        """The names of some kinds, sorted."""
        return tuple(sorted(name for kind in kinds for name in self.names.get(kind, ())))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns."""
        return self.of("column")

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables."""
        return self.of("table")

    @property
    def views(self) -> tuple[str, ...]:
        """Views and materialized views: only where something else is dropped are they looked at."""
        return self.of("view", "materialized view") if self.columns or self.tables else ()


def to_be_dropped(run: Run) -> Dropped:
    """What the plan of a run declares to remove, and what its rehearsal saw go.

    A rename removes nothing.
    """
    declared = run.read_evidence("plan", missing={}).get("declared", {}).get("changes", ())
    seen = Difference.from_dict(
        run.read_evidence("promise", missing={}).get("difference", {"changes": ()})
    )
    names: dict[str, set[str]] = {}
    renamed: list[tuple[str, str]] = []
    moved = {change["name"] for change in declared if change["renamed"]}
    for change in declared:
        if change["action"] == "removed" and change["renamed"]:
            renamed.append((change["name"], change["renamed"]))
        elif (
            change["action"] == "removed"
            and change["kind"] != "sequence"
            and not any(_within(change["name"], old) for old in moved)  # seen to go: it moved
        ):  # most go with their column: the rehearsal knows which do not
            names.setdefault(change["kind"], set()).add(_today(change["name"], renamed))
    for change in seen:
        if change.action != "removed" or any(_within(change.name, old) for old, _ in renamed):
            continue
        if not (change.kind == "sequence" and change.before.get("owned_by")):
            names.setdefault(change.kind, set()).add(change.name)
    made = frozenset(change["name"] for change in declared if change["action"] == "added")
    return Dropped({kind: frozenset(found) for kind, found in names.items()}, made)


def save(phase: Phase, pending: bool, landed: bool) -> Saved | Checks:
    """Save what will be dropped, as it is now.

    Where some of it landed already, what was saved before is kept.

    Args:
        pending: whether a file is left to apply.
        landed: whether a file of the plan was applied, or failed on the way.

    Raises:
        UsageError: there is no room for it.
        ApprovalNeeded: something cannot be saved this way.
    """
    dropped, record = to_be_dropped(phase.run), phase.run.read_evidence("saved", missing=None)
    found = salvage.find(phase.db, dropped.columns, dropped.tables, dropped.views)
    missing = [
        name for name in found.absent if not any(_within(name, made) for made in dropped.made)
    ]
    if (
        record is not None
        and record["plan"] == plan_hash(phase.run)
        and (landed or set(found.absent) & {*record["columns"], *record["tables"]})
    ):
        return _kept(phase, record)
    rest = _not_saved(dropped, found, missing)
    if rest:
        phase.must_hold("not_saved", Checks("What cannot be saved", rest))
    if not pending or not (found.columns or found.tables):
        what = (
            "no column and no table that is there is dropped"
            if pending
            else "nothing is pending: what this run dropped is dropped"
        )
        return phase.must_hold(
            "saved", Checks("Nothing to save", [check("salvage.saved", _TITLE, True, what)])
        )
    saved = _save(phase, dropped)
    facts = {
        "folder": str(saved.folder),
        "sha256": saved.sha256,
        "rows": saved.rows,
        "plan": plan_hash(phase.run),
    }
    phase.run.write_evidence("saved", {**facts, **saved.as_dict()})
    phase.run.journal(_SAVED, **facts, columns=list(saved.columns), tables=list(saved.tables))
    phase.must_hold(
        "saved",
        Checks(
            "What will be dropped",
            [
                check(
                    "salvage.saved",
                    _TITLE,
                    True,
                    f"{len(saved.columns)} columns and {len(saved.tables)} tables, {saved.rows} "
                    f"rows, as of {saved.taken_at}",
                )
            ],
        ),
    )
    return saved


class Reinstate(Phase):
    """Brings back what a run dropped, out of what it saved."""

    name, heading = "reinstate", "Reinstate"

    @property
    def saved(self) -> Saved:
        """What the run saved last.

        Raises:
            UsageError: it saved nothing, or the folder is gone.
        """
        record = self.run.read_evidence("saved", missing=None)
        if record is None:
            raise UsageError(
                f"{self.run.id} saved nothing: it dropped no column and no table, or did not come "
                "so far",
                f"`runbook status {self.run.reference}` says how far it came",
            )
        return salvage.load(mounted(record["folder"], self.params.backup.directory / SAVED))

    @property
    def earlier(self) -> tuple[Path, ...]:
        """Folders that earlier attempts of the run saved.

        They hold what the last one did not find any more.
        """
        folders = [
            mounted(line["folder"], self.params.backup.directory / SAVED)
            for line in self.run.read_journal()
            if line["what"] == _SAVED
        ]
        return tuple(folder for folder in folders[:-1] if folder.exists())

    def checks(self) -> Checks:
        """Whether this is the run's database, and what was saved is as it was."""
        return self._ours() + reinstate.ready(self.saved, self.target, self.application_name)

    def _ours(self) -> Checks:
        saved, sha256 = self.saved, self.run.read_evidence("saved")["sha256"]
        return Checks(
            "Before it is brought back",
            [
                self.identity(),
                check(
                    "salvage.same",
                    "the folder is the one that this run recorded",
                    saved.sha256 == sha256,
                    saved.sha256[:16],
                    sha256[:16],
                    "find out who wrote there",
                ),
            ],
        )

    def reinstate(self) -> reinstate.Reinstated:
        """Run reinstate.sql, and record who did it and what came back.

        Raises:
            CheckError: it is another database, or a file is damaged; nothing was touched.
            ToolError: it was refused; nothing was changed.
        """
        try:
            self._ours().require()
            saved = self.saved
            with self.exclusive():
                done = reinstate.reinstate(
                    saved,
                    self.target,
                    self.application_name,
                    tools=tools(
                        self.target,
                        self.params.database.tools,
                        application_name=self.application_name,
                    ),
                )
            self.run.journal(
                "reinstated",
                folder=str(saved.folder),
                sha256=saved.sha256,
                seconds=round(done.seconds, 1),
                open=list(done.open),
            )
            self.run.write_evidence("reinstated", done)
            return done
        finally:
            self._give_back()


def _save(phase: Phase, dropped: Dropped) -> Saved:
    parent = phase.params.backup.directory / SAVED
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = unused(lambda n: parent / (phase.run.key if n == 1 else f"{phase.run.key}-{n}"))
    programs = tools(
        phase.target, phase.params.database.tools, application_name=phase.application_name
    )
    with phase.exclusive(), snapshot.exported(phase.target, phase.application_name) as at:
        return salvage.save(
            at,
            phase.target,
            folder,
            phase.application_name,
            columns=dropped.columns,
            tables=dropped.tables,
            views=dropped.views,
            tools=programs,
            on_line=phase.say,
        )


def _kept(phase: Phase, record: Mapping[str, Any]) -> Saved:
    """What was saved before this run dropped some of it: it cannot be saved again."""
    saved = salvage.load(mounted(record["folder"], phase.params.backup.directory / SAVED))
    same = check(
        "salvage.saved",
        _TITLE,
        saved.sha256 == record["sha256"],
        f"saved at {saved.taken_at}, before this run dropped some of it",
        record["sha256"][:16],
        "find out who wrote into the folder",
    )
    phase.must_hold("saved", Checks("What was saved before", [same, *verify_hashes(saved)]))
    return saved


def _not_saved(dropped: Dropped, found: Found, missing: Iterable[str]) -> list[Check]:
    """What goes and cannot be saved this way."""
    lines = [f"{name}: {why}" for name, why in found.unsaved] + [
        f"{name}: not found in the database" for name in missing
    ]
    lines += [
        f"{kind} {name}: only in the backup"
        for kind in NOT_SAVED
        for name in dropped.of(kind)
        if found.columns or found.tables or kind in ("extension", "sequence")
    ]
    return (
        [
            unknown(
                "salvage.rest",
                "nothing else is dropped that rows need",
                "; ".join(lines),
                "nothing",
                _BY_HAND,
            )
        ]
        if lines
        else []
    )


def _today(name: str, renamed: Iterable[tuple[str, str]]) -> str:
    """The name that something has before the files are applied."""
    for old, new in reversed(list(renamed)):
        if _within(name, new):
            name = old + name[len(new) :]
    return name


def _within(name: str, whole: str) -> bool:
    """Whether it is that object, or a part of it."""
    return name == whole or name.startswith(f"{whole}.")
