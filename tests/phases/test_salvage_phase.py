"""What a run will drop is known by its plan and its rehearsal, saved once, and never dropped
unsaved.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import params
from runbook_lib.errors import ApprovalNeeded, CheckError, Refused, ToolError, UsageError
from runbook_lib.phases import salvage
from runbook_lib.phases.identity import identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.salvage import Reinstate, to_be_dropped
from runbook_lib.postgres import catalog
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import history, review
from runbook_lib.prisma.effect import Change
from runbook_lib.prisma.judge import WHOLE
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[2]
Plan = Callable[..., Run]


@pytest.fixture
def db(database: str):
    """A database with two tables, one of them referred to."""
    with Database(Target.parse(database), "tests") as session:
        session.execute("""CREATE TABLE "Patient" (id int PRIMARY KEY, insurer text, note text);
                           CREATE TABLE old (id int PRIMARY KEY, a int);
                           INSERT INTO "Patient" SELECT g, 'insurer ' || g,
                               'note' FROM generate_series(1, 5) AS g;
                           INSERT INTO old VALUES (1, 1)""")
        yield session


@pytest.fixture
def plan(db: Database, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A run whose plan and rehearsal know what a file does."""
    monkeypatch.setenv("SALVAGE_URL", database)
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"], values["database"]["url"], values["backup"]["directory"] = (
        str(tmp_path / "archive"),
        "env:SALVAGE_URL",
        str(tmp_path / "backups"),
    )

    def made(
        text: str,
        seen: list[tuple[str, str]] = [],  # noqa: B006 - not changed
        digest: str = "h" * 64,
        watched: tuple[Change, ...] = (),
    ) -> Run:
        run = create(values, ["1_x"], identify(db))
        path = tmp_path / "1_x" / "migration.sql"
        path.parent.mkdir()
        path.write_text(text)
        file = history.MigrationFile.read(path)
        run.write_evidence(
            "plan",
            {
                "hash": digest,
                "files": {"1_x": file.sha256},
                "declared": review.review(
                    [file],
                    catalog=catalog.read(db).objects,
                    sizes={},
                    observed={("1_x", WHOLE): watched},
                )
                .declared()
                .as_dict(),
            },
        )
        changes = [
            {"kind": kind, "name": name, "action": "removed", "before": {}} for kind, name in seen
        ]
        run.write_evidence("promise", {"plan": digest, "difference": {"changes": changes}})
        return run

    return made


@pytest.fixture
def phase() -> Any:
    """The migrate phase of a run, its gate passed and its file pending."""
    opened: list[Migrate] = []

    def begun(run: Run) -> Migrate:
        run.begin_phase("migrate", "60_migrate.ipynb")
        opened.append(Migrate(run))
        opened[-1]._passed.add("migrate")
        return opened[-1]

    yield begun
    for one in opened:
        one._give_back()


