"""Who held what from when to when, and who waited meanwhile.

One lane each, all over the same seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook_lib.show.charts import MOST_BARS, finish, labelled, lasting
from runbook_lib.show.style import AFTER, BAD, Chart, draw, nothing
from runbook_lib.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Lane:
    """One line of the chart.

    Args:
        label: stands beside it.
        bars: (from, to) in seconds.
        waiting: drawn hatched, and said to wait.
    """

    label: str
    bars: tuple[tuple[float, float], ...]
    waiting: bool = False

    @property
    def seconds(self) -> float:
        """Of all bars."""
        return sum(end - start for start, end in self.bars)


def lanes(title: str, table: Table, found: Sequence[Lane], over: str) -> Chart:
    """One lane each; those that last longest are drawn where there are too many.

    Args:
        title: the finding.
        table: the numbers behind it.
        found: in their order, from top to bottom.
        over: what the seconds count from.
    """
    longest = sorted(
        (n for n, lane in enumerate(found) if lane.bars), key=lambda n: -found[n].seconds
    )[:MOST_BARS]
    shown = [found[n] for n in sorted(longest)]
    if not shown:
        return nothing(title, table)
    alt = f"Chart: {title}. " + "; ".join(
        f"{lane.label} for {lasting(lane.seconds)}" for lane in shown[:8]
    )
    part = (
        f" ({len(shown)} of {len(found)}; the table holds all)" if len(shown) < len(found) else ""
    )
    return draw(
        title, table, 1.1 + 0.34 * len(shown), lambda axes: _paint(axes, shown, over + part), alt
    )


def _paint(axes: Axes, shown: Sequence[Lane], label: str) -> None:
    for place, lane in enumerate(shown):
        colour, hatch, word = (BAD, "xx", "waits") if lane.waiting else (AFTER, "", "holds")
        drawn = axes.barh(
            [place] * len(lane.bars),
            [end - start for start, end in lane.bars],
            left=[start for start, _ in lane.bars],
            height=0.6,
            color=colour,
            hatch=hatch,
            label=word,
        )
        last = drawn[-1]
        axes.annotate(
            lasting(lane.seconds),
            (last.get_x() + last.get_width(), place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_yticks(range(len(shown)), [labelled(lane.label) for lane in shown])
    handles, words = axes.get_legend_handles_labels()
    unique = dict(zip(words, handles, strict=True))
    axes.legend(
        unique.values(), unique.keys(), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2
    )
    finish(axes, label)
