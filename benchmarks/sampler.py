"""What it costs to look ten times a second at who waits on whom, client and server together, as CPU
time.

    python benchmarks/sampler.py [--quick] [--json FILE]

A server of its own, a hundred tables, a migration that holds a lock, and a queue of readers and
writers behind it. The sampler looks on for a while, five times over; counted are the processor
seconds of this process, in which nothing else works meanwhile, and of the sampler's server process.
Throughput of a load varies too much to show so little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import timeline
from runbook_lib.postgres.connection import Database, Target

LIMIT_PERCENT = 2.0
"""Of one core."""
TABLES, WAITING = 100, 8


@contextmanager
def queue(target: Target) -> Iterator[None]:
    """A migration in the middle of its work, and those who wait behind it."""
    with ExitStack() as stack:
        migration = stack.enter_context(Database(target, "runbook/bench/rehearse/prisma"))
        stack.enter_context(migration.transaction())
        for number in range(TABLES):
            migration.execute(f"LOCK TABLE t{number} IN ACCESS EXCLUSIVE MODE")
        waiting = [
            stack.enter_context(Database(target, "runbook/bench/rehearse/writer"))
            for _ in range(WAITING)
        ]
        threads = [
            threading.Thread(target=_wait, args=(db, f"UPDATE t{n} SET id = id"))
            for n, db in enumerate(waiting)
        ]
        for thread in threads:
            thread.start()
        yield
        for db, thread in zip(waiting, threads, strict=True):
            db.cancel()
            thread.join()


def measure(target: Target, seconds: float) -> float:
    """Percent of a core while the sampler looks on for some seconds."""
    with timeline.Sampler(
        target, "runbook/bench/rehearse/sampler", "runbook/bench/rehearse/prisma"
    ) as sampler:
        server = psutil.Process(sampler.db.pid)
        time.sleep(0.5)
        before, began = _used(server), time.monotonic()
        time.sleep(seconds)
        used, lasted = _used(server) - before, time.monotonic() - began
    found = sampler.timeline()
    if found.lost or not any(span.what == timeline.WAITS for span in found):
        sys.exit(f"the sampler did not see the queue: {found.finding}")
    if found.looks < 0.9 * lasted / timeline.EVERY_S:
        sys.exit(f"only {found.looks} looks in {lasted:.1f} s")
    return 100 * used / lasted


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sampler-") as folder:
        Path(folder).chmod(0o755)
        server = Server(Path(folder) / "server", {"fsync": "off"}).start()
        try:
            target = Target.parse(server.url())
            with Database(target) as db:
                for number in range(TABLES):
                    db.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY)")
            with queue(target):
                found = [
                    measure(target, 1.0 if options.quick else 10.0)
                    for _ in range(2 if options.quick else 5)
                ]
        finally:
            server.stop()
    median = statistics.median(found)
    print(f"{'':<28}{'median %':>10}{'lowest':>10}{'highest':>10}{'limit':>8}")
    print(
        f"{'ten looks a second, one core':<28}{median:>10.2f}{min(found):>10.2f}"
        f"{max(found):>10.2f}{LIMIT_PERCENT:>8.1f}"
    )
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "figures": {"percent_of_a_core": median},
                    "limits": {"percent_of_a_core": LIMIT_PERCENT},
                },
                indent=2,
            )
            + "\n"
        )
    sys.exit(median > LIMIT_PERCENT)


def _used(server: psutil.Process) -> float:
    times = server.cpu_times()
    return time.process_time() + times.user + times.system


def _wait(db: Database, statement: str) -> None:
    try:
        db.execute(statement)
    except DatabaseError:  # cancelled at the end
        return


if __name__ == "__main__":
    main()
