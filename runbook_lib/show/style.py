"""One look for everything that is shown.

Colours, the stylesheet of tables and banners, and how a chart is drawn.

A chart is an SVG inside an image: sharp at any size, a few kilobytes, the same bytes for the same
numbers, and shown by JupyterLab in notebooks that it does not trust, too. It follows the reader's
light or dark scheme by itself.
"""

from __future__ import annotations

import re
import warnings
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Any

from runbook_lib.table import Table, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_INCHES = 8.5
"""A chart's width: 816 pixels, which fits beside JupyterLab's sidebar on a screen of 1366."""
INK, PAPER, RULE, BEFORE, AFTER, GOOD, BAD, UNKNOWN = (
    "#1f2328",
    "#ffffff",
    "#d0d7de",
    "#8c959f",
    "#0b6aa2",
    "#1a7f4b",
    "#c23b31",
    "#b7800f",
)
"""Told apart by people who see no red or green; hatches and markers say the same without any
colour.
"""
DARK = {
    INK: "#e6edf3",
    PAPER: "#161b22",
    RULE: "#3a434e",
    BEFORE: "#7d8894",
    AFTER: "#58a6ff",
    GOOD: "#3fb968",
    BAD: "#ff7b72",
    UNKNOWN: "#e3b341",
}
_ROWS_IN_WORDS = 8
_FONTS = "system-ui,'Segoe UI','Noto Sans','DejaVu Sans',Arial,sans-serif"
# matplotlib types the keys as literals
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "runbook",
    "font.size": 10.0,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": RULE,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "ytick.left": False,
    "hatch.color": PAPER,
    "hatch.linewidth": 1.2,
    "legend.frameon": False,
    "text.parse_math": False,
    "legend.borderpad": 0.0,
}


@dataclass(frozen=True)
class Html:
    """Something to show, as HTML and the same as text."""

    html: str = field(repr=False)
    text: str = ""

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


@dataclass(frozen=True)
class Chart:
    """A chart: its finding as the title, the picture, and the table that it was drawn from.

    Args:
        svg: the picture; empty where there was nothing to draw.
        alt: the picture in words.
    """

    title: str
    table: Table
    svg: str = field(repr=False)
    alt: str

    def _repr_html_(self) -> str:
        if not self.svg:
            return self.table._repr_html_()
        source = b64encode(self.svg.encode()).decode()
        return (
            "<figure class='runbook-chart'><figcaption "
            f"style='font-weight:600'>{escape(self.title)}</figcaption><div "
            f"class='runbook-scroll' tabindex='0'><img alt='{escape(self.alt)}' "
            "style='height:auto' "
            f"src='data:image/svg+xml;base64,{source}'></div><details><summary>The "
            f"numbers</summary>{self.table._repr_html_()}</details></figure>"
        )

    def __str__(self) -> str:
        return str(self.table)

    __repr__ = __str__


def css() -> Html:
    """The stylesheet for a notebook, in JupyterLab's light and dark theme.

    The banner brings it along.
    """
    return Html(
        f"<style>{base_css()}body[data-jp-theme-light='false']{{{dark_variables()}}}</style>", ""
    )


@cache
def base_css() -> str:
    """What notebooks and pages share, without comments and line breaks."""
    return re.sub(r"/\*.*?\*/|\n\s*", "", asset("runbook.css"), flags=re.DOTALL)


@cache
def dark_variables() -> str:
    """The colours of a dark scheme."""
    return re.sub(r"\n\s*", "", asset("dark.css"))


def draw(
    title: str, table: Table, height_inches: float, paint: Callable[[Axes], None], alt: str = ""
) -> Chart:
    """Draw a chart.

    Args:
        title: the finding.
        table: the numbers that it is drawn from.
        height_inches: how high it is.
        paint: draws into the axes that it is given.
        alt: the picture in words; default: the title, and the first rows of the table.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's fonts draw it, not ours
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        paint(figure.subplots())
        buffer = BytesIO()
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]  # matplotlib
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return Chart(title, table, _themed(buffer.getvalue().decode()), alt or in_words(title, table))


def in_words(title: str, table: Table) -> str:
    """A picture in words: its title, and the first rows of what it was drawn from."""
    rows = [
        f"{row[0]}: "
        + ", ".join(
            f"{name} {text(value)}" for name, value in zip(table.columns[1:], row[1:], strict=False)
        )
        for row in table.rows[:_ROWS_IN_WORDS]
    ]
    more = (
        f"; {len(table) - _ROWS_IN_WORDS} more stand in the table beneath it"
        if len(table) > _ROWS_IN_WORDS
        else ""
    )
    return f"Chart: {title}. {'; '.join(rows)}{more}."


def nothing(title: str, table: Table) -> Chart:
    """A chart for which there are no numbers: its table alone."""
    return Chart(title, table, "", "")


def _themed(svg: str) -> str:
    """Return the picture with colours that follow the reader's scheme.

    Its fonts are the reader's, and no byte is spare.
    """
    names = {colour: f"c{number}" for number, colour in enumerate(DARK)}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var(--{name})")
    light = ";".join(f"--{name}:{colour}" for colour, name in names.items())
    dark = ";".join(f"--{name}:{DARK[colour]}" for colour, name in names.items())
    style = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    svg = re.sub(
        r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL
    )
    svg = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", rf"\1{_FONTS}", svg)
    svg = re.sub(r">\s+<", "><", svg.strip())
    return re.sub(r"(<svg[^>]*>)", rf"\1{style}", svg, count=1)


def asset(name: str) -> str:
    """The text of a file beside this module."""
    return resources.files("runbook_lib.show").joinpath(name).read_text(encoding="utf-8")
