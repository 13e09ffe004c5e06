"""Checks that several phases make."""

from __future__ import annotations

from runbook_lib.check import Check, attempt, check
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import integrity
from runbook_lib.postgres.connection import Database
from runbook_lib.prisma import cli
from runbook_lib.process import run


def structure_checks(db: Database) -> list[Check]:
    """Invalid indexes and sequences behind their columns fail; constraints that were never validated are said."""
    invalid, behind = integrity.invalid_indexes(db), integrity.sequences_behind(db)
    return [
        check("integrity.indexes", "every index is valid", not len(invalid), ", ".join(row[0] for row in invalid.rows) or "all valid", "all valid",
              "drop it concurrently and build it again; 95_troubleshoot lists them"),
        check("integrity.sequences", "no sequence is behind its column", not len(behind), ", ".join(row[0] for row in behind.rows) or "none behind",
              "none", "SELECT setval(…) to the column's maximum"),
    ]


def project_check(phase: Phase, id: str) -> list[Check]:
    """The project's own check of its data, where the parameters name it."""
    command = phase.params.prisma.validate_command
    if not command:
        return []
    title = f"`{command}` finds nothing wrong"
    variables = phase.params.variables("prisma") | {phase.params.prisma.url_variable: phase.prisma_url}

    def look() -> Check:
        done = run(command, cwd=phase.project.folder, env=variables, timeout_s=600, check=False)
        return check(id, title, done.status == 0, f"status {done.status}: {done.output.strip().splitlines()[-1] if done.output.strip() else ''}",
                     "status 0", "read what it prints, in the project's folder")
    return [attempt(id, title, look)]


def up_to_date(phase: Phase, id: str) -> Check:
    """Whether `migrate status` says that nothing is pending and nothing failed."""
    title = "`migrate status` says up to date"

    def look() -> Check:
        status = cli.status(phase.project, phase.prisma_url)
        found = f"pending: {', '.join(status.pending) or 'none'}; failed: {', '.join(status.failed) or 'none'}"
        return check(id, title, status.up_to_date, "up to date" if status.up_to_date else found, "up to date", "90_rollback")
    return attempt(id, title, look)
