"""What a plan costs where much is to be read: 500 pending files against a catalogue of 5,000
tables.

    python benchmarks/plan.py [--quick] [--json FILE]

Makes its own server and tables, reads the catalogue, and reviews files that alter, index and
constrain those tables. The review runs in a process of its own, whose largest memory is measured.
Beside each figure stands what the plain commands take: `pg_dump --schema-only` for the catalogue,
squawk alone for the review.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import client, questions, review, squawk
from runbook_lib.prisma.history import MigrationFile

LIMITS = {"catalogue_s": 2.0, "review_s": 10.0, "review_mb": 500.0}
STATEMENTS = 6
"""In each file."""
TABLE = """CREATE TABLE "Table{n}" ("id" TEXT NOT NULL, "name" TEXT NOT NULL, "email" VARCHAR(80),
     "amount" DECIMAL(8,2) NOT NULL DEFAULT 0,
 "parentId" TEXT, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
     CONSTRAINT "Table{n}_pkey" PRIMARY KEY ("id"));
CREATE INDEX "Table{n}_name_idx" ON "Table{n}"("name");
ALTER TABLE "Table{n}" ADD CONSTRAINT "Table{n}_parentId_fkey" FOREIGN KEY ("parentId")
    REFERENCES "Table{m}"("id") ON DELETE SET NULL;
"""
FILE = """-- AlterTable
ALTER TABLE "Table{n}" ADD COLUMN "channel" TEXT NOT NULL DEFAULT 'PHONE';
ALTER TABLE "Table{n}" ALTER COLUMN "email" SET NOT NULL;
-- CreateIndex
CREATE UNIQUE INDEX "Table{n}_email_key" ON "Table{n}"("email");
-- CreateTable
CREATE TABLE "New{n}" ("id" TEXT NOT NULL, "tableId" TEXT NOT NULL,
 CONSTRAINT "New{n}_pkey" PRIMARY KEY ("id"));
-- AddForeignKey
ALTER TABLE "New{n}" ADD CONSTRAINT "New{n}_tableId_fkey" FOREIGN KEY ("tableId")
 REFERENCES "Table{n}"("id") ON DELETE CASCADE ON UPDATE CASCADE;
UPDATE "Table{n}" SET "name" = 'fictitious' WHERE "name" = '';
"""


def fill(db: Database, tables: int) -> None:
    """The tables, in transactions that the server's lock table has room for."""
    for start in range(0, tables, 250):
        db.execute(
            "".join(
                TABLE.format(n=n, m=max(0, n - 1)) for n in range(start, min(start + 250, tables))
            )
        )
    db.execute("ANALYZE")


def files(folder: Path, count: int) -> list[MigrationFile]:
    """The pending files."""
    for n in range(count):
        path = folder / f"{20260101000000 + n}_change_{n}" / "migration.sql"
        path.parent.mkdir()
        path.write_text(FILE.format(n=n))
    return [MigrationFile.read(path) for path in sorted(folder.glob("*/migration.sql"))]


def times(work: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each repetition."""
    taken = []
    for _ in range(repeats):
        began = time.monotonic()
        work()
        taken.append(time.monotonic() - began)
    return taken


def reviewing(work: Path, folder: Path, repeats: int) -> None:
    """In a process of its own: review, questions on the data, breaks of the client; seconds and
    megabytes to the output.
    """
    objects = pickle.loads(work.read_bytes())

    def once() -> None:
        pending = [MigrationFile.read(path) for path in sorted(folder.glob("*/migration.sql"))]
        found = review.review(pending, catalog=objects)
        assert len(found.statements) == STATEMENTS * len(pending) and not found.lint_problems, (
            found.lint_problems
        )
        assert len(questions.questions(found.statements, objects)) == 2 * len(pending)
        client.breaks(client.of_catalog(objects), found.statements, objects)

    taken = times(once, repeats)
    print(
        json.dumps(
            {"seconds": taken, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        )
    )


def measure(
    tables: int, pending: int, repeats: int
) -> tuple[list[tuple[str, list[float], list[float]]], float]:
    """The catalogue and the review, ours and the plain command's, and the megabytes of the
    review.
    """
    with tempfile.TemporaryDirectory(prefix="plan-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "migrations").mkdir()
        made = files(folder / "migrations", pending)
        server = Server(
            folder / "server",
            {"fsync": "off", "full_page_writes": "off", "max_locks_per_transaction": "1024"},
        ).start()
        try:
            target = Target.parse(server.url())
            with Database(target, "benchmark") as db:
                fill(db, tables)
                read = times(lambda: catalog.read(db), repeats)
                (folder / "catalogue").write_bytes(pickle.dumps(catalog.read(db).objects))
            dumped = times(
                lambda: subprocess.run(
                    [str(BINARIES / "pg_dump"), "--schema-only"],
                    env=target.environment("benchmark"),
                    check=True,
                    stdout=subprocess.DEVNULL,
                ),
                repeats,
            )
        finally:
            server.stop()
        done = subprocess.run(
            [
                sys.executable,
                __file__,
                "--review",
                str(folder / "catalogue"),
                str(folder / "migrations"),
                str(repeats),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        ours = json.loads(done.stdout)
        linted = times(
            lambda: squawk.lint([file.path for file in made], review.TransactionRule.WHOLE_FILE),
            repeats,
        )
    return [("catalogue", read, dumped), ("review", ours["seconds"], linted)], ours["mb"]


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="few tables and files, to see that it works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--review", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.review:
        reviewing(Path(options.review[0]), Path(options.review[1]), int(options.review[2]))
        return
    tables, pending, repeats = (50, 5, 1) if options.quick else (5_000, 500, 5)
    found, mb = measure(tables, pending, repeats)
    figures = {f"{name}_s": statistics.median(ours) for name, ours, _ in found} | {"review_mb": mb}
    print(
        f"{tables} tables, {pending} pending files of {pending * STATEMENTS} statements; "
        f"{repeats} times each"
    )
    print(f"{'':<12}{'median s':>10}{'spread s':>16}{'plain s':>10}{'ratio':>8}{'limit s':>9}")
    for name, ours, plain in found:
        middle, other = statistics.median(ours), statistics.median(plain)
        print(
            f"{name:<12}{middle:>10.2f}{f'{min(ours):.2f}–{max(ours):.2f}':>16}{other:>10.2f}"
            f"{middle / other:>8.2f}{LIMITS[f'{name}_s']:>9.1f}"
        )
    print(f"largest memory of the review: {mb:.0f} MB (limit {LIMITS['review_mb']:.0f} MB)")
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=2) + "\n")
    sys.exit(any(figures[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
