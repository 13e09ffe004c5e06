"""What a person sees and presses in JupyterLab: the banner, gates, checklists.

Every fact stands as HTML and as text; buttons come on top of it, only where they were asked for. A
button records, and does nothing else: gates read the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, ClassVar

from runbook_lib.asked import Asked
from runbook_lib.check import Checks
from runbook_lib.errors import RunbookError
from runbook_lib.show.style import Html, css
from runbook_lib.table import Link, Shown, Table

if TYPE_CHECKING:
    import ipywidgets

_STRIPES = "repeating-linear-gradient(45deg,#ffd33d 0 14px,#1f2328 14px 28px)"
_PRODUCTION = (
    "background:#86120f;color:#ffffff;padding:12px 18px;border:8px solid "
    f"#ffd33d;border-image:{_STRIPES} 8;border-radius:0"
)
_FACT = (
    "display:inline-block;margin:6px 28px 0 "
    "0;font-weight:600;vertical-align:top;overflow-wrap:anywhere"
)
_OTHER = (
    "background:#e8f2fb;color:#12324d;padding:10px 18px;border:2px solid #0b6aa2;border-radius:14px"
)


def banner(
    *,
    environment: str,
    production: bool,
    database: str,
    host: str,
    run: str,
    phase: str = "",
    engineer: str = "",
    server: str = "",
) -> Html:
    """Where this is, unmistakably.

    Production by its word, its colour, and its striped and cornered shape.

    Args:
        environment: its name.
        production: whether real users are behind it.
        database, host: what will be changed.
        run: the run's id.
        phase: what this notebook does.
        engineer: who is responsible.
        server: what identifies the server.
    """
    word = f"▲ PRODUCTION — {environment}" if production else f"● {environment} — not production"
    facts = {
        "Phase": phase,
        "Database": database,
        "Host": host,
        "Engineer": engineer,
        "Server": server,
        "Run": run,
    }
    shown = {name: value for name, value in facts.items() if value}
    items = "".join(
        f"<div style='{_FACT}'><span "
        f"style='font-size:12px;font-weight:400'>{name}</span><br>{escape(value)}</div>"
        for name, value in shown.items()
    )
    kind = "production" if production else "other"
    html = (
        f"{css().html}<section class='runbook-banner {kind}' "
        f"style='{_PRODUCTION if production else _OTHER}'>"
        f"<div style='font-size:{22 if production else 17}px;font-weight:700'>{escape(word)}</div>"
        f"{items}</section>"
    )
    return Html(html, "\n".join([word, *(f"  {name}: {value}" for name, value in shown.items())]))


@dataclass(frozen=True)
class Decision:
    """What a person decided at a gate."""

    approved: bool
    person: str
    at: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{'approved' if self.approved else 'refused'} by {self.person} at "
            f"{self.at[:16].replace('T', ' ')} UTC: {self.reason}"
        )


@dataclass(frozen=True)
class Gate:
    """A gate as it stands: what must hold, who decided, and (interactively) the buttons to decide.

    Args:
        name: of the gate.
        conditions: what must hold before it opens.
        decision: what stands, or None.
        decide: records a decision (approved, person, reason) and returns it; without it there are
            no buttons.
        person: who is at work, as a suggestion.
        asked: what an approval accepts: shown above the buttons.
        command: what is typed instead.
    """

    name: str
    conditions: Checks
    decision: Decision | None = None
    decide: Callable[[bool, str, str], Decision] | None = None
    person: str = ""
    asked: Asked | None = None
    command: str = ""

    def state(self) -> str:
        """How it stands, in a sentence."""
        if self.decision:
            return f"{'✔' if self.decision.approved else '✘'} gate `{self.name}`: {self.decision}"
        return (
            f"? gate `{self.name}` waits for a "
            f"person{f'; on the command line: {self.command}' if self.command else ''}"
        )

    def _repr_html_(self) -> str:
        mark = "unknown" if not self.decision else "good" if self.decision.approved else "bad"
        return (
            self.conditions._repr_html_()
            + (self.asked._repr_html_() if self.asked else "")
            + Table(f"Gate {self.name}", ("decision",), [(self.state(),)], [mark])._repr_html_()
        )

    def __str__(self) -> str:
        asked = f"{self.asked}\n" if self.asked else ""
        return f"{self.conditions}\n{asked}{self.state()}"

    __repr__ = __str__

    def _ipython_display_(self) -> None:
        from IPython.display import display

        shown = display(Html(self._repr_html_(), str(self)), display_id=True)
        if self.decide and not (self.decision and self.decision.approved):
            display(self.buttons(lambda gate: shown.update(Html(gate._repr_html_(), str(gate)))))

    def buttons(self, decided: Callable[[Gate], object]) -> ipywidgets.Widget:
        """Name, reason, approve and refuse; a name and a reason are needed for both.

        Args:
            decided: called with the gate as it then stands.
        """
        import ipywidgets

        name = ipywidgets.Text(value=self.person, description="Name")
        reason = ipywidgets.Text(description="Reason", layout={"width": "40em"})
        said = ipywidgets.HTML()
        approve = ipywidgets.Button(
            description="Approve",
            icon="check",
            button_style="success",
            tooltip=f"Approve gate {self.name}",
        )
        refuse = ipywidgets.Button(
            description="Refuse",
            icon="times",
            button_style="danger",
            tooltip=f"Refuse gate {self.name}",
        )

        def press(approved: bool) -> None:
            if name.disabled:
                return
            if not name.value.strip() or not reason.value.strip():
                said.value = "A name and a reason are needed."
                return
            assert self.decide is not None
            try:
                stands = self.decide(approved, name.value.strip(), reason.value.strip())
            except RunbookError as error:
                said.value = escape(str(error))
                return
            pressed, other = (approve, refuse) if approved else (refuse, approve)
            name.disabled = reason.disabled = other.disabled = True
            pressed.description = (
                "Approved" if approved else "Refused"
            )  # it keeps the keyboard's focus: from here the cell is run again
            then = (
                "Now run this cell again."
                if approved
                else "It stays shut until it is approved: run this cell again to do that."
            )
            said.value = f"<b>{escape(str(stands))}.</b> {then}"
            decided(replace(self, decision=stands))

        approve.on_click(lambda _: press(True))
        refuse.on_click(lambda _: press(False))
        return ipywidgets.VBox([name, reason, ipywidgets.HBox([approve, refuse]), said])


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Args:
        state: how it stands: one of the words below.
        evidence: what shows that, or what the person noted.
        cell: the notebook's cell that shows it; empty where it is a person's alone.
        done_by: the person who ticked it.
    """

    PASSED: ClassVar[str] = "passed"
    DONE: ClassVar[str] = "done"
    OPEN: ClassVar[str] = "open"
    TO_COME: ClassVar[str] = "to come"
    NOT_NEEDED: ClassVar[str] = "not needed"

    id: str
    title: str
    state: str
    evidence: str = ""
    cell: str = ""
    done_by: str = ""

    @property
    def open(self) -> bool:
        """Whether it waits for a person."""
        return self.state == self.OPEN

    def as_dict(self) -> dict[str, str]:
        """For evidence files."""
        return asdict(self)

    def row(self) -> tuple[str, str, str, str, Link | str]:
        """State, item, who says so, evidence, and the cell that shows it."""
        sign, _ = _STATES[self.state]
        by = self.done_by or (
            "a person" if self.open else "checked here" if self.state != self.NOT_NEEDED else ""
        )
        return (
            f"{sign} {self.state}",
            f"{self.id} {self.title}",
            by,
            self.evidence,
            Link("show", f"#cell-id={self.cell}") if self.cell else "",
        )


