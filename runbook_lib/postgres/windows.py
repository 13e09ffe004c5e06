"""What happened between two readings of the counters: each count is a difference, or is not known.

Counters only grow, until somebody resets them or the server crashes: then a difference means
nothing, and is not made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from typing import Any

from runbook_lib.postgres.statistics import MOST, Row, Statistics

DATABASE = (
    "blocks_from_cache",
    "blocks_read",
    "temporary_files",
    "temporary_bytes",
    "deadlocks",
    "commits",
    "rollbacks",
)
TABLE = ("sequential_scans", "rows_read_sequentially", "index_scans")
CALLS = (
    "calls",
    "total_ms",
    "squares_ms2",
    "rows",
    "blocks_from_cache",
    "blocks_read",
    "temporary_blocks",
)
_ONE_IN_TWENTY = sqrt(19)
"""By Cantelli's inequality at most 1/(1+k²) of the times lie k standard deviations above the mean:
5 % for k = √19.
"""


@dataclass(frozen=True)
class Calls:
    """The calls of one statement in a window.

    Args:
        id: its number in pg_stat_statements.
        statement: its text without constants.
        min_ms, max_ms: since its counters began, which may be long before the window.
        squares_ms2: the sum of the squared times.
    """

    id: str
    statement: str
    calls: int
    total_ms: float
    squares_ms2: float
    rows: int
    blocks_from_cache: int
    blocks_read: int
    temporary_blocks: int
    min_ms: float
    max_ms: float

    @property
    def mean_ms(self) -> float:
        """Of one call."""
        return self.total_ms / self.calls

    @property
    def stddev_ms(self) -> float:
        """The standard deviation of the times."""
        return sqrt(max(0.0, self.squares_ms2 / self.calls - self.mean_ms**2))

    @property
    def p95_at_most_ms(self) -> float:
        """A bound, not an estimate: whatever the distribution, 95 % of the calls took no longer."""
        return min(self.max_ms, self.mean_ms + _ONE_IN_TWENTY * self.stddev_ms)

    @property
    def blocks(self) -> float:
        """Shared buffers that one call touched."""
        return (self.blocks_from_cache + self.blocks_read) / self.calls

    @property
    def hit_ratio(self) -> float | None:
        """Part of them that was in the cache."""
        return _ratio(self.blocks_from_cache, self.blocks_read)


@dataclass(frozen=True)
class Window:
    """What happened from one reading to a later one.

    Args:
        seconds: between them.
        anew: why the counters of the database, its tables and indexes say nothing of the window;
            empty where they do.
        database: the counts of `DATABASE`.
        tables, indexes: name → counts since the first reading, or since it was made; missing where
        they began anew.
        calls: query id → its calls in the window; `None` where they are not known, for the reason
            in `calls_why`.
        evicted: how often pg_stat_statements had to forget statements meanwhile; their calls are
            missing.
    """

    began: str
    ended: str
    seconds: float
    anew: str
    database: Row
    tables: Mapping[str, Row]
    indexes: Mapping[str, int]
    calls: Mapping[str, Calls] | None
    calls_why: str
    evicted: int

    @property
    def hit_ratio(self) -> float | None:
        """Part of the blocks that were found in shared buffers.

        `None` where none was asked for, or it is not known.
        """
        return (
            None
            if self.anew
            else _ratio(self.database["blocks_from_cache"], self.database["blocks_read"])
        )


def window(first: Statistics, last: Statistics) -> Window:
    """What happened from `first` to `last`, two readings of one database."""
    seconds = (
        datetime.fromisoformat(str(last.taken_at)) - datetime.fromisoformat(str(first.taken_at))
    ).total_seconds()
    anew, why = _anew(first, last), _statements_anew(first, last)
    tables = (
        {} if anew else _each(first.tables, last.tables, lambda old, new: _less(old, new, TABLE))
    )
    indexes = (
        {}
        if anew
        else _each(first.indexes, last.indexes, lambda old, new: _less(old, new, ("scans",)))
    )
    return Window(
        str(first.taken_at),
        str(last.taken_at),
        seconds,
        anew,
        {} if anew else _less(first.database, last.database, DATABASE) or {},
        tables,
        {name: row["scans"] for name, row in indexes.items()},
        None if why else _calls(first, last),
        why,
        0 if why else last.statements_evicted - first.statements_evicted,
    )


def _anew(first: Statistics, last: Statistics) -> str:
    if not (first.database.get("counting", True) and last.database.get("counting", True)):
        return "track_counts is off: the server counts nothing"
    if first.database["counted_since"] != last.database["counted_since"]:
        return f"the counters were reset at {last.database['counted_since']}"
    if first.database["started"] != last.database["started"]:
        return (
            f"the server was started anew at {last.database['started']}, and may have lost its "
            "counters"
        )
    return "" if _less(first.database, last.database, DATABASE) else "the counters began anew"


def _statements_anew(first: Statistics, last: Statistics) -> str:
    if why := next(
        (one.statements_why or "not read" for one in (first, last) if one.statements is None), ""
    ):
        return why
    return (
        ""
        if first.statements_since == last.statements_since
        else f"pg_stat_statements was reset at {last.statements_since}"
    )


def _calls(first: Statistics, last: Statistics) -> dict[str, Calls]:
    """Of each statement that was called.

    Of one that was not among the first reading's only where that held all.
    """
    before, now = ({row["id"]: row for row in one.statements or ()} for one in (first, last))
    whole = len(before) < MOST
    found = _each(
        before,
        {id: row for id, row in now.items() if whole or id in before},
        lambda old, new: _less(old, new, CALLS),
    )
    return {
        id: Calls(
            id, now[id]["statement"], min_ms=now[id]["min_ms"], max_ms=now[id]["max_ms"], **counts
        )
        for id, counts in found.items()
        if counts["calls"]
    }


def _each(
    first: Mapping[str, Row],
    last: Mapping[str, Row],
    less: Callable[[Row, Row], dict[str, Any] | None],
) -> dict[str, dict[str, Any]]:
    found = {name: less(first.get(name, {}), row) for name, row in last.items()}
    return {name: counts for name, counts in found.items() if counts is not None}


def _less(old: Row, new: Row, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """The differences; None where a counter has become smaller."""
    counts = {key: new[key] - old.get(key, 0) for key in keys}
    return (
        None
        if any(count < 0 for key, count in counts.items() if key not in ("total_ms", "squares_ms2"))
        else counts
    )


def _ratio(hits: int, reads: int) -> float | None:
    return hits / (hits + reads) if hits + reads else None
