"""Rights are tried one by one, on what the night touches; nobody waits for that, and nothing is
left.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from runbook_lib.check import Check, Checks, Status
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import DatabaseError
from runbook_lib.postgres import activity, databases, disk, locks, writers
from runbook_lib.postgres.connection import Database, Target, query
from runbook_lib.postgres.rights import creates_databases, none_unended, rights


def found(checks: Checks, name: str) -> Check:
    """One of the checks."""
    return next(one for one in checks if one.id == f"environment.rights.{name}")


def test_the_superuser_has_all_rights(still: Database) -> None:
    checks = rights(still, ["public.kinds", "visit", "counted"])
    assert checks.passed, checks
    assert (
        "tables, tried and rolled back" in found(checks, "read").found
        and found(checks, "own").found == "3 tables, tried and rolled back"
    )


def test_each_missing_right_is_a_check_of_its_own(rich: Database, limited: Target) -> None:
    with Database(limited) as db:
        checks = rights(db)
        failed = {one.id.removeprefix("environment.rights.") for one in checks.failed}
    assert failed == {
        "read",
        "row_security",
        "own",
        "create_table",
        "create_index",
        "create_type",
        "alter_table",
    }
    decided = {one.id.removeprefix("environment.rights."): one for one in checks.unknown}
    assert decided.keys() == {"create_database", "own_database", "signal", "statistics"}
    assert "sessions of postgres are there" in decided["signal"].found
    for name, grant in {
        "create_database": "ALTER ROLE limited CREATEDB;",
        "own_database": "GRANT postgres TO limited;",
        "signal": "a superuser's session only a superuser ends: close those of postgres",
        "statistics": "GRANT pg_read_all_stats TO limited;",
    }.items():
        assert grant in decided[name].remedy and "without it" in decided[name].remedy


def test_one_table_that_cannot_be_read_or_altered_is_named_among_many(
    rich: Database, limited: Target
) -> None:
    rich.execute(
        "ALTER TABLE wide OWNER TO limited; GRANT SELECT "
        "ON ALL TABLES IN SCHEMA public TO limited; REVOKE SELECT ON parent FROM limited"
    )
    with Database(limited) as db:
        checks = rights(db, ["public.wide", "public.visit"])
    assert (
        "parent" in found(checks, "read").found
        and "wide" not in found(checks, "read").found
        and "secret" in found(checks, "read").found
    )
    assert found(checks, "own").found == "not its own: public.visit" and found(checks, "own").remedy


def test_a_large_object_that_the_role_may_not_read_is_named(db: Database, limited: Target) -> None:
    number = db.value("SELECT lo_from_bytea(0, 'x')")
    with Database(limited) as other:
        assert f"large object {number}" in found(rights(other), "read").found
        db.execute(f"GRANT SELECT ON LARGE OBJECT {number} TO limited")
        assert found(rights(other), "read").status is Status.PASSED


def test_trying_rights_out_leaves_nothing(rich: Database) -> None:
    rights(rich, ["public.kinds"])
    assert rich.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'runbook_probe%'") == 0
    assert rich.value("SELECT obj_description('kinds'::regclass)") == "every type"


def test_a_trial_keeps_nobody_out_and_one_that_is_kept_from_looking_is_unknown(
    rich: Database, target: Target
) -> None:
    with Database(target) as other, other.transaction():
        other.execute("UPDATE wide SET body = body WHERE id = 1")
        assert rights(rich, ["public.wide"]).passed, (
            "a writer is not in the way, so no writer waits for it"
        )
        other.execute(
            "LOCK TABLE wide IN ACCESS EXCLUSIVE MODE; CREATE TYPE runbook_probe_type AS ENUM ('a')"
        )
        checks = rights(rich, ["public.wide", "public.gone"])
        assert (
            "wide" in found(checks, "own").found
            and "not there: public.gone" in found(checks, "own").found
            and found(checks, "read").found.endswith("wide")
        )
        assert {one.id.rpartition(".")[2] for one in checks.unknown} == {
            "own",
            "read",
            "create_type",
        } and not checks.failed


def test_a_login_on_another_server_is_asked_for_the_right_to_create_databases(
    source: Target, db: Database, limited: Target
) -> None:
    assert creates_databases(source, "runbook/test", "id", "t").status is Status.PASSED
    assert creates_databases(limited, "runbook/test", "id", "t").status is Status.FAILED
    wrong = creates_databases(replace(source, password="wrong"), "runbook/test", "id", "t")
    assert wrong.status is Status.FAILED and "password authentication failed" in wrong.found


@pytest.fixture
def acting(db: Database, admin: Database) -> Iterator[Target]:
    """A login that inherits nothing and acts as the owner, who may do nothing to its login: as a
    project of Prisma has it.
    """
    name = sql.Identifier(db.target.database)
    admin.execute("CREATE ROLE acted NOLOGIN CREATEDB")
    admin.execute("CREATE ROLE login LOGIN NOINHERIT PASSWORD 'login' IN ROLE acted")
    admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO acted").format(name))
    db.execute("ALTER SCHEMA public OWNER TO acted")
    db.close()
    yield replace(db.target, user="login", password="login", flags="-c role=acted")
    admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(name))
    with Database(db.target) as after:
        after.execute("REASSIGN OWNED BY acted TO postgres; DROP OWNED BY acted, login")
    admin.execute("DROP ROLE login, acted")


def test_a_login_that_acts_as_the_owner_sees_and_ends_its_own_sessions_and_is_asked_for_no_right(
    acting: Target,
) -> None:
    with Database(acting, "runbook/test/migrate") as other, Database(acting) as watching:
        checks = rights(watching, [])
        assert checks.passed, checks
        with pytest.raises(DatabaseError, match="57P01"), other.transaction():
            other.execute("CREATE TABLE made (id int)")
            (seen,) = activity.of_application(watching, "runbook/test/migrate")
            assert (seen.state, seen.backend_type) == ("idle in transaction", "client backend")
            assert list(writers.at_work(watching).values()) == ["runbook/test/migrate"]
            assert locks.end(watching, seen, 0.1) == "ended"
            other.value("SELECT 1")
        assert watching.value("SELECT current_user") == "acted"


def test_sessions_that_neither_the_login_nor_the_role_it_acts_as_may_end_are_named(
    acting: Target, source: Target
) -> None:
    with Database(source.named(acting.database)), Database(acting) as watching:
        checks = rights(watching, [])
    decided = {one.id.rpartition(".")[2]: one for one in checks.unknown}
    assert decided.keys() == {"signal", "statistics"}
    assert all("no: sessions of postgres are there" in one.found for one in decided.values())
    assert "close those of postgres" in decided["signal"].remedy
    assert "GRANT pg_signal_backend" not in decided["signal"].remedy  # it would not help


@pytest.fixture
def owner(server: Server) -> Iterator[Target]:
    """A database of a role without superuser that may end the sessions of others: all that a
    managed service gives.
    """
    admin, name = Target.parse(server.url()), f"signalling_{uuid.uuid4().hex[:8]}"
    with Database(admin) as db:
        for role, more in ((name, "CREATEDB"), (f"{name}_app", "")):
            db.execute(f"CREATE ROLE {role} LOGIN {more} PASSWORD 'pw'")
        db.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
        yield replace(admin.named(name), user=name, password="pw")
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")
        db.execute(f"DROP ROLE {name}, {name}_app")


def test_whose_sessions_a_swap_would_wait_for_is_known_beforehand_with_what_ends_them(
    server: Server, owner: Target
) -> None:
    app = replace(owner, user=f"{owner.user}_app")
    superuser = Target.parse(server.url()).named(owner.database)
    grant = f"GRANT pg_signal_backend TO {owner.user};"
    with Database(owner) as db, Database(Target.parse(server.url())) as admin:
        assert found(rights(db, []), "signal").status is Status.PASSED
        with Database(app, "api"):
            asked = found(rights(db, []), "signal")
            assert asked.status is Status.UNKNOWN and grant in asked.remedy
            assert "superuser" not in asked.remedy
            admin.execute(grant)
            assert found(rights(db, []), "signal").status is Status.PASSED
        with Database(superuser, "monitoring"):
            asked = found(rights(db, []), "signal")
            assert asked.status is Status.UNKNOWN and grant not in asked.remedy
            assert "those of postgres only a superuser ends" in asked.found
            held = none_unended(db, "held", "all can be ended", wait_s=0.1)
            assert held.status is Status.FAILED and "postgres (superuser)" in held.found
            assert "“monitoring”" in held.found and "pg_terminate_backend" in held.remedy
            with pytest.raises(DatabaseError, match="may not end session .* of postgres"):
                databases.terminate(db, [owner.database], wait_s=0.1)
        assert none_unended(db, "held", "all can be ended").status is Status.PASSED


def test_a_superusers_session_that_leaves_by_itself_holds_nothing_up(
    server: Server, owner: Target
) -> None:
    """A collector that looks every few seconds."""
    passing = Database(Target.parse(server.url()).named(owner.database), "collector")
    with Database(owner.named("postgres")) as elsewhere:
        leaving = threading.Timer(0.3, passing.close)
        leaving.start()
        assert passing.pid in databases.terminate(elsewhere, [owner.database], wait_s=30)
        leaving.join()


def test_every_version_answers(any_server: Server) -> None:
    with Database(Target.parse(any_server.url())) as db:
        assert rights(db).passed
        row = db.row(query("monitoring_server"))
        assert (
            1 <= row["connections"] <= row["most"]
            and row["deadlocks"] == 0
            and row["epoch"]
            and disk.elsewhere(db) == ""
        )


def test_who_may_not_see_other_sessions_counts_them_all_the_same(
    db: Database, limited: Target
) -> None:
    with Database(limited) as other:
        seen = [one.row(query("monitoring_server"))["connections"] for one in (db, other)]
    assert seen[0] == seen[1] >= 2
