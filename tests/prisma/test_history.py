"""Files against rows: every way in which they can fit or not."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook_lib.check import Status
from runbook_lib.prisma.history import MigrationFile, compare, reason

AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.org")
START = datetime(2026, 1, 1, tzinfo=UTC)
LOGS = """A migration failed to apply.

Database error code: 23505

Database error:
ERROR: duplicate key value violates unique constraint "Patient_pkey"
DETAIL: Key (name)=(Mustermann) already exists.
"""
Files = Callable[..., tuple[MigrationFile, ...]]


def row(
    name: str,
    checksum: str,
    *,
    finished: bool = True,
    rolled_back: bool = False,
    logs: str | None = None,
    day: int = 0,
) -> dict[str, Any]:
    at = START + timedelta(days=day)
    return {
        "id": name,
        "checksum": checksum,
        "migration_name": name,
        "started_at": at,
        "finished_at": at if finished else None,
        "rolled_back_at": at if rolled_back else None,
        "logs": logs,
        "applied_steps_count": int(finished),
    }


def test_without_rows_everything_is_pending(files: Files) -> None:
    found = compare(files("SELECT 1;", "SELECT 2;"), [])
    assert found.pending == ("1", "2") and found.applied == found.failed == found.edited == ()
    assert [file.name for file in found.pending_files] == ["1", "2"] and found.checks().passed


def test_each_state_is_told_from_the_others(files: Files) -> None:
    disk = files(*(f"SELECT {number};" for number in range(1, 8)))
    sha = {file.name: file.sha256 for file in disk}
    found = compare(
        disk,
        [
            row("1", sha["1"]),
            row("2", "0" * 64),
            row("22", "f" * 64),
            row("3", sha["3"], finished=False, logs=LOGS),
            row("4", sha["4"], finished=False, rolled_back=True, logs=LOGS),
            row("5", sha["5"], finished=False, rolled_back=True),
            row("5", sha["5"], day=1),
        ],
    )
    assert (found.applied, found.edited, found.missing) == (("1", "2", "22", "5"), ("2",), ("22",))
    assert (found.failed, found.rolled_back, found.pending) == (("3",), ("4",), ("4", "6", "7"))
    assert found.out_of_order == ("4",)
    assert {item.id for item in found.checks().failed} == {"history.failed"}
    assert {item.id for item in found.checks().unknown} == {
        "history.edited",
        "history.missing",
        "history.order",
    }
    assert found.departures() == [f"2 is edited (sha256 {sha['2'][:16]})", "22 has no file"]


def test_a_row_that_was_rolled_back_and_has_no_file_is_past(files: Files) -> None:
    assert compare(
        files("SELECT 1;"), [row("0_tried", "x", finished=False, rolled_back=True)]
    ).pending == ("1",)


def test_a_failure_keeps_its_code_and_first_line_and_no_data(files: Files) -> None:
    found = compare(files("SELECT 1;"), [row("1", "x", finished=False, logs=LOGS)])
    assert (
        found.entries[0].reason
        == "unique violation (23505); the server's log has its message, which can quote a row"
    )
    assert (
        "Mustermann"
        not in str(found.as_dict()) + str(found) + str(found.checks()) + found._repr_html_()
    )


@pytest.mark.parametrize(
    "logs, said",
    [
        (None, ""),
        ("", ""),
        ("external connector error\n  0: apply_script", ""),
        (
            "Database error code: P0001\n\nDatabase error:\nERROR: Mustermann",
            "raise exception (P0001); the server's log has its message, which can quote a row",
        ),
    ],
)
def test_logs_without_a_known_error_say_nothing(logs: str | None, said: str) -> None:
    assert reason(logs) == said


@pytest.mark.parametrize(
    "stored, same",
    [
        ("SELECT 1;\nSELECT 2;\n", True),
        ("SELECT 1;\r\nSELECT 2;\r\n", True),
        ("SELECT 1;\nSELECT 3;\n", False),
        ("\ufeffSELECT 1;\nSELECT 2;\n", False),
    ],
)
def test_other_line_ends_are_no_edit_as_prisma_sees_it(
    files: Files, stored: str, same: bool
) -> None:
    checksum = hashlib.sha256(stored.encode()).hexdigest()
    assert all(
        file.matches(checksum) is same
        for file in files("SELECT 1;\nSELECT 2;\n", "SELECT 1;\r\nSELECT 2;\r\n")
    )


def test_the_checksum_is_of_the_bytes_and_an_early_form_without_zeros_is_known(
    files: Files,
) -> None:
    file = files(b"\xef\xbb\xbfSELECT 1;\r\n")[0]
    digest = hashlib.sha256(b"\xef\xbb\xbfSELECT 1;\r\n")
    assert file.sha256 == digest.hexdigest() and file.bytes == 14
    assert file.matches("".join(f"{byte:x}" for byte in digest.digest()))


def test_a_file_that_is_not_utf8_is_read_and_says_so(files: Files) -> None:
    file = files("-- Müller".encode("latin-1"))[0]
    assert file.problem == "byte 5 is not UTF-8" and file.sql == ""
    assert file.matches(hashlib.sha256("-- M\ufffdller".encode()).hexdigest())


def test_pending_names_without_a_number_are_remarked_upon(files: Files) -> None:
    file = files("SELECT 1;")[0]
    named = MigrationFile("init", file.path, file.sha256, file.sql, file.bytes)
    said = {item.id: item.found for item in compare([named], []).checks()}
    assert said["history.numbered"].startswith("remark: init begin with no number")
    assert compare([named], []).checks().passed
    assert compare([named], [row("init", file.sha256)]).checks().passed


APPLIED = 'CREATE TABLE "A" (id integer);\nCREATE INDEX a ON "A" (id);\n'


@pytest.mark.parametrize(
    ("now", "same", "said"),
    [
        (APPLIED + "-- a word\n", True, "only comments or spaces differ from commit"),
        (
            APPLIED.replace(";", " ;\n").replace("CREATE TABLE", "create table"),
            True,
            "only comments or spaces",
        ),
        (APPLIED.replace("(id)", "(id DESC)"), False, "its statements differ from commit"),
        (APPLIED + "DROP;", None, "what differs could not be told from commit"),
    ],
)
def test_an_edit_is_told_by_meaning_where_version_control_has_the_text(
    files: Files, now: str, same: bool | None, said: str
) -> None:
    file = files(APPLIED)[0]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "applied"]):
        subprocess.run(["git", *AUTHOR, *command], cwd=file.path.parent, check=True)
    file.path.write_text(now)
    found = compare(files(now), [row("1", file.sha256)])
    check = next(item for item in found.checks() if item.id == "history.edited")
    assert found.edits[0].same is same and check.status is Status.UNKNOWN
    assert said in check.found and now.splitlines()[-1] in check.found


@pytest.mark.parametrize("repository", [True, False])
def test_an_edit_whose_former_text_nobody_has_says_so(files: Files, repository: bool) -> None:
    file = files(APPLIED)[0]
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=file.path.parent, check=True)
    found = compare([file], [row("1", "0" * 64)])
    assert found.edits[0].same is None and "its text as applied is not known" in str(found.edits[0])
