"""Which tables a migration locks from when to when, and who waits behind whom.

Ten looks a second, on one session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.costs import STRENGTH, tables
from runbook_lib.postgres.target import Target
from runbook_lib.table import Shown, Table

EVERY_S = 0.1
"""Seconds between two looks; what is shorter may be missed."""
HOLDS, WAITS = "holds", "waits for"


@dataclass(frozen=True)
class Span:
    """Somebody who held, or waited for, a lock on a table.

    Args:
        who: the application, as its session is called.
        what: "holds" or "waits for".
        mode: of the lock; "a row" for a wait for somebody's row.
        start_s, end_s: seconds since the first look.
        behind: whose locks, or places in the queue, were in the way.
    """

    table: str
    who: str
    what: str
    mode: str
    start_s: float
    end_s: float
    behind: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long, as far as looks can tell."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Timeline(Shown):
    """Who held and who waited, table by table, in the order of time.

    Args:
        looks: how many there were.
        lost: why there are no more of them; empty where they went on to the end.
    """

    spans: tuple[Span, ...]
    looks: int
    lost: str = ""

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    @property
    def finding(self) -> str:
        """The result in one line."""
        waits = [span for span in self if span.what == WAITS]
        lost = f"; the looks ended early: {self.lost}" if self.lost else ""
        if not waits:
            return f"Nobody was seen waiting behind the migration in {self.looks} looks" + lost
        longest = max(waits, key=lambda span: span.seconds)
        return (
            f"A {longest.who} waited longest, about {longest.seconds:.1f} s on {longest.table}, "
            f"behind {', '.join(longest.behind) or 'nobody seen'}" + lost
        )

    def table(self) -> Table:
        """One row a span."""
        rows = [
            (
                s.table,
                s.who,
                f"{s.what} {s.mode.removesuffix('Lock')}",
                s.start_s,
                s.end_s,
                s.seconds,
                s.behind,
            )
            for s in self
        ]
        return Table(
            self.finding,
            ("table", "who", "what", "from s", "to s", "seconds", "behind"),
            rows,
            ["bad" if s.what == WAITS else "" for s in self],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "every_s": EVERY_S,
            "looks": self.looks,
            "lost": self.lost,
            "spans": [asdict(span) for span in self],
        }


Key = tuple[str, str, str, str]
"""Table, who, what, mode."""


@dataclass
class _Open:
    """A span that may go on."""

    start_s: float
    end_s: float
    behind: dict[str, None] = field(default_factory=dict)

    def span(self, key: Key) -> Span:
        """As it is now."""
        return Span(*key, start_s=self.start_s, end_s=self.end_s, behind=tuple(self.behind))


class Sampler:
    """Looks ten times a second until its block is left; then `timeline()` tells what was seen.

    Args:
        target: the database that is watched.
        application_name: of the sampler's own session.
        migration: how the application names of the migration's sessions begin.
    """

    def __init__(self, target: Target, application_name: str, migration: str) -> None:
        self._migration = migration
        self.db = Database(target, application_name, statement_timeout="5s", lock_timeout="1s")
        self._tables = tables(self.db)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._open: dict[Key, _Open] = {}
        self._spans: list[Span] = []
        self._looks, self._lost = 0, ""

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(6)
        self.db.close()

    def timeline(self) -> Timeline:
        """What was seen."""
        spans = self._spans + [one.span(key) for key, one in list(self._open.items())]
        order = {span.table: span.start_s for span in sorted(spans, key=lambda span: -span.start_s)}
        return Timeline(
            tuple(sorted(spans, key=lambda s: (order[s.table], s.table, s.what, s.start_s, s.who))),
            self._looks,
            self._lost,
        )

    def _look_on(self) -> None:
        begun = due = time.monotonic()
        try:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                rows = self.db.sessions(query("timeline_sample"), [self._migration])
                self._see(rows, time.monotonic() - begun)
                self._looks += 1
                due = max(due + EVERY_S, time.monotonic())
        except DatabaseError as error:
            self._lost = error.message

    def _see(self, rows: list[dict[str, Any]], at: float) -> None:
        """Lengthen the spans that go on, close those that do not, open new ones."""
        names = {row["pid"]: _short(row["application"]) for row in rows}
        now: set[Key] = set()
        for table, what, row in self._told(rows):
            key = (
                table,
                names[row["pid"]],
                what,
                "a row" if row["relations"] == [0] else row["mode"],
            )
            now.add(key)
            one = self._open.get(key) or self._open.setdefault(key, _Open(at, at))
            one.end_s = at + EVERY_S
            if what == WAITS:
                one.behind |= dict.fromkeys(
                    names.get(pid, "another session") for pid in row["blocked_by"]
                )
        for key in self._open.keys() - now:
            self._spans.append(self._open.pop(key).span(key))

    def _told(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The strongest lock that the migration holds on each table, and what somebody waits for.

        A row is of the table that he has locked.
        """
        held: dict[tuple[int, str], dict[str, Any]] = {}
        for row in sorted(
            (row for row in rows if row["granted"]), key=lambda row: STRENGTH.index(row["mode"])
        ):
            held.update(
                ((row["pid"], self._tables[number]), row)
                for number in row["relations"]
                if number in self._tables
            )
        yield from (
            (table, HOLDS, row)
            for (_, table), row in held.items()
            if row["application"].startswith(self._migration)
        )
        for row in (row for row in rows if not row["granted"]):
            of_row = [table for pid, table in held if pid == row["pid"]][:1]
            yield from (
                (table, WAITS, row)
                for table in (
                    of_row
                    if row["relations"] == [0]
                    else filter(None, map(self._tables.get, row["relations"]))
                )
            )


def _short(application: str) -> str:
    """What a session is, without the run that it belongs to.

    "runbook/1a2b/rehearse/prisma" is "prisma".
    """
    return application.rpartition("/")[2] or application or "an unnamed session"
