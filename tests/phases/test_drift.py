"""The catalogue that the applied files make, against the one that is there: real server, real
CLI.
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from runbook_lib.check import Status
from runbook_lib.phases.drift import Drift, find
from runbook_lib.phases.plan import Plan
from runbook_lib.postgres.connection import Database, Target
from tests.phases.conftest import Opened, enter
from tests.prisma.conftest import INIT, Make, run

PENDING = {"20990101000000_pending": 'ALTER TABLE "Patient" ADD COLUMN "pending" INTEGER;\n'}


def plan(
    make: Make, opened: Opened, url: str, beside: str = "", applied: dict[str, str] | None = None
) -> Plan:
    """Something done by hand, further files that count as applied, one that is pending, and the
    plan phase on it.
    """
    applied = applied or {}
    project = make(INIT | applied | PENDING)
    for name in applied:
        enter(url, project, name)
    if beside:
        run(url, beside)
    return opened(Plan, project, url)


def drift(*arguments: Any) -> Drift:
    """What is then found."""
    phase = plan(*arguments)
    return find(phase, phase.history)


def test_files_that_make_what_is_there_show_no_drift_and_the_pending_ones_are_not_run(
    make: Make, opened: Opened, deployed: str
) -> None:
    found = drift(make, opened, deployed)
    assert found == Drift() and found.check().status is Status.PASSED
    with Database(Target.parse(deployed)) as db:
        assert (
            db.value("SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook_scratch%%'", ())
            == 0
        )


def test_what_was_done_by_hand_is_said_and_the_sql_that_is_shown_undoes_it(
    make: Make, opened: Opened, deployed: str
) -> None:
    by_hand = (
        'CREATE INDEX by_hand ON "Patient" (name); ALTER TABLE "Patient" ADD COLUMN stray int, '
        "ALTER name DROP NOT NULL; CREATE TABLE extra (id int)"
    )
    phase = plan(make, opened, deployed, by_hand)
    found = phase.found_drift
    assert (
        "only in the database",
        'index public.by_hand (CREATE INDEX by_hand ON public."Patient" USING btree (name))',
    ) in found.lines
    assert (
        "files and database differ",
        'column public."Patient".name: not null changed from yes to nothing',
    ) in found.lines
    assert any(
        side == "only in the database" and what.startswith("table public.extra")
        for side, what in found.lines
    )
    assert found.check().status is Status.PASSED and "remark" in found.check().found
    run(deployed, found.sql)
    assert find(phase, phase.history) == Drift()


def test_an_extension_that_only_watches_is_no_drift(
    make: Make, opened: Opened, deployed: str
) -> None:
    found = drift(make, opened, deployed, "CREATE EXTENSION pg_stat_statements")
    assert (
        not found.lines
        and any("pg_stat_statements" in line for line in found.aside)
        and "remark" not in found.check().found
    )


@pytest.mark.parametrize("again", ["", "CREATE EXTENSION hstore SCHEMA kept; "])
def test_an_extension_that_an_administrator_installed_beforehand_is_installed_in_the_shadow_too(
    make: Make, opened: Opened, deployed: str, again: str
) -> None:
    bag = 'ALTER TABLE "Patient" ADD COLUMN bag kept.hstore;'
    found = drift(
        make,
        opened,
        deployed,
        f"CREATE SCHEMA kept; CREATE EXTENSION hstore SCHEMA kept; {bag}",
        {"20260102000000_bag": f"{again}{bag}"},
    )
    assert not found.why and not found.lines, found
    assert found.aside == ("extension hstore: installed before the files were run",)


def test_what_prisma_does_not_see_is_said_in_words(
    make: Make, opened: Opened, deployed: str
) -> None:
    found = drift(
        make, opened, deployed, 'ALTER TABLE "Patient" ADD CONSTRAINT by_hand CHECK (id > 0)'
    )
    assert any("by_hand" in what for _, what in found.lines)
    assert not found.sql and "does not see" in found.no_sql


def test_rights_and_owners_are_no_drift(make: Make, opened: Opened, deployed: str) -> None:
    assert drift(make, opened, deployed, 'GRANT SELECT ON "Patient" TO pg_monitor').lines == ()


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {
                "20260102000000_role": "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles "
                "WHERE rolname = 'pg_monitor') THEN CREATE ROLE never; END IF; END $$;\n"
            },
            "reach beyond the database: 20260102000000_role:1",
        ),
        (
            {
                "20260102000000_needs": (
                    "SELECT 1 / count(*) FROM pg_class WHERE relname = 'outside';\n"
                )
            },
            "20260102000000_needs:1 (22012)",
        ),
    ],
)
def test_files_that_cannot_be_run_again_leave_it_unknown(
    make: Make, opened: Opened, deployed: str, files: dict[str, str], why: str
) -> None:
    found = drift(make, opened, deployed, "", files)
    assert why in found.why and found.check().status is Status.UNKNOWN


def test_an_applied_file_that_is_gone_leaves_it_unknown(
    make: Make, opened: Opened, deployed: str
) -> None:
    phase = plan(make, opened, deployed, "", {"20260102000000_gone": "SELECT 1;\n"})
    shutil.rmtree(phase.project.migrations / "20260102000000_gone")
    assert (
        find(phase, phase.history).why
        == "files that were applied are gone or edited: 20260102000000_gone"
    )


def test_a_role_that_may_make_no_database_leaves_it_unknown(
    make: Make, opened: Opened, deployed: str
) -> None:
    run(
        deployed,
        "DROP ROLE IF EXISTS humble; CREATE ROLE humble LOGIN PASSWORD 'humble-7f3a'; GRANT "
        "pg_read_all_data TO humble",
    )
    target = Target.parse(deployed)
    phase = opened(
        Plan,
        make(INIT | PENDING),
        f"postgresql://humble:humble-7f3a@{target.host}:{target.port}/{target.database}",
    )
    try:
        found = find(phase, phase.history)
        assert "could not be made" in found.why and "42501" in found.why
    finally:
        phase._give_back()
        run(deployed, "DROP ROLE humble")
