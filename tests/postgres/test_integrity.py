"""Orphans, unusable indexes, rules never checked, sequences behind: each counted, none shown."""

from __future__ import annotations

import pytest

from runbook_lib.check import Status
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import integrity
from runbook_lib.postgres.connection import Database, query

ORPHANS = """
CREATE TABLE parent (id int PRIMARY KEY, a int, b text, UNIQUE (a, b));
INSERT INTO parent VALUES (1, 1, 'x'), (2, 2, 'y');
CREATE TABLE simple (p int REFERENCES parent (id) ON DELETE CASCADE);
CREATE TABLE late (p int);
INSERT INTO late VALUES (1), (8), (8), (9), (NULL);
ALTER TABLE late ADD CONSTRAINT late_p FOREIGN KEY (p) REFERENCES parent (id) NOT VALID;
CREATE TABLE pairs (a int, b text);
INSERT INTO pairs VALUES (1, 'x'), (1, 'y'), (NULL, 'z'), (5, NULL), (1, 'y');
ALTER TABLE pairs ADD CONSTRAINT simple_pair FOREIGN KEY (a, b) REFERENCES parent (a, b) NOT VALID;
CREATE TABLE "Full" (a int, b text);
INSERT INTO "Full" VALUES (1, 'x'), (NULL, NULL), (5, NULL);
ALTER TABLE "Full" ADD CONSTRAINT "full pair" FOREIGN KEY (a, b) REFERENCES parent (a,
    b) MATCH FULL NOT VALID;
CREATE TABLE visit (id int, p int, at date) PARTITION BY RANGE (at);
CREATE TABLE visit_1 PARTITION OF visit DEFAULT;
INSERT INTO visit VALUES (1, 1, '2024-01-01'), (2, 2, '2024-01-01');
ALTER TABLE visit ADD CONSTRAINT visit_p FOREIGN KEY (p) REFERENCES parent (id);
"""


def counts(db: Database) -> dict[str, tuple[int | None, int | None]]:
    return {
        key.constraint: (key.orphan_keys, key.orphan_rows) for key in integrity.foreign_keys(db)
    }


def test_orphans_are_counted_also_where_never_validated_and_composite(db: Database) -> None:
    db.execute(ORPHANS)
    assert counts(db) == {
        "simple_p_fkey": (0, 0),
        "late_p": (2, 3),
        "simple_pair": (1, 2),
        '"full pair"': (1, 1),
        "visit_p": (0, 0),
    }


def test_orphans_that_slipped_past_disabled_triggers_are_counted(db: Database) -> None:
    db.execute(ORPHANS)
    db.execute(
        "SET session_replication_role = replica; INSERT INTO simple "
        "VALUES (77), (NULL); INSERT INTO visit VALUES (3, 99, '2024-01-01')"
    )
    assert (counts(db)["simple_p_fkey"], counts(db)["visit_p"]) == ((1, 1), (1, 1))


def test_few_keys_of_many_rows_are_found_by_the_index_alone_with_the_same_result(
    db: Database,
) -> None:
    db.execute("""CREATE TABLE "Par ent" ("i d" varchar(20) PRIMARY KEY);
        INSERT INTO "Par ent" VALUES ('a'), ('Ä'), ('');
        CREATE TABLE "Chi ld" (id int, "p {}" varchar(20)); CREATE INDEX ON "Chi ld" ("p {}", id);
        INSERT INTO "Chi ld" SELECT g, (ARRAY['a', 'Ä', '', NULL, 'lost',
            'A'])[1 + g % 6] FROM generate_series(1, 1200) AS g;
        ALTER TABLE "Chi ld" ADD CONSTRAINT f FOREIGN KEY ("p {}")
            REFERENCES "Par ent" NOT VALID""")
    assert counts(db) == {"f": (2, 400)}
    db.execute("ANALYZE")
    (row,) = db.rows(query("health_foreign_keys"))
    assert row["rows_per_key"] > integrity.ROWS_PER_KEY and counts(db) == {"f": (2, 400)}
    db.execute("""DELETE FROM "Chi ld" WHERE "p {}" IN ('lost', 'A')""")
    assert counts(db) == {"f": (0, 0)}
    db.execute('TRUNCATE "Chi ld"')
    assert counts(db) == {"f": (0, 0)}


