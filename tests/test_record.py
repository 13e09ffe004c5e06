"""The record stays: read-only, chained, true on a full disk, on a read-only one, under a clock
that goes back, and elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from typer.testing import CliRunner

import runbook_lib.run
from runbook_lib import archive, files, history, ledger, params, rundiff, runner
from runbook_lib.cli import app
from runbook_lib.errors import Refused, RunbookError, UsageError
from runbook_lib.run import Run, create, runs
from runbook_lib.show import charts
from runbook_lib.show.lessons import Lessons
from tests.journals import elsewhere

ROOT = Path(__file__).resolve().parents[1]
TARGET = {
    "host": "h",
    "database": "d",
    "system_identifier": "1",
    "database_oid": 1,
    "server_version": "18.6",
}
Make = Callable[..., Run]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the clock of runs."""
    real = runbook_lib.run.now

    def to(**off: float) -> None:
        monkeypatch.setattr(runbook_lib.run, "now", lambda: real() + timedelta(**off))

    yield to


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Starts a run, in the test's archive unless another is named."""

    def made(
        *migrations: str, environment: str = "demo", folder: Path = tmp_path / "archive"
    ) -> Run:
        values = params.load(ROOT / "params" / "demo.yaml")
        values["environment"] = {"name": environment, "archive": str(folder)}
        return create(values, [*migrations] or ["20260101000000_first"], TARGET)

    return made


