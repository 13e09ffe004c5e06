"""Which values of an enum rows have, with and without what ANALYZE saw."""

from __future__ import annotations

import pytest

from runbook_lib.postgres import enums
from runbook_lib.postgres.connection import Database

ENUMS = """
CREATE TYPE "Mood" AS ENUM ('sad', 'it''s', 'ok', 'happy', '100%');
CREATE TYPE lonely AS ENUM ('a');
CREATE DOMAIN feeling AS "Mood";
CREATE TABLE one (m "Mood", f feeling);
CREATE TABLE "Two {}" ("Mo od" "Mood"[]);
CREATE TABLE parted (id int, m "Mood") PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
INSERT INTO one VALUES ('sad', NULL), ('sad', 'it''s');
INSERT INTO "Two {}" VALUES ('{ok}'), ('{ok,NULL}'), (NULL);
INSERT INTO parted VALUES (1, '100%');
"""


@pytest.mark.parametrize("analyzed", [False, True])
def test_the_values_that_no_row_has_are_found(db: Database, analyzed: bool) -> None:
    db.execute(ENUMS + ("ANALYZE" if analyzed else ""))
    found = enums.enums(db)
    assert {name: (one.unseen, one.not_read) for name, one in found.items()} == {
        'public."Mood"': ({"happy"}, []),
        "public.lonely": ({"a"}, []),
    }


def test_a_column_that_cannot_be_read_in_time_leaves_it_open(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.execute(
        ENUMS + "ALTER TABLE one ADD filler int; INSERT INTO one SELECT 'sad', NULL, g "
        "FROM generate_series(1, 200000) AS g"
    )
    monkeypatch.setattr(enums, "SCAN_TIMEOUT_S", 0.001)
    mood = enums.enums(db)['public."Mood"']
    assert mood.unseen and any(why.startswith("public.one.m: ") for why in mood.not_read)


def test_texts_that_are_none_of_the_values_are_counted(db: Database) -> None:
    db.execute(
        """CREATE TABLE t ("Mo od" varchar(9)); INSERT INTO t """
        """VALUES ('sad'), ('it''s'), (NULL), ('SAD'), ('')"""
    )
    assert enums.outside(db, "public.t", '"Mo od"', ("sad", "it's", "100%")) == 2
