"""What 70_validate will be able to see.

Asked before the night, under the ids under which it would be missed after it.

Who accepts at 40_preflight that something cannot be seen is not asked again after the migration.
"""

from __future__ import annotations

from runbook_lib.check import Check, check, unknown
from runbook_lib.postgres.statistics import Statistics

LARGE = 10 * 2**20
"""Bytes from which on a table is large, as `queries/statistics_missing_indexes.sql` has it."""
STATEMENTS = (
    "make it readable; where the server has none, set `validate.slow_queries: false`; or approve"
)
COUNTING = (
    "let the server count (`track_counts`) for a day of normal use, and look again; then approve"
)


def checks(now: Statistics, slow_queries: bool) -> list[Check]:
    """Return what the validation needs to see, each as it is now.

    Args:
        slow_queries: whether the parameters want the statements of pg_stat_statements compared.
    """
    return [
        counting_check(now),
        scans_check(now),
        *([statements_check(now)] if slow_queries else []),
    ]


def counting_check(now: Statistics) -> Check:
    """Whether the server counts what is read and written."""
    id, title = "performance.counting", "the server counts (`track_counts`)"
    if now.database.get("counting", True):
        return check(id, title, True, f"it counts {now.since}")
    return unknown(id, title, "`track_counts` is off: nothing can be compared", "on", COUNTING)


def scans_check(now: Statistics) -> Check:
    """Whether scans of large tables were counted: from them is told which table wants an index."""
    id, title = "performance.scans", "scans of large tables were counted"
    large = [one for one in now.tables.values() if one["table_bytes"] > LARGE]
    if not large:
        return check(id, title, True, "nothing to check: there is no large table")
    if any(one["sequential_scans"] or one["index_scans"] for one in large):
        return check(id, title, True, f"counted {now.since}")
    found = f"no scan of a large table was counted {now.since}"
    return unknown(id, title, found, "counted", COUNTING)


def statements_check(now: Statistics) -> Check:
    """Whether pg_stat_statements can be read, with the statements of every role."""
    id, title = "performance.statements", "pg_stat_statements can be read"
    if now.statements is None:
        return unknown(id, title, now.statements_why, "readable", STATEMENTS)
    return check(id, title, True, f"{len(now.statements)} statements", "readable")
