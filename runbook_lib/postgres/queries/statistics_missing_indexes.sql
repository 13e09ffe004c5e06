-- Which large tables are mostly read from end to end? (The number of sequential scans alone says nothing: small tables
-- are best read so. What costs is the rows read for each scan, times how often.)
SELECT format('%I.%I', s.schemaname, s.relname) AS name, pg_relation_size(s.relid) AS bytes, s.seq_scan AS sequential_scans,
       coalesce(s.idx_scan, 0) AS index_scans, s.seq_tup_read / s.seq_scan AS rows_per_scan
FROM pg_stat_user_tables AS s
WHERE s.seq_scan > 100 AND s.schemaname !~ '^pg_'
  AND pg_relation_size(s.relid) > 10 * 1024 * 1024
  AND s.seq_tup_read / s.seq_scan > 1000
  AND s.seq_scan > coalesce(s.idx_scan, 0) / 10
ORDER BY s.seq_tup_read DESC
LIMIT 20;
