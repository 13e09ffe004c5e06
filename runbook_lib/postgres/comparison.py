"""Whether two snapshots hold the same, table by table; and where they cannot be compared, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import UsageError
from runbook_lib.postgres import databases
from runbook_lib.table import Shown, Table

if TYPE_CHECKING:
    from runbook_lib.postgres.fingerprint import Fingerprint
    from runbook_lib.postgres.snapshot import Snapshot, TableState


class Outcome(StrEnum):
    """How one table, sequence or fact compares."""

    IDENTICAL = "identical"
    ROWS = "rows differ"
    CONTENT = "content differs"
    MISSING = "missing"
    ADDED = "added"
    NOT_COMPARED = "not compared"
    EXCLUDED = "no rows of its own"
    AHEAD = "further on"
    """A sequence that was drawn from since: allowed, sequences never go back."""

    @property
    def mark(self) -> str:
        """The row mark of `runbook_lib.table.Table`."""
        return {
            "identical": "good",
            "not compared": "unknown",
            "no rows of its own": "",
            "further on": "",
            "added": "",
        }.get(self.value, "bad")


@dataclass(frozen=True)
class Compared:
    """One table or sequence, or one fact of the database.

    Args:
        kind: "table", "sequence", "large objects", "extension" or "setting".
        before, after: rows of a table, value of anything else; `None` where it is not there.
        columns: the table's columns whose content was compared.
        why: why it was not compared, or not in all columns.
    """

    kind: str
    name: str
    outcome: Outcome
    before: Any = None
    after: Any = None
    columns: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Comparison(Shown):
    """Everything that two snapshots hold, side by side."""

    items: tuple[Compared, ...]

    def __iter__(self) -> Iterator[Compared]:
        return iter(self.items)

    def having(self, *outcomes: Outcome) -> tuple[Compared, ...]:
        """Those that ended in one of `outcomes`."""
        return tuple(item for item in self.items if item.outcome in outcomes)

    @property
    def content(self) -> tuple[Compared, ...]:
        """Tables, sequences and large objects: what an application stores."""
        return tuple(
            item for item in self.items if item.kind in ("table", "sequence", "large objects")
        )

    @property
    def facts(self) -> tuple[Compared, ...]:
        """Extensions and the database's own settings that differ."""
        return tuple(
            item
            for item in self.items
            if item.kind in ("extension", "setting") and item.outcome is not Outcome.IDENTICAL
        )

    @property
    def identical(self) -> bool:
        """Return whether every table with rows of its own was compared and is the same.

        In the columns compared. Large objects must be the same, and no sequence missing or behind;
        one may have moved on.
        """
        allowed = (Outcome.IDENTICAL, Outcome.EXCLUDED, Outcome.AHEAD)
        return all(item.outcome in allowed for item in self.content)

    @property
    def differing(self) -> tuple[Compared, ...]:
        """What keeps `identical` from being true."""
        return tuple(
            item
            for item in self.content
            if item.outcome not in (Outcome.IDENTICAL, Outcome.EXCLUDED, Outcome.AHEAD)
        )

    def table(self, everything: bool = False) -> Table:
        """The tables, and of the rest what is not identical; with `everything` all."""
        shown = [
            item
            for item in self.items
            if everything or item.kind == "table" or item.outcome is not Outcome.IDENTICAL
        ]
        rows = [
            (item.kind, item.name, item.outcome.value, item.before, item.after, item.why)
            for item in shown
        ]
        count = sum(
            item.outcome is Outcome.IDENTICAL for item in self.items if item.kind == "table"
        )
        title = f"{count} tables identical" + (
            "" if self.identical else f", {len(self.differing)} not"
        )
        return Table(
            f"Content: {title}",
            ("kind", "name", "outcome", "rows or value before", "after", "remark"),
            rows,
            [item.outcome.mark for item in shown],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        items = [asdict(item) | {"outcome": item.outcome.value} for item in self.items]
        return {"identical": self.identical, "items": items}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """What `as_dict` gave."""
        return cls(
            tuple(
                Compared(
                    **{
                        **item,
                        "outcome": Outcome(item["outcome"]),
                        "columns": tuple(item["columns"]),
                    }
                )
                for item in data["items"]
            )
        )


def compare(before: Snapshot, after: Snapshot, columns: Mapping[str, Sequence[str]]) -> Comparison:
    """What differs in `after`; see `Snapshot.compare`."""
    if (before.method, before.canary) != (after.method, after.canary):
        raise UsageError(
            f"content cannot be compared: one side was fingerprinted by “{before.method}” (canary "
            f"{before.canary}), the other by “{after.method}” (canary {after.canary})",
            "take both snapshots with the same method; with `Method.MD5` where the servers hash "
            "differently",
        )
    return Comparison(
        (
            *_tables(before, after, columns),
            *_sequences(before, after),
            _large_objects(before, after),
            *_facts("extension", before.extensions, after.extensions),
            *_facts("setting", _own(before.settings), _own(after.settings)),
        )
    )


def _own(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings of the database itself, lists of names written alike.

    Those of the server may differ where a copy stands elsewhere.
    """
    return {
        name: databases.written_alike(name.rpartition(": ")[2], value)
        for name, value in settings.items()
        if not name.startswith("server: ")
    }


def _tables(
    before: Snapshot, after: Snapshot, columns: Mapping[str, Sequence[str]]
) -> Iterator[Compared]:
    for name in sorted(before.tables.keys() | after.tables.keys()):
        old, new = before.tables.get(name), after.tables.get(name)
        if old is None or new is None:
            yield Compared(
                "table",
                name,
                Outcome.MISSING if new is None else Outcome.ADDED,
                old and old.rows,
                new and new.rows,
            )
        elif old.excluded or new.excluded:
            alike = bool(old.excluded) == bool(new.excluded)
            yield Compared(
                "table",
                name,
                Outcome.EXCLUDED if alike else Outcome.NOT_COMPARED,
                old.rows,
                new.rows,
                (),
                old.excluded or new.excluded,
            )
        else:
            yield _table(name, old, new, columns.get(name))


def _table(name: str, old: TableState, new: TableState, wanted: Sequence[str] | None) -> Compared:
    pair = _comparable(old.fingerprints, new.fingerprints, wanted)
    all_columns = set(old.fingerprints[0].columns) | set(new.fingerprints[0].columns)
    compared = pair[0].columns if pair else ()
    left = ", ".join(sorted(all_columns - set(compared)))
    if old.rows != new.rows:
        return Compared("table", name, Outcome.ROWS, old.rows, new.rows, compared)
    if pair is None:
        return Compared("table", name, Outcome.NOT_COMPARED, old.rows, new.rows, (), _why(old, new))
    outcome = Outcome.IDENTICAL if pair[0].value == pair[1].value else Outcome.CONTENT
    return Compared(
        "table", name, outcome, old.rows, new.rows, compared, f"without {left}" if left else ""
    )


def _comparable(
    old: Sequence[Fingerprint], new: Sequence[Fingerprint], wanted: Sequence[str] | None
) -> tuple[Fingerprint, Fingerprint] | None:
    """The fingerprints that both sides have, of `wanted` columns or else of the most columns."""
    there = {one.key: one for one in new}
    pairs = [(one, there[one.key]) for one in old if one.key in there]
    if wanted is not None:
        pairs = [pair for pair in pairs if set(pair[0].columns) == set(wanted)]
    return max(pairs, key=lambda pair: len(pair[0].columns), default=None)


def _why(old: TableState, new: TableState) -> str:
    was, now = (
        dict(zip(state.fingerprints[0].columns, state.fingerprints[0].forms, strict=True))
        for state in (old, new)
    )
    parts = [f"column {name} was added" for name in now.keys() - was.keys()]
    parts += [f"column {name} is gone" for name in was.keys() - now.keys()]
    parts += [
        f"column {name} changed its type"
        for name in was.keys() & now.keys()
        if was[name] != now[name]
    ]
    return "; ".join(sorted(parts)) or "these columns were not fingerprinted on both sides"


def _sequences(before: Snapshot, after: Snapshot) -> Iterator[Compared]:
    for name in sorted(before.sequences.keys() | after.sequences.keys()):
        old, new = before.sequences.get(name), after.sequences.get(name)
        if old is None or new is None:
            yield Compared(
                "sequence",
                name,
                Outcome.MISSING if new is None else Outcome.ADDED,
                old and old.last_value,
                new and new.last_value,
            )
            continue
        steps = [
            (one.last_value * (1 if old.increment > 0 else -1), one.is_called) for one in (old, new)
        ]
        outcome = (
            Outcome.IDENTICAL
            if steps[0] == steps[1]
            else Outcome.AHEAD
            if steps[1] > steps[0]
            else Outcome.CONTENT
        )
        yield Compared(
            "sequence",
            name,
            outcome,
            old.last_value,
            new.last_value,
            (),
            "behind" if outcome is Outcome.CONTENT else "",
        )


def _large_objects(before: Snapshot, after: Snapshot) -> Compared:
    old, new = before.large_objects, after.large_objects
    if old != new:
        return Compared("large objects", "large objects", Outcome.ROWS, old, new)
    if old and not (before.large_object_fingerprint and after.large_object_fingerprint):
        return Compared(
            "large objects",
            "large objects",
            Outcome.NOT_COMPARED,
            old,
            new,
            (),
            "the role may not read them all",
        )
    same = not old or before.large_object_fingerprint == after.large_object_fingerprint
    return Compared(
        "large objects", "large objects", Outcome.IDENTICAL if same else Outcome.CONTENT, old, new
    )


def _facts(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Compared]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        outcome = (
            Outcome.IDENTICAL
            if old == new
            else Outcome.ADDED
            if old is None
            else Outcome.MISSING
            if new is None
            else Outcome.CONTENT
        )
        yield Compared(kind, name, outcome, old, new)
