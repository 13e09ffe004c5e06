"""The lease of a run at the level of its phases: taken with 50_announce, given back where
nothing came of it.
"""

from __future__ import annotations

import pytest

from runbook_lib.errors import CheckError, Refused
from runbook_lib.phases import lease
from runbook_lib.phases.announce import Announce
from runbook_lib.postgres.lease import standing
from tests.phases.conftest import Opened
from tests.prisma.conftest import INIT, Make

SECOND = {"2_visits": 'ALTER TABLE "Patient" ADD COLUMN "label" TEXT;'}


def announcing(opened: Opened, make: Make, deployed: str) -> Announce:
    """A run that has come to 50_announce, and has the database."""
    phase = opened(Announce, make(INIT | SECOND), deployed)
    lease.claim(phase)
    return phase


def holder(phase: Announce) -> object:
    """Who has the phase's database."""
    return standing(phase.db, phase.run.state["target"]["database_oid"])


def test_an_announcement_that_failed_before_anything_was_switched_frees_the_database(
    opened: Opened, make: Make, deployed: str
) -> None:
    phase = announcing(opened, make, deployed)
    assert holder(phase)
    phase.fail(CheckError("nobody could be told", failed=("notify.required",)))
    assert holder(phase) is None
    other = opened(Announce, phase.project, deployed)
    lease.claim(other)
    assert holder(other)


def test_an_announcement_that_failed_in_maintenance_mode_keeps_the_database(
    opened: Opened, make: Make, deployed: str
) -> None:
    phase = announcing(opened, make, deployed)
    phase.run.journal("maintenance on", phase="announce")
    phase.fail(CheckError("somebody still writes", failed=("quiet",)))
    assert holder(phase)
    other = opened(Announce, phase.project, deployed)
    with pytest.raises(Refused, match=phase.run.id):
        lease.claim(other)
