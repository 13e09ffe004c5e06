"""Draw the charts: plain numbers in, titled with the finding, backed by a table.

They can be told apart without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
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
_MARKERS = "osD^vPX*"
_LEGEND = 28
"""Characters of a label in a legend, where two stand beside each other."""
UNKNOWN_WORD = "unknown"
"""A value that could not be measured (not a number): told apart from one that is not there (None),
and from 0.
"""


def before_after(
    title: str,
    labels: Sequence[str],
    before: Sequence[float | None],
    after: Sequence[float | None],
    unit: str = "",
) -> Chart:
    """Two values a label, side by side.

    Args:
        title: the finding.
        before, after: as long as `labels`; None is "not there", not a number is "unknown".
        unit: of the values.
    """
    heading = f" ({unit})" if unit else ""
    rows = [(label, b, a, change(b, a)) for label, b, a in zip(labels, before, after, strict=True)]
    table = Table(
        title,
        ("name", f"before{heading}", f"after{heading}", "change"),
        [(label, told(b), told(a), difference) for label, b, a, difference in rows],
    )
    shown = _most_changed(rows)
    if not shown:
        return nothing(title, table)
    return draw(
        title, table, 0.8 + 0.5 * len(shown), lambda axes: _pairs(axes, shown, unit, len(rows))
    )


def durations(
    title: str,
    bars: Mapping[str, float],
    limits: Mapping[str, float] | None = None,
    unit: str = "s",
) -> Chart:
    """One bar a step, with its limit as a line where it has one.

    Args:
        title: the finding.
        bars: by step, how long it took; not a number where it is not known.
        limits: by step, how long it may take.
    """
    limits = limits or {}
    rows = [(name, value, limits.get(name)) for name, value in bars.items()]
    marks = [
        "" if known(value) is None else "bad" if limit is not None and value > limit else ""
        for _, value, limit in rows
    ]
    columns = ("step", f"took ({unit})", f"limit ({unit})")
    whole = [(name, told(value), limit) for name, value, limit in rows]
    table = Table(
        title,
        columns,
        whole,
        [
            "unknown" if row[1] == UNKNOWN_WORD else mark
            for row, mark in zip(whole, marks, strict=True)
        ],
    )
    if not limits:
        table = Table(title, columns[:2], [row[:2] for row in whole], table.marks)
    if not rows:
        return nothing(title, table)
    shown = _drawn(
        rows,
        [
            inf if mark else known(value) or 0.0
            for (_, value, _), mark in zip(rows, marks, strict=True)
        ],
    )
    return draw(
        title, table, 0.8 + 0.38 * len(shown), lambda axes: _limited(axes, shown, unit, len(rows))
    )


def sizes(title: str, values: Mapping[str, int]) -> Chart:
    """One bar a thing, by its bytes.

    Args:
        title: the finding.
        values: bytes by name; the largest are drawn.
    """
    ordered = sorted(values.items(), key=lambda item: -item[1])
    table = Table(
        title, ("name", "bytes", "size"), [(name, count, size(count)) for name, count in ordered]
    )
    if not ordered:
        return nothing(title, table)
    shown = ordered[:MOST_BARS]
    factors = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
    unit, factor = next((one for one in factors.items() if shown[0][1] >= one[1]), ("B", 1))

    def paint(axes: Axes) -> None:
        drawn = axes.barh(
            range(len(shown)), [count / factor for _, count in shown], color=AFTER, height=0.6
        )
        axes.set_yticks(range(len(shown)), [labelled(name) for name, _ in shown])
        axes.bar_label(drawn, [size(count) for _, count in shown], padding=4)
        finish(axes, unit + _part(len(shown), len(ordered)))

    return draw(title, table, 0.8 + 0.34 * len(shown), paint)


def stalls(
    title: str,
    samples: Mapping[str, Sequence[tuple[float, float]]],
    unit: str = "s",
    limit: float | None = None,
    over: str = "seconds since the migration began",
) -> Chart:
    """How something went over time: how long writers waited, how many sessions were blocked.

    Args:
        title: the finding.
        samples: by line, (when, value).
        limit: drawn as a line of its own.
        over: what `when` counts.
    """
    worst = {
        name: max(
            (v for _, v in points if known(v) is not None), default=float("nan") if points else None
        )
        for name, points in samples.items()
    }
    rows = [(name, len(samples[name]), told(value), limit) for name, value in worst.items()]
    marks = [
        "bad"
        if limit is not None and (known(value) or 0.0) > limit
        else "unknown"
        if told(value) == UNKNOWN_WORD
        else ""
        for value in worst.values()
    ]
    table = Table(title, ("what", "samples", f"worst ({unit})", f"limit ({unit})"), rows, marks)
    if not any(known(value) is not None for value in worst.values()):
        return nothing(title, table)
    return draw(
        title,
        table,
        2.9 + 0.1 * len(samples),
        lambda axes: _lines(axes, samples, unit, limit, over),
    )


def history(runs: Sequence[Mapping[str, Any]]) -> Chart:
    """How long the runs of an archive took, and how long the application was down, oldest first.

    Args:
        runs: the contents of their run.json.
    """
    ordered = sorted(runs, key=lambda run: str(run["started_at"]))
    rows = [
        (
            run["started_at"][:16].replace("T", " "),
            run["environment"],
            run["outcome"],
            known(run.get("duration_s")),
            known(run.get("downtime_s")),
        )
        for run in ordered
    ]
    rolled = sum(run["outcome"] == "rolled_back" for run in ordered)
    downs = [run["downtime_s"] for run in ordered if run.get("downtime_s") is not None]
    last = f"; the last downtime was {downs[-1]:.0f} s" if downs else ""
    title = f"{len(ordered)} run{'s' if len(ordered) != 1 else ''}, {rolled} rolled back{last}"
    marks = [
        {"failed": "bad", "aborted": "bad", "rolled_back": "unknown"}.get(row[2], "")
        for row in rows
    ]
    table = Table(
        title,
        ("began (UTC)", "environment", "outcome", "duration (s)", "downtime (s)"),
        rows,
        marks,
    )
    if not any(row[3] is not None or row[4] is not None for row in rows):
        return nothing(title, table)
    return draw(title, table, 3.4, lambda axes: _runs(axes, rows))


def change(before: float | None, after: float | None) -> str:
    """The difference of two values for people: '+12 (+4.0 %)'."""
    if UNKNOWN_WORD in (told(before), told(after)):
        return UNKNOWN_WORD
    if before is None or after is None:
        return (
            "new"
            if before is None and after is not None
            else "gone"
            if after is None and before is not None
            else "–"
        )
    if before == after:
        return "none"
    sign = "+" if after > before else "−"
    share = f" ({sign}{abs(after - before) / abs(before) * 100:.1f} %)" if before else ""
    return f"{sign}{text(abs(after - before))}{share}"


def known(value: float | None) -> float | None:
    """A value that can be drawn; None where it is not there, or not known."""
    return value if value is not None and isfinite(value) else None


def told(value: float | None) -> float | str | None:
    """A value for a table: one that is not known says so."""
    return UNKNOWN_WORD if value is not None and known(value) is None else value


def _drawn(rows: Sequence[Any], ranks: Sequence[float]) -> list[Any]:
    """What is drawn where there are too many: what ranks highest, in the order that was given."""
    ranked = sorted(range(len(rows)), key=lambda n: -ranks[n])
    return [rows[n] for n in sorted(ranked[:MOST_BARS])]


def _most_changed(
    rows: Sequence[tuple[str, float | None, float | None, str]],
) -> list[tuple[str, float | None, float | None, str]]:
    """What changed most, then what is largest; what is not known comes before both."""
    largest = max((abs(known(after) or 0.0) for _, _, after, _ in rows), default=0.0) or 1.0
    return _drawn(
        rows,
        [
            inf
            if words == UNKNOWN_WORD
            else abs((after or 0) - (before or 0)) + (after or 0) / largest * 1e-6
            for _, before, after, words in rows
        ],
    )


def _pairs(
    axes: Axes, rows: Sequence[tuple[str, float | None, float | None, str]], unit: str, of: int
) -> None:
    places = range(len(rows))
    first = axes.barh(
        [p - 0.2 for p in places],
        [known(b) or 0 for _, b, _, _ in rows],
        0.36,
        color=BEFORE,
        hatch="///",
        label="before",
    )
    second = axes.barh(
        [p + 0.2 for p in places],
        [known(a) or 0 for _, _, a, _ in rows],
        0.36,
        color=AFTER,
        label="after",
    )
    axes.bar_label(first, [text(told(b)) for _, b, _, _ in rows], padding=4, fontsize=9)
    axes.bar_label(
        second,
        [
            f"{text(a)} · {c}" if c not in ("none", "–", UNKNOWN_WORD) else text(told(a))
            for _, _, a, c in rows
        ],
        padding=4,
        fontsize=9,
    )
    axes.set_yticks(list(places), [labelled(name) for name, *_ in rows])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    scale = _scale(axes, [abs(v) for _, b, a, _ in rows for v in (known(b), known(a)) if v])
    finish(axes, ", ".join(filter(None, (unit, scale))) + _part(len(rows), of), room=0.34)


def _limited(
    axes: Axes, rows: Sequence[tuple[str, float, float | None]], unit: str, of: int
) -> None:
    over = [limit is not None and value > limit for _, value, limit in rows]
    drawn = axes.barh(
        range(len(rows)),
        [known(value) or 0 for _, value, _ in rows],
        height=0.6,
        color=[BAD if o else AFTER for o in over],
    )
    axes.set_yticks(range(len(rows)), [labelled(name) for name, *_ in rows])
    for bar, too_long in zip(drawn, over, strict=True):
        bar.set_hatch("xx" if too_long else "")
    for place, (_, _, limit) in enumerate(rows):
        if limit is not None:
            axes.plot(
                [limit, limit],
                [place - 0.42, place + 0.42],
                color=INK,
                linewidth=2.5,
                linestyle=(0, (3, 1)),
                label="limit",
            )
    axes.bar_label(
        drawn,
        [
            lasting(value, unit) + (" — too long" if o else "")
            for (_, value, _), o in zip(rows, over, strict=True)
        ],
        padding=4,
    )
    if any(limit is not None for *_, limit in rows):
        axes.legend(handles=[next(iter(axes.lines))], loc="lower right", bbox_to_anchor=(1.0, 1.0))
    finish(
        axes,
        ("seconds" if unit == "s" else unit) + _part(len(rows), of),
        room=0.5 if any(over) else 0.22,
    )


def _lines(
    axes: Axes,
    samples: Mapping[str, Sequence[tuple[float, float]]],
    unit: str,
    limit: float | None,
    over: str,
) -> None:
    styles, lines, names = ["-", "--", ":", "-."], [], list(samples)
    for number, points in enumerate(samples.values()):
        colour = (AFTER, BAD, UNKNOWN, GOOD, BEFORE)[number % 5]
        lines += axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            styles[number % 4],
            color=colour,
            linewidth=2,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            markevery=max(1, len(points) // 25),
        )
    if limit is not None:
        lines.append(axes.axhline(limit, color=INK, linewidth=2, linestyle=(0, (3, 1))))
        names.append(f"limit {text(limit)} {unit}")
    axes.set_ylim(bottom=0, top=None if axes.dataLim.y1 > 0 else 1)
    axes.grid(axis="y")
    axes.set(xlabel=over, ylabel="seconds" if unit == "s" else unit)
    columns, longest = (4, LONGEST_LABEL) if sum(map(len, names)) < 60 else (2, _LEGEND)
    axes.legend(
        lines,
        [labelled(name, longest) for name in names],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
    )


def _runs(axes: Axes, rows: Sequence[tuple[str, str, str, float | None, float | None]]) -> None:
    factor, unit = (
        (60.0, "minutes")
        if max(v or 0 for row in rows for v in row[3:]) > 600
        else (1.0, "seconds")
    )
    places = range(len(rows))
    marker = "" if len(rows) > 200 else None
    for column, label, colour, style, sign in (
        (3, "duration", AFTER, "-", "o"),
        (4, "downtime", UNKNOWN, "--", "s"),
    ):
        points = [(p, rows[p][column] / factor) for p in places if rows[p][column] is not None]  # type: ignore[operator]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            style,
            color=colour,
            linewidth=2,
            label=label,
            marker=sign if marker is None else marker,
        )
    bad = [
        (p, (rows[p][3] or 0) / factor)
        for p in places
        if rows[p][2] in ("failed", "aborted", "rolled_back", "unknown")
    ]
    if bad:
        axes.scatter(
            [x for x, _ in bad],
            [y for _, y in bad],
            marker="X",
            s=90,
            color=BAD,
            zorder=5,
            label="failed, aborted, rolled back or unknown",
        )
    step = -(-len(rows) // 7)  # more dates would touch each other
    axes.set_xticks(list(places)[::step], _dates([row[0] for row in rows[::step]]))
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0, top=None if axes.dataLim.y1 > 0 else 1)
    axes.grid(axis="y")
    axes.set(xlabel="runs in their order, by when they began (UTC)", ylabel=unit)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)


def _dates(moments: Sequence[str]) -> list[str]:
    """'2026-11-24 02:00' as its date, and as its time where the date is that of the one before."""
    return [
        when[:10] if n == 0 or moments[n - 1][:10] != when[:10] else when[11:]
        for n, when in enumerate(moments)
    ]


def finish(axes: Axes, label: str, room: float = 0.16) -> None:
    """Bars from top to bottom, room for their labels at the right, the unit beneath."""
    places = [tick for tick in axes.get_yticks()]
    axes.set_ylim(max(places) + 0.6, min(places) - 0.6)
    axes.set_xlabel("seconds" if label == "s" else label)
    axes.margins(x=room)
    axes.xaxis.set_major_formatter(lambda value, _: compact(value))
    first, last = axes.dataLim.x0, axes.dataLim.x1
    if first < 0:
        axes.set_xlim(left=first - 2 * room * (last - first))
    elif axes.get_xscale() == "linear":
        axes.set_xlim(left=0, right=None if last > 0 else 1)


def compact(value: float) -> str:
    """A tick's number: '20 000', '0.05', '800 million'."""
    for word, factor in ((" billion", 1e9), (" million", 1e6)):
        if abs(value) >= factor:
            return f"{value / factor:,.6g}".replace(",", " ") + word
    return f"{value:,.6g}".replace(",", " ").replace("-", "−")


