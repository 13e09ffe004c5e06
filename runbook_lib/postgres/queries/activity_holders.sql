-- Which transactions hold locks on which tables? Not those of autovacuum, which gives way, unless it prevents a wraparound.
SELECT l.pid, array_agg(DISTINCT format('%I.%I', n.nspname, c.relname)) AS tables
FROM pg_locks AS l
JOIN pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm')
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (a.backend_type <> 'autovacuum worker' OR a.query LIKE '%(to prevent wraparound)%')
GROUP BY l.pid;
