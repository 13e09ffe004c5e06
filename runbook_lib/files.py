"""Write files of a record: a reader sees the old one or the new one.

A full disk or a crash leaves none half written.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from runbook_lib.errors import NotRecorded, UsageError
from runbook_lib.redact import redact

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def write_json(path: Path, content: Any) -> None:
    """Write JSON, redacted, in one step that no reader sees half done.

    Raises:
        NotRecorded: it cannot be written. What was there before stands.
    """
    write_text(path, as_json(content, indent=2) + "\n")


def as_json(content: Any, indent: int | None = None) -> str:
    """JSON whose texts are redacted one by one.

    Numbers stay, for the digits of a secret (a port, a PIN) may occur in any of them.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, default=str)
    if redact(text) == text:
        return text
    return _TEXT.sub(
        lambda found: json.dumps(redact(json.loads(found[0])), ensure_ascii=False), text
    )


def write_text(path: Path, text: str) -> None:
    """Write text, in one step that no reader sees half done.

    Raises:
        NotRecorded: it cannot be written. What was there before stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # else a crash may leave the new name with nothing in it
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # the archive may be read-only by now
                temporary.unlink(missing_ok=True)
            raise


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write rows under their headings.

    Raises:
        NotRecorded: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def append_json(path: Path, content: Mapping[str, Any]) -> None:
    """Append one line of JSON, redacted, and see that it is on the disk.

    Raises:
        NotRecorded: it cannot be written. The file is then as it was.
    """
    line = as_json(content).encode() + b"\n"
    with explained(path), path.open("ab", buffering=0) as file:
        length = file.tell()
        try:
            if length and not _ends_with_a_line(path):  # cut off when a machine went down
                line = b"\n" + line
            if file.write(line) < len(line):  # the disk took a part
                raise OSError(28, "No space left on device")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(length)
            raise


def read_lines(path: Path, having: re.Pattern[str] | None = None) -> list[dict[str, Any]]:
    """The objects of a file that `append_json` filled.

    One that was cut off says so instead of being passed over.

    Args:
        having: only lines in which it is found, and the last one: most of a long file is then not
            parsed.
    """
    lines: list[dict[str, Any]] = []
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for text in texts if having is None else [*filter(having.search, texts[:-1]), *texts[-1:]]:
        if text.strip():
            lines.append(_line(text) or _cut_off(lines))
    return lines


def _line(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _cut_off(before: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "at": before[-1]["at"] if before else None,
        "who": "unknown",
        "host": "unknown",
        "what": "a line that was cut off",
    }


def last_at(path: Path) -> str:
    """The moment of the last whole line of a file that `append_json` filled, as it was written.

    Empty where there is none.
    """
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
        found = re.findall(rb'^\{"at": "([^"]+)"', file.read(), re.MULTILINE)
    return found[-1].decode() if found else ""


def read_state(path: Path) -> dict[str, Any]:
    """Return a mapping that the record holds as JSON: run.json, parameters.json.

    Raises:
        UsageError: it is damaged, or cannot be read.
    """
    content = read_json(path)
    if isinstance(content, dict):
        return content
    raise _damaged(path, "it is no JSON object")


def read_json(path: Path) -> Any:
    """Return what a file of the record holds.

    Raises:
        FileNotFoundError: there is none.
        UsageError: it is damaged, or cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except ValueError:
        raise _damaged(path, "it is no JSON") from None
    except OSError as error:
        raise _damaged(path, error.strerror or type(error).__name__) from None


def _damaged(path: Path, why: str) -> UsageError:
    folder = path.parent.parent if path.parent.name == "evidence" else path.parent
    return UsageError(
        f"{path} is damaged: {why}",
        "restore it from a copy (`environment.mirror` keeps one), or move the folder "
        f"{folder.name} out of the archive",
    )


def lock(archive: Path, name: str) -> FileLock:
    """What serialises changes of a run, or of the archive: beside the runs, for they are records.

    For everybody who shares the folder.
    """
    path = archive / ".locks" / f"{name}.lock"
    path.parent.mkdir(exist_ok=True)
    return FileLock(path, timeout=10, mode=0o666)


def keep(path: Path) -> None:
    """Move an older file of that name aside: evidence is added to, not replaced."""
    if path.exists():
        path.rename(unused(lambda n: path.with_name(f"{path.stem}.{n}{path.suffix}")))


def unused(named: Callable[[int], Path], first: int = 1) -> Path:
    """Return the first path that is not taken, of those that are named by a number."""
    number = first
    while (path := named(number)).exists():
        number += 1
    return path


def mounted(recorded: str, parent: Path) -> Path:
    """A folder that the record names.

    Where it was, or, where this machine has mounted it elsewhere, that of its name in `parent`.
    """
    there = Path(recorded)
    return there if there.exists() else parent / there.name


def protect(path: Path) -> None:
    """Make a file read-only for everybody.

    It binds nobody who is root, and is no proof: that is the hash.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _WRITABLE:
        with suppress(PermissionError):  # another's file: its owner protected it, or nobody can
            path.chmod(mode & ~_WRITABLE)


def release(path: Path) -> None:
    """Make a read-only file writable for its owner, and for the group where its folder is.

    Of another's file a copy takes its place.
    """
    mode, folder = stat.S_IMODE(path.stat().st_mode), path.parent.stat().st_mode
    wanted = mode | stat.S_IWUSR | (folder & stat.S_IWGRP)
    if mode == wanted:
        return
    try:
        path.chmod(wanted)
    except PermissionError:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with explained(path):
            shutil.copyfile(path, temporary)
            temporary.chmod(wanted)
            temporary.replace(path)


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of a file that cannot be written which one, why, and what to do.

    Raises:
        NotRecorded: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise NotRecorded(
            f"{path.name} cannot be written in {path.parent}: {error.strerror or error}; what was "
            "recorded before stands",
            "make room there, or correct its permissions; then go on with the run",
        ) from None
