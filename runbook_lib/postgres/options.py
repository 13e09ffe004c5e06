"""Tell the options that a person declares from those the server keeps for itself.

Of a table, column, index or view.

Minor releases may write bookkeeping of their own beside the options that people set: those of
November 2026 give every column a number (`pg_attver`) that differs in each database and that
pg_dump leaves out. So only options that PostgreSQL documents are compared. The others are named
once, at the plan; no comparison sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_AUTOVACUUM = (
    "enabled",
    "parallel_workers",
    "vacuum_threshold",
    "vacuum_max_threshold",
    "vacuum_scale_factor",
    "vacuum_insert_threshold",
    "vacuum_insert_scale_factor",
    "analyze_threshold",
    "analyze_scale_factor",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "freeze_min_age",
    "freeze_max_age",
    "freeze_table_age",
    "multixact_freeze_min_age",
    "multixact_freeze_max_age",
    "multixact_freeze_table_age",
)
_VACUUM = frozenset(
    (
        *(f"autovacuum_{name}" for name in _AUTOVACUUM),
        "log_autovacuum_min_duration",
        "log_autoanalyze_min_duration",
        "vacuum_index_cleanup",
        "vacuum_truncate",
        "vacuum_max_eager_freeze_failure_rate",
    )
)
_TABLE = _VACUUM | {f"toast.{name}" for name in _VACUUM}
_TABLE |= {"fillfactor", "toast_tuple_target", "parallel_workers", "user_catalog_table"}
KNOWN = {
    "table": _TABLE,
    "materialized view": _TABLE,
    "view": frozenset(("check_option", "security_barrier", "security_invoker")),
    "column": frozenset(("n_distinct", "n_distinct_inherited")),
    "index": frozenset(
        (
            "fillfactor",
            "deduplicate_items",
            "buffering",
            "fastupdate",
            "gin_pending_list_limit",
            "pages_per_range",
            "autosummarize",
        )
    ),
}
"""Kind of object → every option that PostgreSQL 14 to 19 documents for it."""
KEPT_BY_SERVERS = frozenset(("pg_attver",))
"""Options that servers are known to keep for themselves: never compared, and nothing to ask a
person about.
"""


def split(
    kind: str, options: Iterable[str], *, custom_access_method: bool = False
) -> tuple[list[str], list[str]]:
    """Return the declared options (`name=value`), and the names of those nobody knows.

    Args:
        custom_access_method: the access method is not the server's own; only a person sets its
            options.
    """
    declared, unknown = [], []
    for option in options:
        name = option.partition("=")[0]
        if name in KNOWN.get(kind, ()) or custom_access_method and not name.startswith("pg_"):
            declared.append(option)
        elif name not in KEPT_BY_SERVERS:
            unknown.append(name)
    return sorted(declared), sorted(unknown)


def without(definition: str, options: Iterable[str]) -> str:
    """Return the definition of an index without these of its options.

    PostgreSQL writes them as `WITH (name=value, …)`.
    """
    for option in options:
        name, _, value = (re.escape(part) for part in option.replace("'", "''").partition("="))
        written = f"\"?{name}\"?='?{value}'?"
        definition = re.sub(f" WITH \\({written}\\)", "", definition)
        definition = re.sub(f"(?<=WITH \\(){written}, |, {written}(?=[,)])", "", definition)
    return definition
