"""What one statement does, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any

from runbook_lib.prisma.known import Known
from runbook_lib.prisma.locks import LockMode
from runbook_lib.prisma.names import generated, join, parts, quote, schema_of, short


@dataclass(frozen=True)
class Lock:
    """A lock that a statement takes.

    Args:
        relation: qualified name; "*" where it cannot be told which.
        mode: the strongest that it takes there.
        kind: "table", "index", "view", "materialized view" or "sequence".
        new: the relation was made by a statement read before: nobody else uses it.
    """

    relation: str
    mode: LockMode
    kind: str = "table"
    new: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"mode": str(self.mode)}


@dataclass(frozen=True)
class Change:
    """A change of the catalogue that a statement declares.

    Args:
        kind: as the catalogue has it: "table", "column", "index", "constraint", "enum", …
        name: qualified, as the catalogue writes it.
        action: "added", "removed" or "changed".
        property: which property changes: "type", "not_null", "default", "labels", …; empty for all
            of it.
        renamed: the new name, of what is "removed" by being renamed.
    """

    kind: str
    name: str
    action: str
    property: str = ""
    renamed: str = ""

    def as_dict(self) -> dict[str, str]:
        """For evidence files."""
        return asdict(self)


@dataclass(frozen=True)
class RowChange:
    """Rows that a statement changes.

    Args:
        table: qualified name.
        action: "insert", "update" or "delete".
        columns: those that an UPDATE writes.
    """

    table: str
    action: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remark:
    """Something to say about a statement, before it is weighed by the size of the table.

    See `rules.RULES`.
    """

    rule: str
    relation: str
    safer: str
    new: bool
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Effect:
    """What one statement does.

    Args:
        kind: what it is, e.g. "ALTER TABLE".
        locks: by relation, the strongest.
        changes: of the catalogue.
        rows: that it changes.
        remarks: what there is to say about it.
        rewrites, reindexes, scans: tables and indexes that it writes anew, and tables that it reads
        from end to end.
        transaction: "begin", "commit", "rollback" or "savepoint" for a statement that controls one.
        alone: the command, where it cannot run inside a transaction block.
        unclear: why it cannot be told what else it does; empty where it can.
        unseen: why the catalogue before and after would not tell that either; empty where it would.
    """

    kind: str
    locks: tuple[Lock, ...] = ()
    changes: tuple[Change, ...] = ()
    rows: tuple[RowChange, ...] = ()
    remarks: tuple[Remark, ...] = ()
    rewrites: tuple[str, ...] = ()
    reindexes: tuple[str, ...] = ()
    scans: tuple[str, ...] = ()
    transaction: str = ""
    alone: str = ""
    unclear: str = ""
    unseen: str = ""

    @property
    def strongest(self) -> Lock | None:
        """The strongest lock that it takes on anything that is in use already."""
        return max(
            (lock for lock in self.locks if not lock.new), key=lambda lock: lock.mode, default=None
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables and views that it touches."""
        return tuple(
            lock.relation for lock in self.locks if lock.kind != "index" and lock.relation != "*"
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "kind": self.kind,
            "locks": [lock.as_dict() for lock in self.locks],
            "changes": [c.as_dict() for c in self.changes],
            "rows": [asdict(change) for change in self.rows],
            "rewrites": list(self.rewrites),
            "reindexes": list(self.reindexes),
            "scans": list(self.scans),
            "transaction": self.transaction,
            "runs_alone": self.alone,
            "unclear": self.unclear,
        }


