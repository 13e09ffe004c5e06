"""A rehearsal on a small project, by the real CLI: what it measures and proves, where it stops,
and what it says where it cannot be made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib import gate, params
from runbook_lib.check import Checks, Status
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import ApprovalNeeded, CheckError, GateError, Refused
from runbook_lib.phases import atomicity, rehearsal
from runbook_lib.phases.identity import identify
from runbook_lib.phases.migrate import Migrate
from runbook_lib.phases.plan import Plan
from runbook_lib.phases.rehearse import Rehearse
from runbook_lib.postgres import databases
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.costs import Cost, Costs
from runbook_lib.postgres.disk import Disk, Disks
from runbook_lib.postgres.probes import Stall, Stalls
from runbook_lib.postgres.timeline import Span, Timeline
from runbook_lib.prisma import cli
from runbook_lib.prisma.project import Project
from runbook_lib.prisma.transactions import Atomicity, Level, TransactionRule
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = """generator client {
  provider = "prisma-client"
  output   = "../generated"
}
datasource db {
  provider = "postgresql"
}
model Visit {
  id   Int     @id
  note String?
  room Int?
  done Boolean @default(false)
}
"""
INIT = (
    'CREATE TABLE "Visit" ("id" INTEGER NOT NULL, "note" TEXT, CONSTRAINT "Visit_pkey" PRIMARY '
    'KEY ("id"));\n'
)
PENDING = {
    "20260201000000_two": 'ALTER TABLE "Visit" ADD COLUMN "room" INTEGER;\nUPDATE "Visit" '
    'SET "note" = \'secretliteral\' WHERE "id" % 2 = 0;\n',
    "20260301000000_one": 'ALTER TABLE "Visit" ADD COLUMN "done" BOOLEAN NOT NULL DEFAULT false;\n',
}
CONFIG = (
    "import {{ defineConfig }} from 'prisma/config'\n"
    "{before}\n"
    "export default defineConfig({{ schema: 'prisma/schema.prisma', migrations: {{ path: "
    "'prisma/migrations' }}, datasource: {{ url: {url} }} }})\n"
)
CELLS = (
    "prepare",
    "measure",
    "apart",
    "migrate",
    "stalls",
    "stall_chart",
    "lock_chart",
    "difference",
    "validate",
    "drift",
    "size_chart",
    "atomicity",
    "roll_back",
    "chart",
    "forecast",
)


class World:
    """A small project with a database of its own."""

    def __init__(self, folder: Path, url: str, sample: Path) -> None:
        self.folder, self.url, self.target = folder, url, Target.parse(url)
        self.project = folder / "project"
        (self.project / "prisma" / "migrations").mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(sample / name, self.project / name)
        (self.project / "node_modules").symlink_to(sample / "node_modules")
        (self.project / "prisma" / "schema.prisma").write_text(SCHEMA)
        (self.project / "prisma" / "migrations" / "migration_lock.toml").write_text(
            'provider = "postgresql"\n'
        )
        self.configure()
        self.write({"20260101000000_init": INIT})
        cli.deploy(
            Project(
                self.project, engine="offline", engine_path=sample / "tooling" / "schema-engine.mjs"
            ),
            url,
        )
        with Database(self.target) as db:
            db.execute("INSERT INTO \"Visit\" SELECT g, 'note' FROM generate_series(1, 500) AS g")
        self.write(PENDING)

    def configure(self, before: str = "", url: str = "process.env.DATABASE_URL") -> None:
        """Write the project's configuration, which is a program."""
        (self.project / "prisma.config.ts").write_text(CONFIG.format(before=before, url=url))

    def write(self, files: dict[str, str]) -> None:
        """Write migrations."""
        for name, sql in files.items():
            (self.project / "prisma" / "migrations" / name).mkdir()
            (self.project / "prisma" / "migrations" / name / "migration.sql").write_text(sql)

    def start(self, name: str, reference: str = "") -> Run:
        """A run that is planned."""
        (self.folder / "url").write_text(self.url)
        values: dict[str, Any] = {
            "environment": {"name": "small", "archive": str(self.folder / "archive" / name)},
            "engineer": "Test Engineer",
            "database": {"url": reference or f"file:{self.folder / 'url'}"},
            "prisma": {
                "project": str(self.project),
                "engine": "offline",
                "environment": {"OFFLINE_ENGINE_TRANSACTIONS": "file"},
            },
            "backup": {"directory": str(self.folder / "backups")},
            "migrate": {"deadline_s": 120},
        }
        with Database(Target.parse(params.parse(values).database_url())) as db:
            found = identify(db)
        run = create(values, sorted(PENDING), found)
        plan = Plan(run)
        plan.seal()
        return run


