"""What can happen in a run: the closed set of events that a journal holds, each with its fields.

An event of another kind, or with other fields, is refused when it is written. Reading is generous:
the archive of a later version may hold kinds that are not known here; they are shown by their name,
and change nothing that is derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

Text = str | None
Names = list[str]
Number = float | None
Status = Literal["succeeded", "failed", "waiting", "aborted", "unknown"]
Outcome = Literal["running", "waiting", "succeeded", "failed", "rolled_back", "aborted", "unknown"]
_SWAP = {"way": str, "backup": str, "live": str, "restored": str, "failed": str}
_POINT = {"name": str, "lsn": str, "time": str, "segment": str, "not_named": str}

KINDS: Mapping[str, Mapping[str, Any]] = {
    # the run and its phases: what run.json is derived from
    "run started": {
        "run_id": str,
        "number": int,
        "environment": str,
        "production": bool,
        "engineer": str,
        "target": dict[str, Any],
        "migrations": Names,
        "started_at": str,
    },
    "run ended": {"outcome": Outcome},
    "resumed": {},
    "opened in JupyterLab": {},
    "phase begun": {
        "phase": str,
        "notebook": str,
        "process": dict[str, Any],
        "closes": (Text, None),
    },
    "phase taken up again": {"phase": str},
    "phase ended": {
        "phase": str,
        "outcome": Status,
        "failed_checks": (Names, []),
        "reason": (str, ""),
        "killed": (bool, False),
    },
    "refused": {"phase": str, "reason": str},
    "looked at again": {"phase": str, "passed": bool, "lacking": Names},
    "database pinned again": {"target": dict[str, Any]},
    # who has the database
    "lease taken": {"phase": str},
    "lease taken over": {"phase": str, "before": str},
    "lease released": {"phase": str},
    "lease not released": {"phase": str, "why": str},
    "lease not recorded": {"phase": str, "why": str},
    # checks, gates, the checklist
    "checks": {"phase": str, "checks": str, "passed": int, "failed": Names, "unknown": Names},
    "gate waits": {"gate": str, "could_not_check": Names},
    "gate approved": {"gate": str, "reason": str},
    "gate refused": {"gate": str, "reason": str},
    "gate passed": {"gate": str, "approved_by": str, "could_not_check": Names},
    "checklist item done": {"item": str, "text": str, "note": str},
    "plan sealed": {"hash": str},
    "rehearsal waived": {"why": str},
    # people
    "notified": {
        "audience": str,
        "occasion": str,
        "title": str,
        "deliveries": list[dict[str, Any]],
    },
    "not notified": {"audience": str, "occasion": str, "title": str, "why": str},
    "template not used": {"occasion": str, "why": str},
    "escalated": {"phase": str, "severity": str, "failures": Names},
    "escalation step": {
        "phase": str,
        "severity": str,
        "escalated_at": str,
        "after": float,
        "told": Names,
        "tried": int,
        "delivered": int,
    },
    "acknowledged": {"note": str, "escalations": Names},
    "lessons learned": {"text": str},
    # the application
    "maintenance on": {"phase": str},
    "maintenance not switched": {"phase": str},
    "maintenance off": {"phase": str, "verified": bool},
    **{
        f"application {action}": {"seconds": float}
        for action in ("stop", "start", "restart", "previous")
    },
    "client generated": {"seconds": float},
    # what leads back
    "backup made": {"folder": str, "bytes": int, "seconds": dict[str, float]},
    "backup proven": {
        "folder": str,
        "proven_at": Text,
        "proven_on": Text,
        "restore_s": Number,
        "way_back_s": Number,
    },
    "base backup proven": {"folder": str, "proven_at": str, "recover_s": float},
    "restore point made": _POINT,
    "saved what will be dropped": {
        "folder": str,
        "sha256": str,
        "rows": int,
        "plan": Text,
        "columns": list[Any],
        "tables": list[Any],
    },
    # the migration
    "migration begun": {"files": Names, "forecast_s": (Number, None)},
    "applied already": {"files": Names},
    "attempt ended": {
        "number": int,
        "outcome": Literal["succeeded", "failed", "interrupted"],
        "guard": list[dict[str, Any]],
        "most_victims": int,
        "longest_wait_s": float,
        "seconds": (Number, None),
        "sqlstate": (Text, None),
        "cause": (Text, None),
        "not_again": (Text, None),
    },
    "migration failed": {
        "code": Text,
        "sqlstate": Text,
        "file": Text,
        "cause": str,
        "blockers": Names,
        "now": str,
    },
    "migration interrupted": {"blockers": Names, "told": str, "now": str},
    "migration ended": {
        "files": Names,
        "seconds": float,
        "attempts": int,
        "told_by": (Text, None),
    },
    "watch interrupted": {"reasons": Names},
    "cancel asked for": {"by": str},
    "blocker is ended": {"pid": int, "session": str, "reason": str},
    "blocker ended": {"pid": int, "how": str},
    "blocker was not ended": {"pid": int, "why": str},
    # the way back
    "rollback decided": {"way": str, "by": str},
    "swap begun": _SWAP,
    "swap ended": {**_SWAP, "seconds": float, "sequences_moved_on": (Names, [])},
    "swap refused": {**_SWAP, "reason": str},
    "rows left behind saved": {
        "folder": str,
        "rows": int,
        "tables": Names,
        "unsaved": dict[str, Any],
    },
    "recovery begun": {"point": str, "provider": str},
    "recovery ended": {"point": str},
    "recovered database dumped": {"folder": str, "bytes": int},
    "instance replaced": {"live": str, "failed": str, "endpoint": str, "seconds": float},
    "repaired": {"step": str},
    "resolved": {"files": Names, "marked": str, "proof": (Text, None)},
    "rolled back": {"way": str, "reasons": Names},
    "reinstated": {"folder": str, "sha256": str, "seconds": float, "open": list[Any]},
    # the record
    "run sealed": {},
    "seal opened": {"manifest": Text, "not_as_sealed": (Names | None, None)},
    "notebook damaged": {"notebook": str},
    "not mirrored": {"place": str, "why": str},
}
"""The kinds of events and their fields: a type, or a type and what the field is where it is not
given.
"""


def event(what: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as it is written, every field of its kind and no other.

    Raises:
        ValueError: there is no such kind, or its fields are others.
    """
    if what not in KINDS:
        raise ValueError(f"{what!r} is no kind of event: see runbook_lib.events")
    try:
        _model(what)(**facts)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise ValueError(f"the event {what!r}: {wrong}") from None
    return {"what": what, **facts}


@cache
def _model(what: str) -> type[BaseModel]:
    fields = {
        name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in KINDS[what].items()
    }
    model: type[BaseModel] = create_model(  # type: ignore[call-overload]  # fields by name
        what, __config__=ConfigDict(extra="forbid"), **fields
    )
    return model
