-- How many connections does the server hold of those that it may, and how many deadlocks did this database see since when?
-- (The server's own numbers of sessions: who may not see what others do, may see these. Parallel workers are among them.)
SELECT (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections, current_setting('max_connections')::int AS most, d.deadlocks,
       concat_ws(' ', d.stats_reset, coalesce((SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'),
                                              pg_postmaster_start_time())) AS epoch
FROM pg_stat_database AS d
WHERE d.datname = current_database();
