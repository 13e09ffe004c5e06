"""What findings say: one rule each, with how grave it is, why, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from runbook_lib.prisma.effect import Remark
from runbook_lib.prisma.names import short
from runbook_lib.table import size, text

SMALL_ROWS = 10_000
"""A table of fewer rows is read, rewritten or indexed in milliseconds: what only costs time there
is no danger.
"""


class Severity(StrEnum):
    """How grave a finding is."""

    INFO = "info"
    WARNING = "warning"
    DANGER = "danger"

    @property
    def mark(self) -> str:
        """The row mark of `runbook_lib.table.Table`."""
        return {"info": "", "warning": "unknown", "danger": "bad"}[self.value]

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return {"danger": 0, "warning": 1, "info": 2}[self.value]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        severity: how grave it is at worst.
        why: one sentence; names in braces are filled in, `{table}` with the table's size.
        safer: what to do where the statement offers nothing better of its own.
        grows: it only costs time, and that grows with the table: no danger where the table is
            small.
        always: said of tables that the migration itself makes, too.
    """

    severity: Severity
    why: str
    safer: str = ""
    grows: bool = False
    always: bool = False


_I, _W, _D = Severity.INFO, Severity.WARNING, Severity.DANGER
_RETRY = (
    "keep lock_timeout short (the migrate phase sets it), and run it when no long transaction is "
    "open"
)
_EXPAND = (
    "expand and contract: add the new beside the old, deploy a client that writes both, copy the "
    "rows, deploy a client that only uses the new, drop the old in a later release"
)

