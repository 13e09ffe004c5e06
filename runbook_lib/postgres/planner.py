"""The planner's statistics: renewed, and whether every table with rows has some."""

from __future__ import annotations

from psycopg.errors import Diagnostic

from runbook_lib.check import Check, attempt, check, unknown
from runbook_lib.postgres.connection import Database, Target, query, sql
from runbook_lib.postgres.parallel import each
from runbook_lib.postgres.reading import reading

RIGHT = "let the tables' owner run ANALYZE, or grant the role MAINTAIN (17 and newer)"


def renewed(target: Target, application_name: str, jobs: int) -> list[str]:
    """Run ANALYZE on every table and materialized view that is not PostgreSQL's own, the largest first.

    Args:
        jobs: sessions that do it at the same time.

    Returns:
        What the server warned of: the tables that the role may not analyse, which it passed over.

    Raises:
        DatabaseError: a table is locked, or it took too long.
    """
    with Database(target, application_name) as db, reading(db):
        names = [row["name"] for row in db.rows(query("restore_analyze"))]
    said: list[str] = []

    def work(session: Database, name: str) -> None:
        session.connection.add_notice_handler(note)
        try:
            session.execute(sql.SQL("ANALYZE ") + sql.SQL(name))
        finally:
            session.connection.remove_notice_handler(note)

    def note(message: Diagnostic) -> None:
        said.append(message.message_primary or "a warning without words")

    each(target, application_name, jobs, names, work, statement_timeout="1h", lock_timeout="60s")
    return sorted(said)


def analyze_check(target: Target, application_name: str, jobs: int) -> Check:
    """Renew the statistics, and say which tables were passed over."""
    id, title = "statistics.analyze", "ANALYZE reached every table"

    def look() -> Check:
        said = renewed(target, application_name, jobs)
        if said:
            return unknown(id, title, f"{len(said)} passed over: {'; '.join(said[:5])}", "none passed over", RIGHT)
        return check(id, title, True, "the planner's statistics were renewed", "none passed over")
    return attempt(id, title, look)


def statistics_check(db: Database) -> Check:
    """Whether the planner has statistics of every table that has rows."""
    id, title, expected = "statistics.present", "the planner has statistics of every table that has rows", "every table"

    def look() -> Check:
        with reading(db):
            rows = db.rows(query("health_planner"))
        lacking, hidden = ([row["name"] for row in rows if row["readable"] is readable] for readable in (True, False))
        if hidden and not lacking:
            return unknown(id, title, f"hidden from this role: {', '.join(hidden[:5])}", expected, "grant the role SELECT on them")
        return check(id, title, not lacking, f"none of {len(lacking)}: {', '.join(lacking[:5])}" if lacking else "all have some", expected,
                     "; ".join(f"ANALYZE {name}" for name in lacking[:5]))
    return attempt(id, title, look)
