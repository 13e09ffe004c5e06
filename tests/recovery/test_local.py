"""Base backup and archived WAL lead back to the point, beside a live server that is left alone."""

from __future__ import annotations

import pytest
from conftest import NAME, World

from runbook_lib.postgres import snapshot
from runbook_lib.postgres.connection import Database


def test_the_recovered_server_holds_what_was_there_at_the_point_and_nothing_later(world: World) -> None:
    lines: list[str] = []
    found = world.local.recover(world.point, world.target, lines.append)
    try:
        print(found); print(lines)
        assert world.before.compare(snapshot.take(found.target, NAME)).identical
        assert world.untouched()
    finally:
        world.local.discard(world.point)
