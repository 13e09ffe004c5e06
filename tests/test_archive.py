"""A seal proves more than itself: what is removed, made anew or signed by somebody else is found
and named.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from runbook_lib import archive, execute, files, params, runner
from runbook_lib import seal as seals
from runbook_lib.cli import app
from runbook_lib.run import Run, create

ROOT = Path(__file__).resolve().parents[1]
TARGET = {
    "host": "h",
    "database": "d",
    "system_identifier": "1",
    "database_oid": 1,
    "server_version": "18.6",
}


@pytest.fixture
def values(tmp_path: Path) -> dict:
    """Parameters of an archive of the test's own, without anybody to tell."""
    found = params.load(ROOT / "params" / "demo.yaml")
    found["environment"] = {"name": "demo", "archive": str(tmp_path / "archive")}
    (tmp_path / "address").write_text(f"file://{tmp_path}/told.jsonl\n")
    found["notify"] = {"audiences": {"operations": [f"file:{tmp_path}/address"]}}
    return found


def sealed(values: dict) -> Run:
    """A run that has succeeded, sealed."""
    run = create(values, ["20260101000000_first"], TARGET)
    run.write_evidence("backup", {"sha256": "one"})
    run.begin_phase("close", "80_close.ipynb")
    run.end_phase("close", "succeeded")
    run.end("succeeded")
    runner.finish(run)
    return run


def tamper(run: Run) -> None:
    """Change evidence behind the seal, as somebody who is root can."""
    path = run.folder / "evidence" / "backup.json"
    path.chmod(0o644)
    path.write_text("{}")


def key_of(name: str, folder: Path) -> Path:
    """An SSH key without a passphrase."""
    key = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True
    )
    return key


def allowed(folder: Path, **keys: Path) -> Path:
    """A file of allowed signers."""
    lines = [
        f"{who}@example.invalid {key.with_suffix('.pub').read_text()}" for who, key in keys.items()
    ]
    path = folder / "allowed_signers"
    path.write_text("".join(lines))
    return path


def test_a_manifest_that_was_removed_is_missed_and_a_new_seal_does_not_make_it_good(
    values: dict,
) -> None:
    run = sealed(values)
    (run.folder / seals.MANIFEST).unlink()
    tamper(run)
    (wrong,) = archive.verify(run)
    assert wrong.startswith("manifest.json: missing, though the run was sealed at ")
    done = CliRunner().invoke(app, ["report", str(run.folder)])
    assert done.exit_code == 0
    found = archive.examine(run)
    assert (
        not found.intact and "cannot be told (found when the seal was opened at" in found.wrong[0]
    )
    assert "manifest.json: missing" in (run.folder / "history.md").read_text()
    done = CliRunner().invoke(app, ["verify", str(run.folder), "--json"])
    assert done.exit_code == 1 and not json.loads(done.stdout)["intact"]


def test_a_seal_that_was_made_anew_is_not_the_one_that_the_archive_lists(values: dict) -> None:
    run = sealed(values)
    tamper(run)
    path = run.folder / seals.MANIFEST
    manifest = json.loads(path.read_text()) | seals.hashes(run.folder)
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))
    (wrong,) = archive.verify(run)
    assert wrong.startswith("manifest.json: not the seal of ") and "seals.jsonl" in wrong


def test_the_newest_run_that_was_removed_is_missed(values: dict) -> None:
    first, last = sealed(values), sealed(values)
    shutil.rmtree(last.folder)
    whole = archive.examine_all(first.folder.parent)
    assert [one.run_id for one in whole if one.wrong] == [last.id]
    assert whole[-1].wrong[0].startswith("its folder: missing, though it was sealed at ")


def test_operations_hold_the_hash_of_the_seal_and_it_is_verified_against(
    values: dict, tmp_path: Path
) -> None:
    run = sealed(values)
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    (command,) = [line for line in told[-1]["message"].splitlines() if line.startswith("runbook ")]
    *_, against = command.split()
    assert against == archive.seal_hash(run)
    assert archive.examine(run, against=against).intact
    run.journal("resumed")
    runner.finish(run)
    found = archive.examine(run, against=against)
    assert found.intact and "earlier seal" in found.could_not_check[0]
    other = "0" * 64
    assert archive.examine(run, against=other).wrong == (
        f"manifest.json: no seal of this run has the hash {other}",
    )
    lines = files.read_lines(run.folder.parent / archive.SEALS)
    assert [line["sent"][0]["delivered"] for line in lines if "sent" in line] == [True, True]