@pytest.fixture(scope="module")
def world(
    server: Server, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The small project; no test changes its database."""
    with Database(Target.parse(server.url())) as db:
        db.execute("CREATE DATABASE small TEMPLATE template0")
        yield World(tmp_path_factory.mktemp("small"), server.url("small"), sample)
        db.execute("DROP DATABASE small WITH (FORCE)")


@pytest.fixture
def begin(world: World) -> Iterator[Callable[..., Rehearse]]:
    """Opens the phase; whatever becomes of it, nothing of it is left and the target is as it
    was.
    """
    opened: list[Rehearse] = []

    def start(run: Run) -> Rehearse:
        opened.append(Rehearse(run))
        return opened[-1]

    yield start
    world.configure()
    for phase in opened:
        phase._give_back()
    with Database(world.target) as db:
        assert (
            db.value('SELECT count(*) FROM "_prisma_migrations"') == 1
            and db.value("SELECT count(*) FROM \"Visit\" WHERE note = 'note'") == 500
        )
        assert not [name for name in databases.entries(db) if name.startswith("runbook_scratch")]


def said(phase: Rehearse, *cells: str) -> dict[str, Any]:
    """What the cells show."""
    return {cell: getattr(phase, cell)() for cell in cells}


def test_a_rehearsal_measures_and_proves(world: World, begin: Callable[..., Rehearse]) -> None:
    phase = begin(world.start("whole"))
    shown = said(phase, *CELLS)
    evidence = phase.run.read_evidence("rehearsal")
    assert evidence.keys() >= {
        "restore_s",
        "migrate_s",
        "files",
        "rollback_s",
        "swap_s",
        "stalls",
        "wal_bytes",
        "statements",
        "size_growth_bytes",
    }
    assert [(one["file"], one["line"], one["kind"]) for one in evidence["statements"]] == [
        ("20260201000000_two", 1, "ALTER TABLE"),
        ("20260201000000_two", 2, "UPDATE"),
        ("20260301000000_one", 1, "ALTER TABLE"),
    ]
    assert (
        evidence["statements"][0]["locks"][0]["table"] == 'public."Visit"'
        and evidence["wal_bytes"] > 0
    )
    assert evidence["stalls"]["tables"].keys() == {'public."Visit"'}
    visit = evidence["stalls"]["tables"]['public."Visit"']
    assert all(
        visit[kind]["requests"] > 10 and not visit[kind]["errors"] for kind in ("reader", "writer")
    )
    assert {item.found for item in shown["atomicity"]} == {
        "nothing stayed: rolled back whole",
        "not tried: it is one statement, and PostgreSQL undoes that by itself",
    }
    assert "secretliteral" not in "".join(
        path.read_text() for path in phase.run.folder.glob("evidence/rehears*")
    ) + str(shown)
    assert (phase.run.folder / "evidence" / "rehearse.statements.csv").read_text().count("\n") == 4
    assert (
        phase.run.read_evidence("promise")["plan"] == gate.plan_hash(phase.run)
        and shown["forecast"].passed
    )


def test_a_prediction_that_was_wrong_stops_the_rehearsal(
    world: World, begin: Callable[..., Rehearse]
) -> None:
    phase = begin(world.start("wrong"))
    said(phase, "prepare")
    world.configure("process.env.OFFLINE_ENGINE_TRANSACTIONS = 'statement'")
    said(phase, "measure", "apart")
    with pytest.raises(
        CheckError,
        match="20260201000000_two rolls back whole when it fails, as predicted — failed: 2 changes "
        "stayed",
    ):
        phase.atomicity()
    with pytest.raises(Refused, match="was not passed"):
        phase.require_gate("rehearse")


def test_a_cli_that_goes_elsewhere_never_comes_to_apply_anything(
    world: World, begin: Callable[..., Rehearse]
) -> None:
    phase = begin(world.start("elsewhere"))
    said(phase, "prepare")
    assert phase.project.url_variable == "DATABASE_URL"  # as it was read, before it changed
    world.configure(url=json.dumps(world.url))
    with Database(phase._copy, "a monitoring agent that looks into every database"):
        assert "no copy could be made for it: " in said(phase, "measure")["measure"].failed
    with pytest.raises(
        CheckError, match="the Prisma CLI speaks to the database that is meant — failed: small at"
    ):
        phase.apart()
    with pytest.raises(GateError, match="not proven that the Prisma CLI goes to the copy"):
        phase.migrate()
    phase._copy = phase.target
    with pytest.raises(
        CheckError, match="copy and target are two databases, by number, name and comment — failed"
    ):
        phase.apart()


@pytest.fixture
def limited(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A reference to the URL of a role that reads everything and makes no database."""
    with Database(world.target) as db:
        db.execute(
            "CREATE ROLE reading LOGIN PASSWORD 'nothing-special' IN ROLE pg_read_all_data, "
            "pg_monitor"
        )
        monkeypatch.setenv(
            "LIMITED_URL",
            world.url.replace(f"postgres:{server.password}@", "reading:nothing-special@"),
        )
        yield "env:LIMITED_URL"
        db.execute("DROP ROLE reading")


def test_without_the_right_to_make_a_copy_a_person_decides_and_it_is_said_everywhere(
    world: World, begin: Callable[..., Rehearse], limited: str
) -> None:
    run = world.start("waived", limited)
    with pytest.raises(ApprovalNeeded, match="it may not create databases"):
        begin(run).prepare()
    assert Migrate(run)._rehearsed().status is Status.FAILED
    gate.approve(run, "rehearse", "a copy cannot be had here")
    phase = begin(run)
    shown = said(phase, *CELLS)
    phase.require_gate("rehearse")
    assert all(
        "Not rehearsed: it may not create databases" in str(shown[cell]) for cell in CELLS[1:]
    )
    check = Migrate(run)._rehearsed()
    assert (
        check.status is Status.PASSED
        and "no: it may not create databases" in check.found
        and "a copy cannot be had here" in check.found
    )


def test_a_copy_that_cannot_be_restored_needs_a_person(
    world: World, begin: Callable[..., Rehearse], monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = begin(world.start("tool"))
    phase.source  # noqa: B018 - made before its program is gone
    monkeypatch.setattr(type(phase.tools), "path", lambda self, name: "/nowhere/pg_restore")
    with pytest.raises(ApprovalNeeded, match=r"(?s)a copy was restored.*could not be started"):
        phase.prepare()


def test_what_is_too_large_to_be_copied_for_a_proof_could_not_be_checked() -> None:
    large = SimpleNamespace(
        _proofs={},
        _used=set(),
        _costs=Costs(()),
        source=SimpleNamespace(snapshot=SimpleNamespace(database_bytes=2**40)),
    )
    found = Rehearse._try(large, Atomicity("1_x", Level.WHOLE, "…", 2))  # type: ignore[arg-type]
    assert (
        found.status is Status.UNKNOWN
        and "1.0 TiB" in found.found
        and "up to 5.0 GiB" in found.found
    )


@pytest.mark.parametrize(
    ("level", "rule", "stayed", "visible", "status"),
    [
        (Level.WHOLE, TransactionRule.WHOLE_FILE, [], True, Status.PASSED),
        (Level.WHOLE, TransactionRule.WHOLE_FILE, ["x"], True, Status.FAILED),
        (Level.PARTLY, TransactionRule.EACH_STATEMENT, ["x"], True, Status.PASSED),
        (Level.PARTLY, TransactionRule.EACH_STATEMENT, [], True, Status.FAILED),
        (Level.PARTLY, TransactionRule.EACH_STATEMENT, [], False, Status.UNKNOWN),
        (Level.PARTLY, TransactionRule.EACH_IF_PARSED, [], True, Status.PASSED),
        (Level.WHOLE, TransactionRule.EACH_IF_PARSED, ["x"], True, Status.FAILED),
    ],
)
def test_what_stayed_is_held_against_the_prediction(
    level: Level, rule: TransactionRule, stayed: list[str], visible: bool, status: Status
) -> None:
    assert atomicity.judge(Atomicity("1_x", level, "…", 2), stayed, rule, visible).status is status


def stalls(longest: float, left_out: tuple[str, ...] = ()) -> Stalls:
    return Stalls(
        (
            Stall(
                'public."Visit"',
                "writer",
                9,
                longest,
                longest / 2,
                {},
                "…",
                ((0.0, longest), (1.0, 0.0)),
            ),
        ),
        0.02,
        left_out,
    )


COSTS = Costs((Cost("1_x", 1, "UPDATE", 1.0, (), (), 2**20, 0, 2**30, 2**30 + 2**20),))


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        (rehearsal.stall_checks(stalls(9.9), 10), [Status.PASSED]),
        (rehearsal.stall_checks(stalls(10.1), 10), [Status.FAILED]),
        (rehearsal.stall_checks(Stalls((), 0.02), 10), [Status.PASSED]),
        (rehearsal.stall_checks(stalls(1, ("public.far",)), 10), [Status.PASSED, Status.UNKNOWN]),
        ([rehearsal.room_check(COSTS, Disks((Disk("data", "/", 2**22, 2**30),)))], [Status.PASSED]),
        ([rehearsal.room_check(COSTS, Disks((Disk("data", "/", 2**20, 2**30),)))], [Status.FAILED]),
        (
            [rehearsal.room_check(COSTS, Disks((Disk("data", "/", why="another machine"),)))],
            [Status.UNKNOWN],
        ),
        (
            [rehearsal.room_check(Costs((), "no copy"), Disks((Disk("data", "/", 2**22, 2**30),)))],
            [Status.UNKNOWN],
        ),
    ],
)
def test_go_or_no_go(checks: list[Any], expected: list[Status]) -> None:
    assert [item.status for item in checks] == expected


