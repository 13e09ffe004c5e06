"""Telling people: what every phase sends, recorded with its failures."""

from __future__ import annotations

from typing import Any

from runbook_lib.params import dereference
from runbook_lib.phases.base import Phase
from runbook_lib.service import notify
from runbook_lib.table import Table


def tell(phase: Phase, audience: str, occasion: str, title: str, body: str) -> Any:
    """Send a message to an audience of the parameters, and record what became of it; a failure never stops a run.

    Args:
        audience: a key of `notify.audiences`.
        occasion: what it is about in one word: planned, started, progress, done, failed, rolled back.

    Returns:
        what was sent, with each delivery; a table that says so where the audience is not configured.
    """
    urls = phase.params.notify.audiences.get(audience)
    if not urls:
        phase.run.journal("not notified", audience=audience, occasion=occasion, why="notify.audiences has no such audience")
        return Table(f"{audience}: nobody was told — `notify.audiences.{audience}` is not set", ("audience", "result"), [])
    resolved = {audience: [dereference(url, f"notify.audiences.{audience}") for url in urls]}
    sent = notify.send(resolved, [audience], title, f"{body}\nRun: {phase.run.id}")
    phase.run.journal("notified", audience=audience, occasion=occasion, title=title, deliveries=sent.as_dict())
    return sent
