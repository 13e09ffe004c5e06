"""Share one list of work among several sessions.

All of them are stopped when one fails or a person interrupts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target

Unit = TypeVar("Unit")
Result = TypeVar("Result")
EVERY_S = 1.0
"""Seconds between two lines that tell how far something is; in long work they become rarer."""


def each(
    target: Target,
    application_name: str,
    jobs: int,
    units: Iterable[Unit],
    work: Callable[[Database, Unit], Result],
    **settings: str,
) -> list[Result]:
    """Do `work` for every unit, on `jobs` sessions at a time.

    Args:
        jobs: sessions; never more than there are units.
        units: begun in this order.
        work: called in a thread with the session that is free.
        settings: server settings of the sessions.

    Returns:
        The results in the order of the units.

    Raises:
        The first error of `work`; KeyboardInterrupt. Either way the other sessions are cancelled
        and closed first.
    """
    todo = deque(enumerate(listed := list(units)))
    results: dict[int, Result] = {}
    stop = threading.Event()

    def drain(db: Database) -> None:
        while todo and not stop.is_set():
            try:
                number, unit = todo.popleft()
            except IndexError:  # another session took the last one
                return
            results[number] = work(db, unit)

    with ExitStack() as stack:
        sessions = [
            stack.enter_context(Database(target, application_name, **settings))
            for _ in range(min(jobs, len(listed)))
        ]
        pool = stack.enter_context(ThreadPoolExecutor(max(1, len(sessions))))
        futures = [pool.submit(drain, session) for session in sessions]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            _cancel(sessions, futures)
            raise
    return [results[number] for number in range(len(listed))]


def _cancel(sessions: list[Database], futures: list[Future[None]]) -> None:
    """Cancel again and again: a session may have been between two statements."""
    while wait(futures, timeout=0.05).not_done:
        for session in sessions:
            session.cancel()


class Ticker:
    """Passes on at most one line a second, fewer the longer it takes, and always the last.

    Args:
        on_line: where lines go; `None` for nowhere.
    """

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._started = self._last = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, line: str, last: bool = False) -> None:
        """Say `line` with the seconds since the start."""
        now = time.monotonic()
        with self._lock:
            pause = max(EVERY_S, min(30, (now - self._started) / 30))
            if self._on_line and (last or now - self._last >= pause):
                self._last = now
                self._on_line(f"{line} ({now - self._started:.0f} s)")


@contextmanager
def again_and_again(say: Callable[[], None]) -> Iterator[None]:
    """Call `say` about every second, in a thread, while the context is open."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(EVERY_S):
            say()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(EVERY_S)
