"""What nobody declared: where it lies, by the run's own backup, and told apart from what the
application wrote.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook_lib import params
from runbook_lib.check import Checks
from runbook_lib.phases import past
from runbook_lib.phases.announce import Announce
from runbook_lib.phases.baseline import NOTHING
from runbook_lib.phases.declared import Content, Verdict
from runbook_lib.phases.validate import Validate
from runbook_lib.postgres import dump, statistics
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.tools import tools
from runbook_lib.run import Run, create
from tests.service.small_application import Application

ROOT = Path(__file__).resolve().parents[2]
FILE = "20260101000000_add"
TABLES = """
CREATE TABLE "Visit" (id int PRIMARY KEY, note text);
INSERT INTO "Visit" SELECT g, 'fictitious ' || g FROM generate_series(1, 200) AS g;
CREATE TABLE "Login" (address text PRIMARY KEY, seen int);
INSERT INTO "Login" SELECT 'nobody' || g || '@example.org', g FROM generate_series(1, 200) AS g;
"""


class Story:
    """A run up to its validation, with an application that is switched by the test."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder, self.announce, self.phase = run, folder, Announce(run), Validate(run)

    def back_up(self) -> None:
        made = dump.make(
            self.phase.target, self.folder / "backup", "tests", tools=tools(self.phase.target)
        )
        self.run.write_evidence("backup", {"folder": str(made.folder), "sha256": made.sha256})
        self.run.write_evidence("backup.statistics", statistics.read(self.phase.db))
        self.run.write_evidence("backup.baseline", [])

    def fix(self, proof: bool = True) -> None:
        """Maintenance mode, proven or not asked for, and the state before."""
        self.run.write_evidence(
            "plan", {"hash": "p", "files": {FILE: "x"}, "declared": NOTHING.as_dict()}
        )
        if proof:
            self.announce.proof()
        self.announce._passed.add("announce")
        self.announce.fix_the_state_before()

    def write(self, *statements: str) -> None:
        """Somebody else's writes, whose counters are reported because the session ends."""
        with Database(self.phase.target, "front desk") as desk:
            for statement in statements:
                desk.execute(statement)

    def validated(self) -> tuple[Content, Checks]:
        found = self.phase.only_the_declared_change()
        return found, found.checks()


@pytest.fixture
def application() -> Iterator[Application]:
    """A running application that is in maintenance mode."""
    server = Application()
    server.maintenance = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def night(
    database: str, application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Story]:
    """A run, before its backup."""
    monkeypatch.setenv("NIGHT_URL", database)
    monkeypatch.setattr("runbook_lib.phases.announce.OBSERVED_S", 0.1)
    values = params.load(ROOT / "params" / "demo.yaml")
    values["environment"]["archive"], values["database"]["url"] = (
        str(tmp_path / "archive"),
        "env:NIGHT_URL",
    )
    values["service"] = {
        "url": application.url,
        "maintenance": {
            "enable": "true",
            "disable": "true",
            "write": {"path": "/write", "json": {}},
        },
    }
    story = Story(
        create(
            values,
            [FILE],
            {"host": "h", "database": "d", "system_identifier": "1", "database_oid": 1},
        ),
        tmp_path,
    )
    story.phase.db.execute(TABLES)
    yield story
    story.phase._give_back()
    story.announce._give_back()
    with Database(Target.parse(database)) as db:
        db.execute("DROP ROLE IF EXISTS narrow_minded")
    assert not [name for name in _databases(database) if name.startswith("runbook_scratch")]


def _databases(url: str) -> list[str]:
    with Database(Target.parse(url)) as db:
        return [row["datname"] for row in db.rows("SELECT datname FROM pg_database")]


def test_an_undeclared_difference_fails_with_its_key_range(night: Story) -> None:
    night.back_up()
    night.fix()
    night.write(
        'UPDATE "Visit" SET note = NULL WHERE id IN (50, 53)', 'DELETE FROM "Login" WHERE seen = 7'
    )
    found, checks = night.validated()
    assert not checks.unknown and {
        item.found.name: str(item.where) for item in found.having(Verdict.UNDECLARED)
    } == {
        'public."Visit"': "id 50 to 53: 2 changed (in note)",
        'public."Login"': "between the rows 177 and 178 in the order of address: 1 missing",
    }
    assert "id 50 to 53" in checks.failed[0].found
    evidence = "".join(path.read_text() for path in night.run.folder.rglob("*.json*"))
    assert (
        "example.org" not in evidence
        and "example.org" not in f"{found}{found._repr_html_()}{checks}"
    )


