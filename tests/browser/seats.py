"""A person before JupyterLab: the server that `runbook lab` starts on a demo run of its own, and
what is seen and done in a browser.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worlds import ROOT, World

from runbook_lib.run import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SCREENSHOTS = ROOT / ".screenshots"
"""Where pictures are kept, to be looked at."""
SCREEN = {"width": 1366, "height": 768}
PATIENCE_S = 120
"""Seconds that anything may take on a machine that is very busy; nothing usually does."""


@dataclass
class Server:
    """JupyterLab as `runbook lab` starts it, with settings of its own.

    Args:
        folder: short, for sockets and settings of this server.
    """

    world: World
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    address: dict[str, Any] = field(default_factory=dict, repr=False)

    def start(self, *options: str) -> None:
        """Start it, and wait until it listens."""
        places = {"RUNTIME": "r", "DATA": "d", "CONFIG": "c"}
        environment = (
            self.world.environment()
            | {f"JUPYTER_{name}_DIR": str(self.folder / place) for name, place in places.items()}
            | {"IPYTHONDIR": str(self.folder / "i"), "RUNBOOK_PERSON": "Rita"}
        )
        with (self.folder / "lab.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.world.argv("lab", str(self.world.file), "--no-browser", *options),
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(
            lambda: (
                self.process.poll() is not None or list((self.folder / "r").glob("jpserver-*.json"))
            )
        )  # type: ignore[union-attr]
        assert self.process.poll() is None, (self.folder / "lab.log").read_text()[-3000:]
        self.address = json.loads(next((self.folder / "r").glob("jpserver-*.json")).read_text())

    def stop(self) -> str:
        """Stop it as a service manager does; what it printed."""
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE_S)
        return (self.folder / "lab.log").read_text(errors="replace")

    @property
    def run(self) -> Run:
        """The run that it was started on."""
        return self.world.newest


class Desk:
    """One browser window on the server.

    Args:
        name: of the person, for the pictures.
    """

    def __init__(self, browser: Browser, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.context = browser.new_context(viewport=SCREEN, base_url=server.address["url"])  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)

    def open(self, notebook: str) -> float:
        """Open a notebook; seconds until its cells are there."""
        began = time.monotonic()
        self.page.goto(f"lab/tree/{notebook}?reset&token={self.server.address['token']}")
        self.shown(notebook)
        seconds = time.monotonic() - began
        self.page.wait_for_selector(
            f"{PANEL} .jp-Notebook-ExecutionIndicator[data-status=idle], {PANEL} "
            ".jp-Notebook-ExecutionIndicator[data-status=busy]"
        )
        return seconds

    def open_another(self, notebook: str) -> float:
        """Open a notebook by a double click in the list of files of a JupyterLab that is there;
        seconds until its cells are.
        """
        began = time.monotonic()
        self.page.locator(f".jp-DirListing-item[title^='Name: {notebook}']").dblclick()
        self.shown(notebook)
        return time.monotonic() - began

    def shown(self, notebook: str) -> None:
        """Wait until a notebook is the one that is shown, with its cells."""
        self.page.wait_for_selector(f".lm-DockPanel-tabBar .lm-mod-current:has-text('{notebook}')")
        self.page.wait_for_selector(f"{PANEL} .jp-Spinner", state="detached")
        self.page.wait_for_selector(f"{PANEL} .jp-Cell >> nth=5", state="attached")

    def cell(self, code: str) -> Locator:
        """The cell with this code."""
        return self.page.locator(f"{PANEL} .jp-CodeCell").filter(
            has=self.page.locator(".jp-InputArea-editor", has_text=code)
        )

    def select(self, code: str) -> None:
        """Make a cell the active one, by a click beside its code."""
        self.cell(code).locator(".jp-InputPrompt").first.click()

    def top(self) -> None:
        """Make the first cell the active one."""
        self.page.locator(f"{PANEL} .jp-Cell").first.locator(".jp-InputPrompt").click()

    def step(self, by: str = "click") -> None:
        """Run the active cell and go to the next, by a click or by the keyboard, and wait until
        it has ended.
        """
        self.page.evaluate(
            f"() => document.querySelectorAll(`{PANEL} .jp-CodeCell.jp-mod-active .jp-InputArea > "
            ".jp-InputPrompt`).forEach(prompt => prompt.textContent = 'runs')"
        )
        if by == "click":
            self.page.click(
                f"{PANEL} .jp-NotebookPanel-toolbar "
                "[data-command='notebook:run-cell-and-select-next']"
            )
        else:
            self.page.keyboard.press("Shift+Enter")
        self.idle()

    def idle(self) -> None:
        """Wait until no cell is at work, and all of its output is there: the kernel says that it is
        idle after the last of it.

        JupyterLab writes a prompt anew when its cell begins, and when it ends.
        """
        self.page.wait_for_function("""() => {
            const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
            const prompts = [...panel.querySelectorAll('.jp-InputArea > .jp-InputPrompt')];
            const waits = prompts.some(prompt => /\\*|runs/.test(prompt.textContent));
            const shown = panel.querySelector('.jp-Notebook-ExecutionIndicator');
            return !waits && shown.dataset.status === 'idle';
        }""")

    def steps(self, *, to: str = "", by: str = "click") -> str:
        """Run cell after cell, to one that fails, to the one whose code is `to`, or to the end;
        the error's words.
        """
        cells = self.page.locator(f"{PANEL} .jp-Cell")
        first = cells.evaluate_all(
            "cells => cells.findIndex(cell => cell.classList.contains('jp-mod-active'))"
        )
        for number in range(first, cells.count()):
            if to and to in cells.nth(number).inner_text():
                return ""
            self.step(by)
            if error := self.error(cells.nth(number)):
                return error
        return ""

    def error(self, cell: Locator) -> str:
        """The error that a cell shows; empty where there is none."""
        kinds = ", ".join(
            f".jp-RenderedText[data-mime-type='application/vnd.jupyter.{kind}']"
            for kind in ("error", "stderr")
        )
        return " ".join(cell.locator(kinds).all_inner_texts())

    def save(self) -> None:
        """Save the notebook, and wait until that is done."""
        self.page.keyboard.press("Control+s")
        self.page.wait_for_selector(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)")

    def picture(self, name: str) -> None:
        """Keep what is seen now as a picture."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def focus(self) -> str:
        """What has the keyboard's focus, in words."""
        return str(
            self.page.evaluate(
                "() => document.activeElement.title || "
                "document.activeElement.getAttribute('aria-label') || "
                "document.activeElement.className"
            )
        )


PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def saved(run: Run, notebook: str) -> str:
    """All that a saved notebook shows as HTML and text: what is left of it where no widget can
    be drawn.
    """
    cells = json.loads((run.folder / notebook).read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = [
        output.get("data", {}).get(kind, "")
        for output in outputs
        for kind in ("text/html", "text/plain")
    ]
    return "\n".join(
        "".join(part)
        for part in [
            *shown,
            *(output.get("text", "") for output in outputs),
            *("\n".join(output.get("traceback", [])) for output in outputs),
        ]
    )


__all__ = ["Desk", "Server", "PANEL", "SCREENSHOTS", "saved", "until"]
