"""What is known about the database while files are read.

Its catalogue, if given, and what the statements so far did to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runbook_lib.prisma.names import join, parts

Properties = Mapping[str, Any]
_REFERENCES = re.compile(r'REFERENCES ((?:"(?:[^"]|"")*"|[\w$]+)(?:\.(?:"(?:[^"]|"")*"|[\w$]+))?)')
_COLUMNS = re.compile(r"\(((?:\"(?:[^\"]|\"\")*\"|[^()\"])*)\)")
_NAMES = re.compile(r'"(?:[^"]|"")*"|[\w$]+')
_CASCADES = re.compile(r"ON DELETE (CASCADE|SET NULL|SET DEFAULT)")


class _Overlay:
    """A mapping that is only read, below what is written here; None is an entry that is gone.

    Args:
        base: the catalogue's objects of one kind.
        owner: the table that an object stands on.
    """

    def __init__(
        self, base: Mapping[str, Properties], owner: Callable[[str, Properties], str]
    ) -> None:
        self._base = base
        self._own: dict[str, Properties | None] = {}
        self._owner = owner

    @cached_property
    def _by_owner(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self._base.items():
            found.setdefault(self._owner(name, value), []).append(name)
        return found

    def of(self, *tables: str) -> Iterator[tuple[str, Properties]]:
        """The objects that stand on a table, given under all its names."""
        yield from (
            (name, value)
            for name, value in self._own.items()
            if value is not None and self._owner(name, value) in tables
        )
        yield from (
            (name, self._base[name])
            for table in tables
            for name in self._by_owner.get(table, ())
            if name not in self._own
        )

    def get(self, name: str) -> Properties | None:
        """The properties of an object; None where there is none."""
        return self._own[name] if name in self._own else self._base.get(name)

    def put(self, name: str, value: Properties | None) -> None:
        """Write an object's properties over what was there."""
        self._own[name] = value

    def items(self) -> Iterator[tuple[str, Properties]]:
        """All objects that are there."""
        yield from ((name, value) for name, value in self._own.items() if value is not None)
        yield from ((name, value) for name, value in self._base.items() if name not in self._own)


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: which columns refer to which, and what a DELETE does to the rows.

    The rows are those that refer.
    """

    name: str
    table: str
    references: str
    columns: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    on_delete: str = ""


class Known:
    """The catalogue as the statements read so far leave it.

    Args:
        catalog: kind → qualified name → properties, as
            `runbook_lib.postgres.catalog.Catalog.objects` has it; None where
            there is none: then nothing is taken for missing.
        schema: where unqualified names live.
        server_major: the server's major version: a few commands lock otherwise, or are not there,
            before another.
    """

    def __init__(
        self,
        catalog: Mapping[str, Mapping[str, Properties]] | None = None,
        schema: str = "public",
        server_major: int = 18,
    ) -> None:
        self.schema = self.default_schema = schema
        self.server_major = server_major
        self.certain = True
        """Whether what is read now is sure to be run: False within a DO block, whose tables are
        never taken for new.
        """
        self.complete = catalog is not None
        catalog = catalog or {}
        self.tables, self.columns, self.enums, self.constraints = (
            _Overlay(catalog.get(kind, {}), _prefix)
            for kind in ("table", "column", "enum", "constraint")
        )
        self.indexes = _Overlay(catalog.get("index", {}), lambda _, index: index.get("table", ""))
        self._sequences = {
            name: value["owned_by"]
            for name, value in catalog.get("sequence", {}).items()
            if value.get("owned_by")
        }
        self._others = {
            name: kind
            for kind in ("view", "materialized view", "sequence")
            for name in catalog.get(kind, {})
        }
        self._domains = {
            name
            for name, value in catalog.get("domain", {}).items()
            if value.get("checks") or value.get("not_null")
        }
        self._children: dict[str, list[str]] = {}
        for name, value in catalog.get("table", {}).items():
            for parent in (
                *(value.get("inherits") or ()),
                *filter(None, [value.get("partition_of")]),
            ):
                self._children.setdefault(parent, []).append(name)
        self._views = catalog.get("materialized view", {})
        self._statistics = {
            name: value.get("definition", "").rpartition(" FROM ")[2]
            for name, value in catalog.get("statistics", {}).items()
        }
        self._triggers = {join(*parts(name)[:2]) for name in catalog.get("trigger", {})}
        self._new: set[str] = set()
        self._origin: dict[str, str] = {}
        self._keys: dict[str, ForeignKey] | None = None

    def create(self, kind: str, name: str, /, **properties: Any) -> None:
        """A statement creates an object; a table is new from now on."""
        overlay = self._overlay(kind)
        if overlay is not None:
            overlay.put(name, properties)
        else:
            self._others[name] = kind
        if self.certain and kind in (
            "table",
            "view",
            "materialized view",
            "enum",
            "sequence",
            "column",
        ):
            self._new.add(name)

    def alter(self, kind: str, name: str, properties: Properties) -> None:
        """A statement changes an object of the catalogue's overlaid kinds."""
        overlay = self._overlay(kind)
        assert overlay is not None, kind
        overlay.put(name, properties)

    def remove(self, kind: str, name: str) -> None:
        """A statement removes an object."""
        overlay = self._overlay(kind)
        if overlay is not None:
            overlay.put(name, None)
        self._others.pop(name, None)
        self._new.discard(name)

    def rename(self, kind: str, old: str, new: str) -> None:
        """A statement renames an object: what was known of the old name holds for the new one."""
        overlay, fresh = self._overlay(kind), old in self._new
        properties = (overlay.get(old) if overlay is not None else None) or {}
        self._origin[new] = self.original(old)
        self.remove(kind, old)
        self.create(kind, new, **properties)
        if not fresh:
            self._new.discard(new)

    def settle(self) -> None:
        """What was made so far is in use from now on.

        The files read so far were applied long ago.
        """
        self._new.clear()
        self._origin.clear()

    def is_new(self, name: str) -> bool:
        """Whether a statement read before made it (a table, view, column, enum).

        Nobody uses it yet.
        """
        return name in self._new

    def has(self, name: str) -> bool | None:
        """Whether there is a table or view of that name; None where the catalogue is not known."""
        if self.tables.get(name) is not None or name in self._others:
            return True
        return False if self.complete else None

    def lacks(self, name: str, kind: str = "") -> bool:
        """Whether a statement that names it must fail; PostgreSQL's own tables are always there."""
        schema, *rest = parts(name)
        if (
            not self.complete
            or schema in ("pg_catalog", "information_schema")
            or rest
            and rest[0].startswith("pg_")
        ):
            return False
        return not self.has(name) and self.indexes.get(name) is None

    def kind(self, name: str) -> str:
        """Return "table", "view", "materialized view", "index" or "sequence".

        "table" where it is not known.
        """
        return "index" if self.indexes.get(name) is not None else self._others.get(name, "table")

    def column(self, table: str, column: str) -> Properties | None:
        """Return the properties of a column (`type`, `not_null`, `default`).

        Also if its table was renamed since.
        """
        found = self.columns.get(f"{table}.{column}")
        return found if found is not None else self.columns.get(f"{self.original(table)}.{column}")

    def original(self, name: str) -> str:
        """The name that an object has in the database now, before any file is applied.

        Two may have swapped theirs.
        """
        return self._origin.get(name, name)

    def there(self, kind: str, name: str) -> bool:
        """Return whether something of that kind has the name now.

        Made by the files, or in the place of what had it before.
        """
        overlay = self._overlay(kind)
        found = overlay.get(name) if overlay is not None else self.enums.get(name)
        return found is not None or name in self._others

    def table_of(self, index: str) -> str | None:
        """The table that an index stands on, where it is known."""
        found = self.indexes.get(index)
        return found.get("table") if found else None

    def tree(self, table: str) -> list[str]:
        """The table, its partitions, and the tables that inherit from it."""
        below = self._children.get(self.original(table), [])
        return [
            table,
            *(name for child in below if self.has(child) is not False for name in self.tree(child)),
        ]

    def is_partitioned(self, table: str) -> bool:
        """Whether its rows are in its partitions, and it has no file of its own."""
        return (self.tables.get(table) or {}).get("kind") == "partitioned table"

    def add_child(self, parent: str, table: str) -> None:
        """A statement makes the table a partition of the parent, or lets it inherit."""
        self._children.setdefault(self.original(parent), []).append(table)

    def restricts(self, domain: str) -> bool:
        """Whether it is a domain with rules of its own.

        A new column of it is checked row by row.
        """
        return domain in self._domains

    def add_domain(self, name: str) -> None:
        """A statement makes a domain with rules, or adds one."""
        self._domains.add(name)

    def table_of_statistics(self, name: str) -> str | None:
        """The table that extended statistics are about, where it is known."""
        found = parts(self._statistics.get(name, ""))
        return join(*(found if len(found) > 1 else (self.schema, *found))) if found else None

    def definition(self, view: str) -> str:
        """The query of a materialized view; empty where it is not known."""
        return str(self._views.get(view, {}).get("definition") or "")

    def has_triggers(self, table: str) -> bool:
        """Whether a trigger of its own stands on the table."""
        return self.original(table) in self._triggers

    def add_trigger(self, table: str) -> None:
        """A statement puts a trigger on the table."""
        self._triggers.add(self.original(table))

    def foreign_keys(self) -> dict[str, ForeignKey]:
        """All foreign keys by their qualified name."""
        if self._keys is None:
            found = (
                self._foreign_key(name, value)
                for name, value in self.constraints.items()
                if value.get("type") == "foreign key"
            )
            self._keys = {key.name: key for key in found if key}
        return self._keys

    def add_foreign_key(self, key: ForeignKey) -> None:
        """A statement adds a foreign key."""
        self.foreign_keys()[key.name] = key

    def referring_to(self, table: str) -> tuple[ForeignKey, ...]:
        """The foreign keys of other tables that refer to this one."""
        return tuple(
            key for key in self.foreign_keys().values() if key.references == table != key.table
        )

    def referred_by(self, table: str) -> tuple[str, ...]:
        """The other tables that this one refers to."""
        return tuple(
            dict.fromkeys(
                key.references
                for key in self.foreign_keys().values()
                if key.table == table != key.references
            )
        )

    def proves_not_null(self, table: str, column: str) -> bool:
        """Whether a validated check of the table says that the column is not NULL."""
        found = self.constraints.of(*{table, self.original(table)})
        return any(
            value.get("definition") == f"CHECK (({column} IS NOT NULL))" and value.get("validated")
            for _, value in found
        )

    def indexes_of(self, table: str) -> list[str]:
        """The indexes that stand on a table."""
        return [name for name, _ in self.indexes.of(*{table, self.original(table)})]

    def columns_of(self, index: str) -> tuple[str, ...]:
        """The columns that an index is on, quoted; of an expression, its words."""
        return _columns((self.indexes.get(index) or {}).get("definition", ""))

    def parts_of(self, index: str) -> list[str]:
        """The indexes of partitions that are parts of a partitioned table's index."""
        found = [name for name, value in self.indexes.items() if value.get("part_of") == index]
        return found + [below for name in found for below in self.parts_of(name)]

    def belonging_to(self, table: str) -> list[tuple[str, str]]:
        """The kind and name of each index and sequence that goes when the table goes."""
        origin = {table, self.original(table)}
        return [("index", name) for name in self.indexes_of(table)] + [
            ("sequence", name)
            for name, column in self._sequences.items()
            if join(*parts(column)[:2]) in origin
        ]

    def standing_on(self, table: str, column: str) -> list[tuple[str, str]]:
        """Return kind and name of each index, constraint and sequence that goes with the column."""
        origin = {table, self.original(table)}
        owned = [
            ("sequence", name)
            for name, owner in self._sequences.items()
            if owner in {f"{one}.{column}" for one in origin}
        ]
        found = [("index", name, value) for name, value in self.indexes.of(*origin)]
        found += [("constraint", name, value) for name, value in self.constraints.of(*origin)]
        return owned + [
            (kind, name)
            for kind, name, value in found
            if column in _columns(value.get("definition", ""))
        ]

    def _foreign_key(self, name: str, properties: Properties) -> ForeignKey | None:
        definition = properties.get("definition", "")
        found = _REFERENCES.search(definition)
        if not found:
            return None
        to = parts(found[1])
        cascades = _CASCADES.search(definition)
        references = join(*(to if len(to) > 1 else (self.schema, *to)))
        return ForeignKey(
            name,
            join(*parts(name)[:2]),
            references,
            _columns(definition),
            _columns(definition[found.end() :]),
            cascades[1] if cascades else "",
        )

    def _overlay(self, kind: str) -> _Overlay | None:
        return {
            "table": self.tables,
            "column": self.columns,
            "index": self.indexes,
            "enum": self.enums,
            "constraint": self.constraints,
        }.get(kind)


def _prefix(name: str, _: Properties) -> str:
    return join(*parts(name)[:2])


def _columns(definition: str) -> tuple[str, ...]:
    """The names in the first brackets of a constraint's or index's definition.

    Of expressions, all their words.
    """
    found = _COLUMNS.search(definition)
    return (
        tuple(_NAMES.findall(found[1]))
        if found
        else tuple(_NAMES.findall(definition.partition("(")[2]))
    )
