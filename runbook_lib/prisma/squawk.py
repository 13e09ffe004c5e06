"""A second opinion: the findings of squawk, a linter of PostgreSQL migrations."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook_lib.errors import ToolError
from runbook_lib.prisma.rules import Finding, Severity
from runbook_lib.prisma.statements import Parsed
from runbook_lib.prisma.transactions import TransactionRule
from runbook_lib.process import run

PROGRAM = Path(sys.executable).parent / "squawk"
"""Installed beside Python by the package squawk-cli."""

NOT_ASKED = (
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-timestamp-tz",
    "require-timeout-settings",
    "require-enum-value-ordering",
    "ban-drop-type",
    "renaming-object",
)
"""Rules that do not fit here: the runbook sets the timeouts, Prisma does not repeat files, style is
the schema's, and who names what is dropped or renamed is weighed by `judge`, which knows what the
files make and put in its place.
"""

SAME: Mapping[str, frozenset[str]] = {
    "adding-required-field": frozenset({"required-column-added"}),
    "adding-field-with-default": frozenset({"table-rewrite"}),
    "adding-foreign-key-constraint": frozenset(
        {"constraint-blocks-writes", "brief-write-block", "not-validated"}
    ),
    "adding-not-nullable-field": frozenset({"scan-under-exclusive-lock", "required-column-added"}),
    "adding-serial-primary-key-field": frozenset({"table-rewrite"}),
    "ban-alter-domain-with-add-constraint": frozenset({"constraint-blocks-writes"}),
    "ban-concurrent-index-creation-in-transaction": frozenset(
        {"cannot-run-in-transaction", "may-run-in-transaction"}
    ),
    "ban-drop-column": frozenset({"column-dropped"}),
    "ban-drop-not-null": frozenset({"null-allowed"}),
    "ban-drop-table": frozenset({"table-dropped"}),
    "ban-truncate-cascade": frozenset({"rows-removed"}),
    "changing-column-type": frozenset(
        {
            "table-rewrite",
            "table-may-be-rewritten",
            "type-narrowed",
            "type-changed",
            "brief-exclusive-lock",
        }
    ),
    "constraint-missing-not-valid": frozenset(
        {
            "constraint-blocks-writes",
            "scan-under-exclusive-lock",
            "brief-write-block",
            "not-validated",
        }
    ),
    "disallowed-unique-constraint": frozenset({"scan-under-exclusive-lock"}),
    "renaming-column": frozenset({"client-breaks"}),
    "renaming-table": frozenset({"client-breaks"}),
    "require-concurrent-index-creation": frozenset({"index-blocks-writes", "nothing-to-do"}),
    "require-concurrent-index-deletion": frozenset({"brief-exclusive-lock"}),
    "transaction-nesting": frozenset({"transaction-control"}),
    "ban-uncommitted-transaction": frozenset({"transaction-control"}),
}
"""squawk's rules that say what these of ours say."""


@dataclass(frozen=True)
class Lint:
    """What squawk said.

    Args:
        messages: by path, as squawk reports them.
        problem: why it could not be asked; empty where it was.
    """

    messages: Mapping[str, Sequence[Mapping[str, object]]]
    problem: str = ""


def lint(paths: Sequence[Path], rule: TransactionRule, program: Path = PROGRAM) -> Lint:
    """Ask squawk about all files at once; where it cannot be asked, the result says why."""
    if not paths:
        return Lint({})
    options = [f"--exclude={name}" for name in NOT_ASKED] + (
        ["--assume-in-transaction"] if rule is TransactionRule.WHOLE_FILE else []
    )
    try:
        done = run(
            [str(program), "--reporter", "json", *options, *map(str, paths)],
            check=False,
            timeout_s=120,
            keep_lines=100_000,
        )
        messages = json.loads(done.output)
    except ToolError as error:
        return Lint({}, error.message)
    except json.JSONDecodeError:
        return Lint(
            {},
            f"{program.name} ended with status {done.status} and no result: "
            f"{done.output.strip()[:200]}",
        )
    by_path: dict[str, list[Mapping[str, object]]] = {}
    for message in messages:
        by_path.setdefault(message["file"], []).append(message)
    return Lint(by_path)


def findings(
    file: str,
    messages: Sequence[Mapping[str, object]],
    parsed: Sequence[Parsed],
    ours: Sequence[Finding],
    harmless: frozenset[int],
) -> tuple[tuple[Finding, ...], str]:
    """Return squawk's findings that ours do not have, and why it could not read the file.

    The reason is empty if it could.

    Args:
        harmless: numbers of statements that touch nothing but what the migration itself makes.
    """
    said = {(item.statement, item.rule) for item in ours}
    found: dict[tuple[int, str], Finding] = {}
    unread = ""
    for message in messages:
        rule, line = str(message["rule_name"]), int(str(message["line"])) + 1
        number = next((item.number for item in parsed if item.line <= line <= item.last_line), 0)
        if rule == "syntax-error":
            unread = unread or f"{file}, line {line}: {message['message']}"
        elif number not in harmless and not any(
            (number, same) in said for same in SAME.get(rule, ())
        ):
            severity = (
                Severity.INFO if rule in SAME or message["level"] != "Error" else Severity.WARNING
            )
            found.setdefault(
                (number, rule),
                Finding(
                    file,
                    line,
                    number,
                    severity,
                    rule,
                    str(message["message"]),
                    str(message["help"] or ""),
                    source="squawk",
                ),
            )
    return tuple(found.values()), unread
