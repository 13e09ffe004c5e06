"""Read the monitoring list: what is measured, its unit and limit, and how it went.

During the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from runbook_lib.check import Check, Checks, Status, check, not_configured, unknown
from runbook_lib.table import Shown, Table


@dataclass(frozen=True)
class Measure:
    """Something that is measured.

    Args:
        label: for people.
        unit: of its values.
        title: a statement that holds where the value keeps its limit.
        remedy: what to do where it does not.
        least: whether the limit is the least that is allowed, not the most.
        counted: whether it is a counter: what counts is by how much it grew since the first
            reading.
        tolerated_s: seconds for which it may be beyond its limit during the run: a peak is shown,
            and not held against it.
        key: the parameter that brings it, for the message where there is none.
    """

    name: str
    label: str
    unit: str
    title: str
    remedy: str
    least: bool = False
    counted: bool = False
    tolerated_s: float = 0.0
    key: str = "monitoring.sources"

    def said(self, value: float | None) -> str:
        """A value with its unit."""
        if value is None:
            return "–"
        return f"{value:.{0 if value >= 10 or value == int(value) else 1}f} {self.unit}".rstrip()

    def keeps(self, value: float, limit: float) -> bool:
        """Whether a value is on the right side of its limit."""
        return value >= limit if self.least else value <= limit


_PREFLIGHT = "preflight"
BUSY_S = 30.0
"""Seconds for which a machine may be busy, and an application slow, without a person having to
look.
"""
WAIT_S = 5.0
"""The same for sessions that wait for a lock, after the second from which on they count."""
_SEE = "see what runs: 95_troubleshoot lists the sessions"
MEASURES: Mapping[str, Measure] = {
    one.name: one
    for one in (
        Measure(
            "cpu_percent", "CPU", "%", "the processor is not saturated", _SEE, tolerated_s=BUSY_S
        ),
        Measure(
            "memory_percent",
            "memory",
            "%",
            "memory is not exhausted",
            "see what uses it on the database's machine",
            tolerated_s=BUSY_S,
        ),
        Measure(
            "disk_io_percent",
            "disk I/O",
            "%",
            "the disk keeps up",
            f"an SSD can do more than this says, a single disk cannot; {_SEE}",
            tolerated_s=BUSY_S,
        ),
        Measure(
            "connections_percent",
            "connections",
            "%",
            "connections are below the limit",
            "close what is not needed, or raise the pool's limits",
        ),
        Measure(
            "response_ms",
            "response time",
            "ms",
            "the application answers in time",
            "read the application's log; 70_validate compares the queries' times",
            tolerated_s=BUSY_S,
            key="service",
        ),
        Measure(
            "errors_per_minute",
            "errors in the log",
            "a minute",
            "the error rate is as before",
            "read the application's log",
            key="service.log",
        ),
        Measure(
            "deadlocks",
            "deadlocks since the first reading",
            "",
            "no deadlock since the first reading",
            "the server's log names both statements",
            counted=True,
        ),
        Measure(
            "blocked_sessions",
            "blocked sessions",
            "",
            "nobody has been waiting for a lock for a second or longer",
            "95_troubleshoot shows them as a tree",
            tolerated_s=WAIT_S,
        ),
        Measure(
            "disk_free_percent",
            "free disk",
            "%",
            "the server's disk has room",
            "95_troubleshoot tells what would free most",
            least=True,
        ),
    )
}
"""In the order in which they are shown. A disk of which nothing is known is left out here: the
preflight asks for it.
"""


@dataclass(frozen=True)
class Reading:
    """One look at one measure.

    Args:
        at: UTC, ISO 8601.
        value: in the measure's unit; `None` where it could not be read.
        source: where it comes from.
        phase: the phase that looked.
        why: why there is no value.
        epoch: of a counter: since when it counts. Two of different epochs cannot be compared.
    """

    measure: str
    at: str
    value: float | None
    source: str
    phase: str = ""
    why: str = ""
    epoch: str = ""


@dataclass(frozen=True)
class Episode:
    """A time for which a measure was beyond its limit.

    Args:
        began: UTC, ISO 8601.
        seconds: until the first reading that kept the limit again, or the last one that did not.
        worst, at: the value farthest beyond, and when it was read.
        phase: in which it began.
        judged: whether a person was asked then: what is beyond its limit at the preflight shuts
            that gate.
    """

    began: str
    seconds: float
    worst: float
    at: str
    phase: str
    judged: bool = False


@dataclass(frozen=True)
class Trend:
    """One measure over the run.

    Args:
        limit: of its values.
        readings: oldest first.
    """

    measure: Measure
    limit: float
    readings: tuple[Reading, ...]

    @cached_property
    def points(self) -> tuple[tuple[str, float | None], ...]:
        """When, and the value; `None` where it could not be read, or a counter began anew."""
        if not self.measure.counted:
            return tuple((one.at, one.value) for one in self.readings)
        first = next((one for one in self.readings if one.value is not None), None)
        return tuple(
            (
                one.at,
                None
                if first is None or one.value is None or _anew(first, one)
                else one.value - (first.value or 0),
            )
            for one in self.readings
        )

    @property
    def values(self) -> list[float]:
        """Those that were read."""
        return [value for _, value in self.points if value is not None]

    @property
    def now(self) -> float | None:
        """The newest value; `None` where that could not be read."""
        return self.points[-1][1] if self.points and not self._alone else None

    @property
    def _alone(self) -> bool:
        """Whether a counter has nothing to be compared with."""
        return self.measure.counted and len(self.readings) < 2

    @property
    def why(self) -> str:
        """Why the newest value is not known."""
        if not self.readings:
            return f"`{self.measure.key}` is not set"
        if self._alone:
            return "there is no earlier reading to compare with"
        return self.readings[-1].why or "the server's counters were reset since the first reading"

    @property
    def gaps(self) -> int:
        """Readings that failed."""
        return sum(value is None for _, value in self.points)

    @cached_property
    def episodes(self) -> tuple[Episode, ...]:
        """The times for which it was beyond its limit, in their order.

        A reading that failed ends none.
        """
        found, open_ = list[Episode](), list[tuple[Reading, float]]()
        for reading, (_, value) in zip(self.readings, self.points, strict=True):
            if value is None:
                continue
            if not self.measure.keeps(value, self.limit):
                open_.append((reading, value))
            elif open_:
                found.append(self._episode(open_, reading))
                open_ = []
        return (*found, *([self._episode(open_, open_[-1][0])] if open_ else ()))

    def _episode(self, beyond: Sequence[tuple[Reading, float]], end: Reading) -> Episode:
        first = beyond[0][0]
        worst = (min if self.measure.least else max)(beyond, key=lambda one: one[1])
        return Episode(
            first.at,
            round((_moment(end.at) - _moment(first.at)).total_seconds(), 1),
            worst[1],
            worst[0].at,
            first.phase,
            all(reading.phase == _PREFLIGHT for reading, _ in beyond),
        )

    @property
    def lasting(self) -> tuple[Episode, ...]:
        """Those that are held against it.

        Longer than it may be beyond its limit, and not looked at by a person then.
        """
        return tuple(
            one
            for one in self.episodes
            if one.seconds > self.measure.tolerated_s and not one.judged
        )

    @property
    def kept(self) -> bool | None:
        """Whether it kept its limit over the run, and does now; `None` where that is not known."""
        if self.lasting:
            return False
        return None if self.now is None else self.measure.keeps(self.now, self.limit)

    def check(self) -> Check:
        """The newest value beside its limit, and the worst of the run with its time."""
        one, id = self.measure, f"monitoring.{self.measure.name.removesuffix('_percent')}"
        expected = f"at {'least' if one.least else 'most'} {one.said(self.limit)}"
        if not self.readings:
            return not_configured(id, one.title, one.key)
        if self.now is None and not self.lasting:
            return unknown(
                id,
                one.title,
                self.why,
                expected,
                "look at its dashboard, then approve the gate; or correct `monitoring.sources`",
            )
        now = f"{one.said(self.now)} now" if self.lasting else one.said(self.now)
        return check(id, one.title, bool(self.kept), now + self._went(), expected, one.remedy)

    def beyond(self) -> str:
        """When it was beyond its limit, and by how much.

        Empty where it never was, or only the newest reading is.
        """
        only_now = len(self.episodes) == 1 and self.episodes[0].began == self.readings[-1].at
        if not self.episodes or only_now:
            return ""
        pick = min if self.measure.least else max
        worst = pick(self.episodes, key=lambda one: one.worst)
        longest = max(one.seconds for one in self.episodes)
        times = f" in {len(self.episodes)} spans, the longest" if len(self.episodes) > 1 else ""
        where = f" ({worst.phase})" if worst.phase else ""
        return (
            f"worst {self.measure.said(worst.worst)} at {_clock(worst.at)}{where}; beyond the "
            f"limit{times} for {longest:.0f} s"
        )

    def _went(self) -> str:
        lowest, highest = (self.measure.said(pick(self.values)) for pick in (min, max))
        failed = next((one.why for one in self.readings if one.why), "")
        beyond = self.beyond()
        return (
            (f"; from {lowest} to {highest} during the run" if lowest != highest else "")
            + (f"; {beyond}" if beyond else "")
            + (f"; {self.gaps} of {len(self.readings)} readings failed: {failed}" if failed else "")
        )


@dataclass(frozen=True)
class Trends(Shown):
    """The monitoring list over the run."""

    items: tuple[Trend, ...]

    def __iter__(self) -> Iterator[Trend]:
        return iter(self.items)

    @property
    def read(self) -> tuple[Trend, ...]:
        """Those for which there is a source."""
        return tuple(one for one in self.items if one.readings)

    @property
    def finding(self) -> str:
        """What is beyond its limit, what could not be checked; in one line."""
        beyond = [one.measure.label for one in self.read if one.kept is False]
        blind = [one.measure.label for one in self.read if one.kept is None]
        said = (
            f"Beyond the limit: {', '.join(beyond)}"
            if beyond
            else f"{sum(one.kept is True for one in self.read)} of {len(self.read)} measures are "
            "within their limits"
        )
        return said + (f"; could not check: {', '.join(blind)}" if blind else "")

    def issues(self) -> list[str]:
        """What was beyond its limit for too long during the run, a line each: for the history."""
        return [
            f"{one.measure.label} (limit {one.measure.said(one.limit)}): {one.beyond()}"
            for one in self.items
            if one.lasting
        ]

    def checks(self) -> Checks:
        """Each a measured value beside its limit."""
        return Checks("Monitoring", [one.check() for one in self.items])

    def table(self) -> Table:
        """One row a measure."""
        rows = [
            (
                one.measure.label,
                one.measure.unit,
                one.now,
                one.limit,
                *((min(one.values), max(one.values), one.values[0]) if one.values else (None,) * 3),
                one.beyond() or None,
                len(one.readings) - one.gaps,
                one.gaps,
                one.readings[-1].source,
                one.why if one.now is None else "",
            )
            for one in self.read
        ]
        return Table(
            self.finding,
            (
                "measure",
                "unit",
                "now",
                "limit",
                "lowest",
                "highest",
                "first",
                "beyond its limit",
                "readings",
                "failed",
                "from",
                "not known because",
            ),
            rows,
            ["unknown" if one.kept is None else "" if one.kept else "bad" for one in self.read],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "finding": self.finding,
            "measures": [
                {
                    "measure": one.measure.name,
                    "unit": one.measure.unit,
                    "limit": one.limit,
                    "now": one.now,
                    "kept": one.kept,
                    "episodes": [asdict(episode) for episode in one.episodes],
                    "readings": [asdict(reading) for reading in one.readings],
                }
                for one in self.items
            ],
        }


def trends(readings: Sequence[Reading], limits: Mapping[str, float]) -> Trends:
    """The readings by measure.

    Args:
        limits: by the measure's name; those without a limit are left out.
    """
    ordered = sorted(readings, key=lambda one: one.at)
    return Trends(
        tuple(
            Trend(
                MEASURES[name], limits[name], tuple(one for one in ordered if one.measure == name)
            )
            for name in MEASURES
            if name in limits
        )
    )


def to_a_person(item: Check) -> Check:
    """A value beyond its limit is looked at by a person.

    It says nothing against the migration by itself.
    """
    return (
        Check(
            item.id,
            item.title,
            Status.UNKNOWN,
            f"beyond its limit: {item.found}",
            item.expected,
            item.remedy,
        )
        if item.status is Status.FAILED
        else item
    )


def _anew(first: Reading, later: Reading) -> bool:
    return first.epoch != later.epoch or (later.value or 0) < (first.value or 0)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _clock(text: str) -> str:
    return f"{_moment(text):%H:%M:%S} UTC"