def test_the_charts_say_their_finding_and_tell_waiting_from_holding() -> None:
    spans = (
        Span('public."Visit"', "prisma", "holds", "ShareLock", 1.0, 3.0),
        Span('public."Visit"', "writer", "waits for", "RowExclusiveLock", 1.1, 3.0, ("prisma",)),
    )
    locks = rehearsal.lock_chart(Timeline(spans, 40))
    assert (
        '"Visit": writer waits for prisma' in locks.svg
        and '"Visit": prisma holds Share' in locks.svg
        and "A writer waited longest, about 1.9 s" in locks.title
        and len(locks.table) == 2
    )
    assert rehearsal.lock_chart(Timeline((), 40)).svg == ""
    assert (
        "limit" not in rehearsal.stall_chart(stalls(1), 10).svg
        and "limit 10" in rehearsal.stall_chart(stalls(5), 10).svg
    )
    assert (
        Checks("…", rehearsal.stall_checks(stalls(20), 10))
        .failed[0]
        .remedy.count("migrate.max_stall_s")
        == 1
    )
    small, large = (
        SimpleNamespace(
            database_bytes=size, tables={name: SimpleNamespace(total_bytes=size) for name in names}
        )
        for size, names in ((2**20, ["public.a"]), (2**21, ["public.a", "public.b"]))
    )
    assert [row[0] for row in sorted(rehearsal.size_chart(small, large).table.rows)] == ["a", "b"]


def test_where_prisma_cannot_compare_a_person_decides_and_the_rehearsal_goes_on(
    world: World, begin: Callable[..., Rehearse]
) -> None:
    world.configure("if (process.argv.includes('diff')) throw new Error('not today')")
    try:
        phase = begin(world.start("not_compared"))
        assert said(phase, *CELLS[:-1])["drift"].marks == ["unknown"]
        with pytest.raises(ApprovalNeeded) as waits:
            phase.forecast()
        assert "`db pull` reads the database" in str(waits.value)
    finally:
        world.configure()
    assert phase.run.read_evidence("promise")["differing"] is None
