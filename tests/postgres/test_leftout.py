"""What a dump leaves out is named beforehand, with what it means; what would end the dump fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.check import Status
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import catalog, dump
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.invalid import left_behind
from runbook_lib.postgres.leftout import MEANS, left_out
from runbook_lib.postgres.restore import prove, restore
from runbook_lib.postgres.tools import Tools

NAME = "tests/leftout"
TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n % 3 "
    "FROM generate_series(1, 9) n"
)
SUBSCRIBED = (
    "CREATE SUBSCRIPTION feed CONNECTION 'host=localhost port=1 dbname=x password=geheim' "
    "PUBLICATION p WITH (connect = false, slot_name = NONE)"
)


def left_invalid(db: Database, name: str = "t_v_key") -> None:
    """Leave an index behind that is not valid, as a failed CREATE UNIQUE INDEX CONCURRENTLY
    does.
    """
    with pytest.raises(DatabaseError, match="unique"):
        db.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON t (v)")


@pytest.fixture
def subscribed(db: Database) -> Iterator[Database]:
    """A database with a disabled subscription."""
    db.execute(TABLE)
    db.execute(SUBSCRIBED)
    yield db
    db.execute("DROP SUBSCRIPTION feed")


def test_a_database_of_which_nothing_is_left_out_says_so(db: Database) -> None:
    found = left_out(db)
    assert (found.items, found.dumpable().status) == ((), Status.PASSED)
    assert found.table().title == "A dump leaves nothing out"


def test_each_kind_is_named_with_what_it_means(subscribed: Database) -> None:
    left_invalid(subscribed)
    subscribed.execute("CREATE UNLOGGED TABLE quick (id int)")
    subscribed.execute("SELECT pg_create_logical_replication_slot('s1', 'pgoutput')")
    try:
        found = left_out(subscribed)
    finally:
        subscribed.execute("SELECT pg_drop_replication_slot('s1')")
    assert [str(one) for one in found.items] == [
        "invalid index public.t_v_key",
        "logical replication slot s1",
        "subscription feed",
        "unlogged table public.quick",
    ]
    assert all(MEANS[one.kind][0] in str(found) for one in found.items)
    assert [one.name for one in found.staying] == ["s1", "feed"] and not found.held


def test_an_index_that_is_not_valid_and_a_subscription_are_no_difference_of_a_copy(
    subscribed: Database, programs: Tools, tmp_path: Path
) -> None:
    left_invalid(subscribed)
    subscribed.execute("COMMENT ON INDEX t_v_key IS 'half'; COMMENT ON SUBSCRIPTION feed IS 'x'")
    made = dump.make(subscribed.target, tmp_path / "b", NAME, tools=programs)
    proof = prove(made, subscribed.target, NAME, tools=programs)
    assert proof.identical, proof
    assert "geheim" not in "".join(
        path.read_text(errors="ignore") for path in (tmp_path / "b").rglob("*") if path.is_file()
    )


def test_a_copy_is_given_the_index_that_a_failed_build_left_in_the_original(
    db: Database, programs: Tools, beside: Target, tmp_path: Path
) -> None:
    db.execute(TABLE)
    left_invalid(db, '"t v, or so"')
    db.execute("COMMENT ON INDEX \"t v, or so\" IS 'it''s half'")
    original = catalog.read(db)
    made = dump.make(db.target, tmp_path / "b", NAME, tools=programs)
    restore(made, beside, NAME, tools=programs)
    assert left_behind(beside, original, NAME) == {}
    with Database(beside, NAME) as copy:
        assert catalog.difference(original, catalog.read(copy)).empty
        copy.execute('DROP INDEX "t v, or so"')


def test_an_index_that_only_a_partition_lacks_is_dumped_as_it_is(
    db: Database, programs: Tools, tmp_path: Path
) -> None:
    db.execute(
        "CREATE TABLE m (id int, at date) PARTITION BY RANGE (at); CREATE TABLE m1 PARTITION OF m "
        "DEFAULT; "
        "CREATE INDEX m_at ON ONLY m (at)"
    )
    assert not catalog.read(db).left_out()["index"] and not left_out(db).items
    made = dump.make(db.target, tmp_path / "b", NAME, tools=programs)
    assert prove(made, db.target, NAME, tools=programs).identical


def test_an_index_that_is_missing_in_a_copy_though_it_was_valid_is_a_difference(
    db: Database,
) -> None:
    db.execute(TABLE)
    db.execute("CREATE INDEX t_v ON t (v)")
    before = catalog.read(db)
    db.execute("DROP INDEX t_v")
    found = catalog.difference(before.without(before.left_out()), catalog.read(db), restored=True)
    assert [str(one) for one in found.changes] == [
        "index public.t_v removed (CREATE INDEX t_v ON public.t USING btree (v))"
    ]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("CREATE TABLE hidden (id int)", "no right to read"),
        ("CREATE SEQUENCE hidden", "no right to read"),
        (
            "CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT "
            "SELECT ON hidden TO limited",
            "row security",
        ),
    ],
)
def test_what_would_end_the_dump_fails_beforehand_with_what_mends_it(
    db: Database, limited: Target, statement: str, kind: str
) -> None:
    db.execute(statement)
    with Database(replace(limited, database=db.target.database), NAME) as session:
        found = left_out(session)
    assert [str(one) for one in found.items] == [f"{kind} public.hidden"]
    wanted = found.dumpable()
    assert wanted.status is Status.FAILED and wanted.remedy == MEANS[kind][1]


def test_what_a_role_without_superuser_cannot_restore_is_said(
    db: Database, limited: Target
) -> None:
    db.execute(
        "CREATE PUBLICATION everything FOR ALL TABLES; "
        "CREATE FUNCTION noticed() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; "
        "CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION noticed()"
    )
    with Database(limited, NAME) as session:
        found = left_out(session)
    assert [str(one) for one in found.items] == [
        "event trigger ddl",
        "publication of all tables everything",
    ]
    assert not left_out(db).items and found.dumpable().status is Status.PASSED
