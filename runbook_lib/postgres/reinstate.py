"""Brings back what `salvage` saved.

Writes the SQL when it is saved, and runs that very file when it is wanted.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.check import Checks, check
from runbook_lib.errors import ToolError
from runbook_lib.postgres.backup import verify_hashes
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.health import server_facts
from runbook_lib.postgres.program import failures_named
from runbook_lib.postgres.reading import PINNED
from runbook_lib.postgres.target import Target
from runbook_lib.postgres.tools import Tools
from runbook_lib.process import run
from runbook_lib.table import Shown, Table

if TYPE_CHECKING:
    from runbook_lib.postgres.salvage import Found, Part, Saved

_REFUSED = 3
"""psql's exit status where a statement failed: then the transaction was rolled back."""
_HEADINGS = ["state", "name", "what", "rows"]
_SETTINGS = {
    "standard_conforming_strings": "on",
    "work_mem": "64MB",
    "statement_timeout": "0",
    "lock_timeout": "10s",
}
_BEGIN = r"""\set ON_ERROR_STOP on
\set QUIET on
\o /dev/null
BEGIN;
"""
_END = r"""
SET CONSTRAINTS ALL IMMEDIATE;
COMMIT;
\o
\pset format csv
SELECT state, name, what, rows FROM pg_temp.told ORDER BY number;
"""


@dataclass(frozen=True)
class Reinstated(Shown):
    """What came back.

    Args:
        rows: state, name, what is true of it, and of how many rows. The state is "back", "passed
            over", "since" (rows that
            came since) or "open" (to be done by hand).
    """

    rows: tuple[tuple[str, str, str, int | None], ...]
    seconds: float

    @property
    def open(self) -> tuple[str, ...]:
        """What is left for a person."""
        return tuple(f"{name}: {what}" for state, name, what, _ in self.rows if state == "open")

    def table(self) -> Table:
        """The same as rows."""
        left = f"; {len(self.open)} things are left to do by hand" if self.open else ""
        marks = ["unknown" if row[0] == "open" else "" for row in self.rows]
        return Table(f"Reinstated in {self.seconds:.1f} s{left}", _HEADINGS, self.rows, marks)

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)


def reinstate(saved: Saved, target: Target, application_name: str, *, tools: Tools) -> Reinstated:
    """Bring back what was saved, by running its reinstate.sql: all of it, or nothing.

    Saved rows that are no longer there are passed over, and counted; whatever data that came since
    forbids is said.

    Raises:
        CheckError: a file is damaged, or this is another database; nothing was touched.
        ToolError: it was refused, and nothing was changed; or the connection was lost, and the
            error says so.
    """
    ready(saved, target, application_name).require()
    started = time.monotonic()
    done = run(
        [
            tools.path("psql"),
            "-X",
            "--no-password",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            saved.script.name,
        ],
        cwd=saved.folder,
        env=target.environment(application_name),
        keep_lines=100_000,
        check=False,
    )
    if done.status:
        with failures_named(
            "psql",
            "nothing was changed"
            if done.status == _REFUSED
            else "and whether it was committed is not known",
        ):
            raise ToolError(
                f"it ended with status {done.status}",
                f"see to it and run it again: it refuses what is there ({saved.script})",
                status=done.status,
                output=done.output,
            )
    lines = done.output.splitlines()
    told = csv.reader(lines[lines.index(",".join(_HEADINGS)) + 1 :])
    return Reinstated(
        tuple((state, name, what, int(rows) if rows else None) for state, name, what, rows in told),
        time.monotonic() - started,
    )


def ready(saved: Saved, target: Target, application_name: str) -> Checks:
    """Whether every file is as it was saved, and belongs to this database."""
    with Database(target, application_name) as db:
        facts = server_facts(db)
    same = (facts.system_identifier, facts.database_oid) == (
        saved.system_identifier,
        saved.database_oid,
    )
    return verify_hashes(saved) + Checks(
        "",
        [
            check(
                "saved.database",
                "it was saved from this database",
                same,
                f"{target} (oid {facts.database_oid})",
                f"{saved.source} (oid {saved.database_oid})",
                "where the database was restored since, nothing is missing in it; else run "
                f"{saved.script} by hand where it belongs",
            )
        ],
    )


