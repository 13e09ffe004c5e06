"""What the tests of pages need: a run to show, and a reader that walks a page as a browser
would.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

VOID = {"meta", "img", "br", "hr", "input", "link", "rect", "path", "circle"}


class Page(HTMLParser):
    """A page's ids, links, headings and tags, in their order; `unbalanced` names tags that were
    not closed.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.unbalanced: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [values["href"]] if values.get("href") else []
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self.headings.append((int(tag[1]), ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if tag not in self._open:
            self.unbalanced.append(tag)
        while self._open and self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "title"):
            self.text += data
        if (
            self.headings
            and self._open
            and self._open[-1].startswith("h")
            and self._open[-1][1:].isdigit()
        ):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)


def notebook(*cells: Any) -> NotebookNode:
    """A notebook of markdown texts and code cells."""
    made = new_notebook(
        cells=[new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    )
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
    return made


def code(source: str, *outputs: Any, ran: bool = True, tags: tuple[str, ...] = ()) -> NotebookNode:
    """A code cell that ran."""
    return new_code_cell(
        source,
        outputs=list(outputs),
        execution_count=1 if ran else None,
        metadata={"tags": list(tags)},
    )


def shows(**data: str) -> NotebookNode:
    """A result: html=…, plain=…, widget=…"""
    kinds = {
        "html": "text/html",
        "plain": "text/plain",
        "widget": "application/vnd.jupyter.widget-view+json",
        "markdown": "text/markdown",
    }
    return new_output("display_data", data={kinds[name]: value for name, value in data.items()})


def prints(text: str, name: str = "stdout") -> NotebookNode:
    """Printed lines."""
    return new_output("stream", name=name, text=text)


def raises(name: str, message: str) -> NotebookNode:
    """An error with colours."""
    return new_output(
        "error", ename=name, evalue=message, traceback=[f"\x1b[0;31m{name}\x1b[0m: {message}"]
    )


def phase(name: str, number: int, status: str = "succeeded", **facts: Any) -> dict[str, Any]:
    """An entry of run.json."""
    return {
        "phase": name,
        "status": status,
        "started_at": f"2026-11-24T02:0{number}:00.000Z",
        "ended_at": f"2026-11-24T02:0{number}:30.000Z",
        "notebook": f"{number}0_{name}.ipynb",
        "failed_checks": [],
        "reason": "",
        **facts,
    }


def run(outcome: str = "succeeded", *phases: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """The content of a run.json."""
    return {
        "run_id": "20261124T020000Z_staging_add",
        "environment": "staging",
        "production": False,
        "engineer": "Dana Fictitious",
        "target": {
            "host": "db.internal",
            "port": 5432,
            "database": "clinic",
            "system_identifier": "742",
            "server_version": "18.1",
        },
        "migrations": ["20261005_add", "20261019_drop"],
        "outcome": outcome,
        "started_at": "2026-11-24T02:00:00.000Z",
        "ended_at": "2026-11-24T02:09:30.000Z",
        "duration_s": 570.0,
        "downtime_s": 41.5,
        "phases": list(phases),
        **facts,
    }
