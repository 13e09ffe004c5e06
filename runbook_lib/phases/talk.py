"""Telling people: what every phase sends, recorded with its failures.

Who is told of a failure, when, and who acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from filelock import Timeout

from runbook_lib.check import Check, check, not_configured
from runbook_lib.files import lock
from runbook_lib.params import Params, dereference
from runbook_lib.phases.identity import same_place
from runbook_lib.run import FINAL, Run, later, moment, now, stamp
from runbook_lib.secret import is_reference
from runbook_lib.service import messages, notify, people
from runbook_lib.service.messages import Occasion
from runbook_lib.service.people import Failure
from runbook_lib.table import Shown, Table

if TYPE_CHECKING:
    from runbook_lib.phases.base import Phase

GRAVE = {
    "announce": Failure.PARTIAL_OUTAGE,
    "migrate": Failure.MIGRATION,
    "validate": Failure.VALIDATION,
    "close": Failure.PARTIAL_OUTAGE,
    "rollback": Failure.OUTAGE,
}
"""Phases whose failure is escalated, and what it is called in the matrix. Before them, nothing has
happened to anybody.
"""
BY_CHECK = {
    "content.": Failure.DATA_LOSS,
    "application.": Failure.ERRORS,
    "endpoint": Failure.PARTIAL_OUTAGE,
    "performance.": Failure.SLOW,
    "service.up": Failure.OUTAGE,
}
"""What a failed check means, by how its id begins; any other means what its phase's failure means.
"""
_APPLICATION = {
    "maintenance on": "the application is in maintenance mode: it reads, and does not write",
    "maintenance off": "the application is in service",
    "maintenance not switched": "whether the application is in maintenance mode is not known: "
    "switching it on failed",
}
"""What is true of the application after a line of the journal."""
TRIES = 5
"""How often a step of an escalation is sent that nobody took."""


@dataclass(frozen=True)
class Message(Shown):
    """A message before it is sent.

    Args:
        audiences: keys of `notify.audiences`.
        to: the addresses, without their secrets.
    """

    occasion: Occasion
    audiences: tuple[str, ...]
    to: Mapping[str, tuple[str, ...]]
    text: messages.Text

    def table(self) -> Table:
        """To whom, and every line."""
        to = "; ".join(
            f"{name} ({', '.join(self.to[name])})"
            if self.to.get(name)
            else f"{name} (no address: nobody is told)"
            for name in self.audiences
        )
        rows = [
            ("to", to or "nobody"),
            ("title", self.text.title),
            *map(_line, filter(None, self.text.body.splitlines())),
        ]
        rows += [("remark", self.text.problem)] if self.text.problem else []
        return Table(
            f"The message “{self.occasion.replace('_', ' ')}”, not sent yet",
            ("", "text"),
            rows,
            ["" if self.to else "unknown", *[""] * (len(rows) - 1)],
        )


def _line(line: str) -> tuple[str, str]:
    """A line of a message, what stands before its colon apart."""
    label, colon, rest = line.partition(": ")
    return (label, rest) if colon and len(label) <= 25 else ("", line)


def message(
    run: Run,
    occasion: Occasion,
    happens: str,
    true_now: str,
    *,
    audiences: Sequence[str] | None = None,
    **more: str,
) -> Message:
    """What would be sent now.

    Args:
        happens, true_now: what happens now, and what is true now.
        audiences: keys of `notify.audiences`; default: who hears of the occasion.
        more: further variables of a template (`runbook_lib.service.messages.VARIABLES`).
    """
    params = run.params
    names = tuple(params.notify.hears(occasion) if audiences is None else audiences)
    facts = (
        dict.fromkeys(messages.VARIABLES, "")
        | _facts(run, params)
        | {"happens": happens, "true_now": true_now}
        | more
    )
    to = {
        name: tuple(_shown(url) for url in params.notify.audiences[name])
        for name in names
        if params.notify.audiences.get(name)
    }
    return Message(occasion, names, to, messages.render(occasion, params.notify, facts))


def tell(run: Run, said: Message, *, also: Mapping[str, Sequence[str]] | None = None) -> Any:
    """Send a message, and record what became of it; a failure never stops a run.

    Args:
        also: further addresses, by who is behind them.

    Returns:
        what was sent, with each delivery; a table that says so where there is no address at all.
    """
    everybody = {**{name: run.params.notify.audiences[name] for name in said.to}, **(also or {})}
    title, occasion = said.text.title, said.occasion
    if said.text.problem:
        run.journal("template not used", occasion=occasion, why=said.text.problem)
    for name in said.audiences:
        if name not in said.to:
            run.journal(
                "not notified",
                audience=name,
                occasion=occasion,
                title=title,
                why=f"`notify.audiences.{name}` is not set",
            )
    if not everybody:
        return Table(
            "Nobody was told: `notify.audiences` does not name "
            f"{' or '.join(said.audiences) or 'anybody'}",
            ("audience", "result"),
            [],
        )
    sent = notify.send(
        everybody,
        list(everybody),
        title,
        said.text.body,
        resolve=lambda url: dereference(url, "notify.audiences"),
    )
    for name in everybody:
        run.journal(
            "notified",
            audience=name,
            occasion=occasion,
            title=title,
            deliveries=[one for one in sent.as_dict() if one["audience"] == name],
        )
    return sent


def send_seal(run: Run, sha256: str) -> list[dict[str, Any]]:
    """Send the hash of a run's seal to operations, so that a copy of it stands outside the archive.

    Args:
        sha256: of the seal.

    Returns:
        each delivery; none if `notify.audiences.operations` is not set.
    """
    if not (addresses := run.params.notify.audiences.get("operations")):
        return []
    sent = notify.send(
        {"operations": addresses},
        ["operations"],
        f"{run.id} is sealed",
        f"outcome: {run.outcome}\n"
        f"sha256 of the seal: {sha256}\n"
        "Keep this message. It proves later what the record was:\n"
        f"runbook verify {run.reference} --against {sha256}",
        resolve=lambda url: dereference(url, "notify.audiences"),
    )
    return list(sent.as_dict())


def told(run: Run, phase: str) -> Check:
    """Check that every address in `notify.required` took the message `start`.

    Since the phase was begun.
    """
    required, journal, title = (
        run.params.notify.required,
        run.read_journal(),
        "who has to be told of the start was told",
    )
    if not required:
        return not_configured("notify.required", title, "notify.required")
    begun = max(
        (
            line["at"]
            for line in journal
            if line["what"] == "phase begun" and line["phase"] == phase
        ),
        default="",
    )
    newest = {
        line["audience"]: line["deliveries"]
        for line in journal
        if line["what"] == "notified" and line["occasion"] == "start" and line["at"] >= begun
    }
    missed = [f"{name}: the message was not sent" for name in required if name not in newest]
    missed += [
        f"{name}: {one['to']} ({one['why']})"
        for name in required
        for one in newest.get(name, [])
        if not one["delivered"]
    ]
    return check(
        "notify.required",
        title,
        not missed,
        "; ".join(missed) or ", ".join(required),
        ", ".join(required),
        "send it again; or tell them otherwise, and correct `notify` for a new run",
    )


def is_grave(phase: Phase) -> bool:
    """Whether a failure of a phase is escalated.

    Before maintenance mode or the migration, nothing has happened to anybody.
    """
    harmless = phase.name in ("announce", "migrate") and not phase.run.derived.migrating
    return phase.name in GRAVE and (not harmless or bool(phase.run.derived.outages))


def _kind(phase: Phase) -> Failure:
    """Return what a phase's failure is called.

    A migration that was never begun has not failed: it keeps the application waiting.
    """
    begun = phase.name != "migrate" or phase.run.derived.migrating
    return GRAVE[phase.name] if begun else Failure.PARTIAL_OUTAGE


def escalate(phase: Phase, failed_checks: Sequence[str]) -> people.Escalation:
    """Give a phase's failure its severity by the matrix, and tell those who hear of it at once.

    Args:
        failed_checks: their ids.

    Returns:
        the escalation; that of the same attempt, where it has failed before and was no less grave.
    """
    failures = sorted(
        {
            next(
                (failure for start, failure in BY_CHECK.items() if item.startswith(start)),
                _kind(phase),
            )
            for item in failed_checks
        }
        or {_kind(phase)}
    )
    severity = people.severity(phase.params.people, failures)
    if not _escalated(phase, severity):
        phase.run.journal(
            "escalated",
            phase=phase.name,
            severity=severity,
            failures=[failure.value for failure in failures],
        )
    send_due(phase.run)
    return escalations(phase.run)[-1]


def _escalated(phase: Phase, severity: str) -> bool:
    """Whether this attempt at a phase was escalated already, and as no less grave.

    A person runs a cell again and again.
    """
    lines = [
        line for line in phase.run.read_journal() if line["what"] in ("phase begun", "escalated")
    ]
    if not lines or lines[-1]["what"] != "escalated" or lines[-1]["phase"] != phase.name:
        return False
    return str(lines[-1]["severity"]) <= severity


def escalations(run: Run) -> list[people.Escalation]:
    """Return every escalation of a run, oldest first.

    With what was sent of it, and whether somebody acknowledged it.
    """
    begun, params = run.derived.escalations, run.params
    over = [f"followed by another at {later['at']}" for later in begun[1:]] + [_over(run)]
    return [
        _escalation(params, line, why, run.reference)
        for line, why in zip(begun, over, strict=False)
    ]


def _over(run: Run) -> str:
    """Why nobody is told any more of a run's failure, without an acknowledgement.

    Empty where that is not so.
    """
    if not run.derived.told:
        return "over: another version of the runbook began this run, and nobody goes on with it"
    if run.outcome in FINAL:
        return f"over: the run is {run.outcome.replace('_', ' ')}"
    here = run.state["target"]
    since = [one.id for one in later(run) if same_place(here, one.state["target"])]
    return f"over: {since[-1]} was begun since on the same database" if since else ""


def _escalation(
    params: Params,
    line: Mapping[str, Any],
    over: str,
    reference: str,
) -> people.Escalation:
    severity, began = str(line["severity"]), moment(line["at"])
    seen, sent = line["acknowledged"], line["steps"]
    if seen:
        over = f"acknowledged by {seen['who']} at {seen['at']}" + (
            f": {seen['note']}" if seen["note"] else ""
        )
    steps = tuple(
        replace(step, said=_said([one for one in sent if one["after"] == step.after]))
        for step in people.steps(params.people, severity, began)
    )
    return people.Escalation(
        line["phase"],
        tuple(line.get("failures", ())),
        severity,
        params.people.levels()[severity],
        began,
        steps,
        over,
        _does(params, line, reference),
    )


def send_due(run: Run) -> list[people.Step]:
    """Send the steps of a run's escalations that have come, each once; who looks first sends.

    Returns those that were sent now.

    What no address took is tried again the next time somebody looks, a few times.
    """
    if not any(escalation.due(now()) for escalation in escalations(run)):
        return []
    done = []
    try:
        with lock(run.folder.parent, f"{run.id}.escalation"):
            for escalation in escalations(run):
                for step in escalation.due(now()):
                    _send(run, escalation, step)
                    done.append(step)
    except Timeout:  # somebody else is at it
        return []
    return done


def _send(run: Run, escalation: people.Escalation, step: people.Step) -> None:
    told: Mapping[str, list[str]] = {
        str(key): who for key, who in run.params.people.severity_audiences.items()
    }
    audiences = [
        *run.params.notify.hears("failed"),
        *told.get(escalation.severity, []),
    ]
    said = message(
        run,
        "failed",
        f"the phase {escalation.phase} failed: {', '.join(escalation.failures)}",
        standing(run),
        audiences=list(dict.fromkeys(audiences)),
        severity=f"{escalation.severity} ({escalation.level.name})",
        actions="; ".join(escalation.level.actions),
        runbook=escalation.runbook,
        waited=f"{step.after:g} minutes" if step.after else "",
        call=step.who,
    )
    also = {f"{one.role} {one.name}": one.addresses for one in step.contacts if one.addresses}
    sent = tell(run, said, also=also)
    deliveries = sent.as_dict() if isinstance(sent, notify.Sent) else []
    run.journal(
        "escalation step",
        phase=escalation.phase,
        severity=escalation.severity,
        escalated_at=stamp(escalation.began),
        after=step.after,
        told=[contact.role for contact in step.contacts],
        tried=len(deliveries),
        delivered=sum(one["delivered"] for one in deliveries),
    )


def _said(sent: Sequence[Mapping[str, Any]]) -> str:
    """What became of a step; empty where it is to be sent, or sent again."""
    arrived = [one for one in sent if one["delivered"]]
    if arrived:
        return (
            f"sent at {arrived[0]['at']}, {arrived[0]['delivered']} of {arrived[0]['tried']} "
            "delivered"
        )
    if sent and not sent[-1]["tried"]:
        return "nobody could be told: there is no address"
    return (
        f"no address took it, tried {len(sent)} times since {sent[0]['at']}"
        if len(sent) >= TRIES
        else ""
    )


def acknowledge(run: Run, note: str = "") -> Table:
    """Record that a person has taken the failure up: nobody further is told of it.

    Returns:
        what was acknowledged; a table without rows where nothing was open.
    """
    open_ones = [escalation for escalation in escalations(run) if not escalation.over]
    if open_ones:
        run.journal("acknowledged", note=note, escalations=[stamp(one.began) for one in open_ones])
    done = escalations(run)[-len(open_ones) :] if open_ones else []
    return Table(
        f"{len(done)} failures acknowledged" if done else "There is no failure to acknowledge",
        ("failure",),
        [(one.title,) for one in done],
    )


def standing(run: Run) -> str:
    """What is true of the application and the run, for a message."""
    said = run.derived.application
    if said is None:
        application = "maintenance mode was not switched on"
    elif not said.get("verified", True):
        application = "whether the application is in service again is not known: look at its health"
    else:
        application = _APPLICATION[said["what"]]
    ended = [entry["phase"] for entry in run.state["phases"] if entry["status"] == "succeeded"]
    return f"{application}; phases done: {', '.join(dict.fromkeys(ended)) or 'none yet'}"


def _does(params: Params, line: Mapping[str, Any], run: str) -> str:
    """What the runbook itself does about a failure of a phase."""
    led_back = line["phase"] in ("migrate", "validate") and line["migrating"]
    if led_back and params.rollback.automatic:
        return (
            "it takes the way back at once (`rollback.automatic`), unless writes would be lost: "
            "that needs a person"
        )
    return (
        f"it has stopped and changes nothing more: `runbook rollback {run}` leads back, `runbook "
        f"resume {run}` goes on"
    )


def _facts(run: Run, params: Params) -> dict[str, str]:
    state, window = run.state, params.migrate.window
    return {
        "environment": params.environment.name,
        "database": str(state["target"]["database"]),
        "run": run.id,
        "reference": run.reference,
        "engineer": params.engineer,
        "migrations": ", ".join(state["migrations"]),
        "downtime": _downtime(run),
        "contact": _contact(params),
        "window": messages.span(*window.bounds()) if window else "none is set",
        "at": messages.both(now(), ZoneInfo(window.time_zone) if window else None),
    }


def _downtime(run: Run) -> str:
    """The measured one, else the forecast's."""
    measured, said = run.state["downtime_s"], run.read_evidence("forecast", missing={})
    if measured is not None:
        return f"{_length(measured)}, measured"
    if said.get("downtime_s") is not None:
        return f"about {_length(said['downtime_s'])}, by the rehearsal and past runs"
    if said.get("migrate_s") is not None:
        return (
            f"about {_length(said['migrate_s'])} for the migration itself, by the rehearsal; what "
            "is around it is not known yet"
        )
    return "not known yet: the rehearsal will tell"


def _length(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _contact(params: Params) -> str:
    """Who is told first of a failure; the engineer where no contact is named."""
    at_once = [
        one for one in params.people.contacts if one.escalation in ("24/7", "Primary")
    ] or params.people.contacts[:1]
    return "; ".join(f"{one.role} {one.name} ({one.contact})" for one in at_once) or params.engineer


def _shown(url: str) -> str:
    """An address, or a reference to one, without a secret."""
    return url if is_reference(url) else notify.shown(url)


def current(run: Run) -> people.Escalation | Table:
    """How the newest escalation stands."""
    return next(
        iter(reversed(escalations(run))),
        Table(
            "Nothing was escalated: no phase failed that changes anything", ("due (UTC)", "who"), []
        ),
    )
