"""A run as one page, and an archive as one page: self-contained, no network, no script, for a tired reader.

The page opens with the verdict, then what failed and why, what changed, the phases on a line of time, who approved,
who was told; every fact leads to the cell that proves it. All notebooks follow, their code folded away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from runbook_lib.show.cells import Fragment, anchor_of, fragment
from runbook_lib.show.style import asset, base_css, dark_variables

if TYPE_CHECKING:
    import jinja2
    from nbformat import NotebookNode

LARGEST_PAGE = 5_000_000
"""Bytes of a page; long outputs are cut until it fits."""


@dataclass(frozen=True)
class Verdict:
    """An outcome in words: sign, word, mark, and what is true now."""

    sign: str
    word: str
    mark: str
    meaning: str


VERDICTS: Mapping[str, Verdict] = {
    "succeeded": Verdict("✔", "Succeeded", "good", "The migration was applied and validated."),
    "rolled_back": Verdict("↩", "Rolled back", "unknown", "The migration was undone: the database is as it was before."),
    "failed": Verdict("✘", "Failed", "bad", "The run stopped at a failure. What is true of the database now stands under “What failed”."),
    "aborted": Verdict("■", "Aborted", "bad", "The run was told to stop. Its database work was cancelled; it can be resumed."),
    "waiting": Verdict("?", "Waiting for a person", "unknown", "A gate needs an approval; the run then goes on with `runbook resume`."),
    "running": Verdict("▶", "Running", "running", "This page was written while the run was at work."),
    "unknown": Verdict("?", "Unknown", "unknown", "How the run ended is not known: do not take it for a success."),
}
"""The outcomes of run.json; of an unknown one nothing good is assumed."""


def render(
    run: Mapping[str, Any],
    notebooks: Sequence[tuple[str, NotebookNode]],
    journal: Sequence[Mapping[str, Any]] = (),
    approvals: Sequence[Mapping[str, Any]] = (),
    *,
    evidence: Sequence[str] = (),
    changes: Sequence[str] = (),
) -> str:
    """The page of a run.

    Args:
        run: the content of run.json.
        notebooks: executed notebooks with their files' names, in the order in which they are to be read.
        journal, approvals: the lines of journal.jsonl and approvals.jsonl.
        evidence: names of the files in `evidence/`.
        changes: what was changed in the database, a line each.
    """
    files = [file for file, _ in notebooks]
    page = ""
    for longest in (300_000, 20_000, 2_000):
        fragments = [fragment(file, notebook, files, longest) for file, notebook in notebooks]
        page = _anchored(_templates().get_template("report.html.j2").render(
            **_context(run, fragments, journal), approvals=approvals, evidence=evidence, changes=changes, css=page_css()))
        if len(page.encode()) <= LARGEST_PAGE:
            break
    return page


def index(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page over an archive, to be kept in its folder: all runs, newest first, each leading to its report.

    Args:
        runs: the contents of their run.json.
    """
    ordered = sorted(runs, key=lambda run: str(run["started_at"]), reverse=True)
    counts = {word: sum(run["outcome"] == outcome for run in runs) for outcome, word in ((o, v.word.lower()) for o, v in VERDICTS.items())}
    return _templates().get_template("index.html.j2").render(
        runs=[{**run, "verdict": verdict(run["outcome"])} for run in ordered], counts={k: n for k, n in counts.items() if n}, css=page_css())


def verdict(outcome: str) -> Verdict:
    """An outcome in words."""
    return VERDICTS.get(outcome, VERDICTS["unknown"])


