"""Whether what a database holds keeps its own rules.

Rows without their parent, unusable indexes, rules never checked, sequences behind their column.
Counts only; the query that lists the rows is handed to a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runbook_lib.check import Check, Checks, faults, nothing, unknown
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.reading import pin, reading
from runbook_lib.table import Shown, Table, size

LOCK_TIMEOUT_S = 5.0
"""Seconds that counting waits for a table that somebody has locked exclusively."""

ROWS_PER_KEY = 20
"""From so many rows a key, finding each key in an index is faster than looking up the parent of
every row (about 4 µs against 0.2 to 0.5 µs).
"""
SEQUENCES_AT_ONCE = 50


@dataclass(frozen=True)
class ForeignKey:
    """One foreign key and its orphans.

    Args:
        validated: whether PostgreSQL once checked all rows.
        orphan_keys: how many different values have no parent; `None` where it could not be counted.
        orphan_rows: how many rows have them.
        listing: the query with which a person lists those rows.
        why: why it could not be counted.
    """

    table: str
    constraint: str
    columns: tuple[str, ...]
    referenced: str
    referenced_columns: tuple[str, ...]
    validated: bool
    orphan_keys: int | None
    orphan_rows: int | None
    listing: str
    why: str = ""


@dataclass(frozen=True)
class ForeignKeys(Shown):
    """All foreign keys of a database."""

    items: tuple[ForeignKey, ...]

    def __iter__(self) -> Iterator[ForeignKey]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def broken(self) -> tuple[ForeignKey, ...]:
        """Those that have orphans."""
        return tuple(key for key in self.items if key.orphan_rows)

    def checks(self) -> Checks:
        """One check for each foreign key, `integrity.foreign_key.<table>.<constraint>`."""
        none = nothing(
            "integrity.foreign_key", "every row has its parent", "there is no foreign key"
        )
        return Checks("Foreign keys", [_foreign_key_check(key) for key in self.items] or [none])

    def table(self) -> Table:
        """One row a foreign key."""
        rows = [
            (
                k.table,
                k.columns,
                k.referenced,
                k.validated,
                k.orphan_keys,
                k.orphan_rows,
                k.listing if k.orphan_rows else k.why,
            )
            for k in self
        ]
        marks = [
            "unknown" if k.orphan_rows is None else "bad" if k.orphan_rows else "good" for k in self
        ]
        return Table(
            f"{len(self)} foreign keys, {len(self.broken)} with orphan rows",
            (
                "table",
                "columns",
                "refers to",
                "validated",
                "orphan keys",
                "orphan rows",
                "listed by, or not counted because",
            ),
            rows,
            marks,
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {"foreign_keys": [asdict(key) for key in self.items]}


def foreign_keys(
    db: Database,
    *,
    jobs: int = 2,
    tables: Sequence[str] | None = None,
    statement_timeout_s: float = 600,
) -> ForeignKeys:
    """Count, for every foreign key, the rows whose parent does not exist.

    Also for those that were never validated.

    Args:
        jobs: sessions that count at the same time.
        tables: only foreign keys from or to these, by qualified quoted name.
        statement_timeout_s: seconds for one foreign key; one that takes longer is told as not
            counted.

    Raises:
        DatabaseError: the catalogue cannot be read, or no session can be opened.
    """
    with reading(db):
        found = [
            row
            for row in db.rows(query("health_foreign_keys"))
            if tables is None or {row["table"], row["referenced"]} & set(tables)
        ]
    counted = each(
        db.target,
        db.application_name,
        jobs,
        found,
        lambda session, row: _counted(session, row, statement_timeout_s),
    )
    return ForeignKeys(tuple(sorted(counted, key=lambda key: (key.table, key.constraint))))


def _counted(db: Database, row: Mapping[str, Any], statement_timeout_s: float) -> ForeignKey:
    facts = (
        row["table"],
        row["constraint"],
        tuple(row["columns"]),
        row["referenced"],
        tuple(row["referenced_columns"]),
        row["validated"],
    )
    listing = _listing(row)
    if row["temporal"]:
        return ForeignKey(*facts, None, None, listing, "foreign keys over periods are not counted")
    try:
        with reading(db, statement_timeout_s=statement_timeout_s, lock_timeout_s=LOCK_TIMEOUT_S):
            pin(db, {"work_mem": "64MB"})
            found = db.row(_counting(row)) or {}
    except DatabaseError as error:
        return ForeignKey(*facts, None, None, listing, error.message)
    return ForeignKey(*facts, found["keys"], found["rows"], listing)


def _parts(row: Mapping[str, Any], child: str) -> tuple[str, str, str, str]:
    """Source, parent, the rows that must have a parent, and the match with it."""
    source = row["table"] if row["partitioned"] else f"ONLY {row['table']}"
    parent = row["referenced"] if row["referenced_partitioned"] else f"ONLY {row['referenced']}"
    columns = [f"{child}.{name}" for name in row["columns"]]
    # MATCH SIMPLE lets a row with any NULL pass; MATCH FULL only one with all NULL
    bound = (" OR " if row["match_full"] else " AND ").join(
        f"{name} IS NOT NULL" for name in columns
    )
    match = " AND ".join(
        f"p.{there} {operator} {here}"
        for there, operator, here in zip(
            row["referenced_columns"], row["operators"], columns, strict=True
        )
    )
    return source, parent, bound, match


def _counting(row: Mapping[str, Any]) -> str:
    """All rows without a parent.

    Where many rows share few keys, only those keys, each found in the index right behind the one
    before.
    """
    source, parent, bound, match = _parts(row, "k")
    if (row["rows_per_key"] or 0) < ROWS_PER_KEY:
        columns = ", ".join(f"k.{name}" for name in row["columns"])
        return (
            f"SELECT count(DISTINCT ({columns})) AS keys, count(*) AS rows FROM {source} AS k "
            f"WHERE ({bound}) AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {match})"
        )
    (column,) = row["columns"]
    first = f"SELECT t.{column} FROM {source} AS t WHERE t.{column}"
    return (
        f"WITH RECURSIVE k AS (({first} IS NOT NULL ORDER BY 1 LIMIT 1) UNION ALL "
        f"SELECT ({first} > k.{column} ORDER BY 1 LIMIT 1) FROM k WHERE {bound}) "
        f"SELECT count(*) AS keys, coalesce(sum((SELECT count(*) FROM {source} AS t "
        f"WHERE t.{column} = k.{column})), 0)::bigint AS rows "
        f"FROM k WHERE {bound} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {match})"
    )


def _listing(row: Mapping[str, Any]) -> str:
    source, parent, bound, match = _parts(row, "c")
    return (
        f"SELECT c.* FROM {source} AS c WHERE ({bound}) AND NOT EXISTS (SELECT "
        f"FROM {parent} AS p WHERE {match});"
    )


def _foreign_key_check(key: ForeignKey) -> Check:
    name = f"integrity.foreign_key.{key.table}.{key.constraint}"
    title = f"every {key.table} ({', '.join(key.columns)}) has its {key.referenced}"
    if key.orphan_rows is None:
        return unknown(
            name,
            title,
            key.why,
            "counted",
            "raise the time limit, or run the query by hand: " + key.listing,
        )
    found = (
        f"{key.orphan_rows} rows with {key.orphan_keys} keys have no parent"
        if key.orphan_rows
        else "no orphans"
    )
    wrong = {f"{key.table}.{key.constraint}": key.orphan_rows} if key.orphan_rows else {}
    return faults(name, title, wrong, found, "no orphans", "list them with: " + key.listing)


def invalid_indexes(db: Database) -> Table:
    """The indexes that the planner cannot use.

    Left by an interrupted build, or being built right now.
    """
    rows = db.rows(query("health_invalid_indexes"))
    shown = [
        (row["name"], row["table"], size(row["bytes"]), row["definition"], row["built_by"])
        for row in rows
    ]
    return Table(
        f"{len(rows)} invalid indexes",
        ("index", "table", "size", "definition", "being built by"),
        shown,
        ["bad"] * len(rows),
    )


def unvalidated_constraints(db: Database) -> Table:
    """The constraints that were never checked against the rows that were there before."""
    rows = db.rows(query("health_unvalidated_constraints"))
    shown = [(row["table"], row["name"], row["definition"]) for row in rows]
    return Table(
        f"{len(rows)} constraints not validated", ("table", "constraint", "definition"), shown
    )


def sequences_behind(db: Database) -> Table:
    """The sequences whose next value their column already has or has passed.

    The next insert would fail.
    """
    with reading(db):
        owned = db.rows(query("health_sequences"))
    batches = (
        owned[start : start + SEQUENCES_AT_ONCE]
        for start in range(0, len(owned), SEQUENCES_AT_ONCE)
    )
    found = [behind for batch in batches for behind in _behind(db, batch)]
    return Table(
        f"{len(found)} sequences behind their column",
        ("sequence", "table", "column", "behind by"),
        found,
        ["bad"] * len(found),
    )


def _behind(
    db: Database, batch: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, str, int]]:
    """Those of a batch that are behind, and by how much.

    A transaction of its own, for each needs two locks while it runs.
    """
    statements = [
        f"SELECT {number} AS number, (SELECT "
        f"{'max' if row['increment'] > 0 else 'min'}({row['column']})::numeric "
        f"FROM {row['table']}) AS used, "
        f"last_value, is_called FROM {row['sequence']}"
        for number, row in enumerate(batch)
    ]
    with reading(db, statement_timeout_s=600):
        values = db.rows(" UNION ALL ".join(statements))
    for value in values:
        row, sign = batch[value["number"]], 1 if batch[value["number"]]["increment"] > 0 else -1
        drawn = value["last_value"] - (0 if value["is_called"] else row["increment"])
        if value["used"] is not None and sign * (value["used"] - drawn) > 0:
            yield row["sequence"], row["table"], row["column"], int(sign * (value["used"] - drawn))
