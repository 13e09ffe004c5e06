"""What every result of this room can do: show itself in a notebook, and say the same as text."""

from __future__ import annotations

from runbook_lib.table import Table


class Shown:
    """A result that renders as its `table()`."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = cls.__str__  # type: ignore[assignment]  # set here, a dataclass makes none of its own

    def table(self) -> Table:
        """The result as rows."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())
