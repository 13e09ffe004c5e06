"""Faults that are brought in between the backup and the validation: each is found and named, and
an untouched database has none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.phases import declared, past
from runbook_lib.phases.checks import same_changes
from runbook_lib.phases.validate import Validate
from runbook_lib.postgres import catalog, databases, dump, snapshot
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.fingerprint import Method
from runbook_lib.postgres.narrow import narrow
from runbook_lib.postgres.tools import tools
from runbook_lib.run import create

RICH = (Path(__file__).resolve().parents[1] / "postgres" / "rich.sql").read_text()
NOTHING: dict[str, object] = {"changes": [], "rows": {}}
LONG = '"Odd schema"."Table with ""quotes"" and Größe, of sixty-three bytes, as we love it"'

FAULTS = {
    "a row deleted": ("DELETE FROM wide WHERE id = 7", "public.wide"),
    "a row inserted": ("INSERT INTO wide VALUES (99, 'x')", "public.wide"),
    "a byte changed in a toasted value": (
        "UPDATE wide SET body = overlay(body placing '~' from 9000) WHERE id = 3",
        "public.wide",
    ),
    "two rows swapped": (
        "UPDATE wide AS a SET body = b.body FROM wide AS b WHERE a.id + b.id = 3",
        "public.wide",
    ),
    "a NULL where '' was": ("UPDATE kinds SET ta = ARRAY['a', NULL] WHERE id = 5", "public.kinds"),
    "a numeric's scale": ("UPDATE kinds SET n = n::numeric(10, 5) WHERE id = 5", "public.kinds"),
    "a timestamp by a microsecond": (
        "UPDATE kinds SET tstz = tstz + interval '1 us' WHERE id = 5",
        "public.kinds",
    ),
    "an array's element": ("UPDATE kinds SET ia[1] = 0 WHERE id = 5", "public.kinds"),
    "a row without a key, twice instead of once": (
        'DELETE FROM "no key" WHERE ctid = (SELECT min(ctid) '
        'FROM "no key"); INSERT INTO "no key" VALUES (1, 2)',
        'public."no key"',
    ),
    "a row in an odd table": (
        f'UPDATE {LONG} SET "select" = \'y\' WHERE "Co lumn" = 1',
        "sixty-three bytes",
    ),
    "a row that row security hides": (
        "UPDATE secret SET owner = 'other' WHERE id = 1",
        "public.secret",
    ),
    "a row of a partition": ("UPDATE visit SET note = 'y' WHERE id = 50", "public.visit"),
    "a row moved to another partition": (
        "UPDATE visit SET at = '2030-01-01' WHERE id = 60",
        "public.visit",
    ),
    "a large object": ("SELECT lo_put(oid, 0, 'X') FROM pg_largeobject_metadata", "large objects"),
    "a large object gone": ("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "large objects"),
    "a sequence reset": ("SELECT setval('kinds_id_seq', 1)", "public.kinds_id_seq"),
    "a sequence's step": ("ALTER SEQUENCE kinds_id_seq INCREMENT 2", "public.kinds_id_seq"),
    "an owner": ("ALTER TABLE wide OWNER TO pg_monitor", "owner changed"),
    "a grant": ("GRANT INSERT ON kinds TO PUBLIC", "public.kinds: acl gained"),
    "a right taken away": ("REVOKE SELECT ON kinds FROM PUBLIC", "public.kinds: acl lost"),
    "a right on a column": ("REVOKE UPDATE (t) ON kinds FROM PUBLIC", "public.kinds.t"),
    "a default": ("ALTER TABLE kinds ALTER sh SET DEFAULT 'z'", "public.kinds.sh: default"),
    "a NOT NULL lost": (
        "ALTER TABLE kinds ALTER id DROP IDENTITY IF EXISTS, DROP CONSTRAINT kinds_pkey, ALTER id "
        "DROP NOT NULL",
        "public.kinds.id",
    ),
    "a trigger disabled": ("ALTER TABLE wide DISABLE TRIGGER touched", "touched"),
    "a trigger gone": ("DROP TRIGGER touched ON wide", "touched"),
    "a constraint gone": ("ALTER TABLE visit DROP CONSTRAINT visit_room_check", "visit_room_check"),
    "a constraint not valid": (
        "ALTER TABLE secret DROP CONSTRAINT late; ALTER TABLE secret ADD CONSTRAINT late FOREIGN "
        "KEY (parent) REFERENCES parent (id) NOT VALID",
        "late",
    ),
    "a constraint validated": ("ALTER TABLE secret VALIDATE CONSTRAINT late", "late"),
    "an index gone": ("DROP INDEX kinds_expr", "kinds_expr"),
    "an index invalid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'kinds_expr'::regclass",
        "kinds_expr",
    ),
    "an index on something else": (
        "DROP INDEX kinds_expr; CREATE INDEX kinds_expr ON kinds (upper(t))",
        "kinds_expr",
    ),
    "a view redefined": (
        "CREATE OR REPLACE VIEW happy AS SELECT id, t FROM kinds WHERE e = 'sad'",
        "view public.happy",
    ),
    "a materialized view's definition": (
        "DROP MATERIALIZED VIEW counted; CREATE MATERIALIZED VIEW counted AS SELECT e, count(*) "
        "FROM kinds WHERE b GROUP BY e",
        "public.counted",
    ),
    "a function's body": (
        "CREATE OR REPLACE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n "
        "* 3'",
        "twice",
    ),
    "a function that anybody may call": ("GRANT EXECUTE ON FUNCTION twice TO PUBLIC", "twice"),
    "an enum value added": ("ALTER TYPE mood ADD VALUE 'furious'", "mood"),
    "a domain's check": ("ALTER DOMAIN positive DROP CONSTRAINT positive_check", "positive"),
    "a column's type": ('ALTER TABLE "no key" ALTER b TYPE bigint', 'public."no key".b'),
    "a column's collation": (
        'ALTER TABLE parent ALTER name TYPE text COLLATE "default"',
        "public.parent.name",
    ),
    "row security switched off": ("ALTER TABLE secret DISABLE ROW LEVEL SECURITY", "public.secret"),
    "row security no longer forced": (
        "ALTER TABLE secret NO FORCE ROW LEVEL SECURITY",
        "public.secret",
    ),
    "a policy": ("DROP POLICY own ON secret", "own"),
    "a policy's condition": ("ALTER POLICY own ON secret USING (true)", "own"),
    "a role's setting": (
        "ALTER ROLE postgres IN DATABASE {database} SET work_mem = '9MB'",
        "work_mem",
    ),
    "the database's setting": (
        "ALTER DATABASE {database} SET statement_timeout = '1s'",
        "statement_timeout",
    ),
    "an extension gone": ("DROP EXTENSION hstore CASCADE", "hstore"),
    "an extension's version": (
        "UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'citext'",
        "citext",
    ),
    "a comment lost": ("COMMENT ON TABLE kinds IS NULL", "comment"),
    "a partition detached": ("ALTER TABLE visit DETACH PARTITION visit_2024", "visit_2024"),
    "a storage parameter": ("ALTER TABLE secret RESET (fillfactor)", "public.secret"),
    "a table no longer unlogged": ("ALTER TABLE cache SET LOGGED", "public.cache"),
    "a rule": ("DROP RULE no_delete ON cache", "no_delete"),
    "a table gone": ("DROP TABLE cache", "public.cache"),
    "a table that nobody declared": ("CREATE TABLE stray (id int)", "public.stray"),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
        "default privilege",
    ),
    "an inheritance": ("ALTER TABLE child NO INHERIT parent", "public.child"),
    "extended statistics": ("DROP STATISTICS kinds_stat", "kinds_stat"),
}

RANGES = {
    "a row deleted": ("public.wide", "id 7: 1 missing"),
    "a row inserted": ("public.wide", "id 99: 1 added"),
    "a byte changed in a toasted value": ("public.wide", "id 3: 1 changed (in body)"),
    "two rows swapped": ("public.wide", "id 1 to 2: 2 changed (in body)"),
    "a NULL where '' was": ("public.kinds", "id 5: 1 changed (in ta)"),
    "a numeric's scale": ("public.kinds", "id 5: 1 changed (in n)"),
    "a timestamp by a microsecond": ("public.kinds", "id 5: 1 changed (in tstz)"),
    "an array's element": ("public.kinds", "id 5: 1 changed (in ia)"),
    "a row without a key, twice instead of once": (
        'public."no key"',
        "1 missing, 1 added; no key, so no range: a changed row counts as one missing and one "
        "added",
    ),
    "a row in an odd table": (
        LONG.replace("love it", "lo"),
        "1 missing, 1 added; no key, so no range: a changed row counts as one missing and one "
        "added",
    ),
    "a row that row security hides": ("public.secret", "id 1: 1 changed (in owner)"),
    "a row of a partition": (
        "public.visit_2024",
        "row 20 in the order of (id, at): 1 changed (in note)",
    ),
}
"""Faults of rows: the table, and where the difference lies."""


@pytest.fixture(scope="module")
def rich(server: Server) -> Iterator[tuple[Target, snapshot.Snapshot, catalog.Catalog]]:
    """A database of one of everything that nobody is connected to, and what it holds."""
    target = Target.parse(server.url()).named("seeded")
    with Database(Target.parse(server.url())) as admin:
        admin.execute("CREATE DATABASE seeded TEMPLATE template0")
        with Database(target) as db:
            db.execute(RICH)
            before = catalog.read(db)
        yield target, snapshot.take(target, "tests"), before
        databases.drop(admin, "seeded")


@pytest.fixture
def copy(
    server: Server, rich: tuple[Target, snapshot.Snapshot, catalog.Catalog]
) -> Iterator[Target]:
    """A copy of it, to be spoilt."""
    name = f"seeded_{uuid.uuid4().hex[:8]}"
    with Database(Target.parse(server.url())) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE seeded")
        yield rich[0].named(name)
        databases.drop(admin, name)


def found(rich: tuple[Target, snapshot.Snapshot, catalog.Catalog], copy: Target) -> list[str]:
    """What the validation says of it, where the migration was to change nothing."""
    _, before, schema = rich
    content = declared.compare(before, snapshot.take(copy, "tests"), NOTHING)
    with Database(copy) as db:
        changes = same_changes(
            "catalogue",
            "the catalogue",
            {"changes": []},
            catalog.difference(schema, catalog.read(db)),
            "",
        )
    return [
        item.found
        for item in (*content.checks(), changes)
        if item in content.checks().failed or item is changes and changes.status.value == "failed"
    ]


def test_an_untouched_database_has_no_fault(
    rich: tuple[Target, snapshot.Snapshot, catalog.Catalog], copy: Target
) -> None:
    with Database(copy) as db:
        db.execute("ANALYZE; SELECT count(*) FROM kinds")
    assert found(rich, copy) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_named(
    rich: tuple[Target, snapshot.Snapshot, catalog.Catalog], copy: Target, fault: str
) -> None:
    statement, named = FAULTS[fault]
    with Database(copy, allow_system_table_mods="on") as db:
        for one in statement.format(database=copy.database).split("; "):
            db.execute(one)
    said = "\n".join(found(rich, copy))
    assert named in said, said
    if fault in RANGES:
        table, where = RANGES[fault]
        with Database(rich[0]) as was, Database(copy) as now:
            assert str(narrow(was, now, table, (), Method.HASH)) == where


def test_of_any_table_the_rows_are_brought_up_as_they_were(
    rich: tuple[Target, snapshot.Snapshot, catalog.Catalog],
    copy: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = (
        "two rows swapped",
        "a numeric's scale",
        "a row in an odd table",
        "a row that row security hides",
        "a row of a partition",
    )
    made = dump.make(rich[0], tmp_path / "backup", "tests", tools=tools(rich[0]))
    monkeypatch.setenv("SEEDED_URL", copy.url())
    values = {
        "environment": {"name": "tests", "archive": str(tmp_path)},
        "engineer": "Test Engineer",
        "database": {"url": "env:SEEDED_URL"},
        "prisma": {"project": str(tmp_path)},
        "backup": {"directory": str(tmp_path)},
    }
    phase = Validate(create(values, ["20260101000000_none"], {}))
    phase.run.write_evidence("backup", {"folder": str(made.folder)})
    with Database(copy) as db:
        for fault in faults:
            db.execute(FAULTS[fault][0])
    wrong = [
        item.found
        for item in declared.compare(rich[1], snapshot.take(copy, "tests"), NOTHING).having(
            declared.Verdict.UNDECLARED
        )
    ]
    where = {name: str(one) for name, one in past.narrowed(phase, wrong, ()).items()}
    assert where == dict(RANGES[fault] for fault in faults)


REORDERED = (
    "ALTER TABLE wide ADD copy int; UPDATE wide SET copy = id; ALTER TABLE wide DROP id; "
    "ALTER TABLE wide RENAME copy TO id; ALTER TABLE wide ALTER id "
    "SET NOT NULL; ALTER TABLE wide ADD CONSTRAINT wide_pkey PRIMARY KEY (id)"
)


def test_a_column_reordered_by_drop_and_add_is_found_and_is_the_only_fault(
    rich: tuple[Target, snapshot.Snapshot, catalog.Catalog], copy: Target
) -> None:
    with Database(copy) as db:
        for statement in REORDERED.split("; "):
            db.execute(statement)
    assert found(rich, copy) == [
        "not promised: table public.wide: columns in another order: body, id"
    ]
