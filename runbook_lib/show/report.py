"""A run as one page, and an archive as one page.

Self-contained, no network, no script, for a tired reader.

The page opens with the verdict, then what failed and why, what changed, the phases on a line of
time, who approved, who was told; every fact leads to the cell that proves it. All notebooks follow,
their code folded away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from runbook_lib.show import night
from runbook_lib.show.cells import Fragment, anchor_of, fragment
from runbook_lib.show.style import asset, base_css, dark_variables
from runbook_lib.show.words import VERDICTS, clock, lasting, short, verdict
from runbook_lib.state import cause, failures
from runbook_lib.table import text

if TYPE_CHECKING:
    import jinja2
    from nbformat import NotebookNode

LARGEST_PAGE = 5_000_000
"""Bytes of a page; long outputs are cut until it fits."""
SHOWN_BY = {
    "target": "start-about-run",
    "migrations": "plan-pending",
    "schema": "migrate-difference",
    "data": "validate-content",
    "succeeded": "validate-require",
    "rolled_back": "rollback-afterwards",
}
"""The cells that show what the page opens with; what the journal recorded is led to the cell that
was at work then.
"""
_UNFOLDED = 20
"""Changes of one kind that are shown at once; more are folded away."""
_MOST_NAMES = 50
"""Migrations of one run that the index names; its report names all."""


def render(
    run: Mapping[str, Any],
    notebooks: Sequence[tuple[str, NotebookNode]],
    journal: Sequence[Mapping[str, Any]] = (),
    approvals: Sequence[Mapping[str, Any]] = (),
    *,
    evidence: Sequence[str] = (),
    changes: Sequence[str] = (),
    content: Mapping[str, Any] | None = None,
) -> str:
    """The page of a run.

    Args:
        run: the content of run.json.
        notebooks: executed notebooks with their files' names, in the order in which they are to be
            read.
        journal, approvals: the lines of journal.jsonl and approvals.jsonl.
        evidence: names of the files in `evidence/`.
        changes: what was changed in the database, a line each that begins with the kind of object.
        content: how each table's rows compare with those of before (`validate.content.tables` of
            the evidence).
    """
    files = [file for file, _ in notebooks]
    proofs = night.Proofs(run["phases"], notebooks)
    page = ""
    for longest in (300_000, 20_000, 2_000):
        fragments = [fragment(file, notebook, files, longest) for file, notebook in notebooks]
        page = _anchored(
            _templates()
            .get_template("report.html.j2")
            .render(
                **_context(run, fragments, journal, proofs),
                approvals=[
                    {**item, "href": night.decided(item, journal, proofs)} for item in approvals
                ],
                evidence=evidence,
                changes=_by_kind(changes, content),
                unfolded=_UNFOLDED,
                css=page_css(),
            )
        )
        if len(page.encode()) <= LARGEST_PAGE:
            break
    return page


def index(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page over an archive, to be kept in its folder.

    All runs, newest first, each leading to its report.

    It can be filtered by environment and by outcome, without a script.

    Args:
        runs: the contents of their run.json.
    """
    ordered = [
        {
            **run,
            "verdict": verdict(run["outcome"]),
            "where": ("▲ " if run.get("production") else "") + run["environment"],
        }
        for run in sorted(runs, key=lambda run: str(run["started_at"]), reverse=True)
    ]
    words = [run["verdict"].word.lower() for run in ordered]
    counts = {
        word: words.count(word)
        for word in (known.word.lower() for known in VERDICTS.values())
        if word in words
    }
    environments = {
        where: _environment([run for run in ordered if run["where"] == where], counts)
        for where in sorted({run["where"] for run in ordered})
    }
    years: dict[str, list[dict[str, Any]]] = {}
    for run, word in zip(ordered, words, strict=True):
        run.update(e=[*environments].index(run["where"]) + 1, o=[*counts].index(word) + 1)
        years.setdefault(str(run["started_at"])[:4], []).append(run)
    return (
        _templates()
        .get_template("index.html.j2")
        .render(
            runs=ordered,
            counts=counts,
            environments=environments,
            years=years,
            most=_MOST_NAMES,
            css=page_css(),
        )
    )


def _environment(runs: Sequence[Mapping[str, Any]], counts: Iterable[str]) -> dict[str, Any]:
    """The runs of one environment, newest first, in numbers."""
    words = [run["verdict"].word.lower() for run in runs]
    return {
        "runs": len(runs),
        "counts": {word: words.count(word) for word in counts},
        "newest": runs[0],
    }


