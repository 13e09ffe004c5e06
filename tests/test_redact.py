"""Rows of data and secrets never pass."""

from __future__ import annotations

import pytest

from runbook_lib.redact import HIDDEN, redact, remember

MARKER = "Zebediah Marker"


@pytest.mark.parametrize(
    "text",
    [
        f"ERROR: duplicate key\nDETAIL:  Key (name)=({MARKER}) already exists.",
        f"DETAIL:  Failing row contains (1, {MARKER}, null).",
        f'Key (name, day)=({MARKER}, 2026-01-01) is not present in table "User".',
        f'detail: Some("Key (name)=({MARKER}) already exists."), hint: None',
        f'CONTEXT:  COPY User, line 3, column name: "{MARKER}"',
        f'invalid input syntax for type integer: "{MARKER}"',
        f'invalid input value for enum "Role": "{MARKER}"',
        f'malformed array literal: "{MARKER}"',
        f'date/time field value out of range: "{MARKER}"',
    ],
)
def test_a_row_of_data_is_hidden_in_every_form_in_which_servers_and_tools_print_it(
    text: str,
) -> None:
    assert MARKER not in redact(text) and HIDDEN in redact(text)


def test_a_password_in_a_url_is_hidden_even_where_it_was_never_resolved() -> None:
    assert redact("postgresql://user:pa55word@host/db") == f"postgresql://user:{HIDDEN}@host/db"


def test_a_remembered_secret_is_hidden_in_its_url_encoded_form_too() -> None:
    remember("p@ss/word")
    assert redact("p@ss/word p%40ss%2Fword") == f"{HIDDEN} {HIDDEN}"


def test_what_names_no_row_stays_readable() -> None:
    text = 'duplicate key value violates unique constraint "User_email_key" (23505)'
    assert redact(text) == text
