-- Which transactions are finished, how far is the WAL, when is this, and which sessions here have written and not ended?
SELECT pg_current_snapshot()::text AS snapshot,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn,
       clock_timestamp() AS time,
       (SELECT array_agg(a.pid ORDER BY a.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
          AND a.datname = current_database() AND a.pid <> pg_backend_pid()) AS writing_pids;
