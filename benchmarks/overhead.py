"""What the runbook adds to the plain commands that an operator would type, phase by phase, on the
same database.

    python benchmarks/overhead.py [--quick] [--json FILE]

The embedded platform is made twice, alike. On the first the seed's procedure is run as plain
commands (and, for the rehearsal and the proof, which the seed asks for without giving commands, the
commands that do the same work); on the second the runbook takes the same migration through the same
phases. Both are timed as wall clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from runbook_lib import execute
from runbook_lib.demo.embedded import BINARIES
from runbook_lib.demo.platform import DATABASE, DEPLOYED, Platform
from runbook_lib.phases.start import start_run
from runbook_lib.postgres.connection import Target
from runbook_lib.run import PHASES

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 2.5
"""Seconds that the runbook may add to a phase, on average over the phases."""
MOVING = 2.0
"""Seconds that 50_announce watches for writes: the seed's "verify all sessions are cleared" as an
operator would wait.
"""

psql, dump, restore = (str(BINARIES / name) for name in ("psql", "pg_dump", "pg_restore"))


def commands(platform: Platform, scratch: Path) -> dict[str, list[str]]:
    """The plain commands of each phase, as shell lines."""
    url, project = platform._read("service_url"), platform.project
    token = platform._read("api_token")
    prisma, fetch = "node_modules/.bin/prisma", "curl -fsS -o /dev/null"
    made = f"{scratch}/dump"
    copies = [
        f"{psql} -qc 'CREATE DATABASE copy TEMPLATE template0' postgres",
        f"{restore} -e -j2 -d copy {made}",
        f"{psql} -qc ANALYZE copy",
    ]
    count = (
        f"""{psql} -qc 'SELECT count(*) FROM "User"' -c 'SELECT count(*) """
        """FROM "Appointment"' -c 'SELECT count(*) FROM "Subscription"'"""
    )
    deploy_copy = 'DATABASE_URL="${DATABASE_URL%/*}/copy" ' + f"{prisma} migrate deploy"
    pending = sorted(
        path.name for path in (project / "prisma" / "migrations").iterdir() if path.is_dir()
    )[DEPLOYED:]
    measure = [
        f"{psql} -qc 'CREATE DATABASE measured TEMPLATE copy' postgres",
        f"{deploy_copy.replace('deploy', 'status')} || true",
        *(f"{psql} -q -f prisma/migrations/{name}/migration.sql measured" for name in pending),
        f"{psql} -qc 'DROP DATABASE measured' postgres",
    ]
    fail = [
        line
        for name in pending[:2]
        for line in (  # the third is one statement: there is nothing to try
            f"{psql} -qc 'CREATE DATABASE failing TEMPLATE copy' postgres",
            f"mkdir {scratch}/{name}",
            f"cp -r prisma prisma.config.ts package.json {scratch}/{name} && ln -s "
            f"$PWD/node_modules {scratch}/{name}/node_modules",
            f"echo 'SELECT 1/0;' >> {scratch}/{name}/prisma/migrations/{name}/migration.sql",
            f'cd {scratch}/{name} && DATABASE_URL="${{DATABASE_URL%/*}}/failing" {prisma} migrate '
            "deploy || true",
            f"{psql} -qc 'DROP DATABASE failing' postgres",
        )
    ]
    return {
        "start": [f"{prisma} --version"],
        "plan": [f"{prisma} migrate status || true", "cat prisma/migrations/*/migration.sql"],
        "rehearse": [
            f"{dump} -Fd -j2 -Z1 -f {made}",
            *copies,
            *measure,
            *fail,
            deploy_copy,
            f"{psql} -qc 'DROP DATABASE copy' postgres",
            *copies,
            f"{psql} -qc 'DROP DATABASE copy' postgres",
            f"rm -r {made}",
        ],
        "backup": [
            f"{dump} -Fd -j2 -Z1 -v -f {made}",
            f"{restore} --list {made}",
            f"{BINARIES}/pg_dumpall --globals-only",
            f"{dump} -s",
            f"{psql} -qc '\\dt+'",
            count,
            *copies,
            f"{psql} -qc 'DROP DATABASE copy' postgres",
            f"sha256sum {made}/*",
        ],
        "preflight": [
            f"{psql} -qc 'SELECT 1'",
            "df -h",
            f"{fetch} {url}/health",
            "npm run --silent db:validate",
        ],
        "announce": [
            "npm run --silent maintenance:on",
            f"{fetch} {url}/health",
            f"{psql} -qc 'SELECT * FROM pg_stat_activity'",
            f"sleep {MOVING}",
        ],
        "migrate": [
            "npm run --silent db:validate",
            f"{prisma} validate",
            f"{prisma} migrate status || true",
            f"{prisma} migrate deploy",
            f"{prisma} migrate status",
            f"{prisma} db pull --print",
            f"{prisma} format",
            f"{prisma} validate",
            f"{prisma} generate",
            "npm run --silent api:restart",
            f"{fetch} {url}/health",
        ],
        "validate": [
            f"{prisma} migrate status",
            f"{prisma} validate",
            "npm run --silent db:validate",
            count,
            f"{psql} -qc 'SELECT * FROM pg_indexes' -c 'SELECT * "
            "FROM pg_stat_user_tables' -c ANALYZE -c 'SELECT * FROM pg_constraint'",
            f"{fetch} {url}/health",
            *(
                f"{fetch} -H 'Authorization: Bearer {token}' {url}/api/v1/{path}"
                for path in ("users/me", "appointments")
            ),
            f"grep -c ERROR {project}/logs/application.log || true",
        ],
        "close": ["npm run --silent maintenance:off", f"{fetch} {url}/health"],
    }


