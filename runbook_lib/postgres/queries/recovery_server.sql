-- Which server is this, has it ended its recovery, and where in the WAL did that end? (The last is forgotten at a restart.)
SELECT pg_is_in_recovery() AS in_recovery, pg_last_wal_replay_lsn()::text AS replayed, pg_postmaster_start_time() AS started_at,
       (SELECT s.system_identifier::text FROM pg_control_system() AS s) AS system_identifier;
