"""Show rows one way: as HTML in a notebook, as text, and as a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def text(value: Any) -> str:
    """A cell's value for people.

    Thousands are grouped, nothing is "–", times are UTC and say so.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, float):
        return (
            f"{value:,.2f}".replace(",", " ") if abs(value) >= 0.1 or not value else f"{value:.3f}"
        )
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(text(item) for item in value) or "–"
    return str(value)


def size(count: float | None) -> str:
    """Bytes for people, in binary units: 1536 → '1.5 KiB'."""
    if count is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Link:
    """A value that leads somewhere: to a notebook beside this one, or to one of its cells.

    Args:
        target: e.g. "10_plan.ipynb" or "#cell-id=plan-pending".
    """

    words: str
    target: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Args:
        title: one line above the rows; says the finding where there is one.
        columns: the headings, units included.
        rows: one sequence of values a row, as long as `columns`.
        marks: for each row "good", "bad", "unknown" or "" — drawn as colour *and* beside a word
            that the row holds.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    marks: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self) -> pandas.DataFrame:
        """The same rows as a pandas frame."""
        import pandas

        return pandas.DataFrame([list(row) for row in self.rows], columns=list(self.columns))

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th scope='col' class='{self._column(n)}'>{escape(name)}</th>"
            for n, name in enumerate(self.columns)
        )
        body = "".join(self._row(number, row) for number, row in enumerate(self.rows))
        empty = f"<tr><td colspan='{len(self.columns)}'>none</td></tr>" if not self.rows else ""
        return (
            f"<table class='runbook'><caption>{escape(self.title)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}{empty}</tbody></table>"
        )

    def _column(self, number: int) -> str:
        return (
            "number"
            if self.rows and all(_kind(row[number]) == "number" for row in self.rows)
            else "text"
        )

    def _row(self, number: int, row: Sequence[Any]) -> str:
        mark = self.marks[number] if number < len(self.marks) else ""
        cells = "".join(f"<td class='{_kind(value)}'>{_inside(value)}</td>" for value in row)
        return f"<tr class='{escape(mark)}'>{cells}</tr>"

    def __str__(self) -> str:
        cells = [[text(value) for value in row] for row in self.rows]
        widths = [
            max([len(name), *(len(row[n]) for row in cells)]) for n, name in enumerate(self.columns)
        ]
        lines = [
            self.title,
            "  ".join(name.ljust(width) for name, width in zip(self.columns, widths, strict=False)),
        ]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
            for row in cells
        ]
        return "\n".join(lines if cells else [*lines, "none"])

    __repr__ = __str__


def _inside(value: Any) -> str:
    shown = escape(text(value))
    return (
        f'<a href="{escape(value.target, quote=True)}">{shown}</a>'
        if isinstance(value, Link) and value.target
        else shown
    )


def _kind(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else "text"


class Shown:
    """A result that renders as its `table()`, and says the same as text."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = cls.__str__  # type: ignore[assignment]  # set here, a dataclass makes none of its own

    def table(self) -> Table:
        """The result as rows."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())
