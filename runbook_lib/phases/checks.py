"""Checks that several phases make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runbook_lib.check import Check, Status, attempt, check, faults
from runbook_lib.phases.base import Phase
from runbook_lib.phases.start import applied
from runbook_lib.postgres import integrity
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.difference import Difference, same_after_restore
from runbook_lib.prisma import cli, history
from runbook_lib.process import run


def structure_checks(db: Database) -> list[Check]:
    """Invalid indexes and sequences behind their columns fail."""
    invalid, behind = integrity.invalid_indexes(db), integrity.sequences_behind(db)
    return [
        faults(
            "integrity.indexes",
            "every index is valid",
            {row[0]: 1 for row in invalid.rows},
            ", ".join(f"{row[0]} is not valid" for row in invalid.rows) or "all valid",
            "all valid",
            "drop it concurrently and build it again; 95_troubleshoot lists them",
        ),
        faults(
            "integrity.sequences",
            "no sequence is behind its column",
            {row[0]: row[3] for row in behind.rows},
            ", ".join(f"{row[0]} is behind {row[1]}.{row[2]} by {row[3]}" for row in behind.rows)
            or "none behind",
            "none",
            "; ".join(
                f"SELECT setval('{row[0]}', max({row[2]})) FROM {row[1]}" for row in behind.rows
            ),
        ),
    ]


def several(id: str, title: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that `look` makes, or the one that could not be made.

    One that says so where there is nothing to look at.
    """
    made: list[Check] = []

    def all_of_them() -> Check:
        made.extend(look())
        return check(id, title, True, "there is none")

    whole = attempt(id, title, all_of_them)
    return made if made and whole.status is Status.PASSED else [whole]


def same_changes(
    id: str, title: str, promised: Mapping[str, Any] | None, found: Difference, remedy: str
) -> Check:
    """Whether the catalogue changed exactly as was promised.

    Each change that is too much or too few is named.

    Args:
        promised: what `Difference.as_dict` gave; `None` where nothing was promised.
    """
    if promised is None:
        return check(
            id, title, False, "there is nothing to hold it against", "the same changes", remedy
        )
    made, wanted = list(found.as_dict()["changes"]), list(promised["changes"])
    more = [
        one["in_words"]
        for one in made
        if not any(same_after_restore(one, other) for other in wanted)
    ]
    less = [
        one["in_words"]
        for one in wanted
        if not any(same_after_restore(one, other) for other in made)
    ]
    wrong = [f"not promised: {words}" for words in more] + [
        f"promised, and not there: {words}" for words in less
    ]
    said = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return check(
        id, title, not wrong, said or f"{len(made)} changes, the same", "the same changes", remedy
    )


def project_check(phase: Phase, id: str) -> list[Check]:
    """The project's own check of its data, where the parameters name it."""
    command = phase.params.prisma.validate_command
    if not command:
        return []
    title = f"`{command}` finds nothing wrong"
    variables = phase.params.variables("prisma") | {
        str(phase.project.url_variable): phase.prisma_url
    }

    def look() -> Check:
        done = run(command, cwd=phase.project.folder, env=variables, timeout_s=600, check=False)
        return check(
            id,
            title,
            done.status == 0,
            f"status {done.status}" + (f": {done.last_words}" if done.status else ""),
            "status 0",
            "run it by hand in the project's folder, and read what it prints: here its words are "
            "masked, for they may name rows",
        )

    return [attempt(id, title, look)]


def up_to_date(phase: Phase, id: str) -> Check:
    """Whether `migrate status` says that nothing is pending and nothing failed."""
    title = "`migrate status` says up to date"

    def look() -> Check:
        status = cli.status(phase.project, phase.prisma_url)
        found = (
            f"pending: {', '.join(status.pending) or 'none'}; failed: "
            f"{', '.join(status.failed) or 'none'}"
        )
        gone = _decided(phase, status)
        if gone:
            found = (
                f"up to date, but for files that were missing at the plan, too: {', '.join(gone)}"
            )
        ok = status.up_to_date or bool(gone)
        return check(
            id,
            title,
            ok,
            "up to date" if status.up_to_date else found,
            "up to date",
            "90_rollback",
        )

    return attempt(id, title, look)


def _decided(phase: Phase, status: cli.Status) -> tuple[str, ...]:
    """Return the applied migrations without a file that a person has accepted.

    They alone keep Prisma from saying "up to date".
    """
    planned = phase.run.read_evidence("plan", missing={}).get("history", [])
    if status.pending or not status.missing:
        return ()
    found = history.compare(history.files(phase.project), applied(phase.db, phase.target))
    if found.pending or found.failed or set(found.missing) != set(status.missing):
        return ()
    accepted = all(f"{name} has no file" in planned for name in status.missing)
    return status.missing if accepted else ()
