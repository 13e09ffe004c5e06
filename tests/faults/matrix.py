"""Collects the cells of the fault matrix from the tests that are marked as such, and writes them as
a table.

`make test` tries the cells that are quick and says how many held; `make faults` tries all of them
and writes docs/faults.md.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

OPTION = "--faults"
HEAD = ("struck", "when", "how", "what must be true", "held", "figures", "test")
MOST = 90
"""Characters of a parameter that are shown."""


def add_option(parser: pytest.Parser) -> None:
    """`--faults FILE`: try the cells of the fault matrix, all of them and nothing else, and
    write the table there.
    """
    parser.addoption(OPTION, metavar="FILE", help="try the whole fault matrix, and write its table")


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long cells, or all that is no cell where the matrix is asked for; tell each
    cell's report what it is.
    """
    whole, left_out = config.getoption(OPTION), list[pytest.Item]()
    for item in items:
        mark = item.get_closest_marker("fault")
        if mark is None if whole else mark is not None and mark.kwargs.get("long"):
            left_out.append(item)
        elif mark is not None:
            item.user_properties.append(("fault", _told(item, mark.args)))
    if left_out:
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)


def summary(reporter: Any) -> None:
    """Say how many cells held; write the table where it is asked for."""
    rows = sorted(_rows(reporter.stats))
    if not rows:
        return
    held = sum(row[4] == "yes" for row in rows)
    reporter.section("fault matrix")
    reporter.write_line(f"{held} of {len(rows)} cells are as they must be")
    path = reporter.config.getoption(OPTION)
    if path:
        Path(path).write_text(_page(rows, held), encoding="utf-8")
        reporter.write_line(f"written: {path}")
    else:
        reporter.write_line("`make faults` tries the whole matrix, and writes docs/faults.md")


def _told(item: pytest.Item, words: Sequence[str]) -> list[str]:
    """The cell's words, with the test's parameters filled in: `{name}`."""
    callspec = getattr(item, "callspec", None)
    values = {key: _short(value) for key, value in (callspec.params if callspec else {}).items()}
    return [word.format_map(values) for word in words]


def _short(value: object) -> str:
    named = getattr(value, "words", None) or getattr(value, "__name__", None)
    text = named or " ".join(str(value).split())
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _rows(stats: dict[str, list[Any]]) -> Iterable[tuple[str, ...]]:
    for outcome, words in (("passed", "yes"), ("failed", "NO"), ("error", "NO"), ("skipped", "")):
        for report in stats.get(outcome, []):
            found = dict(getattr(report, "user_properties", ()))
            if "fault" not in found:
                continue
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            figures = "; ".join(str(found[key]) for key in ("figures", "said") if key in found)
            test = report.nodeid.partition("[")[0].removeprefix("tests/")
            took = f"{figures}; " if figures else ""
            yield (
                *found["fault"],
                words or f"not tried: {reason.removeprefix('Skipped: ')}",
                f"{took}the whole cell took {report.duration:.1f} s",
                test,
            )


def _page(rows: Sequence[tuple[str, ...]], held: int) -> str:
    machine = f"{platform.system()}, {os.cpu_count()} processors, Python {sys.version.split()[0]}"
    lines = [
        "# The fault matrix",
        "",
        "What is struck, at which moment, how Prisma sends the files, and what must then be true. "
        "Each row is a test against a real",
        "PostgreSQL and, where Prisma matters, the real Prisma CLI; the figures are those of the "
        "run that wrote this page.",
        "`make faults` tries all of it and writes this page anew; `make test` tries the quick "
        "ones.",
        "",
        f"**{held} of {len(rows)} cells are as they must be** ({machine}).",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
    ]
    for row in rows:
        lines.append(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |")
    return "\n".join(lines) + "\n"