def executed(run: Run, name: str = "10_plan.ipynb") -> Path:
    """A notebook of three cells in a run's folder."""
    cells = [
        nbformat.v4.new_markdown_cell("# Plan", id="plan-about"),
        nbformat.v4.new_code_cell("phase.findings()", id="plan-findings", execution_count=1),
        nbformat.v4.new_code_cell("phase.gate()", id="plan-gate", execution_count=2),
    ]
    cells[1].outputs = [nbformat.v4.new_output("stream", text="3 findings\n")]
    path = run.folder / name
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a notebook behind the seal, as somebody who is root can."""
    path.chmod(0o644)
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def test_a_sealed_run_is_read_only_and_writable_again_once_it_goes_on(make: Make) -> None:
    run = make()
    executed(run)
    archive.seal(run)
    sealed = [path for path in run.folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in sealed} == {0}
    run.journal("resumed")
    assert all(
        path.stat().st_mode & stat.S_IWUSR for path in run.folder.rglob("*") if path.is_file()
    )
    archive.seal(run)
    assert archive.verify(run) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n: n.cells[1].outputs.clear(), "cell plan-findings changed (its output)"),
        (lambda n: n.cells[2].update(source="pass"), "cell plan-gate changed (its code or text)"),
        (lambda n: n.cells.pop(0), "cell plan-about removed"),
        (lambda n: n.cells.append(nbformat.v4.new_code_cell("1", id="more")), "cell more added"),
        (lambda n: n.cells.reverse(), "its cells are in another order"),
        (lambda n: n.metadata.update(title="x"), "no cell; something around them"),
    ],
)
def test_a_notebook_edited_after_sealing_is_named_with_the_cell(
    make: Make, change: Callable[[Any], None], said: str
) -> None:
    run = make()
    path = executed(run)
    archive.seal(run)
    edit(path, change)
    assert archive.verify(run) == [f"10_plan.ipynb: changed after sealing: {said}"]


def test_a_notebook_that_is_none_any_more_is_named_too(make: Make) -> None:
    run = make()
    path = executed(run)
    archive.seal(run)
    path.chmod(0o644)
    path.write_bytes(b"\xff\x00")
    assert archive.verify(run) == [
        "10_plan.ipynb: changed after sealing: it is no notebook any more"
    ]


def test_a_new_seal_does_not_make_good_what_was_changed_behind_the_old_one(make: Make) -> None:
    run = make()
    run.write_evidence("backup", {"sha256": "one"})
    archive.seal(run)
    files.release(run.folder / "evidence" / "backup.json")
    (run.folder / "evidence" / "backup.json").write_text("{}")
    runner.finish(run)
    (wrong,) = archive.verify(run)
    assert wrong.startswith(
        "evidence/backup.json: changed after sealing (found when the seal was opened at "
    )
    assert wrong.partition(" (found")[0] in "\n".join(history.entry(run).issues)


def test_a_run_taken_out_of_the_chain_is_missed_by_all_that_follow(make: Make) -> None:
    first, second, third = make(), make(), make()
    for run in (first, second, third):
        archive.seal(run)
    first.folder.chmod(0o755)
    shutil.rmtree(first.folder)
    assert archive.verify(second) == [f"the previous run {first.id}: missing"]
    assert archive.verify(third) == [
        f"the previous run {first.id}: missing (the link of {second.id})"
    ]
    whole = archive.examine_all(second.folder.parent)
    assert whole[0].wrong[0] == "run number 1: missing in this archive"


def test_a_run_that_went_on_after_the_next_was_sealed_keeps_the_chain(make: Make) -> None:
    first, second = make(), make()
    archive.seal(first)
    archive.seal(second)
    first.journal("resumed")
    assert archive.verify(second) == []
    archive.seal(first)
    assert [one.intact for one in archive.examine_all(first.folder.parent)] == [True, True]


def test_a_run_that_was_copied_elsewhere_is_verified_and_reported_there(
    make: Make, tmp_path: Path
) -> None:
    first, second = make(), make()
    executed(second)
    second.begin_phase("plan", "10_plan.ipynb")
    second.end_phase("plan", "succeeded")
    second.end("succeeded")
    runner.finish(first)
    runner.finish(second)
    moved = Run(Path(shutil.copytree(second.folder, tmp_path / "usb" / second.id)))
    found = archive.examine(moved)
    assert found.intact and found.could_not_check == (
        f"the chain of seals: the run before it, {first.id}, is not here, nor is any other run",
        "the archive's list of seals, seals.jsonl, is not here or does not name this run",
    )
    runner.finish(moved)
    page = (moved.folder / "report.html").read_text()
    assert str(tmp_path) not in page and archive.verify(moved) == []
    renamed = Run(moved.folder.rename(moved.folder.with_name("another")))
    assert archive.verify(renamed) == [f"the folder's name: it was sealed as {second.id}"]


def test_two_runs_in_one_second_wait_for_each_other(make: Make) -> None:
    made = [make(environment=name) for name in ("staging", "production")]
    assert len({run.key for run in made}) == 2 and [run.number for run in made] == [1, 2]


def test_the_order_of_runs_holds_where_the_clock_was_set_back(
    make: Make, clock: Callable[..., None]
) -> None:
    first = make("20260101000000_first")
    archive.seal(first)
    clock(hours=-3)
    second = make("20260102000000_second")
    assert second.id < first.id and runs(first.folder.parent)[-1].id == second.id
    archive.seal(second)
    assert (
        json.loads((second.folder / "manifest.json").read_text())["previous"]["run_id"] == first.id
    )
    assert [entry.run_id for entry in ledger.entries(first.folder.parent)] == [second.id, first.id]


def test_a_clock_set_back_within_a_run_is_said_and_no_time_is_negative(
    make: Make, clock: Callable[..., None]
) -> None:
    run = make()
    run.begin_phase("plan", "10_plan.ipynb")
    clock(hours=-1)
    run.end_phase("plan", "succeeded")
    run.end("succeeded")
    assert run.state["duration_s"] is None and runner.summary(run) == [("plan", "succeeded", None)]
    assert 3590 < run.read_journal()[-2]["clock_set_back_s"] < 3610
    assert any(
        issue.startswith("the clock was set back by 3") for issue in history.entry(run).issues
    )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB; skipped where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small disk cannot be mounted here: that needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_without_room_nothing_is_half_written_and_with_room_the_run_goes_on(
    make: Make, small: Path
) -> None:
    run = make(folder=small / "archive")
    run.write_evidence("plan", {"hash": "one"})
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    filler = small / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    for write in (
        lambda: run.write_evidence("backup", {"folder": "x" * 9000}),
        lambda: run.end("failed"),
        lambda: [run.journal("lessons learned", text=f"{n}") for n in range(200)],
    ):
        with pytest.raises(
            RunbookError, match="No space left on device; what was recorded before stands"
        ):
            write()
    with pytest.raises(UsageError, match="No space"):
        make(folder=small / "archive")
    assert [run.id] == [one.id for one in runs(small / "archive")]
    now = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    assert now.keys() == before.keys() and all(
        now[path].startswith(content) for path, content in before.items()
    )
    filler.unlink()
    run.end("failed")
    runner.finish(run)
    assert archive.verify(run) == [] and all("at" in line for line in run.read_journal())


def test_an_archive_that_can_only_be_read_is_read(make: Make, small: Path) -> None:
    run = make(folder=small / "archive")
    archive.seal(run)
    shutil.rmtree(small / "archive" / ".locks")
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    for command in (
        ("status", str(run.folder)),
        ("verify", str(run.folder)),
        ("history", "--archive", str(small / "archive")),
        ("verify", "--all", "--archive", str(small / "archive")),
        ("diff", str(run.folder), str(run.folder)),
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.output, done.exception)
    done = CliRunner().invoke(app, ["lesson", str(run.folder), "read more"])
    assert isinstance(done.exception, RunbookError) and "Read-only file system" in str(
        done.exception
    )


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that others may enter; pytest's own is its user's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two other people")
def test_another_person_who_shares_the_folder_goes_on_with_a_sealed_run(
    make: Make, everybodys: Path
) -> None:
    run = make(folder=everybodys / "archive")
    run.end("failed")
    archive.seal(run)
    for path in (run.folder.parent, *run.folder.parent.rglob("*")):
        os.chown(path, 12345, 12321)
        if path.is_dir():
            path.chmod(0o2770)
    said, saying = os.pipe()
    if os.fork() == 0:  # a child, for nobody becomes root again
        try:
            os.setgroups([])
            os.setgid(12321)
            os.setuid(12399)
            os.umask(0o002)
            shared = Run(run.folder)
            shared.journal("resumed")
            archive.seal(shared)
            os.write(
                saying, f"{archive.verify(shared)} {shared.read_journal()[-2]['what']}".encode()
            )
        except BaseException as error:
            os.write(saying, repr(error).encode())
        finally:
            os._exit(0)
    os.wait()
    assert os.read(said, 4096).decode() == "[] resumed"
    os.close(said)
    os.close(saying)


def test_a_line_that_was_cut_off_is_said_and_the_next_is_whole(make: Make) -> None:
    run = make()
    with (run.folder / "journal.jsonl").open("a") as file:
        file.write('{"at": "2026-01-01T00:00:00.000Z", "wh')
    run.journal("resumed")
    assert [line["what"] for line in run.read_journal()] == [
        "run started",
        "a line that was cut off",
        "resumed",
    ]


def test_whoever_has_no_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from runbook_lib import whereabouts

    monkeypatch.setattr(
        "pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError("uid not found"))
    )
    monkeypatch.delenv("RUNBOOK_PERSON", raising=False)
    assert whereabouts.person() == f"uid {os.getuid()}"


def test_what_began_on_another_machine_is_neither_alive_nor_gone(make: Make) -> None:
    run = make()
    run.begin_phase("migrate", "60_migrate.ipynb")
    assert run.at_work and not run.elsewhere
    elsewhere(run)
    assert [entry["phase"] for entry in run.elsewhere] == ["migrate"] and not run.lost
    with pytest.raises(Refused, match="cannot be told from here.*\n.*--take-over"):
        runner.settle(run)
    shown = CliRunner().invoke(app, ["status", str(run.folder), "--json"])
    assert json.loads(shown.stdout)["elsewhere"] == ["migrate"]


def test_failed_and_rolled_back_runs_have_an_entry_and_it_is_the_templates(make: Make) -> None:
    run = make("20260101000000_first")
    run.begin_phase("migrate", "60_migrate.ipynb")
    run.end_phase("migrate", "failed", [], "lock timeout")
    for name, status in (("rollback", "succeeded"),):
        run.begin_phase(name, "90_rollback.ipynb")
        run.end_phase(name, status)
    run.write_evidence(
        "migrate.difference",
        {
            "changes": [
                {"kind": kind, "name": "x", "action": "added", "in_words": f"{kind} x added"}
                for kind in ("table", "index", "constraint", "enum")
            ]
        },
    )
    run.end("rolled_back")
    runner.finish(run)
    text = (run.folder / "history.md").read_text()
    for part in (
        "### Migration: 20260101000000_first",
        "**Downtime:** Zero downtime",
        "#### Changes Made:\n- none remains: what is listed here was undone",
        "- Index additions/removals\n  - index x added",
        "- Constraint changes\n  - constraint x added",
        "#### Issues Encountered:\n- migrate: lock timeout",
        "#### Rollback Required:\n- [x] Yes [ ] No",
        "#### Lessons Learned:\n- None recorded",
    ):
        assert part in text, part


def test_the_history_is_filtered_and_sorted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = (
        make("20260101000000_first", environment="staging"),
        make("20260102000000_second", environment="production"),
    )
    monkeypatch.setattr(runbook_lib.run, "stamp", lambda: "2999-01-01T00:00:10.000Z")
    short.end("failed")
    monkeypatch.setattr(runbook_lib.run, "stamp", lambda: "2999-01-01T00:01:30.000Z")
    long.end("succeeded")
    folder = long.folder.parent
    assert [one.run_id for one in ledger.entries(folder, sort="duration")] == [long.id, short.id]
    for chosen in ({"environment": "staging"}, {"outcome": "succeeded"}, {"migration": "first"}):
        assert [one.run_id for one in ledger.entries(folder, ledger.Filter(**chosen))] == [
            long.id
        ], chosen
    assert ledger.entries(folder, ledger.Filter(since="2999-01-01")) == []
    for wrong in ({"outcome": "won"}, {"since": "yesterday"}):
        with pytest.raises(UsageError):
            ledger.Filter(**wrong)
    with pytest.raises(UsageError, match="not sorted by"):
        ledger.entries(folder, sort="luck")


def test_one_migration_is_followed_across_environments_and_against_its_forecast(make: Make) -> None:
    for environment, took in (("staging", 12.0), ("production", 30.0)):
        run = make("20260101000000_first", environment=environment)
        run.write_evidence(
            "migration",
            {
                "applied": ["20260101000000_first"],
                "seconds": took,
                "forecast_s": 10.0,
                "attempts": 1,
            },
        )
        run.end("succeeded")
    found = ledger.entries(run.folder.parent)
    assert [(row[0], row[4]) for row in ledger.across(found, ["20260101000000_first"]).rows] == [
        ("staging", 12.0),
        ("production", 30.0),
    ]
    table = ledger.forecasts(found)
    assert [row[-1] for row in table.rows] == [3.0, 1.2]
    drawn = charts.forecasts(table.title, [(row[1], row[3], row[4]) for row in table.rows])
    assert (
        drawn.table.rows == [("production", 10.0, 30.0, 3.0), ("staging", 10.0, 12.0, 1.2)]
        and "2.1 × the forecast" in drawn.title
    )


def test_80_close_asks_for_the_lessons_and_for_nothing_else(make: Make) -> None:
    run = make()
    asked = Lessons(run.id, (), lambda text: run.journal("lessons learned", text=text))
    assert f"runbook lesson {run.id}" in str(asked)
    told: list[Lessons] = []
    text, button = asked.question(told.append).children
    button.click()
    text.value = " ask first "
    button.click()
    assert history.entry(run).lessons == told[-1].learned == ("ask first",)


def test_two_runs_are_compared_in_facts(make: Make) -> None:
    one, other = make(environment="staging"), make(environment="production")
    for run, status, digest in ((one, "passed", "a" * 64), (other, "could not check", "b" * 64)):
        run.begin_phase("plan", "10_plan.ipynb")
        run.write_evidence(
            "plan",
            {
                "hash": digest,
                "files": {"20260101000000_first": digest},
                "prisma": "7.4.0",
                "applied": [],
                "severe": [],
            },
        )
        run.write_evidence(
            "plan.checks",
            [{"id": "a", "title": "it holds", "status": status, "found": f"{run.id} rows"}],
        )
        run.end_phase("plan", "succeeded")
    facts = {
        (fact.subject, fact.what): (fact.first, fact.second)
        for fact in rundiff.compare(one, other).differing
    }
    assert facts["migrations", "20260101000000_first: sha256"] == ("a" * 16, "b" * 16)
    assert facts["checks", "plan.checks: it holds"] == (
        "passed",
        f"could not check: {other.id} rows",
    )
    assert (
        facts["outcome", "environment"] == ("staging", "production")
        and ("versions", "Prisma") not in facts
    )
    same = rundiff.compare(one, one)
    assert same.differing == () and "0 differences in fact" in same.table().title
