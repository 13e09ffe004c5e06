"""Somebody who is not the application writes in the night, and the migration fails: nothing of
it is lost unasked, and it comes back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import World, make_world

from runbook_lib import archive, process
from runbook_lib.postgres.connection import Target
from runbook_lib.postgres.tools import tools
from runbook_lib.run import runs

pytestmark = pytest.mark.timeout(600)
WRITE = """UPDATE "User" SET "updatedAt" = '2031-01-01' WHERE id = 'user_patient_000000003'"""
LATE = """SELECT count(*) FROM "User" WHERE "updatedAt" = '2031-01-01'"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, scenario="failing-migration")
    made.platform.up(lambda line: None, fresh=True)
    yield made
    made.platform.down(lambda line: None)


class Foreigner(threading.Thread):
    """Writes once the state before the migration was taken; it is no application of the
    parameters.
    """

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._world, self.wrote = world, False

    def run(self) -> None:
        for _ in range(6000):
            if any(one.has_evidence("before.catalog") for one in runs(self._world.archive)):
                break
            time.sleep(0.05)
        with self._world.db() as db:
            self.wrote = db.execute(WRITE) == 1


def test_what_a_foreigner_committed_while_it_migrated_waits_for_a_person_and_comes_back(
    world: World,
) -> None:
    foreigner = Foreigner(world)
    foreigner.start()
    done = world.command("run", str(world.file))
    foreigner.join(10)
    assert foreigner.wrote and done.returncode == 3, done.stdout[-3000:]
    assert world.newest.outcome == "waiting"
    with world.db() as db:
        assert db.value(LATE) == 1  # still there: nothing was restored over it
    (loss,) = [
        one for one in world.newest.read_evidence("rollback.decision") if "loss" in one["id"]
    ]
    assert 'public."User"' in loss["found"] and loss["status"] == "could not check"
    back = world.command(
        "rollback", str(world.newest.folder), "--reason", "it is brought back", "--yes"
    )
    assert (back.returncode, world.newest.outcome) == (4, "rolled_back"), back.stdout[-3000:]
    saved = next(
        line for line in world.newest.read_journal() if line["what"] == "rows left behind saved"
    )
    assert saved["tables"] == ['public."User"'] and saved["rows"] == 1
    assert not Path(saved["folder"]).is_relative_to(world.newest.folder)
    target = Target.parse(world.url())
    with world.db() as db:
        assert db.value(LATE) == 0
        process.run(
            [tools(target).path("psql"), "-X", "-q", "-f", "bring_back.sql"],
            cwd=saved["folder"],
            env=target.environment("tests"),
        )
        assert db.value(LATE) == 1
    assert archive.verify(world.newest) == []
