"""95 Troubleshoot: what stopped the migration, with the numbers of this database."""

from __future__ import annotations

from runbook_lib.check import Checks
from runbook_lib.errors import DatabaseError, GateError, UsageError
from runbook_lib.phases import lease, livedata
from runbook_lib.phases.base import Phase
from runbook_lib.phases.cause import Cause
from runbook_lib.phases.landed import at_work
from runbook_lib.phases.start import applied
from runbook_lib.postgres import activity, disk, integrity, locks, rights, space
from runbook_lib.postgres.connection import query
from runbook_lib.prisma import history
from runbook_lib.table import Table
from runbook_lib.whereabouts import person


class Troubleshoot(Phase):
    """Read the live state; change nothing unless a person names a session to end."""

    name, heading, needs_database = (
        "troubleshoot",
        "Troubleshoot",
        False,
    )  # opened when something is wrong, and be it that

    def stands(self) -> Table:
        """Whether a migration failed or still runs.

        Its sessions and the holder of Prisma's lock, beside Prisma's record.
        """
        working, found = (
            at_work(self),
            history.compare(history.files(self.project), applied(self.db, self.target)),
        )
        said = (
            "is still at work"
            if working
            else f"{len(found.failed)} failed, and nobody is at work on it"
            if found.failed
            else "is in no half-way state"
        )
        rows = [
            ("at work now", working or "nobody"),
            ("begun and not finished", found.failed),
            ("applied", len(found.applied)),
            ("pending", found.pending),
        ]
        return Table(
            f"The migration: {said}",
            ("", ""),
            rows,
            ["bad" if working else "", "bad" if found.failed else "", "", ""],
        )

    def failures(self) -> Table:
        """The failures of this run, each with its cause."""
        failed = [line for line in self.run.read_journal() if line["what"] == "migration failed"]
        rows = [
            (
                line["at"],
                line["file"],
                line.get("cause"),
                line["sqlstate"] or line["code"],
                line["now"],
                next((one.link for one in Cause if one.value == line.get("cause")), ""),
            )
            for line in failed
        ]
        return Table(
            f"{len(rows)} failures of this run",
            ("at (UTC)", "file", "cause", "code", "what was true then", "explained in"),
            rows,
            ["bad"] * len(rows),
        )

    def timeouts(self) -> Table:
        """Show the timeouts in force and where each comes from.

        From the server's configuration down to the migration's own.
        """
        rows = [
            (row["name"], row["value"], row["level"]) for row in self.db.rows(query("timeouts"))
        ]
        limits = self.params.migrate
        ours = [
            (f"{name} of the migration", f"{value:g} s", f"migrate.{key}")
            for name, key, value in (
                ("statement_timeout", "statement_timeout_s", limits.statement_timeout_s),
                ("lock_timeout", "lock_timeout_s", limits.lock_timeout_s),
                ("deadline", "deadline_s", limits.deadline_s),
            )
        ]
        return Table(
            "Timeouts, and where each comes from; 0 is none",
            ("setting", "value", "from"),
            [*ours, *rows],
        )

    def blockers(self) -> locks.Blockers:
        """Who blocks whom, as a tree from pg_blocking_pids()."""
        return self.keep("blockers", locks.blockers(self.db))

    def sessions(self) -> Table:
        """All sessions of this database: application, state, age of their transaction.

        Their statements where the parameters allow it.
        """
        found = activity.sessions(self.db).table()
        if not self.params.monitoring.show_statements:
            return found
        texts = {
            row["pid"]: row["query"]
            for row in self.db.rows("SELECT pid, left(query, 200) AS query FROM pg_stat_activity")
        }
        pid = list(found.columns).index("pid")
        return Table(
            found.title,
            (*found.columns, "statement"),
            [(*row, texts.get(row[pid])) for row in found.rows],
        )

    def prepared(self) -> Table:
        """Prepared transactions: they hold their locks without a session."""
        rows = [(one.name, one.owner, one.age_s) for one in activity.prepared_transactions(self.db)]
        return Table(
            f"{len(rows)} prepared transactions",
            ("name", "owner", "age s"),
            rows,
            ["bad"] * len(rows),
        )

    def server(self) -> Table:
        """Since when the server runs, and how sessions of this database ended."""
        row = self.db.row(query("troubleshoot_server")) or {}
        return Table(
            f"The server runs since {row['started']:%Y-%m-%d %H:%M:%S} UTC",
            ("what", "value"),
            [(key.replace("_", " "), value) for key, value in row.items() if key != "started"],
        )

    def room(self) -> disk.Disks:
        """What is free where the server keeps its files, where that can be known from here."""
        return disk.disk(self.db)

    def space(self) -> space.Space:
        """What takes room, and what would free it."""
        return self.keep("space", space.space(self.db))

    def foreign_keys(self) -> integrity.ForeignKeys:
        """Orphans by foreign key, with the query that lists them."""
        return integrity.foreign_keys(self.db)

    def violations(self) -> livedata.LiveData:
        """Count the existing rows that break what failed or pending files demand of them."""
        found = history.compare(history.files(self.project), applied(self.db, self.target))
        files = [
            entry.file
            for entry in found.entries
            if entry.name in (*found.failed, *found.pending) and entry.file
        ]
        return livedata.of_files(self, files)

    def unvalidated(self) -> Table:
        """Constraints that were never checked against the rows that were there before."""
        return integrity.unvalidated_constraints(self.db)

    def rights(self) -> Checks:
        """What this role may do, tried one by one."""
        return rights.rights(self.db)

    def index_builds(self) -> Table:
        """Show index builds under way, and invalid indexes that an interrupted build left.

        With the safe way to have them again.
        """
        running = [
            ("building", str(step), "wait, or cancel it where it was started")
            for step in activity.progress(self.db)
        ]
        invalid = [
            ("being built", row[0], f"by {row[4]}")
            if row[4]
            else (
                "invalid",
                f"{row[0]} on {row[1]}, {row[2]}",
                f"REINDEX INDEX CONCURRENTLY {row[0]}; or DROP INDEX CONCURRENTLY {row[0]}, and "
                f"{row[3]}",
            )
            for row in integrity.invalid_indexes(self.db).rows
        ]
        return Table(
            "Index builds under way, and invalid indexes",
            ("state", "index", "what to do"),
            running + invalid,
        )

    def end_blocker(self, pid: int, reason: str) -> Table:
        """End what one session does that is in the way of this run's migration.

        Its statement, or, where that does not help, the session.

        Args:
            pid: its process number, as `blockers` shows it.
            reason: why; it goes into the journal, with who did it.

        Raises:
            GateError: it is not in the way of the migration, or is one that is never ended here.
            DatabaseError: this role may not.
        """
        if not reason.strip():
            raise UsageError(
                "ending somebody's session needs a reason", 'phase.end_blocker(PID, reason="…")'
            )
        lease.claim(self)
        session = self._blocker(pid)
        self.run.journal("blocker is ended", pid=pid, session=str(session), reason=reason)
        try:
            done = locks.end(self.db, session)
        except DatabaseError as error:
            self.run.journal("blocker was not ended", pid=pid, why=error.message)
            raise
        self.run.journal("blocker ended", pid=pid, how=done)
        return Table(
            f"Session {pid} was {done}",
            ("session", "reason", "by"),
            [(str(session), reason, person())],
        )

    def _blocker(self, pid: int) -> activity.Session:
        """Return the session of that number if it is in the way of the migration.

        It must be neither ours nor one that keeps the server or its copies alive.
        """
        found = locks.blockers(self.db)
        migration = [
            one
            for one, session in found.sessions.items()
            if activity.named(session.application, f"runbook/{self.run.key}/migrate/prisma")
        ]
        session = found.sessions.get(pid)
        if session is None or pid not in found.in_the_way_of(migration):
            raise GateError(
                f"session {pid} is not in the way of this run's migration",
                "`phase.blockers()` shows who is",
            )
        superuser = self.db.value(
            "SELECT rolsuper FROM pg_roles WHERE rolname = %s", [session.user]
        )
        why = (
            "it is one of the runbook's"
            if activity.named(session.application, "runbook")
            else f"it is a {session.backend_type}, no client"
            if session.backend_type != "client backend"
            else "it is a superuser's"
            if superuser is not False
            else ""
        )
        if why:
            raise GateError(f"{session} is not ended here: {why}", "end it where it was opened")
        return session


PHASE = Troubleshoot
