"""Point in time, as the phases use it.

Checked in preflight, its base backup made in backup, its point before the migration, its price and
its way back in rollback.

    checks(phase)       preflight: whether the provider can work
    base_backup(phase)  backup: a base backup where `local` has none that is young enough, proven by
                        a recovery from it
    mark(phase)         migrate: the restore point, right before the migration
    price(phase)        rollback: possible or not, seconds, basis
    recover(phase)      rollback: the content at the point, to be restored beside (`local`,
                        `command`), or in place (`rds`);
                        called again after an interruption, it goes on from where it stands
    discard(phase)      rollback: end and remove a recovered server that an interrupted attempt left
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from runbook_lib.check import Check, attempt, check, not_configured
from runbook_lib.errors import GateError, UsageError
from runbook_lib.files import write_json
from runbook_lib.params import CommandRecovery, RdsRecovery
from runbook_lib.phases.base import Phase
from runbook_lib.phases.identity import describe, identify
from runbook_lib.postgres import dump
from runbook_lib.postgres.backup import Backup, load
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.tools import tools
from runbook_lib.recovery import point as points
from runbook_lib.recovery.base import BaseBackup
from runbook_lib.recovery.command import Commands
from runbook_lib.recovery.local import Local
from runbook_lib.recovery.point import RestorePoint
from runbook_lib.recovery.rds import SETTLE_S, Rds, Replaced
from runbook_lib.recovery.recovered import await_promotion
from runbook_lib.run import now, stamp
from runbook_lib.secret import resolve
from runbook_lib.table import Table

Provider = Local | Commands | Rds
_NONE = "no provider is configured: `recovery` is not set"


@dataclass(frozen=True)
class Price:
    """What the way back to the point costs.

    Args:
        possible: `None` where that could not be told.
        why: what makes it possible, or impossible.
        seconds: expected, where each part was measured.
        basis: what they are expected from.
    """

    possible: bool | None
    why: str
    seconds: float | None = None
    basis: str = "not measured"


@dataclass(frozen=True)
class Led:
    """Where a recovery led: `backup` is to be restored beside and swapped in.

    `replaced` is already in the live one's place.
    """

    point: RestorePoint
    backup: Backup | None = None
    replaced: Replaced | None = None


def checks(phase: Phase) -> list[Check]:
    """Check whether the provider can lead back to a point.

    As far as that can be seen beforehand.
    """
    if phase.params.recovery is None:
        return [not_configured("recovery", "a point in time can be recovered", "recovery")]
    made = provider(phase)
    nameable = attempt("recovery.point", "a restore point can be made", lambda: _nameable(phase))
    return [nameable, *(made.checks(phase.db) if isinstance(made, Local) else made.checks())]


def base_backup(phase: Phase) -> Table:
    """For the provider `local`.

    A base backup that is young enough, made where there is none, and proven by a recovery from it.

    Raises:
        ToolError, UsageError, CheckError: it could not be made, or a recovery from it failed.
    """
    made = provider(phase) if phase.params.recovery else None
    if not isinstance(made, Local):
        return Table(
            "No base backup is made here: "
            f"{_NONE if made is None else 'the provider keeps its own'}",
            ("", ""),
            [],
        )
    with phase.exclusive():
        source = made.young() or made.make_base(phase.target, phase.say)
        proof = _proof(source) or _try(phase, made, source)
    phase.run.write_evidence("base_backup", {**source.as_dict(), **proof})
    return Table(
        f"Base backup {source.folder.name}",
        ("what", "value"),
        [*source.table().rows, *proof.items()],
    )


def mark(phase: Phase) -> RestorePoint | None:
    """The restore point of this run: made now, unless the migration has begun already.

    Then the one from before stands.

    Returns:
        None where the migration had begun before any was made: none is made up for it.
    """
    kept = point(phase)
    if phase.run.derived.migrating:
        return kept
    made = points.make(phase.db, f"runbook_{phase.run.key}_{now():%H%M%S%f}")
    if isinstance(phase.params.recovery, RdsRecovery):
        time.sleep(SETTLE_S)
    phase.run.write_evidence("restore_point", made)
    phase.run.journal("restore point made", **made.as_dict())
    return made


def point(phase: Phase) -> RestorePoint | None:
    """The restore point that was made before the migration."""
    kept = phase.run.read_evidence("restore_point", missing=None)
    return None if kept is None else RestorePoint.from_dict(kept)


def price(phase: Phase) -> Price:
    """Whether the way back to the point is possible, and what it takes."""
    to = point(phase)
    if phase.params.recovery is None or to is None:
        return Price(
            False,
            _NONE
            if phase.params.recovery is None
            else "no restore point was made before the migration",
        )
    made = provider(phase)
    if isinstance(made, Local):
        return _price_local(phase, made, to)
    if isinstance(made, Rds):
        found = made.possible(to)
        return Price(
            {"passed": True, "failed": False}.get(found.status.value),
            found.found,
            None,
            "not measured: Amazon restores in minutes to hours",
        )
    looked = [one["status"] for one in phase.run.read_evidence("preflight.recovery", missing=[])]
    good = bool(looked) and all(status == "passed" for status in looked)
    return Price(
        True if good else None,
        "`recovery.check` passed in 40_preflight"
        if good
        else "`recovery.check` has not passed in 40_preflight",
    )


def recover(phase: Phase, refuse: Callable[[Database], None] = lambda live: None) -> Led:
    """Lead back to the point. Called again after an interruption, it goes on from where it stands.

    Args:
        refuse: called with the live database right before another instance takes its place; raises
            where that must not be.

    With `local` and `command` a server is brought up beside the live one, its database dumped as a
    backup, and the server discarded; the live database is not touched. With `rds` the recovered
    instance takes the live one's name.

    Raises:
        GateError: no provider is configured, or no point was made.
        RunbookError: it failed, and says how far it came.
    """
    to = point(phase)
    if phase.params.recovery is None or to is None:
        raise GateError(
            f"there is no way back to a point in time: {price(phase).why}",
            "restore the backup instead",
        )
    phase.run.journal("recovery begun", point=to.label, provider=phase.params.recovery.provider)
    made = provider(phase)
    led = (
        Led(to, replaced=_replace(phase, made, to, refuse))
        if isinstance(made, Rds)
        else Led(to, backup=_dumped(phase, made, to) or _dump(phase, made, to))
    )
    phase.run.journal("recovery ended", point=to.label)
    return led


def discard(phase: Phase) -> None:
    """End and remove the recovered server of this run's point, where there is one.

    A recovered RDS instance is kept.
    """
    to = point(phase)
    if (
        to is not None
        and phase.params.recovery is not None
        and not isinstance(made := provider(phase), Rds)
    ):
        made.discard(to)


def provider(phase: Phase) -> Provider:
    """The provider that the parameters name.

    Raises:
        UsageError: a copy of the server could not be told from another: the role may not read the
            system identifier.
    """
    section, system = phase.params.recovery, phase.run.state["target"]["system_identifier"]
    assert section is not None
    seconds = section.deadline_minutes * 60
    if isinstance(section, RdsRecovery):
        return Rds(section.instance, section.region, phase.target.host, seconds)
    if system == "unknown":
        raise UsageError(
            "a recovered server could not be told from another: the role may not read the system "
            "identifier",
            "GRANT EXECUTE ON FUNCTION pg_control_system() TO the runbook's role, and start a new "
            "run",
        )
    if isinstance(section, CommandRecovery):
        return Commands(
            section.check,
            section.recover,
            section.discard,
            partial(resolve, section.url, "recovery.url"),
            section.folder,
            system,
            phase.application_name,
            phase.params.variables("recovery"),
            seconds,
        )
    return Local(
        section.archive,
        section.base_backups,
        section.max_age_hours,
        system,
        phase.application_name,
        phase.params.database.tools,
        seconds,
    )


def _nameable(phase: Phase) -> Check:
    facts: dict[str, Any] = phase.db.row(query("recovery_facts")) or {}
    named = facts["may_name"] and not facts["standby"]
    return check(
        "recovery.point",
        "a restore point can be made",
        True,
        "named"
        if named
        else "by LSN and time only: the role may not call "
        "pg_create_restore_point, or this is a standby",
        "by name, or by LSN and time",
    )


def _proof(source: BaseBackup) -> dict[str, Any] | None:
    path = _proof_file(source)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _proof_file(source: BaseBackup) -> Path:
    return source.folder.with_name(f"proof_{source.folder.name}.json")


def _try(phase: Phase, made: Local, source: BaseBackup) -> dict[str, Any]:
    """A base backup is one once a server came up from it.

    Recover to a point of now, and throw that server away.
    """
    to = points.make(phase.db, f"runbook_trial_{now():%Y%m%dT%H%M%S%f}")
    try:
        found = made.recover(to, phase.target, phase.say)
    finally:
        made.discard(to)
    proof = {"proven_at": stamp(), "recover_s": round(found.seconds or 0.0, 1)}
    write_json(_proof_file(source), proof)
    phase.run.journal("base backup proven", folder=str(source.folder), **proof)
    return proof


def _price_local(phase: Phase, made: Local, to: RestorePoint) -> Price:
    try:
        source = made.suitable(to)
        lacking = made.missing(source, to)
    except UsageError as error:
        return Price(False, error.message)
    except OSError as error:
        return Price(None, f"{error.filename}: {error.strerror}")
    if lacking == [to.segment]:
        return Price(
            None,
            f"the WAL segment of the point, {to.segment}, is not archived yet; a recovery waits "
            "for it",
        )
    if lacking:
        return Price(
            False, f"the archive lacks {len(lacking)} WAL segments: {', '.join(lacking[:3])}"
        )
    proof, backup = _proof(source), phase.run.read_evidence("backup", missing={})
    if proof is None or backup.get("restore_s") is None:
        return Price(
            True,
            f"from {source.folder.name}",
            None,
            "not measured: there is no proof of the base backup, or of the run's own backup",
        )
    dumped = sum(load(Path(backup["folder"])).seconds.values())
    return Price(
        True,
        f"from {source.folder.name}",
        proof["recover_s"] + dumped + backup["restore_s"],
        f"measured: recovery {proof['recover_s']:.0f} s (and the WAL since), dump {dumped:.0f} s, "
        f"restore {backup['restore_s']:.0f} s",
    )


def _dumped(phase: Phase, made: Local | Commands, to: RestorePoint) -> Backup | None:
    """The backup that an earlier attempt made of the recovered server."""
    kept = phase.run.read_evidence("recovered", missing=None)
    if (
        kept is None
        or kept["point"] != to.as_dict()
        or not (folder := Path(kept["folder"])).exists()
    ):
        return None
    found = load(folder)
    made.discard(to)
    return found if found.sha256 == kept["sha256"] else None


def _dump(phase: Phase, made: Local | Commands, to: RestorePoint) -> Backup:
    """A backup of the recovered database; then the recovered server is thrown away.

    Where the dump fails, the server is kept to go on with.
    """
    found = phase.keep("recovered_server", made.recover(to, phase.target, phase.say))
    options, folder = (
        phase.params.backup,
        phase.params.backup.directory / f"{now():%Y%m%dT%H%M%SZ}_{phase.target.database}_recovered",
    )
    programs = tools(
        found.target, phase.params.database.tools, application_name=phase.application_name
    )
    backup = dump.make(
        found.target,
        folder,
        phase.application_name,
        tools=programs,
        jobs=phase.jobs,
        compression=options.compression or "auto",
        on_line=phase.say,
    )
    phase.run.write_evidence(
        "recovered", {"folder": str(folder), "sha256": backup.sha256, "point": to.as_dict()}
    )
    phase.run.journal("recovered database dumped", folder=str(folder), bytes=backup.bytes)
    made.discard(to)
    return backup


def _replace(
    phase: Phase, made: Rds, to: RestorePoint, refuse: Callable[[Database], None]
) -> Replaced:
    """Put the recovered instance in the live one's place.

    Once it has proven to hold the pinned database.
    """
    beside = replace(phase.target, host=made.recover(to, phase.say))
    await_promotion(beside, phase.application_name, made.deadline_s, phase.say)
    with Database(beside, phase.application_name) as db:
        found, pinned = identify(db), phase.run.state["target"]
    if any(found[key] != pinned[key] for key in ("system_identifier", "database_oid")):
        raise UsageError(
            f"the recovered instance holds another database: {describe(found)}, not "
            f"{describe(pinned)}",
            "look at it; nothing was renamed",
        )
    refuse(phase.db)
    phase.db.close()
    done = made.replace(to, phase.say)
    await_promotion(phase.target, phase.application_name, made.deadline_s, phase.say)
    phase.run.journal("instance replaced", **done.as_dict())
    return done