def _scale(axes: Axes, values: Sequence[float]) -> str:
    """Make the axis logarithmic where the values lie far apart; how it then says so."""
    if not values or max(values) / min(values) <= _FAR_APART:
        return ""
    from matplotlib.ticker import SymmetricalLogLocator

    axes.set_xscale("symlog", linthresh=min(values))
    ticks = SymmetricalLogLocator(base=10, linthresh=min(values))
    ticks.set_params(numticks=5)
    axes.xaxis.set_major_locator(ticks)
    return "logarithmic"


def _part(shown: int, of: int) -> str:
    return f" ({shown} of {of}; the table holds all)" if shown < of else ""


def labelled(label: str, longest: int = LONGEST_LABEL) -> str:
    """A label that leaves room for the bars: its beginning and its end."""
    kept = longest * 6 // 11
    return label if len(label) <= longest else f"{label[:kept]}…{label[kept + 1 - longest :]}"


def lasting(value: float, unit: str = "s") -> str:
    """How long something took, for people."""
    if known(value) is None:
        return UNKNOWN_WORD
    if unit == "s" and value >= 120:
        minutes, seconds = divmod(int(value), 60)
        return (
            f"{minutes} min {seconds} s"
            if minutes < 120
            else f"{minutes // 60} h {minutes % 60} min"
        )
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"


