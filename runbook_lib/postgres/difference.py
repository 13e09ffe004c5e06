"""What differs between two states of a schema, named change by change and said in plain English."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.table import Table

if TYPE_CHECKING:
    from runbook_lib.postgres.catalog import Catalog

Properties = Mapping[str, Any]
_SILENT = (
    "owner",
    "acl",
    "persistence",
    "parallel",
    "arguments",
    "valid",
    "ready",
    "validated",
    "enabled",
    "permissive",
    "columns",
)
"""Properties that every object of a kind has, and that go without saying where it is added or
removed.
"""


@dataclass(frozen=True)
class Change:
    """One change of one object.

    Args:
        kind: what it is: "table", "column", "index", …
        name: qualified, quoted as PostgreSQL would.
        action: "added", "removed" or "changed".
        property: which property changed; empty where the whole object came or went.
        before, after: the property's value, or all properties of an object that came or went;
        `None` where it was not there.
    """

    kind: str
    name: str
    action: str
    property: str = ""
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        if self.action != "changed":
            said = _described(self.kind, self.after if self.action == "added" else self.before)
            return f"{self.kind} {self.name} {self.action}" + (f" ({said})" if said else "")
        return f"{self.kind} {self.name}: {_changed(self.property, self.before, self.after)}"

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """All changes from one catalogue to another, in the order of the kinds and by name."""

    changes: tuple[Change, ...]

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def empty(self) -> bool:
        """Whether both are the same."""
        return not self.changes

    def in_words(self) -> tuple[str, ...]:
        """One line for each change."""
        return tuple(str(change) for change in self.changes)

    def table(self) -> Table:
        """The changes as rows."""
        rows = [
            (
                c.kind,
                c.name,
                c.action,
                str(c).partition(c.name)[2].lstrip(": ").removeprefix(c.action).strip(),
            )
            for c in self
        ]
        count = (
            f"{len(self)} change{'s' if len(self) != 1 else ''}" if self.changes else "no change"
        )
        return Table(f"Schema: {count}", ("kind", "name", "action", "what"), rows)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "changes": [change.as_dict() | {"in_words": str(change)} for change in self.changes]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Difference:
        """What `as_dict` gave."""
        return cls(
            tuple(
                Change(**{k: v for k, v in change.items() if k != "in_words"})
                for change in data["changes"]
            )
        )

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return "\n".join(self.in_words()) or "no change"

    __repr__ = __str__


def difference(before: Catalog, after: Catalog, *, restored: bool = False) -> Difference:
    """Every object and property that differs.

    Args:
        restored: `after` was restored from a dump of `before`. Its expressions were parsed anew,
            and PostgreSQL then
            writes the casts of some of them in other places: those that differ in nothing else
            count as the same.
    """
    same = same_after_restore if restored else _same
    changes = [
        change
        for kind in (
            *before.objects,
            *(kind for kind in after.objects if kind not in before.objects),
        )
        for change in _of_kind(
            kind, before.objects.get(kind, {}), after.objects.get(kind, {}), same
        )
    ]
    return Difference(tuple(changes))


def _of_kind(
    kind: str,
    before: Mapping[str, Properties],
    after: Mapping[str, Properties],
    same: Callable[[Any, Any], bool],
) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Change(kind, name, "added", after=dict(after[name]))
        elif name not in after:
            yield Change(kind, name, "removed", before=dict(before[name]))
        else:
            old, new = before[name], after[name]
            for key in dict.fromkeys((*old, *new)):
                sides = old.get(key), new.get(key)
                if (kind, key) == ("table", "columns"):
                    sides = _ordered(*sides)
                if not same(*sides):
                    yield Change(kind, name, "changed", key, *sides)


def _ordered(old: list[str] | None, new: list[str] | None) -> tuple[list[str], list[str]]:
    """The columns that both sides have, in the order of each.

    One that came or went is told by itself.
    """
    both = set(old or ()) & set(new or ())
    return [name for name in old or () if name in both], [
        name for name in new or () if name in both
    ]


def _same(old: Any, new: Any) -> bool:
    return bool(old == new)


def same_after_restore(old: Any, new: Any) -> bool:
    """Return whether both are the same but for casts and brackets.

    PostgreSQL writes them elsewhere in an expression that was restored from a dump.
    """
    if isinstance(old, str) and isinstance(new, str):
        return old == new or _bare(old) == _bare(new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same_after_restore, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(
            same_after_restore(old[key], new[key]) for key in old
        )
    return _same(old, new)


def _bare(expression: str) -> str:
    """The expression without casts to text types, brackets and white space."""
    return re.sub(
        r"::(?:text|character varying|bpchar)(?:\(\d+\))?(?:\[\])?|[()\s]", "", expression
    )


def _changed(key: str, before: Any, after: Any) -> str:
    key = key.replace("_", " ")
    if isinstance(before, list) and isinstance(after, list):
        gained = [str(item) for item in after if item not in before]
        lost = [str(item) for item in before if item not in after]
        parts = ([f"gained {', '.join(gained)}"] if gained else []) + (
            [f"lost {', '.join(lost)}"] if lost else []
        )
        return f"{key} {'; '.join(parts) or 'in another order: ' + ', '.join(map(str, after))}"
    if key == "body md5":
        return "body changed"
    return f"{key} changed from {_value(before)} to {_value(after)}"


def _described(kind: str, properties: Properties) -> str:
    if kind == "column":
        return ", ".join(_column(properties))
    if kind == "index":
        states = [
            word
            for word, bad in (
                ("INVALID", not properties.get("valid", True)),
                ("not ready", not properties.get("ready", True)),
            )
            if bad
        ]
        return ", ".join([f"{properties['definition']}", *states])
    if kind == "constraint":
        return str(properties["definition"]) + (
            "" if properties.get("validated", True) else ", not validated"
        )
    shown = [
        f"{key.replace('_', ' ')} {_value(value)}"
        for key, value in properties.items()
        if key not in _SILENT and value != []
    ]
    return ", ".join(shown)


def _column(properties: Properties) -> Iterator[str]:
    kind = properties["type"]
    yield kind
    if "not_null" in properties:
        yield "not null" if properties["not_null"] == "yes" else "not null, not validated"
    if "default" in properties:
        yield f"default {properties['default'].removesuffix(f'::{kind}')}"
    for key in ("generated", "identity", "collation"):
        if key in properties:
            yield f"{key} {properties[key]}"


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())