def plain(platform: Platform) -> dict[str, float]:
    """Seconds a phase, by plain commands."""
    url = platform.server.url(
        DATABASE
    )  # as superuser, for `pg_restore -e` stops at others' extensions
    typed = Target.parse(url).environment("operator")
    named = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
    environment = {
        **platform.environment,
        **{name: typed[name] for name in named if name in typed},
        "DATABASE_URL": url,
    }
    with tempfile.TemporaryDirectory() as scratch:
        return {
            phase: _timed(lambda lines=lines: _run(lines, platform.project, environment))
            for phase, lines in commands(platform, Path(scratch)).items()
        }


def runbook(platform: Platform) -> dict[str, float]:
    """Seconds a phase, by the runbook: each notebook from the start of its kernel to the saved
    archive.
    """
    run = start_run(platform.values)
    seconds = {}
    for phase in PHASES:
        began = time.monotonic()
        done = execute.execute(run, phase, lambda line: None)
        seconds[phase] = time.monotonic() - began
        if done.status != "succeeded":
            sys.exit(f"{phase} {done.status}: {done.error}; see {done.notebook}")
    return seconds


def world(folder: Path, rows: int) -> Platform:
    """A platform in a folder of its own, up."""
    values = yaml.safe_load(
        (ROOT / "params" / "demo.yaml").read_text().replace(".demo/", f"{folder}/demo/")
    )
    values["environment"]["archive"] = str(folder / "archive")
    values["demo"].update(folder=str(folder / "demo"), rows=rows)
    platform = Platform.of(values)
    platform.up(lambda line: None, fresh=True)
    return platform


def measure(rows: int) -> tuple[dict[str, float], dict[str, float]]:
    """Both ways, each on a platform of its own."""
    results = []
    for way in (plain, runbook):
        with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
            Path(folder).chmod(0o755)
            platform = world(Path(folder), rows)
            try:
                results.append(way(platform))
            finally:
                platform.down(lambda line: None)
    return results[0], results[1]


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
    by_hand, by_runbook = measure(2_000 if options.quick else 200_000)
    print(f"{'phase':<12}{'commands s':>12}{'runbook s':>12}{'ratio':>8}{'added s':>10}")
    for phase in PHASES:
        print(_row(phase, by_hand[phase], by_runbook[phase]))
    print(_row("all", sum(by_hand.values()), sum(by_runbook.values())))
    added = (sum(by_runbook.values()) - sum(by_hand.values())) / len(PHASES)
    print(f"added a phase: {added:.2f} s (limit {LIMIT_S} s)")
    if options.json:
        figures = {
            "added_s_per_phase": added,
            "ratio": sum(by_runbook.values()) / sum(by_hand.values()),
        }
        options.json.write_text(
            json.dumps({"figures": figures, "limits": {"added_s_per_phase": LIMIT_S}}, indent=2)
            + "\n"
        )
    sys.exit(added > LIMIT_S)


def _row(name: str, hand: float, ours: float) -> str:
    return f"{name:<12}{hand:>12.2f}{ours:>12.2f}{ours / hand:>8.2f}{ours - hand:>10.2f}"


def _timed(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _run(lines: list[str], folder: Path, environment: dict[str, str]) -> None:
    import os

    for line in lines:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{line}: {done.stderr[-1000:]}")


if __name__ == "__main__":
    main()
