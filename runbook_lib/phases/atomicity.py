"""What a file leaves when it fails, tried.

On a copy it is made to fail after its last statement, by the real CLI.

What a file is, transactionally, follows from the installed Prisma and from its SQL
(`runbook_lib.prisma.transactions`): that is a prediction, and here it is held against what happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runbook_lib.check import Check, check, unknown
from runbook_lib.errors import UsageError
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import catalog, snapshot
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.prisma import cli, failing
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.judge import Statement
from runbook_lib.prisma.transactions import Atomicity, Level, TransactionRule

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]


def why_not(predicted: Atomicity) -> str:
    """Why there is nothing to try with a file; empty where there is."""
    if predicted.level is Level.NONE:
        return f"not tried: {predicted.why}"
    return (
        f"not tried: {predicted.why}, and PostgreSQL undoes that by itself"
        if predicted.statements < 2
        else ""
    )


def untried(predicted: Atomicity, why: str) -> Check:
    """A file of which it could not be tried what it leaves."""
    return unknown(
        _id(predicted),
        _title(predicted),
        why,
        predicted.level.said,
        "read what 10_plan predicts, and why",
    )


def settled(predicted: Atomicity) -> Check:
    """A file with which there is nothing to try: `why_not` says why."""
    return check(_id(predicted), _title(predicted), True, why_not(predicted), predicted.level.said)


def tried(
    phase: Phase,
    copy: Target,
    url: str,
    file: MigrationFile,
    statements: Sequence[Statement],
    predicted: Atomicity,
) -> Check:
    """Make the file fail on a copy that is as the database will be before it, and look what stayed.

    Args:
        copy: a scratch database that nobody else uses.
        url: of the copy, for the CLI.
        statements: of the file.
    """
    after = max(one.parsed.number for one in statements if not one.effect.transaction)
    touched = sorted({table for one in statements for table in one.effect.tables})
    with Database(copy, phase.application_name) as db:
        db.execute(failing.MARK)
    objects, before = _look(phase, copy, touched)
    others = [name for name in phase.run.state["migrations"] if name != file.name]
    try:
        with failing.failing(phase.project, file, after, others) as project:
            cli.deploy(project, url, timeout_s=phase.params.migrate.deadline_s)
    except UsageError as error:
        return untried(predicted, error.message)
    except cli.MigrationFailed as error:
        if not _reached(phase, copy):
            return untried(
                predicted, f"on the copy it failed otherwise: {error.message.splitlines()[0]}"
            )
    else:
        return untried(predicted, "it could not be made to fail")
    now, content = _look(phase, copy, touched)
    stayed = [
        *catalog.difference(objects, now).in_words(),
        *(f"rows of {item.name}" for item in before.compare(content).differing),
    ]
    return judge(
        predicted, stayed, phase.project.transaction_rule, _visible(objects.objects, statements)
    )


def _reached(phase: Phase, copy: Target) -> bool:
    """Whether the file failed by the added statement, and not before it.

    The CLI does not always say so: after a BEGIN of the file's own it tells of the transaction that
    is aborted.
    """
    with Database(copy, phase.application_name) as db:
        return bool(db.value(f"SELECT is_called FROM {failing.REACHED}"))


def judge(
    predicted: Atomicity, stayed: Sequence[str], rule: TransactionRule, visible: bool
) -> Check:
    """What stayed, against what was predicted.

    Args:
        stayed: what the failed file left, a line each.
        visible: whether the file certainly changes the catalogue: then it would be seen if
            something of it stayed.
    """
    found = (
        f"{len(stayed)} changes stayed: {'; '.join(stayed[:3])}{' …' if len(stayed) > 3 else ''}"
        if stayed
        else "nothing stayed: rolled back whole"
    )
    remedy = (
        "do not rely on the plan's word for this file: make it one transaction, or one statement "
        "a file, and plan again"
    )
    whole = predicted.level is Level.WHOLE
    if not stayed and not whole and rule is TransactionRule.EACH_IF_PARSED:
        return check(
            _id(predicted),
            _title(predicted),
            True,
            f"{found}; Prisma's own parser does not understand the file",
            predicted.level.said,
        )
    if not stayed and not whole and not visible:
        return untried(predicted, f"{found}, or nothing that can be seen")
    return check(
        _id(predicted),
        _title(predicted),
        bool(stayed) is not whole,
        found,
        predicted.level.said,
        remedy,
    )


def _id(predicted: Atomicity) -> str:
    return f"atomicity.{predicted.file}"


def _title(predicted: Atomicity) -> str:
    return f"{predicted.file} {predicted.level.said} when it fails, as predicted"


def _look(
    phase: Phase, copy: Target, touched: Sequence[str]
) -> tuple[catalog.Catalog, snapshot.Snapshot]:
    """The copy's catalogue, and the content of those tables that the file touches."""
    with Database(copy, phase.application_name, statement_timeout="10min") as db:
        found = catalog.read(db)
    there = [name for name in touched if name in found.objects["table"]]
    return found, snapshot.take(copy, phase.application_name, jobs=1, tables=there)


def _visible(before: Objects, statements: Sequence[Statement]) -> bool:
    """Whether one of the changes certainly shows.

    Something comes that was not there, or goes that was.
    """
    return any(
        (change.name in before.get(change.kind, {})) is (change.action == "removed")
        for one in statements
        for change in one.effect.changes
        if change.action in ("added", "removed")
    )
