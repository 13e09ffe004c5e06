-- Which locks on relations have the migration's sessions and all who wait, in which mode; who waits for one, and behind
-- whom? The argument is how the application names of the migration's sessions begin. Relation 0 is somebody's row.
SELECT l.pid, a.application_name AS application, l.mode, l.granted, array_agg(coalesce(l.relation, 0)::bigint) AS relations,
       CASE WHEN NOT l.granted THEN pg_blocking_pids(l.pid) END AS blocked_by
FROM pg_locks AS l
JOIN pg_stat_get_activity(NULL) AS a ON a.pid = l.pid
WHERE a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode <> 'SIReadLock' AND (l.locktype = 'relation' OR l.locktype IN ('transactionid', 'tuple') AND NOT l.granted)
  AND (starts_with(a.application_name, %s) OR a.wait_event_type = 'Lock')
GROUP BY l.pid, a.application_name, l.mode, l.granted;
