"""Two texts side by side, line by line as they are: what was before, and what is now."""

from __future__ import annotations

from html import escape

from runbook_lib.show.style import Html

_GRID = (
    "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26em,100%),1fr));"
    "gap:12px;margin:0 0 1em"
)
_TEXT = (
    "margin:0;padding:8px;font-size:12.5px;line-height:1.45;white-space:pre;border:1px solid "
    "var(--rb-rule);background:var(--rb-paper);color:var(--rb-ink)"
)


def side_by_side(title: str, before: tuple[str, str], after: tuple[str, str]) -> Html:
    """Two texts in two columns, one below the other where there is no room.

    As text, one below the other.

    Args:
        before, after: heading and text of each.
    """
    columns = "".join(
        _column(f"{title}, {heading}", heading, text) for heading, text in (before, after)
    )
    html = (
        f"<div style='font-weight:600;padding:4px 0'>{escape(title)}</div><div "
        f"style='{_GRID}'>{columns}</div>"
    )
    return Html(
        html, "\n".join([title, *(f"{heading}\n{text}" for heading, text in (before, after))])
    )


def _column(label: str, heading: str, text: str) -> str:
    return (
        "<figure style='margin:0;min-width:0'><figcaption style='font-weight:600;padding:4px "
        f"0'>{escape(heading)}</figcaption><pre class='runbook-scroll' tabindex='0' role='region' "
        f"aria-label='{escape(label)}' style='{_TEXT}'>{escape(text)}</pre></figure>"
    )
