"""What came up from a backup, and what comparing it with the backup says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.check import Check, Checks, check, unknown
from runbook_lib.postgres.comparison import Comparison
from runbook_lib.postgres.difference import Difference
from runbook_lib.postgres.role_limits import LeftOut
from runbook_lib.table import Shown, Table


@dataclass(frozen=True)
class Restored(Shown):
    """A backup that came up as a database.

    Args:
        database: its name.
        oid: its number, which a rename does not change.
        backup: sha256 of the backup's manifest.
        seconds: what each step took.
        left_out: what this role may not bring up.
    """

    database: str
    oid: int
    backup: str
    seconds: Mapping[str, float]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def total_seconds(self) -> float:
        """From the empty database to fresh statistics."""
        return sum(self.seconds.values())

    def table(self) -> Table:
        """The steps and what they took."""
        return Table(
            f"Restored as {self.database} in {self.total_seconds:.1f} s",
            ("step", "seconds"),
            [*self.seconds.items(), *((f"left out: {item}", None) for item in self.left_out)],
        )

    def left_out_check(self) -> Check:
        """Whether all came up; what an application may need asks a person."""
        title = "what this role may not restore is needed by nothing"
        found = "; ".join(map(str, self.left_out)) or "nothing is left out"
        if not any(item.matters for item in self.left_out):
            return check(
                "backup.restore.left_out",
                title,
                True,
                f"left out: {found}" if self.left_out else found,
            )
        remedies = dict.fromkeys(item.remedy for item in self.left_out if item.matters)
        return unknown(
            "backup.restore.left_out",
            title,
            f"left out: {found}",
            "nothing that an application may need",
            "\n→ ".join([*remedies, "or decide to go on: a way back would lack it until then"]),
        )

    def without(self) -> list[dict[str, str]]:
        """Return what it came up without that no application needs, and what brings that back."""
        return [
            {"what": str(item), "do": item.remedy} for item in self.left_out if not item.matters
        ]

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"total_seconds": self.total_seconds}


@dataclass(frozen=True)
class Verified(Shown):
    """What came up, against what the backup says.

    Args:
        content: rows and content of every table, sequences, large objects, extensions, settings.
        schema: every object and property that differs.
        database: what differs of the database itself: owner, locale, privileges, settings.
        left_out: what two major versions write differently, and was not compared; empty where both
            servers are of one.
        lacking: what is missing because this role may not bring it up.
    """

    content: Comparison
    schema: Difference
    database: tuple[str, ...]
    left_out: str = ""
    lacking: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing differs and everything was compared."""
        return (
            self.content.identical
            and not self.content.facts
            and self.schema.empty
            and not self.database
        )

    def checks(self) -> Checks:
        """The same as checks that can be required."""
        remedy = "this backup does not prove itself: find out why before relying on it"
        apart = [self.left_out, *self.lacking]
        nothing = ", left out: ".join(
            filter(None, ["nothing differs", "; ".join(filter(None, apart))])
        )
        count = sum(item.kind == "table" for item in self.content)
        said = [f"{item.name}: {item.outcome.value}" for item in self.content.differing]
        facts = [
            f"{item.kind} {item.name}: {item.before} → {item.after}" for item in self.content.facts
        ]
        return Checks(
            "Restored copy against its backup",
            (
                check(
                    "backup.restore.content",
                    "every table, sequence and large object came up identical",
                    self.content.identical,
                    _some(said) or f"{count} tables identical",
                    "nothing differs",
                    remedy,
                ),
                check(
                    "backup.restore.schema",
                    "every object came up identical: indexes, constraints, owners, privileges, …",
                    self.schema.empty,
                    _some(self.schema.in_words()) or "nothing differs",
                    nothing,
                    remedy,
                ),
                check(
                    "backup.restore.database",
                    "extensions, settings, locale, owner and privileges of the database are the "
                    "same",
                    not self.database and not facts,
                    _some([*self.database, *facts]) or "nothing differs",
                    nothing,
                    remedy,
                ),
            ),
        )

    def table(self) -> Table:
        """The checks as rows; `content` and `schema` show their own tables."""
        return self.checks().table()

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "identical": self.identical,
            "content": self.content.as_dict(),
            "schema": self.schema.as_dict(),
            "database": list(self.database),
            "left_out": self.left_out,
            "lacking": list(self.lacking),
        }


@dataclass(frozen=True)
class Proof:
    """A backup that was restored and compared.

    Args:
        seconds: what all of it took, from the first hash to the last comparison: as long as the way
            back will take.
    """

    restored: Restored
    verified: Verified
    seconds: float

    @property
    def identical(self) -> bool:
        """Whether what came up is what the backup says."""
        return self.verified.identical

    def checks(self) -> Checks:
        """What came up against the backup, and what was left out of it."""
        return self.verified.checks() + Checks("", [self.restored.left_out_check()])

    def table(self) -> Table:
        """The checks as rows."""
        return self.checks().table()

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "restored": self.restored.as_dict(),
            "verified": self.verified.as_dict(),
            "seconds": self.seconds,
        }

    def _repr_html_(self) -> str:
        return self.restored._repr_html_() + self.checks()._repr_html_()

    def __str__(self) -> str:
        return f"{self.restored}\n{self.checks()}"

    __repr__ = __str__


def _some(lines: list[str] | tuple[str, ...]) -> str:
    return "; ".join(lines[:10]) + (f"; and {len(lines) - 10} more" if len(lines) > 10 else "")
