"""The account of writes: whoever writes whatever, at whatever moment of the night, no way back
that would lose it is taken unasked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib import gate, params
from runbook_lib.check import Checks, check
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import ApprovalNeeded, DatabaseError
from runbook_lib.phases import last_look, price, retention
from runbook_lib.phases.rollback import Rollback
from runbook_lib.phases.writes import SCHEMA, Span
from runbook_lib.postgres import catalog, dump, sequences, snapshot, wal, writers
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.postgres.tools import tools
from runbook_lib.prisma.transactions import TransactionRule
from runbook_lib.process import run
from runbook_lib.run import create

ROOT = Path(__file__).resolve().parents[2]
FILE = "20260101000000_add"
NAMES = ("Ins", "Upd", "Del", "Tru", "Cop", "Unlogged", "Own")
TABLES = """
    CREATE TABLE _prisma_migrations (id text, checksum text, finished_at timestamptz,
        migration_name text, logs text, rolled_back_at timestamptz,
                                     started_at timestamptz DEFAULT now(),
                                         applied_steps_count int DEFAULT 0);
    CREATE SEQUENCE "Numbers"; SELECT lo_from_bytea(4711, 'x');
""" + "".join(
    f'CREATE {"UNLOGGED" if name == "Unlogged" else ""} TABLE "{name}" (id int PRIMARY KEY, note '
    "text);"
    f"INSERT INTO \"{name}\" SELECT g, 'fictitious ' || g FROM generate_series(1, 20) AS g;"
    for name in NAMES
)
MIGRATION = """ALTER TABLE "Own" ADD COLUMN room text; UPDATE "Own" SET room = 'r' WHERE id < 9;"""
ACTS: Mapping[str, tuple[str, str]] = {
    "INSERT": ("""INSERT INTO "Ins" VALUES (100, 'late')""", 'public."Ins"'),
    "UPDATE": ("""UPDATE "Upd" SET note = 'late' WHERE id = 1""", 'public."Upd"'),
    "DELETE": ("""DELETE FROM "Del" WHERE id = 1""", 'public."Del"'),
    "TRUNCATE": ("""TRUNCATE "Tru" """, 'public."Tru"'),
    "COPY": ("COPY", 'public."Cop"'),
    "INSERT into an unlogged table": (
        """INSERT INTO "Unlogged" VALUES (100, 'late')""",
        'public."Unlogged"',
    ),
    "INSERT into the table that is migrated": (
        """INSERT INTO "Own" (id, note) VALUES (100, 'late')""",
        'public."Own"',
    ),
    "a large object": ("SELECT lo_put(4711, 0, 'y')", "large objects"),
    "DDL": ('CREATE TABLE "New" (id int)', SCHEMA),
    "a function": ("CREATE FUNCTION late() RETURNS int LANGUAGE sql AS 'SELECT 1'", SCHEMA),
    "a setting": ("SETTING", "database: work_mem"),
}
"""Act → the statement, and what it must be found under."""
MOMENTS = (
    "between backup and state before",
    "between state before and migration",
    "while it migrates",
    "after the migration",
)


class Example(Rollback):
    """A rollback of a run that was brought to this point by the test."""


@contextmanager
def world(server: Server, folder: Path, name: str) -> Iterator[Example]:
    """A run before its backup, on a database of its own."""
    with Database(Target.parse(server.url())) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier(name)))
    (folder / "url").write_text(server.url(name))
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"] = str(folder / "archive")
    values["database"]["url"], values["service"] = f"file:{folder / 'url'}", None
    values["database"]["tools"] = str(server.binaries)
    values["rollback"] = {"automatic": True}
    values["backup"]["directory"] = str(folder / "backups")
    values["approvals"] = {"required": []}
    (folder / "migrations" / FILE).mkdir(parents=True)
    (folder / "migrations" / FILE / "migration.sql").write_text(MIGRATION)
    pinned = {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1}
    phase = Example(create(values, [FILE], pinned))
    phase.__dict__["project"] = SimpleNamespace(
        migrations=folder / "migrations", transaction_rule=TransactionRule.EACH_IF_PARSED
    )
    failed = check("trigger.migration", "the migration did not fail", False, "failed")
    phase._resumed, phase._fired = None, Checks("fired", [failed])
    others(phase, TABLES)
    _until_counted(phase.db)
    yield phase
    phase._give_back()
    with Database(Target.parse(server.url())) as admin:
        for made in (name, *phase.__dict__.get("made", ())):
            admin.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier(made))
            )


def _until_counted(db: Database) -> None:
    """Wait until the server counts in a new database: up to 14 it begins some time later."""
    known = "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
    while db.server_version < 15_00_00 and db.value(known) is None:
        time.sleep(0.01)


def others(phase: Rollback, statement: str) -> None:
    """Somebody else's act, in a session that has ended when this returns."""
    with Database(Target.parse(phase.params.database_url()), "front desk") as desk:
        pid = desk.pid
        if statement == "COPY":
            with desk.connection.cursor() as cursor, cursor.copy('COPY "Cop" FROM STDIN') as copy:
                copy.write("100\tlate\n")
        elif statement == "SETTING":
            name = identifier(desk.target.database)
            desk.execute(sql.SQL("ALTER DATABASE {} SET work_mem = '5MB'").format(name))
        else:
            desk.execute(statement)
    while phase.db.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]):
        time.sleep(0.01)


