"""The escalation matrix."""

import pytest

from runbook_lib.service.people import Contact, Failure, contacts_table, escalation, severity

DBA = Contact("Database Administrator", "Dana", "dba@example.invalid", "Primary")
DEVOPS = Contact("DevOps Lead", "Devin", "devops@example.invalid", "Secondary")
CTO = Contact("CTO", "Toni", "cto@example.invalid", "Escalation")
ON_CALL = Contact("On-Call", "Rotation", "oncall@example.invalid", "24/7")
ALL = [CTO, DEVOPS, DBA, ON_CALL]

SEVERITIES = [
    ([Failure.DATA_LOSS], 1), ([Failure.OUTAGE], 1), ([Failure.PARTIAL_OUTAGE], 2), ([Failure.ERRORS], 2), ([Failure.MIGRATION], 2),
    ([Failure.VALIDATION], 2), ([Failure.SLOW], 3), ([Failure.SLOW, Failure.OUTAGE], 1), ([Failure.SLOW, Failure.ERRORS], 2),
]


@pytest.mark.parametrize(("failures", "expected"), SEVERITIES)
def test_the_worst_failure_gives_the_severity(failures, expected):
    assert severity(failures) == expected


def test_no_failure_has_no_severity():
    with pytest.raises(ValueError):
        severity([])


def test_at_severity_1_everybody_is_told_at_once():
    assert set(escalation(ALL, 1).at(0)) == set(ALL)


def test_at_severity_2_the_lead_is_told_after_a_quarter_of_an_hour():
    found = escalation(ALL, 2)
    assert CTO not in found.at(14) and CTO in found.at(15)
    assert {DBA, DEVOPS} <= set(found.at(0))


def test_at_severity_3_the_second_is_told_after_half_an_hour():
    found = escalation(ALL, 3)
    assert found.at(0) == (DBA, ON_CALL) and DEVOPS in found.at(30)


def test_a_role_without_a_contact_is_shown():
    text = str(escalation([DBA], 1))
    assert "Severity 1 (Critical): immediate rollback" in text
    assert text.count("nobody is named") == 3


def test_contacts_are_a_table():
    assert "dba@example.invalid" in str(contacts_table(ALL))
