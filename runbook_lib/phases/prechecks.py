"""What 00_start, 30_backup and 40_preflight will ask, asked at once before there is a run.

The phases' own checks are made, side by side and with a deadline. Nothing is touched: no database,
folder or file is made, nothing is switched, and nobody is told anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from runbook_lib import process
from runbook_lib.check import Check, Checks, Status, attempt, check, not_configured, unknown
from runbook_lib.errors import RunbookError, UsageError, in_short
from runbook_lib.params import Params, dereference
from runbook_lib.phases import server, start, visible
from runbook_lib.phases.application import Application
from runbook_lib.phases.backup import BackupPhase
from runbook_lib.phases.base import Phase, open_project
from runbook_lib.phases.identity import identify
from runbook_lib.phases.preflight import Preflight
from runbook_lib.phases.unrecorded import Unrecorded
from runbook_lib.postgres import statistics
from runbook_lib.postgres.target import Target
from runbook_lib.prisma import generators, history
from runbook_lib.prisma.project import Project
from runbook_lib.service import messages, notify

DEADLINE_S = 8.0
"""Seconds after which a check that has not ended could not be made."""
Look = Callable[[], Iterable[Check]]


def prechecks(params: Params) -> Checks:
    """Return everything that would be refused, or asked of a person, by a run that is begun now."""
    project = _Found(
        "start.project", "the Prisma project can be used", lambda: open_project(params)
    )
    target = _Found(
        "start.url",
        "`database.url` leads to a database",
        lambda: Target.parse(params.database_url()),
    )
    items = [
        project.check,
        target.check,
        _refused(
            "start.messages",
            "the templates of messages are understood",
            lambda: messages.check_folder(params.notify),
        ),
        *_addresses(params),
    ]
    looks: dict[str, Look] = {}
    if project.value:
        items += [_generators(project.value), *_client(params, project.value)]
        looks["prisma"] = project.value.checks
    if target.value:
        looks |= _of_the_database(params, target.value, project.value)
    return Checks("Before a run", [*items, *_side_by_side(looks)])


class _Found:
    """A value that later checks need, or the check that says why it is not to be had."""

    def __init__(self, id: str, title: str, look: Callable[[], Any]) -> None:
        self.value: Any = None

        def keep() -> None:
            self.value = look()

        self.check = _refused(id, title, keep)


def _refused(id: str, title: str, look: Callable[[], object]) -> Check:
    """Return a check that fails where `look` refuses, and is unknown where it could not look."""
    try:
        look()
    except UsageError as error:
        return check(id, title, False, error.message, "", error.remedy)
    except (RunbookError, OSError) as error:
        return unknown(id, title, str(error).splitlines()[0], "", getattr(error, "remedy", ""))
    return check(id, title, True, "yes")


def _of_the_database(params: Params, target: Target, project: Project | None) -> dict[str, Look]:
    """Return what is asked of the server, where it can be reached; else that it cannot."""
    title = "the server can be reached"
    try:
        with start._session(target) as db:
            run = Unrecorded(params, identify(db))
    except UsageError as error:
        failed = check("start.server", title, False, error.message, "a session", error.remedy)
        return {"server": lambda: [failed]}

    def by(phase: type[Phase], ask: Callable[[Any], Iterable[Check]]) -> Look:
        return partial(_asked, phase, run, ask)

    looks: dict[str, Look] = {
        "history": partial(_history, params, target, project),
        "backup": by(BackupPhase, lambda phase: phase.prechecks()),
        "credentials": by(Preflight, lambda phase: phase.credentials()),
        "disk": by(Preflight, _disk),
        "connectivity": by(Preflight, lambda phase: phase.connectivity()),
        "monitoring": by(Preflight, lambda phase: phase.monitoring()),
        "server": by(Preflight, lambda phase: phase.server()),
        "validation": by(Preflight, _visible),
    }
    if params.service is not None:
        looks["endpoints"] = by(Preflight, lambda phase: Application(phase).endpoints())
    if project:
        looks["engine"] = partial(_engine, project, target)
    return looks


def _asked(
    phase: type[Phase], run: Unrecorded, ask: Callable[[Phase], Iterable[Check]]
) -> Iterable[Check]:
    """Ask by a phase of its own: a session belongs to one thread."""
    made = phase(run)
    try:
        return list(ask(made))
    finally:
        made._give_back()


def _history(params: Params, target: Target, project: Project | None) -> list[Check]:
    """Check the migrations against the server.

    Its version, what was applied, the client that runs.
    """
    with start._session(target) as db:
        items = [
            _refused(
                "start.version",
                "the server's version is supported",
                lambda: start._old_server(db),
            ),
            _refused(
                "start.client",
                "the running client's schema can be read",
                lambda: start.running_client(params, target.schema),
            ),
        ]
        if project:
            found = history.compare(history.files(project), start.applied(db, target))
            items.append(
                _refused("start.history", "migrations can be applied", lambda: start.settled(found))
            )
            items.append(_pending(found))
    return items


def _pending(found: history.History) -> Check:
    names = ", ".join(found.pending)
    return check(
        "start.pending",
        "what is pending is known",
        True,
        f"{len(found.pending)} pending: {names}"
        if names
        else "nothing is pending: a run would end at once",
    )


def _engine(project: Project, target: Target) -> list[Check]:
    """Let the project's Prisma answer: its engine works, and reaches this database."""
    title = "Prisma and its engine work here"
    return [_refused("start.engine", title, lambda: start.prisma_answers(project, target))]


