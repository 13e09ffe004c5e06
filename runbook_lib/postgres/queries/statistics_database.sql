-- How is the database doing: cache hits, temporary files (bytes), deadlocks, rollbacks, connections against the limit,
-- since when is that counted (and are scans of tables counted at all), when did the server start or last recover from a crash, and how far is the WAL?
SELECT d.blks_hit AS blocks_from_cache, d.blks_read AS blocks_read, d.blk_read_time AS read_ms, d.temp_files AS temporary_files,
       d.temp_bytes AS temporary_bytes, d.deadlocks, d.xact_commit AS commits, d.xact_rollback AS rollbacks,
       pg_database_size(d.datid) AS bytes, current_setting('max_connections')::int AS max_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       d.stats_reset AS counted_since, current_setting('track_counts')::bool AS counting,
       coalesce((SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'), pg_postmaster_start_time()) AS started,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn, clock_timestamp() AS time
FROM pg_stat_database AS d
WHERE d.datname = current_database();
