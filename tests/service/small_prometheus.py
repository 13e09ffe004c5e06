"""A server that speaks Prometheus's HTTP API as its documentation has it, and answers as the
tests set it.
"""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Server(ThreadingHTTPServer):
    """Answers as the tests set it; `asked` holds path, arguments and authorization of each
    request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.media, self.wait_s = 200, b"", "application/json", 0.0
        self.asked: list[tuple[str, dict[str, str], str]] = []

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def answers(self, body: Any, status: int = 200, media: str = "application/json") -> None:
        """What it answers from now on."""
        self.status, self.media = status, media
        self.body = body.encode() if isinstance(body, str) else json.dumps(body).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        time.sleep(self.server.wait_s)
        parts = urlsplit(self.path)
        self.server.asked.append(
            (
                parts.path,
                {key: value for key, (value,) in parse_qs(parts.query).items()},
                self.headers["Authorization"] or "",
            )
        )
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.media)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def success(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    """An answer in its documented envelope."""
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def vector(*values: str) -> dict[str, Any]:
    """An instant vector, one series a value."""
    return success(
        "vector",
        [
            {"metric": {"instance": f"db-{n}:9100"}, "value": [1435781451.781, value]}
            for n, value in enumerate(values)
        ],
    )