def forecasts(title: str, runs: Sequence[tuple[str, float, float]]) -> Chart:
    """What was forecast beside what it took, a run a row.

    Args:
        title: the finding.
        runs: name, forecast and actual, in seconds; those at the beginning are drawn where there
            are too many.
    """
    table = Table(
        title,
        ("run", "forecast (s)", "actual (s)", "actual / forecast"),
        [(name, said, took, took / said) for name, said, took in runs],
    )
    shown = runs[:MOST_BARS]
    if not shown:
        return nothing(title, table)

    def paint(axes: Axes) -> None:
        axes.barh(
            range(len(shown)),
            [took for _, _, took in shown],
            height=0.6,
            color=AFTER,
            label="actual",
        )
        axes.plot(
            [said for _, said, _ in shown],
            range(len(shown)),
            "D",
            color=INK,
            markerfacecolor="white",
            markersize=9,
            label="forecast",
        )
        for place, (_, said, took) in enumerate(shown):
            axes.annotate(
                f"{lasting(took)}, forecast {lasting(said)}",
                (max(said, took), place),
                (10, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(shown)), [labelled(name) for name, _, _ in shown])
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        finish(axes, "seconds" + _part(len(shown), len(runs)), room=0.3)

    return draw(title, table, 0.8 + 0.38 * len(shown), paint)


