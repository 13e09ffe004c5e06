"""Judges executed notebooks, seals a run's folder, and says whether it is still what was recorded.

Each seal holds the hash of the seal of the run before: a run that is changed, or taken out, breaks
the chain. The archive keeps a list of all seals beside the runs, and operations are sent each one's
hash: a copy that stands outside.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nbformat

from runbook_lib import seal as seals
from runbook_lib import signature
from runbook_lib.errors import ToolError, UsageError
from runbook_lib.files import append_json, lock, protect, read_lines, release, unused, write_json
from runbook_lib.run import Run, earlier, runs, stamp
from runbook_lib.seal import MANIFEST, read_manifest, sha256
from runbook_lib.table import Shown, Table
from runbook_lib.whereabouts import person

SEALS = "seals.jsonl"
"""The archive's list of all seals: run, hash, who, when."""


@dataclass(frozen=True)
class Verified(Shown):
    """Whether a run is as it was sealed.

    Args:
        files: how many were sealed.
        wrong: what is not, a line each.
        could_not_check: what cannot be said from here, a line each.
        signer: who signed the seal, by the allowed signers; empty if nobody did, or it could not be
            checked.
    """

    run_id: str
    files: int
    wrong: tuple[str, ...] = ()
    could_not_check: tuple[str, ...] = ()
    signer: str = ""

    def __add__(self, other: Verified) -> Verified:
        """What is wrong by both."""
        return replace(
            self,
            wrong=(*self.wrong, *other.wrong),
            could_not_check=(*self.could_not_check, *other.could_not_check),
            signer=self.signer or other.signer,
        )

    @property
    def intact(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"run": self.run_id, "intact": self.intact} | {
            key: value for key, value in asdict(self).items() if key != "run_id"
        }

    def table(self) -> Table:
        """What is wrong, and what could not be checked."""
        rows = [
            *(("✘ not as sealed", line) for line in self.wrong),
            *(("? could not check", line) for line in self.could_not_check),
        ]
        title = f"{self.run_id}: {len(self.wrong)} not as sealed"
        if self.intact:
            title = f"{self.run_id}: intact, {self.files} files"
        return Table(
            title,
            ("", "what"),
            rows,
            ["bad"] * len(self.wrong) + ["unknown"] * len(self.could_not_check),
        )


def notebook(path: Path) -> nbformat.NotebookNode | None:
    """Return a notebook, or None if it was cut off (full disk, crash)."""
    try:
        found: nbformat.NotebookNode = nbformat.read(path, as_version=4)
        return found
    except (ValueError, nbformat.ValidationError, KeyError, TypeError, AttributeError):
        return None


def executed(path: Path) -> bool:
    """Whether anything of a notebook was run.

    Of one that was cut off, that is taken for granted.
    """
    found = notebook(path)
    return found is None or any(cell.get("execution_count") is not None for cell in found.cells)


def keep_attempt(path: Path) -> None:
    """Keep a notebook that was run before, as it was saved, beside the one that is run now.

    `60_migrate.attempt1.ipynb`.
    """
    if path.exists() and executed(path):
        kept = unused(lambda n: path.with_name(f"{path.stem}.attempt{n}.ipynb"))
        shutil.copyfile(path, kept)


def attempt_of(name: str) -> str:
    """Return the notebook of which a file keeps an attempt; of any other its own name."""
    return re.sub(r"\.attempt\d+(?=\.ipynb$)", "", name)


def judge(path: Path) -> tuple[bool, str]:
    """Whether a notebook ran to its end without an error, and the first error, one line.

    Papermill's metadata is not asked: it says `completed` after an interrupt or a timeout.
    """
    content = notebook(path)
    if content is None:
        return False, f"{path.name} was cut off and cannot be read"
    code = [cell for cell in content.cells if cell.cell_type == "code" and cell.source.strip()]
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                return False, f"{output.ename}: {output.evalue}".splitlines()[0]
    pending = sum(cell.execution_count is None for cell in code)
    return pending == 0, f"{pending} cells did not run" if pending else ""