def back_up(phase: Rollback, folder: Path) -> None:
    phase.run.write_evidence("backup.counters", writers.counters(phase.db))
    programs = tools(phase.target, phase.params.database.tools)
    made = dump.make(phase.target, folder, "tests", tools=programs)
    record = {"folder": str(folder), "sha256": made.sha256, "proven_at": "2026-01-01T00:00:00Z"}
    phase.run.write_evidence(
        "backup", {**record, "proven_on": "here", "restore_s": 70.0, "way_back_s": 90.0}
    )


def fix(phase: Rollback, left_alone: tuple[str, ...] = ("id", "note")) -> None:
    """The state before the migration, as 50_announce takes it.

    Args:
        left_alone: the columns of `Own` that the plan does not write.
    """
    change = {"kind": "column", "name": 'public."Own".room', "action": "added", "property": ""}
    rows = {'public."Own"': {"inserted": False, "deleted": False, "updated": ["room"]}}
    plan = {"changes": [change], "rows": rows, "tables": ['public."Own"'], "unclear": []}
    phase.run.write_evidence("plan", {"hash": "p", "files": {FILE: "x"}, "declared": plan})
    counters, objects = writers.counters(phase.db), catalog.read(phase.db)
    kept = {'public."Own"': [left_alone]}
    phase.run.write_evidence("before.snapshot", snapshot.take(phase.target, "tests", columns=kept))
    phase.run.write_evidence("before.counters", counters)
    phase.run.write_evidence("before.files", wal.files(phase.db))
    phase.run.write_evidence("before.catalog", objects)


def migrate(
    phase: Rollback, meanwhile: Callable[[], None] = lambda: None, each: bool = False
) -> None:
    """The file lands, as one transaction or each statement by itself; the next one, which has
    failed, leaves no trace.
    """
    phase.run.journal("migration begun", files=[FILE])
    meanwhile()
    for statement in MIGRATION.strip(";").split(";") if each else [f"BEGIN; {MIGRATION} COMMIT"]:
        others(phase, statement)
    row = f"('1', 'x', '{FILE}', now())"
    others(
        phase,
        f"INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) VALUES {row}",
    )


def rehearse(phase: Rollback, rows: int) -> None:
    """What the plan and its rehearsal say of each statement: the second one wrote so many rows."""
    said = [{"file": FILE, "line": 1, "kind": kind} for kind in ("ALTER TABLE", "UPDATE")]
    own = [{"table": 'public."Own"', "action": "update", "columns": ["room"]}]
    review = [
        one | {"statement": number, "transaction": "", "rows": own * (number - 1)}
        for number, one in enumerate(said, 1)
    ]
    phase.run.write_evidence("plan.review", {"statements": review})
    phase.run.write_evidence("promise", {"plan": "p", "difference": {"changes": []}})
    counts = [one | {"rows": count} for one, count in zip(said, (None, rows), strict=False)]
    phase.run.write_evidence("rehearsal", {"statements": counts})