def room(title: str, places: Sequence[tuple[str, float, float]], limit: float) -> Chart:
    """How full each disk is, and how full it will be, against what has to stay free.

    Args:
        title: the finding.
        places: name, percent that are used now, percent that are needed beside.
        limit: percent that have to stay free.
    """
    rows = [(name, used, needed, 100 - used - needed, limit) for name, used, needed in places]
    over = [free < limit for *_, free, _ in rows]
    table = Table(
        title,
        ("disk", "used now (%)", "needed (%)", "free afterwards (%)", "at least (%)"),
        rows,
        ["bad" if o else "" for o in over],
    )
    if not rows:
        return nothing(title, table)

    def paint(axes: Axes) -> None:
        for place, (_, used, needed, free, _) in enumerate(rows):
            axes.barh([place], [used], 0.6, color=BEFORE, hatch="///", label="used now")
            last = axes.barh(
                [place],
                [needed],
                0.6,
                left=used,
                color=BAD if over[place] else AFTER,
                hatch="xx" if over[place] else "",
                label="needed",
            )
            axes.bar_label(
                last,
                [f"{free:.1f} % free afterwards" + (" — too little" if over[place] else "")],
                padding=4,
            )
        line = axes.axvline(100 - limit, color=INK, linewidth=2, linestyle=(0, (3, 1)))
        axes.set_yticks(range(len(rows)), [labelled(name) for name, *_ in rows])
        axes.legend(
            handles=[*axes.containers[:2], line],
            labels=["used now", "needed", f"{limit:.0f} % have to stay free"],
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=3,
        )
        finish(axes, "% of the disk")
        axes.set_xlim(0, max(100, *(100 - free for *_, free, _ in rows)) * 1.02)

    return draw(title, table, 1.0 + 0.5 * len(rows), paint)


