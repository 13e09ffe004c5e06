"""Messages: delivered or not, recorded either way, and no secret of an address shown."""

import json
import socket
import time
from pathlib import Path

import pytest

from runbook_lib.errors import UsageError
from runbook_lib.service import notify

AGAIN = (0.05, 0.05)


def test_a_json_receiver_gets_the_message(application):
    url = application.url.replace("http", "json") + "/operations"
    sent = notify.send({"operations": [url]}, ["operations"], "Maintenance starts", "Reads only.")
    ((path, body),) = application.received
    assert (path, body["title"], body["message"]) == (
        "/operations",
        "Maintenance starts",
        "Reads only.",
    )
    assert sent.deliveries[0].delivered and not sent.failed


def test_a_file_gets_one_line_a_message(tmp_path):
    file = tmp_path / "told.jsonl"
    for number in (1, 2):
        assert not notify.send({"a": [file.as_uri()]}, ["a"], f"t{number}", "b").failed
    assert [json.loads(line)["title"] for line in file.read_text().splitlines()] == ["t1", "t2"]


FAILING = [
    ("file:///no/such/folder/x", "No such file"),
    ("json://127.0.0.1:{closed}/x", "onnection error"),
    ("nosuchservice://host/secretword", "does not understand"),
    ("json://127.0.0.1:{open}/reject", "403"),
]


@pytest.mark.parametrize(("url", "why"), FAILING)
def test_a_failure_is_recorded_and_not_raised(application, closed_port, url, why):
    address = url.format(closed=closed_port, open=application.server_port)
    (delivery,) = notify.send({"a": [address]}, ["a"], "t", "b", pauses_s=AGAIN).deliveries
    assert not delivery.delivered and why in delivery.why
    assert delivery.tries == (1 if "nosuchservice" in url else 3)


def test_nobody_listens_is_recorded_too():
    assert notify.send({}, ["operations"], "t", "b").failed[0].to == "nobody"


@pytest.fixture
def hanging():
    """A receiver that takes the connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"json://127.0.0.1:{server.getsockname()[1]}/"


def test_a_receiver_that_hangs_does_not_hold_the_run(hanging, application):
    began = time.monotonic()
    sent = notify.send(
        {"a": [hanging, application.url.replace("http", "json")]}, ["a"], "t", "b", timeout_s=1
    )
    assert (
        time.monotonic() - began < 4
    )  # its own patience would be four seconds, and that several times
    assert [item.delivered for item in sent.deliveries] == [False, True] and sent.failed[
        0
    ].why == "no answer within 1 s"


def test_a_receiver_that_comes_back_is_told_after_all(application):
    application.refusals = 2
    (delivery,) = notify.send(
        {"a": [application.url.replace("http", "json")]}, ["a"], "t", "b", pauses_s=AGAIN
    ).deliveries
    assert (delivery.delivered, delivery.tries, delivery.why) == (True, 3, "")
    assert len(application.received) == 3


def test_it_is_not_tried_again_for_longer_than_a_message_may_take(application):
    application.refusals = 100
    (delivery,) = notify.send(
        {"a": [application.url.replace("http", "json")]}, ["a"], "t", "b", pauses_s=(0.1, 60)
    ).deliveries
    assert (delivery.delivered, delivery.tries) == (False, 2) and "500" in delivery.why


def test_an_address_whose_reference_leads_nowhere_is_recorded_and_not_raised():
    def resolve(reference):
        raise UsageError("`notify.audiences` refers to the variable NOBODY, which is not set")

    (delivery,) = notify.send({"a": ["env:NOBODY"]}, ["a"], "t", "b", resolve=resolve).deliveries
    assert not delivery.delivered and "NOBODY" in delivery.why


def test_one_that_fails_does_not_keep_others_from_being_told(application, closed_port):
    urls = [f"json://127.0.0.1:{closed_port}/", application.url.replace("http", "json") + "/"]
    sent = notify.send({"a": urls}, ["a"], "t", "b", pauses_s=AGAIN)
    assert [item.delivered for item in sent.deliveries] == [False, True]
    assert json.loads(json.dumps(sent.as_dict()))[1]["audience"] == "a"


SECRET = [
    ("json://user:secretword@host.example/secretword?x=secretword", "json://host.example"),
    ("tgram://secretword/secretword", "tgram://•••"),
    ("slack://secretword/secretword", "slack://•••"),
    ("ntfy://secretword", "ntfy://•••"),
    ("secretword", "•••"),
    ("file:///tmp/told.jsonl", "file told.jsonl"),
    ("json://[secretword", "json://•••"),
]


@pytest.mark.parametrize(("url", "to"), SECRET)
def test_an_address_is_shown_without_its_secrets(url, to):
    assert notify.shown(url) == to


def test_no_secret_is_in_the_record_or_on_the_terminal(closed_port, capfd, caplog):
    urls = [
        f"json://user:secretword@127.0.0.1:{closed_port}/secretword",
        "nosuchservice://host/secretword",
        "tgram://secretword/1",
    ]
    sent = notify.send({"a": urls}, ["a"], "t", "b", pauses_s=())
    out, err = capfd.readouterr()
    assert "secretword" not in str(sent) + json.dumps(sent.as_dict()) + out + err


@pytest.mark.parametrize(
    ("address", "understood"),
    [
        ("file://{folder}/messages.jsonl", True),
        ("file://{folder}/missing/messages.jsonl", False),
        ("json://127.0.0.1:1", True),
        ("nothing://somewhere", False),
    ],
)
def test_what_is_understood_beforehand_is_what_a_message_goes_to(
    tmp_path: Path, address: str, understood: bool
) -> None:
    assert notify.understood(address.format(folder=tmp_path)) == understood
