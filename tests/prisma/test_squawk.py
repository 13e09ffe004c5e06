"""The linter's findings beside ours: what is new is added, what is the same is not repeated,
silence is never taken for good.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.check import Status
from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import review

Files = Callable[..., tuple[MigrationFile, ...]]


def test_findings_that_only_squawk_has_are_merged_with_line_and_help(files: Files) -> None:
    found = [
        item
        for item in review(
            files("-- one\nCREATE DATABASE x;\nALTER TABLE a ADD COLUMN b char(3);")
        ).findings
        if item.source == "squawk"
    ]
    assert ("ban-char-field", 3) in [(item.rule, item.line) for item in found]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX i ON a (b);",
        "ALTER TABLE a DROP COLUMN b;",
        "ALTER TABLE a ADD COLUMN b text NOT NULL;",
        "ALTER TABLE a ADD CONSTRAINT f FOREIGN KEY (b) REFERENCES c (id);",
        "ALTER TABLE a RENAME COLUMN b TO c;",
        "ALTER TABLE a ALTER COLUMN b SET NOT NULL;",
        "DROP TABLE a;",
        "ALTER TABLE a ALTER COLUMN b TYPE bigint;",
        "ALTER TABLE a ADD CONSTRAINT u UNIQUE (b);",
        "CREATE TABLE a (id int); CREATE INDEX i ON a (id);",
    ],
)
def test_what_both_say_is_said_once(files: Files, sql: str) -> None:
    found = review(files(sql)).findings
    assert not [item for item in found if item.source == "squawk"]


@pytest.mark.parametrize("linter", [Path("/nowhere/squawk"), Path("/bin/true"), Path("/bin/false")])
def test_a_linter_that_is_missing_or_crashes_could_not_check(files: Files, linter: Path) -> None:
    found = {item.id: item for item in review(files("SELECT 1;"), linter=linter).checks()}
    assert (
        found["review.lint"].status is Status.UNKNOWN and linter.name in found["review.lint"].found
    )


def test_a_file_that_only_squawk_cannot_read_could_not_be_linted(files: Files) -> None:
    found = review(files("SELECT 1;", "ALTER TABLE a ADD CONSTRAINT k NOT NULL b NOT VALID;"))
    assert (
        found.checks().passed
        or "2, line 1" in {item.id: item for item in found.checks()}["review.lint"].found
    )