def test_the_listing_lists_exactly_the_orphans_and_no_result_shows_a_row(db: Database) -> None:
    db.execute(ORPHANS)
    found = integrity.foreign_keys(db)
    assert {key.constraint: len(db.rows(key.listing)) for key in found} == {
        key.constraint: key.orphan_rows for key in found
    }
    late = next(key for key in found if key.constraint == "late_p")
    assert late.listing == (
        "SELECT c.* FROM ONLY public.late AS c WHERE (c.p IS NOT NULL) AND NOT EXISTS "
        "(SELECT FROM ONLY public.parent AS p WHERE p.id OPERATOR(pg_catalog.=) c.p);"
    )


def test_each_foreign_key_is_a_check(db: Database) -> None:
    db.execute(ORPHANS)
    checks = integrity.foreign_keys(db).checks()
    assert {one.id for one in checks.failed} == {
        "integrity.foreign_key.public.late.late_p",
        "integrity.foreign_key.public.pairs.simple_pair",
        'integrity.foreign_key.public."Full"."full pair"',
    }
    assert "3 rows with 2 keys have no parent" in str(checks)


def test_a_foreign_key_that_cannot_be_counted_is_unknown(db: Database) -> None:
    db.execute(ORPHANS)
    with Database(db.target) as other, other.transaction():
        other.execute("LOCK TABLE late")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(integrity, "LOCK_TIMEOUT_S", 0.1)
            found = integrity.foreign_keys(db, tables=["public.late"])
    (only,) = found.checks()
    assert (
        only.status is Status.UNKNOWN
        and "public.late" in only.found
        and found.items[0].orphan_rows is None
    )


def test_an_invalid_index_is_found(db: Database) -> None:
    db.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(DatabaseError):
        db.execute("CREATE UNIQUE INDEX CONCURRENTLY twice ON t (id)")
    assert [row[0] for row in integrity.invalid_indexes(db).rows] == ["public.twice"]


def test_unvalidated_constraints_are_listed(db: Database) -> None:
    db.execute(ORPHANS + "ALTER TABLE late ADD CONSTRAINT there CHECK (p < 5) NOT VALID")
    if db.server_version >= 180000:
        db.execute("ALTER TABLE late ADD CONSTRAINT nn NOT NULL p NOT VALID")
    assert [row[:2] for row in integrity.unvalidated_constraints(db).rows if row[1] != "nn"] == [
        ('public."Full"', '"full pair"'),
        ("public.late", "late_p"),
        ("public.late", "there"),
        ("public.pairs", "simple_pair"),
    ]
    assert len(integrity.unvalidated_constraints(db)) == (5 if db.server_version >= 180000 else 4)


def test_a_sequence_behind_its_column_is_found(db: Database) -> None:
    db.execute(
        "CREATE TABLE fine (id serial); INSERT INTO fine DEFAULT VALUES; CREATE TABLE empty (id "
        "serial);"
        "CREATE TABLE behind (id serial); INSERT INTO behind "
        "VALUES (1), (50); CREATE TABLE ahead (id serial); SELECT setval('ahead_id_seq', 9)"
    )
    assert [tuple(row) for row in integrity.sequences_behind(db).rows] == [
        ("public.behind_id_seq", "public.behind", "id", 50)
    ]


def test_a_sequence_that_a_default_uses_or_that_counts_down_may_not_be_behind_either(
    db: Database,
) -> None:
    db.execute("""CREATE SEQUENCE shared; CREATE SEQUENCE down INCREMENT -1 MINVALUE -100 MAXVALUE
            -1;
        CREATE TABLE "One" (id int DEFAULT nextval('shared'),
            doubled int DEFAULT nextval('shared') * 2, label text DEFAULT 'N' || nextval('shared'));
        CREATE TABLE two (id bigint DEFAULT nextval('shared'), n int DEFAULT nextval('down'),
            i int GENERATED ALWAYS AS IDENTITY);
        INSERT INTO "One" VALUES (1, 900, 'N900'); INSERT INTO two (id, n) VALUES (7, -9)""")
    assert [tuple(row) for row in integrity.sequences_behind(db).rows] == [
        ("public.down", "public.two", "n", 9),
        ("public.shared", 'public."One"', "id", 1),
        ("public.shared", "public.two", "id", 7),
    ]
