"""What people are told, in whose words, and at what time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from runbook_lib.errors import UsageError
from runbook_lib.params import Window
from runbook_lib.service import messages
from runbook_lib.service.messages import OCCASIONS, VARIABLES
from runbook_lib.surroundings import Notify

FACTS = {name: f"<{name}>" for name in VARIABLES}
ALWAYS = ("environment", "happens", "true_now", "window", "downtime", "contact", "at", "run")


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_the_words_of_the_package_carry_what_everybody_has_to_know(occasion: str) -> None:
    text = messages.render(occasion, Notify(), FACTS)
    assert [name for name in ALWAYS if f"<{name}>" not in text.title + text.body] == []
    assert "\n" not in text.title and not text.problem
    assert all(
        f"<{name}>" in text.title + text.body
        for name in ("severity", "actions", "runbook", "waited", "call")
    ) == (occasion == "failed")


def test_own_words_replace_those_of_the_package() -> None:
    own = Notify.model_validate(
        {
            "templates": {
                "start": {
                    "title": "Now: {{ environment }}",
                    "body": "Until {{ window }}\n{% include 'facts.txt' %}",
                }
            }
        }
    )
    text = messages.render("start", own, FACTS)
    assert (
        text.title == "Now: <environment>"
        and text.body.startswith("Until <window>")
        and "<contact>" in text.body
    )
    assert messages.render("done", own, FACTS) == messages.render("done", Notify(), FACTS)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ patient }}", "unknown variables: patient"),
        ("{% if severity == '9' %}{{ hidden }}{% endif %}", "unknown variables: hidden"),
        ("{{ window.start }}", "no attribute"),
        ("{% if %}", "no template"),
        ("{{ window | zone }}", "no template"),
        ("{% include 'other.txt' %}", "no template"),
        ("{{ window.__class__.__mro__ }}", "no template"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_refused_with_the_parameters(
    template: str, why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        Notify.model_validate({"templates": {"failed": {"title": "t", "body": template}}})


def test_a_folder_holds_a_file_an_occasion(tmp_path: Path) -> None:
    (tmp_path / "start.txt").write_text("Now: {{ environment }}\n\nUntil {{ window }}\n")
    notify = Notify(template_folder=tmp_path)
    messages.check_folder(notify)
    assert messages.render("start", notify, FACTS) == messages.Text(
        "Now: <environment>", "Until <window>"
    )
    assert (
        messages.render("done", notify, FACTS).title
        == messages.render("done", Notify(), FACTS).title
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("begin.txt", "t\nb", "no such occasion"),
        ("start.txt", "only a title", "a body"),
        ("start.txt", "t\n{{ patient }}", "unknown variables: patient"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, content: str, why: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=why):
        messages.check_folder(Notify(template_folder=tmp_path))


def test_a_folder_that_was_spoilt_meanwhile_keeps_no_message_back(tmp_path: Path) -> None:
    (tmp_path / "start.txt").write_text("t\n{{ patient }}")
    for folder in (tmp_path, tmp_path / "gone"):
        text = messages.render("start", Notify(template_folder=folder), FACTS)
        assert (
            text.title == messages.render("start", Notify(), FACTS).title
            and "cannot be used" in text.problem
        )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (
            "2026-11-29 02:00",
            "2026-11-29 04:00",
            "2026-11-29 02:00 CET – 04:00 CET (2026-11-29 01:00 UTC – 03:00 UTC)",
        ),
        (
            "2026-10-25 01:30",
            "2026-10-25 03:30",
            "2026-10-25 01:30 CEST – 03:30 CET (2026-10-24 23:30 UTC – 2026-10-25 02:30 UTC)",
        ),
        (
            "2026-03-29 01:30",
            "2026-03-29 03:30",
            "2026-03-29 01:30 CET – 03:30 CEST (2026-03-29 00:30 UTC – 01:30 UTC)",
        ),
        (
            "2026-11-29 23:00",
            "2026-11-30 01:00",
            "2026-11-29 23:00 CET – 2026-11-30 01:00 CET (2026-11-29 22:00 UTC – 2026-11-30 00:00 "
            "UTC)",
        ),
    ],
)
def test_a_window_is_said_in_its_own_zone_and_in_utc(start: str, end: str, expected: str) -> None:
    assert (
        messages.span(*Window(start=start, end=end, time_zone="Europe/Berlin").bounds()) == expected
    )


def test_a_window_that_the_change_of_the_clocks_leaves_empty_is_refused() -> None:
    with pytest.raises(ValidationError, match="after"):
        Window(
            start="2026-03-29 02:30", end="2026-03-29 03:15", time_zone="Europe/Berlin"
        )  # from 03:30 to 03:15, as it turns out


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (ZoneInfo("Europe/Berlin"), "2026-10-25 02:30 CEST (2026-10-25 00:30 UTC)"),
        (None, "2026-10-25 00:30 UTC"),
    ],
)
def test_a_moment_too(zone: ZoneInfo | None, expected: str) -> None:
    assert messages.both(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), zone) == expected
