"""Count the rows that violate a demand of a migration, without getting in anybody's way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, identifier
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.reading import pin, reading
from runbook_lib.postgres.target import Target
from runbook_lib.table import size

MOST_BYTES = 20 * 2**30
"""One question may read as much as this; a longer one belongs to the rehearsal."""
TIMEOUT_S = 60.0
"""Seconds for one question."""


@dataclass(frozen=True)
class Counted:
    """One answer.

    Args:
        rows: that violate the demand; `None` where they were not counted.
        why: they were not.
    """

    rows: int | None
    seconds: float = 0.0
    why: str = ""


def count(
    target: Target,
    application_name: str,
    queries: Sequence[str],
    *,
    jobs: int = 2,
    most_bytes: int = MOST_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> list[Counted]:
    """The answers to queries whose one value is a number of rows.

    Each is asked alone, read-only, and bounded.

    Args:
        queries: unqualified names in them live in the target's schema.
        most_bytes: what one of them may read, as the planner has it.

    Raises:
        DatabaseError: no session can be opened.
    """
    return each(
        target,
        application_name,
        jobs,
        queries,
        lambda db, one: _counted(db, one, most_bytes, timeout_s),
    )


def _counted(db: Database, counting: str, most_bytes: int, timeout_s: float) -> Counted:
    started = time.monotonic()
    try:
        with reading(db, statement_timeout_s=timeout_s):
            pin(
                db,
                {
                    "search_path": identifier(db.target.schema).as_string(db.connection),
                    "work_mem": "64MB",
                },
            )
            would_read = _would_read(db, counting)
            if would_read > most_bytes:
                return Counted(None, why=f"not counted: would read {size(would_read)}")
            return Counted(db.value(counting), round(time.monotonic() - started, 3))
    except DatabaseError as error:
        quoting = error.sqlstate.startswith(("22", "23"))  # such a message can quote a value
        said = (
            f"a value that is there makes the question fail ({error.sqlstate})"
            if quoting
            else error.message
        )
        return Counted(None, why=f"not counted: {said}")


def _would_read(db: Database, counting: str) -> int:
    """The bytes of all tables that the planner would read from end to end."""
    plan = db.value(f"EXPLAIN (VERBOSE, FORMAT JSON) {counting}")
    nodes = _nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    read = [
        (node["Schema"], node["Relation Name"]) for node in nodes if node["Node Type"] == "Seq Scan"
    ]
    return sum(
        db.value("SELECT pg_table_size(%s::regclass)", [identifier(*name).as_string(db.connection)])
        for name in read
    )


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)
