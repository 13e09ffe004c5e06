"""What of the migration is in the database: from Prisma's history, the catalogue and every table's content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook_lib.phases import declared
from runbook_lib.phases.base import Phase
from runbook_lib.phases.start import applied
from runbook_lib.postgres import catalog
from runbook_lib.postgres.difference import same_after_restore
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
        catalogue: changes of the catalogue since before the migration; `None` where that is not known.
        content: tables whose content is not that of before; `None` where that is not known.
        incomplete: why it is not proven that everything landed; empty where it is.
    """

    files: tuple[str, ...]
    failed: tuple[str, ...]
    catalogue: int | None
    content: tuple[str, ...] | None
    incomplete: str

    @property
    def nothing(self) -> bool:
        """Whether it is proven that nothing landed."""
        return not self.files and self.catalogue == 0 and self.content == ()

    def table(self) -> Table:
        """The same for people."""
        title = "Nothing of the migration landed" if self.nothing else "What landed" if self.incomplete else "Everything landed"
        return Table(title, ("", ""), [
            ("files finished", self.files), ("files failed", self.failed),
            ("changes of the catalogue", UNKNOWN if self.catalogue is None else self.catalogue),
            ("tables whose content changed", UNKNOWN if self.content is None else self.content),
            ("all of it", "yes" if not self.incomplete else f"not proven: {self.incomplete}")])

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"files": self.files, "failed": self.failed, "catalogue_changes": self.catalogue, "changed_tables": self.content,
                "incomplete": self.incomplete}

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__


def landed(phase: Phase, comparison: tuple[Snapshot, Snapshot] | None) -> Landed:
    """What landed, seen now.

    Args:
        comparison: content before the migration and now; `None` where there is none from before.
    """
    plan, before = phase.run.read_evidence("plan") or {}, phase.run.read_evidence("before.catalog")
    found = history.compare(history.files(phase.project), applied(phase.db, phase.target))
    files = tuple(name for name in plan.get("files", {}) if name in found.applied)
    if before is None or comparison is None:  # the migration cannot have begun: 60_migrate needs both
        untouched = not files and not found.failed
        return Landed(files, found.failed, 0 if untouched else None, () if untouched else None, UNKNOWN)
    difference = catalog.difference(catalog.Catalog.from_dict(before), catalog.read(phase.db))
    content = tuple(item.name for item in declared.differing(*comparison))
    left = [name for name in plan["files"] if name not in {*files, *found.failed}]
    incomplete = _incomplete(phase, plan, left, difference, comparison)
    return Landed(files, found.failed, len(difference.changes), content, incomplete)


def _incomplete(phase: Phase, plan: dict[str, Any], left: list[str], difference: catalog.Difference,
                comparison: tuple[Snapshot, Snapshot]) -> str:
    """Why it is not proven that everything landed: catalogue and content have to be those of the rehearsal."""
    promised = (phase.run.read_evidence("promise") or {}).get("difference")
    if left:
        return f"not begun: {', '.join(left)}"
    if promised is None or not same_after_restore(promised, difference.as_dict()):
        return "the catalogue did not change as in the rehearsal"
    if plan["declared"].get("rows"):
        return f"the files write rows of {', '.join(plan['declared']['rows'])}, and the catalogue does not tell whether they did"
    wrong = declared.compare(*comparison, plan["declared"]).checks().failed
    return "; ".join(item.found for item in wrong)