def night(phase: Rollback, folder: Path, moment: str, *statements: str) -> None:
    """All of it, with statements of others at one moment."""

    def act(now: str) -> None:
        for statement in statements if now == moment else ():
            others(phase, statement)

    back_up(phase, folder / "backup")
    act(MOMENTS[0])
    fix(phase)
    act(MOMENTS[1])
    migrate(phase, lambda: act(MOMENTS[2]))
    act(MOMENTS[3])


@pytest.fixture(scope="module")
def told(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[price.Losses, str, str]]]:
    """Moment → what is said to be lost where all acts happened then, the way that was chosen,
    and what deciding it automatically came to.
    """
    with ExitStack() as stack:

        @cache
        def of(moment: str) -> tuple[price.Losses, str, str]:
            folder = tmp_path_factory.mktemp("night")
            phase = stack.enter_context(world(server, folder, f"writes_{MOMENTS.index(moment)}"))
            night(phase, folder, moment, *(statement for statement, _ in ACTS.values()))
            lost, way = phase.losses, phase.way
            try:
                phase.decide()
            except ApprovalNeeded as error:
                return lost, way, error.message
            return lost, way, ""

        yield of


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_whatever_anybody_writes_at_any_moment_is_in_the_price_of_a_restore(
    told: Callable[[str], Any], moment: str, act: str
) -> None:
    lost, _, asked = told(moment)
    name = ACTS[act][1]
    assert name in lost.names("restore") and name in asked
    assert (name in lost.names("point-in-time")) == (moment != MOMENTS[0])
    assert lost.names("resolve") == lost.names("forward") == ()


@pytest.fixture
def phase(server: Server, tmp_path: Path) -> Iterator[Example]:
    with world(server, tmp_path, "writes_one") as made:
        yield made


def test_where_only_the_migration_wrote_the_way_back_is_proven_to_lose_nothing(
    phase: Example, tmp_path: Path
) -> None:
    night(phase, tmp_path, "never")
    assert phase.losses.words("restore") == "" and phase.way == "restore"
    phase.decide()


