"""A check held against the same check made earlier: only what is new, or more than it was,
fails.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runbook_lib.check import Check, Status, check, faults, new_since, nothing, unknown
from runbook_lib.phases.baseline import NOTHING, held_against
from runbook_lib.prisma.declared import Declared
from runbook_lib.prisma.effect import Change

ID, TITLE = "integrity.sequences", "no sequence is behind its column"


def behind(wrong: Mapping[str, float]) -> Check:
    return faults(ID, TITLE, wrong, ", ".join(wrong) or "none", "none", "setval")


CANNOT = unknown(ID, TITLE, "permission denied")
OLD, WORSE, BETTER = {"a": 5.0}, {"a": 6.0}, {"a": 2.0}


@pytest.mark.parametrize(
    ("before", "now", "status", "said"),
    [
        (behind(OLD), behind(OLD), Status.PASSED, "remark: as before: a"),
        (behind(OLD), behind(BETTER), Status.PASSED, "remark: as before: a"),
        (behind(OLD), behind({}), Status.PASSED, "none"),
        (behind(OLD), behind(WORSE), Status.FAILED, "new: a; a"),
        (
            behind(OLD),
            behind({**OLD, "b": 1.0}),
            Status.FAILED,
            "new: b; a, b; 1 others were so before",
        ),
        (behind({}), behind(OLD), Status.FAILED, "new: a; a"),
        (check("another", "…", True, "…"), behind(OLD), Status.FAILED, "a"),
        (
            CANNOT,
            behind(OLD),
            Status.UNKNOWN,
            "a; whether it was so before is not known: permission denied",
        ),
        (behind(OLD), CANNOT, Status.UNKNOWN, "permission denied"),
    ],
)
def test_what_was_wrong_before_is_a_remark_and_what_is_new_fails(
    before: Check, now: Check, status: Status, said: str
) -> None:
    (found,) = new_since([before], [now])
    assert (found.status, found.found) == (status, said)


def test_a_check_of_which_a_person_decides_is_asked_where_nothing_is_new() -> None:
    (found,) = new_since([behind(OLD)], [behind(OLD)], ask=(ID,))
    assert found.status is Status.UNKNOWN


def test_what_the_plan_makes_is_not_excused_by_what_bore_its_name_before() -> None:
    old = faults("integrity.indexes", "every index is valid", {"public.i": 1}, "i", "valid", "…")
    plan = Declared((Change("index", "public.i", "added"),), {}, ())
    for declared, status in ((NOTHING, Status.PASSED), (plan, Status.FAILED)):
        (found,) = held_against([old], [old], declared)
        assert found.status is status


@pytest.mark.parametrize("one", [behind(OLD), CANNOT, nothing(ID, TITLE, "there is no sequence")])
def test_a_check_survives_its_evidence(one: Check) -> None:
    assert Check.from_dict(one.as_dict()) == one
