"""Errors are told by their fields: no value of a row passes, whatever failed, in whatever
language, on however many lines.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres.connection import Database, Target
from tests.languages import FAILURES, LANGUAGES, WORDS, speak, speaking


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks each language."""
    with speaking(tmp_path_factory.mktemp("polyglot")) as made:
        yield made


@pytest.fixture(scope="module", params=LANGUAGES)
def spoken(request: pytest.FixtureRequest, polyglot: Server) -> Target:
    """A database with rows to be quoted, in one language after the other."""
    return speak(polyglot, f"spoken_{uuid.uuid4().hex[:8]}", request.param)


@pytest.mark.parametrize("kind", FAILURES)
def test_no_failure_of_a_statement_tells_a_row_and_each_tells_its_code_and_names(
    spoken: Target, kind: str
) -> None:
    sqlstate, statement, name = FAILURES[kind]
    with Database(spoken) as db, pytest.raises(DatabaseError) as caught, db.transaction():
        db.execute(statement)
    said = str(caught.value)
    assert caught.value.sqlstate == sqlstate and sqlstate in said and name in said, said
    assert not any(word in said for word in WORDS), said
