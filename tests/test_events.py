"""The events of a journal are a closed set: what is written has its kind and fields, what a
later version wrote is passed over.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.events import KINDS, event
from runbook_lib.show.night import Proofs, lanes
from runbook_lib.show.words import sentence
from runbook_lib.state import cause, derive

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


def _line(second: int, what: str, **facts: object) -> dict:
    return {
        "at": f"2026-01-01T00:00:{second:02}.000Z",
        "who": "a",
        "host": "h",
        "what": what,
    } | facts


def test_a_second_outage_of_the_same_night_counts_and_the_lane_shows_what_the_history_says() -> (
    None
):
    """Opened again, then closed for the way back: the downtime is that of both, and is not known
    while one goes on.
    """
    on, off = {"phase": "announce"}, {"phase": "close", "verified": True}
    night = [
        START,
        _line(1, "maintenance on", **on),
        _line(3, "maintenance off", **off),
        _line(5, "maintenance on", **on),
    ]
    assert derive(night).summary["downtime_s"] is None
    ended = derive([*night, _line(9, "maintenance off", **off)])
    assert ended.summary["downtime_s"] == 6.0
    assert [(start[17:19], (end or "")[17:19]) for start, end in ended.maintenance] == [
        ("01", "03"),
        ("05", "09"),
    ]


def test_the_night_rests_on_the_attempt_that_began_the_migration_and_not_on_what_met_its_rest() -> (
    None
):
    """Killed in the middle, opened again out of order, resumed: each view tells the kernel's
    end.
    """
    process, night = {"pid": 1, "host": "h"}, [START]
    begun = {"phase": "migrate", "notebook": "60_migrate.ipynb", "process": process}
    night += [
        _line(1, "phase begun", **begun),
        _line(2, "migration begun", files=["1_x"]),
        _line(3, "phase begun", **begun, closes="its kernel ended without saying how"),
        _line(4, "refused", phase="migrate", reason="the gate was not passed"),
        _line(5, "phase ended", phase="migrate", outcome="aborted", reason="killed", killed=True),
        _line(6, "phase begun", **begun),
        _line(7, "checks", phase="migrate", checks="health", passed=1, failed=["s"], unknown=[]),
        _line(8, "phase ended", phase="migrate", outcome="failed", reason="one is unfinished"),
    ]
    phases = derive(night).phases
    why = cause(phases)
    assert why and why["reason"] == "its kernel ended without saying how"
    drawn = [{**one, "mark": "", "sign": "", "word": "", "proof": "", "href": ""} for one in phases]
    named = {one.name: one for one in lanes(drawn, night, Proofs([], []))}
    assert named["failures"].words.endswith("2 failures")
    assert "the attempt before it: its kernel ended" in sentence(night[3])


def test_a_way_back_that_was_decided_comes_next_and_not_the_phase_that_it_leads_back_from() -> None:
    process = {"pid": 1, "host": "h"}
    night = [START]
    for phase, outcome in (("migrate", "failed"), ("rollback", "waiting")):
        night += [
            _line(1, "phase begun", phase=phase, notebook=f"{phase}.ipynb", process=process),
            _line(2, "phase ended", phase=phase, outcome=outcome),
            _line(2, "run ended", outcome=outcome),
        ]
    assert derive(night).next == ("waiting", "rollback")
    decided = _line(3, "gate approved", gate="rollback", reason="yes")
    assert derive([*night, decided]).next == ("next", "rollback")
    refused = _line(3, "gate refused", gate="rollback", reason="no")
    assert derive([*night, refused]).next == ("refused", "rollback")