def judged(
    title: str,
    rows: Sequence[tuple[str, float | None, float | None, str, str]],
    of: int,
    unit: str = "",
) -> Chart:
    """Two values a label, and what is held of their difference: told apart by hatch and word.

    Args:
        title: the finding.
        rows: name, before, after (None is "not there"), verdict, mark ("good", "bad", "unknown",
            "").
        of: how many there are in all.
        unit: of the values.
    """
    heading = f" ({unit})" if unit else ""
    shown = [
        (name, b, a, f"{'' if b == a else change(b, a) + ', '}{verdict}")
        for name, b, a, verdict, _ in rows
    ]
    table = Table(
        f"{title}{_part(len(rows), of)}",
        ("name", f"before{heading}", f"after{heading}", "verdict"),
        [(name, b, a, verdict) for name, b, a, verdict, _ in rows],
        [mark for *_, mark in rows],
    )
    if not rows:
        return nothing(title, table)
    looks = {"good": (AFTER, ""), "bad": (BAD, "xx"), "unknown": (UNKNOWN, "++"), "": (BEFORE, "")}

    def paint(axes: Axes) -> None:
        _pairs(axes, shown, unit, of)
        for bar, (*_, mark) in zip(axes.containers[1], rows, strict=True):
            bar.set_facecolor(looks[mark][0])
            bar.set_hatch(looks[mark][1])

    alt = f"Chart: {title}. " + "; ".join(
        f"{name}: {text(b)} before, {text(a)} after, {verdict}"
        for name, b, a, verdict, _ in rows[:8]
    )
    return draw(title, table, 0.8 + 0.5 * len(rows), paint, alt)
