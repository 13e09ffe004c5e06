"""Fixtures of the service's tests: a running application, and a port where nothing listens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_application import Application, serving

from runbook_lib.postgres.server import free_port


@pytest.fixture
def application() -> Iterator[Application]:
    """A running application."""
    with serving(Application()) as made:
        yield made


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    return free_port()
