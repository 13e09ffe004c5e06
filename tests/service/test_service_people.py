"""The escalation matrix."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from runbook_lib.service.people import Escalation, Failure, contacts_table, severity, steps
from runbook_lib.surroundings import People

ROLES = {
    "CTO": "Escalation",
    "DevOps Lead": "Secondary",
    "Database Administrator": "Primary",
    "On-Call": "24/7",
}
BEGAN = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def contact(role):
    return {
        "role": role,
        "name": "Dana Fictitious",
        "contact": f"{role.split()[0].lower()}@example.invalid",
        "escalation": ROLES[role],
    }


ALL = People.model_validate({"contacts": [contact(role) for role in ROLES]})
SEVERITIES = [
    ([Failure.DATA_LOSS], "1"),
    ([Failure.OUTAGE], "1"),
    ([Failure.PARTIAL_OUTAGE], "2"),
    ([Failure.ERRORS], "2"),
    ([Failure.MIGRATION], "2"),
    ([Failure.VALIDATION], "2"),
    ([Failure.SLOW], "3"),
    ([Failure.SLOW, Failure.OUTAGE], "1"),
    ([Failure.SLOW, Failure.ERRORS], "2"),
]


@pytest.mark.parametrize(("failures", "expected"), SEVERITIES)
def test_the_worst_failure_gives_the_severity(failures, expected):
    assert severity(ALL, failures) == expected


def test_no_failure_has_no_severity():
    with pytest.raises(ValueError):
        severity(ALL, [])


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("1", {0: {"CTO", "DevOps Lead", "Database Administrator", "On-Call"}}),
        ("2", {0: {"DevOps Lead", "Database Administrator", "On-Call"}, 15: {"CTO"}}),
        ("3", {0: {"Database Administrator", "On-Call"}, 30: {"DevOps Lead"}, 60: {"CTO"}}),
    ],
)
def test_each_is_told_when_the_matrix_says_so(number, expected):
    found = steps(ALL, number, BEGAN)
    assert {step.after: {one.role for one in step.contacts} for step in found} == expected
    assert all((step.due - BEGAN).total_seconds() == step.after * 60 for step in found)


def test_a_place_without_a_contact_is_shown():
    alone = People.model_validate({"contacts": [contact("Database Administrator")]})
    text = str(
        Escalation(
            "migrate",
            ("failed migration",),
            "2",
            alone.levels()["2"],
            BEGAN,
            steps(alone, "2", BEGAN),
        )
    )
    assert "severity 2 (High), not acknowledged" in text and "rollback if unresolved" in text
    assert text.count("nobody is named") == 3


def test_a_level_of_the_parameters_replaces_the_one_that_is_built_in():
    level = {
        "name": "Slow",
        "of": ["performance degradation"],
        "tell": {"Primary": 10},
        "actions": ["look"],
    }
    own = People.model_validate(
        {"contacts": [contact("Database Administrator")], "matrix": {3: level}}
    )
    assert [step.after for step in steps(own, "3", BEGAN)] == [10] and [
        step.after for step in steps(own, "2", BEGAN)
    ] == [0, 15]


@pytest.mark.parametrize(
    ("section", "why"),
    [
        (
            {"matrix": {"3": {"name": "x", "of": [], "tell": {}, "actions": []}}},
            "each kind of failure one severity",
        ),
        (
            {
                "matrix": {
                    "3": {
                        "name": "x",
                        "of": ["performance degradation", "data loss"],
                        "tell": {},
                        "actions": [],
                    }
                }
            },
            "each kind of failure one severity",
        ),
        (
            {"matrix": {"3": {"name": "x", "of": ["bad mood"], "tell": {}, "actions": []}}},
            "data loss",
        ),
        ({"matrix": {"4": {}}}, "'1', '2' or '3'"),
        (
            {"contacts": [{**contact("CTO"), "escalation": "Boss"}]},
            "does not know the escalation 'Boss'",
        ),
        (
            {"contacts": [{**contact("CTO"), "addresses": ["json://user:secretword@host/"]}]},
            "by reference",
        ),
    ],
)
def test_a_matrix_that_cannot_be_followed_is_refused(section, why):
    with pytest.raises(ValidationError, match=why) as refused:
        People.model_validate(section)
    assert "secretword" not in str(refused.value)


def test_contacts_are_a_table():
    assert "database@example.invalid" in str(contacts_table(ALL.contacts))
