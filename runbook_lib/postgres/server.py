"""A PostgreSQL server of our own on this machine.

A process that listens on loopback, in a folder of its own.

PostgreSQL refuses to run as root. There it runs as `nobody`, kept able to read its folder wherever
that lies; nothing above the folder has its permissions changed.
"""

from __future__ import annotations

import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from runbook_lib.errors import ToolError

TRIES = 5
"""How often a server is started whose port somebody else has taken meanwhile."""
_PORT_TAKEN = "could not create any TCP/IP sockets"


class LocalServer:
    """The server of the data directory `folder/data`, which is there or is made by a subclass.

    Args:
        folder: holds data and log.
        binaries: PostgreSQL's programs, of the data directory's major version.
        settings: given on the server's command line, where they overrule every file.
        remedy: what to do where it does not run.
    """

    def __init__(
        self, folder: Path, binaries: Path, settings: Mapping[str, str], remedy: str = ""
    ) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.binaries = binaries
        self.settings = dict(settings)
        self._remedy = remedy or f"read {self.log}"

    @property
    def port(self) -> int:
        """The port that the running server listens on.

        Raises:
            ToolError: it is not running.
        """
        if not self.running():
            raise ToolError(f"the PostgreSQL in {self.folder} is not running", self._remedy)
        return int(self._postmaster()[3])

    def running(self) -> bool:
        """Whether the server of this folder runs and takes connections.

        Its process is a postgres with our data folder.
        """
        lines = self._postmaster()
        return len(lines) > 7 and lines[7].strip() == "ready" and self._ours(int(lines[0]))

    def process(self) -> psutil.Process | None:
        """The server's process, also before it takes connections; None where there is none."""
        lines = self._postmaster()
        try:
            return psutil.Process(int(lines[0])) if lines and self._ours(int(lines[0])) else None
        except psutil.NoSuchProcess:
            return None

    def titles(self) -> list[str]:
        """What the server's processes say that they do; those that end meanwhile are left out."""
        found, server = [], self.process()
        with suppress(psutil.NoSuchProcess):  # zombies too
            for child in server.children() if server else ():
                with suppress(psutil.NoSuchProcess):
                    found.append(" ".join(child.cmdline()))
        return found

    def launch(self) -> subprocess.Popen[bytes]:
        """Begin to start it; it is not waited for."""
        self._clear_stale_lock()
        options = [
            part
            for name, value in {"port": str(free_port()), **self.settings}.items()
            for part in ("-c", f"{name}={value}")
        ]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                unprivileged([str(self.binaries / "postgres"), "-D", str(self.data), *options]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env=environment(),
            )

    def start(self) -> LocalServer:
        """Start it where it does not run; returns once it answers.

        Raises:
            ToolError: it ended, or does not answer within a minute; with the end of the log.
        """
        for _ in range(TRIES):
            if self.running():
                break
            self._await(self.launch())
            if _PORT_TAKEN not in self.last_lines():
                break
        if not self.running():
            raise ToolError(
                f"the PostgreSQL in {self.folder} ended while it started: {self.last_lines()}",
                f"read {self.log}",
                output=self.last_lines(),
            )
        return self

    def _await(self, launched: subprocess.Popen[bytes]) -> None:
        """Wait until a server that was launched answers, or has ended."""
        self.wait(lambda: self.running() or launched.poll() is not None, 60, "did not start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` rolls back and shuts down cleanly, `immediate` is a crash."""
        process = self.process()
        if process is None:
            return
        os.kill(
            process.pid,
            {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode],
        )
        self.wait(lambda: not self._ours(process.pid), 60, "did not stop")

    def last_lines(self, count: int = 5) -> str:
        """The end of its log."""
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
            if self.log.exists()
            else ""
        )

    def wait(self, condition: Callable[[], bool], seconds: float, failed: str) -> None:
        """Wait until a condition holds.

        Raises:
            ToolError: it does not hold within that time; with the end of the log.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ToolError(
                    f"the PostgreSQL in {self.folder} {failed} within {seconds:g} s",
                    f"read {self.log}",
                    output=self.last_lines(),
                )
            time.sleep(0.02)

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
        """Remove the lock file of a crashed server.

        Its number may belong to another program by now.
        """
        lines = self._postmaster()
        if lines and not self._ours(int(lines[0])):
            (self.data / "postmaster.pid").unlink()


def unprivileged(command: list[str]) -> list[str]:
    """Return the command as `nobody` if this is root.

    With the right to read through folders that are root's alone.
    """
    user = server_user()
    if user is None:
        return command
    return [
        "setpriv",
        f"--reuid={user[0]}",
        f"--regid={user[1]}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--",
        *command,
    ]


def server_user() -> tuple[int, int] | None:
    """User and group that a server's files have to belong to where this is root.

    Else None: they are our own.
    """
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def give(path: Path) -> None:
    """Make a file or folder the server's."""
    user = server_user()
    if user:
        os.chown(path, *user, follow_symlinks=False)


def environment() -> dict[str, str]:
    """Return this process's variables without those that redirect PostgreSQL's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def free_port() -> int:
    """Return a port of loopback that nobody listens on.

    Below those that the system gives to outgoing connections by itself.
    """
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(15_000, 30_000)))
            return int(probe.getsockname()[1])
