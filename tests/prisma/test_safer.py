"""The safer ways that findings offer, run on real servers as a person would run them: piece by
piece, alone where it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pglast.parser import parse_sql

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import Severity, review

SCHEMA = """
    DROP SCHEMA public CASCADE; CREATE SCHEMA public;
    CREATE TABLE "Clinic" (id int PRIMARY KEY);
    CREATE TABLE big (id int PRIMARY KEY, name text, old text, "clinicId" int, n int);
    CREATE INDEX big_name_idx ON big (name);
    CREATE TABLE bare (id int NOT NULL, v int);
    CREATE TABLE part (id int, k int) PARTITION BY LIST (k);
    CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
    CREATE TABLE "Part2" PARTITION OF part FOR VALUES IN (2);
    CREATE TABLE part3 (id int, k int);
    CREATE MATERIALIZED VIEW seen AS SELECT id FROM big;
    INSERT INTO "Clinic" VALUES (1);
    INSERT INTO big SELECT i, 'n' || i, 'o' || i, 1, i FROM generate_series(1, 20) AS i;
    INSERT INTO bare SELECT i, i FROM generate_series(1, 20) AS i;
    INSERT INTO part SELECT i, 1 + i % 2 FROM generate_series(1, 20) AS i;
"""
SAME = {  # the end is the same as that of the statement itself
    "CREATE UNIQUE INDEX x ON big (lower(name)) WHERE id > 1": "index-blocks-writes",
    "CREATE INDEX ON big (name)": "index-blocks-writes",
    "CREATE INDEX x ON part (k)": "index-blocks-writes",
    "CREATE INDEX ON part (k, id)": "index-blocks-writes",
    "DROP INDEX big_name_idx": "brief-exclusive-lock",
    "REINDEX TABLE big": "index-blocks-writes",
    "REINDEX INDEX big_name_idx": "index-blocks-writes",
    "REINDEX TABLE part": "index-blocks-writes",
    "ALTER TABLE big ALTER COLUMN name SET NOT NULL": "scan-under-exclusive-lock",
    'ALTER TABLE big ALTER "clinicId" SET NOT NULL': "scan-under-exclusive-lock",
    "ALTER TABLE big ADD CONSTRAINT c CHECK (n > 0)": "scan-under-exclusive-lock",
    "ALTER TABLE part ADD CONSTRAINT c CHECK (id > 0)": "scan-under-exclusive-lock",
    "ALTER TABLE big ADD CONSTRAINT c UNIQUE (name, id)": "scan-under-exclusive-lock",
    "ALTER TABLE big ADD UNIQUE (old)": "scan-under-exclusive-lock",
    "ALTER TABLE bare ADD PRIMARY KEY (id)": "scan-under-exclusive-lock",
    'ALTER TABLE big ADD FOREIGN KEY ("clinicId") REFERENCES "Clinic" (id) ON DELETE CASCADE': (
        "constraint-blocks-writes"
    ),
    "ALTER TABLE part ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES big (id)": (
        "constraint-blocks-writes"
    ),
    "UPDATE big SET old = 'y'": "all-rows-updated",
    "UPDATE big SET old = 'y' WHERE name = 'n7'": "rows-updated",
    "CREATE TABLE part4 PARTITION OF part FOR VALUES IN (4, 5)": "brief-exclusive-lock",
}

# it ends elsewhere: with a check that says what the bounds did, or with a column to fill; then what
# must be true at the end
ELSEWHERE = {
    "ALTER TABLE part DETACH PARTITION part1": (
        "brief-exclusive-lock",
        "",
        "SELECT NOT relispartition FROM pg_class WHERE relname = 'part1'",
    ),
    "ALTER TABLE big ADD COLUMN x uuid DEFAULT gen_random_uuid()": (
        "table-rewrite",
        "",
        "SELECT count(DISTINCT x) = 20 AND count(x) = 20 FROM big",
    ),
    "ALTER TABLE big ADD COLUMN x text NOT NULL": (
        "required-column-added",
        "UPDATE big SET x = 'filled'",
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'big'::regclass AND attname = 'x'",
    ),
}


@pytest.fixture(scope="module")
def db(any_server: Server) -> Iterator[Database]:
    with Database(Target.parse(any_server.url())) as admin:
        admin.execute("CREATE DATABASE safer TEMPLATE template0")
        with Database(admin.target.named("safer")) as db:
            yield db
        admin.execute("DROP DATABASE safer WITH (FORCE)")


def run(db: Database, text: str) -> None:
    """Each statement in a transaction of its own."""
    for raw in parse_sql(text):
        db.connection.execute(text[raw.stmt_location : raw.stmt_location + raw.stmt_len or None])  # type: ignore[arg-type]


def end(db: Database, text: str) -> tuple[dict, list]:
    """The catalogue and a table's rows after a schema was made and SQL was run."""
    db.connection.execute(SCHEMA)
    run(db, text)
    objects = {kind: dict(found) for kind, found in catalog.read(db).objects.items()}
    return objects, db.rows("SELECT id, name, old FROM big ORDER BY id")


def offered(
    db: Database, files: Callable[..., tuple[MigrationFile, ...]], statement: str, rule: str
) -> str:
    """The safer way of one finding on the schema as it stands."""
    db.connection.execute(SCHEMA)
    found = review(
        files(statement), catalog.read(db).objects, server_major=db.server_version // 10_000
    )
    return next(item.safer for item in found.findings if item.rule == rule)


@pytest.mark.parametrize("any_server", [14, 18], indirect=True)
@pytest.mark.parametrize("statement", SAME)
def test_a_safer_way_runs_and_ends_where_the_statement_does(
    db: Database, files: Callable[..., tuple[MigrationFile, ...]], statement: str
) -> None:
    better = offered(db, files, statement, SAME[statement])
    assert end(db, statement) == end(db, better)


@pytest.mark.parametrize("any_server", [14, 18], indirect=True)
@pytest.mark.parametrize("statement", ELSEWHERE)
def test_a_safer_way_that_ends_elsewhere_does_what_was_wanted(
    db: Database, files: Callable[..., tuple[MigrationFile, ...]], statement: str
) -> None:
    rule, fill, wanted = ELSEWHERE[statement]
    first, later, rest = offered(db, files, statement, rule).partition(
        "-- in a later migration file"
    )
    run(db, first)
    run(db, fill)
    run(db, later + rest)
    assert db.value(wanted) is True


@pytest.mark.parametrize("any_server", [14, 18], indirect=True)
def test_the_last_step_of_a_safer_way_is_no_danger_itself(
    db: Database, files: Callable[..., tuple[MigrationFile, ...]]
) -> None:
    better = offered(
        db, files, "ALTER TABLE big ALTER COLUMN name SET NOT NULL", "scan-under-exclusive-lock"
    )
    found = review(files(*better.split("-- in a later migration file:")), catalog.read(db).objects)
    assert not found.having(Severity.DANGER)
