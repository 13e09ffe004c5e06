-- Which instant does this transaction see, and under which name can other sessions see the same?
SELECT pg_export_snapshot() AS id, clock_timestamp() AS time, pg_current_snapshot()::text AS transactions,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn;
