"""A view of the running migration, in a front end.

The printed lines as one picture that stays in place, and a button that ends it.

The kernel's main thread waits for the Prisma CLI meanwhile: that the button is heard takes a front
end that speaks to a kernel's subshells (JupyterLab 4.4 and later). In any other, interrupting the
kernel does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from runbook_lib.show.style import Html
from runbook_lib.table import Table


class View:
    """What happens now, until it is closed; then nothing of it is left but its last words.

    Args:
        cancel: ends the migration; called once, where a person said so twice.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        import ipywidgets
        from IPython.display import display

        self._cancel = cancel
        self._last = Html("", "")
        self._now = ipywidgets.HTML("The migration begins …", layout={"width": "100%"})
        self._ask = ipywidgets.Button(
            description="Cancel the migration",
            icon="stop",
            button_style="danger",
            layout={"width": "auto"},
        )
        self._yes = ipywidgets.Button(description="Yes, cancel it", button_style="danger")
        self._no = ipywidgets.Button(description="No, go on")
        self._buttons = ipywidgets.HBox([self._ask])
        self._ask.on_click(lambda _: self._offer(self._yes, self._no))
        self._no.on_click(lambda _: self._offer(self._ask))
        self._yes.on_click(lambda _: self._end())
        self._box = ipywidgets.VBox([self._now, self._buttons])
        for button in (
            self._ask,
            self._yes,
            self._no,
        ):  # newer kernels hand a click to the shell that made the button, which is busy:
            vars(button.comm).pop(
                "_reply_subshell_id", None
            )  # let it go to the subshell through which the front end sends it
        self._shown: Any = display(self._box, display_id=True)

    def show(self, rows: Sequence[tuple[str, str]], harmed: bool) -> None:
        """Show how it stands now.

        Args:
            rows: what is told, and how it stands.
            harmed: whether others wait for the migration.
        """
        table = Table(
            "The migration, now",
            ("", ""),
            rows,
            ["bad" if harmed and name == "others" else "" for name, _ in rows],
        )
        self._last = Html(table._repr_html_(), str(table))
        self._now.value = self._last.html

    def close(self) -> None:
        """Leave the last state as HTML and as text, and no widget."""
        self._shown.update(self._last)
        for widget in (self._now, self._ask, self._yes, self._no, self._buttons, self._box):
            widget.close()

    def _offer(self, *buttons: Any) -> None:
        self._buttons.children = buttons

    def _end(self) -> None:
        self._offer()
        self._now.value = escape("The migration is being cancelled …")
        self._cancel()
