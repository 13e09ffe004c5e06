"""What the pending files will do, before they do it.

    review(files, catalog=…, sizes=…, rule=project.transaction_rule)

reads each file statement by statement with PostgreSQL's own parser: which locks it takes, what it
rewrites, reads, destroys and breaks, what it leaves when it fails. State is carried from file to
file: an index on a table that an earlier file makes concerns nobody. squawk is asked, too. A
statement that is not understood is said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_lib.check import Checks, check, unknown
from runbook_lib.prisma import squawk
from runbook_lib.prisma.declared import Declared, declared
from runbook_lib.prisma.effect import Change
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.judge import WHOLE, Observed, Statement, findings, statements
from runbook_lib.prisma.known import Known
from runbook_lib.prisma.locks import LockMode
from runbook_lib.prisma.names import short
from runbook_lib.prisma.rules import Finding, Severity, Sizes
from runbook_lib.prisma.transactions import Atomicity, Level, TransactionRule, atomicity
from runbook_lib.table import Shown, Table, size

__all__ = ["Finding", "Review", "Severity", "Statement", "TransactionRule", "review"]


@dataclass(frozen=True)
class Review(Shown):
    """What the pending files will do.

    Args:
        files: names of the migrations, in order.
        statements: of all of them, and what each does.
        findings: by file and line.
        files_atomicity: what each file leaves when it fails.
        lint_problems: why squawk could not be asked, or could not read a file; empty where it
            could.
        sizes, index_use: of tables and indexes, as they were given.
        watched: what the files were seen to change: under names, too, that they do not say.
    """

    files: tuple[str, ...]
    statements: tuple[Statement, ...]
    findings: tuple[Finding, ...]
    files_atomicity: tuple[Atomicity, ...]
    lint_problems: tuple[str, ...] = ()
    sizes: Sizes = field(repr=False, default_factory=dict)
    index_use: Sizes = field(repr=False, default_factory=dict)
    watched: tuple[Change, ...] = ()

    def having(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(item for item in self.findings if item.severity is severity)

    def declared(self) -> Declared:
        """What the files declare to change."""
        return declared(
            ((statement.place, statement.effect) for statement in self.statements), self.watched
        )

    def checks(self) -> Checks:
        """Whether the review saw everything: what was not understood could not be checked."""
        refused = [
            f"{item.file}:{item.line}"
            for item in self.findings
            if item.rule in ("syntax-error", "byte-order-mark")
        ]
        fails = [
            f"{item.file}:{item.line}"
            for item in self.findings
            if item.rule == "cannot-run-in-transaction"
        ]
        early = [
            f"{item.file}:{item.line}"
            for item in self.findings
            if item.rule == "enum-value-used-too-early"
        ]
        strange = [
            f"{item.file}:{item.line}" for item in self.findings if item.rule == "not-understood"
        ]
        lint = "the linter squawk read every file"
        alone = "every statement may run in the transaction in which Prisma sends it"
        told = "what every statement does is known"
        return Checks(
            "The review",
            [
                check(
                    "review.syntax",
                    "PostgreSQL's parser accepts every file",
                    not refused,
                    ", ".join(refused) or "all of them",
                    "all of them",
                    "correct the files",
                ),
                unknown(
                    "review.transaction",
                    alone,
                    "an enum value is named in the transaction that adds it, it seems: "
                    + ", ".join(early),
                    remedy="add the value in a file before; if that text is something else, "
                    "approve",
                )
                if early and not fails
                else check(
                    "review.transaction",
                    alone,
                    not fails,
                    ", ".join(fails) or "all of them",
                    "all of them",
                    "give those statements files of their own",
                ),
                unknown(
                    "review.told",
                    told,
                    "not known: " + ", ".join(strange),
                    remedy="read those statements by hand",
                )
                if strange
                else check("review.told", told, True, "all of them"),
                unknown(
                    "review.lint",
                    lint,
                    "; ".join(self.lint_problems),
                    remedy="install squawk-cli, or read those files by hand",
                )
                if self.lint_problems
                else check("review.lint", lint, True, "all of them"),
            ],
        )

    def table(self) -> Table:
        """The findings as rows, file by file."""
        rows = [
            (item.severity.value, f"{item.file}:{item.line}", item.rule, item.why, item.safer)
            for item in self.findings
        ]
        counts = ", ".join(
            f"{len(self.having(severity))} {severity.value}" for severity in reversed(Severity)
        )
        return Table(
            f"{len(self.files)} files, {len(self.statements)} statements: {counts}",
            ("severity", "where", "rule", "why", "safer"),
            rows,
            [item.severity.mark for item in self.findings],
        )

    def tables_affected(self) -> Table:
        """The tables that are there already and are touched.

        Size, strongest lock, what happens to them.
        """
        strongest: dict[str, LockMode] = {}
        for lock in (
            lock
            for statement in self.statements
            for lock in statement.effect.locks
            if not lock.new and lock.kind != "index"
        ):
            strongest[lock.relation] = max(lock.mode, strongest.get(lock.relation, lock.mode))
        rewritten = {name for statement in self.statements for name in statement.effect.rewrites}
        read = {name for statement in self.statements for name in statement.effect.scans}
        actions: dict[str, dict[str, None]] = {}
        for change in (change for statement in self.statements for change in statement.effect.rows):
            actions.setdefault(change.table, {})[change.action] = None
        rows = [
            (
                short(name),
                self.sizes.get(name, {}).get("rows"),
                size(self.sizes.get(name, {}).get("bytes")),
                str(mode),
                mode.blocks_reads,
                mode.blocks_writes,
                name in rewritten,
                name in read,
                ", ".join(actions.get(name, ())) or "no",
            )
            for name, mode in strongest.items()
        ]
        marks = ["bad" if row[5] and (row[6] or row[7]) else "" for row in rows]
        columns = (
            "table",
            "rows",
            "size",
            "strongest lock",
            "stops reads",
            "stops writes",
            "rewritten",
            "read whole",
            "rows changed",
        )
        return Table(f"{len(rows)} tables affected", columns, rows, marks)

    def indexes(self) -> Table:
        """Indexes that come, go or are written anew.

        On which table, whether without blocking, how often those that go were used.

        One that goes by another name, or moves along with its table, does neither.
        """
        rows: list[tuple[Any, ...]] = []
        for statement in self.statements:
            moved = {change.renamed for change in statement.effect.changes if change.renamed}
            for change in statement.effect.changes:
                if change.kind != "index" or change.renamed or change.name in moved:
                    continue
                if change.action in ("added", "removed"):
                    on = next(
                        (lock for lock in statement.effect.locks if lock.kind != "index"), None
                    )
                    how = (
                        "new table"
                        if on and on.new
                        else "concurrently"
                        if "CONCURRENTLY" in statement.effect.kind
                        else "blocking"
                    )
                    use = self.index_use.get(change.name, {}) if change.action == "removed" else {}
                    rows.append(
                        (
                            change.action,
                            short(change.name),
                            short(on.relation) if on else None,
                            how,
                            use.get("scans"),
                            size(use.get("bytes")),
                            statement.place,
                        )
                    )
            how = "concurrently" if "CONCURRENTLY" in statement.effect.kind else "blocking"
            table = short(next(iter(statement.effect.tables), "–"))
            rows += [
                ("rebuilt", short(name), table, how, None, None, statement.place)
                for name in statement.effect.reindexes
            ]
        return Table(
            f"{len(rows)} indexes come, go or are rebuilt",
            ("change", "index", "table", "how", "scans so far", "size", "where"),
            rows,
            ["bad" if row[3] == "blocking" and row[0] != "removed" else "" for row in rows],
        )

    def atomicity(self) -> Table:
        """What each file leaves when it fails half-way."""
        rows = [
            (item.file, item.level.said, item.why, item.statements) for item in self.files_atomicity
        ]
        whole = sum(item.level is Level.WHOLE for item in self.files_atomicity)
        return Table(
            f"{whole} of {len(rows)} files roll back whole",
            ("file", "if it fails, it", "why", "statements"),
            rows,
            ["good" if item.level is Level.WHOLE else "unknown" for item in self.files_atomicity],
        )

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return {
            "files": list(self.files),
            "findings": [item.as_dict() for item in self.findings],
            "statements": [item.as_dict() for item in self.statements],
            "atomicity": [item.as_dict() for item in self.files_atomicity],
            "lint_problems": list(self.lint_problems),
        }


def review(
    files: Sequence[MigrationFile],
    catalog: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    sizes: Sizes | None = None,
    rule: TransactionRule = TransactionRule.WHOLE_FILE,
    *,
    schema: str = "public",
    before: Sequence[MigrationFile] = (),
    index_use: Sizes | None = None,
    linter: Path = squawk.PROGRAM,
    server_major: int = 18,
    observed: Observed | None = None,
) -> Review:
    """Read the files that are to be applied, in their order.

    Args:
        files: the pending files.
        catalog: of the live database, kind → name → properties
            (`runbook_lib.postgres.catalog.Catalog.objects`).
        sizes: by qualified name of the table, "rows" and "bytes".
        rule: how Prisma sends a file.
        schema: where unqualified names live: the schema in the URL.
        before: the applied files: where there is no catalogue, they tell which index is whose and
            which type a column has.
        index_use: by qualified name of the index, "scans" (how often it was used) and "bytes".
        linter: the program squawk.
        server_major: the server's major version.
        observed: what statements changed that were watched in a copy of the schema.
    """
    known, sizes = Known(catalog, schema, server_major), sizes or {}
    for file in before:
        statements(file, known)
    known.settle()
    lint = squawk.lint([file.path for file in files], rule, linter)
    every: list[Statement] = []
    all_findings: list[Finding] = []
    atomic: list[Atomicity] = []
    problems = [lint.problem] if lint.problem else []
    for file in files:
        found = statements(file, known, observed)
        ours = findings(file, found, known, sizes, rule, index_use or {})
        harmless = frozenset(item.parsed.number for item in found if item.harmless)
        theirs, unread = squawk.findings(
            file.name,
            lint.messages.get(str(file.path), ()),
            [item.parsed for item in found],
            ours,
            harmless,
        )
        every += found
        all_findings += sorted(
            (*ours, *theirs), key=lambda item: (item.line, item.statement, item.severity.rank)
        )
        atomic.append(atomicity(file.name, [item.effect for item in found], rule))
        if unread and not any(item.rule in ("syntax-error", "byte-order-mark") for item in ours):
            problems.append(unread)
    return Review(
        tuple(file.name for file in files),
        tuple(every),
        tuple(all_findings),
        tuple(atomic),
        tuple(problems),
        sizes,
        index_use or {},
        tuple(change for file in files for change in (observed or {}).get((file.name, WHOLE), ())),
    )
