"""A small application on loopback that behaves well or badly, by path."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Made = TypeVar("Made", bound=ThreadingHTTPServer)

TOKEN = "token-that-nobody-may-see"
PATIENT = "Zebulon Marker"


class Application(ThreadingHTTPServer):
    """What the tests ask; `maintenance` is switched by them, `received` holds what was posted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.maintenance: Any = False
        self.refuses_writes = True
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.asked = 0
        self.refusals = 0
        """How many posts are answered with 500 before one is taken."""
        self.headers: dict[str, str] = {}
        """Of the last post."""

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Application

    def do_GET(self) -> None:
        self.server.asked += 1
        path = self.path.split("?")[0]
        answers = {
            "/health": (
                200,
                {
                    "status": "ok",
                    "maintenance": self.server.maintenance,
                    "items": [{"ready": True}],
                },
            ),
            "/me": (200, {"name": PATIENT})
            if self.headers["Authorization"] == f"Bearer {TOKEN}"
            else (401, {"error": "no"}),
            "/broken": (500, {"error": PATIENT}),
            "/quiet-error": (200, {"error": PATIENT}),
            "/slow": (200, {"status": "ok"}),
            "/plain": (200, "ok"),
            "/error-page": (200, f"<html><title>502 Bad Gateway</title><p>{PATIENT}</p></html>"),
        }
        if path == "/hang":
            time.sleep(3)
        if path == "/drop":
            self.connection.close()
            return
        if path == "/slow":
            time.sleep(0.05)
        self._answer(*answers.get(path, (404, {"error": "not found"})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        self.server.received.append((self.path, body))
        self.server.headers = dict(self.headers)
        if self.server.refusals:
            self.server.refusals -= 1
            return self._answer(500, {"error": "later"})
        if self.path == "/switch":
            self.server.maintenance = body["on"]
            return self._answer(200, {})
        if self.path == "/reject":
            return self._answer(403, {"error": "no"})
        refused = self.server.maintenance is True and self.server.refuses_writes
        self._answer(503 if refused else 201, {})

    def _answer(self, status: int, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header(
            "Content-Type",
            "application/json"
            if not isinstance(body, str)
            else "text/html"
            if "<" in body
            else "text/plain",
        )
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def handle(self) -> None:
        with suppress(
            ConnectionError, ValueError
        ):  # the test went away, or /drop closed the connection
            super().handle()


@contextmanager
def serving(made: Made) -> Iterator[Made]:
    """A server at work, closed at the end."""
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()
