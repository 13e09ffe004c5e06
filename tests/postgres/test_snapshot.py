"""Rows and content of every table at one instant, and what two of them differ in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError, UsageError
from runbook_lib.postgres import content, snapshot
from runbook_lib.postgres.comparison import Comparison, Outcome
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.fingerprint import Column, Method, row_hash
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.scratch import scratch
from runbook_lib.postgres.snapshot import Snapshot

NAME = "runbook/test/snapshot"
both = pytest.mark.parametrize("method", list(Method))


def outcome(comparison: Comparison, name: str) -> Outcome:
    return next(item.outcome for item in comparison if item.name == name)


def changed(db: Database, statement: str, method: Method = Method.HASH) -> Comparison:
    before = snapshot.take(db.target, NAME, method=method)
    db.execute(statement)
    return before.compare(snapshot.take(db.target, NAME, method=method))


@both
def test_an_untouched_rich_database_is_identical(still: Database, method: Method) -> None:
    comparison = changed(still, "ANALYZE", method)
    assert comparison.identical and not comparison.differing
    assert outcome(comparison, "public.visit") is Outcome.EXCLUDED


@both
def test_the_order_of_rows_does_not_matter(rich: Database, method: Method) -> None:
    assert changed(
        rich,
        "CREATE TABLE k2 AS TABLE kinds; TRUNCATE wide; INSERT INTO wide SELECT g, "
        "string_agg(md5(h::text || g), '') "
        "FROM generate_series(20, 1, -1) AS g, generate_series(1, 400) AS h "
        "GROUP BY g; DROP TABLE k2",
        method,
    ).identical


SUBTLE = {
    "two rows swap a value": ("a int, b int", "(1, 2), (3, 4)", "UPDATE t SET b = 6 - b"),
    "a trailing zero": ("a numeric", "(1.0)", "UPDATE t SET a = 1.00"),
    "a day and 24 hours": ("a interval", "('1 day')", "UPDATE t SET a = '24 hours'"),
    "empty and nothing": ("a text", "('')", "UPDATE t SET a = NULL"),
    "false and nothing": ("a bool", "(false)", "UPDATE t SET a = NULL"),
    "zero and minus zero": ("a float8", "(0)", "UPDATE t SET a = '-0'"),
    "the last bit of a float": ("a float8", "(0.1)", "UPDATE t SET a = 0.10000000000000002"),
    "a microsecond": (
        "a timestamptz",
        "('2024-01-01 00:00:00+00')",
        "UPDATE t SET a = a + interval '1 us'",
    ),
    "a zone that means the same time": ("a timetz", "('10:00+02')", "UPDATE t SET a = '09:00+01'"),
    "two equal rows vanish": (
        "a int",
        "(7), (7), (8)",
        "DELETE FROM t WHERE a = 7; INSERT INTO t VALUES (9), (9)",
    ),
    "white space in json": ("a json", """('{"a": 1}')""", """UPDATE t SET a = '{"a":1}'"""),
    "a letter's case in citext-like text": ("a text", "('A')", "UPDATE t SET a = 'a'"),
    "an array's nothing": ("a int[]", "('{1,NULL}')", "UPDATE t SET a = '{1}'"),
    "a minus one and a zero": ("a int8", "(-1)", "UPDATE t SET a = 0"),
    "values move to the next column": (
        "a text, b text",
        "('x', NULL)",
        "UPDATE t SET a = NULL, b = 'x'",
    ),
    "an enum's label": ("a text, e mood", "('x', 'sad')", "UPDATE t SET e = 'ok'"),
    "a point": ("a point", "('(1,2)')", "UPDATE t SET a = '(1,2.0000001)'"),
    "network bits": ("a inet", "('10.0.0.1/8')", "UPDATE t SET a = '10.0.0.1/16'"),
    "two columns of a row exchange their values": (
        "a int8, b int8",
        "(1, 2)",
        "UPDATE t SET a = b, b = a",
    ),
    "int8 whose halves are swapped": ("a int8", "(4294967298)", "UPDATE t SET a = 8589934593"),
    "int8 that fold to the same 32 bits": ("a int8", "(4294967296)", "UPDATE t SET a = 1"),
    "int8 and its complement": ("a int8", "(5)", "UPDATE t SET a = ~a"),
    "the ends of int8": ("a int8", "(9223372036854775807)", "UPDATE t SET a = -a - 1"),
    "timestamps 2^32 microseconds apart": (
        "a timestamptz",
        "('2024-01-01 00:00:00.000001+00')",
        "UPDATE t SET a = a + interval '4294967296 us'",
    ),
    "timestamps that fold to the same 32 bits": (
        "a timestamp",
        "('2000-01-01 00:00:00.000001')",
        "UPDATE t SET a = '2000-01-01 01:11:34.967296'",
    ),
    "a microsecond at the end of a century": (
        "a timestamp",
        "('2199-12-31 23:59:59.999998')",
        "UPDATE t SET a = a + interval '1 us'",
    ),
    "a microsecond long ago": (
        "a timestamptz",
        "('0044-03-15 12:00:00+00 BC')",
        "UPDATE t SET a = a + interval '1 us'",
    ),
    "a microsecond in a far future": (
        "a timestamp",
        "('294276-12-31 23:59:59.999998')",
        "UPDATE t SET a = a + interval '1 us'",
    ),
    "infinity and minus infinity": (
        "a timestamptz",
        "('infinity')",
        "UPDATE t SET a = '-infinity'",
    ),
    "infinity and nothing": ("a timestamp", "('infinity')", "UPDATE t SET a = NULL"),
    "infinite dates": ("a date", "('infinity')", "UPDATE t SET a = '-infinity'"),
    "the last date and infinity": ("a date", "('5874897-12-31')", "UPDATE t SET a = 'infinity'"),
    "a float's infinity and NaN": ("a float8", "('infinity')", "UPDATE t SET a = 'NaN'"),
    "float4 zero and minus zero": ("a float4", "(0)", "UPDATE t SET a = '-0'"),
    "float8 zero and nothing": ("a float8", "(0)", "UPDATE t SET a = NULL"),
    "zeros and nothings change places": (
        "a date, b date, c date",
        "('2000-01-01', '2000-01-01', NULL)",
        "UPDATE t SET a = NULL, b = NULL, c = '2000-01-01'",
    ),
    "a numeric's sign": ("a numeric", "(5)", "UPDATE t SET a = -5"),
    "a numeric's special values": ("a numeric", "('NaN')", "UPDATE t SET a = 'Infinity'"),
    "numerics exchange their weights": (
        "a numeric, b numeric",
        "(1, 10000)",
        "UPDATE t SET a = b, b = a",
    ),
    "int4 zero and nothing": ("a int4", "(0)", "UPDATE t SET a = NULL"),
    "int8 zero and nothing": ("a int8", "(0)", "UPDATE t SET a = NULL"),
    "true and false": ("a bool, b bool", "(true, false)", "UPDATE t SET a = b, b = a"),
    "a byte of zero": ("a bytea", r"('\x')", r"UPDATE t SET a = '\x00'"),
    "bytea empty and nothing": ("a bytea", r"('\x')", "UPDATE t SET a = NULL"),
    "a uuid's bytes": (
        "a uuid",
        "('00000000-0000-0000-0000-000000000001')",
        "UPDATE t SET a = '01000000-0000-0000-0000-000000000000'",
    ),
    "an enum with quotes in its labels": ("a quoted", r"('it''s')", r"UPDATE t SET a = '\{0}'"),
    "an enum and nothing": ("a mood", "('sad')", "UPDATE t SET a = NULL"),
    "the sign of a number in jsonb": (
        "a jsonb",
        """('{"a": 5}')""",
        """UPDATE t SET a = '{"a": -5}'""",
    ),
    "a number's zeros in jsonb": ("a jsonb", "('1.0')", "UPDATE t SET a = '1.00'"),
    "long text that ends otherwise": (
        "a text",
        "(repeat('x', 3000) || 'a')",
        "UPDATE t SET a = repeat('x', 3000) || 'b'",
    ),
    "text that goes on in the next column": (
        "a text, b text",
        "('ab', 'c')",
        "UPDATE t SET a = 'a', b = 'bc'",
    ),
    "one byte far inside a toasted value": (
        "a text",
        "(repeat(md5('x'), 9000))",
        "UPDATE t SET a = overlay(a placing 'z' from 200000)",
    ),
}


@pytest.fixture(scope="module")
def bench(server: Server) -> Iterator[Database]:
    """One database for all subtle changes."""
    with scratch(Target.parse(server.url()), "snapshot", NAME) as target, Database(target) as db:
        db.execute(
            r"CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE quoted AS ENUM ('it''s', "
            r"'\{0}', '\{1}')"
        )
        yield db


@pytest.fixture(scope="module")
def subtle(bench: Database) -> dict[Method, Comparison]:
    """What each method finds of all subtle changes, each in a table of its own."""
    tables = {case: f"subtle_{number}" for number, case in enumerate(SUBTLE)}
    for case, (columns, values, _) in SUBTLE.items():
        bench.execute(
            f"CREATE TABLE {tables[case]} ({columns}); INSERT INTO {tables[case]} VALUES {values}"
        )
    before = {method: snapshot.take(bench.target, NAME, method=method) for method in Method}
    for case, (_, _, change) in SUBTLE.items():
        bench.execute(re.sub(r"\b(UPDATE|FROM|INTO) t\b", rf"\1 {tables[case]}", change))
    found = {
        method: before[method].compare(snapshot.take(bench.target, NAME, method=method))
        for method in Method
    }
    bench.execute(f"DROP TABLE {', '.join(tables.values())}")
    return found


@both
@pytest.mark.parametrize("case", SUBTLE)
def test_a_subtle_change_of_content_is_found(
    subtle: dict[Method, Comparison], case: str, method: Method
) -> None:
    assert outcome(subtle[method], f"public.subtle_{list(SUBTLE).index(case)}") is Outcome.CONTENT


def test_blanks_at_the_end_count_although_comparisons_pass_over_them(bench: Database) -> None:
    bench.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a bpchar); INSERT INTO t VALUES ('ab ')")
    assert outcome(changed(bench, "UPDATE t SET a = 'ab'"), "public.t") is Outcome.CONTENT


def test_an_enum_is_hashed_alike_with_and_without_its_labels_and_as_a_domain(
    bench: Database,
) -> None:
    bench.execute(
        "DROP TABLE IF EXISTS t; DROP DOMAIN IF EXISTS known; CREATE DOMAIN known AS mood; CREATE "
        "TABLE t (a mood); INSERT INTO t VALUES ('sad'), ('ok'), (NULL)"
    )
    with_labels, without = (Column("a", "", labels) for labels in (("sad", "ok"), ()))
    assert with_labels.hash(1) != without.hash(1)
    assert bench.value(f"SELECT bool_and({with_labels.hash(1)} = {without.hash(1)}) FROM t")
    assert changed(bench, "ALTER TABLE t ALTER a TYPE known").identical
    assert changed(
        bench,
        "ALTER TYPE mood RENAME TO temper; ALTER TYPE temper RENAME TO mood; ALTER TYPE mood ADD "
        "VALUE 'glad' BEFORE 'ok'",
    ).identical


def test_rows_of_small_numbers_never_share_a_hash(bench: Database) -> None:
    """Small numbers in several columns, with zeros and nothings among them, are where a weak
    mixing would show first.
    """
    columns = [
        Column(name, kind)
        for name, kind in (
            ("a", "int8"),
            ("b", "int4"),
            ("c", "date"),
            ("d", "float8"),
            ("e", "bool"),
        )
    ]
    rows = """SELECT nullif(a, 9)::int8 AS a, b, '2000-01-01'::date + nullif(c, 9) AS c, nullif(d,
                  9)::float8 AS d, nullif(e, 2)::bool AS e
              FROM generate_series(0, 9) AS a, generate_series(0, 9) AS b, generate_series(0,
                  9) AS c, generate_series(0, 9) AS d, generate_series(0, 2) AS e"""
    assert (
        bench.value(
            f"SELECT count(*) - count(DISTINCT {row_hash(columns, Method.HASH)}) FROM ({rows}) AS t"
        )
        == 0
    )


def test_two_rows_that_exchange_a_value_are_not_left_to_some_bits_of_the_sum(
    bench: Database,
) -> None:
    """XOR is a sum without carries: unless rows are mixed as a whole, the lowest bit of the sum
    never sees an exchange.
    """
    rows = "(k, k + 1000, 1), (k + 2000, k + 3000, 1), (k, k + 3000, -1), (k + 2000, k + 1000, -1)"
    sums = (
        f"SELECT k, sum({row_hash([Column('a', 'int8'), Column('b', 'int4')], Method.HASH)} * "
        "sign::numeric) AS difference"
    )
    exchanges = (
        f"{sums} FROM generate_series(1, 64) AS k, LATERAL (VALUES {rows}) AS v (a, b, sign) "
        "GROUP BY k"
    )
    assert bench.value(f"SELECT count(*) FROM ({exchanges}) AS e WHERE difference % 2 <> 0") > 10


def test_a_table_of_very_many_columns_is_read(db: Database) -> None:
    db.execute(
        f"CREATE TABLE t ({', '.join(f'c{n} bool' for n in range(1600))}); INSERT INTO t (c0, "
        "c1599) VALUES (true, false)"
    )
    assert outcome(changed(db, "UPDATE t SET c1598 = true"), "public.t") is Outcome.CONTENT


def test_each_other_difference_has_its_own_name(rich: Database) -> None:
    comparison = changed(
        rich,
        """DELETE FROM wide WHERE id = 1; DROP TABLE nothing; CREATE TABLE fresh (id int);
                                  SELECT nextval('kinds_id_seq');
                                  SELECT setval('secret_id_seq', 2); SELECT lo_from_bytea(0, 'x');
                                  CREATE EXTENSION pg_trgm""",
    )
    assert {
        item.name: item.outcome
        for item in comparison
        if item.outcome not in (Outcome.IDENTICAL, Outcome.EXCLUDED)
    } == {
        "public.wide": Outcome.ROWS,
        "public.nothing": Outcome.MISSING,
        "public.fresh": Outcome.ADDED,
        "public.kinds_id_seq": Outcome.AHEAD,
        "public.secret_id_seq": Outcome.CONTENT,
        "large objects": Outcome.ROWS,
        "pg_trgm": Outcome.ADDED,
    }
    assert [item.name for item in comparison.differing] == [
        "public.fresh",
        "public.nothing",
        "public.wide",
        "public.secret_id_seq",
        "large objects",
    ]


def test_a_table_whose_columns_changed_is_compared_in_the_columns_that_stay(db: Database) -> None:
    db.execute(
        "CREATE TABLE t (id int, kept text, gone text); INSERT INTO t SELECT g, 'k' || g, 'x' "
        "FROM generate_series(1, 9) AS g"
    )
    before = snapshot.take(db.target, NAME, columns={"public.t": [["id", "kept"]]})
    db.execute("ALTER TABLE t DROP gone, ADD more int")
    same = before.compare(snapshot.take(db.target, NAME, columns=before.columns()))
    assert same.identical and next(iter(same)).why == "without gone, more"
    db.execute("UPDATE t SET kept = 'y' WHERE id = 3")
    assert (
        outcome(
            before.compare(snapshot.take(db.target, NAME, columns=before.columns())), "public.t"
        )
        is Outcome.CONTENT
    )


def test_a_table_that_cannot_be_compared_says_why_and_is_not_identical(db: Database) -> None:
    db.execute("CREATE TABLE t (id int, a int, b int)")
    comparison = changed(db, "ALTER TABLE t ALTER a TYPE bigint, DROP b, ADD c int")
    item = next(iter(comparison))
    assert not comparison.identical and item.outcome is Outcome.NOT_COMPARED
    assert item.why == "column a changed its type; column b is gone; column c was added"


def test_the_place_of_a_column_does_not_matter(db: Database) -> None:
    db.execute("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x')")
    assert changed(
        db,
        "ALTER TABLE t RENAME a TO z; ALTER TABLE t ADD a int; UPDATE t "
        "SET a = z; ALTER TABLE t DROP z",
    ).identical


def test_two_methods_are_never_compared(still: Database) -> None:
    one, two = (
        snapshot.take(still.target, NAME, method=method, tables=["public.parent"])
        for method in Method
    )
    with pytest.raises(UsageError, match="cannot be compared"):
        one.compare(two)
    with pytest.raises(UsageError, match="canary"):
        one.compare(replace(one, canary="1"))


def test_large_tables_are_read_in_pieces_with_the_same_result(
    rich: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich.execute(
        "INSERT INTO kinds (t) SELECT 'row ' || g FROM generate_series(1, 5000) AS g; DELETE "
        "FROM kinds WHERE id % 7 = 0"
    )
    whole = snapshot.take(rich.target, NAME)
    monkeypatch.setattr(content, "PIECE_BYTES", 60_000)
    pieces = snapshot.take(rich.target, NAME, jobs=3)
    assert whole.compare(pieces).identical
    assert whole.tables["public.kinds"].rows == rich.value("SELECT count(*) FROM kinds")


def test_all_sessions_see_one_instant_while_others_write(rich: Database) -> None:
    with snapshot.exported(rich.target, NAME) as at:
        before = snapshot.take(rich.target, NAME, at=at)
        rich.execute("UPDATE kinds SET t = 'later'; DELETE FROM wide")
        assert before.compare(snapshot.take(rich.target, NAME, at=at)).identical
    assert not before.compare(snapshot.take(rich.target, NAME)).identical


def test_a_locked_table_ends_it_with_the_tables_name(still: Database) -> None:
    with Database(still.target) as other, other.transaction():
        other.execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError, match="locked exclusively: public.wide") as caught:
            snapshot.take(still.target, NAME, tables=["public.wide"], lock_timeout_s=0.1)
    assert caught.value.sqlstate == "55P03"


def test_an_interrupt_cancels_every_session(still: Database) -> None:
    def interrupt(db: Database, unit: int) -> None:
        if unit == 1:
            raise KeyboardInterrupt
        db.execute("SELECT pg_sleep(30)")

    with pytest.raises(KeyboardInterrupt):
        each(still.target, "runbook/test/interrupt", 2, [0, 1, 2, 3], interrupt)
    assert (
        still.value(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'runbook/test/interrupt' AND state = 'active'"
        )
        == 0
    )
    assert threading.active_count() < 10


def test_row_security_is_an_error_and_never_fewer_rows(rich: Database, admin: Database) -> None:
    admin.execute("CREATE ROLE limited LOGIN PASSWORD 'limited'")
    try:
        rich.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO limited")
        with pytest.raises(DatabaseError, match="row-level security"):
            snapshot.take(
                replace(rich.target, user="limited", password="limited"),
                NAME,
                tables=["public.secret"],
            )
    finally:
        rich.execute("DROP OWNED BY limited")
        admin.execute("DROP ROLE limited")


def test_a_snapshot_survives_json_and_holds_no_row_of_data(rich: Database) -> None:
    rich.execute("INSERT INTO parent VALUES (77, 'Marker McMarkface')")
    shot = snapshot.take(rich.target, NAME)
    text = json.dumps(shot.as_dict())
    assert Snapshot.from_dict(json.loads(text)) == shot
    assert (
        "Marker" not in text + str(shot) + shot._repr_html_()
        and shot.tables["public.parent"].rows == 2
    )


def test_a_table_that_is_not_there_is_refused(still: Database) -> None:
    with pytest.raises(UsageError, match="no such table: public.none"):
        snapshot.take(still.target, NAME, tables=["public.none"])


def test_settings_of_the_application_are_shown_as_a_digest(db: Database) -> None:
    db.execute(f"ALTER DATABASE {db.target.database} SET app.secret = 'hush'")
    settings = snapshot.take(db.target, NAME).settings
    assert settings["database: app.secret"].startswith("hidden, md5 ") and "hush" not in str(
        settings
    )


def test_whether_a_name_was_quoted_when_it_was_set_is_no_difference(db: Database) -> None:
    shots = []
    for quoting in ("on", "off"):
        db.execute(f"SET quote_all_identifiers = {quoting}")
        db.execute(f"""ALTER DATABASE {db.target.database} SET search_path = "a, b", public""")
        db.execute(f"ALTER DATABASE {db.target.database} SET temp_tablespaces = pg_default")
        shots.append(snapshot.take(db.target, NAME))
    assert shots[0].settings != shots[1].settings  # the server stores them as they were set
    assert shots[0].compare(shots[1]).facts == ()
    db.execute(f"ALTER DATABASE {db.target.database} SET search_path = a, b, public")
    (wrong,) = shots[0].compare(snapshot.take(db.target, NAME)).facts
    assert wrong.name == "database: search_path"
