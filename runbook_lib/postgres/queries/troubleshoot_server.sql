-- Since when does the server run (UTC), is it recovering, and how did sessions of this database end?
SELECT pg_postmaster_start_time() AT TIME ZONE 'UTC' AS started, pg_is_in_recovery() AS in_recovery,
       pg_conf_load_time() AT TIME ZONE 'UTC' AS configuration_loaded, d.sessions, d.sessions_abandoned, d.sessions_fatal, d.sessions_killed, d.deadlocks,
       d.stats_reset AT TIME ZONE 'UTC' AS counted_since
FROM pg_stat_database AS d
WHERE d.datname = current_database();
