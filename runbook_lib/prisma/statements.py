"""The statements of one migration file, each with its place.

A file that cannot be parsed is split as far as possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pglast import ast, parser
from pglast.parser import ParseError

BYTE_ORDER_MARK = "\ufeff"
_STRING = re.compile(r"at or near \"'.*", re.DOTALL)


@dataclass(frozen=True)
class Parsed:
    """One statement of a file.

    Args:
        number: its place among the statements, from 1.
        line, last_line: where its first and its last word stand, from 1.
        sql: its text, without the semicolon.
        node: as PostgreSQL's own parser reads it; None where it does not.
        error: what the parser says, where it refuses.
        error_line: where it stopped.
    """

    number: int
    line: int
    last_line: int
    sql: str
    node: ast.Node | None = field(repr=False, default=None)
    error: str = ""
    error_line: int = 0


def split(text: str) -> tuple[Parsed, ...]:
    """The statements of a file; an empty file has none.

    A byte-order mark is passed over; lines are counted as editors do.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    if "\0" in text:
        line = _line(text, text.index("\0"))
        return (Parsed(1, line, line, "", error="it holds a NUL character", error_line=line),)
    try:
        raws = parser.parse_sql(text)
    except ParseError:
        return tuple(_piecewise(text))
    return tuple(_parsed(text, number, raw) for number, raw in enumerate(raws, 1))


def _parsed(text: str, number: int, raw: ast.RawStmt) -> Parsed:
    start = raw.stmt_location or 0
    end = start + raw.stmt_len if raw.stmt_len else len(text)
    sql = text[start:end].rstrip()
    return Parsed(number, _line(text, start), _line(text, start + len(sql)), sql, raw.stmt)


def _piecewise(text: str) -> Iterator[Parsed]:
    """Each piece between semicolons parsed alone.

    One mistake does not hide the other statements.
    """
    for number, (start, end) in enumerate(_pieces(text), 1):
        sql = text[start:end].rstrip()
        line, last = _line(text, start), _line(text, start + len(sql))
        try:
            found = parser.parse_sql(sql)
            yield Parsed(number, line, last, sql, found[0].stmt if found else None)
        except ParseError as error:
            message, place = (
                error.args[0],
                error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0,
            )
            yield Parsed(
                number,
                line,
                last,
                sql,
                error=_STRING.sub("at or near a string", str(message)),
                error_line=line + sql.count("\n", 0, place),
            )


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """From where to where each piece between semicolons goes.

    All of the text where even its words cannot be told.
    """
    try:
        tokens = parser.scan(text)
    except ParseError:
        yield 0, len(text)
        return
    start, depth = None, 0
    for token in tokens:
        if token.name in ("SQL_COMMENT", "C_COMMENT"):
            continue
        if token.name == "ASCII_59" and depth == 0:
            if start is not None:
                yield start, token.start
            start = None
            continue
        depth += {"ASCII_40": 1, "ASCII_41": -1}.get(token.name, 0)
        start = token.start if start is None else start
    if start is not None:
        yield start, len(text)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