def seen(effect: Effect, changes: Iterable[Change]) -> Effect:
    """Return the effect of a statement that was watched.

    Its changes are known, and nothing about it is unclear.

    Args:
        changes: of the catalogue, as they were seen.
    """
    found = dict.fromkeys(changes)
    kept = [
        change
        for change in effect.changes
        if effect.kind != "DO" or replace(change, renamed="") in found
    ]
    named = {(change.kind, change.name) for change in effect.changes}
    more = any(
        (one.kind, one.name) not in named
        for one in found
        if one.action == "removed" and not _of_table(one, named)
    )
    settled = {"not-understood"} | ({"dropped-with-dependents"} if not more else set())
    return replace(
        effect,
        changes=tuple(dict.fromkeys((*kept, *found))),
        remarks=tuple(remark for remark in effect.remarks if remark.rule not in settled),
        unclear="",
    )


def _of_table(change: Change, named: Iterable[tuple[str, str]]) -> bool:
    """Whether it goes with a table or view that the statement names."""
    return any(
        change.name.startswith(f"{name}.") for kind, name in named if kind in ("table", "view")
    )


@dataclass
class Draft:
    """An effect being put together; what it does to the catalogue is learned at once.

    Args:
        known: the catalogue before the statement.
    """

    known: Known
    kind: str = ""
    transaction: str = ""
    alone: str = ""
    unclear: str = ""
    unseen: str = ""
    _locks: dict[str, Lock] = field(default_factory=dict)
    _changes: dict[Change, None] = field(default_factory=dict)
    _rows: dict[RowChange, None] = field(default_factory=dict)
    _remarks: list[Remark] = field(default_factory=list)
    _rewrites: dict[str, None] = field(default_factory=dict)
    _reindexes: dict[str, None] = field(default_factory=dict)
    _scans: dict[str, None] = field(default_factory=dict)

    @property
    def schema(self) -> str:
        """Where unqualified names live."""
        return self.known.schema

    def lock(self, relation: str, mode: LockMode, kind: str = "") -> None:
        """It takes this lock; of several on one relation the strongest is kept.

        What is not there is remarked on.
        """
        if (
            relation != "*"
            and relation not in self._locks
            and self.known.certain
            and self.known.lacks(relation, kind)
        ):
            self.remark("unknown-relation", name=short(relation))
        held = self._locks.get(relation)
        if mode and (held is None or mode > held.mode):
            new = self.known.is_new(relation) or self.known.is_new(
                self.known.table_of(relation) or ""
            )
            self._locks[relation] = Lock(relation, mode, kind or self.known.kind(relation), new)

    def lock_tree(self, table: str, mode: LockMode) -> None:
        """It takes this lock on a table and on everything below it.

        Partitions, and what inherits from it.
        """
        for name in self.known.tree(table):
            self.lock(name, mode)

    def added(self, kind: str, name: str, /, **properties: Any) -> None:
        """It creates an object."""
        for each in self._each(kind, name):
            self._changes[Change(kind, each, "added")] = None
            self.known.create(kind, each, **properties)

    def removed(self, kind: str, name: str) -> None:
        """It removes an object."""
        for each in self._each(kind, name):
            self._changes[Change(kind, each, "removed")] = None
            self.known.remove(kind, each)

    def changed(self, kind: str, name: str, property: str = "") -> None:
        """It changes a property of an object."""
        for each in self._each(kind, name):
            self._changes[Change(kind, each, "changed", property)] = None

    def renamed(self, kind: str, old: str, new: str) -> None:
        """It renames an object: to the catalogue one goes and another comes."""
        for before, after in zip(self._each(kind, old), self._each(kind, new), strict=True):
            self._changes[Change(kind, before, "removed", renamed=after)] = None
            self._changes[Change(kind, after, "added")] = None
            self.known.rename(kind, before, after)

    def add_index_below(self, index: str, table: str, columns: Iterable[str], suffix: str) -> str:
        """It gives a partition its part of the parent's index, under a name that is free.

        Where an index is there already, that is taken.
        """
        columns = tuple(columns)
        quoted = tuple(map(quote, columns))
        for own in self.known.indexes_of(table):
            if (
                self.known.columns_of(own) == quoted
                and "part_of" not in (self.known.indexes.get(own) or {})
                and suffix == "idx"
            ):
                self.changed("index", own, "part_of")
                return own
        names = (
            join(schema_of(table), generated(table, columns, f"{suffix}{number or ''}"))
            for number in count()
        )
        own = next(name for name in names if self.known.indexes.get(name) is None)
        self.added("index", own, table=table, definition=f"({', '.join(quoted)})", part_of=index)
        return own

    def _each(self, kind: str, name: str) -> list[str]:
        """A column or constraint on its table and on every table below it.

        Other objects as they are.
        """
        if kind not in ("column", "constraint"):
            return [name]
        table = join(*parts(name)[:2])
        return [f"{each}{name.removeprefix(table)}" for each in self.known.tree(table)]

    def rows(self, table: str, action: str, columns: tuple[str, ...] = ()) -> None:
        """It changes rows."""
        self._rows[RowChange(table, action, columns)] = None

    def rewrite(self, table: str, *, indexes: bool = True) -> None:
        """It writes the whole table anew, and all its indexes or none.

        One that a statement before made is no matter.
        """
        self._rewrites |= dict.fromkeys(self._files(table))
        if indexes:
            self.reindex_all(table)

    def reindex_all(self, table: str) -> None:
        """It writes all indexes of the table anew."""
        self.reindex(
            *(index for name in self._files(table) for index in self.known.indexes_of(name))
        )

    def reindex(self, *indexes: str) -> None:
        """It writes indexes anew; those that it makes itself are none."""
        self._reindexes |= dict.fromkeys(
            index for index in indexes if Change("index", index, "added") not in self._changes
        )

    def scan(self, table: str) -> None:
        """It reads the whole table; one that a statement before made is no matter."""
        self._scans |= dict.fromkeys(self._files(table))

    def _files(self, table: str) -> list[str]:
        """The table and those below it that hold rows, as far as they were there before."""
        return [
            name
            for name in self.known.tree(table)
            if not self.known.is_new(name) and not self.known.is_partitioned(name)
        ]

    def remark(self, rule: str, relation: str = "", safer: str = "", **values: Any) -> None:
        """There is something to say: `values` fill the sentence of `rules.RULES[rule]`."""
        self._remarks.append(Remark(rule, relation, safer, self.known.is_new(relation), values))

    def missed(self, rule: str, word: str, name: str, relation: str = "", said: str = "{}") -> None:
        """What goes, or goes by another name, is missed by those who name it.

        To be told before it goes.

        Args:
            word: what it is.
            relation: the table that it is, or belongs to.
            said: "{}" in it stands for the name that it had before the files; what they made
                themselves nobody names.
        """
        if not self.known.is_new(name):
            was = self.known.original(name)
            self.remark(
                rule, relation, kind=word, name=said.replace("{}", short(was)), object=(word, was)
            )

    @property
    def touches_rows(self) -> bool:
        """Whether it reads, writes or checks rows, so that they can make it fail."""
        return bool(self._rows or self._scans or self._rewrites)

    def may(self, other: Effect) -> None:
        """It may do what another statement does, e.g. one within a DO block."""
        for lock in other.locks:
            self.lock(lock.relation, lock.mode, lock.kind)
        self._changes |= dict.fromkeys(other.changes)
        self._rows |= dict.fromkeys(other.rows)
        self._rewrites |= dict.fromkeys(other.rewrites)
        self._reindexes |= dict.fromkeys(other.reindexes)
        self._scans |= dict.fromkeys(other.scans)
        self._remarks += other.remarks

    def done(self) -> Effect:
        """The effect."""
        return Effect(
            self.kind,
            tuple(self._locks.values()),
            tuple(self._changes),
            tuple(self._rows),
            tuple(self._remarks),
            tuple(self._rewrites),
            tuple(self._reindexes),
            tuple(self._scans),
            self.transaction,
            self.alone,
            self.unclear,
            self.unseen,
        )
