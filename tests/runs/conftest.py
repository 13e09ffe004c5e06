"""Fixtures of whole runs: a platform of one's own, and each scenario told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from worlds import Story, World, make_world, plant_markers


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A platform that is up, with markers in it."""
    made = make_world(tmp_path)
    made.platform.up(lambda line: None, fresh=True)
    plant_markers(made)
    yield made
    made.platform.down(lambda line: None)


@pytest.fixture(scope="session")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Story]]:
    """Runs a scenario by the command line, once a session."""
    told: dict[str, Story] = {}
    worlds = ExitStack()

    def story(name: str) -> Story:
        if name not in told:
            world = make_world(tmp_path_factory.mktemp(name), scenario=name)
            worlds.callback(world.platform.down, lambda line: None)
            world.platform.up(lambda line: None, fresh=True)
            plant_markers(world)
            done = world.command("run", str(world.file))
            told[name] = Story(name, world, done.returncode, done.stdout + done.stderr)
        return told[name]

    with worlds:
        yield story
