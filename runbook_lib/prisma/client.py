"""The client that runs now.

Which tables, columns and enum values its schema names, and which of them the pending files take
away.

The deployed Prisma schema tells it. Without one, the client is taken to name everything that the
live catalogue has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType as AT
from pglast.enums import ConstrType as C

from runbook_lib.prisma import types
from runbook_lib.prisma.judge import Statement
from runbook_lib.prisma.names import bare, join, listed, parts, quote, relation, short
from runbook_lib.prisma.schemafile import blocks
from runbook_lib.table import Shown, Table

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]
ASSUMED = (
    "`prisma.deployed_schema` is not set: the running client is taken to name every table, column "
    "and enum value of the live catalogue"
)
_MAP = re.compile(r'(?<!@)@map\(\s*(?:name:\s*)?"([^"]+)"')
_BLOCK_MAP = re.compile(r'@@map\(\s*(?:name:\s*)?"([^"]+)"')
_SCHEMA = re.compile(r'@@schema\(\s*(?:map:\s*)?"([^"]+)"')
_FIELD = re.compile(r"^(\w+)\s+(\w+)(\[\])?(\?)?(.*)$")


@dataclass(frozen=True)
class Field:
    """A field of a model: the client's name, whether it may write NULL, its type.

    The type is the schema's, empty if it is not known.
    """

    name: str
    optional: bool = False
    type: str = ""


@dataclass(frozen=True)
class Model:
    """A model: how the client calls it, and its fields by the quoted name of their column."""

    name: str
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class Client:
    """What the running client names.

    Args:
        models: by qualified table.
        enums: by qualified type, the client's name and its values as the database has them.
        assumed: why that is taken to be so; empty where the deployed schema says it.
    """

    models: Mapping[str, Model]
    enums: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    assumed: str = ""


@dataclass(frozen=True)
class Break:
    """One thing of the running client that the pending files break.

    Args:
        file, line: the statement.
        names: what the client calls it: model and field, model, or enum and value.
        database: what the database calls it.
        why: what fails.
        steps: the way that breaks no client, in steps.
    """

    file: str
    line: int
    names: str
    database: str
    why: str
    steps: tuple[str, ...]

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Breaks(Shown):
    """Everything that the pending files break for the client that runs now."""

    items: tuple[Break, ...]
    assumed: str = ""

    def table(self) -> Table:
        """The breaks as rows."""
        rows = [
            (
                item.names,
                item.database,
                item.place,
                item.why,
                "; ".join(f"{number}. {step}" for number, step in enumerate(item.steps, 1)),
            )
            for item in self.items
        ]
        assumed = f" ({self.assumed})" if self.assumed else ""
        title = (
            f"{len(rows)} things that the running client names are gone, renamed or stricter "
            f"afterwards{assumed}"
        )
        return Table(
            title,
            ("the client's", "in the database", "where", "what fails", "without breaking it"),
            rows,
            ["bad"] * len(rows),
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"breaks": [asdict(item) for item in self.items], "assumed": self.assumed}


def of_schema(text: str, schema: str = "public") -> Client:
    """The client that a Prisma schema makes.

    Args:
        schema: where tables live that name none.
    """
    found = blocks(text)
    models = {name for kind, name, _ in found if kind in ("model", "view")}
    enums = {}
    for kind, name, lines in found:
        if kind == "enum":
            values = tuple(
                (_MAP.search(line) or [None, line.split()[0]])[1]
                for line in lines
                if not line.startswith("@@")
            )
            enums[_qualified(name, lines, schema)] = name, values
    return Client(
        {
            _qualified(name, lines, schema): Model(name, dict(_fields(lines, models)))
            for _, name, lines in found
            if name in models
        },
        enums,
    )


def _qualified(name: str, lines: list[str], schema: str) -> str:
    every = "\n".join(lines)
    mapped, placed = _BLOCK_MAP.search(every), _SCHEMA.search(every)
    return join(placed[1] if placed else schema, mapped[1] if mapped else name)


def _fields(lines: list[str], models: set[str]) -> Iterator[tuple[str, Field]]:
    """Each field that is a column: relations are none."""
    for line in lines:
        found = _FIELD.match(line)
        if found and found[2] not in models:
            mapped = _MAP.search(found[5])
            yield (
                quote(mapped[1] if mapped else found[1]),
                Field(found[1], bool(found[4]), found[2]),
            )


def of_catalog(objects: Objects) -> Client:
    """The client that names all that is there."""
    fields: dict[str, dict[str, Field]] = {
        table: {} for table in objects.get("table", {}) if bare(table) != "_prisma_migrations"
    }
    for name, value in objects.get("column", {}).items():
        table = join(*parts(name)[:2])
        if table in fields:
            fields[table][quote(bare(name))] = Field(bare(name), value.get("not_null") != "yes")
    return Client(
        {table: Model(bare(table), columns) for table, columns in fields.items()},
        {
            name: (bare(name), tuple(value.get("labels", ())))
            for name, value in objects.get("enum", {}).items()
        },
        ASSUMED,
    )


def breaks(
    client: Client, statements: Sequence[Statement], objects: Objects, schema: str = "public"
) -> Breaks:
    """Return what of the client's the database no longer has or takes.

    Once all pending files are applied.

    Args:
        objects: of the live catalogue.
        schema: where unqualified names live.
    """
    after = _After(objects, schema)
    for statement in statements:
        after.learn(statement)
    items = [*_gone(client, after), *_stricter(client, after), *_values(client, after)]
    order = {statement.place: number for number, statement in enumerate(statements)}
    return Breaks(tuple(sorted(items, key=lambda item: order.get(item.place, 0))), client.assumed)


class _After:
    """Names and rules once the statements are applied, and which statement made them so."""

    def __init__(self, objects: Objects, schema: str) -> None:
        self.schema = schema
        self.gone: dict[str, tuple[Statement, str]] = {}
        self.columns: dict[str, dict[str, Any]] = {}
        self.labels = {
            name: list(value.get("labels", ())) for name, value in objects.get("enum", {}).items()
        }
        self.relabelled: dict[str, Statement] = {}
        self._objects = objects

    def learn(self, statement: Statement) -> None:
        """One more statement was read."""
        for change in statement.effect.changes:
            if change.action == "removed":
                self.gone[change.name] = statement, change.renamed
                self._rename(change.kind, change.name, change.renamed, statement)
            elif change.action == "added":
                self.gone.pop(change.name, None)
        node = statement.parsed.node
        if isinstance(node, ast.AlterTableStmt):
            for command in node.cmds or ():
                self._alter(statement, relation(node.relation, self.schema), command)
        elif isinstance(node, ast.CreateEnumStmt):
            self.labels[listed(node.typeName, self.schema)] = [
                value.sval for value in node.vals or ()
            ]
        elif isinstance(node, ast.AlterEnumStmt):
            name = listed(node.typeName, self.schema)
            self.labels[name] = [
                label for label in self.labels.get(name, []) if label != node.oldVal
            ] + [node.newVal]
            self.relabelled[name] = statement

    def _rename(self, kind: str, old: str, new: str, statement: Statement) -> None:
        if kind == "enum":
            labels = self.labels.pop(old, [])
            if new:
                self.labels[new], self.relabelled[new] = labels, statement
        if kind == "column" and new and old in self.columns:
            self.columns[new] = self.columns.pop(old)

    def _alter(self, statement: Statement, table: str, command: ast.AlterTableCmd) -> None:
        node, name = command.def_, f"{table}.{quote(command.name or '')}"
        if command.subtype == AT.AT_AddColumn:
            kinds = {constraint.contype for constraint in node.constraints or ()}
            serial = len(node.typeName.names) == 1 and node.typeName.names[0].sval in types.SERIALS
            self._set(
                statement,
                f"{table}.{quote(node.colname)}",
                new=True,
                required=bool(kinds & {C.CONSTR_NOTNULL, C.CONSTR_PRIMARY}),
                filled=serial
                or bool(kinds & {C.CONSTR_DEFAULT, C.CONSTR_GENERATED, C.CONSTR_IDENTITY}),
            )
        elif command.subtype in (AT.AT_SetNotNull, AT.AT_DropNotNull):
            self._set(statement, name, required=command.subtype == AT.AT_SetNotNull)
        elif command.subtype == AT.AT_ColumnDefault:
            self._set(statement, name, filled=node is not None)
        elif command.subtype == AT.AT_AddConstraint and node.contype in (
            C.CONSTR_NOTNULL,
            C.CONSTR_PRIMARY,
        ):
            for key in node.keys or ():
                self._set(statement, f"{table}.{quote(key.sval)}", required=True)

    def _set(self, statement: Statement, column: str, **facts: bool) -> None:
        known = self._objects.get("column", {}).get(column, {})
        required, filled = (
            known.get("not_null") == "yes",
            any(key in known for key in ("default", "generated", "identity")),
        )
        before = self.columns.get(
            column, {"required": required, "filled": filled, "new": False, "was": required}
        )
        self.columns[column] = before | facts | {"by": statement}


def _gone(client: Client, after: _After) -> Iterator[Break]:
    for table, model in client.models.items():
        if table in after.gone:
            statement, renamed = after.gone[table]
            steps = (
                _renamed(model.name, renamed, "@@map")
                if renamed
                else _dropped(f"the model {model.name}", statement.file)
            )
            yield _break(
                statement,
                f"model {model.name}",
                table,
                "renamed" if renamed else "dropped",
                f"every query on {model.name} fails",
                steps,
            )
            continue
        for column, field_ in model.fields.items():
            name = f"{table}.{column}"
            if name in after.gone:
                (statement, renamed), names = after.gone[name], f"{model.name}.{field_.name}"
                steps = (
                    _renamed(names, renamed, "@map")
                    if renamed
                    else _dropped(f"the field {names}", statement.file)
                )
                yield _break(
                    statement,
                    names,
                    name,
                    "renamed" if renamed else "dropped",
                    f"every query that reads or writes whole rows of {model.name} fails: the "
                    "client names each column that it knows",
                    steps,
                )


def _stricter(client: Client, after: _After) -> Iterator[Break]:
    """Columns that refuse what the client writes, or leaves out."""
    for name, rule in after.columns.items():
        table, column = join(*parts(name)[:2]), quote(bare(name))
        model = client.models.get(table)
        if model is None or not rule["required"] or name in after.gone:
            continue
        field_ = model.fields.get(column)
        if field_ is None and not rule["filled"]:
            why = (
                f"every row of {model.name} that the client creates fails: it leaves {bare(name)} "
                "out, and there is no default"
            )
            yield _break(
                rule["by"],
                f"{model.name} (no field)",
                name,
                "required",
                why,
                _required(f"{model.name}.{bare(name)}", name),
            )
        elif field_ is not None and field_.optional and not rule["was"] and not rule["new"]:
            names = f"{model.name}.{field_.name}"
            yield _break(
                rule["by"],
                names,
                name,
                "not null",
                f"the client may write NULL: {field_.name} is optional in its schema",
                (
                    f"deploy a client in whose schema {names} is not optional",
                    "fill the rows that hold NULL",
                    "set NOT NULL once no instance of the old client runs",
                ),
            )


def _values(client: Client, after: _After) -> Iterator[Break]:
    for type_, (enum, values) in client.enums.items():
        if type_ in after.gone and not after.gone[type_][1]:
            statement = after.gone[type_][0]
            yield _break(
                statement,
                f"enum {enum}",
                type_,
                "dropped",
                f"every query with a {enum} fails",
                _dropped(f"the enum {enum}", statement.file),
            )
        for value in values if type_ in after.relabelled and type_ in after.labels else ():
            if value not in after.labels[type_]:
                why = f"the client may write {value}, and the database refuses it"
                yield _break(
                    after.relabelled[type_],
                    f"{enum}.{value}",
                    type_,
                    "value gone",
                    why,
                    (
                        f"deploy a client that neither writes nor expects {value}",
                        "give the rows that hold it another value",
                        "take the value away once no instance of the old client runs",
                    ),
                )


def _break(
    statement: Statement, names: str, database: str, how: str, why: str, steps: tuple[str, ...]
) -> Break:
    return Break(
        statement.file, statement.parsed.line, names, f"{short(database)} ({how})", why, steps
    )


def _dropped(what: str, file: str) -> tuple[str, ...]:
    return (
        f"deploy a client whose schema has {what} no more; the database keeps it",
        "wait until no instance of the old client runs",
        f"apply {file} in a release of its own",
    )


def _renamed(what: str, new: str, attribute: str) -> tuple[str, ...]:
    return (
        f"rename only in the Prisma schema, with {attribute}(…) to the old name: the database "
        "stays as it is",
        f"or: add {bare(new)} beside it, and deploy a client that writes both",
        f"copy the values, and deploy a client that uses {bare(new)} alone",
        f"drop what {what} was in a later release",
    )


def _required(what: str, column: str) -> tuple[str, ...]:
    return (
        f"add {short(column)} with a default, or without NOT NULL",
        f"deploy a client that writes {what}",
        "fill the old rows in batches",
        "set NOT NULL, or drop the default, once no instance of the old client runs",
    )
