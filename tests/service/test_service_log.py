"""The log: counted from where it stood, whatever happened to it since."""

import json
import os

import pytest

from runbook_lib.check import Status
from runbook_lib.service import log
from runbook_lib.service.levels import count_levels, level_of, span_minutes

BEFORE = "2026-11-23T02:00:00Z INFO up\n2026-11-23T02:10:00Z ERROR an old one\n"
AFTER = "2026-11-23T02:20:00Z INFO fine\n2026-11-23T02:21:00Z ERROR Zebulon Marker\n    at stack\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "application.log"
    file.write_text(BEFORE)
    return file


def judged(file, before, limit):
    return log.checks(log.read(file, before), before, limit)


def append(file, text=AFTER):
    with file.open("a") as opened:
        opened.write(text)


LINES = [
    ("2026-11-23T02:00:00Z ERROR it broke", "error"),
    ("2026-11-23 02:00:00,123 WARNING deprecated ERROR", "warn"),
    ("[error] it broke", "error"),
    ("error: it broke", "error"),
    ("time=1 level=fatal msg=x", "fatal"),
    ("<info> all errors are gone", "info"),
    ("Error: a stack trace's first line", "other"),
    ("    at ERRORS (file.js)", "other"),
    ('{"level":50,"msg":"pino"}', "error"),
    ('{"severity":"CRITICAL","message":"x"}', "fatal"),
    ('{"msg":"\\"level\\":\\"error\\"","level":"info"}', "info"),
    ('{"msg":"no level"}', "other"),
]


@pytest.mark.parametrize(("line", "level"), LINES)
def test_levels_are_found(line, level):
    assert level_of(line.encode()) == level


def test_only_what_is_new_is_counted(path):
    before = log.position(path)
    append(path)
    window = log.since(path, before)
    assert dict(window.levels) == {"info": 1, "error": 1, "other": 1}
    assert (window.errors, window.rotated, window.gaps) == (1, False, ())


def test_no_message_is_shown(path):
    before = log.position(path)
    append(path)
    window = log.since(path, before)
    shown = (
        str(window)
        + window._repr_html_()
        + str(window.new_messages())
        + json.dumps([before.as_dict(), window.as_dict()])
    )
    assert "Zebulon" not in shown and "an old one" not in shown


NEW = [
    (
        'x ERROR The column "Invoice.roomId" does not exist\n',
        "… ERROR The column Invoice.roomId does not exist",
    ),
    (
        "2026-11-23T02:21:00Z ERROR login failed for zebulon@example.invalid, born 1980-01-02\n",
        "ERROR … failed for … .invalid, … #-#-#",
    ),
    (
        '{"level":50,"msg":"failed","err":{"type":"TypeError","code":"P2022","message":"no '
        'Müller"}}\n',
        "failed TypeError P2022 no …",
    ),
]


@pytest.mark.parametrize(("line", "shown"), NEW)
def test_an_error_that_was_not_there_before_is_shown_masked(path, line, shown):
    before = log.position(path)
    append(path, line * 2)
    window = log.since(path, before, ["invoice", "roomid"])
    assert [(kind.text, kind.count) for kind in window.new] == [(shown, 2)]
    assert log.checks(window, before, 9)[1].status is Status.UNKNOWN


def test_an_error_that_was_there_before_is_not_new(path):
    append(path, "x ERROR timeout of pool 17\n")
    before = log.position(path)
    append(path, "x ERROR timeout of pool 4711\n")
    assert log.checks(log.since(path, before), before, 9)[1].status is Status.PASSED


def test_the_first_time_of_a_new_error_is_named_across_a_rotation(path):
    before = log.position(path)
    append(path, "2026-11-23T02:20:00Z ERROR timeout of pool\n")
    path.rename(path.with_name("application.log.1"))
    path.write_text("2026-11-23T02:40:00Z ERROR timeout of pool\n")
    assert [(kind.count, kind.first) for kind in log.since(path, before).new] == [
        (2, "2026-11-23T02:20:00Z")
    ]


def test_a_position_survives_json(path):
    stored = json.loads(json.dumps(log.position(path).as_dict()))
    append(path)
    assert log.since(path, stored).errors == 1


