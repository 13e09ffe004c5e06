"""Parameters are typed and strict, and secrets are given by reference only."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib import params
from runbook_lib.errors import UsageError
from runbook_lib.redact import redact

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def values() -> dict[str, Any]:
    return params.load(ROOT / "params" / "demo.yaml")


@pytest.mark.parametrize("name", ["demo", "staging", "production"])
def test_every_parameter_file_of_the_project_is_valid(name: str) -> None:
    assert params.parse(params.load(ROOT / "params" / f"{name}.yaml")).environment.name == name


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("colour",), "red", "`colour`: unknown key"),
        (("backup", "wrong"), 1, "`backup.wrong`: unknown key"),
        (("migrate", "lock_timeout_s"), "5", "`migrate.lock_timeout_s` (str given)"),
        (("migrate", "lock_timeout_s"), -1, "greater than 0"),
        (("environment", "production"), "false", "`environment.production` (str given)"),
        (("environment", "name"), "Prod 1", "`environment.name`"),
        (("database", "url"), "postgresql://u:secretword@h/d", "a secret is given by reference"),
        (("service", "url"), "http://u:secretword@h/", "a URL with a password in it is refused"),
        (("service", "token"), "secretword", "a secret is given by reference"),
        (
            ("migrate", "window"),
            {"start": "2026-11-24 04:00", "end": "2026-11-24 02:00", "time_zone": "Europe/Berlin"},
            "`end` must be after",
        ),
        (
            ("migrate", "window"),
            {"start": "2026-11-24 02:00", "end": "2026-11-24 04:00", "time_zone": "Mars/Base"},
            "no time zone",
        ),
        (("recovery",), {"provider": "tape"}, "`recovery` (dict given)"),
        (
            ("recovery",),
            {"provider": "local", "archive": "wal"},
            "`recovery.base_backups`: is missing",
        ),
        (
            ("recovery",),
            {"provider": "local", "archive": "wal", "base_backups": "b", "max_age_hours": "24"},
            "`recovery.max_age_hours` (str given)",
        ),
        (
            ("recovery",),
            {"provider": "rds", "instance": "Clinic", "region": "eu-central-1"},
            "`recovery.instance` (str given)",
        ),
        (
            ("recovery",),
            {
                "provider": "rds",
                "instance": "clinic",
                "region": "eu-central-1",
                "secret_key": "secretword",
            },
            "`recovery.secret_key`: unknown key",
        ),
        (
            ("recovery",),
            {
                "provider": "command",
                "check": "c",
                "recover": "r",
                "discard": "d",
                "folder": "f",
                "url": "postgresql://u:secretword@h/d",
            },
            "a secret is given by reference",
        ),
        (
            ("monitoring", "probes"),
            [{"name": "both", "url": "http://h", "command": "true"}],
            "either `url` or `command`",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(
    values: dict[str, Any], path: tuple[str, ...], value: Any, said: str
) -> None:
    section = values
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(UsageError) as refused:
        params.parse(values)
    assert said in str(refused.value)
    assert "secretword" not in str(refused.value)


@pytest.mark.parametrize("key", ["environment", "engineer", "database", "prisma", "backup"])
def test_a_missing_section_is_named(values: dict[str, Any], key: str) -> None:
    del values[key]
    with pytest.raises(UsageError, match=f"`{key}`: is missing"):
        params.parse(values)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "is not YAML"), ("- 1", "holds no mapping"), ("\x00", "is not YAML")],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        params.load(tmp_path / "p.yaml")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match="nowhere.yaml cannot be read"):
        params.load(Path("nowhere.yaml"))


def test_a_reference_is_resolved_and_hidden_from_then_on(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_URL", "postgresql://u:hidden-word@h/d")
    assert params.dereference("env:THE_URL", "k") == "postgresql://u:hidden-word@h/d"
    (tmp_path / "secret").write_text("other-hidden-word\n")
    assert params.dereference(f"file:{tmp_path}/secret", "k") == "other-hidden-word"
    assert "hidden-word" not in redact("it is postgresql://u:hidden-word@h/d and other-hidden-word")


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/nowhere/at/all"])
def test_a_reference_that_leads_nowhere_names_the_key(reference: str) -> None:
    with pytest.raises(UsageError, match="`database.url` refers to"):
        params.dereference(reference, "database.url")


def test_papermills_text_keys_are_as_good_as_yamls_numbers(values: dict[str, Any]) -> None:
    numbers = copy.deepcopy(values)
    numbers["people"]["severity_audiences"] = {1: ["operations"]}
    assert params.parse(numbers).people.severity_audiences == {"1": ["operations"]}


@pytest.mark.parametrize("name", ["staging", "production"])
def test_each_provider_of_the_commented_examples_is_valid(name: str) -> None:
    lines = (
        (ROOT / "params" / f"{name}.yaml").read_text().partition("# recovery:")[2].splitlines()[1:]
    )
    blocks = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines).split("\n\n")
    found = [
        params.parse(
            params.load(ROOT / "params" / f"{name}.yaml") | {"recovery": yaml.safe_load(block)}
        ).recovery
        for block in blocks
    ]
    assert [one.provider for one in found if one] == ["local", "rds", "command"]
