"""80 Close: the application back in service, people told, the outcome recorded.

The history's entry is written, too.
"""

from __future__ import annotations

from typing import Any

from runbook_lib import history
from runbook_lib.check import Checks, not_configured
from runbook_lib.errors import GateError
from runbook_lib.phases import kernel, lease
from runbook_lib.phases.application import Application
from runbook_lib.phases.base import Phase
from runbook_lib.phases.talk import Message, message, standing
from runbook_lib.show import lessons


class Close(Phase):
    """Ends a migration that was validated."""

    name, heading = "close", "Close"
    holds_database = True
    steps = ("reopen",)

    def validated(self) -> None:
        """Refuse to reopen the application where the validation has not passed.

        Raises:
            GateError: it has not.
        """
        status = (self.run.phase("validate") or {}).get("status", "not run")
        if status != "succeeded":
            raise GateError(
                f"the validation has not passed: {status}",
                "run 70_validate; where it fails, 90_rollback",
            )

    def reopen(self) -> Checks:
        """Switch maintenance mode off and see through the application that it is.

        Only after the validation has passed.
        """
        self.validated()
        checks = self.look("reopen", reopen(self)).require()
        self._passed.add("reopen")
        return checks

    def message(self) -> Message:
        """What everybody would be told."""
        return message(
            self.run, "done", "the migration was applied and validated", standing(self.run)
        )

    def tell(self) -> Any:
        """Tell everybody that it is over; not before it is."""
        self.require_steps("reopen")
        return self.send(self.message())

    def lessons(self, text: str = "") -> lessons.Lessons:
        """What was learned, as far as it is recorded; where a person sits here, they are asked.

        Args:
            text: a lesson to be recorded.
        """
        if text:
            self.run.journal("lessons learned", text=text)
        ask = (
            (lambda said: self.run.journal("lessons learned", text=said))
            if kernel.in_front_end() and not self.only_looks
            else None
        )
        return lessons.Lessons(self.run.reference, history.entry(self.run).lessons, ask)

    def entry(self) -> history.Entry:
        """The history's entry of this run, filled in from the run itself."""
        return self.keep("history", history.entry(self.run))

    def finish(self, status: str = "succeeded") -> None:
        """End the phase and the run."""
        self.validated()
        super().finish(status)
        self.run.end("succeeded")
        lease.release(self)


def reopen(phase: Phase) -> Checks:
    """Maintenance mode off, verified through the application; the downtime ends here."""
    application = Application(phase)
    if not application.has_maintenance:
        return Checks(
            "Back in service",
            [
                not_configured(
                    "maintenance",
                    "the application is out of maintenance mode",
                    "service.maintenance",
                )
            ],
        )
    application.switch(False)
    checks = Checks("Back in service", [application.wait(), *application.maintenance_checks(False)])
    phase.run.journal("maintenance off", phase=phase.name, verified=checks.passed)
    return checks


PHASE = Close
