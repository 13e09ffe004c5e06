"""The monitoring list as small lines in one figure, each beside its limit.

A gap where nothing could be read, and the title says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.service.measures import Trend, Trends
from runbook_lib.show.style import AFTER, BAD, BEFORE, INK, RULE, UNKNOWN, Chart, draw, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2
_MOST_MARKERS = 20


def trend_chart(found: Trends, during: Mapping[str, Any] | None = None) -> Chart:
    """One small line a measure, over the same time.

    Args:
        during: a phase of run.json that is shaded: the migration.
    """
    shown, table = found.read, found.table()
    moments = [datetime.fromisoformat(at) for one in shown for at, _ in one.points]
    if not moments:
        return nothing(found.finding, table)
    start, end = min(moments), max(moments)
    factor, unit = (60.0, "minutes") if (end - start).total_seconds() > 300 else (1.0, "seconds")
    band = (
        [
            (datetime.fromisoformat(during[key]) - start).total_seconds() / factor
            for key in ("started_at", "ended_at")
        ]
        if during and during.get("ended_at")
        else []
    )
    alt = f"Chart: {found.finding}. " + "; ".join(_heading(one) for one in shown)

    def paint(axes: Axes) -> None:
        figure = axes.figure
        axes.remove()
        rows = -(-len(shown) // COLUMNS)
        panels = list(figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).flat)
        for one, panel in zip(shown, panels, strict=False):
            _line(
                panel,
                one,
                [
                    ((datetime.fromisoformat(at) - start).total_seconds() / factor, value)
                    for at, value in one.points
                ],
                band,
            )
        for spare in panels[len(shown) :]:
            spare.set_visible(False)
            panels[len(shown) - COLUMNS].tick_params(labelbottom=True)
        figure.supxlabel(
            f"{unit} since {start:%Y-%m-%d %H:%M:%S} "
            f"UTC{'; shaded: the migration' if band else ''}",
            fontsize=9,
        )

    return draw(found.finding, table, 0.6 + 1.2 * -(-len(shown) // COLUMNS), paint, alt)


def _line(
    axes: Axes, one: Trend, points: Sequence[tuple[float, float | None]], band: Sequence[float]
) -> None:
    values = [float("nan") if value is None else value for _, value in points]
    axes.set_title(
        _heading(one),
        fontsize=9,
        loc="left",
        color=UNKNOWN if one.kept is None else INK if one.kept else BAD,
    )
    axes.grid(axis="y")
    if band:
        axes.axvspan(*band, color=RULE, alpha=0.5, linewidth=0)
    axes.axhline(one.limit, color=INK, linewidth=1.5, linestyle=(0, (3, 1)))
    axes.plot(
        [x for x, _ in points],
        values,
        color=BEFORE if one.kept is None else AFTER,
        linewidth=1.8,
        marker="o",
        markersize=3.5,
        markevery=max(1, len(points) // _MOST_MARKERS),
    )
    for x, value in points:
        if value is None:
            axes.plot(
                [x],
                [0.04],
                marker="x",
                color=UNKNOWN,
                markersize=6,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
    top = 105 if one.measure.unit == "%" else 1.15 * max([one.limit, *one.values]) or 1
    axes.set_ylim(-0.04 * top, top)
    axes.locator_params(axis="y", nbins=3, integer=not one.measure.unit)
    axes.tick_params(labelsize=8)


def _heading(one: Trend) -> str:
    """What a panel says above its line."""
    limit = (
        f"limit {one.measure.said(one.limit)}"
        if not one.measure.least
        else f"at least {one.measure.said(one.limit)}"
    )
    if one.kept is None:
        return f"? {one.measure.label}: could not check ({limit})"
    failed = f"; {one.gaps} readings failed" if one.gaps else ""
    beyond = f"; {one.beyond()}" if one.lasting else ""
    return (
        f"{'✔' if one.kept else '✘'} {one.measure.label}: {one.measure.said(one.now)} "
        f"({limit}){beyond}{failed}"
    )