def test_a_renamed_log_is_followed(path):
    before = log.position(path)
    append(path)
    path.rename(path.with_name("application.log.1"))
    path.write_text("2026-11-23T02:30:00Z ERROR in the new file\n")
    window = log.since(path, before)
    assert (window.errors, window.rotated, window.gaps) == (2, True, ())


def test_a_log_that_was_rotated_twice_is_followed(path):
    before = log.position(path)
    append(path)
    path.rename(path.with_name("application-2026-11-23.log"))
    path.write_text("x ERROR second\n")
    path.rename(path.with_name("application.log.1"))
    os.utime(path.with_name("application.log.1"), (4e9, 4e9))
    path.write_text("x ERROR third\n")
    assert log.since(path, before).errors == 3


def test_a_log_that_was_copied_and_truncated_is_followed(path):
    before = log.position(path)
    append(path)
    path.with_name("application.log.1").write_bytes(path.read_bytes())
    path.write_text("x ERROR after\n")
    window = log.since(path, before)
    assert (window.errors, window.rotated, window.gaps) == (2, True, ())


def test_a_truncated_log_without_its_copy_is_a_gap(path):
    before = log.position(path)
    append(path)
    path.write_text("x INFO after\n")
    item, news = judged(path, before, 100)
    assert news.status is Status.UNKNOWN
    assert item.status is Status.UNKNOWN
    assert "not found" in item.found


def test_other_logs_beside_it_are_not_read(path):
    before = log.position(path)
    path.rename(path.with_name("application.log.1"))
    path.with_name("application-worker.log").write_text("x ERROR of another\n" * 9)
    path.write_text("")
    assert log.since(path, before).errors == 0


def test_a_log_that_comes_later_is_read_whole(tmp_path):
    before = log.position(tmp_path / "application.log")
    (tmp_path / "application.log").write_text(AFTER)
    assert log.since(tmp_path / "application.log", before).errors == 1


def test_the_rate_is_held_against_the_limit(path):
    before = log.position(path)
    append(path, AFTER * 3)
    assert judged(path, before, 3)[0].status is Status.PASSED
    assert judged(path, before, 2.5)[0].status is Status.FAILED


def test_a_rate_that_was_there_before_is_no_rise(path):
    append(path, "2026-11-23T02:10:30Z ERROR again\n" * 49)
    before = log.position(path)
    append(path, "x ERROR\n" * 4)
    item = judged(path, before, 1)[0]
    assert item.status is Status.PASSED
    assert "a minute before" in item.found


@pytest.mark.parametrize("content", [b"\x00\x01\x02" * 100, None])
def test_a_binary_or_missing_log_could_not_be_checked(path, content):
    before = log.position(path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert {item.status for item in judged(path, before, 1)} == {Status.UNKNOWN}


def test_a_folder_could_not_be_checked(tmp_path):
    assert {item.status for item in judged(tmp_path, log.position(tmp_path), 1)} == {Status.UNKNOWN}


def test_more_news_than_are_read_are_a_part(path, monkeypatch):
    monkeypatch.setattr(log, "LARGEST_WINDOW", 200)
    before = log.position(path)
    append(path, "x ERROR e\n" * 100)
    window = log.since(path, before)
    assert window.size == 200 and window.errors == 20
    assert "only the newest" in window.gaps[0]


def test_a_line_longer_than_a_chunk_is_one_line(path, monkeypatch):
    before = log.position(path)
    monkeypatch.setattr(log, "CHUNK", 64)
    append(path, "x ERROR " + "y" * 1000 + "\nx INFO z\n")
    assert dict(log.since(path, before).levels) == {"error": 1, "info": 1}


def test_a_sparse_log_of_five_gigabytes_is_read_from_its_position(path):
    with path.open("r+b") as file:
        file.truncate(5 * 2**30)
    before = log.position(path)
    append(path, "\n" + AFTER)
    assert log.since(path, before).errors == 1


def test_the_time_that_lines_span_is_read_from_them():
    assert span_minutes(BEFORE.encode()) == 10
    assert span_minutes(b"no time\n") is None
    assert count_levels(b"\n\n") == {}
