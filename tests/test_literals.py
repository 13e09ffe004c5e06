"""A secret that is written into the parameters is refused wherever it may stand, and never
repeated.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import literals, params
from runbook_lib.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
SECRET = "secretword1234567890"  # not one
PROBE = {"name": "alerting"}


def with_value(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The demo's parameters with another value at one place."""
    values = copy.deepcopy(params.load(ROOT / "params" / "demo.yaml"))
    there: Any = values
    for key in place[:-1]:
        there = there[key] if isinstance(key, int) else there.setdefault(key, {})
    there[place[-1]] = value
    return values


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("notify", "audiences", "operations"), [f"slack://{SECRET}/B/C/#night"]),
        (("notify", "audiences", "operations"), [f"json://host/hooks/{SECRET}"]),
        (("notify", "audiences", "operations"), [f"mailto://dba:{SECRET}@example.invalid"]),
        (("notify", "audiences", "operations"), [f"tgram://{SECRET}/1"]),
        (("people", "contacts", 0, "addresses"), [f"pover://user@{SECRET}"]),
        (("service", "url"), f"https://{SECRET}@example.invalid"),
        (("service", "url"), f"https://example.invalid/?access_token={SECRET}"),
        (("service", "endpoints"), [{"path": f"/me?api_key={SECRET}"}]),
        (("service", "maintenance", "write"), {"path": "/x", "json": {"password": SECRET}}),
        (("service", "maintenance", "write"), {"path": "/x", "json": {"a": [{"token": SECRET}]}}),
        (("service", "maintenance", "enable"), {"path": "/m", "json": {"secret": SECRET}}),
        (("service", "restart"), f"PGPASSWORD={SECRET} restart"),
        (("service", "restart"), f"deploy --token {SECRET}"),
        (("service", "restart"), f"deploy --api-key='{SECRET}'"),
        (
            ("service", "restart"),
            f"curl -H 'Authorization: Bearer {SECRET}' https://example.invalid",
        ),
        (("service", "restart"), f"curl -u admin:{SECRET} https://example.invalid"),
        (("service", "restart"), f"curl -H 'X-Api-Key: {SECRET}' https://example.invalid"),
        (("service", "environment"), {"DB_PASS": SECRET}),
        (("service", "environment"), {"STRIPE_SECRET_KEY": SECRET}),
        (("prisma", "environment"), {"SHADOW": f"postgresql://u:{SECRET}@h/d"}),
        (("monitoring", "probes"), [{**PROBE, "url": f"https://u:{SECRET}@example.invalid"}]),
        (("monitoring", "probes"), [{**PROBE, "command": f"probe --password={SECRET}"}]),
        (
            ("monitoring", "probes"),
            [{**PROBE, "url": "https://a.invalid", "expect": {"x": f"ghp_{SECRET}"}}],
        ),
        (("engineer",), f"xoxb-{SECRET}"),
        (("database", "url"), f"postgresql://u:{SECRET}@h/d"),
        (("backup", "proof"), {"server": f"postgresql://u:{SECRET}@h/d"}),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_literal_secret_is_refused_and_not_repeated(place: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        params.parse(with_value(place, value))
    assert "by reference" in str(refused.value) and place[0] in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (
            ("notify", "audiences", "operations"),
            ["env:SLACK", "json://127.0.0.1:8080/", "syslog://host"],
        ),
        (
            ("service", "restart"),
            'PGPASSWORD=$DB_PASSWORD deploy --token "$TOKEN" --token-file /etc/t',
        ),
        (
            ("service", "restart"),
            'curl -H "Authorization: Bearer $TOKEN" -u "$NAME:$WORD" https://example.invalid',
        ),
        (("service", "restart"), "ssh app-1 'pm2 restart api' && docker compose -p shop up -d"),
        (
            ("service", "environment"),
            {"DB_PASSWORD": "env:DB", "MODE": "fast", "SECRET_FILE": "/run/s", "BYPASS": "1"},
        ),
        (("service", "endpoints"), [{"path": "/me?page=2"}]),
        (("service", "maintenance", "write"), {"path": "/x", "json": {"note": "hello"}}),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_holds_no_secret_is_taken(place: tuple[Any, ...], value: Any) -> None:
    params.parse(with_value(place, value))


@pytest.mark.parametrize(
    "name", ["PGPASSWORD", "apiKey", "AUTH_TOKEN", "SENTRY_DSN", "db_pwd", "PASS"]
)
def test_a_name_of_a_secret_is_known(name: str) -> None:
    assert literals.SECRET_NAME.search(name)
