"""Fixtures of the service's tests: a running application, and a port where nothing listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from small_application import Application, serving


@pytest.fixture
def application() -> Iterator[Application]:
    """A running application."""
    with serving(Application()) as made:
        yield made


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]
