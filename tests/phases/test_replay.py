"""Which statements of a failed file landed: the file is run in part, and what is said is what
the server holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.phases.replay import Replayed, replay
from runbook_lib.postgres import databases, dump, snapshot
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.transactions import TransactionRule

TABLES = """
    CREATE TYPE kind AS ENUM ('visit', 'call');
    CREATE TABLE "Patient" (id int PRIMARY KEY, name text NOT NULL, insurer text);
    CREATE TABLE "Visit" (id int PRIMARY KEY, "patientId" int NOT NULL REFERENCES "Patient",
        note text);
    INSERT INTO "Patient" SELECT g, 'Fictitious ' || g, 'Insurer ' || g % 3 FROM generate_series(1,
        30) AS g;
    INSERT INTO "Visit" SELECT g, 1 + g % 30, 'note' FROM generate_series(1, 90) AS g;
"""
MIXED = """
    ALTER TABLE "Patient" ADD COLUMN email text;
    CREATE INDEX "Visit_note" ON "Visit" (note);
    UPDATE "Visit" SET note = upper(note);
    CREATE TABLE "Policy" (id int PRIMARY KEY, "patientId" int);
    INSERT INTO "Policy" SELECT id, id FROM "Patient";
    ALTER TABLE "Policy" ADD FOREIGN KEY ("patientId") REFERENCES "Patient";
    ALTER TABLE "Patient" DROP COLUMN insurer;
