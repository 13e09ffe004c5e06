"""A folder's seal: what every file in it hashes to, and every cell of its notebooks.

The hash of a file is the proof; the hashes of cells only say where in a notebook a change is. Knows
folders, no runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
_BESIDE = (MANIFEST, f"{MANIFEST}.sig")
"""What a seal consists of, and therefore does not cover."""
_IN_WORDS = {"source": "its code or text", "outputs": "its output"}


def files(folder: Path) -> dict[str, Path]:
    """The files that a seal covers, by name.

    All but the manifest itself and its signature, JupyterLab's checkpoints and files in the making.
    """
    found = (
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file not in [folder / name for name in _BESIDE]
    )
    return {
        str(file.relative_to(folder)): file
        for file in found
        if ".ipynb_checkpoints" not in file.parts and not file.name.endswith(".tmp")
    }


def hashes(folder: Path) -> dict[str, Any]:
    """What a manifest holds of a folder: `files`, name → sha256.

    `cells`, notebook → cell id → hashes of source and outputs.
    """
    found = files(folder)
    return {
        "files": {name: sha256(file) for name, file in found.items()},
        "cells": {name: cells(file) for name, file in found.items() if file.suffix == ".ipynb"},
    }


def differences(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What in the folder is not as the manifest says, a line each: missing, added, changed.

    Of notebooks, which cells.
    """
    sealed, present = manifest["files"], files(folder)
    wrong = [f"{name}: missing" for name in sealed if name not in present]
    wrong += [f"{name}: added after sealing" for name in present if name not in sealed]
    for name, file in present.items():
        if name in sealed and sha256(file) != sealed[name]:
            where = (
                _cells_changed(manifest.get("cells", {}).get(name), file)
                if file.suffix == ".ipynb"
                else ""
            )
            wrong.append(f"{name}: changed after sealing{where}")
    return wrong


def cells(notebook: Path) -> dict[str, dict[str, str]] | None:
    """Cell id → short hashes of its source and of its outputs.

    None where the file is no notebook any more.
    """
    try:
        found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return {
            cell.get("id") or f"number {number}": {
                "source": _short("".join(cell["source"])),
                "outputs": _short(cell.get("outputs")),
            }
            for number, cell in enumerate(found, 1)
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> dict[str, Any] | None:
    """A manifest; None where the file cannot be read as one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content["files"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cells_changed(sealed: Mapping[str, Mapping[str, str]] | None, notebook: Path) -> str:
    """Which cells of a changed notebook differ, as the end of a sentence."""
    now = cells(notebook)
    if now is None:
        return ": it is no notebook any more"
    if sealed is None:
        return ""
    found = [
        *_changed(sealed, now),
        *(f"cell {id} removed" for id in sealed if id not in now),
        *(f"cell {id} added" for id in now if id not in sealed),
    ]
    if not found and list(sealed) != list(now):
        found = ["its cells are in another order"]
    return ": " + ("; ".join(found) or "no cell; something around them")


def _changed(
    sealed: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    for id in sealed:
        parts = [
            words
            for key, words in _IN_WORDS.items()
            if id in now and sealed[id][key] != now[id][key]
        ]
        if parts:
            yield f"cell {id} changed ({' and '.join(parts)})"


def _short(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
