"""What backup, restore, swap and fingerprints cost, against the seed's own commands on the same
database.

    python benchmarks/backup.py [--quick] [--json FILE]

The database is made here (backup.sql; about 1.5 GB): 300 small tables as applications have them for
lists and settings, and three large ones. `Appointment` is a wide row of every common type with keys
as text, as Prisma makes them, a note of some sentences and a small jsonb; `Measurement` is a narrow
one, read from devices; `ClinicalDocument` holds letters of 13 kB on average, which PostgreSQL
compresses and toasts. It is vacuumed and analysed, as autovacuum would have done.

The plain commands and ours run in turn, several rounds of them, on a server of the embedded
default's settings, which has everything in the system's cache. A ratio is the median of the rounds'
ratios. Where a step is mostly the server's, the ratio of the processors' time (server and both
sides' programs) stands beside it: it suffers less from other load.

Compared are

- `dump`: pg_dump as `dump.make` runs it, with `pg_dump -Fc -v`; `dump_size`: all files of the
  backup with that file. The limits
  are wider where the tools have nothing better than gzip, as those of the embedded default
- `hashes`: what `dump.make` does beyond pg_dump, content, schema and globals, as a part of its
  pg_dump
- `restore`: all of `restore.restore` (hashes verified, database made, pg_restore, privileges,
  ANALYZE) with CREATE DATABASE,
  `pg_restore -Fc -v -d` and `psql -c "ANALYZE;"`
- `fingerprint_count`: `snapshot.take` with `SELECT count(*)` of every table by two sessions, which
  take table after table.
  In a vacuumed database that counts entries of the smallest index and reads no row. The limit of
  3.0 is **out of reach** for
  anything that reads rows: the two floors below it, which hash nothing, count by reading every row,
  and by reading every
  column with all that is toasted
- `fingerprint_text`: the same with `sum(hashtextextended(t::text, 0))` of every table by the same
  sessions
- `swap_s`: all of `swap.swap` with 50 idle sessions in the live database
- `memory_mb`: the most that this process held (RSS; programs that it runs not counted), a backup of
  thousands of tables included
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.postgres import dump, snapshot
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, Target, query
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.restore import restore
from runbook_lib.postgres.swap import swap
from runbook_lib.postgres.tools import Tools, tools

NAME = "benchmark/backup"
SQL = (Path(__file__).parent / "backup.sql").read_text()
FIGURES = {  # name → what is measured of ours, and of the plain commands
    "dump": ("dump", "seed: dump"),
    "dump_size": ("dump, MB", "seed: dump, MB"),
    "hashes": ("hashes", "dump"),
    "restore": ("restore", "seed: restore"),
    "fingerprint_count": ("fingerprint", "count(*)"),
    "floor_rows": ("count rows", "count(*)"),
    "floor_columns": ("read columns", "count(*)"),
    "fingerprint_text": ("fingerprint", "t::text"),
    "swap_s": ("swap", None),
    "memory_mb": ("memory, MB", None),
}
LIMITS = {
    "dump": 0.33,
    "dump_size": 1.0,
    "hashes": 0.10,
    "restore": 0.65,
    "fingerprint_count": 3.0,
    "fingerprint_text": 0.55,
    "swap_s": 1.0,
    "memory_mb": 300.0,
}
ONLY_GZIP = {"dump": 0.40, "dump_size": 1.2}


@dataclass
class Bench:
    """A server with the database on it, and what was measured: name → a value a round."""

    server: Server
    folder: Path
    read: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def target(self, database: str = "clinic") -> Target:
        """One of its databases."""
        return Target.parse(self.server.url(database))

    def admin(self, *statements: str) -> None:
        """Run statements in the maintenance database."""
        with Database(self.target("postgres"), NAME) as db:
            for statement in statements:
                db.execute(statement)

    def timed(self, name: str, work: Callable[[], Any], checkpoint: bool = True) -> Any:
        """Do it right after a checkpoint, and note seconds and processor seconds."""
        if checkpoint:
            self.admin("CHECKPOINT")
        began, busy = time.monotonic(), self._busy()
        result = work()
        self.read[name].append(time.monotonic() - began)
        time.sleep(0.2)  # until the server has counted the sessions that ended
        self.cpu[name].append(self._busy() - busy)
        print(f"  {name}: {self.read[name][-1]:.2f} s", flush=True)
        return result

    def _busy(self) -> float:
        """Seconds that the server, this process and its ended programs have worked."""
        postmaster = psutil.Process(
            int((self.server.data / "postmaster.pid").read_text().split()[0])
        )
        busy = 0.0
        for process in (psutil.Process(), postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):  # it has ended, and its parent has counted it
                busy += sum(process.cpu_times()[:4])
        return busy

    def shell(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, as an operator would type it."""
        done = subprocess.run(
            [BINARIES / program, *arguments],
            env=self.target().environment("operator"),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{program}: {done.stderr[-1000:]}")


@contextmanager
def bench(scale: float, tables: int) -> Iterator[Bench]:
    """The server with its database, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="backup-") as folder:
        Path(folder).chmod(0o755)
        server = Server(Path(folder) / "server", {"max_connections": "100"}).start()
        try:
            made = Bench(server, Path(folder))
            fill(made, scale, tables)
            yield made
        finally:
            server.stop("immediate")


def fill(on: Bench, scale: float, tables: int) -> None:
    """Make the database."""
    first, *rest = SQL.split("\n\n")
    settings = {
        "bench.scale": str(scale),
        "bench.tables": str(tables),
        "maintenance_work_mem": "256MB",
        "synchronous_commit": "off",
    }
    on.admin("CREATE DATABASE clinic TEMPLATE template0")
    with Database(on.target(), NAME, **settings) as db:
        db.execute(first)
        each(on.target(), NAME, 2, rest, lambda session, part: session.execute(part), **settings)
        db.execute("VACUUM ANALYZE")
        print(
            f"made: {db.value('SELECT pg_size_pretty(pg_database_size(current_database()))')}",
            flush=True,
        )


def measure_dump(on: Bench, programs: Tools, number: int) -> Backup:
    """The seed's dump and ours."""
    on.timed(
        "seed: dump",
        lambda: on.shell("pg_dump", "-Fc", "-v", "-f", str(on.folder / f"{number}.dump"), "clinic"),
    )
    on.read["seed: dump, MB"].append((on.folder / f"{number}.dump").stat().st_size / 1e6)
    backup: Backup = on.timed(
        "backup",
        lambda: dump.make(on.target(), on.folder / f"backup{number}", NAME, tools=programs),
    )
    on.read["dump"].append(backup.seconds["dump"])
    on.read["dump, MB"].append(backup.bytes / 1e6)
    on.read["hashes"].append(
        on.read["backup"][-1]
        - sum(backup.seconds[step] for step in ("dump", "content", "schema and globals"))
    )
    return backup


def measure_restore(on: Bench, programs: Tools, backup: Backup, number: int) -> None:
    """The seed's restore and ours, then both swapped and dropped."""

    def seed() -> None:
        on.admin("CREATE DATABASE live TEMPLATE template0")
        on.shell("pg_restore", "-Fc", "-v", "-d", "live", str(on.folder / f"{number}.dump"))
        on.shell("psql", "-c", "ANALYZE;", "live")

    on.timed("seed: restore", seed)
    on.timed("restore", lambda: restore(backup, on.target("restored"), NAME, tools=programs))
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(Database(on.target("live"), NAME))
        on.timed("swap", lambda: swap(on.target("postgres"), "live", "restored", "failed", NAME))
    on.admin("DROP DATABASE live", "DROP DATABASE failed")


def measure_fingerprint(on: Bench) -> None:
    """Counting, reading, fingerprinting."""
    with Database(on.target(), NAME) as db, reading(db):
        tables = sorted(
            db.rows(query("snapshot_relations")),
            key=lambda row: -row["heap_bytes"] - row["toast_bytes"],
        )

    def ask(name: str, statement: Callable[[dict[str, Any]], str], **settings: str) -> None:
        on.timed(
            name,
            lambda: each(
                on.target(), NAME, 2, tables, lambda db, row: db.rows(statement(row)), **settings
            ),
        )

    ask("count(*)", lambda row: f"SELECT count(*) FROM {row['name']}")
    on.timed("fingerprint", lambda: snapshot.take(on.target(), NAME))
    ask("count rows", lambda row: f"SELECT count(*) FROM {row['name']}", enable_indexonlyscan="off")
    ask("read columns", touched)
    ask(
        "t::text",
        lambda row: f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {row['name']} AS t",
    )


def touched(row: dict[str, Any]) -> str:
    """A query that takes every row apart and unpacks each text, and does nothing with it."""
    texts = "".join(
        f""", count(*) FILTER (WHERE {name} COLLATE "C" < '')"""
        for name, kind in zip(row["columns"], row["types"], strict=True)
        if kind == "text"
    )
    return f"SELECT count(num_nulls({', '.join(row['columns'])})){texts} FROM {row['name']}"


def many_tables(on: Bench, programs: Tools, tables: int) -> None:
    """A backup of thousands of tables, for what it takes of this process's memory."""
    on.admin("CREATE DATABASE many TEMPLATE template0")
    with Database(on.target("many"), NAME) as db:
        db.execute(
            f"DO $$ BEGIN FOR n IN 1..{tables} LOOP EXECUTE format('CREATE TABLE t%s (id int "
            "PRIMARY KEY, name text, at timestamptz)', n); "
            "COMMIT; END LOOP; END $$"
        )  # each by itself: all at once would need a lock on each
    on.timed(
        f"backup of {tables} tables",
        lambda: dump.make(on.target("many"), on.folder / "many", NAME, tools=programs),
    )


@contextmanager
def memory(into: list[float]) -> Iterator[None]:
    """Watch this process, and note the most that it held in MB."""
    done, seen, process = threading.Event(), [0], psutil.Process()

    def watch() -> None:
        while not done.wait(0.02):
            seen[0] = max(seen[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    into.append(seen[0] / 1e6)


def ratios(ours: list[float], theirs: list[float] | None) -> list[float]:
    """Round by round; the values themselves where there is nothing to compare with."""
    return [a / b for a, b in zip(ours, theirs, strict=True)] if theirs else ours


def report(on: Bench, limits: dict[str, float]) -> dict[str, float]:
    """Print the table; the figures."""
    print(f"\n{'figure':<19}{'ours':>25}{'plain':>25}{'ratio':>21}{'CPU ratio':>11}{'limit':>7}")
    figures = {}
    for name, (ours, theirs) in FIGURES.items():
        found = ratios(on.read[ours], on.read[theirs] if theirs else None)
        figures[name] = statistics.median(found)
        busy = (
            f"{statistics.median(ratios(on.cpu[ours], on.cpu[theirs])):.2f}"
            if theirs and {ours, theirs} <= on.cpu.keys()
            else ""
        )
        missed = "  missed" if figures[name] > limits.get(name, figures[name]) else ""
        print(
            f"{name:<19}{spread(on.read[ours], 2):>25}"
            f"{spread(on.read[theirs], 2) if theirs else '':>25}"
            f"{spread(found, 3) if theirs else '':>21}{busy:>11}{limits.get(name, '–'):>7}{missed}"
        )
    return figures


def spread(values: list[float], digits: int) -> str:
    """The median of some values, with the smallest and the largest."""
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}–{high})"


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small database, to see that it works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    scale, tables, rounds, many = (0.004, 20, 1, 50) if options.quick else (1, 300, 3, 4000)
    with bench(scale, tables) as on:
        with memory(on.read["memory, MB"]):
            programs = tools(on.target(), BINARIES)
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", flush=True)
                measure_restore(on, programs, measure_dump(on, programs, number), number)
                measure_fingerprint(on)
            many_tables(on, programs, many)
        limits = LIMITS | (ONLY_GZIP if programs.compression().startswith("gzip") else {})
        figures = report(on, limits)
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "limits": limits}, indent=2) + "\n")
    sys.exit(any(figures[name] > limit for name, limit in limits.items()))


if __name__ == "__main__":
    main()
