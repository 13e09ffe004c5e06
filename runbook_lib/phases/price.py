"""What each way back costs.

Whether it is possible, how long it takes, and which writes it would lose
(`runbook_lib.phases.writes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.errors import RunbookError
from runbook_lib.history import minutes
from runbook_lib.phases import recovery
from runbook_lib.phases.base import Phase
from runbook_lib.phases.landed import Landed
from runbook_lib.phases.writes import EVERYTHING, Moment, Span, earlier, since
from runbook_lib.postgres import rights
from runbook_lib.postgres.connection import query
from runbook_lib.table import Shown, Table, size

WAYS = ("resolve", "forward", "restore", "point-in-time")
"""The ways, cheapest first. `forward` settles the failed file by what is proven of it and leads on,
not back: it is taken only where a person names it.
"""


@dataclass(frozen=True)
class Losses(Shown):
    """Writes of anybody but the migration.

    Args:
        before: between the backup and the moment before the migration.
        since: from then until now.
        wal_bytes: what the whole server wrote to its log since then; `None` where that was not
            measured.
    """

    before: Span
    since: Span
    wal_bytes: int | None = None

    def of(self, way: str) -> tuple[Span, ...]:
        """What a way would lose."""
        return {"restore": (self.before, self.since), "point-in-time": (self.since,)}.get(way, ())

    def names(self, way: str) -> tuple[str, ...]:
        """What a way would lose writes of, or may.

        An approval accepts these, and no further ones.
        """
        return tuple(sorted({name for span in self.of(way) for name in (*span.lost, *span.doubt)}))

    def words(self, way: str) -> str:
        """The same in words; empty where it is proven that nothing would be lost."""
        spans = self.of(way)
        return "; ".join(
            [
                *(f"{name}: {what}" for span in spans for name, what in span.lost.items()),
                *(
                    f"may lose writes of {name}: {why}"
                    for span in spans
                    for name, why in span.doubt.items()
                ),
            ]
        )

    def table(self) -> Table:
        """What was written, and when."""
        spans = (self.before, self.since)
        lost = sorted({name for span in spans for name in span.lost})
        doubt = sorted({name for span in spans for name in span.doubt} - {*lost})
        rows = [(name, *(_in_span(name, span) for span in spans)) for name in (*lost, *doubt)]
        wal = (
            f"; {size(self.wal_bytes)} of WAL since then, of the whole server"
            if self.wal_bytes is not None
            else ""
        )
        said = [f"{len(lost)} written by others"] * bool(lost) + [
            f"{len(doubt)} of which it cannot be told"
        ] * bool(doubt)
        return Table(
            ("Writes since the backup: " + ", ".join(said) if said else "Nothing was written")
            + wal,
            (
                "what",
                "from the backup to the moment before the migration",
                "since that moment",
            ),
            rows,
            ["bad"] * len(lost) + ["unknown"] * len(doubt),
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "before": asdict(self.before),
            "since": asdict(self.since),
            "wal_bytes": self.wal_bytes,
        }


def _in_span(name: str, span: Span) -> str:
    why = span.doubt.get(name)
    return span.lost.get(name) or (f"cannot be told: {why}" if why else "nothing")


@dataclass(frozen=True)
class Option:
    """One way back.

    Args:
        impossible: why it cannot be taken; empty where it can.
        seconds: what it takes; `None` where that was not measured.
        basis: where that figure comes from.
        loses: writes that it would lose, or may, in words; empty where it is proven that there are
            none.
    """

    way: str
    impossible: str
    seconds: float | None
    basis: str
    loses: str

    @property
    def swaps(self) -> bool:
        """Whether another database takes the live one's name."""
        return self.way in ("restore", "point-in-time")

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


def losses(phase: Phase, now: Moment | None, found: Landed) -> Losses:
    """What anybody but the migration wrote since the backup.

    Args:
        found: what of the migration is in the database.
        now: the live database; `None` where it was not looked at, because there is nothing to hold
            it against.
    """
    if not phase.run.has_evidence("backup"):
        return Losses(Span({}, {EVERYTHING: "there is no backup"}), Span())
    if not phase.run.has_evidence("before.snapshot") or now is None:
        return Losses(earlier(phase, now), Span())
    begun = phase.run.derived.migrating
    return Losses(earlier(phase), since(phase, now, found, begun), _wal(phase, now))


def options(phase: Phase, found: Landed, lost: Losses) -> tuple[Option, ...]:
    """Every way, cheapest first."""
    record, rehearsed = (
        phase.run.read_evidence("backup", missing={}),
        phase.run.read_evidence("rehearsal", missing={}),
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
            busy
            or ("" if phase.run.has_evidence("backup") else "there is no backup")
            or _refused(phase),
            measured,
            basis
            if record.get("proven_at")
            else "it was never restored; what comes up is compared before it is used",
            "; ".join(filter(None, [lost.words("restore"), *_left_out(record)])),
        ),
        _point_in_time(phase, busy, lost.words("point-in-time")),
    )


def _refused(phase: Phase) -> str:
    """Which right the role lacks to restore beside and swap by name; empty where it has them."""
    found = phase.db.row(query("health_rights")) or {}
    lacking = [name for name in ("create_database", "own_database") if not found[name]]
    return "; ".join(rights.GRANTS[name].format(**found) for name in lacking)


def _left_out(record: Mapping[str, Any]) -> list[str]:
    """What a restore by this role would lack, and an application may need."""
    unproven = [record["unproven"]] if record.get("unproven") else []
    return [one["found"] for one in (*unproven, *(record.get("left_out") or ()))]


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


def _wal(phase: Phase, now: Moment) -> int | None:
    then = phase.run.read_evidence("before.snapshot", missing={}).get("lsn")
    found = phase.db.value("SELECT pg_wal_lsn_diff(%s, %s)::bigint", [now.content.lsn, then])
    return None if found is None else int(found)
