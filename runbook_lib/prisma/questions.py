"""What the data that is there must fulfil for the pending files to succeed.

Each demand as a query that counts what violates it.

Only the questions are made here, from the parse trees; `runbook_lib.postgres.violations` asks them.
A statement before may repair the data, or make it: then the answer of today settles nothing, and
the question says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType as AT
from pglast.enums import ConstrType as C
from pglast.parser import ParseError, parse_sql

from runbook_lib.prisma import types
from runbook_lib.prisma.before import Before, columns_in
from runbook_lib.prisma.judge import Statement
from runbook_lib.prisma.names import bare, join, listed, parts, quote, relation, short
from runbook_lib.prisma.safer import deparsed

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]
_FILLED = (C.CONSTR_DEFAULT, C.CONSTR_GENERATED, C.CONSTR_IDENTITY)
_TEXTS = ("text", "character varying", "character")
_COUNTED_ROWS = 1000


class Worth(Enum):
    """What an answer of today says about the moment at which the statement will run."""

    SETTLES = "settles it"
    MAY_CHANGE = "an earlier statement writes these rows"
    NO_DATA = "there is no data yet"
    NOT_ASKED = "cannot be asked"


@dataclass(frozen=True)
class Question:
    """One demand of one statement on the rows that are there.

    Args:
        file, line, statement: where it stands.
        kind: "not null", "unique", "foreign key", "check", "exclusion", "type" or "required
            column".
        table: as it is called in the database now.
        demand: what must hold, in words.
        counting: SQL whose one value is the number of rows that violate it; empty where it is not
            asked.
        listing: SQL that lists those rows by their key alone.
        worth: what today's answer says.
        because: the reason for that.
        cuts: values that do not fit are cut, and the statement succeeds.
    """

    file: str
    line: int
    statement: int
    kind: str
    table: str
    demand: str
    counting: str = ""
    listing: str = ""
    worth: Worth = Worth.SETTLES
    because: str = ""
    cuts: bool = False

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


def questions(
    statements: Sequence[Statement],
    objects: Objects,
    schema: str = "public",
    server_version: int = 180000,
) -> tuple[Question, ...]:
    """What the pending statements demand of the data that is there, in their order.

    Args:
        objects: of the live catalogue, kind → name → properties.
        schema: where unqualified names live.
        server_version: as PostgreSQL numbers it.
    """
    asker = _Asker(objects, schema, server_version)
    return tuple(question for statement in statements for question in asker.of(statement))


class _Asker:
    """Goes through the statements, and knows what those before did."""

    def __init__(self, objects: Objects, schema: str, server_version: int) -> None:
        self.objects, self.schema, self.server_version = objects, schema, server_version
        self.before = Before()
        self._unchecked: dict[str, ast.Constraint] = {}

    def of(self, statement: Statement) -> Iterator[Question]:
        """The demands of one statement."""
        node = statement.parsed.node
        found: Iterable[Question] = ()
        if statement.effect.changes and isinstance(node, ast.AlterTableStmt):
            found = self._alter_table(
                node,
                {change.name for change in statement.effect.changes if change.action == "added"},
            )
        elif statement.effect.changes and isinstance(node, ast.IndexStmt) and node.unique:
            found = self._unique_index(node)
        elif isinstance(node, ast.AlterDomainStmt):
            found = self._alter_domain(node)
        for question in found:
            yield replace(
                question,
                file=statement.file,
                line=statement.parsed.line,
                statement=statement.parsed.number,
            )
        self.before.learn(statement)

    def _alter_table(self, node: ast.AlterTableStmt, added: set[str]) -> Iterator[Question]:
        table = relation(node.relation, self.schema)
        for command in () if self.before.is_new(table) else node.cmds or ():
            definition = command.def_
            if command.subtype == AT.AT_SetNotNull:
                yield from self._not_null(table, [command.name])
            elif command.subtype in (AT.AT_AddConstraint, AT.AT_AddIndexConstraint):
                yield from self._constraint(table, definition)
            elif command.subtype == AT.AT_ValidateConstraint:
                yield from self._validated(table, command.name)
            elif command.subtype == AT.AT_AlterColumnType:
                yield from self._type(table, command.name, definition)
            elif (
                command.subtype == AT.AT_AddColumn
                and f"{table}.{quote(definition.colname)}" in added
            ):
                yield from self._new_column(table, definition)

    def _constraint(self, table: str, node: ast.Constraint) -> Iterator[Question]:
        columns = [key.sval for key in node.fk_attrs or node.keys or ()]
        if node.skip_validation:
            self._unchecked[f"{table}.{quote(node.conname or '')}"] = node
        elif node.contype == C.CONSTR_NOTNULL:
            yield from self._not_null(table, columns)
        elif node.contype == C.CONSTR_CHECK:
            words = f"every row fulfils {node.conname or 'the check'}"
            yield self._rows(
                "check", table, words, f"NOT ({deparsed(node.raw_expr)})", columns_in(node.raw_expr)
            )
        elif node.contype == C.CONSTR_FOREIGN:
            yield self._foreign_key(table, node, columns)
        elif node.contype == C.CONSTR_EXCLUSION:
            yield self._exclusion(table, node)
        elif node.indexname and node.contype == C.CONSTR_PRIMARY:
            yield self._unasked(
                "not null",
                table,
                f"the columns of {node.indexname} hold no NULL",
                "the columns are those of an index",
            )
        elif node.contype in (C.CONSTR_UNIQUE, C.CONSTR_PRIMARY) and not node.indexname:
            yield from self._not_null(table, columns if node.contype == C.CONSTR_PRIMARY else [])
            terms = [quote(self.before.column(table, column)) for column in columns]
            yield self._unique(table, terms, set(columns), "", bool(node.nulls_not_distinct))

    def _validated(self, table: str, name: str) -> Iterator[Question]:
        """VALIDATE CONSTRAINT asks what adding it left out."""
        node = self._unchecked.get(f"{table}.{quote(name)}")
        known = self.objects.get("constraint", {}).get(f"{self.before.table(table)}.{quote(name)}")
        if node is None and known:
            node = _parsed(name, known["definition"])
        if node is None:
            yield self._unasked(
                "check", table, f"every row fulfils {name}", "the constraint is not known"
            )
            return
        kept, node.skip_validation = node.skip_validation, False
        try:
            yield from self._constraint(table, node)
        finally:
            node.skip_validation = kept

    def _not_null(self, table: str, columns: list[str]) -> Iterator[Question]:
        for column in columns:
            live = quote(self.before.column(table, column))
            known = self.objects.get("column", {}).get(f"{self.before.table(table)}.{live}", {})
            if known.get("not_null") != "yes":
                yield self._rows(
                    "not null",
                    table,
                    f"{short(table)}.{quote(column)} holds no NULL",
                    f"{live} IS NULL",
                    {column},
                    plain=True,
                )

    def _unique_index(self, node: ast.IndexStmt) -> Iterator[Question]:
        table = relation(node.relation, self.schema)
        if self.before.is_new(table):
            return
        expressions = [node.whereClause, *(element.expr for element in node.indexParams)]
        used = {element.name for element in node.indexParams if element.name}.union(
            *map(columns_in, expressions)
        )
        terms = [self._term(table, element) for element in node.indexParams]
        if any(element.opclass for element in node.indexParams):
            yield self._unasked(
                "unique",
                table,
                _alike(table, terms),
                "its operator class may compare in its own way",
            )
        else:
            condition = deparsed(node.whereClause) if node.whereClause else ""
            yield self._unique(
                table,
                terms,
                used,
                condition,
                bool(node.nulls_not_distinct),
                plain=not any(expressions),
            )

    def _term(self, table: str, element: ast.IndexElem) -> str:
        term = (
            quote(self.before.column(table, element.name))
            if element.name
            else f"({deparsed(element.expr)})"
        )
        return term + (
            f" COLLATE {join(*(part.sval for part in element.collation))}"
            if element.collation
            else ""
        )

    def _unique(
        self,
        table: str,
        terms: list[str],
        used: set[str],
        condition: str,
        nulls_alike: bool,
        plain: bool = True,
    ) -> Question:
        conditions = [f"({condition})"] if condition else []
        conditions += [] if nulls_alike else [f"{term} IS NOT NULL" for term in terms]
        where, listed_terms = (
            f" WHERE {' AND '.join(conditions)}" if conditions else "",
            ", ".join(terms),
        )
        source = self._only(table)
        groups = f"FROM {source}{where} GROUP BY {listed_terms} HAVING count(*) > 1"
        key = self._key(table)
        marked = (
            f"SELECT {key}, count(*) OVER (PARTITION BY {listed_terms}) AS alike "
            f"FROM {source}{where}"
        )
        return self._asked(
            "unique",
            table,
            _alike(table, terms) + (" where its condition holds" if condition else ""),
            f"SELECT coalesce(sum(n - 1), 0)::bigint FROM (SELECT count(*) AS n {groups}) AS alike",
            f"SELECT {key} FROM ({marked}) AS rows WHERE alike > 1",
            used,
            plain,
        )

    def _foreign_key(self, table: str, node: ast.Constraint, columns: list[str]) -> Question:
        other = relation(node.pktable, self.schema)
        to = [key.sval for key in node.pk_attrs or ()] or [
            bare(column) for column in self._primary_key(self.before.table(other))
        ]
        words = (
            f"each {short(table)}.{', '.join(map(quote, columns))} has its row in {short(other)}"
        )
        if self.before.is_new(other):
            return replace(
                self._unasked(
                    "foreign key", table, words, f"{short(other)} is made by these files"
                ),
                worth=Worth.NO_DATA,
            )
        here = [f"c.{quote(self.before.column(table, column))}" for column in columns]
        match = " AND ".join(
            f"p.{quote(self.before.column(other, there))} = {mine}"
            for there, mine in zip(to, here, strict=False)
        )
        bound = (" OR " if node.fk_matchtype == "f" else " AND ").join(
            f"{mine} IS NOT NULL" for mine in here
        )
        orphans = (
            f"FROM {self._only(table)} AS c WHERE ({bound}) AND NOT EXISTS (SELECT "
            f"FROM {self._only(other)} AS p WHERE {match})"
        )
        asked = self._asked(
            "foreign key",
            table,
            words,
            f"SELECT count(*) {orphans}",
            f"SELECT {self._key(table, 'c.')} {orphans}",
            set(columns),
        )
        return self._weighed(asked, other, set(to)) if asked.worth is Worth.SETTLES else asked

    def _exclusion(self, table: str, node: ast.Constraint) -> Question:
        words = (
            f"no two rows of {short(table)} exclude each other by "
            f"{node.conname or 'the constraint'}"
        )
        pairs = [
            (element, [part.sval for part in operator]) for element, operator in node.exclusions
        ]
        if (
            node.where_clause
            or not all(element.name for element, _ in pairs)
            or self._partitioned(table)
        ):
            return self._unasked(
                "exclusion",
                table,
                words,
                "it excludes by an expression, by a condition, or over partitions",
            )
        names = [
            (quote(self.before.column(table, element.name)), operator[-1])
            for element, operator in pairs
        ]
        match = " AND ".join(f"a.{name} {operator} b.{name}" for name, operator in names)
        source = self._only(table)
        found = (
            f"FROM {source} AS a WHERE EXISTS (SELECT FROM {source} AS b "
            f"WHERE a.ctid <> b.ctid AND {match})"
        )
        return self._asked(
            "exclusion",
            table,
            words,
            f"SELECT count(*) {found}",
            f"SELECT {self._key(table, 'a.')} {found}",
            {element.name for element, _ in pairs},
        )

    def _new_column(self, table: str, node: ast.ColumnDef) -> Iterator[Question]:
        found = {constraint.contype: constraint for constraint in node.constraints or ()}
        serial = len(node.typeName.names) == 1 and node.typeName.names[0].sval in types.SERIALS
        name = f"{short(table)}.{quote(node.colname)}"
        if (
            (C.CONSTR_NOTNULL in found or C.CONSTR_PRIMARY in found)
            and not serial
            and not any(kind in found for kind in _FILLED)
        ):
            some = (
                f"SELECT count(*) FROM (SELECT FROM {self.before.table(table)} "
                f"LIMIT {_COUNTED_ROWS}) AS rows"
            )
            words = (
                f"{short(table)} has no row, for {name} would be NULL in it (counted up to "
                f"{_COUNTED_ROWS})"
            )
            yield self._asked(
                "required column",
                table,
                words,
                some,
                f"SELECT {self._key(table)} FROM {self.before.table(table)}",
                set(),
            )
        for constraint in found.values():
            if C.CONSTR_DEFAULT in found and constraint.contype in (
                C.CONSTR_UNIQUE,
                C.CONSTR_FOREIGN,
                C.CONSTR_CHECK,
            ):
                unasked = self._unasked(
                    "check",
                    table,
                    f"the default of {name} fulfils its constraint",
                    f"{name} is made by this statement",
                )
                yield replace(unasked, worth=Worth.NO_DATA)

    def _alter_domain(self, node: ast.AlterDomainStmt) -> Iterator[Question]:
        name = listed(node.typeName, self.schema)
        checked = (
            node.subtype == "C"
            and node.def_.contype == C.CONSTR_CHECK
            and not node.def_.skip_validation
        )
        for column, value in (
            self.objects.get("column", {}).items() if checked or node.subtype == "O" else ()
        ):
            if value.get("type") == name:
                *table, last = parts(column)
                live = quote(last)
                values = (
                    f"FROM (SELECT {self._key(join(*table))}, {live} AS value "
                    f"FROM {join(*table)}) AS rows WHERE "
                )
                values += f"NOT ({deparsed(node.def_.raw_expr)})" if checked else "value IS NULL"
                yield self._asked(
                    "check" if checked else "not null",
                    join(*table),
                    f"each {short(column)} fits the domain {short(name)}",
                    f"SELECT count(*) {values}",
                    f"SELECT {self._key(join(*table))} {values}",
                    {last},
                )

    def _type(self, table: str, column: str, node: ast.ColumnDef) -> Iterator[Question]:
        """A narrower type refuses values, or cuts them where the cast is explicit."""
        live = quote(self.before.column(table, column))
        old = (
            self.objects.get("column", {}).get(f"{self.before.table(table)}.{live}", {}).get("type")
        )
        new = types.of(node.typeName, self.schema)
        labels = self.before.labels(new)
        if labels is None and not types.narrows(old, new) and old is not None:
            return
        words = f"each {short(table)}.{quote(column)} fits {new}"
        by_text, plain = _cast(node.raw_default, column)
        before, after = types.split(old or "")[0], types.split(new)[0]
        length = (
            types.split(new)[1]
            if after in ("character varying", "character", "bit varying")
            else ()
        )
        if not plain:
            yield self._unasked("type", table, words, "USING computes the new value")
        elif labels is not None:
            allowed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
            yield self._rows(
                "type", table, words, f"{live}::text NOT IN ({allowed})", {column}, plain=True
            )
        elif length:
            asked = self._rows(
                "type",
                table,
                words,
                f"char_length(rtrim({live}::text)) > {length[0]}",
                {column},
                plain=True,
            )
            yield replace(asked, cuts=isinstance(node.raw_default, ast.TypeCast))
        elif not (
            by_text or before in _TEXTS or before == after or {before, after} <= set(types.NUMBERS)
        ):
            yield self._unasked(
                "type",
                table,
                words,
                f"what a cast from {old} makes of a value only the server knows",
            )
        elif self.server_version < 160000:
            yield self._unasked(
                "type",
                table,
                words,
                "PostgreSQL 15 cannot tell whether a value is valid (pg_input_is_valid came with "
                "16)",
            )
        else:
            whole = after in ("smallint", "integer", "bigint") and before in (
                "numeric",
                "real",
                "double precision",
            )
            value = f"round({live}::numeric)::text" if whole else f"{live}::text"
            yield self._rows(
                "type",
                table,
                words,
                f"NOT pg_input_is_valid({value}, '{new.replace(chr(39), chr(39) * 2)}')",
                {column},
                plain=True,
            )

    def _rows(
        self,
        kind: str,
        table: str,
        words: str,
        condition: str,
        columns: set[str],
        plain: bool = False,
    ) -> Question:
        """A demand on each row alone; `condition` holds for those that violate it."""
        source = f"FROM {self.before.table(table)} WHERE {condition}"
        return self._asked(
            kind,
            table,
            words,
            f"SELECT count(*) {source}",
            f"SELECT {self._key(table)} {source}",
            columns,
            plain,
        )

    def _asked(
        self,
        kind: str,
        table: str,
        words: str,
        counting: str,
        listing: str,
        columns: set[str],
        plain: bool = True,
    ) -> Question:
        """The question, where it can be asked.

        `plain`: its columns already have the names of today.
        """
        made = next(
            (column for column in sorted(columns) if self.before.is_new_column(table, column)), ""
        )
        question = Question(
            "", 0, 0, kind, self.before.table(table), words, counting, f"{listing};"
        )
        if made:
            because = f"{short(table)}.{quote(made)} is made by these files: the rehearsal tells"
            return replace(question, counting="", listing="", worth=Worth.NO_DATA, because=because)
        if not plain and any(self.before.column(table, column) != column for column in columns):
            return self._unasked(
                kind, table, words, "an earlier statement renames one of its columns"
            )
        return self._weighed(question, table, columns)

    def _weighed(self, question: Question, table: str, columns: set[str]) -> Question:
        why = self.before.written(table, columns)
        return (
            replace(question, worth=Worth.MAY_CHANGE, because=f"{why}: the rehearsal tells")
            if why
            else question
        )

    def _unasked(self, kind: str, table: str, words: str, why: str) -> Question:
        return Question(
            "",
            0,
            0,
            kind,
            self.before.table(table),
            words,
            worth=Worth.NOT_ASKED,
            because=f"{why}: the rehearsal tells",
        )

    def _partitioned(self, table: str) -> bool:
        return (
            self.objects.get("table", {}).get(self.before.table(table), {}).get("kind")
            == "partitioned table"
        )

    def _only(self, table: str) -> str:
        """A unique index or foreign key stands on the table alone.

        On a partitioned one, on all partitions.
        """
        return (
            self.before.table(table)
            if self._partitioned(table)
            else f"ONLY {self.before.table(table)}"
        )

    def _primary_key(self, table: str) -> tuple[str, ...]:
        """The columns of its primary key, quoted."""
        for name, value in self._by_table.get(table, ()):
            node = (
                _parsed(bare(name), value["definition"])
                if value.get("type") == "primary key"
                else None
            )
            if node:
                return tuple(quote(key.sval) for key in node.keys)
        return ()

    @cached_property
    def _by_table(self) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
        """The constraints of each table."""
        grouped: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for name, value in self.objects.get("constraint", {}).items():
            grouped.setdefault(join(*parts(name)[:2]), []).append((name, value))
        return grouped

    def _key(self, table: str, prefix: str = "") -> str:
        """What names a row: its primary key, else where it lies."""
        return ", ".join(
            f"{prefix}{column}"
            for column in self._primary_key(self.before.table(table))
            or ("tableoid::regclass", "ctid")
        )


def _cast(using: ast.Node | None, column: str) -> tuple[bool, bool]:
    """Whether USING casts the column to text first, and whether it does nothing but cast it."""
    by_text = False
    while isinstance(using, ast.TypeCast):
        by_text, using = using.typeName.names[-1].sval == "text", using.arg
    return by_text, using is None or isinstance(using, ast.ColumnRef) and getattr(
        using.fields[-1], "sval", ""
    ) == column


def _parsed(name: str, definition: str) -> ast.Constraint | None:
    """A constraint as the catalogue defines it.

    None where the parser is older than the server and does not know the form.
    """
    try:
        [raw] = parse_sql(f"ALTER TABLE t ADD CONSTRAINT {quote(name)} {definition}")
        found: ast.Constraint = raw.stmt.cmds[0].def_
        return found
    except ParseError:
        return None


def _alike(table: str, terms: list[str]) -> str:
    return f"no two rows of {short(table)} are alike in {', '.join(terms)}"
