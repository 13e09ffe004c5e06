"""Messages: delivered or not, recorded either way, and no secret of an address shown."""

import json
import threading

import pytest

from runbook_lib.service import notify


def test_a_json_receiver_gets_the_message(application):
    url = application.url.replace("http", "json") + "/operations"
    sent = notify.send({"operations": [url]}, ["operations"], "Maintenance starts", "Reads only.")
    (path, body), = application.received
    assert (path, body["title"], body["message"]) == ("/operations", "Maintenance starts", "Reads only.")
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
    (delivery,) = notify.send({"a": [address]}, ["a"], "t", "b").deliveries
    assert not delivery.delivered and why in delivery.why


def test_nobody_listens_is_recorded_too():
    assert notify.send({}, ["operations"], "t", "b").failed[0].to == "nobody"


def test_a_receiver_that_hangs_does_not_hold_the_run(monkeypatch):
    monkeypatch.setattr(notify, "_apprise", lambda *_: (threading.Event().wait(1), "")[1])
    (delivery,) = notify.send({"a": ["json://127.0.0.1/"]}, ["a"], "t", "b", timeout_s=0.1).deliveries
    assert delivery.why == "no answer within 0.1 s"


def test_one_that_fails_does_not_keep_others_from_being_told(application, closed_port):
    urls = [f"json://127.0.0.1:{closed_port}/", application.url.replace("http", "json") + "/"]
    sent = notify.send({"a": urls}, ["a"], "t", "b")
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
    urls = [f"json://user:secretword@127.0.0.1:{closed_port}/secretword", "nosuchservice://host/secretword", "tgram://secretword/1"]
    sent = notify.send({"a": urls}, ["a"], "t", "b")
    out, err = capfd.readouterr()
    assert "secretword" not in str(sent) + json.dumps(sent.as_dict()) + out + err