def _disk(phase: Preflight) -> list[Check]:
    """Check what is free now: what the plan needs is not known yet."""
    return [server.disk_check(phase.db, "environment.disk", phase, measured=False)]


def _visible(phase: Preflight) -> list[Check]:
    """Check what 70_validate will be able to see; a baseline is taken by the backup."""
    return list(visible.checks(statistics.read(phase.db), phase.params.validate_.slow_queries))


def _generators(project: Project) -> Check:
    id, title = "start.generators", "every generator of the schema is installed"

    def look() -> Check:
        absent = generators.missing(project)
        return check(
            id,
            title,
            not absent,
            f"not installed: {', '.join(absent)}" if absent else "all are",
            "all are",
            "install them: `npm ci` (or your package manager's equivalent)",
        )

    return attempt(id, title, look)


def _client(params: Params, project: Project) -> list[Check]:
    """Check whether the client can be generated here without the query engine.

    Only older clients need it.
    """
    id, title = "start.client", "the client needs no query engine, or it is installed"
    if params.prisma.generate is not None:
        return []

    def look() -> Check:
        needing = generators.without_query_engine(project)
        if not needing:
            return check(id, title, True, "yes")
        found = f"{', '.join(needing)} of Prisma {project.version} needs it: it is not installed"
        remedy = "where a pipeline builds the client, set `prisma: generate: false`"
        return unknown(id, title, found, "installed", remedy)

    return [attempt(id, title, look)]


def _addresses(params: Params) -> list[Check]:
    """Check every address that a message would go to, without sending one."""
    named = [
        (f"notify.audiences.{name}", url)
        for name, urls in params.notify.audiences.items()
        for url in urls
    ]
    named += [
        (f"people.contacts.{one.role}", url)
        for one in params.people.contacts
        for url in one.addresses
    ]
    if not named:
        return [not_configured("notify.addresses", "people are told", "notify.audiences")]
    return [_address(key, url) for key, url in named]


def _address(key: str, url: str) -> Check:
    id, title = "notify.addresses", f"the address of `{key}` is understood"
    try:
        resolved = dereference(url, key)
    except UsageError as error:
        return check(id, title, False, error.message, "an apprise URL", error.remedy)
    there = notify.understood(resolved)
    return check(
        id,
        title,
        there,
        notify.shown(resolved),
        "an apprise URL",
        "compare it with the list of services in apprise's documentation",
    )


def _side_by_side(looks: dict[str, Look]) -> list[Check]:
    """Make checks in threads of their own.

    What has not ended by the deadline could not be checked.
    """
    found: dict[str, Sequence[Check]] = {}
    threads = [
        threading.Thread(target=_keep, args=(name, look, found), daemon=True)
        for name, look in looks.items()
    ]
    deadline = time.monotonic() + DEADLINE_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    in_time = dict(found)
    process.end_running()
    return [
        item for name in looks for item in (in_time[name] if name in in_time else [_late(name)])
    ]


def _keep(name: str, look: Look, found: dict[str, Sequence[Check]]) -> None:
    title = f"the checks of `{name}` were made"
    try:
        found[name] = list(look())
    except (RunbookError, OSError) as error:
        found[name] = [unknown(f"check.{name}", title, str(error).splitlines()[0])]
    except Exception as error:  # of one check: the others are told all the same
        found[name] = [unknown(f"check.{name}", title, in_short(error))]


def _late(name: str) -> Check:
    return unknown(
        f"check.{name}",
        f"the checks of `{name}` were made",
        f"they had not ended after {DEADLINE_S:g} s",
        "",
        "see what does not answer; the phases wait longer",
    )


def refused(checks: Checks) -> bool:
    """Return whether a run would be refused."""
    return bool(checks.having(Status.FAILED))
