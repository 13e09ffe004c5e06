"""The plan's questions of the data, asked again at the last gate: what has come since stops
before the migration, not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from runbook_lib import gate
from runbook_lib.check import Checks, Status
from runbook_lib.errors import ApprovalNeeded, CheckError
from runbook_lib.phases import livedata
from runbook_lib.phases.plan import Plan
from tests.phases.conftest import Night

NAME = "20260201000000_next"
UNIQUE = 'CREATE UNIQUE INDEX "Visit_kind_key" ON "Visit" ("kind");\n'
Made = Callable[..., Night]
DEMANDS = {
    "a duplicate": (
        'CREATE UNIQUE INDEX "Patient_name_key" ON "Patient" ("name");',
        """INSERT INTO "Patient" VALUES (900, 'Fictitious 1')""",
    ),
    "a missing value": (
        'ALTER TABLE "Visit" ALTER COLUMN "kind" SET NOT NULL;',
        """INSERT INTO "Visit" VALUES (900, NULL)""",
    ),
    "an orphan": (
        'ALTER TABLE "Visit" ADD CONSTRAINT "f" FOREIGN KEY ("id") REFERENCES "Patient" ("id");',
        """INSERT INTO "Visit" VALUES (900, 'x')""",
    ),
    "a value that does not fit": (
        """ALTER TABLE "Visit" ADD CONSTRAINT "c" CHECK ("kind" <> 'late');""",
        """INSERT INTO "Visit" VALUES (900, 'late')""",
    ),
}


def asked(story: Night) -> Checks:
    phase = story.phase
    return Checks("Data", livedata.asked_again(phase, phase.history.pending_files))


@pytest.mark.parametrize("what", DEMANDS)
def test_what_has_come_since_the_plan_fails_with_its_count_and_nothing_is_touched(
    night: Made, what: str
) -> None:
    statement, write = DEMANDS[what]
    story = night({NAME: statement + "\n"})
    assert asked(story).passed
    story.db("front desk").execute(write)
    before = story.history()
    with pytest.raises(CheckError, match="1 violate it now: the statement fails"):
        asked(story).require()
    assert story.history() == before == []


def test_what_was_open_and_accepted_with_the_plan_needs_nobody_again(night: Made) -> None:
    story = night({NAME: """UPDATE "Visit" SET "kind" = "id"::text;\n""" + UNIQUE})
    run, plan = story.phase.run, Plan(story.phase.run)
    story.others.callback(plan._give_back)
    plan.data()
    assert [item.status for item in asked(story).unknown] == [Status.UNKNOWN]
    with pytest.raises(ApprovalNeeded):
        plan.pass_gate("plan", Checks("The plan", plan.live_data.checks()))
    gate.approve(run, "plan", "the statement before makes them unique")
    assert asked(story).passed and "accepted with the plan" in str(asked(story))


def test_the_answers_are_kept_as_evidence_without_a_value_of_a_row(night: Made) -> None:
    story = night({NAME: UNIQUE})
    assert not asked(story).passed
    kept = story.phase.run.read_evidence("migrate.data")["answers"]
    assert [one["rows"] for one in kept] == [199] and "first" not in str(kept)


def test_where_nothing_is_left_to_apply_nothing_is_asked(night: Made) -> None:
    story = night({NAME: UNIQUE})
    began = time.monotonic()
    assert Checks("", livedata.asked_again(story.phase, ())).passed and time.monotonic() > began
