"""What the review says of common migrations: each rule at least once, with its numbers and its
safer way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import Review, review
from runbook_lib.prisma.rules import RULES, Severity
from runbook_lib.prisma.transactions import TransactionRule

CATALOG = {
    "table": {
        "public.big": {},
        "public.small": {},
        'public."Child"': {},
        "public.parted": {"kind": "partitioned table"},
    },
    "view": {"public.seen": {}},
    "column": {
        "public.big.id": {"type": "integer", "not_null": "yes"},
        "public.big.name": {"type": "character varying(20)"},
        "public.big.old": {"type": "text", "not_null": "yes"},
        "public.small.id": {"type": "integer"},
        'public."Child"."bigId"': {"type": "integer"},
    },
    "index": {
        "public.big_name_idx": {
            "table": "public.big",
            "definition": "CREATE INDEX big_name_idx ON public.big USING btree (name)",
        }
    },
    "constraint": {
        'public."Child".fk': {
            "type": "foreign key",
            "definition": 'FOREIGN KEY ("bigId") REFERENCES public.big(id) ON DELETE CASCADE',
        }
    },
    "enum": {"public.kind": {"labels": ["a"]}},
    "trigger": {"public.small.audit": {}},
}
SIZES = {
    "public.big": {"rows": 5_000_000, "bytes": 640_000_000},
    "public.small": {"rows": 12, "bytes": 8192},
    'public."Child"': {"rows": 20_000, "bytes": 2**20},
}
Files = Callable[..., tuple[MigrationFile, ...]]


def look(files: tuple[MigrationFile, ...], **options: object) -> Review:
    return review(files, CATALOG, SIZES, **{"linter": Path("/bin/true"), **options})  # type: ignore[arg-type]


def rules(found: Review) -> dict[str, Severity]:
    return {item.rule: item.severity for item in found.findings}


D, W, N = Severity.DANGER, Severity.WARNING, Severity.INFO
CASES = [
    ("CREATE INDEX x ON big (name)", {"index-blocks-writes": D}),
    ("CREATE INDEX x ON small (id)", {"index-blocks-writes": N}),
    ("CREATE UNIQUE INDEX x ON big (name)", {"index-blocks-writes": D, "unique-added": W}),
    ("CREATE INDEX CONCURRENTLY x ON big (name)", {"built-concurrently": N}),
    (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS x ON big (name)",
        {"built-concurrently": N, "invalid-index-accepted": W},
    ),
    ("DROP INDEX big_name_idx", {"index-dropped": W, "brief-exclusive-lock": N}),
    ("DROP INDEX CONCURRENTLY big_name_idx", {"index-dropped": W}),
    (
        "DROP INDEX big_name_idx; CREATE INDEX x ON big (name, id)",
        {"index-replaced": N, "index-blocks-writes": D, "brief-exclusive-lock": N},
    ),
    ("DROP TYPE kind; CREATE TYPE kind AS ENUM ('b')", {"client-sees-another": W}),
    ("ALTER TABLE big ADD COLUMN x int", {"brief-exclusive-lock": N}),
    ("ALTER TABLE big ADD COLUMN x int NOT NULL DEFAULT 0", {"brief-exclusive-lock": N}),
    (
        "ALTER TABLE big ADD COLUMN x int NOT NULL",
        {"required-column-added": D, "brief-exclusive-lock": N},
    ),
    ("ALTER TABLE big ADD COLUMN x uuid DEFAULT gen_random_uuid()", {"table-rewrite": D}),
    ("ALTER TABLE small ADD COLUMN x serial", {"table-rewrite": N}),
    ("ALTER TABLE big ADD COLUMN IF NOT EXISTS name text", {"nothing-to-do": N}),
    (
        "ALTER TABLE big DROP COLUMN old",
        {"column-dropped": D, "client-breaks": D, "brief-exclusive-lock": N},
    ),
    (
        "ALTER TABLE big DROP COLUMN old CASCADE",
        {
            "column-dropped": D,
            "client-breaks": D,
            "dropped-with-dependents": D,
            "not-understood": W,
            "brief-exclusive-lock": N,
        },
    ),
    ("ALTER TABLE big ALTER COLUMN name TYPE text", {"brief-exclusive-lock": N}),
    (
        "ALTER TABLE big ALTER COLUMN name TYPE varchar(5)",
        {"table-rewrite": D, "type-narrowed": D, "client-sees-new-type": W},
    ),
    (
        "ALTER TABLE big ALTER COLUMN stranger TYPE text",
        {"table-may-be-rewritten": W, "type-changed": W, "client-sees-new-type": W},
    ),
    (
        "ALTER TABLE big ALTER COLUMN name SET NOT NULL",
        {"scan-under-exclusive-lock": D, "null-refused": W},
    ),
    ("ALTER TABLE big ALTER COLUMN id SET NOT NULL", {"nothing-to-do": N}),
    (
        "ALTER TABLE big ALTER COLUMN old DROP NOT NULL",
        {"null-allowed": N, "brief-exclusive-lock": N},
    ),
    (
        "ALTER TABLE big ALTER COLUMN old DROP DEFAULT",
        {"default-dropped": W, "brief-exclusive-lock": N},
    ),
    ("ALTER TABLE big RENAME COLUMN old TO new", {"client-breaks": D, "brief-exclusive-lock": N}),
    ("ALTER TABLE big RENAME TO huge", {"client-breaks": D}),
    ("ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0)", {"scan-under-exclusive-lock": D}),
    (
        "ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
        {"not-validated": N, "brief-exclusive-lock": N},
    ),
    ("ALTER TABLE big VALIDATE CONSTRAINT c", {"constraint-validated": N}),
    (
        "ALTER TABLE big ADD CONSTRAINT c UNIQUE (name)",
        {"scan-under-exclusive-lock": D, "unique-added": W},
    ),
    (
        "ALTER TABLE big ADD CONSTRAINT c FOREIGN KEY (id) REFERENCES small (id)",
        {"constraint-blocks-writes": D},
    ),
    (
        "ALTER TABLE big ADD CONSTRAINT c FOREIGN KEY (id) REFERENCES small (id) NOT VALID",
        {"not-validated": N, "brief-write-block": N},
    ),
    ("CREATE TABLE n (id int REFERENCES big (id))", {"brief-write-block": N}),
    ("DROP TABLE big", {"table-dropped": D, "client-breaks": D, "brief-exclusive-lock": N}),
    ("DROP TABLE IF EXISTS nowhere", {"nothing-to-do": N}),
    ("DROP TABLE nowhere", {"unknown-relation": W, "table-dropped": D, "client-breaks": D}),
    ("DROP VIEW seen", {"client-breaks": D, "object-dropped": W}),
    ("DROP TYPE kind", {"client-breaks": D, "object-dropped": W}),
    ("TRUNCATE big", {"rows-removed": D}),
    ("DELETE FROM big", {"rows-removed": D, "rows-cascade": W}),
    ("DELETE FROM big WHERE id = 1", {"rows-deleted": W, "rows-cascade": W}),
    ("UPDATE big SET name = 'x'", {"all-rows-updated": D}),
    ("UPDATE big SET name = 'x' WHERE id = 1", {"rows-updated": W}),
    ("UPDATE small SET id = 1", {"all-rows-updated": N, "not-understood": W}),
    ("ALTER TYPE kind ADD VALUE 'b'", {"enum-value-added": W}),
    ("ALTER TYPE kind RENAME VALUE 'a' TO 'b'", {"client-breaks": D}),
    ("LOCK TABLE big IN EXCLUSIVE MODE", {"explicit-lock": W}),
    ("SET statement_timeout = 0", {"timeout-overridden": W}),
    ("VACUUM FULL big", {"table-rewrite": D}),
    ("CLUSTER big USING big_name_idx", {"table-rewrite": D}),
    ("REINDEX TABLE big", {"index-blocks-writes": D}),
    ("REINDEX INDEX CONCURRENTLY big_name_idx", {"built-concurrently": N}),
    ("REFRESH MATERIALIZED VIEW seen", {"refresh-blocks-reads": D}),
    (
        "DO $$ BEGIN DROP TABLE big; END $$",
        {"not-understood": W, "table-dropped": D, "client-breaks": D, "brief-exclusive-lock": N},
    ),
    ("DO $$ BEGIN EXECUTE 'TRUNCATE big'; END $$", {"not-understood": W, "rows-removed": D}),
    ("DO $$ BEGIN EXECUTE 'TRUNCATE ' || 'big'; END $$", {"not-understood": W, "rows-removed": D}),
    ("CALL tidy()", {"not-understood": W}),
    ("SELECT tidy()", {"not-understood": W}),
    ("SELECT setval('s', max(id)) FROM big", {}),
    ("IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z", {"not-understood": W}),
    ("ALTER TABEL big", {"syntax-error": D, "not-understood": W}),
    ("\ufeffSELECT 1", {"byte-order-mark": D}),
    ("-- nothing", {"nothing-to-do": N}),
    ("", {"nothing-to-do": N}),
    ("-- one; two\r\nCREATE INDEX x ON big (name);\r\n", {"index-blocks-writes": D}),
    ("DO $x$ BEGIN PERFORM ';'; END $x$;", {"not-understood": W}),
    ('ALTER TABLE big ALTER COLUMN name TYPE text COLLATE "C"', {"scan-under-exclusive-lock": D}),
    (
        "CREATE INDEX CONCURRENTLY x ON parted (id)",
        {"refused-by-server": D, "built-concurrently": N},
    ),
    ("BEGIN; SELECT 1; COMMIT", {"transaction-control": N}),
    (
        "CREATE TABLE n (id int PRIMARY KEY, k kind); CREATE INDEX "
        "ON n (k); ALTER TABLE n ALTER k SET NOT NULL; UPDATE n SET id = 1",
        {},
    ),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", {}),
    ("COMMENT ON TABLE big IS 'x'", {}),
    ("GRANT SELECT ON big TO public", {}),
]


@pytest.mark.parametrize("sql, expected", CASES)
def test_each_statement_has_its_findings_and_no_others(
    files: Files, sql: str, expected: dict[str, Severity]
) -> None:
    assert rules(look(files(sql))) == expected


def test_state_is_carried_from_file_to_file(files: Files) -> None:
    found = look(
        files(
            "CREATE TABLE n (id int);\nALTER TABLE big RENAME TO huge;",
            "CREATE INDEX i ON n (id);\nCREATE INDEX j ON huge (name);",
            "DROP INDEX i;",
        )
    )
    blocking = [item for item in found.findings if item.rule == "index-blocks-writes"]
    assert [(item.file, item.line) for item in blocking] == [("2", 2)]
    assert "5 000 000 rows" in blocking[0].why  # measured under the name that the table has today
    assert [row[1:4] for row in found.indexes().rows] == [
        ("i", "n", "new table"),
        ("j", "huge", "blocking"),
        ("i", "n", "new table"),
    ]


def test_a_finding_names_line_reason_with_numbers_and_a_safer_way(files: Files) -> None:
    found = look(
        files(
            '-- first\nALTER TABLE big\n  ADD CONSTRAINT "big_fk" FOREIGN KEY ("id") REFERENCES '
            '"Child" ("bigId");\n'
        )
    ).findings[0]
    assert (found.file, found.line, found.statement, found.relation) == ("1", 2, 1, "public.big")
    assert (
        found.why
        == "checking big_fk reads all of big (5 000 000 rows, 610.4 MiB) and blocks writes to it "
        'and to "Child"'
    )
    assert "NOT VALID" in found.safer and "VALIDATE CONSTRAINT big_fk" in found.safer


def test_the_tables_show_size_lock_and_what_happens(files: Files) -> None:
    found = look(
        files("CREATE INDEX x ON big (name); UPDATE small SET id = 2; CREATE TABLE n (id int);")
    )
    affected = {row[0]: row for row in found.tables_affected().rows}
    assert affected["big"][1:6] == (5_000_000, "610.4 MiB", "SHARE", False, True)
    assert affected["small"][-1] == "update" and "n" not in affected


def test_a_statement_that_writes_a_table_anew_names_the_indexes_that_it_rebuilds(
    files: Files,
) -> None:
    found = look(
        files(
            "ALTER TABLE big ALTER COLUMN name TYPE varchar(5);\nREINDEX INDEX CONCURRENTLY "
            "big_name_idx;"
        )
    )
    assert [row[:4] for row in found.indexes().rows] == [
        ("rebuilt", "big_name_idx", "big", "blocking"),
        ("rebuilt", "big_name_idx", "big", "concurrently"),
    ]


def test_a_dropped_index_shows_how_often_it_was_used(files: Files) -> None:
    found = look(
        files("DROP INDEX CONCURRENTLY big_name_idx;"),
        index_use={"public.big_name_idx": {"scans": 12_345, "bytes": 2**20}},
    )
    assert "it was used 12 345 times" in found.findings[0].why
    assert found.indexes().rows[0] == (
        "removed",
        "big_name_idx",
        "big",
        "concurrently",
        12_345,
        "1.0 MiB",
        "1:1",
    )


ENUM = """BEGIN; CREATE TYPE kind_new AS ENUM ({});
ALTER TABLE big ALTER COLUMN kind TYPE kind_new USING (kind::text::kind_new);
ALTER TYPE kind RENAME TO kind_old; ALTER TYPE kind_new RENAME TO kind; DROP TYPE kind_old;
COMMIT;"""


@pytest.mark.parametrize("labels, narrowed", [("'a', 'b'", False), ("'b'", True)])
def test_an_enum_changed_the_way_prisma_does_is_a_rewrite_and_loses_values_only_with_a_label(
    files: Files, labels: str, narrowed: bool
) -> None:
    catalog = CATALOG | {"column": CATALOG["column"] | {"public.big.kind": {"type": "public.kind"}}}
    found = review(files(ENUM.format(labels)), catalog, SIZES, linter=Path("/bin/true"))
    assert "table-rewrite" in rules(found) and ("type-narrowed" in rules(found)) is narrowed
    assert found.files_atomicity[0].level.value == "whole" and found.declared().covers(
        "enum", "public.kind", "changed"
    )


def test_what_could_not_be_told_is_unknown_and_never_passed(files: Files) -> None:
    found = look(files("CALL tidy();")).checks()
    assert [item.id for item in found.unknown] == ["review.told", "review.lint"]
    assert [item.id for item in look(files("ALTER TABEL x;")).checks().failed] == ["review.syntax"]


def test_a_review_shows_itself_and_goes_into_the_evidence_without_the_files_constants(
    files: Files,
) -> None:
    found = look(files("INSERT INTO small VALUES (1, 'Mustermann'); UPDATE big SET name = 'x';"))
    assert "all-rows-updated" in str(found) and "<table" in found._repr_html_()
    assert "Mustermann" not in str(found.as_dict())


def test_every_rule_is_tested() -> None:
    elsewhere = {
        "cannot-run-in-transaction",
        "may-run-in-transaction",
        "enum-value-used-too-early",
        "set-local-without-transaction",
        "uniqueness-dropped",
    }
    assert set(RULES) - {rule for _, expected in CASES for rule in expected} == elsewhere


def test_unknown_sizes_are_taken_for_large(files: Files) -> None:
    assert (
        rules(
            review(
                files("CREATE INDEX x ON stranger (id)"),
                rule=TransactionRule.EACH_STATEMENT,
                linter=Path("/bin/true"),
            )
        )["index-blocks-writes"]
        is D
    )