def script(
    found: Found, parts: Sequence[Part], head: str, server_version: int, tables_saved: bool
) -> str:
    """The text of reinstate.sql.

    Args:
        head: where it comes from, in one line.
        server_version: as `server_version_num` has it.
        tables_saved: whether there is a tables.sql.
    """
    settings = (
        PINNED | _SETTINGS | ({"transaction_timeout": "0"} if server_version >= 170000 else {})
    )
    pinned = "".join(
        f"SELECT set_config({_literal(name)}, {_literal(value)}, true);\n"
        for name, value in settings.items()
    )
    blocks = [
        _head(found, head),
        _BEGIN + pinned + "\\ir functions.sql\n",
        *_refusals(found, parts),
    ]
    if tables_saved:
        blocks += [
            "-- Tables and sequences as they were, then the settings that tables.sql changed",
            "\\ir tables.sql",
            pinned,
        ]
    blocks += [
        *_tables(found, parts),
        *_columns(found, parts),
        *_things(found),
        *_views(found.views),
    ]
    return "\n".join(blocks) + _END


def _head(found: Found, head: str) -> str:
    names = [f"table {row['name']}" for row in found.tables] + [
        f"column {row['table']}.{row['name']}" for row in found.columns
    ]
    return (
        _comment(
            "Brings back what a migration dropped:",
            *(f"    {name}" for name in names),
            head,
            "Run it in this folder, with the application in maintenance mode (the tables are "
            "locked until it has ended):",
            "    psql -X -v ON_ERROR_STOP=1 -f reinstate.sql 'host=… dbname=…'",
            "One transaction: all of it, or nothing. At the end it says what came back, what was "
            "passed over, and what is left to do by hand.",
            *(f"NOT brought back: {name} ({why})" for name, why in found.unsaved),
        )
        + "\n"
    )


def _refusals(found: Found, parts: Sequence[Part]) -> Iterator[str]:
    yield _comment(
        "Refuse where it is there again, or where it can no longer be told which row is which"
    )
    for schema in dict.fromkeys(row["schema"] for row in found.tables):
        yield _call("must_have_schema", _literal(schema))
    for row in found.tables:
        yield _call("must_be_free", _literal(row["name"]))
    for table, columns in found.by_table.items():
        yield _call(
            "must_fit",
            _literal(table),
            _array([column["name"] for column in columns]),
            _array(columns[0]["key"] or []),
        )
        if not columns[0]["key"]:
            yield _call("must_be_free", _literal(columns[0]["beside"]))
    for row in found.enums:
        yield _call(
            "must_have_enum", _literal(row["name"]), _array(row["labels"]), _literal(row["list"])
        )