def names(run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
    dropped = to_be_dropped(run)
    return dropped.columns, dropped.tables


def test_columns_and_tables_are_named_as_they_are_called_today(plan: Plan) -> None:
    run = plan(
        'ALTER TABLE "Patient" RENAME TO person; ALTER TABLE person RENAME COLUMN insurer TO "In '
        'surer"; ALTER TABLE person DROP COLUMN "In surer"; DROP TABLE old;',
        seen=[
            ("table", 'public."Patient"'),
            ("column", 'public."Patient".insurer'),
            ("column", 'public."Patient".note'),
            ("table", "public.old"),
        ],
    )
    assert names(run) == (('public."Patient".insurer',), ("public.old",))


def test_a_table_that_moves_to_another_schema_is_not_taken_for_dropped_though_it_was_seen_to_go(
    plan: Plan,
) -> None:
    gone = Change("table", "public.old", "removed"), Change("column", "public.old.a", "removed")
    run = plan(
        "CREATE SCHEMA other; ALTER TABLE old SET SCHEMA other; ALTER TABLE other.old DROP COLUMN "
        "a",
        watched=gone,
        seen=[("table", "public.old"), ("column", "public.old.a")],
    )
    assert names(run) == (("public.old.a",), ())


def test_a_column_that_is_dropped_and_made_again_with_another_type_is_saved(
    plan: Plan, phase: Any, db: Database
) -> None:
    run = plan("ALTER TABLE old DROP COLUMN a, ADD COLUMN a text")
    saved = salvage.save(phase(run), pending=True, landed=False)
    assert (saved.columns, saved.rows) == (("public.old.a",), 1)
    db.execute("ALTER TABLE old DROP COLUMN a, ADD COLUMN a text")
    assert salvage.save(phase(run), pending=True, landed=True) == saved
    with pytest.raises(ToolError, match="has a column a again"):
        Reinstate(run).reinstate()


def test_what_only_the_rehearsal_saw_go_is_known_too(plan: Plan) -> None:
    run = plan(
        "DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'old'; END $$;",
        seen=[("table", "public.old"), ("column", "public.old.a")],
    )
    assert names(run)[1] == ("public.old",)


def test_what_will_be_dropped_is_saved_and_brought_back(
    plan: Plan, phase: Any, db: Database
) -> None:
    run = plan('ALTER TABLE "Patient" DROP COLUMN insurer; DROP TABLE old')
    saved = salvage.save(phase(run), pending=True, landed=False)
    assert saved.folder == run.params.backup.directory / "saved" / run.key and saved.rows == 6
    db.execute('ALTER TABLE "Patient" DROP COLUMN insurer; DROP TABLE old')
    assert Reinstate(run).reinstate().open == ()
    assert (
        db.value("""SELECT count(*) FROM "Patient" WHERE insurer = 'insurer ' || id""") == 5
        and db.value("SELECT a FROM old") == 1
    )
    assert [line["what"] for line in run.read_journal()][-1] == "reinstated" and run.read_evidence(
        "reinstated"
    )
    assert not any(
        b"insurer 1" in path.read_bytes() for path in run.folder.rglob("*") if path.is_file()
    )


def test_where_nothing_landed_it_is_saved_anew_and_where_something_did_it_is_kept(
    plan: Plan, phase: Any, db: Database
) -> None:
    run = plan('ALTER TABLE "Patient" DROP COLUMN insurer; DROP TABLE old')
    first = salvage.save(phase(run), pending=True, landed=False)
    db.execute("""UPDATE "Patient" SET insurer = 'later'""")
    second = salvage.save(phase(run), pending=True, landed=False)
    assert (second.folder.name, first.folder.exists()) == (f"{run.key}-2", True)
    assert salvage.save(phase(run), pending=True, landed=True) == second
    assert Reinstate(run).earlier == (first.folder,)
    db.execute("DROP TABLE old")
    assert salvage.save(phase(run), pending=True, landed=False) == second
    (second.folder / "1_public__Patient_.copy").write_text("")
    with pytest.raises(CheckError, match="1_public__Patient_.copy"):
        salvage.save(phase(run), pending=True, landed=True)


def test_where_nothing_is_dropped_that_is_said(plan: Plan, phase: Any) -> None:
    run = plan("CREATE INDEX i ON old (a); CREATE TABLE new (id int PRIMARY KEY); DROP TABLE new")
    assert "nothing" in str(salvage.save(phase(run), pending=True, landed=False)).lower()
    assert not (run.params.backup.directory / "saved").exists()
    with pytest.raises(UsageError, match="saved nothing"):
        Reinstate(run).checks()


@pytest.mark.parametrize(
    ("made", "seen", "said"),
    [
        (
            "CREATE POLICY p ON old USING (a > 0)",
            [("column", "public.old.a")],
            "policy p on table public.old",
        ),
        ("CREATE EXTENSION citext", [("extension", "citext")], "extension citext"),
        ("CREATE SEQUENCE counter", [("sequence", "public.counter")], "sequence public.counter"),
        ("SELECT 1", [("column", "public.old.unheard_of")], "not found in the database"),
    ],
)
def test_what_cannot_be_saved_waits_for_a_person(
    plan: Plan, phase: Any, db: Database, made: str, seen: list[tuple[str, str]], said: str
) -> None:
    db.execute(made)
    run = plan("SELECT 1", seen)
    with pytest.raises(ApprovalNeeded, match=said):
        salvage.save(phase(run), pending=True, landed=False)
    assert not (run.params.backup.directory / "saved").exists()


def test_nothing_is_deployed_before_it_is_saved(
    plan: Plan, phase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = phase(plan("DROP TABLE old"))
    monkeypatch.setattr(
        Migrate, "history", history.History((history.Entry("1_x", history.State.PENDING),))
    )
    with pytest.raises(Refused, match=r"`phase.save\(\)` must come first"):
        opened.deploy()


def test_another_database_is_not_touched(
    plan: Plan, phase: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan("DROP TABLE old")
    salvage.save(phase(run), pending=True, landed=False)
    monkeypatch.setenv("SALVAGE_URL", server.url())
    with pytest.raises(CheckError, match="pinned"):
        Reinstate(run).reinstate()
