-- Who is in this database besides this session, in which state, since when (seconds), and whose transaction has written?
-- Background workers are in it, too. Of the sessions of other roles a role without pg_read_all_stats sees neither kind nor
-- state: `hidden`. Never the text of a statement.
SELECT a.pid, a.application_name AS application, coalesce(a.backend_type, 'client backend') AS kind,
       coalesce(a.state, CASE WHEN a.backend_type IS NULL THEN 'hidden' ELSE 'background' END) AS state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS state_s,
       EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted) AS writing
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
ORDER BY a.pid;
