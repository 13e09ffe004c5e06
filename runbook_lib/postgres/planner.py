"""The planner's statistics.

Renewed where they are missing or older than the rows, and whether every table with rows has some.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.errors import Diagnostic

from runbook_lib.check import Check, Status, attempt, check, faults, unknown
from runbook_lib.postgres.connection import Database, query
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.reading import reading
from runbook_lib.postgres.target import Target

ANALYZE, OLDER = "statistics.analyze", "no table has statistics that are older than its rows"
RIGHT = "let the tables' owner run ANALYZE, or grant the role MAINTAIN (17 and newer)"


def renewed(target: Target, application_name: str, jobs: int, names: Sequence[str]) -> list[str]:
    """Run ANALYZE on these tables and materialized views, in their order.

    Args:
        jobs: sessions that do it at the same time.
        names: qualified and quoted.

    Returns:
        Those that the server passed over, with a warning: the role may not analyse them.

    Raises:
        DatabaseError: a table is locked, or it took too long.
    """
    passed_over: set[str] = set()

    def work(session: Database, name: str) -> None:
        def note(message: Diagnostic) -> None:
            if message.severity_nonlocalized == "WARNING" and not message.context:
                passed_over.add(
                    name
                )  # what has a context was said by a function, of an index on an expression

        session.connection.add_notice_handler(note)
        try:
            session.execute(sql.SQL("ANALYZE ") + sql.SQL(name))
        finally:
            session.connection.remove_notice_handler(note)

    each(target, application_name, jobs, names, work, statement_timeout="1h", lock_timeout="60s")
    return sorted(passed_over)


def statistics_checks(target: Target, application_name: str, jobs: int) -> list[Check]:
    """Renew the statistics where they are missing or older than the rows.

    Then see whether every table with rows has some.
    """
    id, title = ANALYZE, OLDER

    def look() -> Check:
        rows = _tables(target, application_name)
        old = [row for row in rows if row["lacking"] or row["changed"]]
        names = [row["name"] for row in old if row["analysable"]]
        said = renewed(target, application_name, jobs, names)
        if said:
            return unknown(
                id,
                title,
                f"ANALYZE passed over {len(said)}: {'; '.join(said[:5])}",
                "none passed over",
                RIGHT,
            )
        if len(names) < len(old):
            return _not_ours(id, title, [row["name"] for row in old if not row["analysable"]])
        return check(
            id,
            title,
            True,
            f"renewed those of {len(names)} tables; the rows of the other "
            f"{len(rows) - len(names)} have not changed since theirs",
        )

    return [attempt(id, title, look), statistics_check(target, application_name)]


def analysable_check(target: Target, application_name: str) -> Check:
    """Whether the role may renew the statistics of every table; renews none."""

    def look() -> Check:
        rows = _tables(target, application_name)
        if others := [row["name"] for row in rows if not row["analysable"]]:
            return _not_ours(ANALYZE, OLDER, others)
        return check(ANALYZE, OLDER, True, f"the role may analyse all {len(rows)} tables")

    return attempt(ANALYZE, OLDER, look)


def _not_ours(id: str, title: str, names: Sequence[str]) -> Check:
    """The check where the role may not analyse some tables.

    Whether theirs are old is for their owner to see.
    """
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Check(
        id,
        title,
        Status.UNKNOWN,
        f"the role may not analyse {shown}",
        "none passed over",
        RIGHT,
        dict.fromkeys(names, 1.0),
    )


def statistics_check(target: Target, application_name: str) -> Check:
    """Whether the planner has statistics of every table that has rows."""
    id, title, expected = (
        "statistics.present",
        "the planner has statistics of every table that has rows",
        "every table",
    )

    def look() -> Check:
        rows = [row for row in _tables(target, application_name) if row["none"]]
        lacking, hidden = (
            [row["name"] for row in rows if row["readable"] is readable]
            for readable in (True, False)
        )
        if hidden and not lacking:
            return Check(
                id,
                title,
                Status.UNKNOWN,
                f"hidden from this role: {', '.join(hidden[:5])}",
                expected,
                "grant the role SELECT on them",
                dict.fromkeys(hidden, 1.0),
            )
        return faults(
            id,
            title,
            dict.fromkeys(lacking, 1.0),
            f"none of {len(lacking)}: {', '.join(lacking[:5])}" if lacking else "all have some",
            expected,
            "; ".join(f"ANALYZE {name}" for name in lacking[:5]),
        )

    return attempt(id, title, look)


def _tables(target: Target, application_name: str) -> list[dict[str, Any]]:
    with Database(target, application_name) as db, reading(db):
        return db.rows(query("health_planner"))