def seal(run: Run) -> Path:
    """Write manifest.json: the hash of every file and cell, and of the previous run's seal.

    After that all files are read-only.

    If `environment.signing_key` is set, the seal is signed. The archive's list of seals gains its
    hash.
    """
    path = run.folder / MANIFEST
    record_missing_seal(run)
    run.open_seal()
    run.journal("run sealed")
    before = [other for other in earlier(run) if other.sealed]
    previous = (
        {"run_id": before[-1].id, "manifest_sha256": sha256(before[-1].folder / MANIFEST)}
        if before
        else None
    )
    write_json(
        path,
        {"run_id": run.id, "sealed_at": stamp(), "previous": previous, **seals.hashes(run.folder)},
    )
    signed = _sign(run, path)
    for file in (*seals.files(run.folder).values(), path):
        protect(file)
    note_seal(run, signed=signed)
    return path


def note_seal(run: Run, **facts: Any) -> None:
    """Add a line on a run's seal to the archive's list of seals."""
    path = run.folder.parent / SEALS
    line = {"at": stamp(), "who": person(), "run": run.id, "manifest_sha256": seal_hash(run)}
    with lock(path.parent, SEALS):
        if path.exists():
            release(path)
        append_json(path, line | facts)


def seal_hash(run: Run) -> str:
    """The sha256 of a run's seal, which stands for all that the run's folder holds."""
    return sha256(run.folder / MANIFEST)


def record_missing_seal(run: Run) -> None:
    """Record that a run was sealed and its seal is gone, before a new one is made.

    The new one does not make it good.
    """
    if missing := _missing_seal(run):
        run.journal("seal opened", manifest=None, not_as_sealed=[missing])


def _missing_seal(run: Run) -> str:
    """That the run was sealed, not opened since, and has no manifest; empty if that is not so."""
    if run.sealed:
        return ""
    last = [line for line in run.read_journal() if line["what"] in ("run sealed", "seal opened")]
    if not last or last[-1]["what"] == "seal opened":
        return ""
    return (
        f"{MANIFEST}: missing, though the run was sealed at {last[-1]['at']} by {last[-1]['who']}: "
        "what was changed since then cannot be told"
    )


def _sign(run: Run, manifest: Path) -> str:
    """Sign a seal if the parameters ask for it; how that ended, for the list of seals."""
    if not (key := run.params.environment.signing_key):
        return "no: `environment.signing_key` is not set"
    try:
        protect(signature.sign(manifest, key))
    except ToolError as error:
        return f"no: {error.message}"
    return "yes"


def examine(
    run: Run,
    *,
    whole_chain: bool = True,
    against: str = "",
    allowed_signers: Path | None = None,
) -> Verified:
    """Compare a run with its seal, its seal with the list of seals, and check the chain before it.

    The hash and the signers that are given are compared, too.

    Args:
        whole_chain: back to the first run; else only this run's link.
        against: a sha256 that was kept elsewhere, e.g. in the closing message.
        allowed_signers: OpenSSH's file; default: `environment.allowed_signers`.

    Raises:
        UsageError: the run was never sealed.
    """
    path = run.folder / MANIFEST
    if missing := _missing_seal(run):
        return Verified(run.id, 0, (missing,))
    if not path.exists():
        raise UsageError(
            f"{run.id} is not sealed: it has not ended, or was taken up again since",
            f"`runbook report {run.reference}` seals it",
        )
    manifest = read_manifest(path)
    if manifest is None:
        return Verified(run.id, 0, (f"{MANIFEST}: cannot be read",))
    wrong = seals.differences(run.folder, manifest)
    if manifest["run_id"] != run.id:
        wrong.append(f"the folder's name: it was sealed as {manifest['run_id']}")
    wrong += [
        f"{line} (found when the seal was opened at {opened['at']} by {opened['who']})"
        for opened in run.read_journal()
        for line in opened.get("not_as_sealed", ())
    ]
    return (
        Verified(run.id, len(manifest["files"]), tuple(wrong))
        + _links(run, manifest, whole_chain)
        + _listed(run)
        + _against(run, against)
        + _signature(run, allowed_signers)
    )


def _links(run: Run, manifest: dict[str, Any], whole_chain: bool) -> Verified:
    """The chain of seals before a run.

    A run that stands alone, as one that was copied, cannot be checked.
    """
    broken = tuple(_chain(run.folder.parent, manifest, run.id, whole_chain))
    alone = len(list(run.folder.parent.glob("*/run.json"))) == 1
    if alone and broken:
        previous = manifest["previous"]["run_id"]
        return Verified(
            run.id,
            0,
            could_not_check=(
                f"the chain of seals: the run before it, {previous}, is not here, nor is any "
                "other run",
            ),
        )
    return Verified(run.id, 0, broken)


