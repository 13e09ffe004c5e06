"""Switch maintenance mode by a command or a request.

It is seen through the application instead of assumed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.check import Check, Checks, check, not_configured, unknown
from runbook_lib.errors import ToolError
from runbook_lib.process import Completed, run
from runbook_lib.service.http import Answer, Reach, Request, ask, at, client, unanswered

if TYPE_CHECKING:
    import httpx

EVERY_S = 0.2
"""Seconds between two looks while an application takes the switch up."""


def switch(
    how: str | Request,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    status: int | None = None,
    timeout_s: float = 60.0,
) -> Completed:
    """Switch maintenance mode.

    Args:
        how: a command for `/bin/sh -c`, or a request.
        cwd, env: for a command.
        status: that the request must be answered with; default: any from 200 to 299.

    Raises:
        ToolError: it failed, or took too long.
    """
    remedy = "correct `service.maintenance`; the application is as it was, look at its health"
    if isinstance(how, str):
        return run(how, cwd=cwd, env=env, timeout_s=timeout_s, remedy=remedy)
    with client(how.url) as session:
        answer = ask(session, how, timeout_s)
    if answer.reach is not Reach.ANSWERED or not (
        answer.status == status if status else 200 <= answer.status < 300
    ):
        wanted = f", expected {status}" if status and answer.status else ""
        raise ToolError(
            f"maintenance mode was not switched: {how}: {answer}{wanted}",
            remedy,
            status=answer.status or None,
        )
    return Completed(str(how), 0, "", answer.ms / 1000)


def seen(
    base_url: str,
    health: str,
    expected: bool,
    *,
    key: str = "maintenance",
    write: Mapping[str, Any] | None = None,
    token: str | None = None,
    within_s: float = 5.0,
    timeout_s: float = 10.0,
) -> Checks:
    """Maintenance mode as it is seen through the application.

    A write is tried only where maintenance mode is expected and health confirms it: anywhere else
    it could get through.

    Args:
        base_url: of the application.
        health: the path of its health endpoint.
        expected: whether maintenance mode should be on.
        key: dotted path of the flag in the health endpoint's JSON.
        write: a request that writes: `path`, and optionally `method` (POST) and `json`.
        token: a bearer token for that request; never shown.
        within_s: seconds in which the application may take the switch up.
        timeout_s: seconds after which a request counts as hanging.
    """
    base = base_url.rstrip("/")
    with client(base) as session:
        says = _says(
            session, Request(base + health, token=token), key, expected, within_s, timeout_s
        )
        checks = [says]
        if expected:
            checks.append(_refuses(session, base, says, write, token, timeout_s))
    return Checks(f"Maintenance mode is {'on' if expected else 'off'}", checks)


def _says(
    session: httpx.Client,
    request: Request,
    key: str,
    expected: bool,
    within_s: float,
    timeout_s: float,
) -> Check:
    """What health says, asked until it says what is expected or the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        said = _judge(ask(session, request, timeout_s), key, expected)
        if said.status.mark == "good" or time.monotonic() + EVERY_S > deadline:
            return said
        time.sleep(EVERY_S)


def _judge(answer: Answer, key: str, expected: bool) -> Check:
    id, title = (
        "maintenance.health",
        f"the application says that maintenance mode is {'on' if expected else 'off'}",
    )
    wanted = f"`{key}` is {str(expected).lower()}"
    if answer.reach is not Reach.ANSWERED:
        return unanswered(id, title, answer, wanted)
    try:
        flag = at(answer.document(), key)
    except (ValueError, KeyError):
        return unknown(
            id,
            title,
            f"{answer}: its JSON has no `{key}`",
            wanted,
            "set `service.maintenance.health_key` and `service.health`",
        )
    if not isinstance(flag, bool):
        return unknown(
            id,
            title,
            f"{answer}: `{key}` is neither true nor false",
            wanted,
            "set `service.maintenance.health_key`",
        )
    remedy = (
        f"run the command of `service.maintenance.{'enable' if expected else 'disable'}` by hand, "
        "and see what it does"
    )
    return check(
        id,
        title,
        flag is expected,
        f"`{key}` is {str(flag).lower()} ({answer.status})",
        wanted,
        remedy,
    )


def _refuses(
    session: httpx.Client,
    base: str,
    says: Check,
    write: Mapping[str, Any] | None,
    token: str | None,
    timeout_s: float,
) -> Check:
    id, title, expected = "maintenance.write", "the application refuses to write", "503"
    if not write:
        return not_configured(id, title, "service.maintenance.write")
    request = Request(
        base + write["path"], write.get("method", "POST"), token, write.get("json", {})
    )
    if says.status.mark != "good":
        return unknown(
            id, title, f"{request} was not tried: it could have got through", expected, says.remedy
        )
    answer = ask(session, request, timeout_s)
    if answer.reach is not Reach.ANSWERED:
        return unanswered(id, title, answer, expected)
    found = f"{request}: {answer.status}"
    if answer.status in (401, 403, 404, 405):
        return unknown(
            id,
            title,
            f"{found}: it did not come as far as maintenance mode",
            expected,
            "correct `service.maintenance.write` and `service.token`",
        )
    if answer.status < 300:
        found += ": it was accepted, and may have written a row"
    return check(
        id,
        title,
        answer.status == 503,
        found,
        expected,
        "stop the application (`service.stop`), or correct its maintenance mode",
    )
