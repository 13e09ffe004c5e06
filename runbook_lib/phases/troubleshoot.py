"""95 Troubleshoot: the seed's five issues, each with the numbers of this database."""

from __future__ import annotations

from typing import Any

from runbook_lib.phases.backup import table_sizes
from runbook_lib.phases.base import Phase
from runbook_lib.postgres import activity, integrity, locks, statistics
from runbook_lib.table import Table, size


class Troubleshoot(Phase):
    """Reads the live state; changes nothing."""

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


PHASE = Troubleshoot
