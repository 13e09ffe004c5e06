"""What the tests of pages measure in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCREENSHOTS = Path(__file__).resolve().parents[2] / ".screenshots"
"""Kept to be looked at; not in the repository."""

OVERLAPPING_TEXT = """() => {
  const inside = (a, b) => ({
    left: Math.max(a.left, b.left), top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right), bottom: Math.min(a.bottom, b.bottom),
  });
  const clipped = (box, element) => {
    for (let e = element; e && e !== document.body; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== 'visible' && !(e instanceof SVGElement))
        box = inside(box, e.getBoundingClientRect());
    return box;
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || ['STYLE', 'SCRIPT', 'TITLE'].includes(parent.tagName)) continue;
    if (!parent.checkVisibility({visibilityProperty: true})) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      const box = clipped(inside(rect, rect), parent);
      if (box.right - box.left > 2 && box.bottom - box.top > 4)
        found.push({...box, node, text: node.data.trim().slice(0, 60)});
    }
  }
  found.sort((a, b) => a.top - b.top);
  const wrong = [];
  for (let i = 0; i < found.length; i++)
    for (let j = i + 1; j < found.length && found[j].top < found[i].bottom; j++) {
      const both = inside(found[i], found[j]);
      const height = Math.min(found[i].bottom - found[i].top, found[j].bottom - found[j].top);
      const over = both.right - both.left > 2 && both.bottom - both.top > height / 3;
      if (found[i].node !== found[j].node && over)
        wrong.push([found[i].text, found[j].text]);
    }
  return wrong;
}"""
"""Pairs of texts that lie over each other; what a scrolled box hides does not count, nor do lines
whose boxes touch.
"""

OUT_OF_FRAME_OR_SMALL = """() => [...document.querySelectorAll('svg text')].flatMap(text => {
  const svg = text.ownerSVGElement;
  const frame = svg.getBoundingClientRect(), box = text.getBoundingClientRect();
  const scale = frame.width / svg.viewBox.baseVal.width;
  const size = parseFloat(getComputedStyle(text).fontSize) * scale;
  const inside = box.left >= frame.left - 1 && box.right <= frame.right + 1
    && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
  return inside && size >= 11.5 ? [] : [[svg.parentElement.id, text.textContent, size]];
})"""
"""Texts of pictures that leave their frame, or are smaller than 12 pixels at 100 %."""

TOO_WIDE = "() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
"""Pixels by which the page can be scrolled sideways."""


def serious(page: Any) -> list[str]:
    """What axe-core finds serious or critical, with the elements that it is found in; WCAG AA's
    contrast is among it.
    """
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    return [
        f"{found['id']} ({found['impact']}): {found['help']}: "
        f"{[node['html'][:120] for node in found['nodes'][:3]]}"
        for found in violations
        if found["impact"] in ("serious", "critical")
    ]
