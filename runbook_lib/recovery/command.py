"""Provider `command`: whatever the operator configures, e.g. pgBackRest or Barman.

The commands are told by variables what to do:

    RUNBOOK_POINT_NAME        the restore point's name; empty where it could not be named
    RUNBOOK_POINT_LSN         its LSN
    RUNBOOK_POINT_TIME        its time, ISO 8601 in UTC
    RUNBOOK_RECOVERY_FOLDER   a working folder for this point; made before `recover`, never removed
                              by the runbook

`recover` brings up a server of its own that stops at the point and promotes; `discard` ends it and
removes what it made. Both are repeated after an interruption, and have to bear that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib.check import Check, attempt, check
from runbook_lib.errors import ToolError
from runbook_lib.postgres.target import Target
from runbook_lib.process import run
from runbook_lib.recovery.point import RestorePoint
from runbook_lib.recovery.recovered import Recovered, Say, await_promotion, prove


@dataclass(frozen=True)
class Commands:
    """The operator's commands.

    Args:
        check: ends with status 0 where a recovery can work.
        recover, discard: see above.
        url: resolves the URL of the recovered server; asked once `recover` has ended, which may
            write it.
        folder: in which each point has its working folder.
        system_identifier: of the server to recover.
        environment: further variables.
        deadline_s: seconds that a recovery may take.
    """

    check: str
    recover_command: str
    discard_command: str
    url: Callable[[], str]
    folder: Path
    system_identifier: str
    application_name: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline_s: float = 4 * 3600

    def checks(self) -> list[Check]:
        """Whether the operator's own check says that a recovery can work."""
        id, title = "recovery.command", "`recovery.check` says that a recovery can work"

        def look() -> Check:
            done = run(self.check, env=self.environment, timeout_s=600, check=False)
            return check(
                id,
                title,
                done.status == 0,
                f"status {done.status}" + (f": {done.last_words}" if done.status else ""),
                "status 0",
                "run the command by hand, and see what it says",
            )

        return [attempt(id, title, look)]

    def recover(self, to: RestorePoint, live: Target, say: Say = lambda line: None) -> Recovered:
        """Run `recover`, wait for the promotion, and prove where the server stopped.

        Args:
            live: the database on the live server; only asked who it is.

        Raises:
            ToolError: the command failed.
            DatabaseError: the server did not come up in time.
            CheckError: what came up is not what it should be.
        """
        started = time.monotonic()
        self._run(self.recover_command, to, say)
        target = Target.parse(self.url()).named(live.database)
        await_promotion(target, self.application_name, self.deadline_s, say)
        return Recovered(
            to,
            target,
            "`recovery.recover`",
            time.monotonic() - started,
            prove(target, live, to, self.system_identifier, self.application_name),
        )

    def discard(self, to: RestorePoint, say: Say = lambda line: None) -> None:
        """Run `discard`.

        Raises:
            ToolError: it failed.
        """
        self._run(self.discard_command, to, say)

    def _run(self, command: str, to: RestorePoint, say: Say) -> None:
        folder = self.folder / f"recovered_{to.label}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ToolError(
                f"{folder} cannot be made: {error.strerror}", "correct `recovery.folder`"
            ) from None
        variables = {
            "RUNBOOK_POINT_NAME": to.name,
            "RUNBOOK_POINT_LSN": to.lsn,
            "RUNBOOK_POINT_TIME": to.time,
            "RUNBOOK_RECOVERY_FOLDER": str(folder),
        }
        run(
            command,
            env={**self.environment, **variables},
            timeout_s=self.deadline_s,
            on_line=say,
            remedy="see what the command says, and repeat",
        )
