"""Which statements of a failed file landed.

Replayed one by one on a copy of the schema before it, and held against the live one.

The copy has no rows. A statement that changes the catalogue is told by the catalogue; one that only
writes rows by the content of its tables, where that was fixed before the migration and nothing else
of the file changes it. What cannot be told that way is said to be so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.errors import DatabaseError, ToolError, UsageError
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import catalog, role_limits, scratch
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.catalog import Catalog
from runbook_lib.postgres.comparison import Compared, Outcome
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.restore import restore_schema
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma.effect import RowChange
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.judge import Statement, statements
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.names import quote
from runbook_lib.prisma.transactions import groups
from runbook_lib.table import Shown, Table

Object = tuple[str, str, str]
"""An object of a catalogue, or one property of it: kind, name, property."""
MOST = 200
"""Statements of one file up to which it is replayed: each needs a look at the whole catalogue."""


_NO_REFUSAL = ("08", "53", "55", "57", "58", "XX")
"""Classes of SQLSTATE of which the statement itself is not the reason: no room, no session, a lock,
a cancel, a fault.
"""


@dataclass(frozen=True)
class Step:
    """One statement of a repair.

    Args:
        shown: what it is, without constants: the record holds no row.
        sql: its text.
    """

    shown: str
    sql: str = field(repr=False)


@dataclass(frozen=True)
class Replayed(Shown):
    """How far a failed file came.

    Args:
        file: the migration's name.
        statements: how many it has.
        landed: how many of them, from the first on, are in the database; `None` where that cannot
            be told.
        why: why it cannot be told.
        repair: what makes the file whole: half built indexes go, then come the statements that did
            not land.
        invalid: indexes that the first of those left half built.
        complete: whether the catalogue is that of the whole file.
    """

    file: str
    statements: int
    landed: int | None
    why: str = ""
    repair: tuple[Step, ...] = ()
    invalid: tuple[str, ...] = ()
    complete: bool = False

    @property
    def untouched(self) -> bool:
        """Whether nothing of it is in the database."""
        return self.landed == 0 and not self.invalid

    @property
    def answer(self) -> str:
        """What landed, in words."""
        if self.landed is None:
            return f"cannot be told, because {self.why}"
        words = {0: "none", self.statements: "all"}.get(
            self.landed, f"the first {self.landed} of {self.statements}"
        )
        return words + (
            f"; the next left invalid: {', '.join(self.invalid)}" if self.invalid else ""
        )

    @property
    def command(self) -> str:
        """The one right next step, by what is proven."""
        if self.landed is None:
            return "restore (or point-in-time): nothing is resolved on a guess"
        if self.untouched:
            return f"prisma migrate resolve --rolled-back {self.file}, then deploy again"
        resolve = f"prisma migrate resolve --applied {self.file}"
        return (
            f"run the {len(self.repair)} statements of the repair, then {resolve}"
            if self.landed < self.statements
            else resolve
        )

    def table(self) -> Table:
        """The answer, and what follows from it."""
        steps = (
            ()
            if self.untouched
            else tuple(
                (f"repair {number}", step.shown) for number, step in enumerate(self.repair, 1)
            )
        )
        rows = [("statements that landed", self.answer), ("the next step", self.command), *steps]
        return Table(
            f"How far {self.file} came",
            ("", ""),
            rows,
            ["unknown" if self.landed is None else ""] * len(rows),
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "file": self.file,
            "statements": self.statements,
            "landed": self.landed,
            "invalid": list(self.invalid),
            "answer": self.answer,
            "next": self.command,
            "repair": [step.shown for step in self.repair],
        }


def replay(
    phase: Phase,
    file: MigrationFile,
    earlier: Sequence[MigrationFile],
    made: Backup,
    content: Mapping[str, Compared],
) -> Replayed:
    """How far `file` came.

    Args:
        earlier: the files of this migration that were applied before it.
        made: the backup, which has the schema of before.
        content: table → how its content now compares with that before the migration.
    """
    backed_up, live = made.catalog(), catalog.read(phase.db)
    lacking = backed_up.left_out()  # the copy has none of these: nothing is said of one still so
    live = live.without({kind: lacking[kind] & names for kind, names in live.left_out().items()})
    known = Known(backed_up.objects, phase.target.schema)
    before = [statement for one in earlier for statement in statements(one, known)]
    found = statements(file, known)
    if len(found) > MOST:
        return Replayed(file.name, len(found), None, f"it has more than {MOST} statements")
    try:
        with scratch.reserved(phase.target, "replay", phase.application_name) as place:
            programs = tools(
                phase.target, phase.params.database.tools, application_name=phase.application_name
            )
            restore_schema(
                made, place.target, phase.application_name, tools=programs, mark=place.mark
            )
            with Database(
                place.target,
                phase.application_name,
                statement_timeout="60s",
                lock_timeout="10s",
                search_path=quote(phase.target.schema),
            ) as copy:
                unlike = _unlike(copy, made)
                for statement in before:
                    _run(copy, statement)
                states = _states(copy, found)
    except (DatabaseError, ToolError, UsageError) as error:
        return Replayed(file.name, len(found), None, f"it could not be replayed: {error.message}")
    hidden = [one for one in found if _touches(one, unlike)]
    if hidden:
        why = f"{hidden[0].place} changes what this role may not bring up in a copy"
        return Replayed(file.name, len(found), None, why)
    ends = groups([statement.effect for statement in found], phase.project.transaction_rule)
    committed = [k for k in range(len(found) + 1) if k in (0, len(found)) or ends[k - 1] != ends[k]]
    writers = Counter(row.table for statement in (*before, *found) for row in statement.effect.rows)
    return told(
        file.name,
        found,
        [states[k] if k in committed else None for k in range(len(found) + 1)],
        live,
        content,
        writers,
        unlike,
    )


def _unlike(copy: Database, made: Backup) -> frozenset[Object]:
    """What the copy lacks, or has otherwise, because the role may not bring it up as it is.

    An extension of a superuser, say.
    """
    backed_up, limits = made.catalog(), role_limits.known(copy, made)
    restorable = backed_up.without(backed_up.left_out())
    changes = catalog.difference(restorable, catalog.read(copy), restored=True)
    return frozenset(_object(one) for one in changes if limits.explains(one))


def _object(change: catalog.Change) -> Object:
    return change.kind, change.name, change.property


def _touches(statement: Statement, unlike: Collection[Object]) -> bool:
    names = {(kind, name) for kind, name, _ in unlike}
    return any((change.kind, change.name) in names for change in statement.effect.changes)


def told(
    file: str,
    found: Sequence[Statement],
    states: Sequence[Catalog | None],
    live: Catalog,
    content: Mapping[str, Compared],
    writers: Mapping[str, int],
    unlike: Collection[Object] = (),
) -> Replayed:
    """Where the live database stands.

    Args:
        states: the catalogue before the first statement and after each; `None` where no transaction
            ends.
        writers: table → how many statements of the migration write its rows.
        unlike: what the copy cannot have as the live database has it, and nothing is said of.
    """
    differences = {
        k: [
            change
            for change in catalog.difference(state, live, restored=True)
            if _object(change) not in unlike
        ]
        for k, state in enumerate(states)
        if state is not None
    }
    invalid = {
        k: tuple(change.name for change in changes)
        for k, changes in differences.items()
        if all(map(_half_built, changes))
    }
    complete = differences.get(len(found)) == []
    if not invalid:
        return Replayed(
            file, len(found), None, "the live catalogue is that of no point between its statements"
        )
    first, *later = [k for k in invalid if len(invalid[k]) == min(map(len, invalid.values()))]
    landed, why = _by_content(found, first, later[-1] if later else first, content, writers)
    if why:
        return Replayed(file, len(found), None, why, complete=complete)
    drops = tuple(
        Step(sql := f"DROP INDEX CONCURRENTLY IF EXISTS {name}", sql) for name in invalid[first]
    )
    rest = tuple(
        Step(f"{statement.place} {statement.effect.kind}", statement.parsed.sql)
        for statement in found[landed:]
    )
    return Replayed(file, len(found), landed, "", drops + rest, invalid[first], complete)


def _half_built(change: catalog.Change) -> bool:
    return change.kind == "index" and change.action == "added" and not change.after["valid"]


def _by_content(
    found: Sequence[Statement],
    first: int,
    last: int,
    content: Mapping[str, Compared],
    writers: Mapping[str, int],
) -> tuple[int, str]:
    """How many landed of the statements between two points that the catalogue does not tell apart.

    Or why that cannot be told.
    """
    landed = first
    for number, statement in enumerate(found[first:last], first + 1):
        if statement.effect.unclear:
            return 0, f"statement {number} ({statement.effect.kind}): {statement.effect.unclear}"
        for row in statement.effect.rows:
            wrote = _wrote(row, content.get(row.table))
            if wrote is None or wrote and writers[row.table] > 1:
                return (
                    0,
                    f"statement {number} writes rows of {row.table}, and its content does not "
                    "tell whether it did",
                )
            if (
                wrote
                and landed < number - 1
                and any(one.effect.rows for one in found[landed : number - 1])
            ):
                return (
                    0,
                    f"statement {number} has written rows of {row.table}, and one before it has "
                    "written none",
                )
            landed = number if wrote else landed
    return landed, ""


def _wrote(row: RowChange, item: Compared | None) -> bool | None:
    """Whether a table's content shows that a statement has written it.

    None where it does not tell.
    """
    if item is None or item.outcome in (Outcome.NOT_COMPARED, Outcome.EXCLUDED):
        return None
    if item.outcome is Outcome.ADDED:
        return bool(item.after)
    if item.outcome is Outcome.IDENTICAL:
        return None if item.why and row.action == "update" else False
    return True


def _states(copy: Database, found: Sequence[Statement]) -> list[Catalog | None]:
    """Return the catalogue before the first statement and after each.

    Up to the first that the copy refuses: none behind that one landed.

    Raises:
        DatabaseError: the copy failed for a reason that is not the statement's.
    """
    states: list[Catalog | None] = [catalog.read(copy)]
    for statement in found:
        try:
            _run(copy, statement)
        except DatabaseError as error:
            if error.sqlstate.startswith(_NO_REFUSAL):
                raise
            break
        states.append(
            catalog.read(copy)
            if statement.effect.changes or statement.effect.unclear
            else states[-1]
        )
    return states + [None] * (len(found) + 1 - len(states))


def _run(copy: Database, statement: Statement) -> None:
    """Run a statement on the copy, which has no rows.

    One that only reads or writes rows is passed over.
    """
    effect = statement.effect
    if (
        effect.changes
        or effect.transaction
        or effect.unclear
        or not effect.rows
        and effect.kind != "SELECT"
    ):
        copy.execute(statement.parsed.sql)
