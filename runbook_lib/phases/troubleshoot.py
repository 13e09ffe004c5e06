"""95 Troubleshoot: the seed's five issues, each with the numbers of this database."""

from __future__ import annotations

from typing import Any

from runbook_lib.errors import DatabaseError, GateError, UsageError
from runbook_lib.phases.backup import table_sizes
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity, integrity, locks, statistics
from runbook_lib.run import person
from runbook_lib.table import Table, size


class Troubleshoot(Phase):
    """Reads the live state; changes nothing, but where a person names a session that is to be ended."""

    name, heading, needs_database = "troubleshoot", "Troubleshoot", False  # opened when something is wrong, and be it that

    def timeouts(self) -> Table:
        """The timeouts in force and where each comes from."""
        rows = self.db.rows("SELECT name, setting || coalesce(unit, '') AS value, source FROM pg_settings"
                            " WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',"
                            " 'client_connection_check_interval', 'deadlock_timeout') ORDER BY name")
        ours = [("statement_timeout of the migration", f"{self.params.migrate.statement_timeout_s:g} s", "migrate.statement_timeout_s"),
                ("lock_timeout of the migration", f"{self.params.migrate.lock_timeout_s:g} s", "migrate.lock_timeout_s")]
        return Table("Timeouts in force in this session, and those that the migration is given", ("setting", "value", "from"),
                     [*((row["name"], row["value"], row["source"]) for row in rows), *ours])

    def blockers(self) -> locks.Blockers:
        """Who blocks whom, as a tree from pg_blocking_pids()."""
        return self.keep("blockers", locks.blockers(self.db))

    def sessions(self) -> Any:
        """All sessions of this database: application, state, age of their transaction."""
        return activity.sessions(self.db)

    def disk(self) -> Table:
        """What fills the disk: databases, the largest tables, write-ahead log."""
        databases = self.db.rows("SELECT datname AS name, pg_database_size(oid) AS bytes FROM pg_database WHERE datallowconn ORDER BY 2 DESC LIMIT 10")
        tables = sorted(table_sizes(statistics.read(self.db)).items(), key=lambda item: -item[1]["bytes"])[:10]
        rows = [("database", row["name"], size(row["bytes"])) for row in databases]
        return Table("What fills the disk", ("kind", "name", "size"), rows + [("table", name, size(item["bytes"])) for name, item in tables])

    def foreign_keys(self) -> integrity.ForeignKeys:
        """Orphans by foreign key, with the query that lists them."""
        return integrity.foreign_keys(self.db)

    def index_builds(self) -> Table:
        """Index builds under way, and invalid indexes that an interrupted one left."""
        running = [("building", str(step)) for step in activity.progress(self.db)]
        invalid = [("invalid", f"{row[0]} on {row[1]}, {row[2]}: DROP INDEX CONCURRENTLY {row[0]}") for row in integrity.invalid_indexes(self.db).rows]
        return Table("Index builds under way, and invalid indexes", ("state", "index"), running + invalid)

    def end_blocker(self, pid: int, reason: str) -> Table:
        """End what one session does that is in the way of this run's migration: its statement, or, where that does not help, the session.

        Args:
            pid: its process number, as `blockers` shows it.
            reason: why; it goes into the journal, with who did it.

        Raises:
            GateError: it is not in the way of the migration, or is one that is never ended here.
            DatabaseError: this role may not.
        """
        if not reason.strip():
            raise UsageError("ending somebody's session needs a reason", 'phase.end_blocker(PID, reason="…")')
        session = self._blocker(pid)
        self.run.journal("blocker is ended", pid=pid, session=str(session), reason=reason)
        try:
            done = locks.end(self.db, session)
        except DatabaseError as error:
            self.run.journal("blocker was not ended", pid=pid, why=error.message)
            raise
        self.run.journal("blocker ended", pid=pid, how=done)
        return Table(f"Session {pid} was {done}", ("session", "reason", "by"), [(str(session), reason, person())])

    def _blocker(self, pid: int) -> activity.Session:
        """The session of that number, in the way of the migration and neither ours nor one that keeps the server or its copies alive."""
        found = locks.blockers(self.db)
        migration = [one for one, session in found.sessions.items() if activity.named(session.application, f"runbook/{self.run.key}/migrate/prisma")]
        session = found.sessions.get(pid)
        if session is None or pid not in found.in_the_way_of(migration):
            raise GateError(f"session {pid} is not in the way of this run's migration", "`phase.blockers()` shows who is")
        superuser = self.db.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [session.user])
        why = ("it is one of the runbook's" if activity.named(session.application, "runbook") else
               f"it is a {session.backend_type}, no client" if session.backend_type != "client backend" else
               "it is a superuser's" if superuser is not False else "")
        if why:
            raise GateError(f"{session} is not ended here: {why}", "end it where it was opened")
        return session


PHASE = Troubleshoot
