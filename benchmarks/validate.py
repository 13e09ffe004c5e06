"""What the validation of a database costs, against the plain commands on the same database.

    python benchmarks/validate.py [--quick] [--json FILE]

The database is that of `backup.py` (about 1.5 GB), with the tables that its keys refer to and five
foreign keys: text to text, uuid to uuid and int to int, of 60,000 to 4,000,000 rows. The validation
is all that `70_validate` asks the database, of an unchanged one: the schema, foreign keys, content,
statistics, views, enums, constraints, collations. The Prisma CLI and the application are not in it:
what they take has nothing to do with the size of the database.

The plain commands and ours run in turn, several rounds of them; a ratio is the median of the
rounds' ratios. Beside it stands that of the processors' time of server and client (or its seconds):
it suffers less from other load. Compared are

- `orphans`: `integrity.foreign_keys` with `ALTER TABLE … VALIDATE CONSTRAINT` of the same keys, one
  after the other, as psql would
- `orphans_one`: the same by one session alone
- `validation`: with `SELECT count(*)` of every table, one after the other, as psql would, in a
  vacuumed database: that counts entries of
  the smallest index, by PostgreSQL's own parallel workers, and reads no row. The limit of 5.0 is
  **out of reach** while every value of
  every row is compared: `content`, the fingerprints alone, is above it
- `validation_restored`, `content_restored`: the same in a database that was restored and analysed:
  there count(*) has to read the rows
- `snapshot_300_s`, `snapshot_5000_s`: seconds of catalogue and statistics with so many tables;
  `compare_5000_s`: of comparing two such
  catalogues, and two such contents

Above the table stand the seconds of each step of the validation, in either database.
"""

from __future__ import annotations

import argparse
import json
import statistics as median
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backup import NAME, Bench, bench, ratios, spread
from plan import TABLE

from runbook_lib.demo.embedded import BINARIES
from runbook_lib.phases import declared
from runbook_lib.phases.checks import structure_checks
from runbook_lib.phases.data import changed_tables, data_checks
from runbook_lib.postgres import catalog, dump, integrity, planner, snapshot, statistics
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.restore import restore
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma.declared import Declared

KNOWN = ("data.enums.schema", "data.constraints")
"""Checks that find something here: there is no schema file, and the keys are NOT VALID for the
comparison with VALIDATE.
"""
FIGURES = {  # name → what is measured of ours, and of the plain commands
    "orphans": ("foreign keys", "VALIDATE"),
    "orphans_one": ("foreign keys, one session", "VALIDATE"),
    "validation": ("validation", "count(*)"),
    "content": ("clinic: content", "count(*)"),
    "validation_restored": ("validation, restored", "count(*), restored"),
    "content_restored": ("restored: content", "count(*), restored"),
    "snapshot_300_s": ("snapshot 300", None),
    "snapshot_5000_s": ("snapshot 5000", None),
    "compare_5000_s": ("compare 5000", None),
}
LIMITS = {
    "orphans": 0.65,
    "validation": 5.0,
    "snapshot_300_s": 0.3,
    "snapshot_5000_s": 2.0,
    "compare_5000_s": 1.0,
}
KEYS = {
    "Appointment": ('"patientId"', '"Patient" (id)'),
    "Appointment ": ('"providerId"', '"Provider" (id)'),
    "Measurement": ('"patientId"', '"Patient" (key)'),
    "Measurement ": ('"deviceId"', '"Device" (id)'),
    "ClinicalDocument": ('"patientId"', '"Patient" (id)'),
}
REFERRED = """
CREATE TABLE "Patient" (id text PRIMARY KEY, key uuid UNIQUE NOT NULL);
INSERT INTO "Patient" SELECT k, k FROM (SELECT md5('p' || g)::uuid AS k
    FROM generate_series(-59999, 59999) AS g) AS p;
CREATE TABLE "Provider" (id text PRIMARY KEY);
INSERT INTO "Provider" SELECT md5('d' || g)::uuid FROM generate_series(0, 399) AS g;
CREATE TABLE "Device" (id int PRIMARY KEY);
INSERT INTO "Device" SELECT generate_series(0, 4999)
"""
NOTHING: dict[str, Any] = {"changes": [], "rows": {}, "tables": [], "unclear": []}


def refer(db: Database) -> None:
    """The foreign keys, as if nobody had validated them."""
    for number, (table, (columns, referred)) in enumerate(KEYS.items()):
        db.execute(f'ALTER TABLE "{table.strip()}" DROP CONSTRAINT IF EXISTS fk{number}')
        db.execute(
            f'ALTER TABLE "{table.strip()}" ADD CONSTRAINT fk{number} FOREIGN KEY ({columns}) '
            f"REFERENCES {referred} NOT VALID"
        )


def orphans(on: Bench) -> None:
    """Ours by two sessions and by one, then VALIDATE."""
    with Database(on.target(), NAME) as db:
        refer(db)
        on.timed("foreign keys", lambda: integrity.foreign_keys(db))
        on.timed("foreign keys, one session", lambda: integrity.foreign_keys(db, jobs=1))
        on.timed(
            "VALIDATE",
            lambda: [
                db.execute(f'ALTER TABLE "{table.strip()}" VALIDATE CONSTRAINT fk{number}')
                for number, table in enumerate(KEYS)
            ],
        )