"""


@pytest.fixture(scope="module")
def source(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, Any]]:
    """A small database, and its backup."""
    target = Target.parse(server.url()).named("replay_source")
    with Database(Target.parse(server.url())) as admin:
        admin.execute("CREATE DATABASE replay_source")
        with Database(target) as db:
            db.execute(TABLES)
        yield (
            target,
            dump.make(
                target, tmp_path_factory.mktemp("replay") / "b", "tests", tools=tools(target)
            ),
        )
        databases.drop(admin, "replay_source")


@pytest.fixture
def night(source: tuple[Target, Any], database: str, tmp_path: Path) -> Iterator[Any]:
    """The live database of one night: `half(sql, n)` runs the first `n` statements of a file,
    and tells how far it came.
    """
    target = Target.parse(database)
    db = Database(target)
    db.execute(TABLES)
    yield SimpleNamespace(half=partial(come_so_far, db, source[1], tmp_path), db=db)
    db.close()


def come_so_far(
    db: Database,
    made: Backup,
    folder: Path,
    text: str,
    count: int,
    rule: TransactionRule = TransactionRule.EACH_IF_PARSED,
    then: str = "",
) -> Replayed:
    """Run the first `count` statements of a file, and tell how far it came."""
    before = snapshot.take(db.target, "tests")
    (folder / "1_file").mkdir()
    (folder / "1_file" / "migration.sql").write_text(text)
    for statement in [part for part in text.split(";") if part.strip()][:count]:
        db.execute(statement)
    if then:
        db.execute(then)
    phase = SimpleNamespace(
        db=db,
        target=db.target,
        application_name="runbook/test/replay",
        project=SimpleNamespace(transaction_rule=rule),
        params=SimpleNamespace(database=SimpleNamespace(tools=None)),
    )
    after = snapshot.take(db.target, "tests", columns=before.columns())
    content = {item.name: item for item in before.compare(after).content}
    file = MigrationFile.read(folder / "1_file" / "migration.sql")
    return replay(phase, file, [], made, content)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", range(8))
def test_statement_by_statement_the_number_that_landed_is_told(night: Any, count: int) -> None:
    told = night.half(MIXED, count)
    assert told.landed == count and told.answer == {0: "none", 7: "all"}.get(
        count, f"the first {count} of 7"
    )
    assert [step.shown for step in told.repair] == [
        f"1_file:{line} {kind}"
        for line, kind in [
            (2, "ALTER TABLE"),
            (3, "CREATE INDEX"),
            (4, "UPDATE"),
            (5, "CREATE TABLE"),
            (6, "INSERT"),
            (7, "ALTER TABLE"),
            (8, "ALTER TABLE"),
        ][count:]
    ]


def test_the_repair_makes_the_file_whole(night: Any, tmp_path: Path) -> None:
    for step in night.half(MIXED, 3).repair:
        night.db.execute(step.sql)
    assert night.db.value('SELECT count(*) FROM "Policy"') == 30
    assert (
        night.db.value(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Patient' "
            "AND column_name IN ('email', 'insurer')"
        )
        == 1
    )


def test_an_index_left_half_built_is_named_and_goes_first(night: Any) -> None:
    concurrent = 'CREATE INDEX CONCURRENTLY "Visit_note" ON "Visit" (note)'
    told = night.half(
        concurrent,
        0,
        then='CREATE INDEX "Visit_note" ON "Visit" (note); UPDATE pg_index '
        "SET indisvalid = false WHERE indexrelid = '\"Visit_note\"'::regclass",
    )
    assert told.answer == 'none; the next left invalid: public."Visit_note"' and not told.untouched
    assert [step.sql for step in told.repair] == [
        'DROP INDEX CONCURRENTLY IF EXISTS public."Visit_note"',
        concurrent,
    ]
    for step in told.repair:
        night.db.execute(step.sql)
    assert (
        night.db.value(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = '\"Visit_note\"'::regclass"
        )
        is True
    )


def test_a_file_that_is_one_transaction_landed_whole_or_not_at_all(night: Any) -> None:
    told = night.half(MIXED, 2, TransactionRule.WHOLE_FILE)
    assert told.landed is None and "that of no point" in told.why


def test_statements_that_commit_together_landed_together(night: Any) -> None:
    text = (
        'BEGIN; ALTER TABLE "Patient" ADD COLUMN a int; ALTER TABLE "Patient" ADD COLUMN b int; '
        'COMMIT; ALTER TABLE "Patient" ADD COLUMN c int'
    )
    assert night.half(text, 4).landed == 4


CANNOT = {
    "two statements write one table": (
        "UPDATE \"Visit\" SET note = 'a'; UPDATE \"Visit\" SET note = 'b'",
        1,
        "",
        "does not tell whether it did",
    ),
    "a column that the file itself has added is written": (
        'ALTER TABLE "Patient" ADD COLUMN email text; UPDATE "Patient" SET email = \'x\'',
        2,
        "",
        "does not tell",
    ),
    "a block of code": ("DO $$ BEGIN NULL; END $$", 0, "", "statement 1"),
    "something that the file does not do": (
        MIXED,
        1,
        'CREATE TABLE "Somebodys" ()',
        "that of no point",
    ),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_told_says_why_and_resolves_nothing(night: Any, case: str) -> None:
    text, count, then, why = CANNOT[case]
    told = night.half(text, count, then=then)
    assert told.landed is None and why in told.why and told.repair == ()
    assert "nothing is resolved on a guess" in told.command and "cannot be told, because" in str(
        told
    )


def test_a_statement_that_wrote_no_row_counts_as_not_landed_and_runs_again(night: Any) -> None:
    assert (
        night.half(
            'UPDATE "Visit" SET note = \'x\' WHERE id > 1000; ALTER TABLE "Visit" ADD COLUMN z int',
            1,
        ).landed
        == 0
    )


def test_no_scratch_database_is_left(night: Any) -> None:
    night.half(MIXED, 1)
    assert (
        night.db.rows("SELECT datname FROM pg_database WHERE datname LIKE 'runbook_scratch%'") == []
    )


def test_what_is_kept_holds_no_constant_of_the_file(night: Any) -> None:
    told = night.half(
        'ALTER TABLE "Visit" ADD COLUMN z int; INSERT INTO "Visit" '
        "VALUES (1000, 1, 'Zebediah Markerperson')",
        1,
    )
    assert told.landed == 1 and "Zebediah" not in str(told.as_dict()) + str(
        told
    ) + told._repr_html_() + repr(told)


@pytest.fixture
def owned(server: Server) -> Iterator[Target]:
    """The same tables, of a role without superuser, beside an extension that a superuser has
    installed.
    """
    admin = Target.parse(server.url())
    with Database(admin) as db:
        db.execute("CREATE ROLE replay_owner LOGIN CREATEDB PASSWORD 'owner'")
        db.execute("CREATE DATABASE replay_owned OWNER replay_owner TEMPLATE template0")
        made = replace(admin.named("replay_owned"), user="replay_owner", password="owner")
        with Database(admin.named("replay_owned")) as superuser, Database(made) as owner:
            superuser.execute("CREATE EXTENSION pg_stat_statements")
            owner.execute(TABLES)
        yield made
        databases.drop(db, "replay_owned")
        db.execute("DROP ROLE replay_owner")


@pytest.mark.parametrize(
    ("text", "landed"),
    [
        (MIXED, 3),
        ("COMMENT ON EXTENSION pg_stat_statements IS 'x'; CREATE TABLE c (id int)", None),
    ],
)
def test_what_this_role_may_not_bring_up_in_a_copy_does_not_stand_in_the_way(
    owned: Target, tmp_path: Path, text: str, landed: int | None
) -> None:
    made = dump.make(owned, tmp_path / "b", "tests", tools=tools(owned))
    with Database(owned) as db:
        told = come_so_far(db, made, tmp_path, text, landed or 0)
    assert told.landed == landed
    assert landed or "may not bring up in a copy" in told.answer
