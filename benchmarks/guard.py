"""How fast the guard reacts, and what the watch costs.

    python benchmarks/guard.py [--quick] [--json FILE]

Reaction: a forgotten transaction holds a table, the real Prisma CLI waits for it, somebody queues
behind. Measured is the time from the moment at which that somebody has waited longer than the
parameters allow to the moment at which the migration's session is gone from `pg_stat_activity`, at
the default sampling. Cost: processor time of the watching thread's process and of its session's
server process, and the memory of both, while a migration runs and others wait.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from runbook_lib import params
from runbook_lib.demo import node
from runbook_lib.demo.embedded import Server
from runbook_lib.demo.platform import SAMPLE
from runbook_lib.errors import DatabaseError
from runbook_lib.phases.base import identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.watch import Watch
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma.cli import MigrationFailed, deploy
from runbook_lib.run import create

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 0.3
"""Seconds that the one victim may wait."""
LIMITS = {"reaction_max_s": 1.5, "watch_cpu_percent": 2.0, "watch_memory_mb": 50.0}
SCHEMA = (
    'generator client {\n  provider = "prisma-client"\n  output = "../generated"\n'
    "}\n\n"
    'datasource db {\n  provider = "postgresql"\n'
    "}\n"
)
WAITS = (
    "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted "
    "AND application_name LIKE '%/migrate/prisma'"
)
OVER = (
    "SELECT extract(epoch FROM waitstart)::float8 FROM pg_locks JOIN pg_stat_activity "
    "USING (pid) WHERE NOT granted AND application_name = 'victim'"
)
THERE = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%/migrate/prisma'"


def phase(folder: Path, server: Server) -> Migrate:
    """The migrate phase of a run with one small pending migration, after a first one that made
    its table.
    """
    project = folder / "project"
    first, pending = (
        project / "prisma" / "migrations" / name
        for name in ("20260101000000_init", "20260102000000_next")
    )
    first.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "prisma.config.ts"):
        shutil.copy(SAMPLE / name, project / name)
    (project / "node_modules").symlink_to(SAMPLE / "node_modules")
    (project / "prisma" / "schema.prisma").write_text(SCHEMA)
    (first.parent / "migration_lock.toml").write_text('provider = "postgresql"\n')
    (first / "migration.sql").write_text("CREATE TABLE t (id integer);\n")
    (folder / "url").write_text(server.url())
    values: dict[str, Any] = {
        "environment": {"name": "benchmark", "archive": str(folder / "archive")},
        "engineer": "Benchmark",
        "database": {"url": f"file:{folder / 'url'}"},
        "prisma": {
            "project": str(project),
            "engine": "offline",
            "environment": {"OFFLINE_ENGINE_TRANSACTIONS": "file"},
        },
        "backup": {"directory": str(folder / "backups")},
        "migrate": {"lock_timeout_s": 60.0, "guard": {"victims": 0, "wait_s": WAIT_S}},
    }
    params.parse(values)
    with session(server, "setup") as db:
        made = Migrate(create(values, [pending.name], identify(db)))
        deploy(made.project, made.prisma_url, timeout_s=60)
    pending.mkdir()
    (pending / "migration.sql").write_text("ALTER TABLE t ADD COLUMN a integer;\n")
    return made


def session(server: Server, name: str) -> Database:
    """A session of somebody else's."""
    return Database(Target.parse(server.url()), name)


@contextmanager
def busy(server: Server, statement: str, name: str) -> Iterator[None]:
    """Somebody's statement, which waits; cancelled at the end."""
    db = session(server, name)

    def run() -> None:
        with suppress(DatabaseError):  # it is cancelled
            db.execute(statement)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        db.cancel()
        thread.join()
        db.close()


def seen(db: Database, question: str, wanted: bool = True) -> Any:
    """The first value of a question, once it has a row; or, not `wanted`, once it has none."""
    deadline = time.monotonic() + 30
    while bool(rows := db.rows(question)) != wanted:
        if time.monotonic() > deadline:
            sys.exit(f"this did not happen: {question}")
        time.sleep(0.002)
    return next(iter(rows[0].values())) if rows else None


