"""Secrets never pass, by value or by form; rows of data never come here: see test_refusal."""

from __future__ import annotations

from runbook_lib.redact import HIDDEN, redact, remember


def test_a_password_in_a_url_is_hidden_even_where_it_was_never_resolved() -> None:
    assert redact("postgresql://user:pa55word@host/db") == f"postgresql://user:{HIDDEN}@host/db"


def test_a_remembered_secret_is_hidden_in_its_url_encoded_form_too() -> None:
    remember("p@ss/word")
    assert redact("p@ss/word p%40ss%2Fword") == f"{HIDDEN} {HIDDEN}"


def test_what_holds_no_secret_stays_readable() -> None:
    text = 'duplicate key value violates unique constraint "User_email_key" (23505)'
    assert redact(text) == text
