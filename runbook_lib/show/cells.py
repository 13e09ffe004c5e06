"""An executed notebook as a piece of a page.

Code folded away, results shown, errors legible, anchors unique.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbconvert.exporters import HTMLExporter
    from nbformat import NotebookNode

_SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
"""What is shown of an output, best first; widgets and scripts are not: they would load code from
the network.
"""
HIDDEN = frozenset({"parameters", "hide-in-report"})
"""Tags of cells that are not on the page."""
_EARLIER = "# {}: earlier runs of cells\n\nIn order. The notebook holds the last run of each cell."
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")


@dataclass(frozen=True)
class Fragment:
    """A notebook on the page.

    Args:
        anchor: the id of its section; ids inside begin with it.
        title: its own heading, or its file's name.
        html: its cells.
        error_anchor: the id of the first cell that failed; empty where none did.
        error: that cell's error, in words.
    """

    anchor: str
    title: str
    html: str = field(repr=False)
    error_anchor: str = ""
    error: str = ""


def anchor_of(file: str) -> str:
    """The id of a notebook's section: "60_migrate.ipynb" → "60_migrate"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", PurePath(file).stem)


def fragment(
    file: str, notebook: NotebookNode, files: Collection[str], longest: int = 300_000
) -> Fragment:
    """Convert a notebook.

    Args:
        file: its name, e.g. "60_migrate.ipynb".
        notebook: with its outputs.
        files: the names of all notebooks on the page; links to others lose their link.
        longest: characters of one output; of a longer one the beginning and the end are shown.
    """
    anchor = anchor_of(file)
    html, _ = _exporter().from_notebook_node(_shortened(notebook, longest), {"anchor": anchor})
    heading, html = _own_heading(_tidy(html, anchor, {anchor_of(name) for name in files}))
    failed, error = _first_error(notebook)
    again = re.search(r"-(\d+)$", PurePath(file).stem)
    title = (heading or PurePath(file).stem) + (f" ({again[1]})" if again and heading else "")
    return Fragment(anchor, title, html, f"{anchor}--{failed}" if failed else "", error)


def earlier_runs(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, NotebookNode]]:
    """Return, for each notebook, the runs of its cells that were followed by another.

    The notebook itself holds the last run of each cell alone.

    Args:
        lines: of cells.jsonl, oldest first.
    """
    import nbformat

    last = {_cell_of(line): n for n, line in enumerate(lines) if "source" in line}
    earlier: dict[str, list[NotebookNode]] = {}
    for n, line in enumerate(lines):
        if "source" in line and last[_cell_of(line)] != n:
            earlier.setdefault(line["notebook"], []).append(_earlier_run(line, n))
    return [
        (
            f"{PurePath(name).stem}.earlier.ipynb",
            nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_markdown_cell(_EARLIER.format(PurePath(name).stem)), *found]
            ),
        )
        for name, found in earlier.items()
    ]


def _cell_of(line: Mapping[str, Any]) -> tuple[str, str]:
    """Which cell was run: by its id, or by its text if the front end tells none."""
    return line["notebook"], line.get("cell") or line["source"]


def _earlier_run(line: Mapping[str, Any], number: int) -> NotebookNode:
    import nbformat

    cell: NotebookNode = nbformat.v4.new_code_cell(
        line["source"],
        execution_count=line["count"],
        outputs=[nbformat.v4.new_output(**output) for output in line["outputs"]],
        metadata={
            "execution": {
                "iopub.execute_input": line["at"],
                "shell.execute_reply": line["ended_at"],
            }
        },
    )
    cell.id = f"{line.get('cell') or 'cell'}-{number}"
    return cell


def is_shown(cell: NotebookNode) -> bool:
    """Whether a code cell is on the page; the template asks the same."""
    return (
        cell.cell_type == "code"
        and bool(cell.source.strip())
        and not HIDDEN & {*cell.metadata.get("tags", ())}
    )


def plain(text: str) -> str:
    """A terminal's text without its colours, and of overwritten lines only the last."""
    return re.sub(r"[^\n]*\r(?!\n)", "", _ANSI.sub("", text).replace("\r\n", "\n"))


@cache
def _exporter() -> HTMLExporter:
    from nbconvert.exporters import HTMLExporter
    from traitlets.config import Config

    template = Path(__file__).with_name("notebook.html.j2")
    config = Config(
        {
            "NbConvertBase": {"display_data_priority": _SHOWN},
            "HighlightMagicsPreprocessor": {"enabled": False},
        }
    )
    exporter = HTMLExporter(config=config, template_file=str(template))
    exporter.register_filter("plain", plain)
    exporter.register_filter(
        "is_hidden", lambda cell: bool(HIDDEN & {*cell.metadata.get("tags", ())})
    )
    exporter.register_filter(
        "first_line",
        lambda text: next((line for line in text.splitlines() if line.strip()), "")[:90],
    )
    return exporter


