"""The charts: each reads plain numbers, is titled with its finding, told apart without colour, and backed by its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.show.style import AFTER, BAD, BEFORE, GOOD, INK, UNKNOWN, Chart, draw, nothing
from runbook_lib.table import Table, size, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20
"""Bars in one chart; the table holds them all."""
LONGEST_LABEL = 44
"""Characters of a label in a chart; the table has it whole."""
_FAR_APART = 1000
"""Values further apart than this are drawn on a logarithmic axis, which says so."""
_STATUS = {"succeeded": (GOOD, ""), "failed": (BAD, "xx"), "aborted": (BAD, "xx"), "rolled_back": (UNKNOWN, "//"),
           "waiting": (UNKNOWN, ".."), "running": (AFTER, "")}
_MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Span:
    """Something that lasted.

    Args:
        start, end: UTC; `end` is None where it goes on.
        status: as in run.json.
    """

    name: str
    start: datetime
    end: datetime | None
    status: str = "succeeded"

    @property
    def seconds(self) -> float:
        """How long it lasted; 0 where it goes on."""
        return (self.end - self.start).total_seconds() if self.end else 0.0


def before_after(title: str, labels: Sequence[str], before: Sequence[float | None], after: Sequence[float | None], unit: str = "") -> Chart:
    """Two values a label, side by side.

    Args:
        title: the finding.
        before, after: as long as `labels`; None is "not there".
        unit: of the values.
    """
    heading = f" ({unit})" if unit else ""
    rows = [(label, b, a, change(b, a)) for label, b, a in zip(labels, before, after, strict=True)]
    table = Table(title, ("name", f"before{heading}", f"after{heading}", "change"), rows)
    shown = _most_changed(rows)
    if not shown:
        return nothing(title, table)
    alt = f"Chart: {title}. " + "; ".join(f"{name}: {text(b)} before, {text(a)} after" for name, b, a, _ in shown[:8])
    return draw(title, table, 0.8 + 0.5 * len(shown), lambda axes: _pairs(axes, shown, unit, len(rows)), alt)


def durations(title: str, bars: Mapping[str, float], limits: Mapping[str, float] | None = None, unit: str = "s") -> Chart:
    """One bar a step, with its limit as a line where it has one.

    Args:
        title: the finding.
        bars: by step, how long it took.
        limits: by step, how long it may take.
    """
    limits = limits or {}
    rows = [(name, value, limits.get(name)) for name, value in bars.items()]
    marks = ["bad" if limit is not None and value > limit else "" for _, value, limit in rows]
    columns = ("step", f"took ({unit})", f"limit ({unit})")
    table = Table(title, columns, rows, marks) if limits else Table(title, columns[:2], [row[:2] for row in rows])
    if not rows:
        return nothing(title, table)
    return draw(title, table, 0.8 + 0.38 * len(rows[:MOST_BARS]), lambda axes: _limited(axes, rows[:MOST_BARS], unit))


def sizes(title: str, values: Mapping[str, int]) -> Chart:
    """One bar a thing, by its bytes.

    Args:
        title: the finding.
        values: bytes by name; the largest are drawn.
    """
    ordered = sorted(values.items(), key=lambda item: -item[1])
    table = Table(title, ("name", "bytes", "size"), [(name, count, size(count)) for name, count in ordered])
    if not ordered:
        return nothing(title, table)
    shown = ordered[:MOST_BARS]
    unit, factor = next((u, f) for u, f in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)) if shown[0][1] >= f or f == 1)

    def paint(axes: Axes) -> None:
        drawn = axes.barh(range(len(shown)), [count / factor for _, count in shown], color=AFTER, height=0.6)
        axes.set_yticks(range(len(shown)), [labelled(name) for name, _ in shown])
        axes.bar_label(drawn, [size(count) for _, count in shown], padding=4)
        finish(axes, unit + _part(len(shown), len(ordered)))
    return draw(title, table, 0.8 + 0.34 * len(shown), paint)


def timeline(title: str, spans: Sequence[Span]) -> Chart:
    """What happened when, one bar a span, in UTC.

    Args:
        title: the finding.
        spans: in their order.
    """
    rows = [(s.name, s.status, f"{s.start:%Y-%m-%d %H:%M:%S}", f"{s.end:%H:%M:%S}" if s.end else None, s.seconds) for s in spans]
    marks = [{"failed": "bad", "aborted": "bad", "waiting": "unknown", "rolled_back": "unknown"}.get(s.status, "") for s in spans]
    table = Table(title, ("step", "status", "began (UTC)", "ended (UTC)", "seconds"), rows, marks)
    if not spans:
        return nothing(title, table)
    return draw(title, table, 0.8 + 0.36 * len(spans), lambda axes: _spans(axes, spans))


def stalls(title: str, samples: Mapping[str, Sequence[tuple[float, float]]], unit: str = "s", limit: float | None = None,
           over: str = "seconds since the migration began") -> Chart:
    """How something went over time: how long writers waited, how many sessions were blocked.

    Args:
        title: the finding.
        samples: by line, (when, value).
        limit: drawn as a line of its own.
        over: what `when` counts.
    """
    rows = [(name, len(points), max((v for _, v in points), default=None), limit) for name, points in samples.items()]
    marks = ["bad" if limit is not None and worst is not None and worst > limit else "" for _, _, worst, _ in rows]
    table = Table(title, ("what", "samples", f"worst ({unit})", f"limit ({unit})"), rows, marks)
    if not any(samples.values()):
        return nothing(title, table)
    return draw(title, table, 3.2, lambda axes: _lines(axes, samples, unit, limit, over))


def history(runs: Sequence[Mapping[str, Any]]) -> Chart:
    """How long the runs of an archive took, and how long the application was down, oldest first.

    Args:
        runs: the contents of their run.json.
    """
    ordered = sorted(runs, key=lambda run: str(run["started_at"]))
    rows = [(run["started_at"][:16].replace("T", " "), run["environment"], run["outcome"], run.get("duration_s"), run.get("downtime_s"))
            for run in ordered]
    rolled = sum(run["outcome"] == "rolled_back" for run in ordered)
    downs = [run["downtime_s"] for run in ordered if run.get("downtime_s") is not None]
    last = f"; the last downtime was {downs[-1]:.0f} s" if downs else ""
    title = f"{len(ordered)} run{'s' if len(ordered) != 1 else ''}, {rolled} rolled back{last}"
    marks = [{"failed": "bad", "aborted": "bad", "rolled_back": "unknown"}.get(row[2], "") for row in rows]
    table = Table(title, ("began (UTC)", "environment", "outcome", "duration (s)", "downtime (s)"), rows, marks)
    if not any(row[3] is not None or row[4] is not None for row in rows):
        return nothing(title, table)
    return draw(title, table, 3.4, lambda axes: _runs(axes, rows))


def change(before: float | None, after: float | None) -> str:
    """The difference of two values for people: '+12 (+4.0 %)'."""
    if before is None or after is None:
        return "new" if before is None and after is not None else "gone" if after is None and before is not None else "–"
    if before == after:
        return "none"
    sign = "+" if after > before else "−"
    share = f" ({sign}{abs(after - before) / abs(before) * 100:.1f} %)" if before else ""
    return f"{sign}{text(abs(after - before))}{share}"


def _most_changed(rows: Sequence[tuple[str, float | None, float | None, str]]) -> list[tuple[str, float | None, float | None, str]]:
    """What is drawn where there are too many: what changed most, then what is largest, in the order that was given."""
    ranked = sorted(range(len(rows)), key=lambda n: (-abs((rows[n][2] or 0) - (rows[n][1] or 0)), -(rows[n][2] or 0)))
    return [rows[n] for n in sorted(ranked[:MOST_BARS])]


def _pairs(axes: Axes, rows: Sequence[tuple[str, float | None, float | None, str]], unit: str, of: int) -> None:
    places = range(len(rows))
    first = axes.barh([p - 0.2 for p in places], [b or 0 for _, b, _, _ in rows], 0.36, color=BEFORE, hatch="///", label="before")
    second = axes.barh([p + 0.2 for p in places], [a or 0 for _, _, a, _ in rows], 0.36, color=AFTER, label="after")
    axes.bar_label(first, [text(b) for _, b, _, _ in rows], padding=4, fontsize=9)
    axes.bar_label(second, [f"{text(a)} · {c}" if c not in ("none", "–") else text(a) for _, _, a, c in rows], padding=4, fontsize=9)
    axes.set_yticks(list(places), [labelled(name) for name, *_ in rows])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    scale = _scale(axes, [abs(v) for _, b, a, _ in rows for v in (b, a) if v])
    finish(axes, ", ".join(filter(None, (unit, scale))) + _part(len(rows), of), room=0.34)


def _limited(axes: Axes, rows: Sequence[tuple[str, float, float | None]], unit: str) -> None:
    over = [limit is not None and value > limit for _, value, limit in rows]
    drawn = axes.barh(range(len(rows)), [value for _, value, _ in rows], height=0.6, color=[BAD if o else AFTER for o in over])
    axes.set_yticks(range(len(rows)), [labelled(name) for name, *_ in rows])
    for bar, too_long in zip(drawn, over, strict=True):
        bar.set_hatch("xx" if too_long else "")
    for place, (_, _, limit) in enumerate(rows):
        if limit is not None:
            axes.plot([limit, limit], [place - 0.42, place + 0.42], color=INK, linewidth=2.5, linestyle=(0, (3, 1)), label="limit")
    axes.bar_label(drawn, [_seconds(value, unit) + (" — too long" if o else "") for (_, value, _), o in zip(rows, over, strict=True)], padding=4)
    if any(limit is not None for *_, limit in rows):
        axes.legend(handles=[next(iter(axes.lines))], loc="lower right", bbox_to_anchor=(1.0, 1.0))
    finish(axes, unit)


def _spans(axes: Axes, spans: Sequence[Span]) -> None:
    origin, latest = min(s.start for s in spans), max(s.end or s.start for s in spans)
    whole = max((latest - origin).total_seconds(), 0.001)
    factor, unit = (60.0, "minutes") if whole > 300 else (1.0, "seconds")
    for place, span in enumerate(spans):
        colour, hatch = _STATUS.get(span.status, (BEFORE, ""))
        left, width = (span.start - origin).total_seconds() / factor, max(span.seconds, whole / 300) / factor
        axes.barh([place], [width], left=left, height=0.6, color=colour, hatch=hatch)
        words = _seconds(span.seconds, "s") + ("" if span.status == "succeeded" else f", {span.status.replace('_', ' ')}")
        axes.annotate(words, (left + width, place), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(spans)), [labelled(span.name) for span in spans])
    finish(axes, f"{unit} since {origin:%Y-%m-%d %H:%M:%S} UTC", room=0.22)


def _lines(axes: Axes, samples: Mapping[str, Sequence[tuple[float, float]]], unit: str, limit: float | None, over: str) -> None:
    styles, lines, names = ["-", "--", ":", "-."], [], list(samples)
    for number, points in enumerate(samples.values()):
        colour = (AFTER, BAD, UNKNOWN, GOOD, BEFORE)[number % 5]
        lines += axes.plot([x for x, _ in points], [y for _, y in points], styles[number % 4], color=colour, linewidth=2,
                           marker=_MARKERS[number % len(_MARKERS)], markersize=5, markevery=max(1, len(points) // 25))
    if limit is not None:
        lines.append(axes.axhline(limit, color=INK, linewidth=2, linestyle=(0, (3, 1))))
        names.append(f"limit {text(limit)} {unit}")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set(xlabel=over, ylabel="seconds" if unit == "s" else unit)
    columns = 4 if sum(map(len, names)) < 60 else 2
    axes.legend(lines, [labelled(name) for name in names], loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns)


def _runs(axes: Axes, rows: Sequence[tuple[str, str, str, float | None, float | None]]) -> None:
    factor, unit = (60.0, "minutes") if max(v or 0 for row in rows for v in row[3:]) > 600 else (1.0, "seconds")
    places = range(len(rows))
    marker = "" if len(rows) > 200 else None
    for column, label, colour, style, sign in ((3, "duration", AFTER, "-", "o"), (4, "downtime", UNKNOWN, "--", "s")):
        points = [(p, rows[p][column] / factor) for p in places if rows[p][column] is not None]  # type: ignore[operator]
        axes.plot([x for x, _ in points], [y for _, y in points], style, color=colour, linewidth=2, label=label, marker=sign if marker is None else marker)
    bad = [(p, (rows[p][3] or 0) / factor) for p in places if rows[p][2] in ("failed", "aborted", "rolled_back")]
    if bad:
        axes.scatter([x for x, _ in bad], [y for _, y in bad], marker="X", s=90, color=BAD, zorder=5, label="failed, aborted or rolled back")
    step = max(1, -(-len(rows) // 12))
    axes.set_xticks(list(places)[::step], [row[0][2:10] for row in rows][::step], rotation=30, ha="right")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_ylabel(unit)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)


def finish(axes: Axes, label: str, room: float = 0.16) -> None:
    """Bars from top to bottom, room for their labels at the right, the unit beneath."""
    places = [tick for tick in axes.get_yticks()]
    axes.set_ylim(max(places) + 0.6, min(places) - 0.6)
    axes.set_xlabel("seconds" if label == "s" else label)
    axes.margins(x=room)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace(",", " "))
    if axes.get_xscale() == "linear":
        axes.set_xlim(left=0)


def _scale(axes: Axes, values: Sequence[float]) -> str:
    """Make the axis logarithmic where the values lie far apart; how it then says so."""
    if not values or max(values) / min(values) <= _FAR_APART:
        return ""
    axes.set_xscale("symlog", linthresh=min(values))
    return "logarithmic"


def _part(shown: int, of: int) -> str:
    return f" ({shown} of {of}; the table holds all)" if shown < of else ""


def labelled(label: str) -> str:
    """A label that leaves room for the bars."""
    return label if len(label) <= LONGEST_LABEL else f"{label[:24]}…{label[-(LONGEST_LABEL - 25):]}"


def _seconds(value: float, unit: str) -> str:
    if unit == "s" and value >= 120:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"


def judged(title: str, rows: Sequence[tuple[str, float | None, float | None, str, str]], of: int, unit: str = "") -> Chart:
    """Two values a label, and what is held of their difference: told apart by hatch and word.

    Args:
        title: the finding.
        rows: name, before, after (None is "not there"), verdict, mark ("good", "bad", "unknown", "").
        of: how many there are in all.
        unit: of the values.
    """
    heading = f" ({unit})" if unit else ""
    shown = [(name, b, a, f"{'' if b == a else change(b, a) + ', '}{verdict}") for name, b, a, verdict, _ in rows]
    table = Table(f"{title}{_part(len(rows), of)}", ("name", f"before{heading}", f"after{heading}", "verdict"),
                  [(name, b, a, verdict) for name, b, a, verdict, _ in rows], [mark for *_, mark in rows])
    if not rows:
        return nothing(title, table)
    looks = {"good": (AFTER, ""), "bad": (BAD, "xx"), "unknown": (UNKNOWN, "++"), "": (BEFORE, "")}

    def paint(axes: Axes) -> None:
        _pairs(axes, shown, unit, of)
        for bar, (*_, mark) in zip(axes.containers[1], rows, strict=True):
            bar.set_facecolor(looks[mark][0])
            bar.set_hatch(looks[mark][1])
    alt = f"Chart: {title}. " + "; ".join(f"{name}: {text(b)} before, {text(a)} after, {verdict}" for name, b, a, verdict, _ in rows[:8])
    return draw(title, table, 0.8 + 0.5 * len(rows), paint, alt)
