"""Fixtures of the service's tests: a running application, and a port where nothing listens."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from small_application import Application


@pytest.fixture
def application() -> Iterator[Application]:
    """A running application."""
    server = Application()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]