def _shortened(notebook: NotebookNode, longest: int) -> NotebookNode:
    """Return the notebook with overlong content cut and fallback texts of widgets left out."""
    from copy import deepcopy

    short = deepcopy(notebook)
    short.metadata.pop("widgets", None)
    for number, cell in enumerate(short.cells):
        cell.setdefault("id", f"cell-{number}")
        if cell.cell_type == "code":
            cell.outputs = [
                _cut(output, longest)
                for output in _joined(cell.outputs)
                if not _only_widget(output)
            ]
    return short


def _joined(outputs: list[Any]) -> list[Any]:
    """The outputs, with printed lines that follow one another in one piece."""
    joined: list[Any] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if (
            before
            and output.output_type == before.output_type == "stream"
            and output.name == before.name
        ):
            before.text += output.text
        else:
            joined.append(output)
    return joined


def _only_widget(output: Any) -> bool:
    data = output.get("data", {})
    return any("widget" in kind for kind in data) and "text/html" not in data


def _cut(output: Any, longest: int) -> Any:
    if output.output_type == "stream":
        output.text = _middle(output.text, longest)
    elif output.output_type == "error":
        output.evalue = _middle(output.evalue, longest)
        output.traceback = [_middle("\n".join(output.traceback), longest)]
    else:
        data = output.data
        if len(data.get("text/plain", "")) > longest:
            data["text/plain"] = _middle(data["text/plain"], longest)
        for kind in [
            kind for kind in data if kind != "text/plain" and len(str(data[kind])) > longest
        ]:
            data[kind] = (
                f"<p>Too long for this page ({len(str(data[kind])):,} characters): the notebook "
                "holds it.</p>"
                if kind == "text/html"
                else ""
            )
            if kind != "text/html":
                del data[kind]
    return output


def _middle(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return (
        f"{text[:half]}\n"
        f"… {len(text) - 2 * half:,} characters are left out here: the notebook holds them …\n"
        f"{text[-half:]}"
    )


def _tidy(html: str, anchor: str, present: Collection[str]) -> str:
    """One notebook's HTML made fit to stand beside others.

    No scripts, own ids, headings below the page's, tables that scroll.
    """
    html = re.sub(
        r"<(script|style)\b.*?</\1>|<a class=\"anchor-link\".*?</a>",
        "",
        html,
        flags=re.DOTALL | re.IGNORECASE,
    )
    html = re.sub(
        r'(<[a-zA-Z][^<>]*?\s(?:id|for)=")(?!' + re.escape(anchor) + r"--)",
        rf"\g<1>{anchor}--",
        html,
    )
    html = re.sub(
        r'(<a\b[^<>]*?href=")#(?:cell-id=)?(?!' + re.escape(anchor) + r"--)",
        rf"\g<1>#{anchor}--",
        html,
    )
    html = re.sub(r"<(/?)h([1-4])\b", lambda found: f"<{found[1]}h{int(found[2]) + 2}", html)
    html = re.sub(
        r'<a\b[^<>]*?href="([^":#]+)\.ipynb(#[^"]*)?"[^<>]*>(.*?)</a>',
        lambda found: _link(found, present),
        html,
        flags=re.DOTALL,
    )
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = html.replace(
        "<table", '<div class="runbook-scroll" tabindex="0" role="group" aria-label="table"><table'
    )
    return html.replace("</table>", "</table></div>")


def _link(found: re.Match[str], present: Collection[str]) -> str:
    target = anchor_of(found[1])
    if target not in present:
        return f"<span>{found[3]}</span>"
    return f'<a href="#{target}{f"--{found[2][1:]}" if found[2] else ""}">{found[3]}</a>'


def _own_heading(html: str) -> tuple[str, str]:
    """The notebook's first heading, which becomes its section's, and the rest."""
    found = re.search(r"<h3\b[^>]*>(.*?)</h3>", html, flags=re.DOTALL)
    if not found:
        return "", html
    return unescape(re.sub(r"<[^>]+>", "", found[1])).strip(), html[: found.start()] + html[
        found.end() :
    ]


def _first_error(notebook: NotebookNode) -> tuple[str, str]:
    """The id of the first cell that failed, and its error in words."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                return cell.get("id", f"cell-{number}"), plain(f"{output.ename}: {output.evalue}")
    return "", ""


__all__ = ["Fragment", "anchor_of", "fragment", "is_shown", "plain"]