_STATES = {
    Item.PASSED: ("✔", "good"),
    Item.DONE: ("✔", "good"),
    Item.OPEN: ("?", "unknown"),
    Item.TO_COME: ("·", ""),
    Item.NOT_NEEDED: ("–", ""),
    "failed": ("✘", "bad"),
    "could not check": ("?", "unknown"),
}
"""Each state's sign and mark."""


@dataclass(frozen=True)
class Checklist(Shown):
    """Items that were checked here, with their evidence, which nobody ticks by hand.

    And items that a person ticks.

    Args:
        tick: records an item (id, person, note) and returns it ticked; without it there are no
            buttons.
        person: who is at work, as a suggestion.
    """

    title: str
    items: Sequence[Item]
    tick: Callable[[str, str, str], Item] | None = None
    person: str = ""

    def table(self) -> Table:
        """All items as rows."""
        marks = [_STATES[item.state][1] for item in self.items]
        waiting = sum(item.open for item in self.items)
        title = (
            f"{self.title}: {marks.count('good')} of "
            f"{sum(item.state != Item.NOT_NEEDED for item in self.items)} done"
        )
        title += f", {waiting} open for a person" if waiting else ""
        return Table(
            title,
            ("state", "item", "by", "evidence", "cell"),
            [item.row() for item in self.items],
            marks,
        )

    def _ipython_display_(self) -> None:
        from IPython.display import display

        shown = display(Html(self._repr_html_(), str(self)), display_id=True)
        if self.tick and any(item.open for item in self.items):
            display(self.buttons(lambda now: shown.update(Html(now._repr_html_(), str(now)))))

    def buttons(self, ticked: Callable[[Checklist], object]) -> ipywidgets.Widget:
        """A name for all, and a note and a button for each open item.

        Args:
            ticked: called with the checklist as it then stands.
        """
        import ipywidgets

        name = ipywidgets.Text(value=self.person, description="Your name")
        said = ipywidgets.HTML()
        now = {item.id: item for item in self.items}

        def row(item: Item) -> ipywidgets.Widget:
            note = ipywidgets.Text(description="Note", layout={"width": "32em"})
            button = ipywidgets.Button(
                description=f"{item.id} is done", icon="check", tooltip=item.title
            )

            def press(_: object) -> None:
                if note.disabled:
                    return
                if not name.value.strip() or not note.value.strip():
                    said.value = "Your name, and a note of what you did or saw, are needed."
                    return
                assert self.tick is not None
                now[item.id] = self.tick(item.id, name.value.strip(), note.value.strip())
                note.disabled = True
                button.description = f"{item.id} recorded"
                said.value = escape(f"{item.id} was recorded.")
                ticked(replace(self, items=tuple(now.values())))

            button.on_click(press)
            return ipywidgets.VBox(
                [
                    ipywidgets.HTML(f"<b>{escape(f'{item.id} {item.title}')}</b>"),
                    ipywidgets.HBox([note, button]),
                ]
            )

        return ipywidgets.VBox([name, *(row(item) for item in self.items if item.open), said])
