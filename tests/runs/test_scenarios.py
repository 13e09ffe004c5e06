"""Start-to-end runs of each scenario, by the command line; and what the archive then holds."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import reference
from pages import Page
from worlds import MARKER, MARKER_PASSWORD, Story, outputs

from runbook_lib import archive
from runbook_lib.phases.again import Earlier
from runbook_lib.phases.base import notebook_name, open_phase
from runbook_lib.postgres import snapshot
from runbook_lib.postgres.connection import Target
from runbook_lib.run import PHASES
from runbook_lib.show.report import LARGEST_PAGE

pytestmark = pytest.mark.timeout(600)


SCENARIOS = ("success", "failing-migration", "lock-conflict", "bad-data")
Tell = Callable[[str], Story]


@pytest.fixture(params=SCENARIOS)
def story(request: pytest.FixtureRequest, tell: Tell) -> Story:
    """Each scenario."""
    return tell(request.param)


def test_the_outcome_and_the_exit_status_are_the_scenarios(story: Story) -> None:
    expected = {
        "success": ("succeeded", 0),
        "failing-migration": ("rolled_back", 4),
        "lock-conflict": ("rolled_back", 4),
        "bad-data": ("failed", 1),
    }
    assert (story.world.newest.outcome, story.status) == expected[story.name], story.output[-3000:]


def test_every_phase_that_ran_left_its_notebook_and_the_last_one_shows_the_failing_cell(
    story: Story,
) -> None:
    phases = [(entry["phase"], entry["status"]) for entry in story.world.newest.state["phases"]]
    failing = {
        "success": None,
        "failing-migration": "migrate",
        "lock-conflict": "migrate",
        "bad-data": "validate",
    }[story.name]
    ran = [phase for phase, _ in phases]
    assert (
        ran == list(PHASES)
        if failing is None
        else ran[: PHASES.index(failing) + 1] == list(PHASES[: PHASES.index(failing) + 1])
    )
    for entry in story.world.newest.state["phases"]:
        whole, error = archive.judge(story.world.newest.folder / entry["notebook"])
        assert whole == (entry["status"] == "succeeded"), (entry, error)


def test_the_archive_is_sealed_and_intact(story: Story) -> None:
    assert archive.verify(story.world.newest) == []
    done = story.world.command("verify", str(story.world.newest.folder))
    assert (done.returncode, "intact" in done.stdout) == (0, True)


def test_a_phase_that_is_opened_again_still_holds_and_does_nothing(tell: Tell) -> None:
    run = tell("success").world.newest
    for name in PHASES[1:]:
        phase = open_phase(name, {"run_folder": str(run.folder)})
        assert isinstance(phase, Earlier) and {*phase.table().marks} <= {"good", ""}, phase
        assert "not done again" in str(phase.deploy()) and "already done at" in str(phase)
        phase.finish()
    assert archive.verify(run) == []


def test_no_byte_of_the_archive_or_of_the_output_holds_a_secret_or_a_row(story: Story) -> None:
    token = (story.world.folder / "demo" / "secrets" / "api_token").read_text().strip()
    for secret in (
        MARKER,
        MARKER_PASSWORD,
        token,
        story.world.platform.server.password,
        story.world.platform.password,
        "fictitious.patient",
        "FICTITIOUS.PATIENT",
        "FICTITIOUS-MEMBER",
    ):
        assert secret not in story.output, secret
        for path in story.world.newest.folder.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), (secret, path)


def test_the_database_holds_what_the_outcome_says(story: Story) -> None:
    with story.world.db() as db:
        columns = db.value(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Patient' "
            "AND column_name LIKE 'insur%%'",
            (),
        )
        assert columns == (0 if story.name in ("success", "bad-data") else 2)
        assert (
            db.value(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runbook/%%'", ()
            )
            == 0
        )
        scratch = db.value(
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook_scratch%%'", ()
        )
        assert scratch == 0


def test_the_rehearsal_measured_every_statement_the_stalls_and_what_files_leave(tell: Tell) -> None:
    run = tell("success").world.newest
    found, tried = run.read_evidence("rehearsal"), run.read_evidence("rehearse.atomicity")
    kinds = [
        one["kind"]
        for one in found["statements"]
        if one["file"] == "20261019090000_insurance_policies"
    ]
    assert kinds == [
        "CREATE TYPE",
        "ALTER TABLE",
        "CREATE TABLE",
        "INSERT",
        "UPDATE",
        "CREATE INDEX",
        "CREATE INDEX",
        "ALTER TABLE",
    ]
    assert found["stalls"]["tables"].keys() == {'public."Appointment"', 'public."Patient"'}
    for kind, probe in (
        (kind, probe)
        for probes in found["stalls"]["tables"].values()
        for kind, probe in probes.items()
    ):
        assert probe["requests"] and (not probe["errors"] or kind.startswith("recorded")), (
            kind
        )  # a recorded one may name a column that goes
    assert (
        found["wal_bytes"] > 0
        and found["size_growth_bytes"] > 0
        and found["files"].keys() == {*run.state["migrations"]}
    )
    assert [(one["status"], "stayed" in one["found"]) for one in tried] == [
        ("passed", True),
        ("passed", True),
        ("passed", False),
    ]


@pytest.mark.parametrize("name", ["failing-migration", "lock-conflict"])
def test_after_a_rollback_the_content_is_that_of_before(tell: Tell, name: str) -> None:
    story = tell(name)
    before = snapshot.Snapshot.from_dict(story.world.newest.read_evidence("before.snapshot"))
    now = snapshot.take(Target.parse(story.world.url()), "tests")
    differing = [item.name for item in before.compare(now).differing]
    assert differing in ([], ["public._prisma_migrations"])


def test_a_failed_database_is_kept_where_a_backup_was_restored(story: Story) -> None:
    with story.world.db() as db:
        failed = db.value(
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'healthcare_failed_%%'", ()
        )
    assert failed == (1 if story.name == "failing-migration" else 0)


def test_a_blocker_is_named_with_what_it_held(tell: Tell) -> None:
    text = outputs(tell("lock-conflict").world.newest.folder / "60_migrate.ipynb")
    assert "monthly-report" in text and "lock timeout" in text and "AccessExclusiveLock" in text


def test_a_session_that_was_in_the_way_is_left_alone(tell: Tell) -> None:
    assert "Exception in thread" not in tell("lock-conflict").output


def test_bad_data_is_found_by_its_foreign_key_and_the_run_says_what_to_type(tell: Tell) -> None:
    story = tell("bad-data")
    failed = next(
        entry for entry in story.world.newest.state["phases"] if entry["phase"] == "validate"
    )["failed_checks"]
    assert any("InsurancePolicy_patientId_fkey" in item for item in failed)
    assert f"runbook rollback {story.world.newest.reference}" in story.output


def test_people_were_told_and_the_record_says_so(story: Story) -> None:
    told = [
        json.loads(line)
        for line in (story.world.folder / "demo" / "notifications.jsonl").read_text().splitlines()
    ]
    assert any("maintenance starts" in line["title"] for line in told)
    assert {line["what"] for line in story.world.newest.read_journal()} >= {
        "run started",
        "notified",
        "phase ended",
        "run ended",
    }


def test_the_evidence_opens_without_the_runbook(story: Story) -> None:
    for path in (story.world.newest.folder / "evidence").iterdir():
        with path.open() as file:
            assert (
                json.load(file) if path.suffix == ".json" else list(csv.reader(file))
            ) is not None


def test_the_report_is_one_page_that_needs_no_network(story: Story) -> None:
    page = (story.world.newest.folder / "report.html").read_text()
    assert (
        "<script" not in page
        and 'src="http' not in page
        and 'href="http' not in page.replace('href="https://www.prisma', "")
    )
    assert Path(story.world.newest.state["phases"][0]["notebook"]).stem[:2] in page


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_shows_what_the_reference_shows(tell: Tell, phase: str) -> None:
    run = tell("success").world.newest
    if os.environ.get("REFRESH_REFERENCE"):
        reference.refresh(run.folder)
    assert reference.differences(run.folder / notebook_name(phase)) == []


def test_every_link_of_the_report_and_of_the_index_leads_somewhere(story: Story) -> None:
    for file in (story.world.newest.folder / "report.html", story.world.archive / "index.html"):
        page = Page(file.read_text())
        assert not page.unbalanced and len(page.ids) == len(set(page.ids)), file
        for link in (unquote(link) for link in page.links if not link.startswith("https://")):
            assert (
                link[1:] in page.ids if link.startswith("#") else (file.parent / link).is_file()
            ), (file, link)


def test_the_cells_that_did_something_are_what_the_report_leads_to(story: Story) -> None:
    page = Page((story.world.newest.folder / "report.html").read_text())
    ran = {
        "success": ("announce-on", "migrate-deploy", "close-reopen"),
        "bad-data": ("announce-on", "migrate-deploy", "validate-require"),
    }
    for cell in ran.get(story.name, ("announce-on", "migrate-deploy", "rollback-afterwards")):
        assert any(link.endswith(f"--{cell}") for link in page.links), cell


def test_notebooks_and_report_are_small_enough_to_be_opened(story: Story) -> None:
    assert all(
        path.stat().st_size <= 2 * 2**20 for path in story.world.newest.folder.glob("*.ipynb")
    )
    assert (story.world.newest.folder / "report.html").stat().st_size <= LARGEST_PAGE


def test_a_failed_validation_is_rolled_back_on_request(tell: Tell) -> None:
    """The last test: it changes how the story ends."""
    world = tell("bad-data").world
    with world.db() as db:
        db.execute("""UPDATE "User" SET "updatedAt" = now() WHERE id = 'user_patient_000000003'""")
    asked = world.command("rollback", str(world.newest.folder), "--reason", "orphans")
    assert (asked.returncode, world.newest.outcome) == (
        3,
        "waiting",
    ) and 'public."User": content differs; by the counters 1 updated' in asked.stdout, asked.stdout[
        -3000:
    ]
    done = world.command(
        "rollback", str(world.newest.folder), "--reason", "orphans, and the one user is known"
    )
    assert (done.returncode, world.newest.outcome) == (4, "rolled_back"), done.stdout[-3000:]
    before = snapshot.Snapshot.from_dict(world.newest.read_evidence("before.snapshot"))
    assert before.compare(snapshot.take(Target.parse(world.url()), "tests")).identical
    assert archive.verify(world.newest) == []
    assert MARKER.encode() not in (world.newest.folder / "90_rollback.ipynb").read_bytes()


def test_dropped_columns_are_saved_and_brought_back_from_a_run_that_succeeded(tell: Tell) -> None:
    """Changes the database of its story: nothing of that story comes after it."""
    world = tell("success").world
    run = world.newest
    before = snapshot.Snapshot.from_dict(run.read_evidence("before.snapshot"))
    assert "2 columns and 0 tables" in json.dumps(
        run.read_evidence("migrate.saved")
    ) and MARKER not in json.dumps(run.read_evidence("saved"))
    shown = world.command("reinstate", str(run.folder), "--dry-run")
    with world.db() as db:
        assert (
            "insurerName" in shown.stdout
            and "reinstate.sql" in shown.stdout
            and shown.returncode == 0
        ), shown.stdout + shown.stderr
        assert (
            db.value(
                "SELECT count(*) FROM information_schema.columns "
                "WHERE column_name = 'insurerName' AND table_name = 'Patient'",
                (),
            )
            == 0
        )
        gone = db.execute(
            """DELETE FROM "Patient" WHERE id IN (SELECT id FROM "Patient" """
            """ORDER BY id DESC LIMIT 3)"""
        )
        done = world.command("reinstate", str(run.folder))
        assert done.returncode == 0, done.stdout + done.stderr
        told = {(row[0], row[1]): row[3] for row in run.read_evidence("reinstated")["rows"]}
        total = before.tables['public."Patient"'].rows
        assert (told[("back", 'public."Patient"')], told[("passed over", 'public."Patient"')]) == (
            total - gone,
            gone,
        )
        wrong = db.value("""SELECT count(*) FROM "Patient" AS p FULL JOIN "InsurancePolicy" AS i
                                ON i."patientId" = p.id
                            WHERE (p."insurerName",
                                p."insuranceNumber") IS DISTINCT FROM (i."insurerName",
                                i."memberNumber")""")
        assert wrong == 0 and db.value("""SELECT count("insurerName") FROM "Patient" """) > 0
    assert archive.verify(run) == [] and run.read_journal()[-2]["what"] == "reinstated"
    again = world.command("reinstate", str(run.folder))
    assert again.returncode == 1 and "again; nothing was changed" in again.stdout
