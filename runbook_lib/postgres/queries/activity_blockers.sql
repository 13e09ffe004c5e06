-- Who waits for a lock, in which mode, on what, since when (seconds), and whose lock or place in the queue is in the way?
SELECT l.pid, array_remove(ARRAY(SELECT DISTINCT b FROM unnest(w.pids) AS b ORDER BY b), 0) AS blocked_by,
       0 = ANY (w.pids) AS by_prepared_transaction,
       l.mode, l.locktype AS lock_type,
       CASE WHEN l.database = d.oid THEN (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c
                                          JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = l.relation) END AS relation,
       extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS waiting_s
FROM pg_locks AS l
CROSS JOIN (SELECT oid FROM pg_database WHERE datname = current_database()) AS d
CROSS JOIN LATERAL (SELECT pg_blocking_pids(l.pid) AS pids OFFSET 0) AS w
WHERE NOT l.granted
ORDER BY l.waitstart, l.pid;
