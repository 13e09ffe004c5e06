"""The one thing of the history's entry that only a person knows: what was learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook_lib.show.style import Html
from runbook_lib.table import Shown, Table

if TYPE_CHECKING:
    import ipywidgets


@dataclass(frozen=True)
class Lessons(Shown):
    """The lessons of a run, and (interactively) the question for more.

    Args:
        run: what names it to a command.
        learned: those that are recorded.
        record: records one; without it nobody is asked.
    """

    run: str
    learned: tuple[str, ...] = ()
    record: Callable[[str], object] | None = None

    def table(self) -> Table:
        """The lessons; where there is none, how one is added."""
        rows = [(text,) for text in self.learned] or [
            (f"none recorded yet; `runbook lesson {self.run}` asks for one at any time",)
        ]
        return Table(
            f"{len(self.learned)} lesson{'s' if len(self.learned) != 1 else ''} learned",
            ("lesson",),
            rows,
            [] if self.learned else ["unknown"],
        )

    def _ipython_display_(self) -> None:
        from IPython.display import display

        shown = display(Html(self._repr_html_(), str(self)), display_id=True)
        if self.record:
            display(self.question(lambda now: shown.update(Html(now._repr_html_(), str(now)))))

    def question(self, recorded: Callable[[Lessons], object]) -> ipywidgets.Widget:
        """A field and a button; they may be used as often as there are lessons.

        Args:
            recorded: called with the lessons as they then stand.
        """
        import ipywidgets

        text = ipywidgets.Textarea(
            description="Lesson",
            placeholder="What was learned, in one sentence",
            layout={"width": "50em"},
        )
        button = ipywidgets.Button(
            description="Record", icon="check", tooltip="Record this lesson in the history's entry"
        )
        learned = list(self.learned)

        def press(_: object) -> None:
            said = text.value.strip()
            if said and self.record:
                self.record(said)
                learned.append(said)
                text.value = ""
                recorded(replace(self, learned=tuple(learned)))

        button.on_click(press)
        return ipywidgets.VBox([text, button])