RULES: dict[str, Rule] = {
    # how long others wait
    "table-rewrite": Rule(
        _D,
        "{what} writes all of {table} anew under ACCESS EXCLUSIVE, and its indexes: until it is "
        "done nobody reads or writes it, and the disk holds it twice",
        _EXPAND,
        grows=True,
    ),
    "table-may-be-rewritten": Rule(
        _W,
        "{what} may write all of {table} anew under ACCESS EXCLUSIVE: {because}",
        "measure it in the rehearsal",
        grows=True,
    ),
    "scan-under-exclusive-lock": Rule(
        _D,
        "{what} reads all of {table} under ACCESS EXCLUSIVE: until it is done nobody reads or "
        "writes it",
        grows=True,
    ),
    "constraint-blocks-writes": Rule(
        _D,
        "checking {name} reads all of {table} and blocks writes to it and to {other}",
        grows=True,
    ),
    "index-blocks-writes": Rule(
        _D, "building {name} blocks every write to {table} until it is done", grows=True
    ),
    "refresh-blocks-reads": Rule(
        _D,
        "{what} replaces all of {table} under ACCESS EXCLUSIVE: nobody reads it until that is done",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY; it needs a unique index on the view",
        grows=True,
    ),
    "brief-exclusive-lock": Rule(
        _I,
        "{what} needs ACCESS EXCLUSIVE on {table} for a moment: it waits for every open "
        "transaction that uses the table, and all others wait behind it",
        _RETRY,
    ),
    "brief-write-block": Rule(
        _I,
        "{what} stops writes to {table} for a moment: it waits for every transaction that wrote "
        "there, and new writes wait behind it",
        _RETRY,
    ),
    "explicit-lock": Rule(
        _W,
        "LOCK TABLE holds {mode} on {table} until its transaction ends",
        "leave it out where the statements' own locks do",
    ),
    "built-concurrently": Rule(
        _I,
        "{what} reads {table} twice without blocking reads or writes; it waits for every "
        "transaction that is open, and one that fails leaves an invalid index that slows down "
        "writes",
        "afterwards look for invalid indexes (70_validate does)",
    ),
    "constraint-validated": Rule(
        _I, "checking {name} reads all of {table} while reads and writes go on", grows=True
    ),
    # data
    "table-dropped": Rule(
        _D,
        "{table} and all its rows are destroyed",
        "60_migrate saves it first, with the SQL that puts it back: keep that, and the backup; "
        "better, drop it a release after the last client that used it",
    ),
    "column-dropped": Rule(
        _D,
        "the values of {name} are destroyed in all of {table}",
        "60_migrate saves them first, with the SQL that puts them back: keep that, and the "
        "backup; better, drop the column a release after the last client that used it",
    ),
    "rows-removed": Rule(
        _D,
        "{what} destroys all rows of {table}",
        "save them first, or delete in batches what is known to be obsolete",
    ),
    "rows-deleted": Rule(
        _W,
        "the rows of {table} that match are destroyed, and stay locked until the transaction ends",
        "count them first; delete in batches of some thousands",
    ),
    "rows-cascade": Rule(
        _W,
        "{what} reaches {table} through the foreign key {name}: {action}",
        "count those rows, too",
    ),
    "all-rows-updated": Rule(
        _D,
        "every row of {table} is written anew and locked until the transaction ends; the old "
        "versions double the table until vacuum",
        grows=True,
    ),
    "rows-updated": Rule(
        _W, "the matching rows of {table} are locked until the transaction ends", grows=True
    ),
    "type-narrowed": Rule(
        _D,
        "{name} goes from {old} to {new}: values that do not fit make it fail or are cut",
        _EXPAND,
    ),
    "type-changed": Rule(
        _W,
        "{name} becomes {new}; what it was is not known here, so whether all values fit is not "
        "either",
        "look at the column's type and values",
    ),
    "dropped-with-dependents": Rule(
        _D,
        "CASCADE also drops whatever depends on {name}, named nowhere in the file",
        "drop without CASCADE: PostgreSQL then lists what depends on it",
    ),
    "object-dropped": Rule(
        _W, "{kind} {name} is gone afterwards", "make sure that nothing uses it"
    ),
    # the client that runs now
    "client-breaks": Rule(
        _D,
        "a client that names {name}, as the one that runs now may, fails from here until the new "
        "one is deployed",
        _EXPAND,
    ),
    "client-sees-another": Rule(
        _W,
        "another {name} takes the place of the one for which the client that runs now was "
        "generated",
        "deploy the new client right after",
    ),
    "client-sees-new-type": Rule(
        _W,
        "the client that runs now was generated for another type of {name}",
        "deploy the new client right after",
    ),
    "required-column-added": Rule(
        _D,
        "{name} is NOT NULL without a default: it fails where {table} has rows, and the client "
        "that runs now inserts without it",
    ),
    "null-refused": Rule(
        _W,
        "{name} refuses NULL from now on: it fails where a NULL is present, and so does a client "
        "that writes one",
    ),
    "default-dropped": Rule(
        _W,
        "{name} has no default any more: a client that leaves it out fails",
        "deploy a client that sets it first",
    ),
    "null-allowed": Rule(
        _I,
        "{name} can be NULL from now on: the client that runs now does not expect that",
        "deploy the new client before a NULL is written",
    ),
    "enum-value-added": Rule(
        _W,
        "the client that runs now cannot read a row that holds the new value {name}",
        "deploy the new client before the value is written",
    ),
    "unique-added": Rule(
        _W,
        "{name} fails where {table} holds duplicates, and refuses them from now on",
        "look for duplicates first",
    ),
    # what fails
    "cannot-run-in-transaction": Rule(
        _D,
        "{what} cannot run inside a transaction, and this file is sent as one: it will fail",
        "give the statement a migration file of its own",
        always=True,
    ),
    "may-run-in-transaction": Rule(
        _W,
        "{what} cannot run inside a transaction: this file fails where Prisma's own parser does "
        "not understand all of it, and sends it whole",
        "give the statement a migration file of its own",
        always=True,
    ),
    "refused-by-server": Rule(
        _D, "the server refuses {what}: {because}", "the way that this server has", always=True
    ),
    "enum-value-used-too-early": Rule(
        _D,
        "the new value {name} is used in the transaction that adds it: PostgreSQL refuses (55P04)",
        "add the value in a migration file before this one",
        always=True,
    ),
    "syntax-error": Rule(
        _D,
        "PostgreSQL's parser refuses it: {error}",
        "correct the file; nothing after this place was understood for sure",
        always=True,
    ),
    "byte-order-mark": Rule(
        _D,
        "the file begins with a byte-order mark: PostgreSQL refuses it as a syntax error",
        "save it as UTF-8 without one",
        always=True,
    ),
    "unknown-relation": Rule(
        _W,
        "there is no {name} in the catalogue, nor is it made before this statement",
        "check the name; what belongs to an extension is not in the catalogue",
        always=True,
    ),
    # half-way
    "transaction-control": Rule(
        _I,
        "{what} in the file: what was done before a COMMIT stays, whatever fails later",
        "one transaction a file, or none",
        always=True,
    ),
    "timeout-overridden": Rule(
        _W,
        "{what} overrides the {name} that the runbook sets for the migration",
        "leave it to the parameters",
        always=True,
    ),
    "set-local-without-transaction": Rule(
        _W,
        "{what} has no effect: this Prisma sends each statement alone, and SET LOCAL ends with "
        "its transaction",
        "BEGIN and COMMIT round the file, or SET without LOCAL",
        always=True,
    ),
    "invalid-index-accepted": Rule(
        _W,
        "IF NOT EXISTS accepts an invalid index that a failed CONCURRENTLY left behind",
        "DROP INDEX CONCURRENTLY IF EXISTS before it, in a file of its own",
        always=True,
    ),
    "not-validated": Rule(
        _I,
        "{name} holds for new rows only until it is validated; an UPDATE of an old row that "
        "violates it fails",
    ),
    "index-dropped": Rule(
        _W,
        "queries that use {name} become slow{use}",
        "see pg_stat_user_indexes.idx_scan, on replicas too",
    ),
    "index-replaced": Rule(
        _I, "queries that use {name} find {by} instead, which begins with the same columns{use}"
    ),
    "uniqueness-dropped": Rule(
        _W,
        "nothing in {table} keeps {columns} unique any more: what relies on it, as ON CONFLICT "
        "and an upsert do, fails",
        "deploy a client that does not rely on it first",
    ),
    "nothing-to-do": Rule(_I, "{what}", always=True),
    # what cannot be told
    "not-understood": Rule(
        _W,
        "what it does cannot be told from the file: {because}",
        "read it by hand; the rehearsal shows what it changes",
        always=True,
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing to know about a statement before it is run.

    Args:
        file: the migration's name.
        line: of the statement in the file, from 1.
        statement: its number in the file, from 1; 0 where it is about the whole file.
        severity: how grave it is.
        rule: stable name; `RULES` has those of the runbook, squawk's documentation those of squawk.
        why: one sentence.
        safer: SQL that does it without that, or advice; may be empty.
        relation: the qualified table or index that it is about; may be empty.
        source: "runbook" or "squawk".
    """

    file: str
    line: int
    statement: int
    severity: Severity
    rule: str
    why: str
    safer: str = ""
    relation: str = ""
    source: str = "runbook"

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self) | {"severity": self.severity.value}

    def named(self) -> str:
        """Return what it is and where, for the plan's hash.

        Neither how grave it is nor its sentences, which move with the table's size.
        """
        return f"{self.file}:{self.line}: {self.rule}" + (self.relation and f" of {self.relation}")


Sizes = Mapping[str, Mapping[str, Any]]


def measured(name: str, sizes: Sizes) -> str:
    """A table with what is known of its size: `"User"` (1 234 rows, 5.0 MiB)."""
    known = sizes.get(name)
    if not known:
        return short(name)
    rows = f"{text(known['rows'])} rows, " if known.get("rows") is not None else ""
    return f"{short(name)} ({rows}{size(known['bytes'])})"


def use_said(use: Mapping[str, Any] | None) -> str:
    """How often an index was used, where it is known."""
    return (
        f"; it was used {text(use['scans'])} times since the statistics began"
        if use and use.get("scans") is not None
        else ""
    )


def finding(
    remark: Remark, file: str, line: int, statement: int, sizes: Sizes, now: str = ""
) -> Finding | None:
    """Return a remark, weighed; None if it is about a table that the migration makes.

    Such a remark concerns nobody.

    Args:
        now: the name that the table has in the database, where a statement before renamed it.
    """
    rule = RULES[remark.rule]
    if remark.new and not rule.always:
        return None
    known = sizes.get(now or remark.relation)
    small = known is not None and known.get("rows") is not None and known["rows"] < SMALL_ROWS
    table = (
        measured(remark.relation, {remark.relation: known} if known else {})
        if remark.relation
        else ""
    )
    why = rule.why.format_map(
        {"table": table, **{key: value for key, value in remark.values.items()}}
    )
    return Finding(
        file,
        line,
        statement,
        Severity.INFO if rule.grows and small else rule.severity,
        remark.rule,
        why,
        remark.safer or rule.safer,
        remark.relation,
    )
