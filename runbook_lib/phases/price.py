"""What each way back costs: whether it is possible, how long it takes, and which writes it would lose.

Between the backup and the moment before the migration both sides are known by content: that part is exact. Since the
migration ended only PostgreSQL's counters tell (rows inserted, updated and deleted; up to ten seconds late) and the WAL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import RunbookError
from runbook_lib.history import minutes
from runbook_lib.phases import declared, recovery
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.landed import Landed
from runbook_lib.postgres import statistics
from runbook_lib.postgres.comparison import Compared, Outcome
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.prisma.history import TABLE
from runbook_lib.table import Shown, Table, size

WAYS = ("resolve", "forward", "restore", "point-in-time")
"""The ways, cheapest first. `forward` settles the failed file by what is proven of it and leads on, not back: it is taken
only where a person names it."""


@dataclass(frozen=True)
class Interval:
    """Writes in a span of time.

    Args:
        tables: table → what was written, in words.
        unknown: why it is not known; empty where it is.
        wal_bytes: what the whole server wrote to its log since; `None` where that was not measured.
    """

    tables: Mapping[str, str]
    unknown: str = ""
    wal_bytes: int | None = None


@dataclass(frozen=True)
class Losses(Shown):
    """Writes that a way back would lose.

    Args:
        before: between the backup and the moment before the migration, by content.
        since: since the migration ended, by PostgreSQL's counters.
    """

    before: Interval
    since: Interval

    def of(self, way: str) -> tuple[Interval, ...]:
        """What a way would lose."""
        return {"restore": (self.before, self.since), "point-in-time": (self.since,)}.get(way, ())

    def names(self, way: str) -> tuple[str, ...]:
        """The tables whose writes a way would lose: an approval accepts these, and no further ones."""
        return tuple(sorted({name for span in self.of(way) for name in span.tables}))

    def words(self, way: str) -> str:
        """The same in words; empty where it is known that nothing would be lost."""
        spans = self.of(way)
        return "; ".join(
            [
                *(f"{name}: {what}" for span in spans for name, what in span.tables.items()),
                *(f"not known: {span.unknown}" for span in spans if span.unknown),
            ]
        )

    def table(self) -> Table:
        """Tables that were written, and when."""
        names = sorted({*self.before.tables, *self.since.tables})
        rows = [
            (name, self.before.tables.get(name, "nothing"), self.since.tables.get(name, "nothing"))
            for name in names
        ]
        if self.before.unknown or self.since.unknown:
            rows.append(("not known", self.before.unknown or "–", self.since.unknown or "–"))
        wal = (
            f"; {size(self.since.wal_bytes)} of WAL since then, of the whole server"
            if self.since.wal_bytes is not None
            else ""
        )
        title = (
            f"Tables that were written: {len(names)}"
            if names
            else "Nothing was written"
            if not rows
            else "What was written is not known"
        )
        return Table(
            title + wal,
            (
                "table",
                "from the backup to the moment before the migration",
                "since the migration ended",
            ),
            rows,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            name: {
                "tables": dict(span.tables),
                "unknown": span.unknown,
                "wal_bytes": span.wal_bytes,
            }
            for name, span in (("before", self.before), ("since", self.since))
        }


@dataclass(frozen=True)
class Option:
    """One way back.

    Args:
        impossible: why it cannot be taken; empty where it can.
        seconds: what it takes; `None` where that was not measured.
        basis: where that figure comes from.
        loses: writes that it would lose, in words; empty where there are none.
    """

    way: str
    impossible: str
    seconds: float | None
    basis: str
    loses: str

    def row(self) -> tuple[str, ...]:
        """For the table of prices."""
        if self.impossible:
            return self.way, f"no: {self.impossible}", "–", "–", "–"
        return (
            self.way,
            "yes",
            minutes(self.seconds) if self.seconds is not None else "not measured",
            self.basis,
            self.loses or "nothing",
        )


def losses(phase: Phase) -> Losses:
    """Writes since the backup, by table, as far as they are known now."""
    return Losses(_before(phase), _since(phase))


def options(phase: Phase, found: Landed, lost: Losses) -> tuple[Option, ...]:
    """Every way, cheapest first."""
    record, rehearsed = (
        phase.run.read_evidence("backup") or {},
        phase.run.read_evidence("rehearsal") or {},
    )
    measured = (
        record["way_back_s"] + rehearsed.get("swap_s", 0.0) if record.get("proven_at") else None
    )
    busy = f"a migration is still at work: {', '.join(found.at_work)}" if found.at_work else ""
    basis = "restored and compared when the backup was proven, swapped when it was rehearsed"
    return (
        Option(
            "resolve",
            "" if found.nothing else "something landed, or it is not known that nothing did",
            None,
            "one command of Prisma a file",
            "",
        ),
        Option(
            "forward", found.unsettled, None, found.replayed.command if found.replayed else "", ""
        ),
        Option(
            "restore",
            busy or ("" if record else "there is no backup"),
            measured,
            basis
            if record.get("proven_at")
            else "it was never restored; what comes up is compared before it is used",
            lost.words("restore"),
        ),
        _point_in_time(phase, busy, lost.words("point-in-time")),
    )


def _point_in_time(phase: Phase, busy: str, loses: str) -> Option:
    try:
        found = recovery.price(phase)
    except RunbookError as error:
        return Option("point-in-time", busy or error.message, None, "", loses)
    doubt = (
        f"; whether it is possible could not be told: {found.why}" if found.possible is None else ""
    )
    return Option(
        "point-in-time",
        busy or (found.why if found.possible is False else ""),
        found.seconds,
        found.basis + doubt,
        loses,
    )


def _before(phase: Phase) -> Interval:
    stored = phase.run.read_evidence("before.snapshot")
    if not phase.run.read_evidence("backup"):
        return Interval({}, "there is no backup")
    if stored is None:
        return Interval({}, "the state before the migration was not fixed")
    found = declared.differing(load_backup(phase).snapshot, Snapshot.from_dict(stored))
    return Interval({item.name: _in_words(item) for item in found})


def _in_words(item: Compared) -> str:
    if item.outcome is Outcome.ROWS:
        return f"{item.after - item.before:+,} rows".replace(",", " ")
    return item.outcome.value + (f" ({item.why})" if item.why else "")


def _since(phase: Phase) -> Interval:
    """Since the migration ended; where its end was not seen, since before it, its own writes among them."""
    seen, before = (
        phase.run.read_evidence(name) for name in ("migrated.statistics", "before.statistics")
    )
    begun = any(line["what"] == "migration begun" for line in phase.run.read_journal())
    if not begun:
        return Interval({})
    if not (seen or before):
        return Interval(
            {}, "the end of the migration was not seen, and there is no state from before"
        )
    then, now = statistics.Statistics.from_dict(seen or before), statistics.read(phase.db)
    wal = phase.db.value(
        "SELECT pg_wal_lsn_diff(%s, %s)::bigint", [now.database["lsn"], then.database["lsn"]]
    )
    tables = statistics.written(then, now)
    if tables is None:
        return Interval({}, "the server's counters began anew since then", wal)
    tables = {name: counts for name, counts in tables.items() if not name.endswith(f".{TABLE}")}
    whose = "" if seen else ", the migration's own among them"
    return Interval(
        {
            name: ", ".join(
                f"{count:,} {action}".replace(",", " ") for action, count in counts.items()
            )
            + whose
            for name, counts in tables.items()
        },
        "",
        wal,
    )