@pytest.mark.parametrize(
    "rehearsed, foreign, proven",
    [(8, "", True), (0, "", False), (8, """UPDATE "Own" SET room = 'x' WHERE id = 15""", False)],
)
def test_statements_that_commit_alone_are_told_by_their_number(
    phase: Example, tmp_path: Path, rehearsed: int, foreign: str, proven: bool
) -> None:
    back_up(phase, tmp_path / "backup")
    fix(phase)
    rehearse(phase, rehearsed)
    migrate(phase, each=True)
    if foreign:
        others(phase, foreign)
    assert [*phase.losses.since.doubt] == ([] if proven else ['public."Own"'])
    assert not phase.losses.since.lost


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE "Own" SET room = 'mine' WHERE id = 15""",
        """UPDATE "Own" SET room = 'mine' WHERE id = 3""",
        """BEGIN; UPDATE "Own" SET room = 'mine' WHERE id = 15; CREATE TEMP TABLE t (); COMMIT""",
    ],
)
def test_a_write_into_the_very_column_that_the_migration_filled_is_in_doubt(
    phase: Example, tmp_path: Path, statement: str
) -> None:
    night(phase, tmp_path, MOMENTS[3], statement)
    assert [*phase.losses.since.doubt] == ['public."Own"'] and not phase.losses.since.lost
    with pytest.raises(ApprovalNeeded, match='may lose writes of public."Own"'):
        phase.decide()


def test_who_approved_before_the_writes_were_known_is_asked_again(
    phase: Example, tmp_path: Path
) -> None:
    night(phase, tmp_path, "never")
    gate.approve(phase.run, "rollback", "it failed")
    others(phase, ACTS["INSERT"][0])
    with pytest.raises(ApprovalNeeded, match="given before that was known"):
        phase.decide()


def test_before_a_state_before_was_taken_the_backup_itself_is_what_the_database_is_held_against(
    phase: Example, tmp_path: Path
) -> None:
    back_up(phase, tmp_path / "backup")
    assert phase.losses.words("restore") == ""
    phase._look_again()
    others(phase, ACTS["INSERT"][0])
    phase._look_again()
    assert phase.losses.before.lost == {'public."Ins"': "+1 rows; by the counters 1 inserted"}


def restored_beside(phase: Example, tmp_path: Path) -> dict[str, str]:
    """The way back up to the swap; its names."""
    phase.decide()
    names = phase._names(phase._source)
    phase.__dict__["made"] = (names["restored"], names["failed"])
    phase._restore_beside(phase._source, names)
    return names


def test_a_write_after_the_decision_is_found_with_connections_refused_and_nothing_is_swapped(
    phase: Example, tmp_path: Path
) -> None:
    night(phase, tmp_path, "never")
    names = restored_beside(phase, tmp_path)
    for statement, name in ACTS.values():
        others(phase, statement)
        said = {"large objects": writers.LARGE_OBJECTS}.get(name, name)
        with pytest.raises(ApprovalNeeded, match="written since the way back was priced") as found:
            phase._swap(names)
        assert said in found.value.message
        assert phase._interrupted() is None
        phase._look_again()
        last_look.keep(phase, phase._now, price.Losses(Span(), Span()), "restore")
    assert phase.db.value('SELECT count(*) FROM "Ins"') == 21


def test_a_session_that_is_still_in_its_transaction_is_ended_and_what_it_wrote_was_never_committed(
    phase: Example, tmp_path: Path
) -> None:
    night(phase, tmp_path, "never")
    names = restored_beside(phase, tmp_path)
    with Database(Target.parse(phase.params.database_url()), "front desk") as desk:
        desk.execute("BEGIN")
        desk.execute(ACTS["INSERT"][0])
        with pytest.raises(ApprovalNeeded, match='public."Ins": 1 inserted'):
            phase._swap(names)
    phase._look_again()
    phase.decide()
    phase._swap(names)


def test_numbers_that_a_sequence_gave_out_since_the_backup_are_not_given_out_again(
    phase: Example, tmp_path: Path
) -> None:
    back_up(phase, tmp_path / "backup")
    others(phase, """SELECT nextval('"Numbers"') FROM generate_series(1, 5)""")
    fix(phase)
    migrate(phase)
    assert phase.losses.words("restore") == ""
    names = restored_beside(phase, tmp_path)
    others(phase, """SELECT nextval('"Numbers"')""")
    phase._swap(names)
    assert phase.db.value("""SELECT nextval('"Numbers"')""") == 7


def test_an_interrupted_swap_is_not_finished_over_what_was_written_meanwhile(
    phase: Example, tmp_path: Path
) -> None:
    night(phase, tmp_path, "never")
    names = restored_beside(phase, tmp_path)
    others(phase, ACTS["UPDATE"][0])
    phase._resumed = phase._interrupted()
    assert phase._resumed == names and not phase._finished(names)
    assert phase._interrupted() is None
    assert (
        phase.db.value('SELECT count(*) FROM "Own" WHERE room IS NOT NULL') == 8
    )  # the live one is live


@pytest.mark.parametrize("increment, behind", [(1, (5, True)), (-1, (-5, True)), (1, (6, False))])
def test_a_sequence_is_behind_in_its_own_direction(
    increment: int, behind: tuple[int, bool]
) -> None:
    ahead = sequences.Position(6 * (1 if increment > 0 else -1), True, increment)
    assert sequences.Position(*behind, increment).behind(ahead)
    assert not ahead.behind(sequences.Position(*behind, increment))


def test_rows_that_are_left_behind_are_saved_and_the_sql_beside_them_brings_them_back(
    phase: Example, tmp_path: Path
) -> None:
    """Writes of every kind, of every moment; the migration's own are not among them."""
    others(
        phase,
        """CREATE TABLE "Line" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int """
        """REFERENCES "Ins", twice int GENERATED ALWAYS AS (parent * 2) STORED)""",
    )
    back_up(phase, tmp_path / "backup")
    others(phase, """INSERT INTO "Ins" VALUES (100, E'tab\\t"quote"\\n''ö'), (101, NULL)""")
    others(phase, """INSERT INTO "Line" (parent) VALUES (101), (1)""")
    fix(phase)
    others(
        phase,
        """UPDATE "Upd" SET note = 'late' WHERE id < 4; UPDATE "Ins" SET id = 102 WHERE id = 2""",
    )
    migrate(phase)
    others(
        phase,
        """DELETE FROM "Del" WHERE id > 18; INSERT INTO "Own" (id, note) """
        """VALUES (100, 'late'); TRUNCATE "Tru" """,
    )
    tables = [f'public."{name}"' for name in (*NAMES, "Line")]
    before = snapshot.take(phase.target, "tests", columns={'public."Own"': [["id", "note"]]})
    with pytest.raises(ApprovalNeeded):
        phase.decide()
    gate.approve(phase.run, "rollback", "they are brought back afterwards", way="restore")
    names = restored_beside(phase, tmp_path)
    phase._swap(names)
    assert phase.db.value('SELECT count(*) FROM "Ins"') == 20
    saved = next(
        line for line in phase.run.read_journal() if line["what"] == "rows left behind saved"
    )
    folder = Path(saved["folder"])
    assert folder.is_relative_to(tmp_path / "backups") and folder.stat().st_mode & 0o77 == 0
    assert (folder / "manifest.json").exists() and "100, 'late'" not in str(saved)
    run(
        [
            tools(phase.target).path("psql"),
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            "bring_back.sql",
        ],
        cwd=folder,
        env=phase.target.environment("tests"),
    )
    after = snapshot.take(phase.target, "tests")
    kept = {'public."Own"': ("id", "note")}
    differing = {item.name for item in before.compare(after, kept).differing}
    assert not differing & {*tables}
    prune = {one.kind: one.why for one in retention._left_behind(phase.params, 0)}
    assert prune == {"rows left behind": ""}
    assert "younger" in next(iter(retention._left_behind(phase.params, 30))).why


