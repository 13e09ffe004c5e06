"""What each phase of a run shows, kept as small notebooks, so that a change of it is seen in
review.

A whole run executes the notebooks anyway (`tests/runs/test_scenarios.py`); what their cells put out
as text is compared with the notebooks in this folder by nbval's own rules: its sanitising
(`sanitize.cfg`) and its comparison. `make reference` writes them anew; then read the difference.
"""

from __future__ import annotations

import re
import sys
from difflib import unified_diff
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbval.plugin import coalesce_streams, get_sanitize_patterns, transform_streams_for_comparison

HERE = Path(__file__).resolve().parent
MEASURED = "nbval-ignore-output"
"""nbval's tag of cells whose words depend on what was measured; only that they show something is
compared.
"""
CELLS_THAT_MEASURE = frozenset(
    {
        "announce-proof",
        "backup-chart",
        "backup-metrics",
        "backup-statements",
        "migrate-forecast",
        "migrate-gate",
        "plan-indexes",
        "preflight-chart",
        "preflight-disk",
        "preflight-disk-chart",
        "preflight-forecast",
        "preflight-go",
        "preflight-monitoring",
        "rehearse-chart",
        "rehearse-forecast",
        "rehearse-lock-chart",
        "rehearse-measure",
        "rehearse-migrate",
        "rehearse-prepare",
        "rehearse-size-chart",
        "rehearse-stall-chart",
        "rehearse-stalls",
        "start-journal",
        "validate-analyze",
        "validate-application",
        "validate-counters",
        "validate-indexes",
        "validate-missing",
        "validate-monitoring",
        "validate-monitoring-chart",
        "validate-performance",
        "validate-plans",
        "validate-queries",
        "validate-response-times",
        "validate-sessions",
        "validate-sizes",
        "validate-statement-times",
    }
)


def shown(notebook: Path) -> NotebookNode:
    """An executed notebook reduced to what its cells put out as text, sanitised; parameters are
    left out.
    """
    read = nbformat.read(notebook, as_version=4)
    cells = [
        _reduced(cell)
        for cell in read.cells
        if cell.cell_type == "code"
        and not {"parameters", "injected-parameters"} & {*cell.metadata.get("tags", ())}
    ]
    return nbformat.v4.new_notebook(cells=[cell for cell in cells if cell.outputs])


def differences(notebook: Path) -> list[str]:
    """Where an executed notebook shows something else than its reference, a line each."""
    now, then = (
        {cell.id: cell for cell in read.cells}
        for read in (shown(notebook), nbformat.read(HERE / notebook.name, as_version=4))
    )
    return [
        f"{notebook.stem} {id}: {said}"
        for id in {**then, **now}
        for said in _different(then.get(id), now.get(id))
    ]


def refresh(run: Path) -> None:
    """Write the reference anew, from the notebooks of a run."""
    for notebook in sorted(run.glob("[0-9][0-9]_*.ipynb")):
        nbformat.write(shown(notebook), HERE / notebook.name)


def sanitized(text: str) -> str:
    """Text without what differs from run to run, by nbval's rules."""
    for pattern, replacement in get_sanitize_patterns(
        (HERE / "sanitize.cfg").read_text(encoding="utf-8")
    ):
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip()


def _reduced(cell: NotebookNode) -> NotebookNode:
    texts: dict[str, list[str]] = {}
    for output in transform_streams_for_comparison(coalesce_streams(cell.outputs)):
        for kind, value in {**output.get("data", {}), **output}.items():
            if kind in ("text/plain", "stdout", "evalue") and sanitized(value):
                texts.setdefault(kind, []).append(sanitized(value))
    made = nbformat.v4.new_code_cell(
        cell.source,
        id=cell.id,
        outputs=[_output(kind, text) for kind in texts for text in texts[kind]],
    )
    if cell.id in CELLS_THAT_MEASURE:
        made.metadata.tags, made.outputs = (
            [MEASURED],
            [_output("stdout", "measured")] if made.outputs else [],
        )
    return made


def _output(kind: str, text: str) -> NotebookNode:
    if kind == "text/plain":
        return nbformat.v4.new_output("display_data", data={"text/plain": text})
    return nbformat.v4.new_output("stream", name=kind, text=text)


def _different(then: NotebookNode | None, now: NotebookNode | None) -> list[str]:
    if then is None or now is None:
        return ["shows nothing now" if now is None else "is new"]
    return [
        line
        for line in unified_diff(_texts(then), _texts(now), "then", "now", n=0, lineterm="")
        if not line.startswith("@@")
    ]


def _texts(cell: NotebookNode) -> list[str]:
    return [
        line
        for output in cell.outputs
        for line in (output.get("text") or output.data["text/plain"]).splitlines()
    ]


if __name__ == "__main__":
    refresh(Path(sys.argv[1]))
