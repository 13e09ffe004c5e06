"""How a query is carried out, and what that costs.

Its plan with times and buffers, and nothing of what it reads.

Conditions in a plan carry constants; they are kept masked. The query runs in a READ ONLY
transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from psycopg import sql

from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, identifier, translated
from runbook_lib.postgres.sqltext import masked
from runbook_lib.table import Table, text

LONGEST_S = 60.0
"""Seconds after which a query is given up."""
REPEATS = 3
"""Measured runs, after one that fills the cache; a query that takes longer than `ONCE_S` is run
once.
"""
ONCE_S = 3.0
_OPTIONS = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"
_CONDITIONS = (
    "Index Cond",
    "Recheck Cond",
    "TID Cond",
    "Merge Cond",
    "Hash Cond",
    "Join Filter",
    "Filter",
    "One-Time Filter",
    "Sort Key",
    "Presorted Key",
    "Group Key",
)
_UNDEFINED = frozenset({"42P01", "42703", "42704", "42883", "3F000"})
_GIVEN_UP = "57014"


@dataclass(frozen=True)
class Node:
    """One node of a plan.

    Args:
        depth: 0 for the root.
        shape: what it does, with which relation and index; two plans of the same shapes are the
            same plan.
        conditions: by what it joins, filters, sorts; constants masked.
        expected_rows, rows: a loop, as planned and as seen.
        buffers: shared buffers that it and all below it touched, hit and read.
    """

    depth: int
    shape: str
    conditions: tuple[str, ...]
    expected_rows: float
    rows: float
    loops: float
    buffers: int


@dataclass(frozen=True)
class Measured:
    """A query that was run.

    Args:
        name: what the parameters call it.
        ms: execution times; empty where it could not be run.
        hit, read: shared buffers that were in the cache, and that were not, in the last run.
        temporary: blocks of temporary files, written and read.
        nodes: the plan, from its root; empty where it did not come to an end.
        why: why it could not be run or was given up.
        undefined: whether it names something that does not exist.
    """

    name: str
    ms: tuple[float, ...] = ()
    hit: int = 0
    read: int = 0
    temporary: int = 0
    nodes: tuple[Node, ...] = ()
    why: str = ""
    undefined: bool = False

    @property
    def median_ms(self) -> float | None:
        """Of the measured runs; where it was given up, how long it had taken until then."""
        return median(self.ms) if self.ms else None

    @property
    def buffers(self) -> int | None:
        """Shared buffers of 8 KiB that it touched; `None` where it did not come to an end."""
        return self.hit + self.read if self.nodes else None

    @property
    def shape(self) -> tuple[tuple[int, str], ...]:
        """The plan without its figures."""
        return tuple((node.depth, node.shape) for node in self.nodes)

    def tree(self) -> str:
        """The plan as indented text.

        Of each node the rows that it gave of those expected, a time, and the buffers of it and all
        below.
        """
        return "\n".join(line for node in self.nodes for line in _lines(node)) or self.why

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measured:
        """What `as_dict` gave."""
        nodes = tuple(
            Node(**{**node, "conditions": tuple(node["conditions"])}) for node in data["nodes"]
        )
        return cls(**{**data, "ms": tuple(data["ms"]), "nodes": nodes})


def measure(db: Database, name: str, query: str, longest_s: float = LONGEST_S) -> Measured:
    """Run a query a few times with EXPLAIN (ANALYZE, BUFFERS), as for the application.

    Args:
        query: one SELECT without parameters (`runbook_lib.surroundings.Query`).
        longest_s: seconds for one run.

    Returns:
        Its times and plan; where it names something that does not exist, or took too long, that.

    Raises:
        DatabaseError: it was refused for another reason: that says nothing of its speed.
    """
    try:
        found = _explained(db, query, longest_s)
        if found["Execution Time"] > ONCE_S * 1000:
            return _measured(name, [found])
        return _measured(name, [_explained(db, query, longest_s) for _ in range(REPEATS)])
    except DatabaseError as error:
        if error.sqlstate == _GIVEN_UP:
            return Measured(name, (longest_s * 1000,), why=f"given up after {longest_s:g} s")
        if error.sqlstate in _UNDEFINED:
            return Measured(name, why=error.message, undefined=True)
        raise


def measure_all(db: Database, queries: Mapping[str, str]) -> tuple[Measured, ...]:
    """`measure` for each; of one that was refused, why.

    Args:
        queries: name → query.
    """
    return tuple(_measured_or_why(db, name, query) for name, query in queries.items())


def _measured_or_why(db: Database, name: str, query: str) -> Measured:
    try:
        return measure(db, name, query)
    except DatabaseError as error:
        return Measured(name, why=error.message)


def table(measured: Sequence[Measured]) -> Table:
    """One row a query; conditions are left to `tree`."""
    rows = [
        (
            one.name,
            one.median_ms,
            one.hit + one.read if one.nodes else None,
            one.read if one.nodes else None,
            one.temporary if one.nodes else None,
            " ← ".join(dict.fromkeys(node.shape for node in one.nodes)) or one.why,
        )
        for one in measured
    ]
    return Table(
        f"{len(rows)} named statements, each run {REPEATS} times"
        if rows
        else "No statement is named: `validate.statements` is not set",
        (
            "statement",
            "median ms",
            "buffers (8 KiB)",
            "of them read",
            "temporary blocks",
            "plan, from its root",
        ),
        rows,
        ["" if one.nodes else "unknown" for one in measured],
    )


def _explained(db: Database, query: str, longest_s: float) -> dict[str, Any]:
    """One run; nothing of the transaction stays."""
    with translated(), db.connection.transaction(force_rollback=True):
        db.execute("SET TRANSACTION READ ONLY")
        db.execute(sql.SQL("SET LOCAL search_path TO {}").format(identifier(db.target.schema)))
        db.execute(f"SET LOCAL statement_timeout = '{longest_s:g}s'")
        found: dict[str, Any] = db.value(f"EXPLAIN ({_OPTIONS}) {query.strip().rstrip(';')}")[0]
        return found


def _measured(name: str, runs: list[dict[str, Any]]) -> Measured:
    root = runs[-1]["Plan"]
    return Measured(
        name,
        tuple(run["Execution Time"] for run in runs),
        root["Shared Hit Blocks"],
        root["Shared Read Blocks"],
        root["Temp Read Blocks"] + root["Temp Written Blocks"],
        tuple(_nodes(root)),
    )


def _nodes(node: Mapping[str, Any], depth: int = 0) -> Iterator[Node]:
    conditions = tuple(f"{key}: {_condition(node[key])}" for key in _CONDITIONS if key in node)
    yield Node(
        depth,
        _shape(node),
        conditions,
        node["Plan Rows"],
        node["Actual Rows"],
        node["Actual Loops"],
        node["Shared Hit Blocks"] + node["Shared Read Blocks"],
    )
    for child in node.get("Plans", ()):
        yield from _nodes(child, depth + 1)


def _condition(value: str | list[str]) -> str:
    return ", ".join(map(masked, value)) if isinstance(value, list) else masked(value)


def _shape(node: Mapping[str, Any]) -> str:
    """Only names of what the plan uses: what is not listed here is left out."""
    join, strategy = node.get("Join Type", "Inner"), node.get("Strategy", "Plain")
    words = [
        f"{node['Subplan Name']}: " if "Subplan Name" in node else "",
        "Parallel " if node.get("Parallel Aware") else "",
        node["Node Type"],
        f" {join}" if join != "Inner" else "",
        f" ({strategy.lower()})" if strategy != "Plain" else "",
        " backward" if node.get("Scan Direction") == "Backward" else "",
        f" using {node['Index Name']}" if "Index Name" in node else "",
    ]
    on = node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name")
    return "".join(words) + (f" on {on}" if on else "")


def _lines(node: Node) -> Iterator[str]:
    indent = "   " * node.depth
    seen, expected = (
        text(int(rows) if rows == int(rows) else rows) for rows in (node.rows, node.expected_rows)
    )
    often = "" if node.loops == 1 else f", {text(int(node.loops))} times"
    yield (
        f"{indent}{'→ ' if node.depth else ''}{node.shape}  ({seen} of {expected} rows, "
        f"{text(node.buffers)} buffers{often})"
    )
    yield from (f"{indent}     {condition}" for condition in node.conditions)
