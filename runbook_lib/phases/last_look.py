"""The last look before a database is swapped away.

With connections refused, whether anybody wrote since the way back was priced.

Whoever has left has reported to the counters what it wrote, so with everybody gone they are exact.
A write that is found is not lost: the database is opened again, and the way back is priced anew.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from runbook_lib.errors import ApprovalNeeded
from runbook_lib.files import unused
from runbook_lib.phases import declared
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.price import Losses
from runbook_lib.phases.writes import EVERYTHING, SCHEMA, Moment
from runbook_lib.postgres import catalog, left_behind, sequences, writers
from runbook_lib.postgres.catalog import Catalog
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.left_behind import LeftBehind
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.writers import Counters

LEFT = "left"
"""The folder in the backup directory that holds the rows that ways back have left behind, a folder
a run.
"""
PRICED = "rollback.priced"
"""The evidence that says as of when the way back was priced, and whose loss was accepted."""
_COLLECTOR = 15_00_00
"""Before this version a process of its own collects the counts, and tells them up to half a second
late.
"""


def keep(phase: Phase, now: Moment | None, lost: Losses, way: str) -> None:
    """Keep what the last look is held against.

    Args:
        lost: what would be lost, or may be, and a person has accepted to.
        way: that is taken.
    """
    priced = now and {
        "counters": now.counters.as_dict(),
        "objects": now.objects.as_dict(),
        "settings": now.content.settings,
    }
    accepted = {"accepted": lost.names(way), "own": lost.since.own, "way": way}
    phase.run.write_evidence(PRICED, {**(priced or {}), **accepted})


class LastLook:
    """See `runbook_lib.postgres.swap.LastLook`.

    Args:
        phase: whose run has kept what it is held against.
    """

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._priced: dict[str, Any] = phase.run.read_evidence(PRICED, missing={"accepted": []})
        self._sessions: list[Database] = []
        self.carried: tuple[str, ...] = ()
        """The sequences that were moved on."""
        self.left: LeftBehind | None = None
        """The rows of others that were saved, where a person has accepted to leave some behind."""

    def open(self, live: Target, restored: Target) -> Collection[int]:
        """Open a session in each database."""
        name = f"{self._phase.application_name}/last-look"
        for place in (live, restored):
            self._sessions.append(Database(place, name, lock_timeout="10s", statement_timeout="4h"))
        return [one.pid for one in self._sessions]

    def judge(self) -> None:
        """Raise where somebody wrote what nobody has accepted to lose.

        Else move the restored sequences on.

        Raises:
            ApprovalNeeded: naming what was written.
        """
        live, restored = self._sessions
        self.refuse(live)
        if self._priced["accepted"]:
            self.left = self._save(live, restored)
        self.carried = sequences.carry(live, restored)

    def refuse(self, live: Database) -> None:
        """The same of a database that is still open, where it cannot be closed.

        A write of this very moment may be missed.

        Raises:
            ApprovalNeeded: naming what was written.
        """
        if EVERYTHING not in self._priced["accepted"] and (found := self._written(live)):
            raise ApprovalNeeded(
                "the gate `rollback` needs a person: written since the way back was priced: "
                f"{'; '.join(found)}",
                "nothing was swapped, and the database is open again; price it anew: `runbook "
                f"rollback {self._phase.run.reference}`",
                gate="rollback",
            )

    def _save(self, live: Database, restored: Database) -> LeftBehind | None:
        """What others wrote since the instant to which the way leads."""
        phase, accepted = self._phase, self._priced["accepted"]
        then = (
            load_backup(phase).snapshot.transactions
            if self._priced["way"] == "restore"
            else phase.run.read_evidence("before.snapshot", missing={}).get("transactions", "")
        )
        if not then:
            phase.say("the rows of others are not saved: the backup is of an older runbook")
            return None
        parent = phase.params.backup.directory / LEFT
        folder = unused(lambda n: parent / f"{phase.run.key}-{n}")
        return left_behind.save(
            live,
            restored,
            folder,
            then=then,
            names=None if EVERYTHING in accepted else accepted,
            own=self._priced["own"],
            head=f"saved by {phase.application_name} from {phase.target}, before another took its "
            "place",
        )

    def close(self) -> None:
        """Close both sessions."""
        for one in self._sessions:
            one.close()
        self._sessions = []

    def _written(self, live: Database) -> list[str]:
        if "counters" not in self._priced:
            return ["not known: it was not looked at then"]
        if live.server_version < _COLLECTOR:
            time.sleep(1.5)
        then, now = Counters.from_dict(self._priced["counters"]), writers.counters(live)
        counted = then.until(now)
        if counted is None:
            return ["not known: the server's counters began anew meanwhile"]
        found = {name: f"{name}: emptied or rewritten" for name in then.renewed(now)}
        found |= {name: f"{name}: {one}" for name, one in writers.of_tables(counted).items()}
        found = {name: said for name, said in found.items() if not declared.of_prisma(name)}
        found |= self._definitions(live) | self._settings(live)
        return [said for name, said in found.items() if name not in self._priced["accepted"]]

    def _definitions(self, live: Database) -> dict[str, str]:
        then = Catalog.from_dict(self._priced["objects"])
        changes = catalog.difference(then, catalog.read(live)).changes
        return {SCHEMA: f"{SCHEMA}: {'; '.join(map(str, changes[:3]))}"} if changes else {}

    def _settings(self, live: Database) -> dict[str, str]:
        then = self._priced["settings"]
        now = {row["name"]: row["value"] for row in live.rows(query("snapshot_settings"))}
        return {
            name: f"{name}: changed"
            for name in then.keys() | now.keys()
            if not name.startswith("server: ") and then.get(name) != now.get(name)
        }
