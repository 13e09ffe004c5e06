"""A real product's history, the 220 migrations of litellm-proxy-extras; the findings below were
checked by hand.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from runbook_lib.prisma.history import MigrationFile
from runbook_lib.prisma.review import Review, review
from runbook_lib.prisma.rules import Severity
from runbook_lib.prisma.transactions import Level, TransactionRule

FOLDER = Path(importlib.util.find_spec("litellm_proxy_extras").origin).parent / "migrations"  # type: ignore[union-attr, arg-type]
FILES = tuple(MigrationFile.read(path) for path in sorted(FOLDER.glob("*/migration.sql")))


@pytest.fixture(scope="module")
def late() -> Review:
    """The files since the 31st, on the database that the first thirty made."""
    return review(FILES[30:], before=FILES[:30], rule=TransactionRule.EACH_IF_PARSED)


def test_all_files_are_reviewed_and_understood_by_parser_and_linter(late: Review) -> None:
    assert len(FILES) == 220 and len(late.statements) > 400
    assert late.lint_problems == () and not [
        item for item in late.findings if item.rule in ("syntax-error", "byte-order-mark")
    ]
    assert {item.id for item in late.checks().unknown} == {"review.told"}


def test_nothing_concerns_a_table_that_the_files_themselves_make() -> None:
    kinds = {item.rule for item in review(FILES).findings if item.severity is Severity.DANGER}
    assert kinds <= {"client-breaks", "index-blocks-writes"}


@pytest.mark.parametrize(
    "file, line, rule",
    [
        ("20250711220620_add_stdio_mcp", 2, "null-allowed"),
        ("20250806095134_rename_alias_to_server_name_mcp_table", 2, "client-sees-another"),
        ("20250918083359_drop_spec_version_column_from_mcp_table", 8, "column-dropped"),
        ("20251113000000_add_project_table", 46, "brief-exclusive-lock"),
        ("20251113000000_add_project_table", 49, "constraint-blocks-writes"),
        ("20260106155622_add_endpoint_to_daily_activity_tables", 11, "index-replaced"),
        ("20260106155622_add_endpoint_to_daily_activity_tables", 11, "uniqueness-dropped"),
        ("20260106155622_add_endpoint_to_daily_activity_tables", 56, "index-blocks-writes"),
        ("20260106155622_add_endpoint_to_daily_activity_tables", 59, "unique-added"),
        ("20260415120000_health_check_latest_per_model_index", 12, "invalid-index-accepted"),
        ("20260923000000_add_mcp_catalog_revision_trigger", 10, "object-dropped"),
        ("20261009000100_telemetry_reports", 1, "set-local-without-transaction"),
        ("20261001100000_rename_lens", 1, "not-understood"),
    ],
)
def test_findings_checked_by_hand_stay(late: Review, file: str, line: int, rule: str) -> None:
    assert (file, line, rule) in [(item.file, item.line, item.rule) for item in late.findings]


def test_a_file_of_one_concurrent_index_rolls_back_nothing_and_one_of_many_statements_in_part(
    late: Review,
) -> None:
    levels = {item.file: item.level for item in late.files_atomicity}
    assert levels["20260415120000_health_check_latest_per_model_index"] is Level.NONE
    assert (
        levels["20251113000000_add_project_table"] is Level.PARTLY
        and levels["20250918083359_drop_spec_version_column_from_mcp_table"] is Level.WHOLE
    )