def _tables(found: Found, parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        if part.kind == "table":
            yield _holds(part, part.table)
            yield _call(
                "tell",
                "'back'",
                _literal(part.table),
                "'the table is back with all its rows, compared by content'",
                str(part.rows),
            )
    for row in found.tables:
        if row["attach"]:
            yield _attempt(row["name"], row["attach"])


def _columns(found: Found, parts: Sequence[Part]) -> Iterator[str]:
    by_table = {part.table: part for part in parts if part.kind != "table"}
    for number, (table, columns) in enumerate(found.by_table.items(), 1):
        part = by_table.get(table)
        yield "\n" + _comment(f"{table}: {', '.join(column['name'] for column in columns)}")
        if part and part.kind == "whole rows":
            yield from _beside_it(part, columns)
            continue
        plain = [column for column in columns if not column["generated"]]
        if part:
            yield from _values(part, plain, f"saved_{number}")
        for column in columns:
            if column["generated"]:
                added = (
                    f"ALTER TABLE {table} ADD COLUMN {column['name']} {column['type']} GENERATED "
                    f"ALWAYS AS ({column['expression']}) {column['generated']}"
                )
                yield _attempt(f"{table}.{column['name']}", added)
        for column in columns:
            if column["not_null"]:
                yield _call(
                    "require_value",
                    _literal(table),
                    _literal(column["name"]),
                    _literal(_identity(column)) if column["identity"] else "NULL",
                )
            if column["identity"]:
                yield _attempt(
                    f"{table}.{column['name']}",
                    f"SELECT setval(to_regclass({_literal(column['sequence'])}), {column['last']})",
                )


def _values(part: Part, columns: Sequence[Mapping[str, Any]], saved: str) -> Iterator[str]:
    """Add the columns, load what was saved, prove it, and put it back by the key."""
    definitions = [f"{column['name']} {column['type']}" for column in columns]
    yield f"ALTER TABLE {part.table} {', '.join(f'ADD COLUMN {one}' for one in definitions)};"
    yield (
        f"CREATE TEMPORARY TABLE {saved} "
        f"({', '.join([*columns[0]['key_definitions'], *definitions])}) ON COMMIT DROP;"
    )
    yield f"\\copy pg_temp.{saved} FROM '{part.file}'"
    yield f"ANALYZE pg_temp.{saved};"
    yield _holds(part, f"pg_temp.{saved}")
    for column in columns:
        if column["sequence"] and not column["identity"]:
            yield f"ALTER SEQUENCE {column['sequence']} OWNED BY {part.table}.{column['name']};"
        if column["default"]:
            yield _attempt(
                f"{part.table}.{column['name']}",
                f"ALTER TABLE {part.table} ALTER COLUMN {column['name']} "
                f"SET DEFAULT {column['default']}",
            )
    filled = [column["name"] for column in columns if column["default"]]
    yield _call(
        "put_back",
        _literal(part.table),
        _literal(saved),
        _array(part.key),
        _array(part.columns),
        _array(filled),
    )


def _beside_it(part: Part, columns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table without a key: only a person who knows the data can tell which row was which."""
    beside = columns[0]["beside"]
    yield f"CREATE TABLE {beside} ({', '.join(columns[0]['every_definition'])});"
    yield f"\\copy {beside} FROM '{part.file}'"
    yield _holds(part, beside)
    said = (
        f"has no key: its rows as they were stand in {beside}; "
        f"{', '.join(c['name'] for c in columns)} not added back. Join them by hand"
    )
    yield _call("tell", "'open'", _literal(part.table), _literal(said), str(part.rows))


def _things(found: Found) -> Iterator[str]:
    """Constraints, indexes, comments, privileges, in their order; then what has to be checked."""
    yield "\n" + _comment("What stood on them")
    for row in found.things:
        yield _attempt(row["what"], row["statement"])
    for row in found.things:
        if row["check"]:
            yield _attempt(row["what"], row["check"])
    for name, why in found.unsaved:
        yield _call("tell", "'open'", _literal(name), _literal(f"not brought back: {why}"), "NULL")


def _views(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names, 1):
        back = _call("tell", "'back'", _literal(name), "'the view is back'", "NULL")
        left = _call(
            "tell",
            "'open'",
            _literal(name),
            "'there is a view of that name: left as it is'",
            "NULL",
        )
        yield f"\nSELECT to_regclass({_literal(name)}) IS NULL AS gone \\gset"
        yield f"\\if :gone\n\\ir view_{number}.sql\n{back}\n\\else\n{left}\n\\endif"


def _holds(part: Part, where: str) -> str:
    return _call(
        "must_hold",
        _literal(where),
        _literal(part.hash),
        str(part.rows),
        _literal(part.fingerprint),
    )


def _identity(column: Mapping[str, Any]) -> str:
    return (
        f"ADD GENERATED {column['identity']} AS IDENTITY (SEQUENCE NAME {column['sequence']} "
        f"{column['options']})"
    )


def _attempt(name: str, statement: str) -> str:
    return _call("attempt", _literal(name), _literal(statement))


def _call(function: str, *arguments: str) -> str:
    return f"SELECT pg_temp.{function}({', '.join(arguments)});"


def _array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(map(_literal, values))}]::text[]"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _comment(*lines: str) -> str:
    """Comment lines; a name may hold a line break, which must not end the comment."""
    return "\n".join("-- " + " ".join(line.splitlines()) for line in lines)
