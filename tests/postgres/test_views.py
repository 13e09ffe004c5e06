"""Materialized views that are empty, or that a changed table made stale, against those that only
waited for their refresh before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from runbook_lib.check import Check, Status, new_since
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres import views
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.scratch import scratch

VIEWS = """
CREATE TABLE visit (id int, at date, fee float8, note json) PARTITION BY RANGE (at);
CREATE TABLE visit_1 PARTITION OF visit DEFAULT;
CREATE TABLE other (id int);
INSERT INTO visit SELECT g, '2024-01-01', g * 0.1, '{"a": 1}' FROM generate_series(1, 1000) AS g;
CREATE VIEW paid AS SELECT * FROM visit WHERE fee > 1;
CREATE MATERIALIZED VIEW "Per day" AS SELECT at, count(*) AS v, sum(fee),
    max(note::text)::json AS note FROM paid GROUP BY at;
CREATE MATERIALIZED VIEW above AS SELECT v + 1 AS v FROM "Per day";
CREATE MATERIALIZED VIEW recent AS SELECT count(*) FROM visit WHERE at < now() + interval '1 day';
CREATE MATERIALIZED VIEW empty AS SELECT id FROM other WITH NO DATA;
CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.other';
CREATE MATERIALIZED VIEW called AS SELECT public.counted() AS n;
"""


@pytest.fixture(scope="module")
def filled(any_server: Server) -> Iterator[Database]:
    """A database with such views."""
    with (
        scratch(Target.parse(any_server.url()), "views", "runbook/test") as target,
        Database(target) as db,
    ):
        db.execute(VIEWS)
        yield db


def found(db: Database, *changed: str, before: Iterable[Check] = ()) -> dict[str, Check]:
    made = [views.view_check(db, view, set(changed)) for view in views.materialized_views(db)]
    return {one.id.removeprefix("data.view."): one for one in new_since(before, made)}


def statuses(checks: dict[str, Check]) -> dict[str, Status]:
    return {name.removeprefix("public."): one.status for name, one in checks.items()}


def test_the_tables_behind_other_views_and_partitions_are_known(filled: Database) -> None:
    known = {view.name: (view.tables, view.functions) for view in views.materialized_views(filled)}
    assert known == {
        'public."Per day"': (("public.visit_1",), ()),
        "public.above": (("public.visit_1",), ()),
        "public.recent": (("public.visit_1",), ()),
        "public.empty": (("public.other",), ()),
        "public.called": ((), ("public.counted",)),
    }


def test_views_that_hold_what_their_query_gives_pass(filled: Database) -> None:
    checks = found(filled, "public.visit_1", "public.other", before=found(filled).values())
    assert set(statuses(checks).values()) == {Status.PASSED}, checks
    assert checks["public.above"].found == "it holds what its query gives"


def test_a_view_is_stale_where_a_table_behind_it_changed(filled: Database) -> None:
    with filled.connection.transaction(force_rollback=True):
        filled.execute(
            "INSERT INTO visit VALUES (7, '2025-01-01', 5, '{}'); INSERT INTO other VALUES (1)"
        )
        checks = found(filled, "public.visit_1", "public.other")
    assert statuses(checks) == {
        '"Per day"': Status.FAILED,
        "above": Status.PASSED,
        "recent": Status.UNKNOWN,
        "empty": Status.FAILED,
        "called": Status.UNKNOWN,
    }
    day = checks['public."Per day"']
    assert (day.found, day.remedy) == (
        "it holds 1 rows, its query gives 2",
        'REFRESH MATERIALIZED VIEW public."Per day"',
    )
    assert (
        "pg_catalog.now" in checks["public.recent"].found
        and checks["public.empty"].found == "public.empty is not filled"
    )


def test_a_view_that_waited_for_its_refresh_before_waits_on(filled: Database) -> None:
    with filled.connection.transaction(force_rollback=True):
        filled.execute("INSERT INTO visit VALUES (7, '2025-01-01', 5, '{}')")
        before = found(filled, "public.visit_1").values()
        assert statuses(found(filled, "public.visit_1"))['"Per day"'] is Status.FAILED
        for changed in ((), ("public.visit_1",)):
            after = found(filled, *changed, before=before)
            assert set(statuses(after).values()) == {Status.PASSED}, after


def test_a_query_that_takes_too_long_is_no_answer(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "COMPARE_TIMEOUT_S", 0.3)
    with filled.connection.transaction(force_rollback=True):
        filled.execute(
            "CREATE MATERIALIZED VIEW slow AS SELECT id FROM other "
            "WHERE pg_sleep(id) IS NULL; INSERT INTO other VALUES (60)"
        )
        slow = found(filled, "public.other")["public.slow"]
    assert slow.status is Status.UNKNOWN and "timeout" in slow.found
