-- Which locks on relations do the migration's sessions and all who wait have, who waits, and behind whom? The first
-- argument is how the application names of the migration's sessions begin.
SELECT l.pid, a.application_name AS application, l.relation::bigint AS relation, l.mode, l.granted,
       CASE WHEN NOT l.granted THEN pg_blocking_pids(l.pid) ELSE '{}' END AS blocked_by
FROM pg_locks AS l
JOIN pg_stat_get_activity(NULL) AS a ON a.pid = l.pid
WHERE a.datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.locktype IN ('relation', 'transactionid', 'tuple')
  AND (starts_with(a.application_name, %s) OR a.wait_event_type = 'Lock');
