"""Indexes that are not valid, put into a copy as a failed build left them in the original.

pg_dump leaves them out, and a file that drops or rebuilds one would be rehearsed on something else
than production.
"""

from __future__ import annotations

import re

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.catalog import Catalog
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target

WAITS = "55P03"
"""SQLSTATE: lock_not_available."""
_INDEX = re.compile(r"^CREATE (UNIQUE )?INDEX ")


def left_behind(copy: Target, original: Catalog, application_name: str) -> dict[str, str]:
    """Leave in a copy each index that is not valid in the original, without building it.

    Returns:
        index → why it could not be left there; empty where all were.
    """
    wrong = {}
    for name in sorted(original.left_out()["index"]):
        try:
            _leave(copy, original, name, application_name)
        except DatabaseError as error:
            wrong[name] = error.message
    return wrong


def _leave(copy: Target, original: Catalog, name: str, application_name: str) -> None:
    """Begin to build it, and give up while the server waits for a writer.

    Its entry stays, as after any interrupted build.
    """
    index = original.objects["index"][name]
    build = _INDEX.sub(r"CREATE \1INDEX CONCURRENTLY ", index["definition"])
    comment = original.objects["comment"].get(f"index {name}")
    with (
        Database(copy, application_name) as writer,
        Database(copy, application_name, lock_timeout="200ms", statement_timeout="30s") as builder,
    ):
        with writer.transaction():
            writer.execute(f"LOCK TABLE ONLY {index['table']} IN ROW EXCLUSIVE MODE")
            try:
                builder.execute(build)
            except DatabaseError as error:
                if error.sqlstate != WAITS:
                    raise
        if comment:
            text = sql.SQL(f"COMMENT ON INDEX {name} IS ") + sql.Literal(comment["text"])
            builder.execute(text)