def _listed(run: Run) -> Verified:
    """A run's seal against the archive's list of seals."""
    found = [line for line in read_lines(run.folder.parent / SEALS) if line.get("run") == run.id]
    if not found:
        why = f"the archive's list of seals, {SEALS}, is not here or does not name this run"
        return Verified(run.id, 0, could_not_check=(why,))
    if found[-1]["manifest_sha256"] == seal_hash(run):
        return Verified(run.id, 0)
    made = f"{found[-1]['at']} by {found[-1]['who']}"
    return Verified(
        run.id, 0, (f"{MANIFEST}: not the seal of {made} that the archive's {SEALS} lists",)
    )


def _against(run: Run, against: str) -> Verified:
    """A run's seals against a hash that was kept elsewhere."""
    if not against or against == seal_hash(run):
        return Verified(run.id, 0)
    earlier_seals = {sha256(path): path for path in run.folder.glob("manifest.*.json")}
    if found := earlier_seals.get(against):
        sealed_at = (read_manifest(found) or {}).get("sealed_at", "unknown")
        why = (
            f"the hash is that of this run's earlier seal of {sealed_at}: the run was added to "
            "since, and only the newer seal covers what was added"
        )
        return Verified(run.id, 0, could_not_check=(why,))
    return Verified(run.id, 0, (f"{MANIFEST}: no seal of this run has the hash {against}",))


def _signature(run: Run, allowed_signers: Path | None) -> Verified:
    signers = allowed_signers or run.params.environment.allowed_signers
    found = signature.check(run.folder / MANIFEST, signers)
    return Verified(
        run.id,
        0,
        (f"{MANIFEST}: {found.wrong}",) if found.wrong else (),
        (f"the signature: {found.could_not_check}",) if found.could_not_check else (),
        found.signer,
    )


def verify(run: Run) -> list[str]:
    """What is not as it was sealed, a line each; empty where the run is intact.

    Raises:
        UsageError: the run was never sealed.
    """
    return list(examine(run).wrong)


def examine_all(folder: Path, allowed_signers: Path | None = None) -> list[Verified]:
    """Examine every run of an archive, oldest first.

    Those that are not sealed, and those that are missing, are named, too.

    Args:
        allowed_signers: as in `examine`.
    """
    found, last = [], 0
    for run in runs(folder):
        gone = tuple(
            f"run number {number}: missing in this archive"
            for number in range(last + 1, run.number)
        )
        last = max(last, run.number)
        one = _examined(run, allowed_signers)
        found.append(replace(one, wrong=(*gone, *one.wrong)))
    return [*found, *_removed(folder, {one.run_id for one in found})]


def _examined(run: Run, allowed_signers: Path | None) -> Verified:
    if run.sealed or _missing_seal(run):
        return examine(run, whole_chain=False, allowed_signers=allowed_signers)
    why = "not sealed: it has not ended, or was taken up again since"
    return Verified(run.id, 0, could_not_check=(why,))


def _removed(folder: Path, present: set[str]) -> list[Verified]:
    """The runs that the archive's list of seals names, and that are not there."""
    listed = {line["run"]: line for line in read_lines(folder / SEALS) if "run" in line}
    return [
        Verified(
            name,
            0,
            (f"its folder: missing, though it was sealed at {line['at']} by {line['who']}",),
        )
        for name, line in listed.items()
        if name not in present
    ]


def _chain(archive: Path, manifest: dict[str, Any], run_id: str, whole: bool) -> Iterator[str]:
    """Where the chain of seals before a run is broken.

    Which run, and from where the link leads there.
    """
    while previous := manifest["previous"]:
        folder, link = (
            archive / previous["run_id"],
            "" if run_id == manifest["run_id"] else f" (the link of {manifest['run_id']})",
        )
        if not (folder / "run.json").exists():
            yield f"the previous run {previous['run_id']}: missing{link}"
            return
        path = next(
            (
                path
                for path in folder.glob("manifest*.json")
                if sha256(path) == previous["manifest_sha256"]
            ),
            None,
        )
        found = read_manifest(path) if path else None
        if found is None:
            yield f"the previous run {previous['run_id']}: its manifest changed{link}"
            return
        if not whole:
            return
        manifest = found
