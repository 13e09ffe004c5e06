"""A connection that stalls is left in time, and nothing untrue is said of the server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import stall
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.reading import reading

NAME = "runbook/test/stall"


class Proxy:
    """Stands before a server; once `held` is set it takes everything and passes nothing on."""

    def __init__(self, port: int) -> None:
        self.held, self._port = threading.Event(), port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._port))
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.held.is_set():
                    to.sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def proxy(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(stall, "GRACE_S", 0.5)
    made = Proxy(target.port)
    yield made
    made.close()


@pytest.fixture
def behind(target: Target, proxy: Proxy) -> Target:
    return replace(target, host="127.0.0.1", port=proxy.port)


@pytest.mark.fault(
    "the runbook's connection, stalled",
    "within a statement, in any phase",
    "a query of the runbook",
    "left at its deadline; what the server does is said not to be known",
)
def test_a_statement_whose_answer_is_overdue_ends_and_says_that_the_rest_is_not_known(
    behind: Target, proxy: Proxy
) -> None:
    with Database(behind, NAME, statement_timeout="500ms") as db:
        proxy.held.set()
        with pytest.raises(DatabaseError) as caught:
            db.rows("SELECT 1")
        assert db.connection.closed
    assert "the connection stalls" in caught.value.message
    assert "what the server still does for this session is not known" in caught.value.message
    assert "cancel" not in str(caught.value)


@pytest.mark.fault(
    "the runbook's connection, stalled",
    "within a transaction with a limit of its own",
    "a query of the runbook",
    "left at that deadline, not before",
)
def test_a_transaction_with_a_limit_of_its_own_is_given_that(behind: Target, proxy: Proxy) -> None:
    with Database(behind, NAME, statement_timeout="100ms") as db:
        with reading(db, statement_timeout_s=60):
            assert db.value("SELECT 1 FROM pg_sleep(1.5)") == 1
        stalls = pytest.raises(DatabaseError, match="the connection stalls")
        with stalls, reading(db, statement_timeout_s=0.2):
            proxy.held.set()
            db.rows("SELECT 1")


def test_a_server_that_works_without_a_limit_is_waited_for(behind: Target) -> None:
    with Database(behind, NAME) as db:
        assert db.value("SELECT 1 FROM pg_sleep(1.5)") == 1


@pytest.mark.fault(
    "the runbook's connection, stalled",
    "while it is made, in any phase",
    "a query of the runbook",
    "given up in time",
)
def test_a_connection_that_never_comes_about_is_given_up(behind: Target, proxy: Proxy) -> None:
    proxy.held.set()
    slow = replace(behind, options={"connect_timeout": "2"})
    with pytest.raises(DatabaseError, match="timeout"):
        Database(slow, NAME)


@pytest.mark.parametrize(
    ("text", "value"),
    (
        ("10min", 600),
        ("5s", 5),
        ("500ms", 0.5),
        ("5000", 5),
        ("1h", 3600),
        ("0", None),
        (None, None),
    ),
)
def test_a_limit_is_read_as_the_server_reads_it(text: str | None, value: float | None) -> None:
    assert stall.seconds(text) == value