DROPS = (
    """ALTER TABLE "Own" ADD COLUMN room text; UPDATE "Own" SET room = 'r'; DELETE """
    """FROM "Own" WHERE id = 1; DROP TABLE "Tru";"""
)
STRANGE = {
    "nobody": ("", []),
    "a row that the migration then deleted": (
        """UPDATE "Own" SET note = 'late' WHERE id = 1""",
        ['public."Own"'],
    ),
    "a row of the table that was dropped": (
        """INSERT INTO "Tru" VALUES (100, 'late')""",
        ['public."Tru"'],
    ),
    "the table that was dropped, emptied before": ("""TRUNCATE "Tru" """, ['public."Tru"']),
    "a table beside it": (ACTS["INSERT"][0], []),
}


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("who", STRANGE)
def test_where_the_log_can_be_read_it_tells_who_wrote_what_is_gone(
    phase: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, readable: bool
) -> None:
    statement, doubt = STRANGE[who]
    if readable:
        others(phase, "CREATE EXTENSION pg_walinspect")
    back_up(phase, tmp_path / "backup")
    fix(phase)
    plan = phase.run.read_evidence("plan")
    gone = {"kind": "table", "name": 'public."Tru"', "action": "removed", "property": ""}
    plan["declared"]["changes"].append(gone)
    plan["declared"]["rows"]['public."Own"']["deleted"] = True
    phase.run.write_evidence("plan", plan)
    with phase.db.connection.transaction(force_rollback=True):
        before = catalog.read(phase.db)
        phase.db.execute(DROPS)
        promised = catalog.difference(before, catalog.read(phase.db))
    phase.run.write_evidence("promise", {"difference": promised.as_dict()})
    monkeypatch.setattr(f"{__name__}.MIGRATION", DROPS)
    migrate(phase, lambda: statement and others(phase, statement))
    both = ['public."Own"', 'public."Tru"']
    assert sorted(phase.losses.since.doubt) == (doubt if readable else both)
    assert ('public."Ins"' in phase.losses.since.lost) == (who == "a table beside it")