@cache
def page_css() -> str:
    """The stylesheet of pages."""
    return f"{base_css()}@media (prefers-color-scheme: dark){{:root{{{dark_variables()}}}}}{asset('report.css')}"


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    found = jinja2.Environment(loader=jinja2.PackageLoader("runbook_lib", "show"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                               undefined=jinja2.StrictUndefined)
    found.filters.update(clock=clock, lasting=lasting, url=lambda name: quote(str(name)))
    return found


def _context(run: Mapping[str, Any], fragments: Sequence[Fragment], journal: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_anchor = {item.anchor: item for item in fragments}
    phases = [_phase(entry, by_anchor) for entry in run["phases"]]
    return {
        "run": run, "verdict": verdict(run["outcome"]), "fragments": fragments, "phases": phases,
        "failures": [phase for phase in phases if phase["status"] in ("failed", "aborted", "waiting")],
        "timeline": _timeline(phases, journal), "journal": journal,
        "told": [line for line in journal if line.get("what") in ("notified", "not notified")],
        "lessons": [line["text"] for line in journal if line.get("what") == "lessons learned"],
    }


def _anchored(page: str) -> str:
    """The page, with links to a place that a notebook does not have leading to the notebook instead."""
    ids = set(re.findall(r'\sid="([^"]+)"', page))
    return re.sub(r'(?<=\shref="#)([^"]+)--[^"]*(?=")', lambda found: found[0] if unquote(found[0]) in ids else found[1], page)


def _phase(entry: Mapping[str, Any], by_anchor: Mapping[str, Fragment]) -> dict[str, Any]:
    """A phase of run.json with its words, and where on the page it is proven."""
    status = entry["status"]
    shown = Verdict("✔", "succeeded", "good", "") if status == "succeeded" else verdict(status)
    found = by_anchor.get(anchor_of(entry.get("notebook") or entry["phase"]))
    reason = entry.get("reason") or (found.error if found and status != "succeeded" else "")
    seconds = (_moment(entry["ended_at"]) - _moment(entry["started_at"])).total_seconds() if entry.get("ended_at") else None
    return {**entry, "sign": shown.sign, "word": shown.word.lower(), "mark": shown.mark, "seconds": seconds, "reason": reason, "short": _short(reason),
            "href": f"#{found.anchor}" if found else "", "proof": f"#{found.error_anchor}" if found and found.error_anchor else "",
            "checks": [_check(item) for item in entry.get("failed_checks") or ()]}


def _short(reason: str) -> str:
    """The line of a reason that says most: the first failed check, else the first line."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return next((line.removeprefix("✘ ") for line in lines if line.startswith("✘")), lines[0] if lines else "")


def _check(item: Any) -> str:
    """A failed check of run.json, which holds its id, or all of it."""
    return f"{item.get('title', item.get('id'))}: {item.get('found', '')}" if isinstance(item, Mapping) else str(item)


def _timeline(phases: Sequence[Mapping[str, Any]], journal: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The phases, and maintenance mode, as shares of the whole night: left and width in thousandths."""
    rows = [{"name": phase["phase"], "mark": phase["mark"], "word": phase["word"], "start": phase["started_at"], "end": phase.get("ended_at"),
             "href": phase["proof"] or phase["href"]} for phase in phases]
    on = next((line["at"] for line in journal if line.get("what") == "maintenance on"), None)
    if on:
        off = next((line["at"] for line in reversed(journal) if line.get("what") == "maintenance off"), None)
        rows.append({"name": "maintenance mode", "mark": "down", "word": "on" if off is None else "was on", "start": on, "end": off, "href": ""})
    if not rows:
        return []
    moments = [_moment(row[key]) for row in rows for key in ("start", "end") if row[key]]
    first, whole = min(moments), max((max(moments) - min(moments)).total_seconds(), 0.001)
    for row in rows:
        start, end = _moment(row["start"]), _moment(row["end"]) if row["end"] else max(moments)
        row["left"] = round((start - first).total_seconds() / whole * 1000, 1)
        row["width"] = max(round((end - start).total_seconds() / whole * 1000, 1), 4)
        row["left"] = min(row["left"], 1000 - row["width"])
        row["seconds"] = (end - start).total_seconds() if row["end"] else None
    return rows


def clock(text: str | None) -> str:
    """A moment of run.json for people: '2026-11-24 02:00:00'; the heading says UTC."""
    return f"{_moment(text):%Y-%m-%d %H:%M:%S}" if text else "–"


def lasting(seconds: float | None) -> str:
    """Seconds for people: 75 → '1 min 15 s'."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
