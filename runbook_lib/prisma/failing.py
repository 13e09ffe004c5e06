"""A migration file made to fail after its last statement, to see what it leaves.

In a copy of the project, never in the project.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pglast import parser

from runbook_lib.errors import UsageError
from runbook_lib.prisma import schemafile
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.project import Project
from runbook_lib.prisma.statements import BYTE_ORDER_MARK

REACHED = "runbook_failing.reached"
"""A sequence that the added statement moves, which no rollback undoes: it tells that the file came
so far.
"""
MARK = """CREATE SCHEMA runbook_failing;
CREATE SEQUENCE runbook_failing.reached;
GRANT USAGE ON SCHEMA runbook_failing TO PUBLIC;
GRANT USAGE ON SEQUENCE runbook_failing.reached TO PUBLIC;"""
"""What makes it in the copy of the database."""
_ADDED = f"SELECT nextval('{REACHED}') / 0"


@contextmanager
def failing(
    project: Project, file: MigrationFile, after: int, without: Sequence[str]
) -> Iterator[Project]:
    """Return the project with `file` failing after its statement number `after`.

    To be deployed on a copy of the database.

    Args:
        after: counted from 1; a COMMIT of the file's own stands behind the added statement.
        without: names of the other migrations that the copy does not know: they are left out.
    """
    with schemafile.copied(project) as schema:
        migrations = (schema if schema.is_dir() else schema.parent) / "migrations"
        shutil.copytree(
            project.migrations or file.path.parents[1],
            migrations,
            ignore=lambda folder, names: {*names} & {*without},
        )
        (migrations / file.name / "migration.sql").write_text(
            broken(file.sql, after), encoding="utf-8"
        )
        yield project.elsewhere(schema, migrations, _config(project, schema, migrations))


def broken(sql: str, after: int) -> str:
    """Return the text with a failing statement behind number `after`.

    That one may lack its semicolon.

    Raises:
        UsageError: PostgreSQL's parser does not understand it.
    """
    text = sql.removeprefix(BYTE_ORDER_MARK)
    try:
        raw = parser.parse_sql(text)[after - 1]
    except parser.ParseError as error:
        raise UsageError(f"the file cannot be parsed: {error.args[0]}", "correct it") from None
    end = (raw.stmt_location or 0) + raw.stmt_len if raw.stmt_len else len(text)
    return f"{text[:end]}\n;\n{_ADDED}{text[end:] or ';'}"


def _config(project: Project, schema: Path, migrations: Path) -> Path | None:
    """A configuration that says all that the project's own says, but for the two places."""
    own = project.config_path
    if own is None:
        return None
    made = schema.parent / "prisma.config.ts"
    made.write_text(
        f"import own from {json.dumps(str(own))}\n"
        f"export default {{ ...own, schema: {json.dumps(str(schema))}, migrations: {{ "
        f"...own.migrations, path: {json.dumps(str(migrations))} }} }}\n",
        encoding="utf-8",
    )
    return made
