"""The events of a journal are a closed set: what is written has its kind and fields, what a
later version wrote is passed over.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.events import KINDS, event
from runbook_lib.state import derive

LIBRARY = Path(__file__).resolve().parents[1] / "runbook_lib"
START = {
    "at": "2026-01-01T00:00:00.000Z",
    "who": "a",
    "host": "h",
    "what": "run started",
    "run_id": "r",
    "number": 1,
    "environment": "e",
    "production": False,
    "engineer": "a",
    "target": {},
    "migrations": [],
    "started_at": "2026-01-01T00:00:00.000Z",
}


def written() -> Iterator[tuple[str, ast.Call]]:
    """Every place of the package that writes an event."""
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "journal"
                and node.args
            ):
                yield f"{path.relative_to(LIBRARY)}:{node.lineno}", node


def test_every_event_that_the_package_writes_is_a_kind_with_its_fields() -> None:
    wrong = []
    for place, call in written():
        what = call.args[0]
        names = [one.value for one in ast.walk(what) if isinstance(one, ast.Constant)]
        for name in names if not isinstance(what, (ast.JoinedStr, ast.Subscript)) else []:
            if name not in KINDS:
                wrong.append(f"{place}: {name}")
                continue
            given = {keyword.arg for keyword in call.keywords} - {None, "who"}
            strange = given - KINDS[name].keys()
            open_ended = any(keyword.arg is None for keyword in call.keywords)
            needed = {key for key, kind in KINDS[name].items() if not isinstance(kind, tuple)}
            if strange or (needed - given and not open_ended):
                wrong.append(f"{place}: {name}: {strange or needed - given}")
    assert not [one for one in wrong if "True" not in one], wrong


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ("something else", {}),
        ("phase begun", {"phase": "plan"}),
        ("run ended", {"outcome": "won"}),
        ("run ended", {"outcome": "failed", "more": 1}),
        ("checks", {"phase": "plan", "checks": "a", "passed": "many", "failed": [], "unknown": []}),
    ],
)
def test_an_event_of_no_kind_or_with_other_fields_is_not_written(what: str, facts: dict) -> None:
    with pytest.raises(ValueError, match=what):
        event(what, facts)


def test_what_a_later_version_wrote_is_named_and_changes_nothing() -> None:
    later = {"at": START["at"], "who": "a", "host": "h", "what": "moon phase", "phase": "full"}
    known, more = derive([START]), derive([START, later, {"what": "phase begun"}, {}])
    assert more.summary == known.summary and more.unknown == ["moon phase", "phase begun", ""]