def state(on: Bench, database: str) -> tuple[catalog.Catalog, snapshot.Snapshot]:
    """What the runbook knows of the moment before, as evidence files have it."""
    with Database(on.target(database), NAME) as db:
        before = catalog.read(db).as_dict(), snapshot.take(on.target(database), NAME).as_dict()
    objects, content = json.loads(json.dumps(before))
    return catalog.Catalog.from_dict(objects), snapshot.Snapshot.from_dict(content)


def validate(on: Bench, database: str, before: tuple[catalog.Catalog, snapshot.Snapshot]) -> None:
    """All that 70_validate asks the database; ends the benchmark where anything is found."""
    target = on.target(database)

    def part(name: str, work: Callable[[], Any]) -> Any:
        return on.timed(f"{database}: {name}", work, checkpoint=False)

    with Database(target, NAME) as db:
        found = [
            *part("structure", lambda: structure_checks(db)),
            *part("foreign keys", lambda: integrity.foreign_keys(db).checks()),
        ]
        changes = part("catalogue", lambda: catalog.difference(before[0], catalog.read(db)))
        now = part("content", lambda: declared.taken_again(before[1], target, NAME))
        content = part("comparison", lambda: declared.compare(before[1], now, NOTHING))
        found += [
            *content.checks(),
            *part("analyze", lambda: planner.statistics_checks(target, NAME, 2)),
            *part(
                "data",
                lambda: data_checks(db, changed_tables(content), Declared.from_dict(NOTHING), None),
            ),
        ]
        part("counters", lambda: statistics.read(db))
    wrong = [one for one in found if one.status.value != "passed" and one.id not in KNOWN]
    if wrong or not changes.empty:
        sys.exit(f"the database did not change, and yet: {wrong} {changes}")


def count(on: Bench, database: str) -> None:
    """`SELECT count(*)` of every table, one after the other."""
    with Database(on.target(database), NAME) as db:
        for table in catalog.read(db).names("table"):
            db.value(f"SELECT count(*) FROM {table}")


def snapshots(on: Bench, database: str, tables: int) -> catalog.Catalog:
    """Catalogue and statistics of a database, the second time in a session, as the server's
    caches are at night.
    """
    with Database(on.target(database), NAME) as db:
        catalog.read(db)
        found: catalog.Catalog = on.timed(
            f"snapshot {tables}", lambda: (catalog.read(db), statistics.read(db))
        )[0]
    return found


def many_tables(on: Bench, tables: int) -> None:
    """A database with thousands of tables, as Prisma makes them."""
    on.admin("CREATE DATABASE many TEMPLATE template0")
    with Database(on.target("many"), NAME) as db:
        for first in range(0, tables, 50):
            db.execute(
                "".join(
                    TABLE.format(n=number, m=max(0, number - 1))
                    for number in range(first, min(first + 50, tables))
                )
            )
        db.execute("VACUUM ANALYZE")


def compare(on: Bench, found: catalog.Catalog) -> None:
    """Two states of thousands of tables, catalogue and content."""
    objects, content = state(on, "many")
    changes, compared = on.timed(
        "compare 5000", lambda: (catalog.difference(objects, found), content.compare(content))
    )
    assert changes.empty and compared.identical


def one_round(on: Bench) -> None:
    """All of it once."""
    orphans(on)
    for database, suffix in (("clinic", ""), ("restored", ", restored")):
        before = state(on, database)
        on.timed(f"count(*){suffix}", lambda database=database: count(on, database))
        on.timed(
            f"validation{suffix}",
            lambda database=database, before=before: validate(on, database, before),
        )
    snapshots(on, "clinic", 300)
    compare(on, snapshots(on, "many", 5000))


def report(on: Bench) -> dict[str, float]:
    """Print the tables; the figures."""
    for name, values in on.read.items():
        if name.startswith(("clinic: ", "restored: ")):
            print(f"{name:<28}{spread(values, 2):>22} s, CPU {spread(on.cpu[name], 2)} s")
    print(f"\n{'figure':<22}{'ours, s':>22}{'plain, s':>22}{'ratio':>20}{'CPU':>7}{'limit':>7}")
    figures = {}
    for name, (ours, theirs) in FIGURES.items():
        found = ratios(on.read[ours], on.read[theirs] if theirs else None)
        figures[name] = median.median(found)
        busy = median.median(ratios(on.cpu[ours], on.cpu[theirs] if theirs else None))
        missed = "  missed" if figures[name] > LIMITS.get(name, figures[name]) else ""
        print(
            f"{name:<22}{spread(on.read[ours], 2):>22}"
            f"{spread(on.read[theirs], 2) if theirs else '':>22}"
            f"{spread(found, 2) if theirs else '':>20}{busy:>7.2f}"
            f"{LIMITS.get(name, '–'):>7}{missed}"
        )
    return figures


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
    scale, tables, rounds, many = (0.004, 20, 1, 60) if options.quick else (1, 297, 3, 5000)
    with bench(scale, tables) as on:
        with Database(on.target(), NAME) as db:
            db.execute(REFERRED)
            db.execute("VACUUM ANALYZE")
            refer(db)
        made = dump.make(
            on.target(), on.folder / "backup", NAME, tools=tools(on.target(), BINARIES)
        )
        restore(made, on.target("restored"), NAME, tools=tools(on.target(), BINARIES))
        many_tables(on, many)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            one_round(on)
        figures = report(on)
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=2) + "\n")
    sys.exit(any(figures[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
