"""Files are split where PostgreSQL splits them, and each statement knows its lines."""

from __future__ import annotations

import pytest

from runbook_lib.prisma.statements import split


@pytest.mark.parametrize(
    "text, lines",
    [
        ("", []),
        ("-- only a comment; truly\n", []),
        (";;\n;", []),
        ("\n\n  SELECT 1", [(3, 3)]),
        ("SELECT 1; SELECT 2;", [(1, 1), (1, 1)]),
        ("SELECT 1;\r\n-- a;b\r\nSELECT\r\n2;\r\n", [(1, 1), (3, 4)]),
        ("\ufeffSELECT 1;\nSELECT 2;", [(1, 1), (2, 2)]),
        (
            "/* a; /* nested; */ */ SELECT ';';\nSELECT $$;\n;$$;\nSELECT E'\\';', $x$ $$ ; $x$;",
            [(1, 1), (2, 3), (4, 4)],
        ),
        (
            "DO $$\nBEGIN\n  PERFORM 1;\nEND $$;\n\nSELECT 'ä;ö';\nSELECT 1;",
            [(1, 4), (6, 6), (7, 7)],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\n  SELECT 1;\n  SELECT 2;\nEND;\nSELECT "
            "3;",
            [(1, 4), (5, 5)],
        ),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);", [(1, 1)]),
    ],
)
def test_each_statement_is_found_on_its_lines(text: str, lines: list[tuple[int, int]]) -> None:
    found = split(text)
    assert [(item.line, item.last_line) for item in found] == lines
    assert [item.number for item in found] == list(range(1, len(lines) + 1))
    assert all(item.node is not None and not item.error for item in found)


def test_a_syntax_error_hides_no_other_statement() -> None:
    found = split("SELECT 1;\n-- here;\nALTER TABEL x\n  ADD y int;\nDROP TABLE z; foo bar;\n")
    assert [type(item.node).__name__ for item in found] == [
        "SelectStmt",
        "NoneType",
        "DropStmt",
        "NoneType",
    ]
    assert [(item.line, item.error_line, item.error) for item in found if item.error] == [
        (3, 3, 'syntax error at or near "TABEL"'),
        (5, 5, 'syntax error at or near "foo"'),
    ]


@pytest.mark.parametrize(
    "text, error",
    [
        ("SELECT 1;\nSELECT 'Mustermann", "unterminated quoted string at or near a string"),
        ("SELECT 1;\n\0", "NUL"),
    ],
)
def test_a_file_whose_words_cannot_be_told_is_one_error_that_quotes_nothing(
    text: str, error: str
) -> None:
    found = split(text)
    assert (
        len(found) == 1
        and error in found[0].error
        and "Mustermann" not in found[0].error
        and found[0].error_line == 2
    )


def test_a_psql_command_is_a_syntax_error() -> None:
    assert split("\\i other.sql\nSELECT 1;")[0].error
