"""What of the migration is in the database.

From Prisma's history, the catalogue and every table's content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook_lib.phases import declared
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.replay import Replayed, replay
from runbook_lib.phases.start import applied
from runbook_lib.postgres import activity, catalog
from runbook_lib.postgres.connection import query
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.prisma import history
from runbook_lib.table import Table

UNKNOWN = "not known: there is no state from before"


@dataclass(frozen=True)
class Landed:
    """What of the migration is in the database now.

    Args:
        files: pending files that Prisma recorded as finished.
        failed: files that it recorded as begun and not finished.
        at_work: sessions that migrate this database now; while there are any, nothing else here is
            final.
        catalogue: changes of the catalogue since before the migration; `None` where that is not
            known.
        content: tables whose content is not that of before; `None` where that is not known.
        replayed: how far the failed file came; `None` where none failed.
    """

    files: tuple[str, ...]
    failed: tuple[str, ...]
    at_work: tuple[str, ...]
    catalogue: int | None
    content: tuple[str, ...] | None
    replayed: Replayed | None

    @property
    def nothing(self) -> bool:
        """Whether it is proven that nothing landed."""
        return not self.at_work and not self.files and self.catalogue == 0 and self.content == ()

    @property
    def unsettled(self) -> str:
        """Why the failed file cannot be settled by what is proven of it; empty where it can."""
        if self.at_work:
            return f"it is still at work: {', '.join(self.at_work)}"
        if self.replayed is None:
            return (
                "no file failed"
                if not self.failed
                else f"{len(self.failed)} files are unfinished, and what they leave cannot be told "
                "apart"
            )
        return "" if self.replayed.landed is not None else self.replayed.answer

    def table(self) -> Table:
        """The same for people."""
        title = (
            "A migration is still at work"
            if self.at_work
            else "Nothing of the migration landed"
            if self.nothing
            else "What landed"
        )
        rows = [
            ("at work now", self.at_work or "nobody"),
            ("files finished", self.files),
            ("files failed", self.failed),
            ("changes of the catalogue", UNKNOWN if self.catalogue is None else self.catalogue),
            ("tables whose content changed", UNKNOWN if self.content is None else self.content),
        ]
        return Table(title, ("", ""), rows, ["bad" if self.at_work else "", "", "", "", ""])

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "files": self.files,
            "failed": self.failed,
            "at_work": self.at_work,
            "catalogue_changes": self.catalogue,
            "changed_tables": self.content,
            "replayed": self.replayed and self.replayed.as_dict(),
        }

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() + (self.replayed._repr_html_() if self.replayed else "")

    def __str__(self) -> str:
        return "\n\n".join(map(str, filter(None, (self.table(), self.replayed))))

    __repr__ = __str__


def landed(phase: Phase, comparison: tuple[Snapshot, Snapshot] | None) -> Landed:
    """What landed, seen now.

    Args:
        comparison: content before the migration and now; `None` where there is none from before.
    """
    plan = phase.run.read_evidence("plan", missing={})
    before = phase.run.read_evidence("before.catalog", missing=None)
    found = history.compare(history.files(phase.project), applied(phase.db, phase.target))
    files = tuple(name for name in plan.get("files", {}) if name in found.applied)
    working = at_work(phase)
    if (
        before is None or comparison is None
    ):  # the migration cannot have begun: 60_migrate needs both
        untouched = not files and not found.failed
        return Landed(
            files, found.failed, working, 0 if untouched else None, () if untouched else None, None
        )
    difference = catalog.difference(catalog.Catalog.from_dict(before), catalog.read(phase.db))
    content = tuple(item.name for item in declared.differing(*comparison))
    return Landed(
        files,
        found.failed,
        working,
        len(difference.changes),
        content,
        None if working else _replayed(phase, found, files, comparison),
    )


def at_work(phase: Phase) -> tuple[str, ...]:
    """Who migrates this database now.

    The sessions of this run's CLI that work, and whoever holds Prisma's advisory lock.

    A migration in flight looks failed to Prisma; its record alone never tells one from the other.
    """
    own = {
        str(session)
        for session in activity.of_application(phase.db, f"runbook/{phase.run.key}/migrate/prisma")
        if session.working
    }
    holders = phase.db.sessions(query("activity_prisma_lock"))
    return tuple(
        sorted(
            own
            | {
                f"pid {row['pid']} ({row['application'] or 'unnamed'}) holds Prisma's lock"
                + (f" since {row['since']:%H:%M:%S} UTC" if row["since"] else "")
                for row in holders
            }
        )
    )


def _replayed(
    phase: Phase,
    found: history.History,
    files: tuple[str, ...],
    comparison: tuple[Snapshot, Snapshot],
) -> Replayed | None:
    if len(found.failed) != 1 or not phase.run.has_evidence("backup"):
        return None
    by_name = {entry.name: entry.file for entry in found.entries if entry.file}
    if found.failed[0] not in by_name:
        return None
    content = {item.name: item for item in comparison[0].compare(comparison[1]).content}
    return replay(
        phase,
        by_name[found.failed[0]],
        [by_name[name] for name in files if name in by_name],
        load_backup(phase),
        content,
    )