@cache
def page_css() -> str:
    """The stylesheet of pages."""
    return (
        f"{base_css()}@media (prefers-color-scheme: "
        f"dark){{:root{{{dark_variables()}}}}}{asset('report.css')}"
    )


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("runbook_lib", "show"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters.update(clock=clock, lasting=lasting, url=lambda name: quote(str(name)))
    return found


def _context(
    run: Mapping[str, Any],
    fragments: Sequence[Fragment],
    journal: Sequence[Mapping[str, Any]],
    proofs: night.Proofs,
) -> dict[str, Any]:
    by_anchor = {item.anchor: item for item in fragments}
    phases = [_phase(entry, by_anchor) for entry in run["phases"]]
    switched = [
        line["at"] for line in journal if line.get("what") in ("maintenance on", "maintenance off")
    ]
    return {
        "run": run,
        "verdict": verdict(run["outcome"]),
        "fragments": fragments,
        "journal": journal,
        **_failures(run["outcome"], phases),
        "lanes": night.lanes(phases, journal, proofs),
        "events": night.events(journal, proofs),
        "told": [
            {**line, "href": proofs.at(line.get("at"))}
            for line in journal
            if line.get("what") in ("notified", "not notified")
        ],
        "lessons": [
            {"text": line["text"], "href": proofs.at(line["at"])}
            for line in journal
            if line.get("what") == "lessons learned"
        ],
        "nobody": _nobody(run["outcome"], journal),
        "down": bool(switched),
        "proof": {what: proofs.of(cell) for what, cell in SHOWN_BY.items()}
        | {"downtime": proofs.at(switched[-1]) if switched else ""},
    }


def _nobody(outcome: str, journal: Sequence[Mapping[str, Any]]) -> str:
    """Why nobody approved."""
    if any(line.get("what") == "gate waits" for line in journal):
        return "Nobody has decided yet: a gate waits."
    return "Nobody was asked" + (
        ": this environment's gates opened by their checks alone."
        if outcome in ("succeeded", "rolled_back")
        else " so far."
    )


def _failures(outcome: str, phases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What failed in the run, and what the verdict rests on.

    The first failure that was not mended later.
    """
    last = {phase["phase"]: phase for phase in phases}
    failed = failures(phases)
    waiting = [one for one in last.values() if one["status"] == "waiting"]
    standing = cause(phases) or (waiting[0] if waiting else None)
    return {
        "failures": [one for one in phases if one in failed or one in waiting],
        "why": standing if outcome != "succeeded" else None,
    }


def _by_kind(changes: Sequence[str], content: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """What was changed, by the kind of object that each line begins with, in the catalogue's order.

    Then what became of the rows.
    """
    from runbook_lib.postgres.catalog import KINDS

    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for line in changes:
        kind = max(
            (kind for kind in KINDS if line.startswith(f"{kind} ")),
            key=len,
            default=line.split(" ", 1)[0],
        )
        found.setdefault(kind, []).append(line.removeprefix(kind).strip())
    items = [item for item in (content or {}).get("items", ()) if item["verdict"] != "identical"]
    found["rows"] = [
        f"{item['name']}: {text(item['before'])} → {text(item['after'])}, {item['found']} "
        f"({item['verdict']})"
        for item in items
    ]
    return {kind: lines for kind, lines in found.items() if lines}


def _anchored(page: str) -> str:
    """Return the page; links to a place that a notebook lacks lead to the notebook instead."""
    ids = set(re.findall(r'\sid="([^"]+)"', page))
    return re.sub(
        r'(?<=\shref="#)([^"]+)--[^"]*(?=")',
        lambda found: found[0] if unquote(found[0]) in ids else found[1],
        page,
    )


def _phase(entry: Mapping[str, Any], by_anchor: Mapping[str, Fragment]) -> dict[str, Any]:
    """A phase of run.json with its words, and where on the page it is proven."""
    status = entry["status"]
    shown = verdict(status)
    found = by_anchor.get(anchor_of(entry.get("notebook") or entry["phase"]))
    reason = entry.get("reason") or (found.error if found and status != "succeeded" else "")
    return {
        **entry,
        "sign": shown.sign,
        "word": shown.word.lower(),
        "mark": shown.mark,
        "reason": reason,
        "short": short(reason),
        "href": f"#{found.anchor}" if found else "",
        "proof": f"#{found.error_anchor}" if found and found.error_anchor else "",
        "checks": [_check(item) for item in entry.get("failed_checks") or ()],
    }


def _check(item: Any) -> str:
    """A failed check of run.json, which holds its id, or all of it."""
    return (
        f"{item.get('title', item.get('id'))}: {item.get('found', '')}"
        if isinstance(item, Mapping)
        else str(item)
    )
