"""A receiver of notifications on loopback: appends each message to a file, a JSON object a line."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """Takes what apprise's `json://` sends."""

    log: Path

    def do_POST(self) -> None:
        """Keep a notification in the log."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.log.open("a", encoding="utf-8") as file:
            file.write(
                json.dumps(
                    {"path": self.path, "title": body.get("title"), "message": body.get("message")}
                )
                + "\n"
            )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The file is the log."""


def main(log: Path, address: Path) -> None:
    """Serve for ever on a free port, whose apprise URL is written to `address`."""
    Receiver.log = log
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    address.write_text(f"json://127.0.0.1:{server.server_port}/operations\n")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
