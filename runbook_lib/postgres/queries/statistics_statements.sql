-- What has each statement cost since its counters began (milliseconds, 8 KiB blocks)? One row a query id, over all roles;
-- squares_ms2 is the sum of the squared times, from which a window's standard deviation follows (there are no percentiles).
-- Left out: utility commands, what asks the system's own catalogues, and what the runbook asks. Constants that the
-- server has not replaced by $1, $2, … are still in the text. The extension, 1.9 or newer, must be installed in this database.
SELECT s.queryid::text AS id, sum(s.calls)::bigint AS calls, sum(s.total_exec_time) AS total_ms, sum(s.total_exec_time) / sum(s.calls) AS mean_ms,
       min(s.min_exec_time) AS min_ms, max(s.max_exec_time) AS max_ms,
       sum(s.calls * (s.stddev_exec_time ^ 2 + s.mean_exec_time ^ 2)) AS squares_ms2, sum(s.rows)::bigint AS rows,
       sum(s.shared_blks_hit)::bigint AS blocks_from_cache, sum(s.shared_blks_read)::bigint AS blocks_read,
       sum(s.temp_blks_read + s.temp_blks_written)::bigint AS temporary_blocks, left(min(s.query), 2000) AS statement
FROM pg_stat_statements AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.calls > 0 AND s.queryid IS NOT NULL
  AND s.query ~* '^[\s(]*(/\*([^*]|\*[^/])*\*/\s*)*(select|insert|update|delete|merge|with|call)\M'
  AND s.query !~* '\m(from|join)\s+"?(pg_|information_schema)|\m(pg_(catalog|stat|export|current|control|is_in|get)\w*|set_config|to_regclass|_prisma_migrations)\M'
  AND s.query !~* '\m(hashtextextended|hash_record_extended)\M|last_value, is_called'
GROUP BY s.queryid
ORDER BY total_ms DESC
LIMIT 1000;