def reaction(server: Server, migrate: Migrate) -> float:
    """Seconds from the victim's wait being too long to the end of the migration's session, once."""
    with ExitStack() as stack:
        holder, observer = (
            stack.enter_context(session(server, name)) for name in ("holder", "observer")
        )
        observer.execute('DELETE FROM "_prisma_migrations" WHERE finished_at IS NULL')
        stack.enter_context(holder.transaction())
        holder.execute("SELECT * FROM t")
        ended: list[float] = []

        def observe() -> None:
            seen(observer, WAITS)
            with busy(server, "SELECT * FROM t", "victim"):
                over = seen(observer, OVER) + WAIT_S
                seen(observer, THERE, wanted=False)
                ended.append(
                    observer.value("SELECT extract(epoch FROM clock_timestamp())::float8") - over
                )

        thread = threading.Thread(target=observe)
        thread.start()
        with Watch(migrate) as watch, suppress(MigrationFailed):  # which is the point
            deploy(migrate.project, migrate.prisma_url, timeout_s=60)
        thread.join()
        if not ended or len(watch.guard.decisions) != 1:
            sys.exit(f"the guard decided {len(watch.guard.decisions)} times")
        return ended[0]


def cost(folder: Path, seconds: float) -> dict[str, float]:
    """Processor time in percent of one core, and memory, of a process that does nothing but
    watch, and of its server process.
    """
    watcher = subprocess.Popen(
        [sys.executable, __file__, "--watch", str(folder / "archive")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watcher.stdout
        before, pid = (
            json.loads(watcher.stdout.readline())["rss"],
            int(json.loads(watcher.stdout.readline())["backend"]),
        )
        both = psutil.Process(watcher.pid), psutil.Process(pid)
        used, began = sum(_cpu(one) for one in both), time.monotonic()
        time.sleep(seconds)
        percent = 100 * (sum(_cpu(one) for one in both) - used) / (time.monotonic() - began)
        memory = both[0].memory_info().rss - before + both[1].memory_full_info().uss
        return {"watch_cpu_percent": percent, "watch_memory_mb": memory / 2**20}
    finally:
        watcher.terminate()
        watcher.wait()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def watch_only(archive: Path) -> None:
    """What `cost` measures: first says its memory without the watch, then who serves it, then
    watches until it is ended.
    """
    from runbook_lib.run import newest

    run = newest(archive)
    assert run
    migrate = Migrate(run)
    say = lambda **facts: print(json.dumps(facts), flush=True)  # noqa: E731
    say(rss=psutil.Process().memory_info().rss)
    migrate.say = lambda text: None  # type: ignore[method-assign]  # where the lines go is not the watch's
    with Watch(migrate), Database(migrate.target, "asking") as db:
        time.sleep(2)  # its first lines: from here on it keeps its session
        say(
            backend=seen(
                db, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%/migrate-watch'"
            )
        )
        threading.Event().wait()


def measure(tries: int, seconds: float) -> tuple[list[float], dict[str, float]]:
    """All reactions, and the cost beside ten who wait behind a migration that waits."""
    node.use()
    with tempfile.TemporaryDirectory(prefix="guard-") as text, ExitStack() as stack:
        folder = Path(text)
        folder.chmod(0o755)
        server = Server(folder / "postgres", {"fsync": "off"}).start()
        stack.callback(server.stop)
        migrate = phase(folder, server)
        migrate.say = lambda text: None  # type: ignore[method-assign]
        reactions = [reaction(server, migrate) for _ in range(tries)]
        holder = stack.enter_context(session(server, "holder"))
        stack.enter_context(holder.transaction())
        holder.execute("SELECT * FROM t")
        stack.enter_context(
            busy(server, "ALTER TABLE t ADD COLUMN b integer", "somebody/migrate/prisma")
        )
        for number in range(10):
            stack.enter_context(busy(server, "SELECT * FROM t", f"victim {number}"))
        return reactions, cost(folder, seconds)


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few tries, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch_only(options.watch)
    reactions, figures = measure(*((3, 3.0) if options.quick else (50, 30.0)))
    cuts = {
        "min": min(reactions),
        "median": statistics.median(reactions),
        "p90": statistics.quantiles(reactions, n=10, method="inclusive")[-1],
        "max": max(reactions),
    }
    figures = {f"reaction_{name}_s": value for name, value in cuts.items()} | figures
    print(
        f"{len(reactions)} reactions, seconds: "
        + "  ".join(f"{name} {value:.2f}" for name, value in cuts.items())
    )
    for low in (tenth / 10 for tenth in range(int(max(reactions) * 10) + 1)):
        count = sum(low <= value < low + 0.1 for value in reactions)
        print(f"  {low:.1f}–{low + 0.1:.1f}  {count:>3}  {'█' * count}")
    print(f"\n{'figure':<22}{'measured':>10}{'limit':>8}")
    for name, limit in LIMITS.items():
        print(f"{name:<22}{figures[name]:>10.2f}{limit:>8g}")
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=2) + "\n")
    sys.exit(any(figures[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
