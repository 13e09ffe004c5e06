"""Every link of the notebooks and of the README leads somewhere: to a notebook, and to a heading in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def markdown(path: Path) -> str:
    """The prose of a notebook, or a page."""
    if path.suffix == ".md":
        return path.read_text()
    return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown")


def headings(path: Path) -> set[str]:
    """What can be jumped to in a notebook: JupyterLab names a heading by its words, joined by hyphens."""
    return {line.lstrip("#").strip().replace(" ", "-") for line in markdown(path).splitlines() if line.startswith("#")}


PAGES = [*sorted((ROOT / "notebooks").glob("*.ipynb")), ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(markdown(page)):
        if link.startswith(("http:", "https:")):
            continue
        name, _, heading = link.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), link
        assert not heading or heading in headings(file), link


def test_there_are_links_to_follow() -> None:
    assert sum(len(LINK.findall(markdown(page))) for page in PAGES) > 20