def test_where_nothing_differs_no_backup_is_brought_up(
    night: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.back_up()
    night.fix()
    monkeypatch.setattr(
        past.scratch, "reserved", lambda *_: pytest.fail("a scratch database was asked for")
    )
    assert night.validated()[1].passed


def test_what_was_written_before_maintenance_mode_is_told_apart(night: Story) -> None:
    night.back_up()
    night.write(
        "INSERT INTO \"Visit\" VALUES (900, 'walk-in')",
        'UPDATE "Visit" SET note = NULL WHERE id = 3',
    )
    night.fix()
    found, checks = night.validated()
    assert checks.passed and [item.id for item in checks] == ["content.declared", "content.earlier"]
    assert (
        "1 inserted, 1 updated" in checks.items[1].found
        and 'public."Visit": rows differ (200 → 201)' in checks.items[1].found
    )
    night.write('UPDATE "Visit" SET note = NULL WHERE id = 5')
    night.phase.__dict__.pop("content")
    found, checks = night.validated()
    assert (
        "id 3 to 900: 1 added, 2 changed (in note); rows that were written between backup and "
        "maintenance mode are among them" in checks.failed[0].found
    )


def test_without_maintenance_mode_a_person_has_to_look(night: Story) -> None:
    night.back_up()
    night.fix(proof=False)
    night.write('UPDATE "Visit" SET note = NULL WHERE id = 3')
    found, checks = night.validated()
    assert not checks.failed and [item.id for item in checks.unknown] == [
        'content.application: public."Visit"'
    ]
    assert (
        "id 3: 1 changed" in checks.unknown[0].found
        and "1 updated" in checks.unknown[0].found
        and "not proven" in checks.unknown[0].found
    )
    assert not checks.passed and "may have written" in found.finding()


def test_without_maintenance_mode_more_rows_than_were_counted_are_undeclared(
    night: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook_lib.phases.undeclared.LAG_S", 0)
    night.back_up()
    night.fix(proof=False)
    night.write(
        'UPDATE "Visit" SET note = NULL WHERE id = 3', 'TRUNCATE "Login"'
    )  # which no counter tells
    found, checks = night.validated()
    assert [item.found.name for item in found.having(Verdict.UNDECLARED)] == [
        'public."Login"'
    ] and "200 missing" in checks.failed[0].found
    assert [item.found.name for item in found.having(Verdict.WROTE)] == ['public."Visit"']


def test_maintenance_mode_that_is_off_by_now_proves_nothing(
    night: Story, application: Application
) -> None:
    night.back_up()
    night.fix()
    application.maintenance = False
    night.write('UPDATE "Visit" SET note = NULL WHERE id = 3')
    assert "is off by now" in night.validated()[1].unknown[0].found


def test_counters_that_began_anew_tell_nothing(night: Story) -> None:
    night.back_up()
    night.fix(proof=False)
    night.write('UPDATE "Visit" SET note = NULL WHERE id = 3', "SELECT pg_stat_reset()")
    found, checks = night.validated()
    assert (
        [item.id for item in checks.unknown] == ["content.compared"]
        and "began anew" in checks.unknown[0].found
        and not checks.failed
    )


def _no_backup(night: Story) -> None:
    (night.run.folder / "evidence" / "backup.json").unlink()


def _damaged(night: Story) -> None:
    for path in (night.folder / "backup" / "dump").glob("*.dat*"):
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        path.write_bytes(b"")


def _no_right(night: Story) -> None:
    """The runbook's role may no longer make databases."""
    url, password = os.environ["NIGHT_URL"], night.phase.target.password
    night.write(f"CREATE ROLE narrow_minded LOGIN PASSWORD '{password}' IN ROLE pg_read_all_data")
    night.phase._give_back()
    night.phase = Validate(night.run)
    os.environ["NIGHT_URL"] = url.replace("//postgres:", "//narrow_minded:")
    assert night.phase.target.user == "narrow_minded"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_no_backup, "this run has no backup"),
        (_damaged, "could not be narrowed"),
        (_no_right, "permission denied"),
    ],
)
def test_where_it_cannot_be_narrowed_the_difference_still_fails(
    night: Story, spoil: Callable[[Story], None], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHT_URL", os.environ["NIGHT_URL"])
    night.back_up()
    night.fix()
    night.write('UPDATE "Visit" SET note = NULL WHERE id = 3')
    spoil(night)
    failed = night.validated()[1].failed
    assert (
        'public."Visit": content differs' in failed[0].found
        and "could not be narrowed" in failed[0].found
        and why in failed[0].found
    )
