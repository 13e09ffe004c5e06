-- Which statements took the most time in all (milliseconds)? Constants are already replaced by $1, $2, … here; utility
-- statements, whose constants stay, are left out. The extension pg_stat_statements must be installed in this database.
SELECT s.queryid::text AS id, s.calls, s.total_exec_time AS total_ms, s.mean_exec_time AS mean_ms, s.max_exec_time AS max_ms, s.rows,
       left(regexp_replace(s.query, '\s+', ' ', 'g'), 500) AS statement
FROM pg_stat_statements AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.query ~* '^[\s(]*(select|insert|update|delete|merge|with)\M'
ORDER BY s.total_exec_time DESC
LIMIT 20;
