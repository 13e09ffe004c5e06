"""A real browser for the tests: Debian's Chromium, headless; tests that need it are skipped
where it is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from worlds import make_world

from tests.browser.seats import Desk, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A launched browser, closed at the end."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium here (Debian: chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium: Browser) -> Iterator[Server]:
    """JupyterLab on a demo run of its own, at whose gates `plan` and `migrate` a person is asked
    for.
    """

    def change(values: dict[str, Any]) -> None:
        values["approvals"] = {"required": ["plan", "migrate"]}
        values["migrate"] |= {"lock_timeout_s": 120, "guard": {"victims": 0}}
        values["rollback"] = {"automatic": False}

    with tempfile.TemporaryDirectory(prefix="seat-") as name:
        world = make_world(Path(name), change)
        world.platform.up(lambda line: None, fresh=True)
        made = Server(world, Path(name))
        try:
            made.start("--new")
            yield made
        finally:
            made.stop()
            world.platform.down(lambda line: None)


@pytest.fixture
def desk(chromium: Browser, lab: Server) -> Iterator[Callable[[str], Desk]]:
    """Opens a browser window for a person."""
    with ExitStack() as stack:

        def made(name: str = "Rita") -> Desk:
            found = Desk(chromium, lab, name)
            stack.callback(found.context.close)
            return found

        yield made
