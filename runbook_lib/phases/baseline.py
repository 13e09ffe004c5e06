"""The baseline: what was wrong in the database before the migration.

The same checks are made afterwards, and fail only where something is wrong that was not so before,
or more of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from runbook_lib import gate
from runbook_lib.check import Check, Checks, Status, new_since
from runbook_lib.phases.checks import structure_checks
from runbook_lib.phases.data import MISSING, collations, data_checks, unvalidated_check
from runbook_lib.postgres import integrity, planner
from runbook_lib.postgres.connection import Database
from runbook_lib.prisma.declared import Declared
from runbook_lib.run import Run
from runbook_lib.table import Table

NOTHING = Declared((), {}, ())
"""What is declared before the migration: every constraint that was never checked counts."""
WHERE = ("before.baseline", "backup.baseline")
"""The evidence that holds it: taken when the state before is, else at the backup."""


def taken(
    db: Database, application_name: str, declared: Declared, schema_file: Path | None, jobs: int
) -> list[Check]:
    """Return everything that is wrong now, as checks.

    What 20_rehearse and 70_validate look at after the migration.

    Args:
        declared: what the plan declares: materialized views on the tables that it changes are
            compared with their query.
    """
    return [
        *integrity.foreign_keys(db, jobs=jobs).checks(),
        *structure_checks(db),
        *data_checks(db, set(declared.tables), NOTHING, schema_file),
        planner.analysable_check(db.target, application_name),
        planner.statistics_check(db.target, application_name),
    ]


def at_once(db: Database) -> list[Check]:
    """Return the part of it that is told without reading tables from end to end.

    It may be taken in the downtime.
    """
    return [*structure_checks(db), unvalidated_check(db, NOTHING), *collations(db)]


def of(run: Run) -> list[Check]:
    """Return the baseline of a run; the later look at a thing stands for the earlier.

    Raises:
        NotMade: neither 30_backup nor 50_announce has taken it.
    """
    kept = [name for name in WHERE if run.has_evidence(name)] or WHERE[:1]
    found = {
        one["id"]: Check.from_dict(one)
        for name in reversed(kept)
        for one in run.read_evidence(name)
    }
    return list(found.values())


def settled(run: Run) -> frozenset[str]:
    """Return what could not be checked and was accepted by a person before the migration.

    It is not asked again after it.

    Of what the rehearsal could not check, only what the baseline asks, too: the rest was about a
    copy.
    """
    asked = {one.id for one in of(run)} if any(map(run.has_evidence, WHERE)) else set()
    of_copy = gate.accepted(run, "rehearse") & asked
    return of_copy | gate.accepted(run, "preflight")


def held_against(
    before: Iterable[Check], now: Iterable[Check], declared: Declared = NOTHING
) -> list[Check]:
    """Return the checks of now, which fail only where something is new.

    Of what only the schema file has, a person decides.

    Args:
        declared: what the plan declares. What the plan itself makes has to be right, whatever bore
            its name before:
            CREATE INDEX IF NOT EXISTS accepts an index that is not valid.
    """
    made = {change.name for change in declared.changes if change.action == "added"}
    excused = [
        replace(one, wrong={name: n for name, n in one.wrong.items() if name not in made})
        for one in before
    ]
    return new_since(excused, now, ask=(MISSING,))


def wrong(checks: Iterable[Check]) -> Iterator[Check]:
    """Yield what is wrong, or could not be told."""
    return (one for one in checks if one.status in (Status.FAILED, Status.UNKNOWN))


def table(checks: Checks) -> Table:
    """Return what is wrong before the migration, as rows.

    It fails nothing later, where it is no worse then.

    Enum values that only the schema file has are left out: a pending file may add them, which
    20_rehearse tells.
    """
    asked = [one for one in checks if one.id != MISSING]
    found = list(wrong(asked))
    rows = [(one.title, one.found, one.remedy) for one in found]
    title = (
        f"Before the migration, {len(found)} of {len(asked)} checks find something wrong, or "
        "cannot tell"
        if found
        else f"Before the migration, nothing is wrong: {len(asked)} checks"
    )
    return Table(title, ("should hold", "found", "what mends it"), rows, ["unknown"] * len(found))
