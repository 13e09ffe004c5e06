"""Run the pending files statement by statement on a copy.

In the transactions that the installed Prisma makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.phases.base import Phase, milliseconds
from runbook_lib.postgres import costs, scratch
from runbook_lib.postgres.connection import Database, identifier
from runbook_lib.postgres.target import Target
from runbook_lib.prisma.judge import Statement
from runbook_lib.prisma.transactions import TransactionRule, groups
from runbook_lib.table import Table

Result = TypeVar("Result")


def by_file(statements: Sequence[Statement]) -> dict[str, list[Statement]]:
    """The statements of each file."""
    return {file: list(found) for file, found in groupby(statements, key=lambda one: one.file)}


def work(statements: Sequence[Statement], rule: TransactionRule) -> list[costs.Work]:
    """The statements of one file as they are to be measured."""
    numbers = groups([one.effect for one in statements], rule)
    return [
        costs.Work(
            one.file,
            one.parsed.line,
            one.effect.kind,
            one.parsed.sql,
            number,
            one.effect.transaction,
            bool(one.effect.alone),
        )
        for one, number in zip(statements, numbers, strict=True)
    ]


def measured(
    phase: Phase,
    copy: Target,
    files: Mapping[str, Sequence[Statement]],
    before_file: Callable[[str, Target], None],
    meanwhile: Callable[[], Result],
) -> tuple[costs.Costs, Result]:
    """Run the files on a copy of the copy, one after the other, and tell what each statement cost.

    Or why that could not be done.

    Args:
        copy: nobody may be connected to it until `meanwhile` is called.
        before_file: called before each file with its name and the measured database, to which
            nobody is connected then.
        meanwhile: something else to be done that does not touch the measured database.
    """
    try:
        with scratch.scratch(
            phase.target, "measured", phase.application_name, template=copy.database
        ) as place:
            found, done = phase.together(lambda: _run(phase, place, files, before_file), meanwhile)
            return found, done
    except (
        DatabaseError
    ) as error:  # e.g. a monitoring agent is connected to every database: then none can be copied
        return costs.Costs((), f"no copy could be made for it: {error.message}"), meanwhile()


def _run(
    phase: Phase,
    place: Target,
    files: Mapping[str, Sequence[Statement]],
    before_file: Callable[[str, Target], None],
) -> costs.Costs:
    limits, done = phase.params.migrate, costs.Costs(())
    timeouts = {
        "lock_timeout": milliseconds(limits.lock_timeout_s),
        "statement_timeout": milliseconds(limits.statement_timeout_s),
    }
    with Database(place, phase.application_name) as db:
        there = costs.tables(db)
    for name, statements in files.items():
        before_file(name, place)
        with Database(place, f"{phase.application_name}/measured", **timeouts) as db:
            db.execute(sql.SQL("SET search_path TO {}").format(identifier(place.schema)))
            found = costs.measure(db, work(statements, phase.project.transaction_rule), there)
        done = costs.Costs((*done.items, *found.items), found.failed)
        if done.failed:
            break
    return done


def by_statement(found: costs.Costs) -> Table:
    """What is kept as CSV: one row a statement, in bytes and seconds."""
    columns = (
        "file",
        "line",
        "kind",
        "seconds",
        "locks",
        "rewritten",
        "wal_bytes",
        "temporary_bytes",
        "bytes_before",
        "bytes_after",
    )
    rows = [
        (
            c.file,
            c.line,
            c.kind,
            round(c.seconds, 4),
            "; ".join(map(str, c.locks)),
            "; ".join(c.rewritten),
            c.wal_bytes,
            c.temporary_bytes,
            c.bytes_before,
            c.bytes_after,
        )
        for c in found
    ]
    return Table("Statements", columns, rows)