HARMLESS = {
    "a transaction that was rolled back": (
        """BEGIN; INSERT INTO "Ins" VALUES (100, 'x'); DELETE FROM "Del"; ROLLBACK"""
    ),
    "a row that came and went": (
        """INSERT INTO "Ins" VALUES (100, 'x'); DELETE FROM "Ins" WHERE id = 100"""
    ),
    "a temporary table": "CREATE TEMP TABLE mine (id int); INSERT INTO mine VALUES (1)",
    "ANALYZE and VACUUM": 'ANALYZE; SELECT 1 FROM "Own"',
    "a row that was only locked": 'BEGIN; SELECT FROM "Own" FOR UPDATE; COMMIT',
}


@pytest.mark.parametrize("moment", MOMENTS[1:])
@pytest.mark.parametrize("what", HARMLESS)
def test_what_leaves_no_trace_in_the_content_loses_nothing(
    phase: Example, tmp_path: Path, what: str, moment: str
) -> None:
    night(phase, tmp_path, moment, HARMLESS[what])
    assert phase.losses.words("restore") == ""


def test_what_the_migration_was_to_write_and_did_not_loses_nothing(
    phase: Example, tmp_path: Path
) -> None:
    back_up(phase, tmp_path / "backup")
    fix(phase, left_alone=("id",))
    phase.run.journal("migration begun", files=[FILE])
    others(phase, """BEGIN; UPDATE "Own" SET note = 'x' WHERE id = 1; ROLLBACK""")
    assert writers.counters(phase.db).tables['public."Own"'].updated  # it was counted
    assert phase.losses.words("restore") == ""


def test_counters_of_one_table_that_were_reset_are_not_taken_for_nothing_written(
    phase: Example, tmp_path: Path
) -> None:
    reset = """SELECT pg_stat_reset_single_table_counters('"Own"'::regclass)"""
    night(phase, tmp_path, MOMENTS[3], reset)
    assert 'public."Own"' in phase.losses.since.doubt


class Reconnecting(threading.Thread):
    """An application that comes back as soon as its session is ended, and writes each time."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._target, self.over, self.wrote = Target.parse(url), threading.Event(), 0

    def run(self) -> None:
        while not self.over.is_set():
            with suppress(DatabaseError), Database(self._target, "app") as db:
                while not self.over.is_set():
                    self.wrote += db.execute("""UPDATE "Upd" SET note = note || 'x' WHERE id = 1""")


def test_an_application_that_reconnects_at_once_is_kept_out_and_what_it_wrote_is_found(
    phase: Example, tmp_path: Path
) -> None:
    night(phase, tmp_path, "never")
    names = restored_beside(phase, tmp_path)
    app = Reconnecting(phase.params.database_url())
    app.start()
    while not app.wrote:
        time.sleep(0.01)
    with pytest.raises(ApprovalNeeded, match='public."Upd"'):
        phase._swap(names)
    before = app.wrote
    while app.wrote == before:  # it is let in again
        time.sleep(0.01)
    phase._look_again()
    with pytest.raises(ApprovalNeeded):
        phase.decide()
    gate.approve(phase.run, "rollback", "these writes may go", way="restore")
    phase._look_again()
    phase.decide()
    phase._swap(names)
    app.over.set()
    app.join(10)


def test_every_major_version_counts_and_tells_alike(any_server: Server, tmp_path: Path) -> None:
    with world(any_server, tmp_path, "writes_major") as phase:
        night(phase, tmp_path, "never")
        assert phase.losses.words("restore") == ""
        names = restored_beside(phase, tmp_path)
        others(phase, ACTS["UPDATE"][0])
        with pytest.raises(ApprovalNeeded, match='public."Upd": 1 updated'):
            phase._swap(names)
        phase._look_again()
        assert phase.losses.words("restore") == (
            'public."Upd": content differs; by the counters 1 updated'
        )
        last_look.keep(phase, phase._now, phase.losses, "restore")
        phase._swap(names)
        (left,) = retention._left_behind(phase.params, 0)
        assert left.kind == "rows left behind"