def test_a_signed_seal_names_its_signer(values: dict, tmp_path: Path) -> None:
    key = key_of("anna", tmp_path)
    values["environment"] |= {"signing_key": str(key)}
    run, signers = sealed(values), allowed(tmp_path, anna=key)
    assert archive.examine(run, allowed_signers=signers).signer == "anna@example.invalid"
    done = CliRunner().invoke(app, ["verify", str(run.folder), "--allowed-signers", str(signers)])
    assert done.exit_code == 0 and "signed by anna@example.invalid" in done.output
    assert "--allowed-signers" in archive.examine(run).could_not_check[-1]
    run.journal("resumed")
    runner.finish(run)
    assert archive.examine(run, allowed_signers=signers).intact
    assert (run.folder / "manifest.1.json.sig").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("unsigned", "it is not signed"),
        ("another's key", "not among the allowed signers"),
        ("another's seal", "is not of this seal"),
    ],
)
def test_a_signature_that_does_not_hold_is_named(
    values: dict, tmp_path: Path, how: str, said: str
) -> None:
    anna, mallory = key_of("anna", tmp_path), key_of("mallory", tmp_path)
    if how != "unsigned":
        values["environment"] |= {"signing_key": str(mallory if "key" in how else anna)}
    run, signers = sealed(values), allowed(tmp_path, anna=anna)
    if how == "another's seal":
        signature = run.folder / "manifest.json.sig"
        signature.unlink()
        shutil.copy(sealed(values).folder / "manifest.json.sig", signature)
    found = archive.examine(run, allowed_signers=signers)
    assert not found.intact and said in found.wrong[-1]


def test_a_key_that_cannot_sign_is_said_in_the_list_of_seals_and_the_run_is_sealed(
    values: dict, tmp_path: Path
) -> None:
    values["environment"] |= {"signing_key": str(tmp_path / "no key")}
    run = sealed(values)
    assert archive.verify(run) == []
    listed = files.read_lines(run.folder.parent / archive.SEALS)
    assert listed[0]["signed"].startswith("no: `ssh-keygen")


def test_an_allowed_signers_file_that_is_not_there_is_could_not_check(
    values: dict, tmp_path: Path
) -> None:
    values["environment"] |= {"signing_key": str(key_of("anna", tmp_path))}
    found = archive.examine(sealed(values), allowed_signers=tmp_path / "none")
    assert found.intact and "there is no file of allowed signers" in found.could_not_check[-1]


def test_a_notebook_that_was_cut_off_is_kept_named_and_sealed(values: dict) -> None:
    run = create(values, ["20260101000000_first"], TARGET)
    path = run.folder / "60_migrate.ipynb"
    run.begin_phase("migrate", path.name)
    path.write_text('{"cells": [{"cell_type": "code", "exec')
    run.end_phase("migrate", "failed", reason="the archive's disk was full")
    run.end("failed")
    assert archive.judge(path) == (False, "60_migrate.ipynb was cut off and cannot be read")
    assert execute._free_name(path).name == "60_migrate-2.ipynb"
    runner.finish(run, lambda *_, **__: None)
    assert "cannot be read; the journal says" in (run.folder / "report.html").read_text()
    assert archive.verify(run) == []


def test_an_earlier_attempt_is_kept_beside_the_notebook_and_shown_in_the_report(
    values: dict,
) -> None:
    run = create(values, ["20260101000000_first"], TARGET)
    path = run.folder / "60_migrate.ipynb"
    cell = nbformat.v4.new_code_cell("phase.deploy()", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", text="blocked for 114 s")]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    archive.keep_attempt(path)
    cell.outputs = []
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    archive.keep_attempt(path)
    run.begin_phase("migrate", path.name)
    runner.report(run)
    assert "blocked for 114 s" in (run.folder / "report.html").read_text()
    assert archive.attempt_of("60_migrate.attempt2.ipynb") == "60_migrate.ipynb"
    assert (run.folder / "60_migrate.attempt2.ipynb").exists()
