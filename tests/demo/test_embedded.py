"""The embedded server: started anywhere, found again, and cleared up after a crash."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import ToolError
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.server import free_port


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "deep" / "down", {"fsync": "off"})
    yield made
    made.stop("immediate")


def pid(server: Server) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def test_it_starts_in_a_folder_that_is_its_users_alone_and_wants_its_password(
    embedded: Server,
) -> None:
    embedded.folder.parent.mkdir(mode=0o700)
    embedded.start()
    with Database(Target.parse(embedded.url())) as db:
        assert db.value("SELECT current_setting('listen_addresses')") == "127.0.0.1"
    assert embedded.folder.parent.stat().st_mode & 0o777 == 0o700
    assert (embedded.folder / "password").stat().st_mode & 0o077 == 0


def test_it_never_runs_as_root(embedded: Server) -> None:
    embedded.start()
    assert psutil.Process(pid(embedded)).uids().effective != 0


def test_it_runs_the_programs_of_the_folder_that_it_is_given(
    other_installation: Path, tmp_path: Path
) -> None:
    other = Server(tmp_path / "server", {"fsync": "off"}, other_installation)
    try:
        assert psutil.Process(pid(other.start())).exe() == str(other_installation / "postgres")
    finally:
        other.stop("immediate")


def test_starting_twice_is_starting_once(embedded: Server) -> None:
    first = embedded.start().port
    assert Server(embedded.folder).start().port == first


def test_a_server_that_is_not_running_says_how_to_start_it(embedded: Server) -> None:
    with pytest.raises(ToolError, match="is not running\n→ start it"):
        embedded.port  # noqa: B018


def test_after_a_crash_it_starts_again_with_its_data(embedded: Server) -> None:
    embedded.start()
    with Database(Target.parse(embedded.url())) as db:
        db.execute("CREATE TABLE kept (id int)")
    crashed = psutil.Process(pid(embedded))
    os.kill(crashed.pid, signal.SIGKILL)
    crashed.wait(60)
    for orphan in [
        p
        for p in psutil.process_iter(["name", "cwd"])
        if p.info["name"] == "postgres" and p.info["cwd"] == str(embedded.data)
    ]:
        orphan.wait(60)  # they notice that their parent is gone
    embedded.start()
    with Database(Target.parse(embedded.url())) as db:
        assert db.value("SELECT to_regclass('kept') IS NOT NULL")


def test_a_lock_file_whose_number_is_another_programs_by_now_does_not_stop_it(
    embedded: Server,
) -> None:
    embedded.start().stop()
    (embedded.data / "postmaster.pid").write_text(
        f"{os.getpid()}\n{embedded.data}\n0\n5432\n\n127.0.0.1\n0 0\nready\n"
    )
    assert not embedded.running()
    embedded.start()
    assert pid(embedded) != os.getpid() and psutil.pid_exists(os.getpid())


def test_an_interrupted_initdb_is_begun_anew(embedded: Server) -> None:
    embedded.data.mkdir(parents=True)
    (embedded.data / "half").touch()
    assert embedded.start().running()


def test_a_port_that_was_taken_meanwhile_is_not_the_end_of_it(
    embedded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]
        offered = iter(ports)
        monkeypatch.setattr("runbook_lib.postgres.server.free_port", lambda: next(offered))
        assert embedded.start().port == ports[1]


def test_a_server_that_ends_while_it_starts_says_why(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"(?s)ended while it started.*no_such_setting"):
        Server(tmp_path / "server", {"no_such_setting": "on"}).start()
