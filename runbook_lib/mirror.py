"""Copies a sealed run to object storage, by papermill's own handlers.

S3://, gs://, abs://, adl:// and what else is installed.

The folder in `environment.archive` is the record; the copy is for those who look for it elsewhere,
and for the day on which that folder is lost. Each file is read back and compared. The manifest
comes last: a copy without it is not whole.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import ToolError
from runbook_lib.redact import redact
from runbook_lib.seal import MANIFEST, files


class NotMirrored(ToolError):
    """A run could not be copied whole."""


@dataclass(frozen=True)
class Mirrored:
    """A run that was copied.

    Args:
        place: where to.
        files: how many, the manifest included.
    """

    place: str
    files: int


def mirror(folder: Path, place: str) -> Mirrored:
    """Copy a sealed run to `place`/<its name>/, and read every file back.

    Raises:
        NotMirrored: a file could not be written, or is not what was written; naming it.
    """
    from papermill.iorw import papermill_io

    there = f"{place.rstrip('/')}/{folder.name}"
    found = [*files(folder).items(), (MANIFEST, folder / MANIFEST)]
    for name, path in found:
        target = f"{there}/{name}"
        try:
            text, handler = path.read_text(encoding="utf-8"), papermill_io.get_handler(target)
            handler.write(text, target)
            same = _bare(handler.read(target)) == _bare(text)
        except Exception as error:  # each storage has errors of its own
            first = (redact(str(error)).splitlines() or [""])[0]
            raise NotMirrored(
                f"{name} could not be copied to {there}: {type(error).__name__}: {first}",
                f"the run in {folder.parent} is whole; `runbook report "
                f"{shlex.quote(str(folder))}` tries again",
            ) from None
        if not same:
            raise NotMirrored(
                f"{name} in {there} is not what was written",
                f"`runbook report {shlex.quote(str(folder))}` tries again",
            )
    return Mirrored(there, len(found))


def _bare(text: Any) -> str:
    """Text without line ends.

    Handlers read line by line, and put them together in their own way.
    """
    decoded = (
        text.decode("utf-8")
        if isinstance(text, (bytes, bytearray))
        else text
        if isinstance(text, str)
        else "".join(text)
    )
    return decoded.replace("\r", "").replace("\n", "")
